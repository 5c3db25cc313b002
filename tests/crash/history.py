"""What the witnesses of a run say: values without a rule in them.

Three witnesses are compared. None of them is believed for being ours::

    C  the publisher's log   each call with start, end and verdict
    R  the receiver's log    each request, and what the receiver chose to answer
    E  the engine's events   what the server says of each message; the third thing under test, not the evidence

A call has one of three verdicts. ``UNKNOWN`` is the important one: a 5xx, a timeout, a reset and half an
answer say nothing about what happened, and a checker without that verdict calls a correct server wrong, or
takes a wrong one for correct.

One call to a URL group is one ``Publish`` for each endpoint: the digest of its body then ends in the endpoint's
path, for the receiver's and the engine's log too, so that each message still has a body of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

LOST = "LOST"


class Verdict(Enum):
    """What a client knows of its call."""

    OK = "ok"  # It read a complete 2xx.
    FAIL = "fail"  # It read a complete 4xx: nothing happened.
    UNKNOWN = "unknown"  # Anything else: all of it happened, or nothing.


@dataclass(frozen=True, slots=True)
class Publish:
    """One call that publishes (C)."""

    body: str  # Digest.
    start: float  # Seconds of the monotonic clock, as all times here.
    end: float
    verdict: Verdict
    id: str | None = None  # Of the message, as answered; None unless ok.
    duplicate: bool = False  # The answer says that an earlier call has created it.
    dedup: str | None = None
    retries: int = 0
    delay: float = 0.0  # Seconds that were asked for.
    callback: bool = False
    failure_callback: bool = False
    line: str | None = None  # The queue or ordering key that it names.
    key: str | None = None  # The flow-control key.
    fan: str | None = None  # What the calls share that one publish to a group stands for.


@dataclass(frozen=True, slots=True)
class Cancel:
    """One call that cancels a message (C)."""

    id: str
    start: float
    end: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a message (R)."""

    id: str
    retried: int
    body: str  # Digest.
    at: float
    status: int  # What the receiver chose; whether it was read is not for the receiver to know.
    until: float | None = None  # When it was answered; None if at once.

    @property
    def accepted(self) -> bool:
        """Whether the receiver took the message."""
        return 200 <= self.status <= 299


@dataclass(frozen=True, slots=True)
class Callback:
    """One request that reports on a message (R)."""

    id: str  # Of the callback, which is a message itself.
    source: str  # The message it reports on.
    dead_letter: str | None = None  # Named by a failure callback, and by no other.
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Life:
    """What the engine says of one message (E)."""

    states: tuple[str, ...]  # Oldest first. ``LOST`` stands for an ERROR without an answer, its node gone.
    body: str  # Digest.
    source: str | None = None  # The message that a callback reports on.
    dead_letters: tuple[str, ...] = ()
    times: tuple[int, ...] = ()  # Of the states, in milliseconds by the engine's clock.
    schedule: str | None = None  # Whose tick made it.


@dataclass(frozen=True, slots=True)
class Ticking:
    """What a schedule owes: a message for every ``every`` milliseconds behind ``anchor`` until ``last``."""

    id: str
    anchor: int
    every: int
    last: int


@dataclass(frozen=True, slots=True)
class History:
    """A whole run. Sequences are in the order of time."""

    publishes: Sequence[Publish] = ()
    cancels: Sequence[Cancel] = ()
    arrivals: Sequence[Arrival] = ()
    callbacks: Sequence[Callback] = ()
    lives: Mapping[str, Life] = field(default_factory=dict)  # By id; every message the engine knows.
    crashes: Sequence[float] = ()
    lines: Mapping[str, int] = field(default_factory=dict)  # By name: how many messages may hold it at once.
    keys: Mapping[str, int] = field(default_factory=dict)  # By name: how many attempts may be open at once.
    schedules: Sequence[Ticking] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    promise: str
    subject: str  # The id of a message, or the digest of a body.
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the checker found."""

    violations: tuple[Violation, ...]
    repeats: int  # Attempts made again after a crash. Not wrong, but without crashes there are none.

    def __str__(self) -> str:
        lines = [f"{v.promise} {v.subject}: {v.what}" for v in self.violations[:20]]
        return "\n".join([f"{len(self.violations)} violations, {self.repeats} repeats", *lines])


@dataclass(slots=True)
class Case:
    """All that is known of one message, from all witnesses."""

    id: str
    calls: list[Publish] = field(default_factory=list)  # Those that answered its id.
    owners: list[Publish] = field(default_factory=list)  # Those that may have created it.
    cancels: list[Cancel] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)  # That report on it.
    life: Life | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """Return what the engine says of it."""
        return self.life.states if self.life else ()

    @property
    def dead_letters(self) -> tuple[str, ...]:
        """Return its records among the dead letters."""
        return self.life.dead_letters if self.life else ()

    @property
    def delivered(self) -> bool:
        """Whether the receiver has taken it, at least once."""
        return any(arrival.accepted for arrival in self.arrivals)
