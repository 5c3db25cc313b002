"""A thread for work that waits for the disk, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, TypeAlias

Work: TypeAlias = Callable[[], Any]
Ended: TypeAlias = Callable[[Any, BaseException | None], None]  # Given the result of the work, or its exception.

BEGIN_S: Final = 0.002  # Seconds to stand aside for the thread at most.


class Worker:
    """A thread that does one piece of work after the other, and tells the loop how each ended.

    Why not an executor: the futures, locks and conditions of one cost as much as a commit does.
    """

    def __init__(self, name: str) -> None:
        self._orders: SimpleQueue[tuple[asyncio.AbstractEventLoop, Work, Ended] | None] = SimpleQueue()
        self._begun = Lock()  # Held from when work is handed in until the thread has taken it.
        # Daemon: a process that must end at once does not wait for a disk that hangs.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work, ended: Ended) -> None:
        """Do ``work`` on the thread; then call ``ended`` on the running loop, with its result or its exception."""
        self._begun.acquire(blocking=False)
        self._orders.put((asyncio.get_running_loop(), work, ended))

    def let_begin(self) -> None:
        """Block until the thread has taken the interpreter for the work handed in last, ``BEGIN_S`` at most.

        Whoever goes on in Python without that keeps the thread from its first step for as long as it takes.
        """
        self._begun.acquire(timeout=BEGIN_S)

    def close(self) -> None:
        """End the thread once its work is done; blocks until then."""
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            loop, work, ended = order
            if self._begun.locked():
                self._begun.release()
            result, error = None, None
            try:
                result = work()
            except BaseException as problem:  # noqa: BLE001 # Whoever waits is told.
                error = problem
            with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(ended, result, error)
            del order, loop, work, ended, result, error  # Nothing is kept alive while it waits.
