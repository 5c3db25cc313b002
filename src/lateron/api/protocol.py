"""HTTP in: uvicorn's httptools protocol, with the limits and refusals it lacks.

The parser below (llhttp) is strict about most of HTTP/1.1, but it counts nothing, waits for ever and
is fed whatever the socket gives. Here every connection is first cut into parts, and the parser never
sees more than one of them at a time::

    HEAD ──whole head──> BODY ──last byte──> ANSWER ──answered──> HEAD ...
      └─────────────── refused, or told to close ──────────> DEAF (the sender may read, then it ends)

* A head is held back until its empty line is there; so its bytes are counted exactly, its request
  line is judged as it came, and a refused one never becomes a request.
* A body is cut by its Content-Length or, when chunked, at every CRLFCRLF, because only there can it
  end. So what stands behind a request is not looked at before that request is answered: answers keep
  their order, and garbage behind a good request never costs its answer.
* All waiting has an end. One timer serves a connection; it is moved only when something is to happen
  earlier than it would fire, so a busy connection never touches it.

A refusal is an answer as the API gives them, ``{"error": ...}``, and always the last one of its
connection: after a request we could not read, nobody knows where the next one begins. Its sender gets
a moment to read it, while we throw away what he still sends (closing at once would reset the
connection and lose the answer on the way).

Everything we use of uvicorn beyond the documented constructor is named in a test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lateron.api.heads import (
    END,
    HOST,
    Census,
    Limits,
    Refusal,
    cause,
    fault_of_head,
    fault_of_start,
    path_of,
    without_offer,
)
from lateron.core.values import Millis
from lateron.runtime import Clock

HEAD: Final = 0  # Waiting for a request, or in the middle of its head.
BODY: Final = 1  # The application has the request, its body is still coming.
ANSWER: Final = 2  # The request is complete, its answer is not.
DEAF: Final = 3  # The last answer is written; input is thrown away.

_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


class _Door:
    """The transport as uvicorn's request cycle sees it: it asks us before it closes, and joins small writes.

    uvicorn writes the head of an answer and then its body, each a system call of its own. What is written
    first waits for the rest of this round of the loop, and both go out as one.
    """

    __slots__ = ("_call_soon", "_first", "_wire", "close", "get_extra_info", "is_closing", "pause_reading",
                 "resume_reading")  # fmt: skip

    def __init__(
        self, transport: asyncio.Transport, close: Callable[[], None], call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._wire = transport
        self._call_soon = call_soon
        self._first = b""
        self.close = close
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write with what came before, or wait for what comes next."""
        if self._first:
            self._wire.write(self._first + data)
            self._first = b""
        else:
            self._first = data
            self._call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._first:
            self._wire.write(self._first)
            self._first = b""


class LimitedProtocol(HttpToolsProtocol):
    """One connection of a client. Made by ``protocol_class``, which sets the class attributes."""

    limits: ClassVar[Limits]
    clock: ClassVar[Clock]
    request_id: ClassVar[Callable[[], str]]
    uncapped: ClassVar[Callable[[str], bool]]  # Peers that speak for many, such as a trusted proxy.
    census: ClassVar[Census]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- uvicorn's own signature, passed on
        super().__init__(*args, **kwargs)
        # uvicorn believes X-Forwarded-For of every local peer by default; whom to believe is the API's business.
        assert not self.config.proxy_headers, "configure uvicorn with proxy_headers=False"
        self.access_log = False  # A request line may contain a token; our own log has none.
        self._part = HEAD
        self._head = bytearray()  # A head that has not ended yet.
        self._held = b""  # What came behind a request that is not answered yet.
        self._refusal: Refusal | None = None  # Set while a head is parsed.
        self._hosts = 0  # Host headers of this head.
        self._host = b""  # The last Host value that was found good.
        self._left: int | None = None  # Bytes of the body to come; None: it is chunked.
        self._tail = b""  # The last three bytes of a chunked body so far.
        self._wire_bytes = 0  # Of the chunked body with its framing.
        self._body_bytes = 0
        self._body_since = 0
        self._deadline: int | None = None  # In nanoseconds of the clock.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._unsent = 0  # Bytes in the write buffer when we last looked.
        self._ip: str | None = None

    # ---- the connection as such

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn's.
        """Count the new peer; refuse it when there are too many."""
        super().connection_made(transport)
        self._wire = transport
        self._door = _Door(transport, self._close, self.loop.call_soon)
        self.transport = self._door  # type: ignore[assignment]  # All that uvicorn uses of it.
        if self.client is not None and not type(self).uncapped(self.client[0]):
            self._ip = self.client[0]
        self.census.enter(self._ip)
        if self.census.total > self.limits.connections:
            self._refuse(Refusal(503, "too many connections; try again later"))
        elif self._ip is not None and self.census.per_ip[self._ip] > self.limits.connections_per_ip:
            self._refuse(Refusal(429, "too many connections from this address"))
        else:
            self._expect(self.limits.head_ms)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the application know, and forget the peer."""
        self._part = DEAF
        self._held = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.census.leave(self._ip)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close when the request in hand is answered; uvicorn calls it when the server stops."""
        if self._part == DEAF:
            self._wire.close()
        else:
            super().shutdown()

    def _close(self) -> None:
        """Close after the last answer, gently if the peer may still be sending."""
        self._door.flush()
        if self._part == DEAF or self._wire.is_closing():
            return
        if self._part == BODY or self._held:
            self._linger()
        else:
            self._part = DEAF
            self._wire.close()
            self._watch_unsent(self.limits.unread_ms)

    def _linger(self) -> None:
        """End our side of the connection and wait a moment for the peer to end his."""
        self._part = DEAF
        self._head.clear()
        self._held = b""
        if self._wire.can_write_eof():
            self._wire.write_eof()
        self.flow.resume_reading()
        self._watch_unsent(self.limits.linger_ms)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer ourselves, and never read a request from this connection again."""
        self.census.refused[refusal.status] += 1
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:  # Too late to say anything in the middle of another answer.
                self._part = DEAF
                self._wire.abort()
                return
        body = msgspec.json.encode({"error": refusal.reason})
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", type(self).request_id().encode()),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self._door.flush()
        self._wire.write(b"".join([STATUS_LINE[refusal.status], *lines, b"\r\n", body]))
        self._linger()

    # ---- cutting the input into parts

    def data_received(self, data: bytes) -> None:
        """Take what came, as far as it may be looked at now."""
        if self._part == ANSWER:
            self._hold(data)
        else:
            self._consume(data)

    def _hold(self, data: bytes) -> None:
        """Keep what stands behind an unanswered request, and ask for no more."""
        self._held += data
        self.flow.pause_reading()

    def _go_on(self) -> None:
        """Look at what was held, now that the request before it is answered."""
        held, self._held = self._held, b""
        self._consume(held)
        if not self._held and self._part != DEAF:
            self.flow.resume_reading()

    def _consume(self, data: bytes) -> None:
        while data:
            if self._part == HEAD:
                data = self._take_head(data)
            elif self._part == BODY:
                data = self._take_body(data)
            elif self._part == ANSWER:
                self._hold(data)
                return
            else:
                return
        if self._part == BODY and self._deadline is None:
            self._body_since = self.clock.mono()
            self._expect(self.limits.body_grace_ms)

    def _take_head(self, data: bytes) -> bytes:
        """Wait for the whole head, judge it, hand it to the parser; return what stands behind it."""
        seen = len(self._head)
        if seen:
            self._head += data
            data = bytes(self._head)
        end = data.find(END, seen - 3 if seen > 3 else 0) + len(END)
        if end < len(END):
            self._wait_for_head(data, seen)
            return b""
        if seen:
            self._head.clear()
        head = data[:end] if end < len(data) else data
        self._hosts = self._left = self._body_bytes = self._wire_bytes = 0
        self._refusal = fault_of_head(head, self.limits)
        if self._refusal is not None:
            self._refuse(self._refusal)
            return b""
        self._deadline = None
        self._part = BODY
        self._feed(without_offer(head))
        return data[end:]

    def _wait_for_head(self, data: bytes, seen: int) -> None:
        """Keep the beginning of a head, unless it is already clear that no good one becomes of it."""
        fault = fault_of_start(data, seen, self.limits)
        if fault is not None:
            self._refuse(fault)
        elif not seen:
            self._head += data
            self._expect(self.limits.head_ms)

    def _take_body(self, data: bytes) -> bytes:
        """Hand over what belongs to the body; return what stands behind it."""
        if self._left is not None:
            piece = data if len(data) <= self._left else data[: self._left]
            self._left -= len(piece)
            self._feed(piece)
            return data[len(piece) :]
        across = (self._tail + data[:3]).find(END)  # Begun by what came before.
        end = across + len(END) - len(self._tail) if across >= 0 else data.find(END) + len(END)
        piece = data if end < len(END) and across < 0 else data[:end]
        self._tail = (self._tail + piece[-3:])[-3:]
        self._wire_bytes += len(piece)
        self._feed(piece)
        framing = self._wire_bytes - self._body_bytes
        if framing > self.limits.head_bytes + 16 * self._body_bytes and self._part != DEAF:
            self._refuse(Refusal(400, "the chunked body consists of too small chunks, extensions or trailers"))
        return data[len(piece) :]

    def _feed(self, piece: bytes) -> None:
        """Let the parser read one part."""
        try:
            self.parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._refusal is None:
                self._refusal = Refusal(400, f"invalid HTTP request: {cause(error)}")
        if self._refusal is not None:
            self._refuse(self._refusal)

    # ---- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header line, or drop it when it is a trailer: nobody here asks for one."""
        if self._wire_bytes:
            return
        name = name.lower()
        value = value.rstrip(b" \t")
        if name in _FRAMING:
            self._judge_framing(name, value)
        self.headers.append((name, value))

    def _judge_framing(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if not value or (value != self._host and not HOST.fullmatch(value)):
                self._refusal = Refusal(400, "the Host header is not a host name")
            self._host = value
            self._hosts += 1
        elif name == b"content-length":
            self._left = int(value)  # Digits: the parser has seen to that.
        elif name == b"transfer-encoding":
            self._left = None
            self._tail = b""
            if value.lower() != b"chunked":
                self._refusal = Refusal(501, "the only transfer coding supported is chunked")
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """Judge the head as a whole; only a good one becomes a request of the application."""
        unusual = self._hosts != 1 or self._left is None or len(self.headers) > self.limits.header_lines
        if unusual and self._refusal is None:
            self._refusal = self._fault_of_request()
        if self._refusal is None:
            if not self.url.startswith(b"/"):
                self.url = path_of(self.url)
            self._begin()

    def _begin(self) -> None:
        """Let the application begin; the body may not be there yet."""
        self.scope["lateron.target"] = self.url  # type: ignore[typeddict-unknown-key]  # Nothing decoded or dropped.
        super().on_headers_complete()

    def _fault_of_request(self) -> Refusal | None:
        if len(self.headers) > self.limits.header_lines:
            return Refusal(431, f"more than {self.limits.header_lines} header lines")
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() == "1.1"):
            return Refusal(400, "a request has exactly one Host header")
        if self._left is None and self.parser.get_http_version() == "1.0":
            return Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
        return None

    def on_body(self, body: bytes) -> None:
        """Count the body and hand it to the application."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Look at nothing more before the answer is written."""
        if self._refusal is not None or self._part == DEAF:
            return
        self._part = ANSWER
        self._at_work()
        super().on_message_complete()

    # ---- what the application's answer brings about

    def on_response_complete(self) -> None:
        """Go on with the next request, which may be here already."""
        self.server_state.total_requests += 1
        if self._part == BODY:  # Answered early: what is left of the body is not worth reading.
            self._linger()
        if self._part != ANSWER:
            return
        self._part = HEAD
        if self._held:
            # Not from here: a thousand requests in one packet would be as many frames deep.
            self.loop.call_soon(self._go_on)
        else:
            if self.flow.read_paused:
                self.flow.resume_reading()
            self._at_rest()

    def pause_writing(self) -> None:
        """Note that the peer is slow to read."""
        super().pause_writing()
        self._watch_unsent(self.limits.unread_ms)

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        if self._part == ANSWER:
            self._at_work()
        elif self._part == HEAD and not self._head:
            self._at_rest()

    # ---- time

    def _at_work(self) -> None:
        """While the application works, only the reader of an earlier answer can be late."""
        if self.flow.write_paused:
            self._watch_unsent(self.limits.unread_ms)
        else:
            self._deadline = None

    def _at_rest(self) -> None:
        """Between requests, the next one may be late, or the reader of the last answer."""
        if self.flow.write_paused:
            self._watch_unsent(self.limits.unread_ms)
        else:
            self._expect(self.limits.idle_ms)

    def _expect(self, wait_ms: Millis) -> None:
        """Set when the connection is late; call ``_late`` then."""
        self._deadline = deadline = self.clock.mono() + wait_ms * 1_000_000
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._arm(deadline, wait_ms / 1000)

    def _arm(self, at: int, seconds: float) -> None:
        self._timer_at = at
        self._timer = self.loop.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.clock.mono()
        if left > 0:
            self._arm(self._deadline, left / 1e9)
        else:
            self._deadline = None
            self._late()

    def _late(self) -> None:
        """Do what is due when the peer did not do his part in time."""
        unsent = self._wire.get_write_buffer_size()
        if self._part == BODY:
            self._judge_pace()
        elif self._part == HEAD and self._head:
            self._refuse(Refusal(408, f"the head of the request took longer than {self.limits.head_ms} ms"))
        elif not unsent:
            self._part = DEAF
            self._wire.close()
        elif unsent < self._unsent:
            self._watch_unsent(self.limits.unread_ms)  # He reads, slowly.
        else:
            self._part = DEAF
            self._wire.abort()

    def _judge_pace(self) -> None:
        """Refuse a body that comes too slowly; while we do not read, that is not the sender's fault."""
        if self.flow.read_paused:
            self._body_since = self.clock.mono()
            self._expect(self.limits.body_grace_ms)
            return
        took_ms = (self.clock.mono() - self._body_since) // 1_000_000
        allowed_ms = self.limits.body_grace_ms + self._body_bytes * 1000 // self.limits.body_bytes_per_second
        if took_ms < allowed_ms:
            self._expect(allowed_ms - took_ms)
        else:
            self._refuse(Refusal(408, "the body of the request came too slowly"))

    def _watch_unsent(self, wait_ms: Millis) -> None:
        """Look again later whether the peer has read some of what we wrote."""
        self._unsent = self._wire.get_write_buffer_size()
        self._expect(wait_ms)
