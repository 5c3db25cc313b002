"""The verbs of the store: values in, named statements, values out; the same for both databases.

Each verb is for many rows and knows no rule of delivery. What a verb writes is decided by its caller;
what it returns is what the database holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from msgspec import Struct

from lateron.core.audit import Note
from lateron.core.flow import Lane
from lateron.core.groups import Group
from lateron.core.tally import Depths
from lateron.core.values import (
    Attempt,
    Claimed,
    DeadLetter,
    Event,
    EventKind,
    Fence,
    Kind,
    LaneKind,
    Message,
    MessageId,
    Millis,
    Request,
    State,
    Tenant,
)
from lateron.store.audit import AuditVerbs
from lateron.store.interface import Row
from lateron.store.jobs import JobVerbs, Outline, outline_of
from lateron.store.queues import QueueVerbs
from lateron.store.rows import BUCKETS, StoredRequest
from lateron.store.rows import integer as _int
from lateron.store.rows import octets as _bytes
from lateron.store.schedules import ScheduleVerbs
from lateron.store.sealed import SealVerbs
from lateron.store.usage import Usage
from lateron.store.users import UserVerbs

_STATES: Final = {state.value: state for state in State}
_KINDS: Final = {kind.value: kind for kind in Kind}
_EVENTS: Final = {kind.value: kind for kind in EventKind}
_LANES: Final = {kind.value: kind for kind in LaneKind}

FIRST: Final = b""  # Sorts before every id.
LAST: Final = b"\xff" * 17  # Sorts behind every id.
LARGEST: Final = (1 << 63) - 1  # Number that a column takes.
COUNTED: Final = 20_000  # Rows that are counted in one piece.

EventKey = tuple[Millis, bytes, int, int]  # (time, message, attempt, kind) of the last event seen.


class TokenRow(Struct, frozen=True):
    """A token as it is kept: by its hash."""

    hash: bytes
    tenant: Tenant
    name: str
    scope: str
    created: Millis
    expires: Millis | None = None  # From then on it is none.
    used: Millis | None = None  # Last time, to the minute.


class Verbs(QueueVerbs, ScheduleVerbs, JobVerbs, SealVerbs, AuditVerbs, UserVerbs):
    """The verbs of one transaction."""

    # Messages and their requests.

    def _request_row(self, message: Message, request: Request) -> Row:
        headers, options, digest, body = self.request_columns("request", message.tenant, message.id, request)
        bucket = message.lane & BUCKETS
        return (message.id, digest, body, message.tenant, request.url, request.method, headers, options, bucket)

    def insert_messages(self, messages: Sequence[Message]) -> None:
        """Store new messages."""
        self._run_rows("insert_messages", [_message_row(m) for m in messages])

    def insert_requests(self, requests: Sequence[tuple[Message, Request]]) -> None:
        """Store the requests of new messages, each with its digest."""
        self._run_rows("insert_requests", [self._request_row(m, r) for m, r in requests])

    def load_messages(self, ids: Sequence[MessageId]) -> dict[MessageId, Message]:
        """Read messages that this transaction will change."""
        return {m.id: m for m in map(_message, self._run_ids("load_messages", ids))}

    def load_fences(self, ids: Sequence[MessageId]) -> dict[MessageId, Fence]:
        """Read and lock what says whether attempts are still those that were claimed."""
        return {row[0]: _fence(row) for row in self._run_ids("load_fences", ids)}  # type: ignore[misc]  # Likewise.

    def save_messages(self, messages: Sequence[Message]) -> None:
        """Store what changed of messages that this transaction has read."""
        self._run_rows("save_messages", [_changes_row(m) for m in messages])

    def load_requests(self, ids: Sequence[MessageId]) -> dict[MessageId, StoredRequest]:
        """Read requests, and compare each with its digest."""
        rows = self._run_ids("load_requests", ids)
        return {MessageId(_bytes(row[0])): self.request_of("request", row) for row in rows}

    def outlines(self, ids: Sequence[MessageId]) -> dict[MessageId, Outline | None]:
        """Read requests without their bodies; a sealed one opens as a whole."""
        if self.seals is None:
            return super().outlines(ids)
        return {i: outline_of(stored) if stored.intact else None for i, stored in self.load_requests(ids).items()}

    def urls(self, ids: Sequence[MessageId]) -> dict[MessageId, str]:
        """Say where messages go, without reading their bodies."""
        return {MessageId(_bytes(m)): str(url) for m, url in self._run_ids("urls", ids)}

    def claimed(self, messages: Sequence[Message]) -> list[Claimed]:
        """Join messages with their requests, for delivery."""
        requests = self.load_requests([m.id for m in messages])
        return [Claimed(m, requests[m.id].request, requests[m.id].intact) for m in messages]

    def read_message(self, tenant: Tenant, message_id: MessageId) -> Message | None:
        """Read one message, if it is this tenant's."""
        rows = self._run("read_message", (message_id, tenant))
        return _message(rows[0]) if rows else None

    def read_messages(self, ids: Sequence[MessageId]) -> dict[MessageId, Message]:
        """Read messages without a lock."""
        return {m.id: m for m in map(_message, self._run_ids("read_messages", ids))}

    def open_after(self, tenant: Tenant, after: bytes, limit: int) -> list[Message]:
        """Read messages of a tenant that do not rest, oldest first."""
        return [_message(row) for row in self._run("open_after", (tenant, after, tenant, after, limit))]

    def open_before(self, tenant: Tenant, before: bytes, limit: int) -> list[Message]:
        """Read messages of a tenant that do not rest, newest first."""
        return [_message(row) for row in self._run("open_before", (tenant, before, tenant, before, limit))]

    def messages_before(self, before: bytes, limit: int) -> list[Message]:
        """Read messages of all tenants, newest first."""
        return [_message(row) for row in self._run("messages_before", (before, limit))]

    def owned(self, node: int, limit: int) -> list[Message]:
        """Read messages that a node holds ACTIVE, by tenant and id."""
        return [_message(row) for row in self._run("owned", (node, limit))]

    def ended_before(self, state: State, time: Millis, limit: int) -> list[MessageId]:
        """Name messages that came to rest in ``state`` before ``time``, oldest first."""
        return [MessageId(_bytes(row[0])) for row in self._run("ended_before", (state, time, limit))]

    def delete_messages(self, ids: Sequence[MessageId]) -> None:
        """Delete messages with their requests and attempts; the log has its own retention."""
        for name in ("delete_messages", "delete_requests", "delete_attempts"):
            self._run_ids(name, ids)

    # Deduplication.

    def insert_dedup(self, rows: Sequence[tuple[Tenant, bytes, MessageId, Millis, Millis]]) -> set[tuple[int, bytes]]:
        """Take dedup keys: (tenant, key, message, now, until), no key twice.

        Returns:
            The (tenant, key) that are ours now. The others are held by an earlier message.
        """
        mine = self._run_rows("insert_dedup", [(*row, 0) for row in rows])
        return {(_int(row[0]), _bytes(row[1])) for row in mine}

    def dedup_holder(self, tenant: Tenant, key: bytes) -> MessageId:
        """Return the message that holds a key."""
        ((_, _, message),) = self._run("dedup_holders", (tenant, key))
        return MessageId(_bytes(message))

    def expire_dedup(self, now: Millis, limit: int) -> None:
        """Delete keys whose window has passed."""
        self._run("expire_dedup", (now, limit))

    # Lanes.

    def load_lanes(self, ids: Sequence[int]) -> dict[int, Lane]:
        """Read and lock lanes."""
        return {lane.id: lane for lane in map(_lane, self._run_ids("load_lanes", ids))}

    def read_lanes(self, ids: Sequence[int]) -> dict[int, Lane]:
        """Read lanes without a lock."""
        return {lane.id: lane for lane in map(_lane, self._run_ids("read_lanes", ids))}

    def save_lanes(self, lanes: Sequence[Lane]) -> None:
        """Store lanes, new ones too."""
        self._run_rows("save_lanes", [_lane_row(lane) for lane in lanes])

    def due_lanes(self, tenant: Tenant, now: Millis, limit: int) -> list[Lane]:
        """Read the lanes of a tenant that are due, those due longest first."""
        return [_lane(row) for row in self._run("due_lanes", (tenant, now, limit))]

    def take(self, counts: Sequence[tuple[int, int]]) -> list[tuple[int, MessageId, Millis]]:
        """Read the first n waiting messages of lanes, given (lane, n) with n >= 1.

        Returns:
            (lane, message, due), inside a lane in its order.
        """
        rows = [(_int(lane), MessageId(_bytes(m)), _int(due)) for lane, m, due in self._run_rows("take", counts)]
        return sorted(rows, key=lambda row: (row[2], row[1]))

    def next_due(self, tenant: Tenant) -> Millis | None:
        """Return when the first lane of a tenant is due."""
        rows = self._run("next_due", (tenant,))
        return _int(rows[0][0]) if rows else None

    def collect_lanes(self, now: Millis, after: int, count: int) -> int | None:
        """Delete lanes that nobody is in and that remember nothing; return where to go on, None at the end."""
        last = [_int(row[0]) for row in self._run("lane_behind", (after, count - 1))]
        self._run("collect_lanes", (after, last[0] if last else LARGEST, now))
        return last[0] if last else None

    def slot_holders(self, queue: int, limit: int = 1 << 40) -> list[Message]:
        """Read the messages of a queue that hold a slot, in their order; those that rest wait for callbacks."""
        return [_message(row) for row in self._run("slot_holders", (queue, limit))]

    def slots_after(self, queue: int, seq: int, limit: int) -> list[Message]:
        """Read messages that hold a slot, of all queues, behind a place of one."""
        return [_message(row) for row in self._run("slots_after", (queue, seq, limit))]

    def lanes_named(self, tenant: Tenant, kind: LaneKind, text: str, after: str, limit: int) -> list[Lane]:
        """Read lanes whose name holds ``text``, in the order of their names, from ``after`` (not included) on."""
        return [_lane(row) for row in self._run("lanes_named", (tenant, kind, after, text, text, limit))]

    def wake_lanes(self, tenant: Tenant, now: Millis, limit: int) -> int:
        """Make lanes due now that were to be due later; return how many, at most ``limit``."""
        return len(self._run("wake_lanes", (now, tenant, now, limit)))

    def sleeping_lanes(self, after: int, limit: int) -> list[Lane]:
        """Read lanes, from the number ``after`` (not included) on, that sleep because of another lane."""
        return [_lane(row) for row in self._run("sleeping_lanes", (after, limit))]

    def ahead(self, message: Message, most: int) -> int:
        """Count the messages that wait in a lane before one, no further than ``most``."""
        return _int(self._run("ahead", (message.lane, message.due, message.id, most))[0][0])

    def waiting_due(self, lane: int, now: Millis) -> int:
        """Count the messages of a lane that wait although their time has come."""
        return _int(self._run("waiting_due", (lane, now))[0][0])

    def open_attempts(self, tenant: Tenant) -> tuple[int, int]:
        """Count open attempts: of all tenants, and of this one."""
        ((everybody, own),) = self._run("open_attempts", (tenant,))
        return _int(everybody), _int(own)

    # History.

    def _attempt(self, row: Row) -> Attempt:
        message, number, node, started, ended, outcome, retried = row
        ours = MessageId(_bytes(message))
        return Attempt(ours, _int(number), _int(node), _int(started), _int(ended),
                       self.outcome_of(ours, _int(number), _bytes(outcome)), _int(retried))  # fmt: skip

    def insert_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Store ended attempts."""
        self._run_rows(
            "insert_attempts",
            [(a.message, self.outcome_column(a), a.number, a.node, a.started, a.ended, a.retried, 0) for a in attempts],
        )

    def attempts_of(self, message_id: MessageId) -> list[Attempt]:
        """Read all ended attempts of a message, in order."""
        return [self._attempt(row) for row in self._run("attempts_of", (message_id,))]

    def attempt_of(self, message_id: MessageId, number: int) -> Attempt | None:
        """Read one ended attempt."""
        rows = self._run("attempt_of", (message_id, number))
        return self._attempt(rows[0]) if rows else None

    def insert_events(self, events: Sequence[Event]) -> None:
        """Append to the log."""
        self._run_rows(
            "insert_events",
            [(e.message, e.tenant, e.time, e.attempt, e.kind, e.next_due, e.note, 0) for e in events],
        )

    def events_of(self, tenant: Tenant, time: Millis, message_id: MessageId) -> list[Event]:
        """Read the events of a message at one instant, in order."""
        return [_event(row) for row in self._run("events_of", (tenant, time, message_id))]

    def events_before(self, tenant: Tenant, before: EventKey, earliest: Millis, limit: int) -> list[Event]:
        """Read events of a tenant, newest first, from ``before`` (not included) down to ``earliest``."""
        return [_event(row) for row in self._run("events_before", (tenant, *before, earliest, limit))]

    def events_after(self, tenant: Tenant, after: EventKey, latest: Millis, limit: int) -> list[Event]:
        """Read events of a tenant, oldest first, from ``after`` (not included) up to ``latest``."""
        return [_event(row) for row in self._run("events_after", (tenant, *after, latest, limit))]

    def delete_events(self, tenant: Tenant, before: Millis, limit: int) -> None:
        """Delete events older than ``before``."""
        self._run("delete_events", (tenant, before, limit))

    # Dead letters.

    def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Put messages into the dead letter queue."""
        self._run_rows("insert_dead_letters", [(d.tenant, d.time, d.message, d.attempt, 0) for d in letters])

    def dead_letter(self, tenant: Tenant, time: Millis, message_id: MessageId) -> DeadLetter | None:
        """Read one dead letter."""
        rows = self._run("dead_letter", (tenant, time, message_id))
        return _letter(rows[0]) if rows else None

    def dead_letters_before(
        self, tenant: Tenant, before: tuple[Millis, bytes], earliest: Millis, limit: int
    ) -> list[DeadLetter]:
        """Read dead letters of a tenant, newest first, from ``before`` (not included) down to ``earliest``."""
        return [_letter(row) for row in self._run("dead_letters_before", (tenant, *before, earliest, limit))]

    def delete_dead_letters(self, letters: Iterable[DeadLetter]) -> int:
        """Delete dead letters; return how many were there."""
        return sum(len(self._run("delete_dead_letter", (d.tenant, d.time, d.message))) for d in letters)

    def expire_dead_letters(self, tenant: Tenant, before: Millis, limit: int) -> int:
        """Delete dead letters older than ``before``; return how many there were."""
        return len(self._run("expire_dead_letters", (tenant, before, limit)))

    def depths(self, most: int) -> Depths:
        """Count what the store holds that does not rest, but what waits, no further than ``most`` of a kind."""
        return Depths(
            parked=_int(self._run("count_parked", (most,))[0][0]),
            active=_int(self._run("count_active", (most,))[0][0]),
            dead_letters=_int(self._run("count_dead_letters", (most,))[0][0]),
        )

    def waiting_seconds(self, most: int) -> Iterator[tuple[int, int]]:
        """Count what waits by the second in which it is due, no further than ``most``.

        Piece by piece: the same second may come again and again, and nothing is sorted that grows with the store.
        """
        place: Row = (-1, -1, FIRST)
        while most > 0:
            size = min(most, COUNTED)
            yield from ((_int(second), _int(count)) for second, count in self._run("count_waiting", (*place, size)))
            behind = self._run("waiting_behind", (*place, size - 1))
            if not behind:
                return
            place, most = behind[0], most - size

    def depths_of(self, tenant: Tenant, most: int) -> tuple[int, int]:
        """Count a tenant's messages that do not rest, and its dead letters, no further than ``most``."""
        ((messages,),) = self._run("count_open_of", (tenant, tenant, most))
        ((letters,),) = self._run("count_letters_of", (tenant, most))
        return _int(messages), _int(letters)

    # URL groups.

    def _group_row(self, group: Group) -> Row:
        endpoints, headers = self.group_columns(group)
        return (group.tenant, group.name, group.created, group.updated, endpoints, headers, 0)

    def _group(self, row: Row) -> Group:
        tenant, name, created, updated, endpoints, headers = row
        listed, defaults = self.opened_group(_int(tenant), str(name), _bytes(endpoints), _bytes(headers))
        return Group(_int(tenant), str(name), _int(created), _int(updated), listed, defaults)

    def save_group(self, group: Group) -> None:
        """Store a URL group, new or changed."""
        self._run("save_group", self._group_row(group))

    def group(self, tenant: Tenant, name: str) -> Group | None:
        """Read a URL group."""
        rows = self._run("group", (tenant, name))
        return self._group(rows[0]) if rows else None

    def groups(self, tenant: Tenant) -> list[Group]:
        """Read all URL groups of a tenant, by name."""
        return [self._group(row) for row in self._run("groups", (tenant,))]

    def count_groups(self, tenant: Tenant) -> int:
        """Count the URL groups of a tenant."""
        return _int(self._run("count_groups", (tenant,))[0][0])

    def delete_group(self, tenant: Tenant, name: str) -> bool:
        """Delete a URL group; False if there was none."""
        return bool(self._run("delete_group", (tenant, name)))

    # Nodes, tenants, tokens, keys, settings.

    def insert_node(self, node: int, label: str, now: Millis) -> None:
        """Announce an incarnation."""
        self._run("insert_node", (node, label, now, now))

    def other_nodes(self, node: int) -> list[int]:
        """Name the incarnations that are not known to be dead, beside this one."""
        return [_int(row[0]) for row in self._run("other_nodes", (node,))]

    def bury_node(self, node: int) -> bool:
        """Declare an incarnation dead, for good; False if it was before."""
        return bool(self._run("bury_node", (node,)))

    def forget_nodes(self, before: Millis) -> None:
        """Delete dead incarnations last seen before ``before``."""
        self._run("forget_nodes", (before,))

    def insert_tenant(self, tenant: Tenant, name: str, now: Millis) -> None:
        """Store a tenant, once."""
        self._run("insert_tenant", (tenant, name, now))

    def tenants(self) -> dict[Tenant, str]:
        """Return all tenants with their names."""
        return {_int(row[0]): str(row[1]) for row in self._run("tenants")}

    def insert_token(self, token: TokenRow) -> None:
        """Store a token by its hash, once."""
        row = (token.hash, token.tenant, token.name, token.scope, token.created, token.expires)
        self._run("insert_token", row)

    def tokens(self) -> list[TokenRow]:
        """Return all tokens, oldest first."""
        return [_token(row) for row in self._run("tokens")]

    def delete_token(self, hashed: bytes) -> None:
        """Forget a token."""
        self._run("delete_token", (hashed,))

    def use_token(self, hashed: bytes, used: Millis) -> None:
        """Note when a token was last used."""
        self._run("use_token", (used, hashed))

    def save_keys(self, tenant: Tenant, current: str, following: str, now: Millis) -> None:
        """Store the signing keys of a tenant."""
        self._run("save_keys", (tenant, *self.key_columns(tenant, current, following), now))

    def keys(self) -> dict[Tenant, tuple[str, str]]:
        """Return (current, next) of every tenant that has signing keys."""
        return {_int(row[0]): self.opened_keys(_int(row[0]), str(row[1]), str(row[2])) for row in self._run("keys")}

    def setting(self, name: str) -> str | None:
        """Return a value kept under a name."""
        return next((str(value) for (value,) in self._run("setting", (name,))), None)

    def save_setting(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        self._run("save_setting", (name, value))

    def delete_setting(self, name: str) -> None:
        """Forget what was kept under a name."""
        self._run("delete_setting", (name,))


class Store(Protocol):
    """Where transactions are begun."""

    def transaction(self, *, commit: bool = True) -> AbstractContextManager[Verbs]:
        """Run the block in one transaction; commit at its end unless told not to, roll back on any exception."""
        ...

    def noting(self, note: Note) -> AbstractContextManager[None]:
        """Let the transactions inside the block, which commit at their ends, write this record, too."""
        ...

    def commit(self) -> None:
        """Commit the transaction that was left open."""
        ...


class MeasuredStore(Store, Protocol):
    """A store that also says what it takes."""

    def used_bytes(self) -> int:
        """Return how much of it is in use."""
        ...

    def usage(self) -> Usage:
        """Return what it takes, and what of."""
        ...


def _message_row(m: Message) -> Row:
    return (m.id, m.tenant, m.lane, m.state, m.due, m.created, m.retries, m.retried, m.attempt, m.rescues,
            m.version, m.node, m.started, m.ended, m.cancel, m.kind, m.parent, m.queue, m.seq, int(m.slot),
            m.root, m.lane & BUCKETS)  # fmt: skip


def _changes_row(m: Message) -> Row:
    return (m.id, m.state, m.due, m.retried, m.attempt, m.rescues, m.version, m.node, m.started, m.ended,
            m.cancel, int(m.slot))  # fmt: skip


def _message(row: Row) -> Message:
    # The driver has checked the types: the tables are STRICT.
    values: list[object] = list(row)
    values[3] = _STATES[_int(row[3])]
    values[15] = _KINDS[_int(row[15])]
    values[19] = bool(row[19])
    return Message(*values)  # type: ignore[arg-type]


def _event(row: Row) -> Event:
    tenant, time, message, attempt, kind, due, note = row
    return Event(_int(tenant), _int(time), MessageId(_bytes(message)), _int(attempt), _EVENTS[_int(kind)],
                 None if due is None else _int(due), None if note is None else str(note))  # fmt: skip


def _letter(row: Row) -> DeadLetter:
    tenant, time, message, attempt = row
    return DeadLetter(_int(tenant), _int(time), MessageId(_bytes(message)), _int(attempt))


def _fence(row: Row) -> Fence:
    _, state, version, node, cancel = row
    return Fence(_STATES[state], version, node, cancel)  # type: ignore[index,arg-type]  # As in ``_message``.


def _lane_row(lane: Lane) -> Row:
    return (lane.id, lane.tenant, lane.kind, lane.name, lane.parallelism, lane.rate, lane.period_ms,
            int(lane.pinned_parallelism), int(lane.pinned_rate), int(lane.paused), lane.active, lane.waiting,
            lane.period_start, lane.rate_count, lane.next_due, lane.earliest, lane.id & BUCKETS)  # fmt: skip


def _lane(row: Row) -> Lane:
    values: list[object] = list(row)
    values[2] = _LANES[_int(row[2])]
    for flag in (7, 8, 9):
        values[flag] = bool(row[flag])
    return Lane(*values)  # type: ignore[arg-type]


def _token(row: Row) -> TokenRow:
    hashed, tenant, name, scope, created, expires, used = row
    return TokenRow(_bytes(hashed), _int(tenant), str(name), str(scope), _int(created),
                    None if expires is None else _int(expires), None if used is None else _int(used))  # fmt: skip
