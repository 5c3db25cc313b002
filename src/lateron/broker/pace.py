"""No stampede after a start: the caps on open attempts open step by step while a backlog is worked off.

A server that was down finds everything due at once that came due meanwhile, and so do its receivers. For some
seconds after such a start the cap of each host and that of the whole server are a share of what is set,
and double from step to step: with 128 and ten seconds 2, 4, 8, 16, 32, 64, each for a sixth of the time.
A start with hardly a backlog has nothing to spread and is at full width at once.
"""

from __future__ import annotations

from typing import Final

from lateron.core.flow import UNBOUNDED
from lateron.core.values import Millis

STEPS: Final = 6
WIDEST: Final = 1024  # From which a cap that has no bound opens.


class Pace:
    """How far caps are open, from a start on."""

    def __init__(self, start: Millis, ramp_ms: Millis) -> None:
        self._start = start
        self._ramp_ms = ramp_ms
        self._step = STEPS if ramp_ms <= 0 else 0

    def stepped(self, now: Millis) -> bool:
        """Go on to the step of ``now``; say whether that is another one."""
        before = self._step
        if now < self._start:
            self._step = STEPS  # The clock was set back; do not crawl until it has caught up.
        elif before < STEPS:
            self._step = min(STEPS, max(before, (now - self._start) * STEPS // self._ramp_ms))
        return self._step != before

    def cap(self, most: int | None, now: Millis) -> int | None:
        """Return a cap as it is at ``now``; None is no bound."""
        self.stepped(now)
        if self._step == STEPS:
            return most
        return max(1, (WIDEST if most is None else min(most, UNBOUNDED)) >> (STEPS - self._step))

    def next_step(self, now: Millis) -> Millis | None:
        """Return when the caps open further; None if they are open."""
        self.stepped(now)
        return None if self._step == STEPS else self._start + -(-(self._step + 1) * self._ramp_ms // STEPS)
