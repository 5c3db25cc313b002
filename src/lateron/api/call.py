"""One request and its answer, as the handlers of the API see them.

A ``Call`` is the request with what was found out about it; its body is read on demand, counted while it
comes and refused before it is buffered. An ``Answer`` is complete: every body of ours is JSON and has
its length, so a client that reads half an answer knows it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from lateron.broker.resources import Identity
from lateron.core.audit import Note, named
from lateron.core.values import Filter
from lateron.errors import LateronError, NotSupported, Overloaded, StorageFull, TooLarge, TooManyTries
from lateron.telemetry import Log

log = Log("lateron.api")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]

FULL_RETRY_AFTER_S: Final = 5
COUNTED: Final = {status: f"api_answers_{status // 100}xx" for status in range(100, 600)}  # Names of counters.
encode = msgspec.json.Encoder().encode

# On every answer: nobody keeps it, guesses its type, or learns our URL from a link in it.
ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-type", b"application/json"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class ClientGone(Exception):
    """The client left before its request was complete; there is nobody to answer."""


class Answer(Struct, frozen=True, gc=False):  # Nothing in it can refer to it.
    """What a call is answered; the body is JSON, unless ``media`` says otherwise."""

    status: int
    body: bytes
    headers: RawHeaders = ()
    media: bytes | None = None  # Type of a body that is not JSON.


class Live(Answer, frozen=True, gc=True, kw_only=True):
    """An answer that goes on for as long as there is something to tell."""

    tell: Callable[[Call, Send], Awaitable[None]]


class InFlight:
    """The bytes of request bodies that are in memory now, of all calls together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises:
            Overloaded: There would be too many.
        """
        if self.taken + size > self.limit:
            raise Overloaded("too many bytes of requests are in flight")
        self.taken += size

    def give(self, size: int) -> None:
        """Count ``size`` bytes less."""
        self.taken -= size


class Call:
    """A request under way."""

    __slots__ = (
        "_chunked",
        "_in_flight",
        "_receive",
        "_taken",
        "again",
        "authorizations",
        "caller_ip",
        "forwarded_for",
        "headers",
        "id",
        "identity",
        "length",
        "method",
        "note",
        "params",
        "path",
        "peer",
        "query",
        "read",
        "rest",
        "scope",
        "session",
    )

    def __init__(self, scope: Scope, receive: Receive, call_id: str, in_flight: InFlight) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self.path, self.query = target_of(scope)  # Both undecoded.
        client = scope.get("client")
        self.peer: str | None = client[0] if client else None
        self.id = call_id
        self.caller_ip = self.peer  # Behind a trusted proxy, the address that it speaks for.
        self.identity: Identity | None = None  # Set for every route that is not public.
        self.note: Note | None = None  # What the audit log keeps of it; set for what changes something.
        self.session: str | None = None  # Its number, if it is a session's.
        self.again: Callable[[], bool] | None = (
            None  # Whether who is calling may still; asked by what goes on for long.
        )
        self.params: Mapping[str, str] = {}  # Of the route, decoded once.
        self.rest = b""  # What follows the prefix of a route that ends in a destination, query included.
        self.authorizations: list[bytes] = []
        self.forwarded_for: list[bytes] = []
        self.length: int | None = None
        self.read = False  # The body was read to its end.
        self._chunked = False
        self._receive = receive
        self._in_flight = in_flight
        self._taken = 0
        for name, value in self.headers:
            if name == b"authorization":
                self.authorizations.append(value)
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else 0
            elif name == b"transfer-encoding":
                self._chunked = True
            elif name == b"x-forwarded-for":
                self.forwarded_for.append(value)

    @property
    def who(self) -> Identity:
        """Return who is calling; only for routes that are not public."""
        assert self.identity is not None
        return self.identity

    def only_asks(self) -> None:
        """Say that the call changes nothing after all."""
        self.note = None

    def concerns(self, name: str) -> None:
        """Say what a call changes, where its path does not."""
        if self.note is not None:
            self.note.object = name

    def chooses(self, selection: Filter | None) -> None:
        """Say what a call selects by its body."""
        if self.note is not None and selection is not None:
            self.note.filter = named(selection)

    def ends_connection(self) -> bool:
        """Whether part of the body was not read, so that the connection cannot go on."""
        return not self.read and (self._chunked or bool(self.length))

    async def body(self, check: Callable[[int], None]) -> bytes:
        """Read the body.

        Args:
            check: Is told how many bytes there are at least, first by the announced length, then as they
                come; raises when there are too many.

        Raises:
            ClientGone: It did not come to its end.
            Overloaded: Too much is in flight already.
        """
        if self.length:
            check(self.length)
        body: bytes | bytearray = b""
        while True:
            event = await self._receive()
            if event["type"] != "http.request":
                raise ClientGone
            piece: bytes = event.get("body", b"")
            if piece:
                check(len(body) + len(piece))
                self._in_flight.take(len(piece))
                self._taken += len(piece)
                if isinstance(body, bytearray):
                    body += piece
                else:
                    body = (
                        bytearray(body + piece) if body else piece
                    )  # A list of single bytes would be forty times as big.
            if not event.get("more_body", False):
                self.read = True
                return bytes(body)

    async def small_body(self, limit: int = 1 << 20) -> bytes:
        """Read the body of a management call.

        Raises:
            TooLarge: It is longer than ``limit`` bytes.
        """
        return await self.body(at_most(limit))

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, send: Send, answer: Answer) -> None:
        """Write the answer."""
        headers = [
            *(ALWAYS if answer.media is None else _always(answer.media)),
            *answer.headers,
            (b"x-request-id", self.id.encode()),
            (b"content-length", str(len(answer.body)).encode()),
        ]
        if self.ends_connection():
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def close(self) -> None:
        """Give back the memory of the body."""
        self._in_flight.give(self._taken)
        self._taken = 0


def _always(media: bytes) -> RawHeaders:
    return tuple((name, media if name == b"content-type" else value) for name, value in ALWAYS)


def target_of(scope: Scope) -> tuple[bytes, bytes]:
    """Return path and query as they stood in the request line; never decoded, never normalised."""
    target: bytes | None = scope.get("lateron.target")  # From our protocol; another server has the two parts.
    if target is None:
        return scope["raw_path"], scope["query_string"]
    path, _, query = target.partition(b"?")
    return path, query


def decoded(segment: bytes, *, slash: bool = False) -> str | None:
    """Return a segment of a path, percent-decoded once; None if it is no text, or (unless allowed) more than one."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text and (slash or "/" not in text) and "\0" not in text else None


def at_most(limit: int) -> Callable[[int], None]:
    """Return a check for ``Call.body`` that refuses more than ``limit`` bytes with 413."""

    def check(size: int) -> None:
        if size > limit:
            raise TooLarge(f"body: at most {limit} bytes")

    return check


def json_answer(content: object, status: int = 200, headers: RawHeaders = ()) -> Answer:
    """Return an answer with any JSON."""
    return Answer(status, encode(content), headers)


def refusal(status: int, reason: str, headers: RawHeaders = ()) -> Answer:
    """Return an error as every client of this API expects it."""
    return Answer(status, encode({"error": reason}), headers)


def failure(error: BaseException, call_id: str, method: str) -> Answer:
    """Return what a call is answered that ended in an exception, and log what an operator should know of it.

    Args:
        error: One of ours, or a bug, which costs its request and not the server.
        call_id: What the log and the caller both get to see.
        method: Of the request.
    """
    if isinstance(error, LateronError):
        if error.status >= 500 and not isinstance(error, NotSupported):
            log.warning("request failed", request=call_id, method=method, error_text=str(error))
        return answer_to(error)
    log.error("request failed", request=call_id, method=method, error=error)
    body = refusal(500, "internal error").body[:-1] + b',"requestId":"' + call_id.encode() + b'"}'
    return Answer(500, body)


def answer_to(error: LateronError) -> Answer:
    """Return what an exception of ours is answered.

    Errors that tell the caller what to change are repeated as they are. Those of the service are put in
    fixed words, because their text may hold a path or a statement.
    """
    if isinstance(error, Overloaded):
        return refusal(error.status, "too much is under way; try again soon", _retry_after(error.retry_after))
    if isinstance(error, StorageFull):
        return refusal(error.status, "the storage is full; nothing was stored", _retry_after(FULL_RETRY_AFTER_S))
    if isinstance(error, TooManyTries):
        return refusal(error.status, str(error), _retry_after(error.retry_after))
    if error.status < 500 or isinstance(error, NotSupported):
        headers = ((b"www-authenticate", b"Bearer"),) if error.status == 401 else ()
        return refusal(error.status, str(error), headers)
    return refusal(error.status, "the service is not available")


def _retry_after(seconds: int) -> RawHeaders:
    return ((b"retry-after", str(seconds).encode()),)
