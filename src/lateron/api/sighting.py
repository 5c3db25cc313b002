"""Heads that came before: what they say is known without reading them again.

A service that publishes sends the same head with every message: one destination, one token, the headers of its
client library. Only the number in ``Content-Length`` differs. So the head of a publish that came twice is kept
without that number, with what it was found to say, and the third time neither the parser nor anybody else looks
at it. A head that differs in any other byte, as by an id of its own, is read like all others; what it costs to
find that out is a look into a table.

Nothing is remembered about the body, the time or who the token belongs to: these are asked anew each time.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from lateron.core.familiar import MAX_BYTES

_LENGTH: Final = b"ength: "
_NAMED: Final = b"\ncontent-l"
_MAX_DIGITS: Final = 9


class Sighting(Struct, frozen=True, gc=False):
    """A head as it is remembered, and the body it announces."""

    key: bytes
    length: int


def sighting(data: bytes, end: int, sender: bytes) -> Sighting | None:
    """Take the length out of a head; None if it cannot be done by just looking.

    Args:
        data: Begins with the head.
        end: Where its empty line begins.
        sender: Anything else that what the head says depends on; it is made part of the key.
    """
    at = data.find(_LENGTH, 0, end)
    if at < len(_NAMED) or end > MAX_BYTES or data[at - len(_NAMED) : at].lower() != _NAMED:
        return None
    first = at + len(_LENGTH)
    last = data.find(b"\r", first)  # The empty line has one.
    digits = data[first:last]
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return Sighting(data[:first] + data[last:end] + sender, int(digits))
