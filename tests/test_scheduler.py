"""Retention runs by itself, and a clock that jumps cannot empty the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, cast

import pytest

from lateron.broker.bulk import Broker
from lateron.broker.views import Limits
from lateron.core.values import DAY, HOUR, MINUTE, Millis
from lateron.errors import StorageFull
from lateron.runtime import Nanos, id_maker
from lateron.scheduler import CONFIRM, Scheduler, SteadyClock
from lateron.store.sqlite import open_memory

START: Millis = 1_700_000_000_000


T = TypeVar("T")


def mono(ms: Millis) -> Nanos:
    return Nanos(ms * 1_000_000)


class Stepped:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.wall_now = START
        self.mono_now: Millis = 0

    def wall(self) -> Millis:
        return self.wall_now

    def mono(self) -> Nanos:
        return mono(self.mono_now)


@pytest.mark.promise("P-98", "F-20")
def test_a_step_of_years_waits_for_confirmation() -> None:
    """One bad minute of time service deletes nothing; a second reading ten minutes later is believed."""
    steady = SteadyClock(START, mono(0))
    assert steady.trusted(START + HOUR, mono(HOUR))

    future = START + 3650 * DAY
    assert not steady.trusted(future, mono(HOUR + MINUTE))
    assert not steady.trusted(future + 5 * MINUTE, mono(HOUR + 6 * MINUTE))
    assert steady.trusted(future + CONFIRM, mono(HOUR + MINUTE + CONFIRM))
    assert steady.trusted(future + CONFIRM + HOUR, mono(2 * HOUR + MINUTE + CONFIRM))


def test_a_step_that_is_taken_back_never_happened() -> None:
    """Doubt ends when the clock is right again."""
    steady = SteadyClock(START, mono(0))
    assert not steady.trusted(START - 365 * DAY, mono(MINUTE))
    assert steady.trusted(START + 2 * MINUTE, mono(2 * MINUTE))
    assert not steady.trusted(START + 365 * DAY, mono(2 * CONFIRM))


def test_a_sweep_goes_on_until_nothing_is_left() -> None:
    """Pieces run between other transactions; the store over its size gives up its oldest history."""
    pieces: list[bool] = []

    class Counting(Broker):
        def sweep(self, now: Millis, *, over_size: bool = False) -> bool:
            assert now == START
            pieces.append(over_size)
            return len(pieces) < 3

    store = open_memory(0)
    broker = Counting(store, id_maker(), 1, Limits())

    async def run(work: Callable[[Broker, Millis], T], /) -> T:
        return work(broker, START + DAY)

    scheduler = Scheduler(run, Stepped(), store.used_bytes, store.shrink, history_bytes=1)
    asyncio.run(scheduler.sweep())

    assert pieces == [True, True, True]


@pytest.mark.promise("P-88", "P-89", "F-20")
def test_ticks_are_looked_for_when_they_are_due_and_until_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than a second late, whatever the clock does; a failing store is asked again."""
    clock, naps, calls = Stepped(), list[float](), list[Millis]()
    alarm: list[Millis | None] = [START + 400]
    more = iter([True, True, False])

    async def nap(seconds: float) -> None:
        if seconds:
            naps.append(seconds)
            clock.wall_now += int(seconds * 1000)
        if len(naps) > 4:
            raise asyncio.CancelledError

    async def run(_work: Callable[[Broker, Millis], T], /) -> T:
        calls.append(clock.wall_now)
        if len(calls) == 1:
            raise StorageFull
        again = next(more)
        alarm[0] = START if again else START + HOUR
        return cast("T", again)

    monkeypatch.setattr("lateron.scheduler.asyncio.sleep", nap)
    store = open_memory(0)
    scheduler = Scheduler(run, clock, store.used_bytes, store.shrink)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scheduler.ticks(lambda _: alarm[0], MINUTE))

    assert naps == [0.4, 1.0, 1.0, 1.0, 1.0]
    assert calls == [START + 400, START + 1400, START + 1400, START + 1400]
