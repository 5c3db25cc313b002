"""The checksum that ties a stored request together.

It covers everything that will be sent, so a flipped bit in the store can never become a message with
another body, header or target: a mismatch is found before the attempt, and nothing is sent.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from msgspec import msgpack

_MEMO_MAX: Final = 1024  # Bytes; larger bodies are not remembered, so that the memory stays below a megabyte.

_encode = msgpack.Encoder().encode


def body_sha256(body: bytes | None) -> bytes:
    """Return the SHA-256 of a body; an absent body hashes as the empty one, because that is what is sent."""
    return _remembered(body or b"") if body is None or len(body) <= _MEMO_MAX else sha256(body).digest()


@lru_cache(maxsize=512)  # A message that is sent at once is stored and signed a moment apart, with the same bytes.
def _remembered(body: bytes) -> bytes:
    return sha256(body).digest()


def request_digest(url: str, method: str, headers: bytes, options: bytes, body: bytes | None) -> bytes:
    """Return 32 bytes over all parts of a stored request, each with its length, so no two splits collide."""
    return sha256(_encode((url, method, headers, options, body_sha256(body)))).digest()
