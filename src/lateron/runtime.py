"""Clock, ids and randomness: the only room that asks the machine for them.

Everything else is handed a ``Clock`` or an id maker, so the real broker and the real store run
in a simulation whose time and chance come from a seed.

Whoever waits for a time is woken by the clock he reads, so that one which a test moves (``lateron.testing``)
wakes as it reads. The clock of a machine may be stepped while one sleeps; a waker that must notice says how
long it sleeps at most (``recheck``), and looks again: being woken says nothing about the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NewType, Protocol, cast

from lateron.core.values import MessageId, Millis

if TYPE_CHECKING:
    from asyncio import Timeout  # Commands read the clock too, and start sooner without a loop.

Nanos = NewType("Nanos", int)  # Monotonic time; only differences mean anything.


class Alarm(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come; nothing happens if it came already."""
        ...


class Clock(Protocol):
    """Where time comes from, and who is called when it has passed."""

    def wall(self) -> Millis:
        """Return milliseconds since 1970; may be stepped by an operator."""
        ...

    def mono(self) -> Nanos:
        """Return nanoseconds of a clock that never runs backwards."""
        ...

    def wake(
        self, callback: Callable[[], object], *, after: float | None = None, recheck: float | None = None
    ) -> Alarm:
        """Call back once on the running loop.

        Args:
            callback: What to call.
            after: Seconds from now; None: no time is known.
            recheck: Call early after so many seconds, since more than time may have changed; None: never early.
        """
        ...

    async def nap(self, *, after: float | None = None, recheck: float | None = None) -> None:
        """Sleep until ``wake`` with these arguments would call."""
        ...


class SystemClock:
    """The clock of this machine; inside a running loop it wakes."""

    def wall(self) -> Millis:  # noqa: D102
        return time.time_ns() // 1_000_000

    # The function of the system itself, for it is asked several times for each message.
    mono = staticmethod(cast("Callable[[], Nanos]", time.monotonic_ns))

    def wake(  # noqa: D102
        self, callback: Callable[[], object], *, after: float | None = None, recheck: float | None = None
    ) -> Alarm:
        from asyncio import get_running_loop

        return get_running_loop().call_later(_sooner(after, recheck), callback)

    async def nap(self, *, after: float | None = None, recheck: float | None = None) -> None:  # noqa: D102
        from asyncio import sleep

        await sleep(_sooner(after, recheck))


def _sooner(after: float | None, recheck: float | None) -> float:
    known = [seconds for seconds in (after, recheck) if seconds is not None]
    assert known, "nobody waits for nothing"
    return max(0.0, min(known))


@asynccontextmanager
async def timeout(clock: Clock, seconds: float) -> AsyncIterator[Timeout]:
    """End the block with ``TimeoutError`` after so long, as ``asyncio.timeout`` does, by another clock."""
    import asyncio

    async with asyncio.timeout(None) as limit:
        loop = asyncio.get_running_loop()
        alarm = clock.wake(lambda: limit.reschedule(loop.time()), after=seconds)
        try:
            yield limit
        finally:
            alarm.cancel()


def new_node() -> int:
    """Return the number of this start of the program, under which a store knows what it holds: 62 bits.

    A machine that is restored from a snapshot may draw the same random bits at each start. Its clock has gone on.
    """
    bits = int.from_bytes(os.urandom(8)) ^ time.time_ns()
    return bits & ((1 << 62) - 1)


def id_maker(random_bytes: Callable[[int], bytes] = os.urandom) -> Callable[[Millis], MessageId]:
    """Return a function that makes message ids: 16 bytes, unique, ordered by time.

    48 bits of milliseconds, then 80 bits that begin at random in each millisecond and count up inside
    it, so ids of one maker always ascend, also while the clock stands or runs backwards. A forked or
    cloned machine shares at most the rest of one millisecond with its twin: randomness is drawn anew
    for each. Two ids of one maker never collide; those of two makers collide with 2**-79 a millisecond.
    """
    last_ms = -1
    counter = 0

    def new_id(now: Millis) -> MessageId:
        nonlocal last_ms, counter
        now = min(max(now, 0), (1 << 48) - 1)
        if now > last_ms:
            last_ms = now
            counter = int.from_bytes(random_bytes(10)) >> 1  # The top bit is room to count.
        else:
            counter += 1
        return MessageId(((last_ms << 80) | counter).to_bytes(16))

    return new_id
