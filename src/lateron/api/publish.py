"""Publishing: the request is read, guarded, stored, and only then answered.

These two routes are the hot ones. They touch no framework: the raw path is the destination, the headers
are the configuration, and one call of the writer makes them durable. A single publish has two ways in, as a
``Call`` like every other, and as bare values on the fast lane of ``lane``; each step is one function of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from lateron.api.audit import note_of
from lateron.api.auth import Token, identify, token_of
from lateron.api.call import COUNTED, Answer, Call, InFlight, at_most, failure, json_answer
from lateron.api.ports import Ports, TracingRoom
from lateron.api.sighting import Sighting
from lateron.broker.resources import Identity
from lateron.broker.views import Accepted, Answered, Enrolled, FannedOut, Item
from lateron.core.batch import ItemError
from lateron.core.familiar import Familiar
from lateron.core.options import Config, Given
from lateron.core.publish import is_url, publication, read_request, with_body, without_body
from lateron.core.quota import BATCH_BYTES, Quota
from lateron.core.reach import Check, guard
from lateron.core.recurring import NewSchedule
from lateron.core.render import error_answer, publish_answer, publish_answer_json
from lateron.core.token import Access, require
from lateron.core.trace import RAW_NAMES, read_trace
from lateron.core.values import Publication, Tenant, Trace
from lateron.core.wire import CronGiven, PublishContext, incoming_hops, parse_batch, parse_publish, parse_schedule
from lateron.errors import LateronError
from lateron.writer import Done

PREFIX: Final = "/v2/publish/"
_ROUTE: Final = f"{PREFIX}{{destination}}"
_LONG_WAY: Final = frozenset({b"upstash-cron", b"upstash-schedule-id"})  # No plain publish.
CREATED: Final = 201
DUPLICATE: Final = 202
_BIG: Final = 1 << 20  # Bytes of a batch from which on it is read beside the event loop.


async def publish(ports: Ports, call: Call) -> Answer:
    """Store one message: ``POST /v2/publish/{destination}``."""
    body = await call.body(body_check(ports.quota))
    return await store(ports, call, call.rest, body)


async def store(ports: Ports, call: Call, target: bytes, body: bytes, queue: Given | None = None) -> Answer:
    """Read, guard and store what a publish to ``target`` asks for: messages, or a schedule."""
    reading = context(ports, call)
    item: Item
    try:
        item = parse_publish(target, call.headers, body, reading, queue)
    except CronGiven:
        require(call.who.scope, Access.CHANGE)
        item = _noted(ports, call, parse_schedule(target, call.headers, body, reading, queue), call.id)
    route = _ROUTE if queue is None else "/v2/enqueue/{queueName}/{destination}"
    return await _store(ports, route, item, reading.trace)


async def schedule(ports: Ports, call: Call) -> Answer:
    """Store a schedule: ``POST /v2/schedules/{destination}``."""
    body = await call.body(body_check(ports.quota))
    reading = context(ports, call)
    item = replace(parse_schedule(call.rest, call.headers, body, reading), note=call.note)
    answer = await _store(ports, "/v2/schedules/{destination}", item, reading.trace)
    if call.note is not None:
        call.note.kept = True  # In the transaction that stored the schedule.
    return answer


async def _store(ports: Ports, route: str, item: Item, incoming: Trace | None) -> Answer:
    _guard(ports.check_destination, item)
    (accepted,) = await _published(ports, route, (item,), incoming)
    return answered(accepted)


async def _published(ports: Ports, route: str, items: Sequence[Item], incoming: Trace | None) -> tuple[Answered, ...]:
    """Store what a request asks for, followed by whoever follows requests."""
    if ports.tracing is None:
        return await ports.writer.publish_any(items)
    traced = ports.tracing.publish(route, items, incoming)
    try:
        answers = await ports.writer.publish_any(traced.items)
    except BaseException as error:
        traced.ended(error)
        raise
    traced.ended(answers)
    return answers


def _guard(check: Check, item: Item) -> None:
    """Refuse an item whose URLs must not be called; the endpoints of a group are judged when they are known."""
    if isinstance(item, Publication) or (isinstance(item, NewSchedule) and is_url(item.request.url)):
        guard(check, item.request)


Reply: TypeAlias = Callable[[Answer, str], None]  # Given the answer and the id of the request.


class Entry(Struct, frozen=True, gc=False):  # Nothing in it can refer to it.
    """What the head of a publish says, its sender being allowed to publish."""

    rest: bytes  # Destination and query, undecoded.
    headers: Sequence[tuple[bytes, bytes]]
    token: Token
    who: Identity
    caller_ip: str | None
    # If the head came before, one of these two:
    read: tuple[str, Config] | None = None  # Destination and configuration.
    made: Publication | None = None  # What came of it then without its body, where nothing else can be different now.
    key: bytes | None = None  # Under which to remember it, if it comes again and again.
    trace: Trace | None = None


class FastLane:
    """Publishing for the protocol's fast lane: as ``publish``, with every check that stands before it.

    Args:
        ports: The outside.
        caller: Returns the caller's address, given the peer's and the ``X-Forwarded-For`` headers.
        in_flight: Shared with the long way.
    """

    def __init__(
        self, ports: Ports, caller: Callable[[str | None, Sequence[bytes]], str | None], in_flight: InFlight
    ) -> None:
        self._ports = ports
        self._caller = caller
        self._in_flight = in_flight
        self._prefix = PREFIX.encode()
        self._check_length = body_check(ports.quota)
        self.take = in_flight.take  # Counts bytes of a body as they come; raises Overloaded.
        self._familiar: Familiar[Entry] = Familiar()

    def known(self, head: Sighting) -> Entry | None:
        """Return what the head of a publish says that came before, if it may be taken now as it was then."""
        entry = self._familiar.get(head.key)
        if entry is None:
            return None
        ports = self._ports
        try:
            if identify(entry.token, ports.authenticate, ports.query_token) is not entry.who:
                return None  # It may do something else now.
            self._check_length(head.length)
            self.take(head.length)
        except LateronError:
            return None
        return entry

    def admit(
        self,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        peer: str | None,
        length: int,
        key: bytes | None = None,
    ) -> Entry | None:
        """Judge the head of a POST request; only a publish whose body should be read is taken.

        Args:
            target: Of the request line, a path.
            headers: Names in lower case.
            peer: Address of the other end; None for a socket without one.
            length: Of the body.
            key: Under which the head may be remembered.

        Returns:
            None for another route, and for what is refused: the long way says so, slowly where somebody guesses.
        """
        prefix = target[: len(self._prefix)]
        if prefix != self._prefix and prefix.lower() != self._prefix:
            return None
        authorizations, forwarded_for, traced = [], [], False
        for name, value in headers:
            if name in _LONG_WAY:
                return None
            if name == b"authorization":
                authorizations.append(value)
            elif name == b"x-forwarded-for":
                forwarded_for.append(value)
            elif name in RAW_NAMES:
                traced = True
        ports = self._ports
        try:
            query = target.partition(b"?")[2]
            if query and any(name in query.lower() for name in _LONG_WAY):
                return None
            token = token_of(authorizations, query)
            identity = identify(token, ports.authenticate, ports.query_token)
            require(identity.scope, Access.PUBLISH)
            self._check_length(length)
        except Exception:  # noqa: BLE001 - The long way ends in the same, and answers it.
            return None
        if key is not None and not self._familiar.came_before(key):
            key = None
        caller_ip = self._caller(peer, forwarded_for)
        trace = read_trace(headers) if traced else None
        return Entry(target[len(prefix) :], headers, token, identity, caller_ip, key=key, trace=trace)

    def publish(self, entry: Entry, body: bytes, reply: Reply) -> None:
        """Store a message; ``reply`` is called once, after the commit, or at once if there will be none."""
        ports, size = self._ports, len(body)
        try:
            item: Item
            if entry.made is None:
                item = self._item(entry, body)
            else:
                item = with_body(entry.made, body)
                guard(ports.check_destination, item.request)
            done = partial(self._done, size, reply)
            if ports.tracing is None:
                ports.writer.publish_nowait((item,), done)
            else:
                self._follow(ports.tracing, item, entry.trace, done)
        except Exception as error:  # noqa: BLE001 - Told to the caller; a bug costs one request.
            self.refuse(error, size, reply)

    def _item(self, entry: Entry, body: bytes) -> Item:
        """Make what a head and a body ask for, and remember the head if it is one that comes again and again."""
        reading = _reading(self._ports, entry.who.tenant, entry.caller_ip, trace=entry.trace)
        destination, config = entry.read or read_request(entry.rest, entry.headers)
        item = publication(destination, config, entry.headers, body, reading)
        if isinstance(item, Publication):
            guard(self._ports.check_destination, item.request)
            if entry.key is not None:
                made = without_body(item, config)
                read = (destination, config) if made is None else None
                known = Entry(b"", (), entry.token, entry.who, entry.caller_ip, read, made, trace=entry.trace)
                self._familiar.remember(entry.key, known)
        return item

    def _follow(self, tracing: TracingRoom, item: Item, incoming: Trace | None, done: Done) -> None:
        """Store a message, followed by whoever follows requests."""
        traced = tracing.publish(_ROUTE, (item,), incoming)

        def told(result: tuple[Answered, ...] | BaseException) -> None:
            traced.ended(result)
            done(result)

        try:
            self._ports.writer.publish_nowait(traced.items, told)
        except BaseException as error:
            traced.ended(error)
            raise

    def refuse(self, error: BaseException, size: int, reply: Reply) -> None:
        """Answer a publish that failed; ``size`` bytes of it had been taken."""
        call_id = self._ports.request_id()
        self._end(failure(error, call_id, "POST"), call_id, size, reply)

    def gone(self, size: int) -> None:
        """Forget a publish whose client left before its body was complete."""
        self._in_flight.give(size)
        self._ports.counters.add("api_clients_gone")

    def _done(self, size: int, reply: Reply, result: tuple[Answered, ...] | BaseException) -> None:
        item = result[0] if isinstance(result, tuple) else result
        if isinstance(item, BaseException):
            self.refuse(item, size, reply)
        else:
            self._end(answered(item), self._ports.request_id(), size, reply)

    def _end(self, answer: Answer, call_id: str, size: int, reply: Reply) -> None:
        self._in_flight.give(size)
        self._ports.counters.add(COUNTED[answer.status])
        reply(answer, call_id)


def answered(accepted: Answered) -> Answer:
    """Return the answer to a publish: an object, or for a URL group an array of them.

    Raises:
        LateronError: The transaction found that the publish cannot be: there is no such group, for example.
    """
    if isinstance(accepted, LateronError):
        raise accepted
    if isinstance(accepted, FannedOut):
        new = not all(one.duplicate for _, one in accepted.endpoints)
        return json_answer(_item_answer(accepted), CREATED if new else DUPLICATE)
    if isinstance(accepted, Enrolled):
        return json_answer(_item_answer(accepted), CREATED)
    if accepted.duplicate:
        return json_answer(publish_answer(accepted.id, duplicate=True), DUPLICATE)
    return Answer(CREATED, publish_answer_json(accepted.id))


async def batch(ports: Ports, call: Call) -> Answer:
    """Store many messages in one transaction: ``POST /v2/batch``. A bad item is answered in its place."""
    body = await call.body(at_most(BATCH_BYTES))
    reading = context(ports, call, incoming_hops(call.headers))
    items = parse_batch(body, reading) if len(body) < _BIG else await asyncio.to_thread(parse_batch, body, reading)
    items = [_guarded(ports.check_destination, call.who.scope, index, item) for index, item in enumerate(items)]
    items = [
        _noted(ports, call, item, f"{call.id}.{index}") if isinstance(item, NewSchedule) else item
        for index, item in enumerate(items)
    ]
    good = [item for item in items if not isinstance(item, ItemError)]
    accepted = iter(await _published(ports, "/v2/batch", good, reading.trace) if good else ())
    answers: list[Any] = []
    stored = 0
    for index, item in enumerate(items):
        answer = item if isinstance(item, ItemError) else next(accepted)
        if isinstance(answer, LateronError):
            answer = ItemError(answer.status, f"message {index}: {answer}")
        stored += not isinstance(answer, ItemError)
        answers.append(_item_answer(answer))
    return json_answer(answers, CREATED if stored else 200)


def _noted(ports: Ports, call: Call, schedule: NewSchedule, request: str) -> NewSchedule:
    """Return a schedule that says who asks for it: of what a publish stores, only schedules are audited."""
    note = note_of(ports, call, "schedule.set")
    note.request, note.object = request, ""  # Its own id, once it has one.
    return replace(schedule, note=note)


def _item_answer(answer: Accepted | FannedOut | Enrolled | ItemError) -> object:
    """Return what one item of a batch is answered; for a URL group, an array."""
    if isinstance(answer, Enrolled):
        return {"scheduleId": answer.id}
    if isinstance(answer, ItemError):
        return error_answer(answer.status, answer.error)
    if isinstance(answer, FannedOut):
        return [publish_answer(one.id, duplicate=one.duplicate, url=url) for url, one in answer.endpoints]
    return publish_answer(answer.id, duplicate=answer.duplicate)


def context(ports: Ports, call: Call, hops: int = 0) -> PublishContext:
    """Return what a publish of this call is read against."""
    return _reading(ports, call.who.tenant, call.caller_ip, hops, read_trace(call.headers))


def _reading(
    ports: Ports, tenant: Tenant, caller_ip: str | None, hops: int = 0, trace: Trace | None = None
) -> PublishContext:
    return PublishContext(
        tenant=tenant,
        now=ports.clock.wall(),
        quota=ports.quota,
        caller_ip=caller_ip,
        dedup_window_ms=ports.dedup_window_ms,
        hops=hops,
        trace=trace,
    )


def _guarded(check: Check, scope: str, index: int, item: Item | ItemError) -> Item | ItemError:
    if isinstance(item, ItemError):
        return item
    try:
        if isinstance(item, NewSchedule):
            require(scope, Access.CHANGE)
        _guard(check, item)
    except LateronError as error:
        return ItemError(error.status, f"message {index}: {error}")
    return item


@lru_cache(maxsize=4)
def body_check(quota: Quota) -> Callable[[int], None]:
    """Return the check of a message's body: above the quota 412, above what we would ever read 413."""
    too_large = at_most(max(BATCH_BYTES, quota.body))

    def check(size: int) -> None:
        if size > quota.body:
            too_large(size)
            quota.check("body", size, quota.body)

    return check
