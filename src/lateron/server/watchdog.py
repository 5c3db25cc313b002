"""A loop that stalls ends the process, so that a supervisor can start it again.

One loop serves the API and all deliveries. A bug that keeps it (a lock, an endless computation, a write to somebody
who does not read) leaves a process that listens and does nothing. The loop beats; a thread looks whether it does,
and if not, prints where every thread stands and ends the process with an exit code of its own.

The thread believes only time that it has seen itself: if it was stopped or slept with the machine, it wakes later
than it wanted, and begins to count anew. What it cannot see is code that keeps the interpreter for itself.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Final

from lateron.core.values import SECOND, Millis
from lateron.runtime import Clock
from lateron.telemetry import Log

log = Log("lateron.server")

EXIT_STALLED: Final = 8
LOOKS: Final = 20  # So often the thread looks in the time that ends the process.
TELLING: Final = 5.0  # Seconds that the last words may take; whoever reads them may be what the loop waits for.


class Patience:
    """How long nothing has been heard of the loop, of the time in which this machine ran.

    Args:
        most: Nanoseconds after which patience ends.
        step: Nanoseconds between two looks; one that comes much later was not made in time for anybody.
    """

    def __init__(self, most: int, step: int) -> None:
        self._most = most
        self._step = step
        self._beats = -1
        self._silent = 0

    def over(self, beats: int, passed: int) -> bool:
        """Look again.

        Args:
            beats: How many beats there have been.
            passed: Nanoseconds since the last look.
        """
        if beats != self._beats or passed > 3 * self._step:
            self._beats, self._silent = beats, 0
            return False
        self._silent += passed
        return self._silent >= self._most


class Watchdog:
    """Watches the running loop from ``start`` to ``stop``.

    Args:
        clock: Of the machine.
        stall: How long the loop may stand still; 0 for as long as it likes, its lag is measured all the same.
        bite: Ends the process.
    """

    def __init__(self, clock: Clock, stall: Millis, bite: Callable[[Millis], None] | None = None) -> None:
        self._clock = clock
        self._stall = stall
        self._bite = bite or end
        self._beats = 0
        self._lag = 0.0
        self._over = Event()
        self._every = min(SECOND, max(1, stall // 4)) / SECOND if stall else 1.0

    @property
    def lag(self) -> float:
        """Return how many seconds later than it should the loop came to its last beat."""
        return self._lag

    async def run(self) -> None:
        """Beat for ever; cancel to end."""
        if self._stall:
            Thread(target=self._watch, name="lateron-watchdog", daemon=True).start()
        try:
            while True:
                began = self._clock.mono()
                await asyncio.sleep(self._every)
                self._lag = max(0.0, (self._clock.mono() - began) / 1e9 - self._every)
                self._beats += 1
        finally:
            self._over.set()

    def _watch(self) -> None:
        step = self._stall / SECOND / LOOKS
        patience = Patience(self._stall * 1_000_000, int(step * 1e9))
        seen = self._clock.mono()
        while not self._over.wait(step):
            now = self._clock.mono()
            if patience.over(self._beats, now - seen):
                self._bite(self._stall)
                return
            seen = now


def end(stall: Millis) -> None:
    """Say where every thread stands, and end the process; whatever was acknowledged is on disk."""
    telling = Thread(target=_tell, args=(stall,), daemon=True)
    telling.start()
    telling.join(TELLING)
    os._exit(EXIT_STALLED)


def _tell(stall: Millis) -> None:
    with suppress(OSError, ValueError):
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
    log.error("the loop stands still, and the process ends", seconds=stall / SECOND)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
