"""What systemd is told: that the server is ready, that it lives, that it ends.

The manager of services that started us names a datagram socket in ``NOTIFY_SOCKET``; a few lines of text there are
the whole protocol (``sd_notify(3)``)::

    READY=1        requests are accepted, and what a dead process left behind is taken over
    WATCHDOG=1     the event loop turns; twice in each time that ``WATCHDOG_USEC`` allows between two of them
    STOPPING=1     no new work is begun; open deliveries may take as long as ``drain`` says

What cannot be told is logged once and otherwise makes no difference: a server that works must not end because nobody
listens to its state. A beat that finds the socket full is left out, for a beat must not hold up the loop whose life it
shows.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, Self

from lateron.core.values import Millis
from lateron.runtime import Clock
from lateron.telemetry import Log

log = Log("lateron.server")

_PATIENCE_S: Final = 1.0  # For what is told once, if the manager is slow to read.
_MARGIN_S: Final = 15  # Beside ``drain``, to answer what is open and to close the store.
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells a manager of services how the server is; without a manager it tells nobody.

    Args:
        address: Of the manager's socket: a path, or a name that begins with ``@``; None: there is no manager.
        watchdog_s: How far apart two beats may be; None: nobody counts them.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s
        self._failed = False

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Self:
        """Read what a manager has set, and remove it, so that no program we start speaks for us."""
        address, period, of = (environ.pop(name, "") for name in _VARIABLES)
        if not address:
            return cls(None)
        if not address.startswith(("/", "@")):
            log.warning("NOTIFY_SOCKET: expected a path or @name; nothing is told", got=address[:100])
            return cls(None)
        for_us = not of or of == str(os.getpid())
        counted = for_us and period.isascii() and period.isdecimal() and int(period) > 0
        return cls(address, int(period) / 1_000_000 if counted else None)

    def ready(self, url: str) -> None:
        """Tell that requests are accepted."""
        self._tell(f"READY=1\nSTATUS=Accepting requests on {url}", _PATIENCE_S)

    def stopping(self, open_attempts: int, drain: Millis) -> None:
        """Tell that the server ends, and that it may take as long as ``drain``, whatever the unit's own limit is."""
        usec = (drain // 1000 + _MARGIN_S) * 1_000_000
        status = f"Shutting down; deliveries that are open: {open_attempts}"
        self._tell(f"STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={usec}", _PATIENCE_S)

    def failed(self, why: BaseException) -> None:
        """Tell that the server ends by itself."""
        self._tell(f"STOPPING=1\nSTATUS=Failed: {' '.join(str(why).split())}", _PATIENCE_S)

    async def beat(self, clock: Clock) -> None:
        """Show for ever that the loop turns, at half of the time that is allowed between two beats."""
        if self._watchdog_s is None:
            return
        while True:
            self._tell("WATCHDOG=1", 0)
            await clock.nap(after=self._watchdog_s / 2)

    def _tell(self, text: str, patience_s: float) -> None:
        if self._address is None:
            return
        # A leading @ stands for a zero byte: a name in a space of its own, without a file.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
                told.settimeout(patience_s)
                with suppress(BlockingIOError):  # A beat, and the manager has not read the last ones yet.
                    told.sendto(text.encode(), address)
        except OSError as error:
            if not self._failed:
                log.warning("the manager of services cannot be told", socket=self._address, why=str(error))
            self._failed = True
