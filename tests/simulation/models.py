"""What the witnesses of a simulated world remember: messages, calls, queues, keys, schedules.

Small models in the words of the promises. They know nothing of lanes, slots or rows, and predict from what
clients asked and receivers answered what must be true; the checks compare.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec
from msgspec import Struct
from tests.simulation.wishes import BACKOFF, EXPRESSIONS, RETRY_AFTER, Calendar, Limit, Report

from lateron.core.values import MINUTE, SECOND, Kind, MessageId, Millis, Outcome, QueueKind, State

PUNCTUAL: Final = 10 * SECOND  # A tick that is later was missed.
MOST_MISSED: Final = 100
AHEAD: Final = 15 * SECOND  # A period of a key that begins later than so much from now was opened by a wrong clock.
DEFAULT_RETRIES: Final = 3


class Violation(AssertionError):
    """A promise was broken."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Birth(Struct, frozen=True):
    """A message that an operation must make, or must not if it does not commit."""

    kind: Kind
    tenant: int
    url: str
    item: int  # 0: a callback.
    body: bytes | None
    due: Millis  # Not earlier.
    retries: int
    expression: str | None = None
    parent: MessageId | None = None
    limit: Limit | None = None
    callback: Report | None = None
    failure: Report | None = None
    queue: tuple[QueueKind, str] | None = None
    label: str | None = None
    group: str | None = None
    schedule: str | None = None
    loose: bool = False  # Redriven from a callback: it belongs to no queue.

    @property
    def host(self) -> str:
        """Return the host it goes to."""
        return self.url.split("/")[2]

    @property
    def sign(self) -> tuple[Kind, int, str, MessageId | None]:
        """Return what a witness can tell it by."""
        return (self.kind, self.item, self.url, self.parent)


class Call(Struct):
    """A request as its receiver saw it, and how it was answered."""

    message: MessageId
    attempt: int
    retried: int
    at: Millis
    outcome: Outcome | None = None  # None: the answer is still open, or was never given.
    settled: bool = False  # The broker was told, and took it.
    lost: bool = False  # Its node died before the broker was told, or it was given back.


class Known(Struct):
    """A message, what was wished of it, and what must have become of it."""

    id: MessageId
    wish: Birth
    born: Millis
    family: MessageId | None = None  # The message of a queue that it belongs to: itself, or what it reports on.
    calls: list[Call] = msgspec.field(default_factory=list)
    spare: int = 0  # Attempts that cost nothing: lost with their node, or given back.
    deaths: int = 0  # Of the process, with it in flight, since an attempt of it ended otherwise.
    cancelled: bool = False  # Asked for; nothing may start any more.
    end: State | None = None  # What it has come to.
    wait: Millis = 0  # Least wait before the next retry.
    not_before: Millis = 0  # Of the next retry, by the earliest time that the wall has shown since the last failed.
    ended: Millis = 0
    judged: bool = False
    gone: bool = False  # Retention has deleted it.
    letter: bool = False  # It has a dead letter.

    @property
    def charged(self) -> int:
        """Return how many retries have been used: ``Upstash-Retried`` of the next attempt."""
        return sum(call.settled for call in self.calls)


def success(outcome: Outcome) -> bool:
    """Say independently of the core what success is."""
    return outcome.error is None and outcome.status is not None and outcome.status // 100 == 2


def hopeless(outcome: Outcome) -> bool:
    """Whether the receiver said that no retry can help."""
    return outcome.status == 489 and ("Upstash-NonRetryable-Error", "true") in outcome.headers


def verdict(known: Known, outcome: Outcome) -> State | None:
    """Return what a message comes to with an answer; None: it is tried again."""
    if success(outcome):
        return State.DELIVERED
    if known.cancelled:
        return State.CANCELED
    if known.charged < known.wish.retries and not hopeless(outcome):
        return None
    return State.FAILED


def wait_of(known: Known, outcome: Outcome) -> Millis:
    """Return the least wait before the next attempt; ``known`` has not been charged for this one yet."""
    if any(name == "Retry-After" for name, _ in outcome.headers):
        return RETRY_AFTER
    step = EXPRESSIONS[known.wish.expression]
    return BACKOFF[known.charged] if step is None else step * (1 + known.charged)


def reports(known: Known, end: State | None, now: Millis) -> list[Birth]:
    """Return the callbacks that an answer must make; ``end`` is what the message comes to with it."""
    wish = known.wish
    wanted: list[tuple[Kind, Report | None]] = []
    if end is not State.CANCELED:
        wanted.append((Kind.CALLBACK, wish.callback))
    if end is State.FAILED:
        wanted.append((Kind.FAILURE_CALLBACK, wish.failure))
    return [
        Birth(kind, wish.tenant, "http://callback/", 0, None, now, report.retries, wish.expression, known.id,
              report.limit, failure=Report(0) if report.failure else None)
        for kind, report in wanted if report is not None
    ]  # fmt: skip


class Line(Struct):
    """A queue as its users know it, or an ordering key."""

    kind: QueueKind
    parallelism: int = 1
    paused: bool = False
    order: list[MessageId] = msgspec.field(default_factory=list)
    begun: set[MessageId] = msgspec.field(default_factory=set)


class Key(Struct):
    """A flow-control key as its users know it."""

    parallelism: int | None = None
    rate: int | None = None
    period: Millis = SECOND
    smooth: bool = False
    fixed_parallelism: bool = False
    fixed_rate: bool = False
    paused: bool = False
    opened: Millis = 0  # The running period.
    count: int = 0  # Starts in it.
    starts: deque[Millis] = msgspec.field(default_factory=deque)  # Since the key became as smooth as it is.

    def configure(self, limit: Limit) -> None:
        """P-76: the last one wins, but for what is pinned."""
        if not self.fixed_parallelism:
            self.parallelism = limit.parallelism
        if not self.fixed_rate:
            self.set_rate(limit.rate, limit.period, smooth=limit.smooth)

    def set_rate(self, rate: int | None, period: Millis, *, smooth: bool) -> None:
        """Set the rate; starts under another one say nothing of how smooth this one is."""
        if (rate, period, smooth) != (self.rate, self.period, self.smooth):
            self.rate, self.period, self.smooth = rate, period, smooth and rate is not None
            self.starts.clear()

    def reset(self, now: Millis) -> None:
        """P-75: a new, empty period begins now."""
        self.opened, self.count = now, 0
        self.starts.clear()

    def start(self, now: Millis) -> None:
        """P-71: a period opens with the first start after the last one ended."""
        self.right(now)
        if now >= self.opened + self.period:
            self.opened, self.count = now, 0
        self.count += 1
        if self.smooth:
            self.starts.append(now)
            while self.starts[0] <= now - self.period:
                self.starts.popleft()

    def right(self, now: Millis) -> None:
        """P-83: a period that a clock ahead has opened begins now, and what started in it has just started."""
        ahead = self.opened - now
        if ahead > AHEAD:
            self.opened = now
            self.starts = deque(start - ahead for start in self.starts)


class Crowd(Struct):
    """A URL group as its users know it."""

    urls: list[str] = msgspec.field(default_factory=list)
    retries: int | None = None  # The default for publishes to it.


class Plan(Struct):
    """A schedule as its users know it."""

    id: str
    calendar: Calendar
    key: bytes
    created: Millis
    due: Millis | None = None
    paused: bool = False
    runs: int = 0
    last: tuple[MessageId, ...] = ()  # The messages of the last run.
    fired: set[Millis] = msgspec.field(default_factory=set)  # Ticks of its key that are still on record.

    @property
    def group(self) -> str | None:
        """The URL group it publishes to, if it does."""
        target = self.calendar.wish.target
        return None if target.startswith("http:") else target

    def following(self, after: Millis) -> Millis | None:
        """Return the next tick later than an instant, by arithmetic of our own."""
        most = self.calendar.most_runs
        return None if most is not None and self.runs >= most else self.next_tick(after)

    def next_tick(self, after: Millis) -> Millis:
        """Return the next instant that its cron means behind its creation, whether or not it still runs."""
        after = max(after, self.created)
        if self.calendar.cron == "@every 90s":
            return self.created + max((after - self.created) // (90 * SECOND) + 1, 1) * 90 * SECOND
        return (after // self._step + 1) * self._step

    @property
    def _step(self) -> Millis:
        crons = {"@every 90s": 90 * SECOND, "* * * * *": MINUTE, "*/5 * * * *": 5 * MINUTE, "0 * * * *": 60 * MINUTE}
        return crons[self.calendar.cron]

    def fire(self, now: Millis, window: Millis) -> list[Millis]:
        """P-80, P-82: which ticks fire now, by the rules that are written for users."""
        assert self.due is not None
        number = (now - self.due) // self._step + 1
        ticks = [self.due + i * self._step for i in range(max(0, number - 2 * MOST_MISSED), number)]
        if now - self.due <= PUNCTUAL:
            return ticks
        late = now - ticks[-1]
        if self.calendar.missed == "all":
            return ticks[-MOST_MISSED:]
        if self.calendar.missed == "skip":
            return ticks[-1:] if late <= PUNCTUAL else []
        return ticks[-1:] if late <= max(window, PUNCTUAL) else []

    def runs_of(self, ticks: list[Millis], *, busy: bool) -> list[Millis]:
        """Return which ticks become runs."""
        if self.calendar.overlap == "skip":
            ticks = [] if busy else ticks[-1:]
        most = self.calendar.most_runs
        return ticks if most is None else ticks[: most - self.runs]
