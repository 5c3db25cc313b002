"""A clock that stands until it is moved, and then wakes who sleeps by it, one instant after another.

It is the clock of a whole server: what is delayed, retried, scheduled, limited in rate or timed out sleeps by it.
Nothing else moves it, so between two moves a test has all the time in the world, and a slow machine changes nothing.

A machine's clock may be stepped, which is why sleepers ask to look again from time to time. This one is stepped only
here: whoever asked looks again at every move, and in between there is nothing to be seen.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from typing import Final

from lateron.core.values import Millis
from lateron.runtime import Alarm, Nanos

_UPTIME: Final = 1_000_000_000_000  # What ``mono`` shows at the start: no machine has just begun.


class MovableClock:
    """See the module; all but ``wall`` and ``mono`` belongs to one event loop.

    Args:
        start: What it shows at first.
    """

    def __init__(self, start: Millis) -> None:
        self._start = self._now = start
        self._alarms: dict[int, _Alarm] = {}  # By number, so in the order in which they were set.
        self._numbers = itertools.count()
        self._awake: set[asyncio.Task[object]] = set()

    def wall(self) -> Millis:
        """Return milliseconds since 1970."""
        return self._now

    def mono(self) -> Nanos:
        """Return nanoseconds; both readings move together."""
        return Nanos(_UPTIME + (self._now - self._start) * 1_000_000)

    def wake(
        self, callback: Callable[[], object], *, after: float | None = None, recheck: float | None = None
    ) -> Alarm:
        """Call back when the clock has been moved so far, or has been moved at all if ``recheck`` is given."""
        if after is not None and after <= 0:
            return asyncio.get_running_loop().call_soon(callback)
        # What is finer than a millisecond comes late, never early; a rounding error is none of that.
        due = None if after is None else self._now + math.ceil(after * 1000 - 1e-6)
        alarm = _Alarm(due, recheck is not None, callback, self._alarms, next(self._numbers))
        self._alarms[alarm.number] = alarm
        return alarm

    async def nap(self, *, after: float | None = None, recheck: float | None = None) -> None:
        """Sleep until ``wake`` would call."""
        task = asyncio.current_task()
        assert task is not None
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stir() -> None:
            if not woken.done():
                self._awake.add(task)
                woken.set_result(None)

        self._awake.discard(task)
        alarm = self.wake(stir, after=after, recheck=recheck)
        try:
            await woken
        finally:
            alarm.cancel()

    # For who moves it.

    @property
    def awake(self) -> bool:
        """Whether somebody who was woken from a nap does not sleep again yet."""
        self._awake = {task for task in self._awake if not task.done()}
        return bool(self._awake)

    def next(self) -> Millis | None:
        """Return the next instant at which somebody wants to be woken."""
        return min((alarm.due for alarm in self._alarms.values() if alarm.due is not None), default=None)

    def move(self, to: Millis) -> None:
        """Show another time; wake who waited for it, in order, and let all look again who asked for that."""
        assert to >= self._now, "time does not run backwards"
        self._now = to
        due = [alarm for alarm in self._alarms.values() if alarm.due is not None and alarm.due <= to]
        for alarm in sorted(due, key=lambda one: (one.due, one.number)):
            alarm.ring()
        for alarm in [alarm for alarm in self._alarms.values() if alarm.looks_again]:
            alarm.ring()


class _Alarm:
    """A call that is to come."""

    __slots__ = ("_callback", "_others", "due", "looks_again", "number")

    def __init__(
        self,
        due: Millis | None,
        looks_again: bool,
        callback: Callable[[], object],
        others: dict[int, _Alarm],
        number: int,
    ) -> None:
        self.due = due
        self.looks_again = looks_again
        self.number = number
        self._callback = callback
        self._others = others

    def cancel(self) -> None:
        self._others.pop(self.number, None)

    def ring(self) -> None:
        """Call, unless it was cancelled by a call before."""
        if self._others.pop(self.number, None) is not None:
            self._callback()
