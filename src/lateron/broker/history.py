"""What a reader sees: messages, their log, dead letters; never a change.

Every call reads one state of the store. Lists are paged by key: a cursor names the last row seen, so a
row that was there throughout is returned exactly once, whatever is written meanwhile. A page ends early
when it would be large, and gives a cursor.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

from msgspec import DecodeError, Meta, msgpack
from msgspec.structs import replace

from lateron.broker.audit import AuditHistory
from lateron.broker.bulk import LAST_TIME, choose_dead_letters
from lateron.broker.choosing import meant
from lateron.broker.gates import Gates
from lateron.broker.groups import GroupHistory
from lateron.broker.job_views import JobHistory
from lateron.broker.lanes import KINDS
from lateron.broker.messages import HALTED, PAGE
from lateron.broker.rehearsal import Rehearsal
from lateron.broker.schedules import ScheduleView, known_schedule, schedule_views
from lateron.broker.views import DeadView, Delivery, EventView, LaneView, Limits, MessageView, Page, Story, Waiting
from lateron.core.filters import matches
from lateron.core.flow import Lane, LaneName, righted
from lateron.core.flow_control import Listing
from lateron.core.ids import dlq_text, message_text
from lateron.core.queue import PLACES, Queue
from lateron.core.recurring import Schedule
from lateron.core.values import (
    AT_REST,
    DeadLetter,
    Event,
    EventKind,
    Filter,
    LaneKind,
    Message,
    MessageId,
    Millis,
    QueueKind,
    State,
    Tenant,
)
from lateron.errors import InvalidValue, NotFound
from lateron.store.rows import StoredRequest
from lateron.store.sql import LAST, EventKey, MeasuredStore, TokenRow, Verbs
from lateron.store.usage import Usage
from lateron.store.users import UserRow

PAGE_BYTES = 8 << 20  # Of bodies on one page.
LISTED_BODY = 64 << 10  # A larger body is left out of lists, so it does not count.
SCANNED = 20_000  # Rows looked at for one page, which may be empty: a rare match costs several, not one long read.

T = TypeVar("T")

LetterKey = tuple[Millis, bytes]  # (time, message) of the last dead letter seen.

_MESSAGE_KEY = msgpack.Decoder(bytes)
# Bounded, because a database takes no larger numbers, and a cursor is what a client says it is.
_Whole = Annotated[int, Meta(ge=-1, le=LAST_TIME)]
_EVENT_KEY: msgpack.Decoder[EventKey] = msgpack.Decoder(tuple[_Whole, bytes, _Whole, _Whole])
_LETTER_KEY: msgpack.Decoder[LetterKey] = msgpack.Decoder(tuple[_Whole, bytes])


class History(GroupHistory, JobHistory, Rehearsal, AuditHistory):
    """Reads for the API; see the module."""

    _store: MeasuredStore

    def __init__(self, store: MeasuredStore, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    def tokens(self) -> list[TokenRow]:
        """Return all tokens, oldest first."""
        with self._store.transaction() as tx:
            return tx.tokens()

    def users(self) -> list[UserRow]:
        """Return all users, by name."""
        with self._store.transaction() as tx:
            return tx.users()

    def used_bytes(self) -> int:
        """Return how much of the store is in use."""
        return self._store.used_bytes()

    def usage(self) -> Usage:
        """Return what the store takes, and what of."""
        return self._store.usage()

    def message(self, tenant: Tenant, message_id: MessageId, now: Millis) -> MessageView:
        """Return a message until shortly after its end.

        Raises:
            NotFound: No such message of this tenant, or it ended longer ago than it stays readable.
        """
        with self._store.transaction() as tx:
            view = self._view(tx, tenant, message_id, now)
        ended = view.message.ended
        if ended is not None and now - ended > self._limits.message_retention_ms:
            raise NotFound("message", message_text(message_id))
        return view

    def story(self, tenant: Tenant, message_id: MessageId, now: Millis) -> Story:
        """Return all that is kept of a message, as long as its history is.

        Raises:
            NotFound: No such message of this tenant, or past its retention.
        """
        with self._store.transaction() as tx:
            view = self._view(tx, tenant, message_id, now)
            attempts = tuple(tx.attempts_of(message_id))
            return Story(view, attempts, tuple(_events_of(tx, tenant, view.message)))

    def pending(
        self, tenant: Tenant, selection: Filter, cursor: str | None, count: int, now: Millis
    ) -> Page[MessageView]:
        """List messages that do not rest, newest first."""
        before = LAST if cursor is None else _decoded(cursor, _MESSAGE_KEY)
        with self._store.transaction() as tx:
            chosen, following = _choose_open(tx, tenant, selection, before, count)
            requests = tx.load_requests([message.id for message in chosen])
            gates = Gates(tx, tenant, self._limits, now)
            gates.hold(message.lane for message in chosen)
            lines, views = Lines(tx), list[MessageView]()
            for message in chosen:
                request = requests[message.id].request
                waiting = lines.waiting(message) or gates.waiting(message, request)
                views.append(MessageView(message, request, waiting))
        return Page(tuple(views), None if following is None else _encoded(following))

    def events(
        self, tenant: Tenant, selection: Filter, cursor: str | None, count: int, *, newest_first: bool = True
    ) -> Page[EventView]:
        """List the log, newest first unless asked otherwise; times are inclusive."""
        start = None if cursor is None else _decoded(cursor, _EVENT_KEY)
        views: list[EventView] = []
        size, seen = 0, 0
        with self._store.transaction() as tx:
            reader = _Requests(tx)
            last: EventKey | None = None
            for event in _events(tx, tenant, selection, start, newest_first=newest_first):
                if len(views) == count or size > PAGE_BYTES or seen >= SCANNED:
                    return Page(tuple(views), None if last is None else _encoded(last))
                seen += 1
                last = _key(event)
                view = reader.view(event, selection)
                if view is not None:
                    views.append(view)
                    size += _size(view)
        return Page(tuple(views))

    def dead_letters(self, tenant: Tenant, selection: Filter, cursor: str | None, count: int) -> Page[DeadView]:
        """List dead letters, newest first."""
        before = (LAST_TIME, LAST) if cursor is None else _decoded(cursor, _LETTER_KEY)
        with self._store.transaction() as tx:
            letters, following = choose_dead_letters(tx, tenant, selection, before, count, SCANNED // PAGE)
            views, size = list[DeadView](), 0
            for letter in letters:
                if size > PAGE_BYTES:
                    last = views[-1].dead
                    return Page(tuple(views), _encoded((last.time, last.message)))
                view = _dead_view(tx, letter)
                views.append(view)
                size += len(view.request.body or b"") + len(view.attempt.outcome.body)
        return Page(tuple(views), None if following is None else _encoded(following))

    def dead_letter(self, tenant: Tenant, time: Millis, message_id: MessageId) -> DeadView:
        """Return one dead letter.

        Raises:
            NotFound: It is not there (any more).
        """
        with self._store.transaction() as tx:
            letter = tx.dead_letter(tenant, time, message_id)
            if letter is None:
                raise NotFound("dead letter", dlq_text(time, message_id))
            return _dead_view(tx, letter)

    def schedule(self, tenant: Tenant, schedule_id: str) -> ScheduleView:
        """Return a schedule.

        Raises:
            NotFound: No schedule of this tenant has that id.
        """
        with self._store.transaction() as tx:
            return schedule_views(tx, [known_schedule(tx, tenant, schedule_id)])[0]

    def schedules(self, tenant: Tenant) -> list[ScheduleView]:
        """List all schedules of a tenant, by id."""
        found: list[ScheduleView] = []
        with self._store.transaction() as tx:
            while page := tx.schedules(tenant, found[-1].schedule.id if found else "", PAGE):
                found += schedule_views(tx, page)
        return found

    def lines(self, events: Sequence[Event]) -> list[EventView]:
        """Return lines of the log with what they speak of; those that are gone are left out."""
        with self._store.transaction() as tx:
            reader = _Requests(tx)
            views = [reader.view(event, Filter()) for event in events]
        return [view for view in views if view is not None]

    def next_due(self, tenant: Tenant) -> Millis | None:
        """Return when the first message is due that nothing but time keeps from starting."""
        with self._store.transaction() as tx:
            return tx.next_due(tenant)

    def busy_keys(self, tenant: Tenant, most: int) -> list[Lane]:
        """Return the keys in which most messages wait or are open, of the first by name."""
        with self._store.transaction() as tx:
            found = tx.lanes_named(tenant, LaneKind.FLOW, "", "", PAGE)
        busy = [lane for lane in found if lane.waiting or lane.active]
        return sorted(busy, key=lambda lane: (-lane.waiting, -lane.active, lane.name))[:most]

    def next_schedules(self, tenant: Tenant, most: int) -> list[Schedule]:
        """Return the schedules that tick next, of the next few of all tenants."""
        with self._store.transaction() as tx:
            found = tx.due_schedules(LAST_TIME, most * 10)
        return [schedule for schedule in found if schedule.tenant == tenant][:most]

    def lane(self, tenant: Tenant, name: LaneName, now: Millis) -> LaneView:
        """Return a lane with its figures.

        Raises:
            NotFound: No such lane of this tenant, or it has been idle for long.
        """
        with self._store.transaction() as tx:
            lane = tx.read_lanes([name.id]).get(name.id)
            if lane is None or (lane.tenant, lane.kind, lane.name) != (tenant, name.kind, name.name):
                raise NotFound(KINDS[name.kind], name.name)
            return self._figures(tx, lane, now)

    def lanes(self, tenant: Tenant, kind: LaneKind, listing: Listing, now: Millis) -> tuple[LaneView, ...]:
        """List lanes of a kind by name."""
        with self._store.transaction() as tx:
            found = tx.lanes_named(tenant, kind, listing.search, listing.after, listing.count)
            return tuple(self._figures(tx, lane, now) for lane in found)

    def delivery(self, tenant: Tenant) -> Delivery:
        """Return what holds for the deliveries of the whole server."""
        with self._store.transaction() as tx:
            everybody, own = tx.open_attempts(tenant)
            return Delivery(tx.setting(HALTED) is not None, self._limits.global_parallelism, everybody, own)

    def _figures(self, tx: Verbs, lane: Lane, now: Millis) -> LaneView:
        if lane.kind is LaneKind.HOST:  # The operator's cap of today, whatever it was when the row was written.
            lane = replace(lane, parallelism=self._limits.host_parallelism)
        lane = righted(lane, now)
        return LaneView(lane, tx.waiting_due(lane.id, now) if lane.waiting else 0)

    def _view(self, tx: Verbs, tenant: Tenant, message_id: MessageId, now: Millis) -> MessageView:
        message = tx.read_message(tenant, message_id)
        if message is None:
            raise NotFound("message", message_text(message_id))
        request = tx.load_requests([message_id])[message_id].request
        gates = Gates(tx, tenant, self._limits, now)
        return MessageView(message, request, Lines(tx).waiting(message) or gates.waiting(message, request))

    def queues(self, tenant: Tenant) -> list[Queue]:
        """List the queues, by name."""
        with self._store.transaction() as tx:
            return tx.list_queues(tenant)

    def queue(self, tenant: Tenant, name: str) -> Queue:
        """Return one queue.

        Raises:
            NotFound: There is no such queue.
        """
        with self._store.transaction() as tx:
            found = tx.find_queue(tenant, QueueKind.NAMED, name)
        if found is None:
            raise NotFound("queue", name[:100])
        return found


class Lines:
    """Says why messages wait for their queue; each queue is read once."""

    def __init__(self, tx: Verbs) -> None:
        self._tx = tx
        self._known: dict[int, tuple[Queue | None, Message | None, dict[MessageId, int]]] = {}

    def waiting(self, message: Message) -> Waiting | None:
        """Return why a message waits for its queue, and its place in line; None if it does not."""
        if message.queue is None or message.state not in {State.QUEUED, State.HELD}:
            return None
        row, holder, places = self._line(message.queue)
        if row is None:
            return None
        if message.state is State.HELD:
            return Waiting("queue_paused", held_by=row.name)
        place = places.get(message.id, PLACES + 1)
        if row.paused or holder is None:
            return Waiting("queue_paused", held_by=row.name, place=place)
        reason = "callback_of" if holder.state >= AT_REST else "queue_head"
        return Waiting(reason, held_by=message_text(holder.id), place=place)

    def _line(self, queue_id: int) -> tuple[Queue | None, Message | None, dict[MessageId, int]]:
        if queue_id not in self._known:
            row = self._tx.read_queues([queue_id]).get(queue_id)
            holder = next(iter(self._tx.slot_holders(queue_id, 1)), None)
            heads = self._tx.queue_heads(queue_id, PLACES)
            places = {message_id: place for place, (message_id, _, _) in enumerate(heads, 1)}
            self._known[queue_id] = (row, holder, places)
        return self._known[queue_id]


class _Requests:
    """Joins lines of the log with what they speak of; a message is read once for all its lines."""

    def __init__(self, tx: Verbs) -> None:
        self._tx = tx
        self._known: dict[MessageId, tuple[Message, StoredRequest] | None] = {}

    def view(self, event: Event, selection: Filter) -> EventView | None:
        """Return the line as a reader sees it, or None if it does not match or its message is gone."""
        if event.message not in self._known:
            message = self._tx.read_message(event.tenant, event.message)
            stored = self._tx.load_requests([event.message]).get(event.message) if message else None
            known = None if message is None or stored is None else (message, stored)
            if len(self._known) > PAGE:
                self._known.clear()  # Bodies are held here.
            self._known[event.message] = known
        known = self._known[event.message]
        if known is None or (selection.kinds and event.kind not in selection.kinds):
            return None
        message, stored = known
        of_message = replace(selection, kinds=(), from_time=None, to_time=None, message_ids=())
        if not matches(of_message, message, stored.request):
            return None
        ended = event.kind in _ENDS
        attempt = self._tx.attempt_of(event.message, event.attempt) if ended else None
        return EventView(event, stored.request, message, attempt)


_ENDS = frozenset({EventKind.DELIVERED, EventKind.ERROR, EventKind.RETRY, EventKind.FAILED})


def _events(
    tx: Verbs, tenant: Tenant, selection: Filter, start: EventKey | None, *, newest_first: bool
) -> Iterator[Event]:
    """Walk the log of a tenant, or of the messages named."""
    earliest = selection.from_time or 0
    latest = LAST_TIME if selection.to_time is None else selection.to_time
    if selection.message_ids:
        found = []
        for message_id in dict.fromkeys(selection.message_ids):
            message = tx.read_message(tenant, message_id)
            if message is not None:
                found += _events_of(tx, tenant, message)
        found.sort(key=_key, reverse=newest_first)
        for event in found:
            beyond = start is None or (_key(event) < start if newest_first else _key(event) > start)
            if beyond and earliest <= event.time <= latest:
                yield event
        return
    while True:
        if newest_first:
            page = tx.events_before(tenant, start or (latest, LAST, 0, 0), earliest, PAGE)
        else:
            page = tx.events_after(tenant, start or (earliest, b"", 0, -1), latest, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        start = _key(page[-1])


def _events_of(tx: Verbs, tenant: Tenant, message: Message) -> list[Event]:
    """Return the log of one message, in the order in which it happened, whatever the clock showed meanwhile.

    The log is clustered by time; when something happened to a message stands in its own row and in its
    attempts, so no second index is needed.
    """
    times = {message.created, message.started, message.ended, message.cancel}
    for attempt in tx.attempts_of(message.id):
        times |= {attempt.started, attempt.ended}
    found = [e for time in times if time is not None for e in tx.events_of(tenant, time, message.id)]
    return sorted(found, key=lambda event: (event.attempt, event.kind))


def _choose_open(
    tx: Verbs, tenant: Tenant, selection: Filter, before: bytes, count: int
) -> tuple[list[Message], bytes | None]:
    """Read messages that do not rest and match, newest first; say where to go on if there may be more."""
    if selection.message_ids:
        named = tx.read_messages(list(dict.fromkeys(selection.message_ids)))
        open_ones = [m for m in named.values() if m.tenant == tenant and m.state < AT_REST and m.id < before]
        found, _ = meant(tx, sorted(open_ones, key=lambda m: m.id, reverse=True), selection)
        return found[:count], found[count - 1].id if len(found) > count else None
    chosen = list[Message]()
    for _ in range(SCANNED // PAGE):
        page = tx.open_before(tenant, before, PAGE)
        for message in meant(tx, page, selection)[0]:
            if len(chosen) == count:
                return chosen, chosen[-1].id
            chosen.append(message)
        if len(page) < PAGE:
            return chosen, None
        before = page[-1].id
    return chosen, before


def _dead_view(tx: Verbs, letter: DeadLetter) -> DeadView:
    message = tx.read_message(letter.tenant, letter.message)
    attempt = tx.attempt_of(letter.message, letter.attempt)
    assert message is not None, f"dead letter {letter.message.hex()} without its message"
    assert attempt is not None, f"dead letter {letter.message.hex()} without its attempt"
    return DeadView(letter, message, tx.load_requests([letter.message])[letter.message].request, attempt)


def _key(event: Event) -> EventKey:
    return (event.time, event.message, event.attempt, event.kind.value)


def _size(view: EventView) -> int:
    bodies: Sequence[bytes | None] = (view.request.body, view.attempt.outcome.body if view.attempt else None)
    return 500 + sum(len(body) for body in bodies if body is not None and len(body) <= LISTED_BODY)


def _encoded(key: object) -> str:
    return urlsafe_b64encode(msgpack.encode(key)).decode().rstrip("=")


def _decoded(cursor: str, decoder: msgpack.Decoder[T]) -> T:
    try:
        return decoder.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (DecodeError, Base64Error, ValueError) as error:
        raise InvalidValue("cursor", cursor, "a cursor that an earlier page gave") from error
