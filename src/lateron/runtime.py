"""Clock, ids and randomness: the only room that asks the machine for them.

Everything else is handed a ``Clock`` or an id maker, so the real broker and the real store run
in a simulation whose time and chance come from a seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NewType, Protocol

from lateron.core.values import MessageId, Millis

Nanos = NewType("Nanos", int)  # Monotonic time; only differences mean anything.


class Clock(Protocol):
    """Where time comes from."""

    def wall(self) -> Millis:
        """Return milliseconds since 1970; may be stepped by an operator."""
        ...

    def mono(self) -> Nanos:
        """Return nanoseconds of a clock that never runs backwards."""
        ...


class SystemClock:
    """The clock of this machine."""

    def wall(self) -> Millis:  # noqa: D102
        return time.time_ns() // 1_000_000

    def mono(self) -> Nanos:  # noqa: D102
        return Nanos(time.monotonic_ns())


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
