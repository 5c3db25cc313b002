"""The server as a process: its loop, its signals, its end.

The first SIGTERM or SIGINT closes in order; a second one ends the process where it stands, which is safe at
any moment, because what was acknowledged is on disk.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from lateron.config import InvalidSettings, Settings
from lateron.errors import StoreFailed
from lateron.runtime import SystemClock
from lateron.server import Server
from lateron.server.notify import Notifier
from lateron.store.sqlite import stop_counting_memory
from lateron.telemetry import Log
from lateron.tracing import from_environment

log = Log("lateron.server")

EXIT_OK: Final = 0
EXIT_STORE_FAILED: Final = 4
EXIT_BUG: Final = 70
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# The youngest generation is collected after so many net allocations: most of ours live as long as one message.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def run(settings: Settings, directory: Path | None, announce: Callable[[Server], None]) -> int:
    """Run a server until a signal or a failure ends it.

    Args:
        settings: What the operator chose.
        directory: Where the store lies; None keeps all in memory.
        announce: Called once requests are accepted.

    Returns:
        The exit code of the process.
    """
    _harden(settings)
    stop_counting_memory()
    notifier = Notifier.taken_from(os.environ)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        tracing = from_environment(os.environ, SystemClock())
        return runner.run(_main(Server(settings, directory, tracing=tracing), announce, notifier))


async def _main(server: Server, announce: Callable[[Server], None], notifier: Notifier) -> int:
    told = asyncio.Event()
    restore = _on_signals(told)
    try:
        await server.start()
        announce(server)
        notifier.ready(server.url)
        beating = asyncio.create_task(notifier.beat(SystemClock()))
        gc.collect()
        gc.freeze()  # What lives now lives until the end; no collection need look at it again.
        gc.set_threshold(*_GC_THRESHOLDS)
        waiting = {asyncio.create_task(told.wait()), asyncio.create_task(server.ended())}
        _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if server.failure is None:
            notifier.stopping(len(server.claimed), server.settings.drain)
            await server.stop()
        if server.failure is None:
            beating.cancel()
            return EXIT_OK
        log.error("the server has failed and ends", error=server.failure)
        notifier.failed(server.failure)
        await server.abandon()
        _flush()
        failed = EXIT_STORE_FAILED if isinstance(server.failure, StoreFailed) else EXIT_BUG
        os._exit(failed)  # The store's thread may hang in the kernel; nobody waits for it.
    finally:
        restore()


def _on_signals(told: asyncio.Event) -> Callable[[], None]:
    """Let the first signal set ``told`` and the second one end the process; return how to undo that.

    ``signal.signal`` and not the loop's own handlers: it works on every platform, and also when the loop is busy.
    """
    loop = asyncio.get_running_loop()

    def handle(number: int, _: FrameType | None) -> None:
        if told.is_set():
            _flush()
            os._exit(128 + number)
        told.set()
        loop.call_soon_threadsafe(lambda: None)  # Wake the loop, which may sleep.

    before: dict[signal.Signals, Any] = {number: signal.signal(number, handle) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def _harden(settings: Settings) -> None:
    """Leave no core dump, which would hold keys and bodies; bind to one processor if told to."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if settings.cpu is not None:
        if sys.platform != "linux":
            raise InvalidSettings("cpu: binding to a processor works on Linux only")
        try:
            os.sched_setaffinity(0, {settings.cpu})
        except OSError as error:
            raise InvalidSettings(f"cpu: {settings.cpu} cannot be used: {error.strerror}") from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's where it is installed, else the standard one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
