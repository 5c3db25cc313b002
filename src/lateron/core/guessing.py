"""How long whoever failed to log in must wait: growing with each failure, and never for ever.

Failures are counted for the name that was tried and for the address it was tried from, each by a rule of its own::

    failures in a row   1 ... free    free+1   free+2   free+3   ...
    wait after the last      0         first   2 first  4 first  ... up to longest

A failure is counted before the password is compared, and taken back if it was right. So nobody gains by trying many at
once. Time is monotonic: stepping the clock of the machine ends no wait and makes none.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from lateron.core.values import HOUR, MINUTE, SECOND, Millis

FORGOTTEN: Final[Millis] = HOUR  # After so long without another failure.


class Rule(Struct, frozen=True):
    """How waits grow."""

    free: int  # Failures that cost nothing, for people mistype.
    first: Millis
    longest: Millis


# Why a name waits so little: anybody can fail in another's name, and must not keep him out for long. At one guess a
# minute a password of twelve characters is safe.
NAME: Final = Rule(free=5, first=SECOND, longest=MINUTE)
ADDRESS: Final = Rule(free=10, first=SECOND, longest=15 * MINUTE)


class Tries(Struct, frozen=True):
    """Failures in a row."""

    failures: int = 0
    last: Millis = 0  # When.


NONE: Final = Tries()


def wait(rule: Rule, tries: Tries, now: Millis) -> Millis:
    """Return how long to wait before the next try, 0 if it may be made now; at most ``rule.longest``."""
    return max(0, tries.last + _pause(rule, tries.failures) - now)


def failed(tries: Tries, now: Millis) -> Tries:
    """Count a failure."""
    before = 0 if now - tries.last >= FORGOTTEN else tries.failures
    return Tries(before + 1, now)


def taken_back(tries: Tries) -> Tries:
    """Count a failure less, since it was none."""
    return Tries(max(0, tries.failures - 1), tries.last)


def _pause(rule: Rule, failures: int) -> Millis:
    over = failures - rule.free
    # Why bounded: a number of doublings without end would become a number without end.
    return 0 if over <= 0 else min(rule.longest, rule.first << min(over - 1, 32))
