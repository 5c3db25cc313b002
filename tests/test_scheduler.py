"""Retention runs by itself, and a clock that jumps cannot empty the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import pytest

from lateron.broker.bulk import Broker
from lateron.broker.schedules import Schedules, next_tick
from lateron.broker.views import Limits
from lateron.core.recurring import NewSchedule, Rules
from lateron.core.values import DAY, HOUR, MINUTE, Millis, Options, Request
from lateron.errors import StorageFull, StoreBusy
from lateron.runtime import Nanos, SystemClock, id_maker
from lateron.scheduler import CONFIRM, Scheduler, SteadyClock
from lateron.store.sqlite import SqliteStore, open_memory

START: Millis = 1_700_000_000_000


T = TypeVar("T")


def mono(ms: Millis) -> Nanos:
    return Nanos(ms * 1_000_000)


class Stepped(SystemClock):
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


class Counting(Broker):
    """Has three pieces to sweep, and notes of each whether the store was over its size."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store, id_maker(), 1, Limits())
        self.pieces: list[bool] = []

    def sweep(self, now: Millis, *, over_size: bool = False) -> bool:
        assert now == START
        self.pieces.append(over_size)
        return len(self.pieces) < 3


def test_a_sweep_goes_on_until_nothing_is_left() -> None:
    """Pieces run between other transactions; the store over its size gives up its oldest history."""
    store = open_memory(0)
    broker = Counting(store)

    async def run(work: Callable[[Broker, Millis], T], /) -> T:
        return work(broker, START + DAY)

    scheduler = Scheduler(run, Stepped(), store.used_bytes, store.shrink, history_bytes=1)
    asyncio.run(scheduler.sweep())

    assert broker.pieces == [True, True, True]


@pytest.mark.parametrize("error", [StorageFull, StoreBusy])
def test_a_sweep_goes_on_where_no_space_can_be_given_back(error: type[Exception]) -> None:
    """On a nearly full disk the log has no room for that; what is old is deleted, and no reserve is spent."""

    def shrink(_: int) -> None:
        raise error

    store = open_memory(0)
    broker = Counting(store)

    async def run(work: Callable[[Broker, Millis], T], /) -> T:
        return work(broker, START)  # What it raises would spend the reserve.

    asyncio.run(Scheduler(run, Stepped(), store.used_bytes, shrink).sweep())

    assert len(broker.pieces) == 3


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


def test_jobs_go_on_when_they_may_and_a_failure_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is full, or a job that cannot be read, is asked again a second later; so is a clock set back."""
    clock, naps, calls = Stepped(), list[float](), list[Millis]()
    alarms = iter([None, START + 400, START, START, START + HOUR, None])
    faults = iter([None, StorageFull(), ValueError(), None])

    async def nap(seconds: float) -> None:
        if seconds:
            naps.append(seconds)
            clock.wall_now += int(seconds * 1000)

    async def run(_work: Callable[[Broker, Millis], T], /) -> T:
        calls.append(clock.wall_now)
        fault = next(faults)
        if fault is not None:
            raise fault
        return cast("T", None)

    def next_job() -> Millis | None:
        try:
            return next(alarms)
        except StopIteration:
            raise asyncio.CancelledError from None

    monkeypatch.setattr("lateron.scheduler.asyncio.sleep", nap)
    store = open_memory(0)
    scheduler = Scheduler(run, clock, store.used_bytes, store.shrink)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scheduler.jobs(next_job, store.empty_log))

    assert naps == [1.0, 1.0, 1.0, 1.0, 1.0]
    assert [time - START for time in calls] == [1000, 1000, 2000, 4000]


class Loop:
    """Drives the loop of ticks: both clocks go on by each nap, and the wall clock is off as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offsets: Callable[[int], Millis], seconds: int) -> None:
        self.clock, self.ticked = Stepped(), list[Millis]()
        self._store = open_memory(START)
        self.broker = Broker(self._store, id_maker(), 1, Limits())
        self.broker.open("test", START)
        self.broker.add_tenant(1, "one", START)
        self._true = 0

        async def nap(span: float) -> None:
            self._true += int(span * 1000)
            if self._true > seconds * 1000:
                raise asyncio.CancelledError
            self.clock.wall_now, self.clock.mono_now = START + self._true + offsets(self._true // 1000), self._true

        monkeypatch.setattr("lateron.scheduler.asyncio.sleep", nap)

    def create(self, cron: str, **rules: str) -> None:
        request = Request("http://one/", "POST", (), None, Options())
        new = NewSchedule(1, "s", cron, Rules(**rules), request)  # type: ignore[arg-type]
        Schedules(self.broker).create(new, START)

    def run(self) -> list[Millis]:
        """Run the loop to its end; return the instants that have ticked, as seconds after the start."""

        async def work(do: Callable[[Broker, Millis], T], /) -> T:
            return do(self.broker, self.clock.wall_now)

        scheduler = Scheduler(work, self.clock, self._store.used_bytes, self._store.shrink)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(scheduler.ticks(partial(next_tick, self.broker), MINUTE))
        rows = self._store._connection.execute("SELECT time FROM tick ORDER BY time")
        return [(cast("Millis", time) - START) // 1000 for (time,) in rows]


@pytest.mark.promise("P-83", "F-20")
def test_a_strobing_clock_neither_doubles_nor_floods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten years on, an hour back, right again, every five seconds: only what is true for a minute is ticked by."""
    steps = (3652 * DAY, -HOUR, 0, -3652 * DAY)
    loop = Loop(monkeypatch, lambda second: steps[second // 5 % len(steps)], 1800)
    loop.create("@every 1m", missed="all")

    ticked = loop.run()

    assert len(ticked) == len(set(ticked))
    assert set(ticked) <= set(range(60, 1801, 60)), "no instant of another time"
    assert len(ticked) >= 28, "and nearly all of this one"


@pytest.mark.promise("P-83", "P-89", "F-20")
def test_a_minute_of_the_wrong_decade_costs_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was due meanwhile runs when the clock is right again."""
    loop = Loop(monkeypatch, lambda second: 3652 * DAY if 100 <= second < 150 else 0, 300)
    loop.create("@every 1m", missed="all")
    assert loop.run() == [60, 120, 180, 240, 300]


@pytest.mark.promise("P-82", "F-20", "F-23")
def test_after_days_of_sleep_ticks_go_on_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock stands while a machine sleeps: that is no reason to wait for long."""
    loop = Loop(monkeypatch, lambda second: 3 * DAY if second >= 90 else 0, 300)
    loop.create("@every 1m")
    asleep = 3 * DAY // 1000
    assert loop.run() == [60, asleep + 120, asleep + 180, asleep + 240, asleep + 300]


@pytest.mark.promise("P-82", "F-23")
def test_after_hours_of_sleep_ticks_go_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that is opened in the morning has missed the night, and nothing of the morning."""
    loop = Loop(monkeypatch, lambda second: 8 * HOUR if second >= 90 else 0, 200)
    loop.create("@every 1m")
    asleep = 8 * HOUR // 1000
    assert loop.run() == [60, asleep + 60, asleep + 120, asleep + 180]


@pytest.mark.promise("P-98", "F-20")
def test_a_jump_over_a_restart_waits_for_confirmation_too() -> None:
    """The store knows when it was swept last; a start with a clock of years on deletes nothing for ten minutes."""
    store = open_memory(START)
    swept: list[Millis] = []

    class Watched(Broker):
        def sweep(self, now: Millis, *, over_size: bool = False) -> bool:
            swept.append(now)
            return super().sweep(now, over_size=over_size)

    broker, clock = Watched(store, id_maker(), 1, Limits()), Stepped()

    async def run(work: Callable[[Broker, Millis], T], /) -> T:
        return work(broker, clock.wall_now)

    def sweep(scheduler: Scheduler, wall: Millis, after: Millis) -> bool:
        clock.wall_now, clock.mono_now = wall, after
        before = len(swept)
        asyncio.run(scheduler.sweep())
        return len(swept) > before

    first = Scheduler(run, clock, store.used_bytes, store.shrink)
    assert sweep(first, START, 0)
    assert sweep(first, START + MINUTE, MINUTE)

    far = START + 3652 * DAY
    again = Scheduler(run, clock, store.used_bytes, store.shrink)
    assert not sweep(again, far, 0)
    assert not sweep(again, far + CONFIRM - 1000, CONFIRM - 1000)
    assert sweep(again, far + CONFIRM, CONFIRM)

    back = Scheduler(run, clock, store.used_bytes, store.shrink)
    assert not sweep(back, START + HOUR, 0)
    assert sweep(back, START + HOUR + CONFIRM, CONFIRM)


@pytest.mark.promise("P-98", "F-20")
def test_a_jump_before_the_very_first_sweep_waits_for_confirmation_too() -> None:
    """A new store has no last sweep to compare with; the clock at the start of the process will do."""
    store, clock = open_memory(START), Stepped()
    swept: list[Millis] = []

    class Watched(Broker):
        def sweep(self, now: Millis, *, over_size: bool = False) -> bool:
            swept.append(now)
            return super().sweep(now, over_size=over_size)

    broker = Watched(store, id_maker(), 1, Limits())

    async def run(work: Callable[[Broker, Millis], T], /) -> T:
        return work(broker, clock.wall_now)

    scheduler = Scheduler(run, clock, store.used_bytes, store.shrink)
    clock.wall_now, clock.mono_now = START + 3650 * DAY, 30_000
    asyncio.run(scheduler.sweep())

    assert swept == []
