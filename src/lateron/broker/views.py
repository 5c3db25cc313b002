"""What the broker takes and gives, beside the values of the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

from lateron.core.apart import Apart
from lateron.core.flow import Lane
from lateron.core.publish import GroupPublication
from lateron.core.recurring import NewSchedule
from lateron.core.values import (
    HOUR,
    MINUTE,
    Attempt,
    Claimed,
    DeadLetter,
    Event,
    Message,
    MessageId,
    Millis,
    Outcome,
    Publication,
    Request,
    Tenant,
)
from lateron.errors import LateronError

T = TypeVar("T")


class Limits(Struct, frozen=True):
    """What the operator has set that the broker must know."""

    host_parallelism: int | None = None  # Open attempts per destination host; None means no bound.
    global_parallelism: int | None = None  # Open attempts of the whole server; None means no bound.
    tenant_parallelism: int | None = None  # Open attempts of one tenant while there are several; None: no bound.
    start_ramp_ms: Millis = 0  # How long after a start with a backlog the two caps above open step by step.
    message_retention_ms: Millis = 10 * MINUTE  # How long a message can be read after its end.
    history_retention_ms: Millis = 72 * HOUR  # Requests, attempts and events after the end.
    dead_letter_retention_ms: Millis = 30 * 24 * HOUR
    history_bytes: int | None = None  # The store's size above which the oldest history goes first.
    crash_limit: int | None = None  # Deaths of the process after which what was in flight is set apart; None: never.
    audit_retention_ms: Millis = 90 * 24 * HOUR
    queues: int | None = None  # Of one tenant; None means no bound.


class Accepted(Struct, frozen=True, gc=False):
    """The answer to a publication: its id, or that of the message it repeats."""

    id: MessageId
    duplicate: bool = False


class FannedOut(Struct, frozen=True):
    """The answer to a publish to a URL group: (URL, answer) of every endpoint, in the order of the group."""

    endpoints: tuple[tuple[str, Accepted], ...]


class Enrolled(Struct, frozen=True):
    """The answer to a schedule among the items of a batch."""

    id: str


# What a request can store, and the answer to it; an error is that of a group or a schedule, found in the transaction.
Item: TypeAlias = Publication | GroupPublication | NewSchedule
Answered: TypeAlias = Accepted | FannedOut | Enrolled | LateronError


class Result(Struct, frozen=True, gc=False):
    """How an attempt ended; an outcome of None gives the message back, nothing having been sent."""

    claimed: Claimed
    outcome: Outcome | None


class Turn(Struct, frozen=True):
    """What has come together while the last transaction was under way."""

    publishes: tuple[tuple[Item, ...], ...] = ()  # By request; each is answered as a whole.
    results: tuple[Result, ...] = ()
    room: int = 0  # How many attempts this node can open.


class Turned(Struct, frozen=True):
    """What a turn made of it."""

    accepted: tuple[tuple[Answered, ...] | LateronError, ...] = ()
    claimed: tuple[Claimed, ...] = ()  # ACTIVE now, for this node; attempt them.
    settled: int = 0
    stale: int = 0  # Results that came too late and were dropped.
    next_due: Millis | None = None  # When to take a turn again even if nothing happens.
    left: tuple[Result, ...] = ()  # Not recorded, the store being full or held in the midst of it; to be settled again.


class Prepared(Struct, frozen=True):
    """A turn whose transaction is still open, unless it had to be taken apart."""

    turned: Turned
    alarm: Millis | None = None  # When the first lane of the store is due.
    open: Mapping[Tenant, int] = {}  # Attempts of this node that are open then.
    apart: Apart | None = None  # Who is set apart then.
    committed: bool = False


class Page(Struct, Generic[T], frozen=True):
    """A piece of a list; ``cursor`` fetches the next one, None on the last."""

    items: tuple[T, ...] = ()
    cursor: str | None = None


class Waiting(Struct, frozen=True):
    """Why a message has not gone out yet, and until when if that is known."""

    # "delay", "retry", "server_paused", "flow_paused", "flow_parallelism", "flow_rate", "host_paused", "host_cap",
    # "global_parallelism", "user_parallelism", "set_apart", "node", "queue_head", "queue_paused", "callback_of"
    reason: str
    until: Millis | None = None
    held_by: str | None = None  # The flow key, host or queue that holds it, or the message whose slot it waits for.
    place: int | None = None  # In line, from 1, in its queue or its lane; PLACES + 1 stands for more.


class LaneView(Struct, frozen=True):
    """A lane as a reader sees it."""

    lane: Lane
    due: int  # Messages that wait in it although their time has come.


class Delivery(Struct, frozen=True):
    """What holds for the deliveries of the whole server."""

    paused: bool
    most: int | None  # Open attempts at once; None means no bound.
    open: int  # Of all tenants.
    own: int  # Of the tenant that asks.


class MessageView(Struct, frozen=True):
    """A message as a reader sees it."""

    message: Message
    request: Request
    waiting: Waiting | None = None


class EventView(Struct, frozen=True):
    """A line of the log with what it speaks of; the attempt is there for lines that end one."""

    event: Event
    request: Request
    message: Message
    attempt: Attempt | None = None


class DeadView(Struct, frozen=True):
    """A dead letter with what failed and how."""

    dead: DeadLetter
    message: Message
    request: Request
    attempt: Attempt


class Story(Struct, frozen=True):
    """Everything that is kept of one message."""

    view: MessageView
    attempts: tuple[Attempt, ...] = ()
    events: tuple[Event, ...] = ()


class KeyPair(Struct, frozen=True):
    """The signing keys of a tenant: new attempts are signed with the current one."""

    current: str
    next: str
