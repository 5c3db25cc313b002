"""The fast lane: a publish served inside the protocol, without what an ASGI request costs.

Nearly all requests of a busy server are publishes, and nearly all of those are good. For them the protocol
builds no scope, no request cycle, no task and no future::

    head ──> admit: is it a publish, by whom, how long ──> body ──> publish ──commit──> one write
               └─ None ──> uvicorn and the application, as without a lane

* Whatever ``admit`` does not take goes the long way from its first byte on: other routes and methods, strangers,
  readers, too long bodies, chunked ones, HTTP/1.0, ``Expect``. So there is one answer to each of these, in one place.
* What it does take is read, judged, stored and answered by the same functions as on the long way, and its answer
  has the same bytes. A test compares the two on good and bad requests.
* A request on the lane stands where uvicorn keeps its request cycle, with what uvicorn touches there, and among
  uvicorn's tasks while it is being stored. So closing a connection and stopping the server work as for all others.

Without a lane the class below is not used at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from lateron.api.call import ALWAYS, Answer
from lateron.api.heads import END, Census, Limits, Refusal
from lateron.api.protocol import ANSWER, DEAF, LimitedProtocol
from lateron.api.publish import PREFIX, Entry, FastLane
from lateron.api.sighting import sighting
from lateron.errors import Overloaded
from lateron.runtime import Clock

_PUBLISH: Final = b"POST %b" % PREFIX.encode()


class _Unheard:
    """Something to set that nobody waits for."""

    def set(self) -> None:
        """Do nothing: on the lane, nothing sleeps."""


class Errand:
    """A publish under way; to uvicorn it is a request cycle and a task."""

    __slots__ = ("body", "disconnected", "entry", "keep_alive", "response_complete")

    message_event: Final = _Unheard()
    response_started: Final = False  # An answer is written at once.

    def __init__(self, entry: Entry, *, keep_alive: bool) -> None:
        self.entry = entry
        self.body: bytes | bytearray = b""  # As far as it has come.
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False

    def cancel(self, msg: object = None) -> None:
        """Do nothing when the time to stop in order is over: a commit is not called off, its answer still goes out."""


class Letterhead:
    """How answers begin: what is the same in all of a second is put together once."""

    def __init__(self) -> None:
        self._defaults: object = None  # uvicorn makes a new list of them each second.
        self._heads: dict[int, bytes] = {}

    def letter(self, answer: Answer, call_id: str, defaults: list[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
        """Return the bytes of an answer.

        Args:
            answer: What to say.
            call_id: Under which the log has the request.
            defaults: uvicorn's headers of every answer.
            keep_alive: Whether another request may follow.
        """
        if defaults is not self._defaults:
            self._defaults = defaults
            self._heads.clear()
        head = self._heads.get(answer.status)
        if head is None:
            head = STATUS_LINE[answer.status] + _lines((*defaults, *ALWAYS))
            self._heads[answer.status] = head
        more = _lines(answer.headers) if answer.headers else b""
        end = b"" if keep_alive else b"connection: close\r\n"
        ours = (head, more, call_id.encode(), len(answer.body), end, answer.body)
        return b"%b%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b" % ours


def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


class FastProtocol(LimitedProtocol):
    """One connection of a client, with a fast lane."""

    lane: ClassVar[FastLane]
    letterhead: ClassVar[Letterhead]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- uvicorn's own signature, passed on
        super().__init__(*args, **kwargs)
        assert self.limit_concurrency is None, "the lane does not count requests; limit connections"
        self._sender = b""  # Part of the key of all its heads.
        self._key: bytes | None = None  # Under which the head that is being read may be remembered.
        self._coming: Errand | None = None  # Whose body is not complete yet.
        self._whole: Errand | None = None  # Whose body is, and which begins once the input is cut.
        self._kept: tuple[Errand, Answer, str] | None = None  # An answer for a client that does not read now.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn's.
        """Note from where publishes will come."""
        super().connection_made(transport)
        self._sender = b"\n%b" % (self.client[0].encode() if self.client else b"")

    def _take_head(self, data: bytes) -> bytes:
        """Go past the parser with a publish whose head came before and whose body is here; else as for all others."""
        self._key = None
        end = -1 if self._head or not data.startswith(_PUBLISH) else data.find(END)
        head = None if end < 0 else sighting(data, end, self._sender)
        if head is not None:
            body = data[end + len(END) : end + len(END) + head.length]
            entry = self.lane.known(head) if len(body) == head.length else None
            if entry is not None:
                self._take_known(entry, body)
                return data[end + len(END) + head.length :]
            self._key = head.key
        return super()._take_head(data)

    def _take_known(self, entry: Entry, body: bytes) -> None:
        errand = Errand(entry, keep_alive=True)
        errand.body = body
        self.cycle = self._whole = errand  # type: ignore[assignment]  # It has what is touched there.
        self._part = ANSWER
        self._at_work()

    # ---- from the parser

    def on_message_begin(self) -> None:
        """Forget the last request. A scope is built when it is known that one is needed."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def _begin(self) -> None:
        """Take the lane, or else the long way."""
        if not self.expect_100_continue and self._left is not None and self.parser.get_method() == b"POST":
            peer = self.client[0] if self.client else None
            keep_alive = self.parser.should_keep_alive()
            key = self._key if keep_alive and self.parser.get_http_version() == "1.1" else None
            entry = self.lane.admit(self.url, self.headers, peer, self._left, key)
            if entry is not None and self.parser.get_http_version() == "1.1":
                errand = Errand(entry, keep_alive=keep_alive)
                self.cycle = self._coming = errand  # type: ignore[assignment]  # It has what is touched there.
                return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # Why not set: the scope holds this very list.
        super()._begin()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, if there is room for it."""
        errand = self._coming
        if errand is None:
            super().on_body(body)
            return
        self._body_bytes += len(body)
        try:
            self.lane.take(len(body))
        except Overloaded as error:
            self._coming = None
            errand.keep_alive = False  # The rest of the body is not read.
            self.lane.refuse(error, len(errand.body), partial(self._reply, errand))
            return
        if not errand.body:
            errand.body = body
        elif isinstance(errand.body, bytearray):
            errand.body += body
        else:
            errand.body = bytearray(errand.body + body)  # Why not a list: a piece may be one byte, an object is forty.

    def on_message_complete(self) -> None:
        """Begin when what has come is cut into parts; look at nothing more before the answer is written."""
        errand = self._coming
        if errand is None:
            super().on_message_complete()
            return
        self._part = ANSWER
        self._at_work()
        self._coming = None
        self._whole = errand

    def _consume(self, data: bytes) -> None:
        super()._consume(data)
        errand = self._whole
        if errand is not None:
            self._whole = None
            self.tasks.add(errand)  # type: ignore[arg-type]  # uvicorn counts them, and may cancel them.
            body, errand.body = errand.body, b""
            self.lane.publish(errand.entry, bytes(body), partial(self._reply, errand))

    # ---- to the client

    def _reply(self, errand: Errand, answer: Answer, call_id: str) -> None:
        """Answer, unless nobody is there any more; later, if he does not read now."""
        if errand.disconnected or self._part == DEAF:
            self.tasks.discard(errand)
        elif self.flow.write_paused:
            self._kept = (errand, answer, call_id)
        else:
            self.tasks.discard(errand)
            errand.response_complete = True
            self._door.flush()  # Of an answer without a body, which the door may hold to the end of this round.
            defaults = self.server_state.default_headers
            self._wire.write(self.letterhead.letter(answer, call_id, defaults, keep_alive=errand.keep_alive))
            if not errand.keep_alive:
                self._close()
            self.on_response_complete()

    def resume_writing(self) -> None:
        """Go on sending, with the answer that was kept."""
        super().resume_writing()
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._reply(*kept)

    # ---- the end of a connection

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop a body that will not be complete, and an answer that nobody will read."""
        self._drop()
        if self._kept is not None:
            self.tasks.discard(self._kept[0])
            self._kept = None
        super().connection_lost(exc)

    def _refuse(self, refusal: Refusal) -> None:
        self._drop()
        super()._refuse(refusal)

    def _drop(self) -> None:
        errand, self._coming = self._coming, None
        if errand is not None:
            self.lane.gone(len(errand.body))


def protocol_class(
    limits: Limits,
    clock: Clock,
    request_id: Callable[[], str],
    uncapped: Callable[[str], bool] = lambda _ip: False,
    lane: FastLane | None = None,
) -> type[LimitedProtocol]:
    """Return the class to hand to uvicorn as ``http=``; each has a census of its own.

    Args:
        limits: What a connection may ask of us.
        clock: Times heads, bodies and idle connections.
        request_id: Makes the id that a refusal carries as ``X-Request-Id``.
        uncapped: Whether an address is free of the cap per address, as a trusted proxy is.
        lane: Serves publishes without ASGI; None sends them the long way like everything else.
    """
    attributes: dict[str, Any] = {
        "limits": limits,
        "clock": clock,
        "request_id": staticmethod(request_id),
        "uncapped": staticmethod(uncapped),
        "census": Census(),
    }
    if lane is None:
        return type("Protocol", (LimitedProtocol,), attributes)
    return type("Protocol", (FastProtocol,), attributes | {"lane": lane, "letterhead": Letterhead()})
