"""Judges millions of messages: the publishers' log against the receiver's, number by number.

The rules are those of the checker of the crash tests that such logs can show, the verdicts too: what was answered
2xx must have been taken, what was answered 4xx must not have come, and of anything else nothing is known but that
it may come once. What is taken twice is counted apart; a healthy run has none of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bench.report import Sheet

OK, UNKNOWN, REFUSED, NEVER = b"2", b"013", b"4", b"."  # What the load's log says of a message.
BUSY = b"5"  # Of our own server 503 says that nothing was stored; a load that is told so does not come again.


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the messages of a run."""

    acknowledged: int  # Answered 2xx.
    refused: int  # Answered 4xx or 5xx.
    unknown: int  # No answer.
    lost: int  # Acknowledged, and never taken.
    twice: int  # Taken more than once.
    invented: int  # Refused for good or never published, and taken.
    most_refused: int  # How often the receiver refused one message, at most.

    def __add__(self, other: Account) -> Account:
        return Account(
            self.acknowledged + other.acknowledged,
            self.refused + other.refused,
            self.unknown + other.unknown,
            self.lost + other.lost,
            self.twice + other.twice,
            self.invented + other.invented,
            max(self.most_refused, other.most_refused),
        )

    def write(self, sheet: Sheet) -> None:
        """Add the verdict to a sheet; each of its rows must be 0."""
        for name in ("lost", "twice", "invented"):
            said = {"lost": "acknowledged and lost", "twice": "delivered twice", "invented": "refused and delivered"}
            sheet.add(said[name], float(getattr(self, name)), at_most=0)


NOTHING = Account(0, 0, 0, 0, 0, 0, 0)


def account(fates: bytes, log: bytes) -> Account:
    """Compare the two logs of one load.

    Args:
        fates: Of each number from 0 what the load was told, one character each; see ``generate.c``.
        log: Of each number from 0 how often the receiver took it and how often it refused it, one byte each.
    """
    taken, refusals = log[::2].ljust(len(fates), b"\0"), log[1::2]
    seen = Counter(zip(fates, taken[: len(fates)], strict=True))
    told: Counter[int] = Counter()
    for (fate, _), count in seen.items():
        told[fate] += count
    return Account(
        acknowledged=told[OK[0]],
        refused=told[REFUSED[0]] + told[BUSY[0]],
        unknown=sum(told[fate] for fate in UNKNOWN),
        lost=seen[OK[0], 0],
        twice=sum(count for (_, times), count in seen.items() if times > 1),
        invented=sum(count for (fate, times), count in seen.items() if times and fate in REFUSED + NEVER)
        + sum(times > 0 for times in taken[len(fates) :]),
        most_refused=max(refusals, default=0),
    )
