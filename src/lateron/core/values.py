"""The values that the rooms of Lateron hand to each other.

All are immutable. Times are ``Millis``: whole milliseconds of wall time since 1970 (UTC).
Texts of HTTP headers are ``str`` whose characters are the bytes of the wire (latin-1), so that
any byte survives; ``core.wire`` turns other text into that form and back.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NewType, TypeAlias

from msgspec import Struct

Millis: TypeAlias = int  # Wall time or a span of it, in milliseconds.
MessageId = NewType("MessageId", bytes)  # 16 bytes, ordered by creation time; ``msg_...`` outside.
Tenant: TypeAlias = int  # Number of the user whose token made the request; 1 is the first.
Headers: TypeAlias = tuple[tuple[str, str], ...]  # In order, duplicates kept.

SECOND: Millis = 1000
MINUTE: Millis = 60 * SECOND
HOUR: Millis = 60 * MINUTE
DAY: Millis = 24 * HOUR


class Number(IntEnum):
    """A value that rows hold as its number; found by it too, for the hash of an enumeration is that of its name."""

    __hash__ = int.__hash__


class State(Number):
    """Where a message is in its life; ``core.message.MOVES`` says which moves are legal."""

    WAITING = 0  # For its time (delay, retry) or for room in its lane.
    ACTIVE = 1  # A node holds it and an attempt is open.
    QUEUED = 2  # For a slot of its queue.
    HELD = 4  # It has a slot, and its queue is paused.
    DELIVERED = 5
    FAILED = 6  # Retries spent, or told not to retry: a dead letter exists.
    CANCELED = 7


AT_REST = State.DELIVERED  # From this state on a message never changes again.


class Kind(Number):
    """Why a message exists."""

    PUBLISH = 0
    CALLBACK = 1
    FAILURE_CALLBACK = 2
    REDRIVE = 3  # A retry of a dead letter.


class EventKind(Number):
    """What the log says of a message; inside one attempt the numbers follow the order of events."""

    CREATED = 0
    ACTIVE = 1
    CANCEL_REQUESTED = 2
    DELIVERED = 3
    ERROR = 4
    RETRY = 5
    FAILED = 6
    CANCELED = 7


class LaneKind(Number):
    """What a lane is named after."""

    HOST = 0  # The destination's ``host:port``.
    FLOW = 1  # A flow-control key.


class QueueKind(Number):
    """What a queue is named after."""

    NAMED = 0  # A queue that users see, make and delete.
    ORDER = 1  # An ordering key: parallelism 1, and there only while it has work.


class Flow(Struct, frozen=True):
    """The limits a publisher asks for under a flow-control key; ``None`` means no bound."""

    key: str
    parallelism: int | None = None  # Attempts open at once.
    rate: int | None = None  # Attempts started per period.
    period_ms: Millis = SECOND
    smooth: bool = False  # ``Lateron-Flow-Smooth``: starts are spread evenly over the period.


class Redaction(Struct, frozen=True, omit_defaults=True):
    """What of a message is shown as ``REDACTED:<sha256>`` everywhere but at its destination."""

    body: bool = False
    all_headers: bool = False
    headers: tuple[str, ...] = ()  # Lower-case names.


class RetryPolicy(Struct, frozen=True, omit_defaults=True):
    """How often and when a failed attempt is repeated."""

    retries: int = 3  # Attempts after the first one.
    expression: str | None = None  # ``Upstash-Retry-Delay``, as given; in milliseconds.
    delays_ms: tuple[Millis, ...] = ()  # ``Lateron-Retry-Delays``: entry i before retry i, last repeats.


class CallbackOptions(Struct, frozen=True, omit_defaults=True):
    """How to publish the callback of a message; what a publish has, under its own prefix."""

    url: str
    method: str = "POST"
    headers: Headers = ()  # What the callback's request carries beside ours.
    retry: RetryPolicy | None = None  # None: those of the source message.
    timeout_ms: Millis | None = None  # None: the default of the server.
    delay_ms: Millis = 0
    not_before: Millis | None = None  # Wins over the delay.
    flow: Flow | None = None
    labels: tuple[str, ...] = ()
    redact: Redaction | None = None
    failure_callback: CallbackOptions | None = None  # Only of a callback; nothing nests deeper.


class Trace(Struct, frozen=True, gc=False, omit_defaults=True):
    """A trace that a message belongs to, as the headers of W3C Trace Context; see ``core.trace``."""

    parent: str | None = None  # ``traceparent``.
    state: str | None = None  # ``tracestate``; only with a parent.
    baggage: str | None = None


class Options(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a publisher configured beside the request itself; stored with it, never changed."""

    retry: RetryPolicy = RetryPolicy()
    timeout_ms: Millis | None = None  # None: the default of the server.
    not_before: Millis | None = None  # When the first attempt is due; set at creation.
    callback: CallbackOptions | None = None
    failure_callback: CallbackOptions | None = None
    flow: Flow | None = None
    labels: tuple[str, ...] = ()
    redact: Redaction | None = None
    caller_ip: str | None = None
    hops: int = 0  # How many Lateron servers this chain has passed; at most 16.
    schedule: str | None = None  # Id of the schedule that made it.
    topic: str | None = None  # The URL group it was published to.
    endpoint: str | None = None  # Name of the group's endpoint, if that has one.
    queue_name: str | None = None
    order_key: str | None = None  # Not together with a queue.
    job: str | None = None  # Id of the bulk job that published it anew.
    trace: Trace | None = None  # What its deliveries carry on.


class Request(Struct, frozen=True, gc=False):
    """What will be sent, as published. Written once; the hot row of the message has none of it."""

    url: str  # Byte for byte as given.
    method: str
    headers: Headers  # Only what is forwarded, and Content-Type.
    body: bytes | None  # None: the publisher sent none; an empty body is sent either way.
    options: Options


class Publication(Struct, frozen=True, gc=False):
    """A message that a client asks for; the broker makes a ``Message`` of it."""

    tenant: Tenant
    request: Request
    delay_ms: Millis = 0
    not_before: Millis | None = None  # Wins over the delay.
    dedup: bytes | None = None  # 32 bytes; equal ones inside the window are one message.
    dedup_window_ms: Millis = 10 * MINUTE
    kind: Kind = Kind.PUBLISH
    parent: MessageId | None = None  # The message this one reports on, or was redriven from.
    queue: int | None = None  # Callbacks: the queue that waits for this report.
    root: MessageId | None = None  # Callbacks: the message whose slot in the queue waits for this report.


class Message(Struct, frozen=True, gc=False):
    """The hot part of a message: what decides when and whether it is attempted."""

    id: MessageId
    tenant: Tenant
    lane: int  # See ``core.flow.lane_id``.
    state: State
    due: Millis  # When its next attempt may start.
    created: Millis
    retries: int  # Retries allowed.
    retried: int = 0  # Retries charged so far: ``Upstash-Retried`` of the current attempt.
    attempt: int = 0  # Attempts started; numbers the attempts from 1.
    rescues: int = 0  # Attempts lost with their node since one ended otherwise; not charged as retries.
    version: int = 0  # The fence: raised by every start and every end of an attempt.
    node: int | None = None  # The incarnation that holds it while ACTIVE.
    started: Millis | None = None  # Start of the open attempt.
    ended: Millis | None = None  # When it came to rest.
    cancel: Millis | None = None  # When cancellation was asked for while ACTIVE.
    kind: Kind = Kind.PUBLISH
    parent: MessageId | None = None
    queue: int | None = None  # See ``core.queue``; of a callback, the queue of its source.
    seq: int | None = None  # Its place in the queue; callbacks have none.
    slot: bool = False  # It holds one of the slots of its queue, until it and its callbacks rest.
    root: MessageId | None = None  # Of callbacks: the message of the queue they come from.


class Fence(Struct, frozen=True, gc=False):
    """What of a stored message says whether an attempt at it is still the one that was claimed."""

    state: State
    version: int
    node: int | None
    cancel: Millis | None


class Claimed(Struct, frozen=True, gc=False):
    """A message this node must now attempt, with what to send."""

    message: Message
    request: Request
    intact: bool = True  # False: the stored bytes do not match their digest; never send.


class Phases(Struct, frozen=True, gc=False, omit_defaults=True):
    """How long the parts of an attempt took, in microseconds; None: the attempt did not get there.

    A reused connection has no dns, connect and tls.
    """

    dns: int | None = None
    connect: int | None = None
    tls: int | None = None
    first_byte: int | None = None  # From the request's last byte written to the answer's first.
    body: int | None = None  # From the first byte of the answer to its last.
    total: int = 0  # Wall to wall.


class Outcome(Struct, frozen=True, gc=False, omit_defaults=True):
    """How one attempt ended. A failure is a value too.

    ``status`` and ``headers`` are kept from an answer that began well and broke later.
    """

    status: int | None = None  # HTTP status of the answer; None: there was none.
    error: str | None = None  # Error class, one of ``ERROR_CLASSES``; None: a complete answer.
    detail: str = ""  # One sentence for people; no secrets, no newline.
    headers: Headers = ()  # Of the answer, names as received.
    body: bytes = b""  # Of the answer, as received (never decompressed), cut at the stored cap.
    truncated: bool = False
    phases: Phases = Phases()
    peer: str | None = None  # Address and port we were connected to.
    reused: bool = False  # Sent on a connection kept from an earlier attempt.


ERROR_CLASSES = (
    "dns",  # The name did not resolve.
    "blocked",  # The guard refused every address.
    "connect",  # Refused, unreachable, reset while connecting.
    "tls",  # Handshake or certificate.
    "timeout",  # Wall to wall.
    "closed",  # The connection ended before the answer was complete.
    "protocol",  # The answer is not HTTP/1.x as we accept it.
    "too-large",  # Status line and headers over their cap.
    "local",  # This machine had no descriptor or memory for it; costs no retry, for an hour or so.
    "corrupt",  # The stored request does not match its digest; never sent.
    "crash-loop",  # The process died of it, several times; costs no retry, for there is none.
    "node-lost",  # The node died before an answer was known; costs no retry.
    "internal",  # A fault inside this server, logged; costs a retry, so that it ends.
)


class Attempt(Struct, frozen=True, gc=False):
    """One attempt as it is kept in the history."""

    message: MessageId
    number: int  # From 1.
    node: int
    started: Millis
    ended: Millis
    outcome: Outcome
    retried: int = 0


class Event(Struct, frozen=True, gc=False):
    """One line of the log of a message; ``(time, message, attempt, kind)`` is unique."""

    tenant: Tenant
    time: Millis
    message: MessageId
    attempt: int  # 0 before the first attempt.
    kind: EventKind
    next_due: Millis | None = None  # RETRY: when the next attempt is due.
    note: str | None = None  # What the outcome does not say, e.g. why a retry delay was not used.


class DeadLetter(Struct, frozen=True, gc=False):
    """A message in the user's hands: retries spent, kept until deleted, retried or past retention."""

    tenant: Tenant
    time: Millis
    message: MessageId  # (time, message) names it; ``<ms>-<hex>`` outside.
    attempt: int  # The attempt whose outcome made it fail.


class Transition(Struct, frozen=True, gc=False):
    """What a decision changes; the caller stores all of it in one transaction, or none."""

    message: Message
    events: tuple[Event, ...] = ()
    attempt: Attempt | None = None
    dead_letter: DeadLetter | None = None
    created: tuple[Publication, ...] = ()  # Callbacks to publish in the same transaction.


class Filter(Struct, frozen=True):
    """Which messages, events or dead letters are meant: OR inside a field, AND between fields.

    An empty field does not restrict. Times are inclusive.
    """

    message_ids: tuple[MessageId, ...] = ()
    dlq_ids: tuple[tuple[Millis, MessageId], ...] = ()
    urls: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    flow_keys: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    caller_ips: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()  # Ids of the bulk jobs that published them anew.
    statuses: tuple[int, ...] = ()  # Of the last answer; dead letters only.
    kinds: tuple[EventKind, ...] = ()  # Events only.
    from_time: Millis | None = None
    to_time: Millis | None = None


class Overrides(Struct, frozen=True):
    """What a retry of a dead letter changes of the original; None keeps it."""

    method: str | None = None
    headers: Headers | None = None  # Each replaces those of its name; the others stay.
    retry: RetryPolicy | None = None  # When to repeat; how often is said by the next.
    retries: int | None = None
    timeout_ms: Millis | None = None
    delay_ms: Millis | None = None
    not_before: Millis | None = None
    flow: Flow | None = None
    labels: tuple[str, ...] | None = None
    callback: CallbackOptions | None = None
    failure_callback: CallbackOptions | None = None
    body: bytes | None = None
    job: str | None = None  # Of the bulk job that publishes it.
