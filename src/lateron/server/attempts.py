"""Lines of the log about attempts: those that failed, and so many of the others that one sees that it works.

A destination that is down fails thousands of times a second; a log of that helps nobody and fills a disk. So unless
all are wanted, failures have a number a second, and the next line says how many were left out. The whole
truth about each attempt is in the store (``lateron why``), and how many there were is in ``/metrics``.

A line has the id, the host, the status and how long it took. It has no path or query, which may be a secret of the
receiver, and nothing that was sent or answered.
"""

from __future__ import annotations

from typing import Final

from lateron.core.flow import host_of
from lateron.core.ids import message_text
from lateron.core.message import delivered
from lateron.core.values import Claimed, Outcome
from lateron.errors import InvalidDestination
from lateron.runtime import Clock
from lateron.telemetry import Log

log = Log("lateron.attempts")

FAILURES: Final = 20  # Lines a second.
SAMPLED: Final = 1  # As above, of attempts that delivered.
_SECOND_NS: Final = 1_000_000_000


class AttemptLog:
    """Writes a line for an attempt that has ended, or does not.

    Args:
        which: ``all``, ``failures``, or ``sample``: failures and a few of the others.
        clock: Tells one second from the next.
    """

    def __init__(self, which: str, clock: Clock) -> None:
        self._all = which == "all"
        self._most_delivered = SAMPLED if which == "sample" else 0
        self._clock = clock
        self._second = -1
        self._failed = self._delivered = self._left_out = 0

    def __call__(self, claimed: Claimed, outcome: Outcome) -> None:
        """Tell how an attempt ended."""
        good = delivered(outcome)
        if not self._all and not self._has_place(good=good):
            return
        message, fields = claimed.message, dict[str, object]()
        if outcome.status is not None:
            fields["status"] = outcome.status
        if outcome.error is not None:
            fields["error_class"] = outcome.error
            fields["detail"] = outcome.detail
        log.info(
            "attempt delivered" if good else "attempt failed",
            message=message_text(message.id),
            attempt=message.attempt,
            host=_host(claimed.request.url),
            ms=outcome.phases.total // 1000,
            **fields,
        )

    def _has_place(self, *, good: bool) -> bool:
        """Whether this second has a line left; the first one says what the last had none for."""
        second = self._clock.mono() // _SECOND_NS
        if second != self._second:
            self._second, left_out = second, self._left_out
            self._failed = self._delivered = self._left_out = 0
            if left_out:
                log.info("failed attempts not logged", count=left_out)
        if good:
            self._delivered += 1
            return self._delivered <= self._most_delivered
        self._failed += 1
        self._left_out += self._failed > FAILURES
        return self._failed <= FAILURES


def _host(url: str) -> str:
    try:
        return host_of(url)
    except InvalidDestination:
        return "-"
