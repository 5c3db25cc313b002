"""One HTTP/1.1 connection, one exchange at a time, as callbacks of the event loop.

``begin`` writes a request; bytes that arrive drive the parser, the parser drives this object, and once the end is
seen the caller is told the ``Answer``, in the next round of the loop. A failure is an answer too.

How an answer ends is decided here, and the same bytes end the same way however the network cuts them:

* Complete: by Content-Length, by the last chunk, at the end of the head (HEAD, 204, 304), or, if nothing
  says where it ends, by an orderly end of the connection (over TLS: announced by the other side).
* The read cap is reached: the answer counts as it began, marked truncated.
* The head is over its cap ("too-large"), the bytes are no HTTP/1.x ("protocol"), the connection ends too
  early ("closed"), or time is up ("timeout"). Status and headers that were read stay known.

A connection is used again only after an answer that was complete and said so, with nothing after it, and
when all of the request had been written. In every other case it is closed: what comes next on it could be
taken for the answer to another request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from lateron.core.familiar import MAX_BYTES, Familiar
from lateron.core.values import Headers, Tenant
from lateron.egress.request import JOIN_MAX, Delivery
from lateron.runtime import Nanos

Key: TypeAlias = tuple[Tenant, str, str, int, str]  # Tenant, scheme, address, port, name.

_START: Final = b"HTTP/1."
_END: Final = b"\r\n\r\n"  # Of a head.
_PLAIN_MAX: Final = 8192  # Bytes of an answer that may be recognised.
NEVER: Final = Nanos(1 << 63)
_PREFIX_MAX: Final = 64 * 1024  # Room for all the empty lines that may precede it.


class Limits(Struct, frozen=True):
    """What of an answer is read and kept."""

    head_bytes: int = 64 * 1024  # Status line and headers, with those of informational answers.
    headers: int = 256
    informational: int = 10  # 1xx answers before the real one.
    stored: int = 1024 * 1024  # Bytes of the body that are kept.
    read: int = 16 * 1024 * 1024  # Bytes of the body that are read.


class Head(NamedTuple):
    """What the head of a plain answer says: one whose body is all that follows."""

    status: int
    headers: Headers
    length: int  # Of the body.
    keep: bool  # Another exchange may follow.


class Answer(Struct, gc=False):
    """What came back, or why nothing did."""

    status: int | None = None
    headers: Headers = ()
    body: bytes = b""
    truncated: bool = False
    error: str | None = None
    detail: str = ""
    began: bool = False  # At least one byte arrived.
    first_byte: int | None = None  # Microseconds, as in ``values.Phases``.
    body_time: int | None = None


class Connection(asyncio.Protocol):
    """A connection to one address; see the module."""

    __slots__ = (
        "_bodiless",
        "_body",
        "_body_read",
        "_broken",
        "_complete",
        "_familiar",
        "_fed",
        "_first_at",
        "_head_done",
        "_headers",
        "_informational",
        "_keep",
        "_leftover",
        "_limits",
        "_lost",
        "_mono",
        "_parser",
        "_prefix",
        "_sent_at",
        "_sink",
        "_status",
        "_timeout_ms",
        "_transport",
        "_waiter",
        "deadline",
        "ended_at",
        "key",
        "peer",
        "reusable",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        mono: Callable[[], Nanos],
        lost: Callable[[Connection], None],
        peer: str,
        key: Key,
        familiar: Familiar[Head],
    ) -> None:
        self._limits = limits
        self._familiar = familiar
        self._mono = mono
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        self._waiter: Callable[[Answer], object] | None = None  # Whom to tell; None between exchanges.
        self.peer = peer  # Address and port, for people.
        self.key = key  # Where the pool keeps it.
        self.deadline = NEVER  # When the open exchange must have ended; whoever owns us calls ``expire``.
        self.ended_at = Nanos(0)  # When the last one did.
        self.reusable = False  # May carry another exchange.
        self._timeout_ms = 0
        self._reset()

    def _reset(self) -> None:
        self._status: int | None = None
        self._headers: Headers = ()
        self._sink: list[tuple[str, str]] = []  # Headers of the message being read, then its trailers.
        self._body: list[bytes] = []
        self._body_read = 0
        self._fed = 0  # Bytes received in this exchange.
        self._informational = 0
        self._head_done = False  # Of the real answer.
        self._complete = False
        self._leftover = False  # Bytes after its end.
        self._keep = False
        self._bodiless = False
        self._broken: tuple[str, str] | None = None  # Error class and detail.
        self._prefix: bytes | None = None  # The start of the answer, until it is seen to be HTTP/1.
        self._first_at = 0

    # The exchange

    def begin(self, head: bytes, delivery: Delivery, deadline: Nanos, done: Callable[[Answer], object]) -> None:
        """Send a request.

        Args:
            head: Request line and headers of the delivery, with the empty line.
            delivery: What it belongs to.
            deadline: When to ``expire``.
            done: Is called once with the answer, later, unless the exchange is aborted.
        """
        assert self._waiter is None, "one exchange at a time"
        self._waiter = done
        if self._fed:
            self._reset()  # What the last answer left; one that came before has left nothing.
        self._bodiless = delivery.method == "HEAD"  # The answer ends with its head, whatever length it announces.
        self._timeout_ms = delivery.timeout_ms
        self.deadline = deadline
        self.reusable = False
        body = delivery.body
        transport = self._transport
        if transport is None or transport.is_closing():
            self._sent_at = self._mono()
            self._end("closed", "connection closed before the request was sent")
            return
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        if len(body) <= JOIN_MAX:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._sent_at = self._mono()

    def expire(self) -> None:
        """End the exchange because its time is up."""
        self.deadline = NEVER
        if self._waiter is not None:
            what = "the rest of the answer" if self._fed else "an answer"
            self._end("timeout", f"no end within {self._timeout_ms} ms: waiting for {what}")

    def stop(self) -> None:
        """End the exchange, if there is one, and drop the connection: the server is closing."""
        if self._waiter is not None:
            self._end("local", "this server stopped before the answer was complete")
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once; an open exchange is forgotten, not answered."""
        self._waiter = None
        self.deadline = NEVER
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection in order."""
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast("asyncio.Transport", transport)

    def resume_writing(self) -> None:
        """Most of a large body is out now: count the wait for the answer from here."""
        if not self._fed:
            self._sent_at = self._mono()

    def data_received(self, data: bytes) -> None:
        """Read a piece of the answer."""
        if self._waiter is None:
            # The parser takes empty lines after an answer as nothing; so it must be when they come late.
            if data.strip(b"\r\n"):
                self.abort()  # Nobody asked.
            return
        fed = self._fed
        if not fed:
            self._first_at = self._mono()
            head = self._recognised(data) if len(data) <= _PLAIN_MAX else None
            if head is not None:
                self._conclude_known(head, data)
                return
            if not data.startswith(_START):
                self._prefix = data[:_PREFIX_MAX]
        elif self._prefix is not None and len(self._prefix) < _PREFIX_MAX:
            self._prefix += data[:_PREFIX_MAX]
        limits = self._limits
        room = (limits.head_bytes if not self._head_done else limits.head_bytes + limits.read) - fed
        self._fed = fed + len(data)
        if len(data) <= room:
            self._feed(data)
        else:
            self._feed_capped(data, fed)

    def eof_received(self) -> None:
        """Take the end of the stream as the end of the answer if it may be; the transport closes itself."""
        if self._waiter is not None:
            self._stream_ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is open; from here on this object is of no use."""
        if self._waiter is not None:
            self._stream_ended(exc)
        self.reusable = False
        self._parser = None  # It holds this object too.
        self._lost(self)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Notice bytes after the end."""
        if self._complete:
            self._leftover = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        sink = self._sink
        sink.append((name.decode("latin-1"), value.rstrip(b" \t").decode("latin-1")))
        if len(sink) > self._limits.headers:
            self._broken = ("too-large", f"the answer has more than {self._limits.headers} headers")
            raise ValueError  # The parser stops here.

    def on_headers_complete(self) -> None:
        """Judge a head: of an informational answer, or of the real one."""
        if self._complete:
            return
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if (self._prefix is not None or self._informational) and not self._is_http1(parser):
            self._broken = ("protocol", "the answer is not HTTP/1.x")
            raise ValueError
        if status < 200:
            self._inform(status)
            return
        self._status = status
        self._headers = tuple(self._sink)
        self._sink = []
        self._head_done = True
        if self._bodiless:
            self._complete = True  # The parser would now wait for a body, so the connection ends here.

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, up to the cap."""
        if self._complete:
            return
        read = self._body_read
        self._body_read = read + len(data)
        stored = self._limits.stored
        if self._body_read <= stored:
            self._body.append(data)
        elif read < stored:
            self._body.append(data[: stored - read])

    def on_message_complete(self) -> None:
        """Notice the end of the real answer."""
        if self._head_done and not self._complete:
            assert self._parser is not None
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # Answers as they came before

    def _recognised(self, data: bytes) -> Head | None:
        """Return what the head of an answer says if it came before, and the body is here."""
        end = data.find(_END)
        head = self._familiar.get(data[:end]) if end > 0 else None
        if head is None or len(data) - end - len(_END) != head.length or self._bodiless:
            return None
        return head

    def _conclude_known(self, head: Head, data: bytes) -> None:
        """End the exchange with an answer that is whole; nothing of it was written down here."""
        body = data[len(data) - head.length :] if head.length else b""
        answer = Answer(head.status, head.headers, body, began=True)
        tell = self._finish(answer, keep=head.keep)
        tell(answer)  # The last thing done here, so it need not wait for the loop to come round.

    def _learn(self, data: bytes) -> None:
        """Keep what the head says of an answer that came in one piece, if all that follows it is its body."""
        end = data.find(_END)
        plain = len(data) - end - len(_END) == self._body_read <= self._limits.stored and not self._informational
        if plain and self._prefix is None and not (self._bodiless or self._leftover) and end <= MAX_BYTES:
            key = data[:end]
            if self._familiar.came_before(key):
                assert self._status is not None
                self._familiar.remember(key, Head(self._status, self._headers, self._body_read, self._keep))

    # How it ends

    def _inform(self, status: int) -> None:
        self._informational += 1
        self._sink = []
        if status == 101:
            self._broken = ("protocol", "the answer switches protocols, which was not asked for")
        elif status < 100:
            self._broken = ("protocol", f"the answer has the status {status}")
        elif self._informational > self._limits.informational:
            self._broken = ("protocol", f"more than {self._limits.informational} informational answers")
        else:
            return
        raise ValueError

    def _is_http1(self, parser: HttpResponseParser) -> bool:
        # Why the prefix: the parser takes other protocols of the family for HTTP, and does not tell.
        if self._prefix is not None and not self._prefix.lstrip(b"\r\n").startswith(_START):
            return False
        return parser.get_http_version().startswith("1.")

    def _feed(self, data: bytes) -> None:
        """Parse a piece, and end the exchange if it ends in it."""
        parser = self._parser
        assert parser is not None
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as problem:
            if not self._complete:
                error, detail = self._broken or ("protocol", f"the answer is not HTTP as we accept it: {problem}")
                self._end(error, detail)
                return
            self._leftover = True
        if self._complete:
            if self._fed == len(data) <= _PLAIN_MAX:
                self._learn(data)
            self._end()
        elif self._body_read > self._limits.read:
            self._end(truncated=True)

    def _feed_capped(self, data: bytes, fed: int) -> None:
        """Parse a piece that runs over a cap, exactly up to the cap."""
        limits = self._limits
        start = 0
        if not self._head_done:
            start = max(0, limits.head_bytes - fed)
            self._feed(data[:start])
            if self._waiter is None:
                self.abort()  # The rest is more than was asked for.
                return
            if not self._head_done:
                self._end("too-large", f"the head of the answer is larger than {limits.head_bytes} bytes")
                return
        end = limits.head_bytes + limits.read - fed
        self._feed(data[start:end])
        if end >= len(data):
            return
        if self._waiter is None:
            self.abort()
        else:
            self._end(truncated=True)

    def _stream_ended(self, problem: Exception | None) -> None:
        if self._head_done and problem is None and self._ends_with_stream() and self._ended_in_order():
            self._end()
            return
        how = "reset" if isinstance(problem, ConnectionResetError) else "closed"
        if not self._fed:
            where = "before an answer"
        else:
            where = "inside the body of the answer" if self._head_done else "inside the head of the answer"
        self._end("closed", f"connection {how} {where}")

    def _ends_with_stream(self) -> bool:
        """Whether the head leaves the end of the body to the end of the connection (RFC 9112, 6.3)."""
        coding = None
        for name, value in self._headers:
            lower = name.lower()
            if lower == "content-length":
                return False
            if lower == "transfer-encoding":
                coding = value
        return coding is None or coding.rpartition(",")[2].strip().lower() != "chunked"

    def _ended_in_order(self) -> bool:
        """Whether a TLS peer said that this is the end; anybody on the way can cut a connection."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except (ssl.SSLError, OSError):
            return False

    def _end(self, error: str | None = None, detail: str = "", *, truncated: bool = False) -> None:
        """End the exchange, and tell the answer soon: what is told may not find this object in the midst of reading."""
        tell, answer = self._conclude(error, detail, truncated=truncated)
        asyncio.get_running_loop().call_soon(tell, answer)

    def _conclude(
        self, error: str | None = None, detail: str = "", *, truncated: bool = False
    ) -> tuple[Callable[[Answer], object], Answer]:
        """End the exchange, and keep the connection or drop it; return whom to tell, and what."""
        body = self._body
        answer = Answer(
            self._status,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            truncated or self._body_read > self._limits.stored,
            error,
            detail,
            self._fed > 0,
        )
        keep = self._keep and error is None and not (truncated or self._leftover)
        return self._finish(answer, keep=keep), answer

    def _finish(self, answer: Answer, *, keep: bool) -> Callable[[Answer], object]:
        """Note when the exchange ended, and keep the connection or drop it; return whom to tell."""
        waiter = self._waiter
        assert waiter is not None
        self._waiter = None
        self.deadline = NEVER
        self.ended_at = now = self._mono()
        if answer.began:
            answer.first_byte = max(0, self._first_at - self._sent_at) // 1000
            answer.body_time = (now - self._first_at) // 1000
        transport = self._transport
        if keep and transport is not None:
            # Why: an early answer leaves a rest of the request in the buffer.
            self.reusable = transport.get_write_buffer_size() == 0 and not transport.is_closing()
        if not self.reusable and transport is not None:
            transport.abort()
        return waiter
