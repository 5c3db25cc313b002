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
from enum import IntEnum
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


class Delivery(Struct, frozen=True):
    """One request to make."""

    tenant: Tenant
    destination: Destination
    method: str
    headers: Headers  # All but Host and framing, which are written here; such are dropped from it.
    body: bytes
    timeout_ms: Millis  # Wall to wall: from the call of ``Egress.send`` to the end of the answer.


class _Name(IntEnum):
    SENT = 0
    DROPPED = 1
    ENCODING = 2
    BAD = 3


_SENT: Final = _Name.SENT


def encode_head(delivery: Delivery) -> bytes:
    """Return the request line and headers, up to and including the empty line.

    ``Accept-Encoding: identity`` is added unless the publisher forwarded a choice of his own: an answer is
    kept as it is received and never decompressed.

    Raises:
        Failure: A name, a value or the method cannot be sent; class "protocol".
    """
    destination = delivery.destination
    method = delivery.method
    lines = [f"{method} {destination.target} HTTP/1.1\r\nHost: {destination.authority}"]
    chosen = False
    for name, value in delivery.headers:
        meaning = _meaning(name)
        if meaning is not _SENT:
            if meaning is _Name.DROPPED:
                continue
            if meaning is _Name.BAD:
                raise Failure("protocol", f"not sent: {name[:50]!r} is not a header name")
            chosen = True
        lines.append(f"{name}: {value}")
    if not chosen:
        lines.append("Accept-Encoding: identity")
    if delivery.body or method not in _BODILESS:
        lines.append(f"Content-Length: {len(delivery.body)}")
    lines.append("\r\n")
    try:
        head = "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        raise Failure("protocol", f"not sent: {_guilty(delivery)} is not latin-1 text") from None
    # The first line holds two, each further one is joined by one, the last is an empty one.
    if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(lines) + 1):
        raise Failure("protocol", f"not sent: {_guilty(delivery)} holds a control character")
    if _TOKEN.fullmatch(method) is None:
        raise Failure("protocol", f"not sent: {method[:50]!r} is not a method")
    return head


@lru_cache(maxsize=1024)  # Names repeat in every delivery.
def _meaning(name: str) -> _Name:
    if _TOKEN.fullmatch(name) is None:
        return _Name.BAD
    lower = name.lower()
    if lower in FRAMING or lower.startswith("proxy-"):
        return _Name.DROPPED
    return _Name.ENCODING if lower == "accept-encoding" else _Name.SENT


def _guilty(delivery: Delivery) -> str:
    """Name the header whose value cannot be sent, without showing the value: it may be a secret."""
    for name, value in delivery.headers:
        if not value.isascii() or any(ord(character) < 32 or ord(character) == 127 for character in value):
            return f"the value of {name[:100]}"
    return "the request line"
