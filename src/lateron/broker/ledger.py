"""What one transaction has in hand: its queues, its lanes, and all that it will write.

A lane is read once, changed in memory as the items of the batch pass through it one after another, and
written once: two writes of a hot row in one transaction rot it on PostgreSQL. All limits that a batch
brings are applied before the first of its items is admitted; otherwise its first items would start
under limits that its last item lowers. Queues are taken in hand before lanes, lanes before messages.

A message of a key is counted twice while its attempt is open: in the lane of its key, and in that of the
host it goes to, whose cap and pause hold for it too. ``aim`` says which host; ``broker.crowds`` has who
waits for room there.

A slot of a queue is never counted back: ``pass_on`` asks the store which of the families that may have come
to rest really rest, and gives what is free to the heads, before the claim of the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from lateron.broker.crowds import Crowds
from lateron.core import flow, queue
from lateron.core import message as life
from lateron.core.flow import Lane, LaneName
from lateron.core.queue import Queue, QueueName, queue_of
from lateron.core.tally import Moves, Tally
from lateron.core.values import (
    AT_REST,
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
from lateron.errors import InvalidDestination, RequestError
from lateron.store.sql import Verbs


class Ledger:
    """Collects the changes of one transaction; ``write`` stores them in the order of the locks."""

    def __init__(
        self, tx: Verbs, node: int, host_parallelism: int | None, now: Millis, crowds: Crowds, tally: Tally
    ) -> None:
        self.now = now
        self._tx = tx
        self._crowds = crowds
        self._tally = tally
        self._moves = Moves()
        self._called: dict[int, int] = {}  # Lanes called out of a crowd, and how many each may start.
        self._aims: dict[MessageId, tuple[Tenant, LaneName]] = {}  # The hosts of messages in lanes of keys.
        self.shared = False  # A name came whose number is that of another lane.
        self._node = node
        self._host_parallelism = host_parallelism
        self._lanes: dict[int, Lane] = {}
        self._as_read: dict[int, Lane] = {}
        self._inserts: list[tuple[Message, Request]] = []
        self._saves: dict[MessageId, Message] = {}
        self._events = self._moves.events
        self._attempts = self._moves.attempts
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

    def find_queues(self, names: Iterable[QueueName]) -> None:
        """Take those of the named queues in hand that are there."""
        missing = {name for name in names if name not in self._named}
        found = [self._tx.find_queue(name.tenant, name.kind, name.name) for name in missing]
        rows = [row for row in found if row is not None]
        if rows and self._tx.locks:
            self.hold_queues(row.id for row in rows)
            return
        for row in rows:
            self._hold_queue(row)

    def find_queue(self, name: QueueName) -> Queue | None:
        """Take the queue of a name in hand; None if there is none."""
        self.find_queues((name,))
        return self._queues[self._named[name]] if name in self._named else None

    def foresee(self, ended: int = 0) -> None:
        """Take the lanes in hand that ``pass_on`` may let messages into, before any message is locked.

        Args:
            ended: How many slots of each queue may come back in this transaction.
        """
        if self._tx.locks:
            rows = [row for row in self._queues.values() if row.lag]
            heads = [h for row in rows for h in self._tx.queue_heads(row.id, queue.free(row) + ended)]
            self.hold_known(lane for _, lane, _ in heads)

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

    def hold(self, named: Iterable[tuple[Tenant, LaneName]]) -> None:
        """Take lanes in hand that may be new; of names with one number the first has it, see ``refuse_shared``."""
        names: dict[int, tuple[Tenant, LaneName]] = {}
        for one in named:
            if names.setdefault(one[1].id, one) != one:
                self.shared = True
        self.hold_known(names)
        for lane_id, (tenant, name) in names.items():
            lane = self._lanes.get(lane_id)
            if lane is None:
                self._lanes[lane_id] = self._capped(Lane(lane_id, tenant, name.kind, name.name))
            elif (lane.tenant, lane.kind, lane.name) != (tenant, name.kind, name.name):
                self.shared = True

    def refuse_shared(self, tenant: Tenant, name: LaneName) -> None:
        """Refuse a name, whose number is in hand, if another name has the lane of that number.

        A name can be made up that has the number of another one. What comes to such a lane all the same, because
        nobody is there to be told (a callback, a run, a message that was stored before), waits in it under the
        limits of the name that has it.

        Raises:
            RequestError: It is refused.
        """
        if self.shared and not self._has_lane(tenant, name):
            raise RequestError(f"{name.name!r} has the number of another name that is in use; choose another name")

    def _has_lane(self, tenant: Tenant, name: LaneName) -> bool:
        lane = self._lanes[name.id]
        return (lane.tenant, lane.kind, lane.name) == (tenant, name.kind, name.name)

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
                self._lanes[lane.id] = held = self._capped(flow.righted(lane, self.now))
                if held.next_due is None and held.waiting and not self._crowds.asleep(lane.id):
                    # It sleeps before a host, and that was forgotten. A message that joins would give it a time of its
                    # own, by which the search for sleepers would pass it; so it looks again at once.
                    self._lanes[lane.id] = flow.poke(held, self.now)

    def limit(self, publications: Iterable[tuple[int, Publication]]) -> None:
        """Apply the limits that new messages bring to their lanes."""
        for lane_id, publication in publications:
            wanted = publication.request.options.flow
            if wanted is not None:
                self._lanes[lane_id] = flow.limited(self._lanes[lane_id], wanted, self.now)

    def due(self) -> list[Lane]:
        """Return the lanes in hand that are due; one that stands in a crowd is, once it is called."""
        due = [lane for lane in self._lanes.values() if lane.next_due is not None and lane.next_due <= self.now]
        return [lane for lane in due if not self._sleeps(lane.id)] if self._crowds else due

    def room(self, lane: Lane) -> int:
        """Return how many messages of a lane are worth reading."""
        most = min(flow.room(lane, self.now), lane.waiting)
        if not self._crowds:
            return most
        return min(most, self._called.get(lane.id, 1 if self._crowds.size(lane.id) else most))

    def aim(self, message: Message, url: str) -> None:
        """Note where a message in the lane of a key goes; ``hold_hosts`` must follow."""
        try:
            host = flow.host_of(url)
        except InvalidDestination:
            return  # The stored request is damaged: it is never sent, so it needs no room anywhere.
        self._aims[message.id] = (message.tenant, flow.lane_name(message.tenant, LaneKind.HOST, host))

    def aim_stored(self, messages: Iterable[Message]) -> None:
        """Note where messages go whose lanes are in hand, and take the lanes of these hosts in hand."""
        keyed = [m for m in messages if self._lanes[m.lane].kind is LaneKind.FLOW and m.id not in self._aims]
        if keyed:
            urls = self._tx.urls([message.id for message in keyed])
            for message in keyed:
                self.aim(message, urls[message.id])
            self.hold_hosts()

    def hold_hosts(self) -> None:
        """Take the lanes of hosts in hand that messages of keys go to."""
        if self._aims:
            self.hold(self._aims.values())
            if self.shared:  # Whose host has no lane of its own is counted nowhere: it could not be counted back.
                self._aims = {message: aim for message, aim in self._aims.items() if self._has_lane(*aim)}

    def call(self, most: int) -> None:
        """Wake those at the front of crowds whose host has room, at most ``most`` of each; see ``broker.crowds``."""
        crowds = self._crowds
        hosts = crowds.stirred()
        self.hold_known(hosts)
        if not self._lanes.keys() >= set(hosts):
            crowds.forget()  # An idle host was collected meanwhile.
            return
        for host in hosts:
            free = flow.room(self._lanes[host], self.now)
            if free == 0:
                crowds.calm(host)
                continue
            share = max(1, free // crowds.size(host))
            first = crowds.crowd(host, min(free, most))
            self.hold_known(lane_id for lane_id, _ in first)
            for lane_id, since in first:
                lane = self._lanes.get(lane_id)
                # Who came first stands before all that became due later; a clock that was ahead puts nobody off.
                woken = None if lane is None else flow.poke(replace(lane, next_due=None), min(since, self.now))
                if woken is None or woken.next_due is None or woken.next_due > self.now:
                    crowds.leave(lane_id)  # Something of its own keeps it from starting; that will wake it.
                else:
                    self._called[lane_id] = share
                if woken is not None:
                    self._lanes[lane_id] = woken

    def called(self, lane_id: int) -> bool:
        """Whether a lane was called out of the crowd in which it stands."""
        return lane_id in self._called and self._crowds.asleep(lane_id)

    def search(self, most: int) -> None:
        """Wake a piece of the lanes that sleep because of a host of which the crowds know nothing."""
        if not self._crowds.searching:
            return
        found = self._tx.sleeping_lanes(self._crowds.unseen, most)
        self._crowds.searched(found[-1].id if len(found) == most else None)
        self.hold_lanes(found)
        for lane in found:
            self._lanes[lane.id] = flow.poke(self._lanes[lane.id], self.now)

    def admit(self, lane_id: int, ready: list[Message]) -> list[Message]:
        """Return the first messages of a lane that their hosts let start, which are counted there from now on.

        A lane that must leave one behind falls asleep, and stands in the crowd before that one's host.
        """
        lane, crowds = self._lanes[lane_id], self._crowds
        share = self._called.get(lane_id)
        before = crowds.before(lane_id)
        crowds.leave(lane_id)
        if lane.kind is LaneKind.HOST:
            most = flow.room(lane, self.now)
            if crowds.size(lane_id):
                most = min(most, share or 0)
            if most < len(ready) and crowds.size(lane_id):
                crowds.join(lane.tenant, lane_id, lane_id, self.now)
            return ready[:most]
        for count, message in enumerate(ready):
            host = self._host(message)
            if host is None:
                continue
            pushes_in = crowds.size(host.id) and (before != host.id or not share)
            if pushes_in or flow.room(host, self.now) == 0:
                if host.waiting and not crowds.size(host.id):
                    crowds.join(host.tenant, host.id, host.id, self.now)
                crowds.join(host.tenant, host.id, lane_id, self.now)
                return ready[:count]
            if before == host.id and share:
                share -= 1
            self._lanes[host.id] = flow.started(host, self.now, 1)
        return ready

    def host_full(self, message: Message) -> bool:
        """Whether the host of a message of a key lets it not start; that of another one is its lane."""
        host = self._host(message)
        return host is not None and flow.room(host, self.now) == 0

    def _host(self, message: Message) -> Lane | None:
        """Return the lane of the host that counts a message beside the lane of its key."""
        aim = self._aims.get(message.id)
        return None if aim is None else self._lanes[aim[1].id]

    def _sleeps(self, lane_id: int) -> bool:
        """Whether a lane stands in a crowd and is not called."""
        return lane_id not in self._called and self._crowds.asleep(lane_id)

    def lane(self, lane_id: int) -> Lane:
        """Return a lane in hand as it stands now."""
        return self._lanes[lane_id]

    def alter(self, lane_id: int, change: Callable[[Lane, Millis], Lane]) -> Lane:
        """Change a lane in hand, and return it; it looks for itself again, and so do those before a host."""
        self._lanes[lane_id] = change(self._lanes[lane_id], self.now)
        if self._crowds.before(lane_id) != lane_id:
            self._crowds.leave(lane_id)
        self._crowds.stir(lane_id)
        return self._lanes[lane_id]

    def enter(self, made: tuple[Message, Request, Event], *, room: bool) -> Claimed | None:
        """Let a new message in: ACTIVE at once if nothing stands before it, else waiting in its lane.

        Returns:
            The message to attempt, if it starts.
        """
        message, request, created = made
        self._events.append(created)
        self._moves.created.append(message.kind)
        name = queue_of(message.tenant, request.options)
        if name is not None:
            message = self._placed(message, self._queues[self._named[name]])
            if message.state is State.QUEUED:
                self._inserts.append((message, request))
                return None
        lane = self._lanes[message.lane]
        first = message.due <= self.now and lane.waiting == 0 and flow.room(lane, self.now) > 0
        if room and first and self._may_pass(message, lane):
            self._lanes[lane.id] = flow.started(lane, self.now, 1)
            begun = life.start(message, self._node, self.now)
            self._events += begun.events
            self._inserts.append((begun.message, request))
            return Claimed(begun.message, request)
        self._lanes[lane.id] = flow.joined(lane, message.due)
        self._moves.joined.append(message.due)
        self._inserts.append((message, request))
        return None

    def _may_pass(self, message: Message, lane: Lane) -> bool:
        """Whether the host of a new message lets it start, nobody waiting there; if so, it is counted there."""
        if lane.kind is LaneKind.HOST:
            return not self._crowds.size(lane.id)
        host = self._host(message)
        if host is None or flow.room(host, self.now) == 0 or self._crowds.size(host.id):
            return False
        self._lanes[host.id] = flow.started(host, self.now, 1)
        return True

    def end(self, transition: Transition) -> None:
        """Record the end of an attempt: its lane has room again, and the message rests or waits anew."""
        self.record(transition)
        message = transition.message
        lane = flow.released(self._lanes[message.lane], self.now)
        host = lane if lane.kind is LaneKind.HOST else self._host(message)
        if host is not None:
            # The count may be missing, of a store that an older program left.
            if host is not lane and host.active:
                self._lanes[host.id] = flow.released(host, self.now)
            self._crowds.stir(host.id)
        if message.queue is not None:
            message = self._in_queue(message)
        self._lanes[lane.id] = lane
        if message.state is State.WAITING:
            self._join_again(message)

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
            self._join_again(after)
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

    def _join_again(self, message: Message) -> None:
        """Let a message wait in its lane that is older than others there: it may come to stand before them."""
        lane = flow.joined(self._lanes[message.lane], message.due)
        self._moves.joined.append(message.due)
        if message.due <= self.now and self._crowds.asleep(lane.id):  # Perhaps its host has room.
            self._crowds.leave(lane.id)
            lane = flow.poke(lane, self.now)
        self._lanes[lane.id] = lane

    def _leave_lane(self, message: Message) -> None:
        lane = flow.left(self._lanes[message.lane], 1)
        self._moves.left.append(message.due)
        if self._crowds.asleep(lane.id):  # Perhaps because of the one that leaves.
            self._crowds.leave(lane.id)
            lane = flow.poke(lane, self.now)
        self._lanes[lane.id] = lane

    def start(self, lane_id: int, heads: list[Message], following: Millis | None) -> list[Message]:
        """Start the first waiting messages of a lane; ``following`` is when the next of them is due."""
        started = []
        for head in heads:
            transition = life.start(head, self._node, self.now)
            self.record(transition)
            started.append(transition.message)
        self._moves.left += [head.due for head in heads]
        lane = flow.started(flow.left(self._lanes[lane_id], len(heads)), self.now, len(heads))
        self._lanes[lane_id] = flow.woken(lane, following, self.now)
        return started

    def rest(self, lane_id: int, following: Millis | None) -> None:
        """Set when to look at a lane again, its head having been read and not started."""
        self._lanes[lane_id] = flow.woken(self._lanes[lane_id], following, self.now)

    def rest_all(self, until: Mapping[int, Millis]) -> dict[int, Millis]:
        """Let those of some lanes that are in hand and due rest until then; return those whose time is not over."""
        left = {lane_id: time for lane_id, time in until.items() if time > self.now}
        for lane in self.due():
            if lane.id in left:
                self._lanes[lane.id] = flow.woken(lane, left[lane.id], self.now)
        return left

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
        if self._crowds:
            for lane_id, lane in self._lanes.items():
                if lane.next_due is not None and self._crowds.asleep(lane_id):
                    self._lanes[lane_id] = replace(lane, next_due=None)
        changed = [lane for lane in self._lanes.values() if self._as_read.get(lane.id) != lane]
        if changed:
            tx.save_lanes(sorted(changed, key=lambda lane: lane.id))
        if self._queues:
            self._write_queues()
        self._moves.letters = len(self._letters)
        self._tally.note(self._moves)

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
