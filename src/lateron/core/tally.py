"""What a server has done and what lies before it, counted as it happens, so that nobody ever counts rows.

A transaction notes what it changes (``note``); once it is durable ``settle`` counts that, and if it came to nothing
``begin`` of the next one forgets it. So the figures are those of the store: at rest, what was created less
what was delivered, has failed or was cancelled, is what waits or is open. They are read once at the start, up
to a bound (``Depths``), and from there on only added to.

How many messages are *ready* changes by the clock alone. So waiting messages are counted by the second in
which they are due. Where those are very many seconds they are counted by pairs of seconds, and so on: a
million messages, each due in a second of its own, take a few megabytes, and the age is known a little less exactly.

Read on the loop's thread; turns are counted there too, cold work on that of the store: each number is whole, and two
may be one transaction apart.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from lateron.core.values import SECOND, Attempt, Event, EventKind, Kind, Millis

ATTEMPT_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
LAG_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
WRITE_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
MOST_SECONDS: Final = 1 << 16  # Different ones that are kept apart before they are put together by two.
KNOWN: Final = 1_000_000  # Rows of a kind that are counted at a start: a second of work at most.
ANSWERED: Final = "answered"  # The class of an attempt that ended in a complete answer, whatever its status.

_ENDS: Final = frozenset({EventKind.DELIVERED, EventKind.FAILED, EventKind.CANCELED})


class Histogram:
    """How many values were at most so large; fixed bounds, one array of counts.

    Args:
        bounds: Upper bounds, ascending; what is above the last has a place of its own.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = array("Q", [0] * (len(self.bounds) + 1))  # Not added up.
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Depths(Struct, frozen=True):
    """What a store holds at a start beside what waits; none of the numbers is above ``KNOWN``."""

    parked: int = 0  # In queues, without a slot or held.
    active: int = 0
    dead_letters: int = 0

    @property
    def exact(self) -> bool:
        """Whether that is all: no number has met its bound."""
        return max(self.parked, self.active, self.dead_letters) < KNOWN


class Moves(Struct):
    """What one transaction does to the messages of the store."""

    created: list[Kind] = []
    joined: list[Millis] = []  # When those are due that wait in a lane from now on.
    left: list[Millis] = []  # The same of those that no longer do.
    events: list[Event] = []
    attempts: list[Attempt] = []
    letters: int = 0  # Dead letters that are new, less those that are gone.
    stale: int = 0
    ticks: int = 0
    missed: int = 0


class Tally:
    """All figures of one server; see the module."""

    def __init__(self) -> None:
        self.created = [0] * len(Kind)  # By kind.
        self.events = [0] * len(EventKind)  # By kind.
        self.attempts: defaultdict[tuple[str, int], int] = defaultdict(
            int
        )  # (class, first digit of the status; 0: none).
        self.stale = 0  # Results that came too late and were dropped.
        self.ticks = 0  # Of schedules, that became runs.
        self.missed = 0  # Of schedules, that did not.
        self.attempt_s = Histogram(ATTEMPT_S)
        self.lag_s = Histogram(LAG_S)  # From when a message was due until it is sent.
        self.write_s = Histogram(WRITE_S)  # From the first statement of a turn until it is durable.
        self.dead_letters = 0
        self.active = 0
        self.waiting = 0
        self.open = 0
        self.exact = True
        self._dues: dict[int, int] = {}
        self._step = 1  # Seconds that are counted together.
        self._pending: list[Moves] = []
        self.told: Callable[[Moves], None] = lambda _: None  # Hears of each transaction once it is durable.

    def start(self, depths: Depths, waiting: Iterable[tuple[int, int]]) -> None:
        """Set what there is, before anything is counted.

        Args:
            depths: What does not wait.
            waiting: Seconds, and how many messages are due in them; a second may come more than once.
        """
        self.active, self.dead_letters = depths.active, depths.dead_letters
        for second, count in waiting:
            self._count(second, count)
            self.waiting += count
            if len(self._dues) > MOST_SECONDS:
                self._thin()
        self.exact = depths.exact and self.waiting < KNOWN
        self.open = self.waiting + depths.parked + depths.active

    def begin(self) -> None:
        """Begin a transaction; the one before, if it was not heard of again, has come to nothing."""
        if self._pending:
            self._pending = []

    def note(self, moves: Moves) -> None:
        """Note what the present transaction does."""
        self._pending.append(moves)

    def settle(self) -> None:
        """Count what was noted since ``begin``: it is true now."""
        pending, self._pending = self._pending, []
        for moves in pending:
            self._apply(moves)
            self.told(moves)

    def parked(self) -> int:
        """Return how many wait in queues, without a slot or held."""
        return max(0, self.open - self.waiting - self.active)

    def ready(self, now: Millis) -> tuple[int, Millis]:
        """Return how many messages wait although their time has come, and for how long the oldest has."""
        second = now // SECOND
        due = [(key, count) for key, count in list(self._dues.items()) if key * self._step <= second]
        if not due:
            return 0, 0
        oldest = min(key for key, _ in due) * self._step * SECOND
        return max(0, sum(count for _, count in due)), max(0, now - oldest)

    def _apply(self, moves: Moves) -> None:
        # Plain loops: for the few things of a small turn, a Counter costs more to make than they do to count.
        events, created = self.events, self.created
        for kind in moves.created:
            created[kind] += 1
        for event in moves.events:
            what = event.kind
            events[what] += 1
            if what is EventKind.ACTIVE:
                self.active += 1
            elif what in _ENDS:
                self.open -= 1
        self.open += len(moves.created)
        self.active -= len(moves.attempts)
        self.waiting += len(moves.joined) - len(moves.left)
        self.dead_letters = max(0, self.dead_letters + moves.letters)
        self.stale += moves.stale
        self.ticks += moves.ticks
        self.missed += moves.missed
        attempts, seconds = self.attempts, self.attempt_s
        for attempt in moves.attempts:
            outcome = attempt.outcome
            attempts[outcome.error or ANSWERED, (outcome.status or 0) // 100] += 1
            total = outcome.phases.total
            if total:
                seconds.add(total / 1e6)
        for due in moves.joined:
            self._count(due // SECOND, 1)
        if len(self._dues) > MOST_SECONDS:
            self._thin()
        for due in moves.left:
            self._count(due // SECOND, -1)

    def _count(self, second: int, count: int) -> None:
        key = second // self._step
        left = self._dues.get(key, 0) + count
        if left > 0:
            self._dues[key] = left
        else:  # Below zero: those that were not counted at the start.
            self._dues.pop(key, None)

    def _thin(self) -> None:
        """Count more seconds together while there are too many of them."""
        while len(self._dues) > MOST_SECONDS:
            dues: dict[int, int] = {}
            for key, count in self._dues.items():
                dues[key // 2] = dues.get(key // 2, 0) + count
            self._dues, self._step = dues, self._step * 2
