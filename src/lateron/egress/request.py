"""The bytes of a request: what a publisher's headers may and may not become on the wire.

Two kinds of header never pass, whatever hands them over. Headers that frame a message or belong to one
connection are ours to write, and are dropped: a forwarded ``Content-Length: 5`` before a body of three
bytes would make the receiver take the next request for the rest of this one. And nothing that is not a
token and a line of text passes at all: the request is not sent, because a request with a header left out
in silence is not what was published. Both are refused at publish already; this is the last door.

Header texts are latin-1, one character a byte, so a name or value goes out as the bytes that came in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from lateron.core.destination import Destination
from lateron.core.values import Headers, Millis, Tenant
from lateron.egress.failure import Failure

# Why: one write is one packet and one system call; from here on copying a body costs more than that.
JOIN_MAX: Final = 64 * 1024

FRAMING: Final = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "trailers",
    "upgrade", "expect", "http2-settings",
})  # fmt: skip
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})  # Without a body they announce none.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])  # All but the tab.


class Delivery(Struct, frozen=True, gc=False):
    """One request to make."""

    tenant: Tenant
    destination: Destination
    method: str
    headers: Headers  # All but Host and framing, which are written here; such are dropped from it.
    body: bytes
    timeout_ms: Millis  # Wall to wall: from the call of ``Egress.send`` to the end of the answer.
    own: Headers = ()  # More headers, ours and of this request alone; the others are often those of many.


def encode_head(delivery: Delivery) -> bytes:
    """Return the request line and headers, up to and including the empty line.

    ``Accept-Encoding: identity`` is added unless the publisher forwarded a choice of his own: an answer is
    kept as it is received and never decompressed.

    Raises:
        Failure: A name, a value or the method cannot be sent; class "protocol".
    """
    destination = delivery.destination
    head = _lasting(delivery.method, destination.target, destination.authority, delivery.headers)
    if delivery.own:
        head += _lines(delivery.own)
    if delivery.body or delivery.method not in _BODILESS:
        return b"%bContent-Length: %d\r\n\r\n" % (head, len(delivery.body))
    return head + b"\r\n"


@lru_cache(maxsize=256)  # Messages to one destination mostly differ only in what is their own.
def _lasting(method: str, target: str, authority: str, headers: Headers) -> bytes:
    """Return the request line, Host, and the headers that are not of one request alone."""
    if _TOKEN.fullmatch(method) is None:
        raise Failure("protocol", f"not sent: {method[:50]!r} is not a method")
    if not (target.isascii() and target.isprintable()):  # No destination is otherwise.
        raise Failure("protocol", "not sent: the target of the request line is not visible ASCII")
    _check_names(headers)
    sent = [header for header in headers if not _is_framing(header[0].lower())]
    if not any(name.lower() == "accept-encoding" for name, _ in sent):
        sent.append(("Accept-Encoding", "identity"))
    return f"{method} {target} HTTP/1.1\r\n".encode("ascii") + _lines((("Host", authority), *sent))


def _lines(headers: Headers) -> bytes:
    _check_names(headers)
    try:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
    except UnicodeEncodeError:
        raise Failure("protocol", f"not sent: {_guilty(headers)} is not latin-1 text") from None
    if len(lines) - len(lines.translate(None, _CONTROLS)) != 2 * len(headers):
        raise Failure("protocol", f"not sent: {_guilty(headers)} holds a control character")
    return lines


def _check_names(headers: Headers) -> None:
    bad = _bad_name(tuple([name for name, _ in headers]))
    if bad is not None:
        raise Failure("protocol", f"not sent: {bad[:50]!r} is not a header name")


@lru_cache(maxsize=1024)  # One publisher's messages have the same names again and again.
def _bad_name(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if _TOKEN.fullmatch(name) is None), None)


def _is_framing(name: str) -> bool:
    return name in FRAMING or name.startswith("proxy-")


def _guilty(headers: Headers) -> str:
    """Name the header whose value cannot be sent, without showing the value: it may be a secret."""
    for name, value in headers:
        if not value.isascii() or any(ord(character) < 32 or ord(character) == 127 for character in value):
            return f"the value of {name[:100]}"
    raise AssertionError("one of them is guilty")
