"""What one transaction has in hand: its queues, its lanes, and all that it will write.

A lane is read once, changed in memory as the items of the batch pass through it one after another, and
written once: two writes of a hot row in one transaction rot it on PostgreSQL. All limits that a batch
brings are applied before the first of its items is admitted; otherwise its first items would start
under limits that its last item lowers. Queues are taken in hand before lanes, lanes before messages.

A slot of a queue is never counted back: ``pass_on`` asks the store which of the families that may have come
to rest really rest, and gives what is free to the heads, before the claim of the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from lateron.core import flow, queue
from lateron.core import message as life
from lateron.core.flow import Lane, LaneName
from lateron.core.queue import Queue, QueueName, queue_of
from lateron.core.values import (
    AT_REST,
    Attempt,
    Claimed,
    DeadLetter,
    Event,
    LaneKind,
    Message,
    MessageId,
    Millis,
    Publication,
    QueueKind,
    Request,
    State,
    Tenant,
    Transition,
)
from lateron.store.sql import Verbs

NOBODY: Final[frozenset[int]] = frozenset()


class Ledger:
    """Collects the changes of one transaction; ``write`` stores them in the order of the locks."""

    def __init__(
        self, tx: Verbs, node: int, host_parallelism: int | None, now: Millis, held: frozenset[int] = NOBODY
    ) -> None:
        self.now = now
        self.held = held  # The paused lanes of hosts: nothing may go there, whatever lane it stands in.
        self._tx = tx
        self._node = node
        self._host_parallelism = host_parallelism
        self._lanes: dict[int, Lane] = {}
        self._as_read: dict[int, Lane] = {}
        self._inserts: list[tuple[Message, Request]] = []
        self._saves: dict[MessageId, Message] = {}
        self._events: list[Event] = []
        self._attempts: list[Attempt] = []
        self._letters: list[DeadLetter] = []
        self._queues: dict[int, Queue] = {}
        self._queues_as_read: dict[int, Queue] = {}
        self._named: dict[QueueName, int] = {}
        self._roots: set[MessageId] = set()  # Their families may have come to rest.

    def hold_queues(self, ids: Iterable[int | None]) -> None:
        """Take queues in hand that exist, because open messages are in them."""
        missing = sorted({i for i in ids if i is not None and i not in self._queues})
        if missing:
            for row in self._tx.load_queues(missing).values():
                self._hold_queue(row)

    def find_queue(self, name: QueueName) -> Queue | None:
        """Take the queue of a name in hand; None if there is none."""
        if name not in self._named:
            row = self._tx.find_queue(name.tenant, name.kind, name.name)
            if row is None:
                return None
            self._hold_queue(row)
        return self._queues[self._named[name]]

    def add_queue(self, row: Queue) -> None:
        """Take a new queue in hand."""
        self._queues[row.id] = row
        self._named[QueueName(row.tenant, row.kind, row.name)] = row.id

    def new_queues(self, tenant: Tenant) -> int:
        """Count the queues with a name that this transaction makes."""
        new = [row for row in self._queues.values() if row.id not in self._queues_as_read]
        return sum(row.tenant == tenant and row.kind is QueueKind.NAMED for row in new)

    def set_queue(self, row: Queue) -> None:
        """Change a queue in hand."""
        self._queues[row.id] = row

    def queue(self, queue_id: int) -> Queue:
        """Return a queue in hand as it stands now."""
        return self._queues[queue_id]

    def _hold_queue(self, row: Queue) -> None:
        if row.id not in self._queues:
            self._queues[row.id] = self._queues_as_read[row.id] = row
            if not row.deleted:
                self._named[QueueName(row.tenant, row.kind, row.name)] = row.id

    def hold(self, names: dict[int, tuple[Tenant, LaneName]]) -> None:
        """Take lanes in hand that may be new, by id."""
        self.hold_known(names)
        for lane_id, (tenant, name) in names.items():
            lane = self._lanes.get(lane_id)
            if lane is None:
                self._lanes[lane_id] = self._capped(Lane(lane_id, tenant, name.kind, name.name))
            else:
                same = (lane.tenant, lane.kind, lane.name) == (tenant, name.kind, name.name)
                assert same, f"lanes {lane.name!r} and {name.name!r} share the number {lane_id}"

    def hold_known(self, ids: Iterable[int]) -> None:
        """Take lanes in hand that exist, because messages are in them."""
        missing = sorted({i for i in ids if i not in self._lanes})
        if missing:
            self.hold_lanes(self._tx.load_lanes(missing).values())

    def hold_lanes(self, lanes: Iterable[Lane]) -> None:
        """Take lanes in hand that were just read."""
        for lane in lanes:
            if lane.id not in self._lanes:
                self._as_read[lane.id] = lane
                self._lanes[lane.id] = self._capped(lane)

    def limit(self, publications: Iterable[tuple[int, Publication]]) -> None:
        """Apply the limits that new messages bring to their lanes."""
        for lane_id, publication in publications:
            wanted = publication.request.options.flow
            if wanted is not None:
                self._lanes[lane_id] = flow.limited(self._lanes[lane_id], wanted, self.now)

    def due(self) -> list[Lane]:
        """Return the lanes in hand that are due."""
        return [lane for lane in self._lanes.values() if lane.next_due is not None and lane.next_due <= self.now]

    def lane(self, lane_id: int) -> Lane:
        """Return a lane in hand as it stands now."""
        return self._lanes[lane_id]

    def alter(self, lane_id: int, change: Callable[[Lane, Millis], Lane]) -> Lane:
        """Change a lane in hand, and return it."""
        self._lanes[lane_id] = change(self._lanes[lane_id], self.now)
        return self._lanes[lane_id]

    def holds_back(self, message: Message, request: Request) -> bool:
        """Whether a message goes to a host that is paused, though its lane is open."""
        if not self.held or self._lanes[message.lane].kind is LaneKind.HOST:
            return False
        return flow.lane_name(message.tenant, LaneKind.HOST, flow.host_of(request.url)).id in self.held

    def enter(self, made: tuple[Message, Request, Event], *, room: bool) -> Claimed | None:
        """Let a new message in: ACTIVE at once if nothing stands before it, else waiting in its lane.

        Returns:
            The message to attempt, if it starts.
        """
        message, request, created = made
        self._events.append(created)
        name = queue_of(message.tenant, request.options)
        if name is not None:
            message = self._placed(message, self._queues[self._named[name]])
            if message.state is State.QUEUED:
                self._inserts.append((message, request))
                return None
        lane = self._lanes[message.lane]
        first = message.due <= self.now and lane.waiting == 0 and flow.room(lane, self.now) > 0
        if room and first and not self.holds_back(message, request):
            self._lanes[lane.id] = flow.started(lane, self.now, 1)
            begun = life.start(message, self._node, self.now)
            self._events += begun.events
            self._inserts.append((begun.message, request))
            return Claimed(begun.message, request)
        self._lanes[lane.id] = flow.joined(lane, message.due)
        self._inserts.append((message, request))
        return None

    def end(self, transition: Transition) -> None:
        """Record the end of an attempt: its lane has room again, and the message rests or waits anew."""
        self.record(transition)
        message = transition.message
        lane = flow.released(self._lanes[message.lane], self.now)
        if message.queue is not None:
            message = self._in_queue(message)
        self._lanes[lane.id] = flow.joined(lane, message.due) if message.state is State.WAITING else lane

    def leave(self, before: Message, transition: Transition) -> None:
        """Record that a message which waited, in its lane or in front of it, waits no more and did not start."""
        self.record(transition)
        if before.state is State.WAITING:
            self._leave_lane(before)
        if before.queue is not None:
            self._in_queue(transition.message)

    def move(self, before: Message, after: Message) -> None:
        """Record that a message which has a slot stands elsewhere: armed, held, or without it again."""
        if before.state is State.WAITING:
            self._leave_lane(before)
        if after.state is State.WAITING:
            self._lanes[after.lane] = flow.joined(self._lanes[after.lane], after.due)
        if before.slot is not after.slot:
            assert after.queue is not None, f"{after.id.hex()}: a slot without a queue"
            count = queue.given if after.slot else queue.released
            self._queues[after.queue] = count(self._queues[after.queue])
        self._saves[after.id] = after

    def pass_on(self) -> None:
        """Take back the slots of families at rest, and give what is free to those first in line."""
        if not self._queues:
            return
        self.write_messages()
        if self._roots:
            for queue_id in self._tx.release_slots(sorted(self._roots)):
                self._queues[queue_id] = queue.released(self._queues[queue_id])
            self._roots.clear()
        heads = [
            head
            for row in self._queues.values()
            if row.lag and queue.free(row)
            for head in self._tx.queue_heads(row.id, queue.free(row))
        ]
        if not heads:
            return
        self.hold_known(lane for _, lane, _ in heads)
        stored = self._tx.load_messages([message_id for message_id, _, _ in heads])
        for message_id, _, _ in heads:
            self.move(stored[message_id], life.arm(stored[message_id], self.now))

    def _placed(self, message: Message, row: Queue) -> Message:
        """Put a new message at the end of its queue; with a slot if one is free, for then nobody waits."""
        message = life.place(message, row.id, row.next_seq)
        row = queue.joined(row)
        if queue.free(row):
            message, row = life.arm(message, self.now), queue.given(row)
        self._queues[row.id] = row
        return message

    def _in_queue(self, message: Message) -> Message:
        """Do what the queue has to do with an attempt's end or a cancellation; return the message it leaves."""
        assert message.queue is not None, f"{message.id.hex()}: in no queue"
        row = self._queues[message.queue]
        if message.state >= AT_REST:
            if message.seq is not None:
                self._queues[row.id] = queue.left(row)
            if message.slot or message.root is not None:
                self._roots.add(message.root or message.id)
        elif message.state is State.WAITING and message.slot and row.paused:
            message = self._saves[message.id] = life.hold(message)
        return message

    def _leave_lane(self, message: Message) -> None:
        lane = flow.left(self._lanes[message.lane], 1)
        # The lane may have slept because of the one that leaves, if that was to go to a paused host.
        self._lanes[lane.id] = flow.poke(lane, self.now) if self.held else lane

    def start(self, lane_id: int, heads: list[Message], following: Millis | None) -> list[Message]:
        """Start the first waiting messages of a lane; ``following`` is when the next of them is due."""
        started = []
        for head in heads:
            transition = life.start(head, self._node, self.now)
            self.record(transition)
            started.append(transition.message)
        lane = flow.started(flow.left(self._lanes[lane_id], len(heads)), self.now, len(heads))
        self._lanes[lane_id] = flow.woken(lane, following, self.now)
        return started

    def rest(self, lane_id: int, following: Millis | None) -> None:
        """Set when to look at a lane again, its head having been read and not started."""
        self._lanes[lane_id] = flow.woken(self._lanes[lane_id], following, self.now)

    def record(self, transition: Transition) -> None:
        """Note what a decision changes, lanes apart."""
        self._saves[transition.message.id] = transition.message
        self._events += transition.events
        if transition.attempt is not None:
            self._attempts.append(transition.attempt)
        if transition.dead_letter is not None:
            self._letters.append(transition.dead_letter)

    def write_messages(self) -> None:
        """Store messages, so that a claim in the same transaction sees them."""
        tx = self._tx
        if self._inserts:
            tx.insert_messages([message for message, _ in self._inserts])
            tx.insert_requests(self._inserts)
            self._inserts.clear()
        if self._saves:
            tx.save_messages(list(self._saves.values()))
            self._saves.clear()

    def write(self) -> None:
        """Store everything."""
        self.pass_on()
        self.write_messages()
        tx = self._tx
        if self._attempts:
            tx.insert_attempts(self._attempts)
        if self._letters:
            tx.insert_dead_letters(self._letters)
        if self._events:
            tx.insert_events(self._events)
        changed = [lane for lane in self._lanes.values() if self._as_read.get(lane.id) != lane]
        if changed:
            tx.save_lanes(sorted(changed, key=lambda lane: lane.id))
        if self._queues:
            self._write_queues()

    def _write_queues(self) -> None:
        """Store the queues that changed, each once; drop those that are over."""
        read, rows = self._queues_as_read, sorted(self._queues.values(), key=lambda row: row.id)
        ended = [row.id for row in rows if queue.over(row) and row.id in read]
        changed = [row for row in rows if read.get(row.id) != row and not queue.over(row)]
        if changed:
            self._tx.save_queues(changed)
        if ended:
            self._tx.drop_queues(ended)

    def next_due(self) -> Millis | None:
        """Return when the first lane in hand is due."""
        return min((lane.next_due for lane in self._lanes.values() if lane.next_due is not None), default=None)

    def _capped(self, lane: Lane) -> Lane:
        """Give a host's lane the operator's cap of today, whatever it was when the row was written."""
        if lane.kind is not LaneKind.HOST or lane.parallelism == self._host_parallelism:
            return lane
        return flow.poke(replace(lane, parallelism=self._host_parallelism, next_due=None), self.now)
