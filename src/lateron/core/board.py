"""What each tenant's messages have done lately: totals, a line for each of the last minutes, and a tape of events.

It is fed with what a transaction did, once that is durable, and so costs a transaction a few counts, never a row. The
tape runs only while somebody watches; it is short, and who reads too slowly learns how much of it he has missed.

Read on the loop's thread; turns are counted there too, cold work on that of the store: each number is whole, and two
may be one transaction apart.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import count
from typing import Final

from msgspec import Struct

from lateron.core.tally import ATTEMPT_S, Histogram, Moves
from lateron.core.values import MINUTE, Attempt, Event, EventKind, Millis, Tenant

MINUTES: Final = 60
TAPE: Final = 1000  # Events.
FAILURES: Final = 50  # Of which the last are remembered.
MEASURED: Final = 16  # Attempts of one transaction whose time is counted.
WATCHED: Final[Millis] = MINUTE  # How long the tape runs on when the last one has gone: he may come back.
TOPICS: Final = ("counters", "messages", "dlq", "schedules", "queues", "flow", "groups", "log", "jobs")
_MOVED: Final = frozenset(("messages", "log", "queues", "flow"))


class Minute(Struct):
    """What happened in one minute, and what there was at its end."""

    time: Millis  # Of its beginning.
    attempts: Histogram
    published: int = 0
    delivered: int = 0
    failed: int = 0
    waiting: int = 0
    active: int = 0


class Board:
    """One tenant's."""

    def __init__(self) -> None:
        self.published = self.delivered = self.failed = self.retried = 0
        self.open = self.active = self.letters = 0
        self.minutes: deque[Minute] = deque(maxlen=MINUTES)
        self.failures: deque[Event] = deque(maxlen=FAILURES)
        self.changes: Counter[str] = Counter()  # By topic, by hand.
        self.moved = 0  # How often messages have changed by themselves, and with them the topics of ``_MOVED``.
        self.tape: deque[tuple[int, Event]] = deque(maxlen=TAPE)  # Numbered from 1.
        self.ages: dict[Millis, Millis] = {}  # Minute -> how long the oldest due message waited; of the loop's thread.
        self.number = 0  # Of the last event on the tape.
        self.watched_until: Millis = 0

    @property
    def waiting(self) -> int:
        """Return how many messages neither rest nor are being sent."""
        return max(0, self.open - self.active)

    def version(self, topic: str) -> int:
        """Return a number that is another one when something of a topic has changed."""
        return self.changes[topic] + (self.moved if topic in _MOVED else 0)

    def after(self, number: int) -> tuple[list[Event], int]:
        """Return the events on the tape behind a number, and how many have run off it meanwhile."""
        found = [(place, event) for place, event in list(self.tape) if place > number]
        missed = found[0][0] - number - 1 if found else max(0, self.number - number)
        return [event for _, event in found], missed

    def minute(self, now: Millis) -> Minute:
        """Return the minute of an instant; if it is a new one, the last ends."""
        begun = now - now % MINUTE
        if not self.minutes or self.minutes[-1].time < begun:
            self.minutes.append(Minute(begun, Histogram(ATTEMPT_S)))
        return self.minutes[-1]

    def aged(self, now: Millis, oldest: Millis | None) -> None:
        """Note for how long the oldest due message has waited; a minute keeps the longest."""
        begun = now - now % MINUTE
        if oldest is not None and oldest >= self.ages.get(begun, 0):
            self.ages[begun] = oldest
        while len(self.ages) > MINUTES:
            del self.ages[next(iter(self.ages))]

    def take(self, events: list[Event], attempts: list[Attempt]) -> None:
        """Count what happened, in order; there is at least one event."""
        kinds = [0] * len(EventKind)
        for event in events:
            kinds[event.kind] += 1
        minute = self.minute(events[-1].time)
        created, delivered, failed = kinds[EventKind.CREATED], kinds[EventKind.DELIVERED], kinds[EventKind.FAILED]
        minute.published += created
        minute.delivered += delivered
        minute.failed += failed
        self.published += created
        self.delivered += delivered
        self.failed += failed
        self.retried += kinds[EventKind.RETRY]
        self.open += created - delivered - failed - kinds[EventKind.CANCELED]
        self.active += kinds[EventKind.ACTIVE] - len(attempts)
        self.letters += failed
        self.changes["dlq"] += failed
        for attempt in attempts[:MEASURED]:
            minute.attempts.add(attempt.outcome.phases.total / 1e6)
        if kinds[EventKind.ERROR]:
            self.failures.extend(event for event in events if event.kind is EventKind.ERROR)
        minute.waiting, minute.active = self.waiting, self.active
        self.moved += 1
        if events[-1].time <= self.watched_until:
            self.tape.extend(zip(count(self.number + 1), events))
            self.number += len(events)


class Boards:
    """Those of all tenants."""

    def __init__(self, run: str = "0") -> None:
        self.run = run  # Different at each start of the server: numbers of another run's tape mean nothing here.
        self._boards: dict[Tenant, Board] = {}

    def of(self, tenant: Tenant) -> Board:
        """Return a tenant's board."""
        found = self._boards.get(tenant)
        if found is None:
            found = self._boards[tenant] = Board()
        return found

    def waiting(self) -> list[Tenant]:
        """Return the tenants of whom messages wait."""
        return [tenant for tenant, board in list(self._boards.items()) if board.waiting]

    def start(self, tenant: Tenant, open_messages: int, letters: int) -> None:
        """Set what there is, before anything is counted."""
        board = self.of(tenant)
        board.open, board.letters, board.active = open_messages, letters, 0

    def changed(self, tenant: Tenant, topic: str) -> None:
        """Note that somebody has changed something."""
        self.of(tenant).changes[topic] += 1

    def letters(self, tenant: Tenant, more: int) -> None:
        """Count dead letters that are new, or gone."""
        board = self.of(tenant)
        board.letters = max(0, board.letters + more)
        board.changes["dlq"] += 1

    def take(self, moves: Moves) -> None:
        """Count what a transaction did, now that it is durable."""
        events, attempts = moves.events, moves.attempts
        if not events:
            return
        if len(self._boards) == 1:
            next(iter(self._boards.values())).take(events, attempts)
            return
        whose = {event.message: event.tenant for event in events}
        for tenant in set(whose.values()):
            mine = [event for event in events if event.tenant == tenant]
            self.of(tenant).take(mine, [one for one in attempts if whose.get(one.message) == tenant])


def quantile(found: Histogram, part: float) -> int | None:
    """Return the milliseconds below which a part of the values lies, as finely as the bounds tell; None without any."""
    total = sum(found.counts)
    left = part * total
    for bound, number in zip((*found.bounds, found.bounds[-1]), found.counts, strict=True):
        left -= number
        if number and left <= 0:
            return round(bound * 1000)
    return None
