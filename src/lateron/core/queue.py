"""Queues: who goes first, and how many at once.

A message of a queue passes three gates, one after another: a slot of its queue, its time, its lane. A
queue has ``parallelism`` slots and gives them in the order of ``seq``, the place that a message takes when
it is enqueued and keeps for good. A slot is kept through retries and callbacks: it is given back when the
message rests and every callback that comes from it rests too. So the next one waits for all of that, and
a message whose time has not come blocks those behind it.

An ordering key is the same thing without a name that anybody manages: one slot, there while it has work. A
schedule whose runs must not overlap has one for each URL it calls.

All functions return a new ``Queue``. The caller holds the row, applies all changes of a transaction in
memory, and writes it once; ``held`` changes only with the slots that stand in the messages' rows.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.values import Millis, Options, QueueKind, Tenant
from lateron.errors import InvalidValue

NAME_BYTES: Final = 256
# Slots of one queue. So many messages may change their place in one transaction, when it is paused or gets more
# slots, and a node opens no more attempts than a fraction of that.
MOST: Final = 10_000
PLACES: Final = 1_000  # So far a place in line is counted exactly.

_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")


class QueueName(Struct, frozen=True):
    """What names a queue."""

    tenant: Tenant
    kind: QueueKind
    name: str


class Queue(Struct, frozen=True):
    """The slots of a queue, and what is used of them."""

    id: int
    tenant: Tenant
    kind: QueueKind
    name: str
    parallelism: int = 1
    paused: bool = False
    deleted: bool = False  # Nobody can name it any more; it goes when it is empty.
    held: int = 0  # Slots that messages hold, those that only wait for callbacks included.
    lag: int = 0  # Messages that do not rest, callbacks not counted.
    next_seq: int = 1
    created: Millis = 0
    updated: Millis = 0  # When it was last configured.


def queue_of(tenant: Tenant, options: Options) -> QueueName | None:
    """Return the queue that a publisher named, or the one behind an ordering key."""
    if options.queue_name is not None:
        return QueueName(tenant, QueueKind.NAMED, options.queue_name)
    if options.order_key is not None:
        return QueueName(tenant, QueueKind.ORDER, options.order_key)
    return None


def line_of(schedule: str, url: str) -> str:
    """Return the ordering key under which the messages of a schedule to one URL go one after another.

    It begins with a blank, which no publisher's key does.
    """
    return f" {schedule} {sha256(url.encode()).hexdigest()[:16]}"


def is_line(order_key: str | None) -> bool:
    """Whether an ordering key is not a publisher's, but that of a schedule."""
    return order_key is not None and order_key.startswith(" ")


def check_queue_name(field: str, value: str) -> str:
    """Return the name of a queue unchanged, if it may be one.

    Raises:
        InvalidValue: It may not.
    """
    # Most clients resolve a dot as a part of a path: nobody could look at such a queue, or delete it.
    if len(value) > NAME_BYTES or not _NAME.match(value) or value in {".", ".."}:
        expected = f"1 to {NAME_BYTES} letters, digits, hyphens, points or underscores, not only one or two points"
        raise InvalidValue(field, value, expected)
    return value


def free(queue: Queue) -> int:
    """Return how many slots may be given now."""
    return 0 if queue.paused or queue.deleted else max(0, queue.parallelism - queue.held)


def joined(queue: Queue) -> Queue:
    """Count a new message, which has taken the place ``next_seq``."""
    return replace(queue, lag=queue.lag + 1, next_seq=queue.next_seq + 1)


def left(queue: Queue) -> Queue:
    """Count a message that has come to rest; its slot is another matter."""
    assert queue.lag > 0, f"queue {queue.name}: more left than joined"
    return replace(queue, lag=queue.lag - 1)


def given(queue: Queue) -> Queue:
    """Count a slot that is given; the caller has asked ``free``."""
    return replace(queue, held=queue.held + 1)


def released(queue: Queue) -> Queue:
    """Count a slot that came back."""
    assert queue.held > 0, f"queue {queue.name}: more slots back than given"
    return replace(queue, held=queue.held - 1)


def over(queue: Queue) -> bool:
    """Whether nothing is left for which the row must stay."""
    return (queue.deleted or queue.kind is QueueKind.ORDER) and queue.lag == 0 and queue.held == 0
