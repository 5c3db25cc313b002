"""What a connection may ask of us, and whether the head of a request is one that we read.

The judgements are functions of bytes and numbers; they read, write and await nothing. ``protocol`` asks for them
before the parser sees anything, and acts on what they say.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, NamedTuple

import httptools
from msgspec import Struct

from lateron.core.values import MINUTE, SECOND, Millis

END: Final = b"\r\n\r\n"  # Of a head, and of a chunked body.
HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]+")
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\0")  # What a head never contains, however it is cut.
_ABSOLUTE: Final = re.compile(rb"https?://[^/?]+(/.*)?")


class Limits(Struct, frozen=True):
    """How much a connection may ask of us before it is told no."""

    head_bytes: int = 32_768  # Request line and header lines with their line ends.
    header_lines: int = 200
    target_bytes: int = 16_384  # A destination travels in it.
    head_ms: Millis = 10 * SECOND  # From its first byte to its empty line; for a silent new connection too.
    idle_ms: Millis = 75 * SECOND  # Between an answer and the next request.
    body_grace_ms: Millis = 30 * SECOND  # A body may take that long, and longer only at the rate below.
    body_bytes_per_second: int = 1024
    unread_ms: Millis = MINUTE  # An answer of which not a byte was taken for that long is given up.
    linger_ms: Millis = 2 * SECOND  # How long the sender of a refused request may read the answer.
    connections: int = 10_000
    connections_per_ip: int = 1_000  # Of one peer that is no trusted proxy.


class Refusal(NamedTuple):
    """Why a request is not served."""

    status: int
    reason: str


class Census:
    """Who is connected; shared by all connections of one server, on one thread."""

    def __init__(self) -> None:
        self.total = 0
        self.per_ip: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()  # Refusals so far, by status.

    def enter(self, ip: str | None) -> None:
        """Count a connection; ``None`` for a peer that has no address of its own to be capped by."""
        self.total += 1
        if ip is not None:
            self.per_ip[ip] += 1

    def leave(self, ip: str | None) -> None:
        """Forget a connection that entered with the same ``ip``."""
        self.total -= 1
        if ip is not None:
            self.per_ip[ip] -= 1
            if not self.per_ip[ip]:
                del self.per_ip[ip]


def without_offer(head: bytes) -> bytes:
    """Return a head without the offer to go on in another protocol, which we decline by not seeing it.

    The parser would stop reading HTTP behind it. Some clients (Java's) make the offer with every first request.
    """
    lower = head.lower()
    at = lower.find(b"\nupgrade:")
    while at >= 0:
        end = head.index(b"\n", at + 1)
        head, lower = head[:at] + head[end:], lower[:at] + lower[end:]
        at = lower.find(b"\nupgrade:", at)
    return head


def fault_of_head(head: bytes, limits: Limits) -> Refusal | None:
    """Judge the request line as it came, and the size of it all."""
    line = head[: head.find(b"\r\n")].split(b" ")
    if len(line) != 3 or line[2] not in {b"HTTP/1.1", b"HTTP/1.0"} or not line[0].isalpha():
        return Refusal(400, "invalid HTTP request: the request line is not METHOD TARGET HTTP/1.1")
    method, target, _ = line
    if len(target) > limits.target_bytes:
        return Refusal(414, f"the URL is longer than {limits.target_bytes} bytes")
    if len(head) > limits.head_bytes:
        return Refusal(431, f"the head of the request is longer than {limits.head_bytes} bytes")
    if method in {b"CONNECT", b"TRACE"}:
        return Refusal(501, f"method {method.decode()} is not supported")
    if b"#" in target:
        return Refusal(400, "invalid HTTP request: a '#' in a URL is written %23")
    if not target.startswith(b"/") and not _ABSOLUTE.fullmatch(target):
        return Refusal(400, "the request target must be a path")
    return None


def fault_of_start(start: bytes, seen: int, limits: Limits) -> Refusal | None:
    """Judge the beginning of a head whose end has not come; its first ``seen`` bytes were judged before."""
    if _BARE.search(start, max(0, seen - 1)) or not (start[:1].isalpha() and start[:1].isupper()):
        return Refusal(400, "invalid HTTP request: the head is not made of lines that end in CRLF")
    if len(start) > limits.target_bytes + 32 and b"\r\n" not in start[: limits.target_bytes + 32]:
        return Refusal(414, f"the URL is longer than {limits.target_bytes} bytes")
    if len(start) > limits.head_bytes:
        return Refusal(431, f"the head of the request is longer than {limits.head_bytes} bytes")
    return None


def path_of(target: bytes) -> bytes:
    """Return the path of a request target that was found good; whose name an absolute one says is not our concern."""
    if target.startswith(b"/"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    assert absolute is not None
    return absolute[1] or b"/"


def cause(error: BaseException) -> str:
    """Return what the parser says, in one line."""
    inner = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
    return str(inner or error).splitlines()[0][:200] if str(inner or error) else type(error).__name__
