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


class Delivery(Struct, frozen=True):
    """One request to make."""

    tenant: Tenant
    destination: Destination
    method: str
    headers: Headers  # All but Host and framing, which are written here; such are dropped from it.
    body: bytes
    timeout_ms: Millis  # Wall to wall: from the call of ``Egress.send`` to the end of the answer.


class _Plan(Struct, frozen=True):
    """What to do with headers of these names."""

    sent: tuple[bool, ...]  # One for each: it passes.
    all_sent: bool
    encoding: bool  # One of them chooses the encodings of the answer.
    bad: str | None  # One that is no name.


def encode_head(delivery: Delivery) -> bytes:
    """Return the request line and headers, up to and including the empty line.

    ``Accept-Encoding: identity`` is added unless the publisher forwarded a choice of his own: an answer is
    kept as it is received and never decompressed.

    Raises:
        Failure: A name, a value or the method cannot be sent; class "protocol".
    """
    destination = delivery.destination
    method = delivery.method
    headers = delivery.headers
    plan = _plan(tuple([name for name, _ in headers]))
    if plan.bad is not None:
        raise Failure("protocol", f"not sent: {plan.bad[:50]!r} is not a header name")
    if not plan.all_sent:
        headers = tuple(header for header, sent in zip(headers, plan.sent, strict=True) if sent)
    lines = [f"{method} {destination.target} HTTP/1.1\r\nHost: {destination.authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not plan.encoding:
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


@lru_cache(maxsize=1024)  # One publisher's messages have the same names again and again.
def _plan(names: tuple[str, ...]) -> _Plan:
    sent = tuple(not _is_framing(name.lower()) for name in names)
    return _Plan(
        sent,
        all(sent),
        any(name.lower() == "accept-encoding" for name in names),
        next((name for name in names if _TOKEN.fullmatch(name) is None), None),
    )


def _is_framing(name: str) -> bool:
    return name in FRAMING or name.startswith("proxy-")


def _guilty(delivery: Delivery) -> str:
    """Name the header whose value cannot be sent, without showing the value: it may be a secret."""
    for name, value in delivery.headers:
        if not value.isascii() or any(ord(character) < 32 or ord(character) == 127 for character in value):
            return f"the value of {name[:100]}"
    return "the request line"
