"""The timer loops: ticks of schedules, bulk jobs, and retention.

A tick is looked for when the first schedule is due, and never later than a second after: so long the loop
sleeps at most, whatever the wall clock does meanwhile. A clock that was set back makes it look too. One that
has jumped by more than a day must stand there for a minute: what a bad minute of time service says is no tick.

Retention deletes only what rests and is older than its limit. A clock that has jumped is not believed at
once: after a step of more than a day between two sweeps, also where a restart lies between them, deletion waits
until a second reading ten minutes later says the same, so that one bad minute of time service cannot empty the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from lateron.broker.bulk import Broker
from lateron.broker.schedules import Schedules
from lateron.core.bulk import Job
from lateron.core.values import DAY, MINUTE, SECOND, Millis
from lateron.errors import LateronError, StorageFull, StoreBusy
from lateron.runtime import Clock, Nanos

log = logging.getLogger("lateron.scheduler")

T = TypeVar("T")

EVERY = 30.0  # Seconds between sweeps.
PIECES = 200  # Of one sweep at most; the rest waits for the next.
LONGEST_NAP = 1.0  # Seconds; a new schedule or a stepped clock is noticed after so long at the latest.
CONFIRM: Millis = 10 * MINUTE  # How long a jumped clock must stand before anything is deleted by it.
CONFIRM_TICKS: Millis = MINUTE  # The same for ticks; less, because a machine that has slept for days jumps too.


class Run(Protocol):
    """Runs work on the store's thread."""

    def __call__(self, work: Callable[[Broker, Millis], T], /) -> Awaitable[T]:
        """Give the work the broker, and the time at which it begins."""
        ...


class SteadyClock:
    """Says whether wall time may be used: it has gone on as fast as the monotonic clock has.

    Args:
        wall: Reading of the wall clock that is trusted.
        mono: Of the monotonic clock then.
        confirm: How long a clock must stand where it has jumped to.
    """

    def __init__(self, wall: Millis, mono: Nanos, confirm: Millis = CONFIRM) -> None:
        self._wall = wall
        self._mono = mono
        self._confirm = confirm
        self._doubted: Nanos | None = None  # When the step was first seen.

    def trusted(self, wall: Millis, mono: Nanos) -> bool:
        """Judge a reading of both clocks."""
        step = abs((wall - self._wall) - (mono - self._mono) // 1_000_000)
        if step <= DAY:
            self._wall, self._mono, self._doubted = wall, mono, None
            return True
        if self._doubted is None:
            self._doubted = mono
        if (mono - self._doubted) // 1_000_000 < self._confirm:
            return False
        self._wall, self._mono, self._doubted = wall, mono, None
        return True


class Scheduler:
    """Runs the sweep; see the module.

    Args:
        run: Runs work on the store's thread.
        clock: Both clocks.
        used_bytes: Size of the store in use, asked on the store's thread.
        shrink: Gives free pages back, on the store's thread.
        history_bytes: Above this size the oldest history goes; None means no bound.
    """

    def __init__(
        self,
        run: Run,
        clock: Clock,
        used_bytes: Callable[[], int],
        shrink: Callable[[int], None],
        history_bytes: int | None = None,
    ) -> None:
        self._run = run
        self._clock = clock
        self._used_bytes = used_bytes
        self._shrink = shrink
        self._history_bytes = history_bytes
        self._began = clock.wall(), clock.mono()
        self._steady: SteadyClock | None = None  # Of the sweep; begins where the last process has swept, or else here.

    async def ticks(self, next_tick: Callable[[Millis], Millis | None], catch_up_ms: Millis) -> None:
        """Let schedules tick for ever; cancel to end.

        Args:
            next_tick: Says when the first schedule is due, given the time; may be early, never late.
            catch_up_ms: How old a missed tick may be that still fires.
        """
        clock = self._clock
        steady, doubted = SteadyClock(clock.wall(), clock.mono(), CONFIRM_TICKS), False
        while True:
            now = clock.wall()
            due = next_tick(now)
            trusted = steady.trusted(now, clock.mono())
            if not trusted and not doubted:
                log.warning("the clock has jumped by more than a day; ticks wait until it has stood there for a minute")
            doubted = not trusted
            wait = None if due is None or doubted else (due - now) / SECOND
            if wait is None or wait > 0:
                await clock.nap(after=wait, recheck=LONGEST_NAP)
                continue
            try:
                await self._run(partial(_tick, catch_up_ms, now))
                await asyncio.sleep(0)  # What was published meanwhile goes first.
            except LateronError:
                log.exception("schedules could not tick; next try in a second")
                await clock.nap(after=LONGEST_NAP)

    async def jobs(self, next_job: Callable[[], Millis | None], empty_log: Callable[[], bool]) -> None:
        """Advance bulk jobs for ever, piece by piece; cancel to end.

        Args:
            next_job: Says when the first job may go on, None if there is none; may be early, never late.
            empty_log: Brings the store's log into its file, on the store's thread; False if it must be tried again.
        """
        clock = self._clock
        while True:
            due = next_job()
            if due is None or due > clock.wall():
                wait = None if due is None else (due - clock.wall()) / SECOND
                await clock.nap(after=wait, recheck=LONGEST_NAP)
                if due is None:
                    continue  # Else a look, also if the clock was set back: the job knows whether it may.
            try:
                erased = await self._run(lambda broker, now: broker.advance_job(now))
                if erased is not None:
                    await self._run(partial(_end_erase, erased, empty_log))
                await asyncio.sleep(0)  # What was published meanwhile goes first.
            except (StorageFull, StoreBusy) as error:
                log.warning("bulk jobs could not go on; next try in a second: %s", error)
                await clock.nap(after=LONGEST_NAP)
            except Exception:  # A job that cannot even be read must not end the server, nor each start after it.
                log.exception("bulk jobs could not go on; next try in a second")
                await clock.nap(after=LONGEST_NAP)

    async def loop(self) -> None:
        """Sweep for ever; cancel to end."""
        swept = self._clock.mono()
        while True:
            left = EVERY - (self._clock.mono() - swept) / 1e9
            if left > 0:
                await self._clock.nap(recheck=left)  # Why not until then: late is as good, at rest even better.
                continue
            swept = self._clock.mono()
            try:
                await self.sweep()
            except LateronError:
                log.exception("retention could not run")

    async def sweep(self) -> None:
        """Delete what has passed its retention, in pieces between other transactions."""
        if self._steady is None:
            last = await self._run(lambda broker, _: broker.last_sweep())
            self._steady = SteadyClock(*(self._began if last is None else (last, self._clock.mono())))
        now, mono = self._clock.wall(), self._clock.mono()
        if not self._steady.trusted(now, mono):
            log.warning("the clock has jumped by more than a day; retention waits until it is confirmed")
            return
        for _ in range(PIECES):
            # Why not the time at which the work begins: only this one has been judged.
            if not await self._run(lambda broker, _: self._piece(broker, now)):
                return

    def _piece(self, broker: Broker, now: Millis) -> bool:
        over = self._history_bytes is not None and self._used_bytes() > self._history_bytes
        more = broker.sweep(now, over_size=over)
        # It may wait for a better time, and is nothing to spend the reserve of a full disk on.
        with suppress(StorageFull, StoreBusy):
            self._shrink(1000)
        return more


def _tick(catch_up_ms: Millis, now: Millis, broker: Broker, _: Millis) -> bool:
    # Why not the time at which the work begins: only this one has been judged.
    return Schedules(broker, catch_up_ms).tick(now).more


def _end_erase(job: Job, empty_log: Callable[[], bool], broker: Broker, now: Millis) -> None:
    broker.end_erase(job.tenant, job.id, now, emptied=empty_log())
