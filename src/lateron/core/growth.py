"""How fast something grows, from looks at it: the line between the oldest look of a day and the newest."""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from lateron.core.values import DAY, MINUTE, Millis

WINDOW: Final[Millis] = DAY  # Longer than the ups and downs of one.
SOONEST: Final[Millis] = 10 * MINUTE  # Less says nothing.


class Forecast(Struct, frozen=True):
    """What is to be expected if it goes on like that."""

    per_day: int  # Bytes; negative if it shrinks.
    over: Millis  # For how long it was looked at.
    full_in: Millis | None  # None: never.


class Growth:
    """Sizes that were seen, of the last day."""

    def __init__(self) -> None:
        self._seen: deque[tuple[Millis, int]] = deque()

    def note(self, now: Millis, size: int) -> None:
        """Note a size; after a step back of the clock it begins anew."""
        if self._seen and now < self._seen[-1][0]:
            self._seen.clear()
        self._seen.append((now, size))
        while self._seen[0][0] < now - WINDOW:
            self._seen.popleft()

    def forecast(self, room: int) -> Forecast | None:
        """Return what is to be expected; None while it is too early to say.

        Args:
            room: Bytes that are free for it to grow into.
        """
        if not self._seen:
            return None
        (begun, first), (ended, last) = self._seen[0], self._seen[-1]
        over, grown = ended - begun, last - first
        if over < SOONEST:
            return None
        return Forecast(grown * DAY // over, over, max(0, room) * over // grown if grown > 0 else None)
