"""What came before: the same bytes say the same, so what they say need not be found out again.

Publishers and receivers repeat themselves: the head of a request, the head of an answer. Who reads such a thing
keeps what it says, once it came twice, and looks it up from then on. Only what is a function of the bytes alone may
be kept; a test holds every user of this to what reading makes.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_BYTES: Final = 4096  # Of a key; longer ones are not worth their room.
_SLOTS: Final = 1024  # Things remembered at most, and first sightings noted; together a few megabytes.


class Familiar(Generic[T]):
    """What came before, and what it says."""

    def __init__(self) -> None:
        self._known: dict[bytes, T] = {}
        self._seen = [0] * _SLOTS  # Hashes of keys that came once.
        self.get = self._known.get

    def came_before(self, key: bytes) -> bool:
        """Note that an unknown key came; say whether it did lately, and so is worth remembering."""
        hashed = hash(key)
        slot = hashed % _SLOTS
        if self._seen[slot] == hashed:
            return True
        self._seen[slot] = hashed
        return False

    def remember(self, key: bytes, said: T) -> None:
        """Keep what a key says."""
        if len(self._known) >= _SLOTS:
            self._known.clear()  # Those in use are back after two requests.
        self._known[key] = said
