"""A small world around the real broker on the real store: one seed, one history.

Everything outside the broker is chance: what clients publish, when time passes, how receivers answer, when
the node dies and which of its answers come too late. Two witnesses stand outside the system under test:
what the publisher was told (``told``) and what receivers saw (``calls``). The broker's own log is a third
thing under test, not the evidence.

A run has two phases: anything goes for a number of steps, then the world heals (no faults, receivers
answer 200) and everything must come to rest. ``Violation`` names the promise that was broken.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from itertools import pairwise

import msgspec
from msgspec import Struct

from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Accepted, Limits, Result, Turn
from lateron.core import flow
from lateron.core.digest import body_sha256
from lateron.core.values import (
    MINUTE,
    SECOND,
    CallbackOptions,
    Claimed,
    EventKind,
    Filter,
    Flow,
    Kind,
    LaneKind,
    Message,
    MessageId,
    Millis,
    Options,
    Outcome,
    Overrides,
    Publication,
    Request,
    RetryPolicy,
    State,
)
from lateron.runtime import id_maker
from lateron.store.sql import Store, Verbs

OK = Outcome(status=200)
FAR: Millis = 400 * 24 * 3600 * SECOND


class Violation(AssertionError):
    """A promise was broken."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")


class Call(Struct):
    """A request as its receiver saw it, and how it was answered."""

    message: MessageId
    attempt: int
    retried: int
    at: Millis
    lane: int
    body: bytes
    outcome: Outcome | None = None  # None: the answer is still open, or was never given.
    settled: bool = False  # The broker was told, and took it.
    lost: bool = False  # Its node died before the broker was told.


class Told(Struct):
    """A publication that was answered, and what the world knows of its message."""

    publication: Publication
    at: Millis
    due: Millis
    cancelled: bool = False


class Line(Struct):
    """A queue as its users know it."""

    parallelism: int = 1
    paused: bool = False
    order: list[MessageId] = msgspec.field(default_factory=list)
    begun: dict[MessageId, bool] = msgspec.field(default_factory=dict)


class World:
    """One history; see the module."""

    def __init__(self, seed: int, store: Store) -> None:
        self.random = random.Random(seed)
        self.now: Millis = 1_700_000_000_000
        self.store = store
        self.node = 0
        self.told: dict[MessageId, Told] = {}
        self.calls: list[Call] = []
        self.of: dict[MessageId, list[Call]] = defaultdict(list)
        self.in_hand: dict[MessageId, tuple[Claimed, Call]] = {}
        self.zombies: list[tuple[Claimed, Call]] = []
        self.crashes: Counter[MessageId] = Counter()
        self.holders: dict[bytes, tuple[MessageId, Millis]] = {}
        self.redriven: set[MessageId] = set()
        self.starts: dict[str, list[Millis]] = defaultdict(list)
        self.marks: Counter[str] = Counter()
        self.healing = False
        self.loose: set[MessageId] = set()  # Redriven: a report among them belongs to no queue any more.
        self.lines: dict[str, Line] = defaultdict(Line)
        self.place: dict[MessageId, tuple[str, int]] = {}
        self.history = History(store, Limits())
        self.new_id = id_maker(self.random.randbytes)
        self.broker = self.begin_node()

    def begin_node(self) -> Broker:
        """Start a node: a new incarnation that rescues what the last one held."""
        self.node += 1
        broker = Broker(self.store, self.new_id, self.node, Limits(host_parallelism=6))
        broker.open("world", self.now)
        broker.add_tenant(1, "one", self.now)
        return broker

    def run(self, steps: int) -> None:
        """Break everything, heal, and let all come to rest."""
        actions = [self.publish, self.publish, self.publish, self.pass_time, self.turn, self.turn, self.answer,
                   self.answer, self.answer, self.late_answer, self.cancel, self.crash, self.give_back,
                   self.redrive, self.sweep, self.pause, self.reshape, self.delete_line]  # fmt: skip
        for _ in range(steps):
            self.random.choice(actions)()
            self.audit()
        self.heal()

    # What happens.

    def publish(self) -> None:
        """A client publishes one to four messages in one request."""
        items = tuple(self.publication() for _ in range(self.random.choice([1, 1, 2, 4])))
        turned = self.broker.turn(Turn(publishes=(items,), room=self.room()), self.now)
        (answers,) = turned.accepted
        if not isinstance(answers, tuple) or len(answers) != len(items):
            raise Violation("P-91", f"{len(items)} items answered with {answers!r}")
        for item, answer in zip(items, answers, strict=True):
            assert isinstance(answer, Accepted)
            self.check_dedup(item, answer.id, duplicate=answer.duplicate)
            if not answer.duplicate:
                due = max(self.now, item.not_before if item.not_before is not None else self.now + item.delay_ms)
                self.told[answer.id] = Told(item, self.now, due)
                self.line_up(answer.id, item)
        self.receive(turned.claimed)

    def publication(self) -> Publication:
        """Draw what a client asks for."""
        chance = self.random
        flow = None
        if chance.random() < 0.4:
            key = chance.choice(["a", "b"])
            flow = Flow(key, *{"a": (2, None, SECOND), "b": (None, 3, 10 * SECOND)}[key])
        callback = CallbackOptions("http://callback/", retry=RetryPolicy(retries=chance.choice([0, 1])))
        options = Options(
            retry=RetryPolicy(
                retries=chance.choice([0, 0, 1, 3]), expression=chance.choice([None, None, "1000 * (1 + retried)", "0"])
            ),
            flow=flow,
            callback=callback if chance.random() < 0.2 else None,
            failure_callback=callback if chance.random() < 0.2 else None,
            queue_name=chance.choice(["q", "r", "r"]) if chance.random() < 0.5 else None,
        )
        host = chance.choice(["one", "two", "three"])
        body = chance.randbytes(chance.choice([0, 3, 20]))
        return Publication(
            tenant=1,
            request=Request(f"http://{host}/{chance.randrange(5)}", "POST", (("X-A", "1"),), body or None, options),
            delay_ms=chance.choice([0, 0, 0, 1, 5 * SECOND]),
            not_before=chance.choice([None, None, None, self.now + MINUTE, self.now - MINUTE]),
            dedup=bytes([chance.randrange(4)]) * 32 if chance.random() < 0.2 else None,
            dedup_window_ms=30 * SECOND,
        )

    def pass_time(self) -> None:
        """Let time go on, a little or a lot."""
        self.now += self.random.choice([1, 100, 999, SECOND, 10 * SECOND, MINUTE, 60 * MINUTE])

    def turn(self) -> None:
        """The node looks for due messages."""
        self.receive(self.broker.turn(Turn(room=self.room()), self.now).claimed)

    def room(self) -> int:
        """Draw how many attempts the node can open."""
        return 1000 if self.healing else self.random.choice([0, 1, 2, 5, 50])

    def answer(self) -> None:
        """Some receivers answer; the broker is told of all of them at once."""
        count = self.random.choice([1, 1, 3, 10])
        ready = self.random.sample(sorted(self.in_hand), min(count, len(self.in_hand)))
        if not ready:
            return
        pairs = [self.in_hand.pop(message_id) for message_id in ready]
        results = []
        for claimed, call in pairs:
            call.outcome = self.outcome()
            results.append(Result(claimed, call.outcome))
        turned = self.broker.turn(Turn(results=tuple(results), room=self.room()), self.now)
        if turned.settled != len(results):
            raise Violation("P-22", f"{turned.stale} answers of a living node were refused")
        for _, call in pairs:
            call.settled = True
        self.receive(turned.claimed)

    def outcome(self) -> Outcome:
        """Draw how a receiver answers."""
        if self.healing:
            return OK
        return self.random.choice([
            OK, OK, OK, Outcome(status=500), Outcome(status=503, headers=(("Retry-After", "2"),)), Outcome(status=301),
            Outcome(error="timeout"), Outcome(error="connect"),
            Outcome(status=489, headers=(("Upstash-NonRetryable-Error", "true"),)),
            Outcome(status=200, error="closed"),
        ])  # fmt: skip

    def late_answer(self) -> None:
        """A node that was declared dead hands in its result."""
        if not self.zombies:
            return
        claimed, call = self.zombies.pop(self.random.randrange(len(self.zombies)))
        call.outcome = self.outcome()
        turned = self.broker.turn(Turn(results=(Result(claimed, call.outcome),), room=0), self.now)
        if turned.stale != 1:
            raise Violation("P-22", f"the late answer for {claimed.message.id.hex()} was taken")
        self.marks["late answer refused"] += 1

    def cancel(self) -> None:
        """A client cancels one message, or all to one host."""
        if not self.told:
            return
        one = self.random.choice(sorted(self.told))
        selection = Filter(message_ids=(one,)) if self.random.random() < 0.9 else Filter(hosts=("three",))
        if self.random.random() < 0.3:
            self.broker.cancel(1, selection, self.now)
            hit = [one] if selection.message_ids else [i for i, t in self.told.items() if "three" in url(t)]
            for message_id in hit:
                self.told[message_id].cancelled = True
            self.marks["cancelled"] += 1

    def crash(self) -> None:
        """The node dies with all it has in hand; another starts and rescues."""
        if self.random.random() < 0.8:
            return
        for claimed, call in self.in_hand.values():
            call.lost = True
            self.crashes[claimed.message.id] += 1
            self.zombies.append((claimed, call))
            self.marks["lost with its node"] += 1
        self.in_hand.clear()
        self.broker = self.begin_node()

    def give_back(self) -> None:
        """The node drains: a message in hand goes back unsent."""
        if not self.in_hand or self.random.random() < 0.5:
            return
        claimed, call = self.in_hand.pop(self.random.choice(sorted(self.in_hand)))
        call.lost = True  # Nobody was called, and no retry may be charged.
        self.crashes[call.message] += 1
        self.broker.turn(Turn(results=(Result(claimed, None),), room=0), self.now)

    def redrive(self) -> None:
        """A user retries or deletes what is in the dead letter queue."""
        page = self.history.dead_letters(1, Filter(), None, 100).items
        if not page:
            return
        view = self.random.choice(page)
        selection = Filter(dlq_ids=((view.dead.time, view.dead.message),))
        self.redriven.add(view.dead.message)
        if self.random.random() < 0.3:
            self.broker.delete_dead(1, selection)
            return
        done = self.broker.redrive(1, selection, Overrides(), self.now)
        again = self.broker.redrive(1, selection, Overrides(), self.now)
        if len(done.messages) != 1 or again.messages:
            raise Violation("P-97", "a dead letter was not retried exactly once")
        self.loose.add(done.messages[0])
        source = self.told.get(view.dead.message)
        if source is not None:
            self.told[done.messages[0]] = Told(source.publication, self.now, self.now)
            self.line_up(done.messages[0], source.publication)
        self.marks["redriven"] += 1

    def sweep(self) -> None:
        """Retention runs; nothing here is old enough but dedup keys and idle lanes."""
        self.broker.sweep(self.now)

    def line_up(self, message_id: MessageId, item: Publication) -> None:
        """Note the place of a message in its queue: that in which it was acknowledged."""
        name = item.request.options.queue_name
        if name is not None:
            line = self.lines[name]
            self.place[message_id] = (name, len(line.order))
            line.order.append(message_id)

    def pause(self) -> None:
        """A user pauses a queue, or lets it go on."""
        name = self.random.choice(["q", "r"])
        if name in self.lines and self.random.random() < 0.5:
            line = self.lines[name]
            line.paused = not line.paused
            if self.random.random() < 0.5:
                self.broker.pause_queue(1, name, self.now, paused=line.paused)
            else:
                self.broker.set_queue(1, name, self.now, paused=line.paused)
            self.marks["paused"] += 1

    def reshape(self) -> None:
        """A user changes how many messages of a queue may be under way."""
        if self.random.random() < 0.5:
            line = self.lines["r"]
            line.parallelism = self.random.choice([1, 2, 3, 5])
            self.broker.set_queue(1, "r", self.now, parallelism=line.parallelism)

    def delete_line(self) -> None:
        """A user deletes a queue with its messages; sometimes the node dies in the midst of it."""
        name = self.random.choice(["q", "r"])
        if name not in self.lines or self.random.random() < 0.8:
            return
        number = self.broker.delete_queue(1, name, self.now)
        for message_id in self.lines.pop(name).order:
            self.told[message_id].cancelled = True
            del self.place[message_id]
        if number is not None and self.random.random() < 0.5:
            self.broker.empty_queue(number, self.now)
        self.marks["queue deleted"] += 1

    # What must hold.

    def receive(self, claimed: tuple[Claimed, ...]) -> None:
        """The destinations of claimed messages are called; check that they may be."""
        for item in claimed:
            message = item.message
            told, earlier = self.told.get(message.id), self.of[message.id]
            if told is None and message.kind is Kind.PUBLISH:
                raise Violation("P-2", f"{message.id.hex()} was never acknowledged")
            if message.id in self.in_hand or any(call.outcome and call.settled and final(call) for call in earlier):
                raise Violation("P-22", f"{message.id.hex()} started while open or at rest")
            if told is not None:
                self.check_start(item, told, earlier)
            retried = sum(call.settled and not call.lost for call in earlier)
            if message.retried != retried:
                raise Violation("P-23", f"retried is {message.retried} after {retried} answers")
            call = Call(message.id, message.attempt, message.retried, self.now, message.lane, item.request.body or b"")
            self.calls.append(call)
            earlier.append(call)
            self.in_hand[message.id] = (item, call)
            self.check_flow(item)
            self.check_line(item)

    def check_line(self, item: Claimed) -> None:
        """A message of a queue starts: in its order, with a slot, and not while the queue is paused."""
        message = item.message
        if message.id not in self.place:
            return
        name, place = self.place[message.id]
        line = self.lines[name]
        if line.paused:
            raise Violation("P-65", f"{message.id.hex()} started in a paused queue")
        with self.store.transaction() as tx:
            alive = {m.id for m in tx.open_after(1, b"", 100_000)}
            under_way = {f for f, first in line.begun.items() if self.alive(tx, f, alive)}
        line.begun[message.id] = True
        others = under_way - {message.id}
        if message.id not in under_way and len(others) >= line.parallelism:
            raise Violation("P-62", f"{len(others) + 1} families of queue {name} are under way")
        waiting = [m for m in line.order[:place] if m in alive and m not in line.begun]
        if waiting and line.parallelism == 1 and name == "q":
            raise Violation("P-60", f"{message.id.hex()} overtook {waiting[0].hex()}")

    def alive(self, tx: Verbs, root: MessageId, alive: set[MessageId]) -> bool:
        """Whether a message, or a callback that comes from it by its parents, does not rest."""
        if root in alive:
            return True
        found = tx.read_messages(sorted(alive))
        for message in found.values():
            above: MessageId | None = message.id
            while above is not None:
                known = found.get(above) or tx.read_message(1, above)
                ours = known is not None and known.kind in {Kind.CALLBACK, Kind.FAILURE_CALLBACK}
                if known is None or not ours or above in self.loose:
                    break
                above = known.parent
                if above == root:
                    return True
        return False

    def check_start(self, item: Claimed, told: Told, earlier: list[Call]) -> None:
        """An attempt of a published message: not early, not after a cancel, not too often, not changed."""
        message = item.message
        if self.now < told.due:
            raise Violation("P-30", f"{message.id.hex()} started {told.due - self.now} ms early")
        if told.cancelled:
            raise Violation("P-95", f"{message.id.hex()} started after it was cancelled")
        allowed = 1 + told.publication.request.options.retry.retries + self.crashes[message.id]
        if len(earlier) + 1 > allowed:
            raise Violation("P-21", f"{message.id.hex()} was called {len(earlier) + 1} times, {allowed} allowed")
        if body_sha256(item.request.body) != body_sha256(told.publication.request.body) or not item.intact:
            raise Violation("P-2", f"{message.id.hex()} went out with another body")

    def check_flow(self, item: Claimed) -> None:
        """Limits of a flow key, counted here and not taken from the lane."""
        flow = item.request.options.flow
        if flow is None:
            return
        same = [c for c, _ in self.in_hand.values() if c.request.options.flow == flow]
        if flow.parallelism is not None and len(same) > flow.parallelism:
            raise Violation("P-70", f"{len(same)} attempts of key {flow.key} are open")
        if flow.rate is not None:
            starts = self.starts[flow.key]
            starts.append(self.now)
            opened = starts[0]
            for at in starts:
                opened = at if at >= opened + flow.period_ms else opened
            if sum(at >= opened for at in starts) > flow.rate:
                raise Violation("P-71", f"more than {flow.rate} starts of key {flow.key} in a period")

    def check_dedup(self, item: Publication, message_id: MessageId, *, duplicate: bool) -> None:
        """Inside its window a key is one message."""
        if item.dedup is None:
            if duplicate:
                raise Violation("P-50", "a message without a key was taken for a duplicate")
            return
        held = self.holders.get(item.dedup)
        live = held is not None and self.now < held[1]
        if duplicate != live or (live and held is not None and held[0] != message_id):
            raise Violation("P-51", f"key {item.dedup[:1].hex()} answered {message_id.hex()}, duplicate={duplicate}")
        if not duplicate:
            self.holders[item.dedup] = (message_id, self.now + item.dedup_window_ms)
        else:
            self.marks["duplicate"] += 1

    def audit(self) -> None:
        """Compare counters and wake-up marks with the rows they stand for."""
        with self.store.transaction() as tx:
            open_ones = tx.open_after(1, b"", 100_000)
            active = Counter(m.lane for m in open_ones if m.state is State.ACTIVE)  # And at its host, if of a key.
            hosts = self.hosts(tx, [m for m in open_ones if m.state in {State.ACTIVE, State.WAITING}])
            lanes = tx.read_lanes(sorted({m.lane for m in open_ones} | set(hosts.values())))
        active.update(hosts[m.id] for m in open_ones if m.state is State.ACTIVE and hosts[m.id] != m.lane)
        waiting = Counter(m.lane for m in open_ones if m.state is State.WAITING)
        for lane in lanes.values():
            if (lane.active, lane.waiting) != (active[lane.id], waiting[lane.id]):
                raise Violation("P-77", f"lane {lane.name}: counts {lane.active}, {lane.waiting} are not the truth")
            full = lane.parallelism is not None and lane.active >= lane.parallelism
            if lane.waiting and not full and lane.next_due is None:
                first = min((m.due, m.id) for m in open_ones if m.lane == lane.id and m.state is State.WAITING)[1]
                host, alarm = lanes[hosts[first]], self.broker._alarm
                if flow.room(host, self.now) and (alarm is None or alarm > self.now):
                    raise Violation("P-117", f"lane {lane.name} would never wake")
            if lane.waiting and lane.next_due is not None:
                head = min(m.due for m in open_ones if m.lane == lane.id and m.state is State.WAITING)
                late = lane.rate is not None and lane.rate_count >= lane.rate
                if lane.next_due > max(head, self.now) and not late:
                    raise Violation("P-117", f"lane {lane.name} would wake late")
        self.audit_lines(open_ones)
        if {m.id for m in open_ones if m.state is State.ACTIVE} != set(self.in_hand):
            raise Violation("P-22", "what is ACTIVE is not what the node has in hand")

    def hosts(self, tx: Verbs, messages: list[Message]) -> dict[MessageId, int]:
        """Return the lane of the host that each message goes to."""
        urls = tx.urls([m.id for m in messages])
        return {m: flow.lane_name(1, LaneKind.HOST, flow.host_of(url)).id for m, url in urls.items()}

    def audit_lines(self, open_ones: list[Message]) -> None:
        """Slots and lengths of queues are the truth, and nobody waits for a slot that is free."""
        with self.store.transaction() as tx:
            rows = {row.name: row for row in tx.list_queues(1)}
            held = {name: tx.slot_holders(row.id) for name, row in rows.items()}
        for name, line in self.lines.items():
            if name not in rows:
                if line.order:
                    raise Violation("P-65", f"queue {name} is gone")
                continue
            row = rows[name]
            mine = [m for m in open_ones if m.queue == row.id]
            lag = sum(m.kind not in {Kind.CALLBACK, Kind.FAILURE_CALLBACK} for m in mine)
            if (row.parallelism, row.paused) != (line.parallelism, line.paused):
                raise Violation("P-66", f"queue {name} was configured otherwise")
            if (row.lag, row.held) != (lag, len(held[name])):
                raise Violation("P-68", f"queue {name}: counts {row.lag}, {row.held} are not the truth")
            families = {m.root or m.id for m in mine if m.slot or m.root is not None}
            if {m.id for m in held[name]} != families:
                raise Violation("P-62", f"queue {name}: {len(held[name])} slots for {len(families)} families")
            queued = any(m.state is State.QUEUED for m in mine)
            if queued and not row.paused and row.held < row.parallelism:
                raise Violation("P-67", f"queue {name} has stopped")
            if any(m.state is State.HELD for m in mine) and not row.paused:
                raise Violation("P-65", f"queue {name}: a message is held without a pause")

    def heal(self) -> None:
        """No more faults: everything comes to rest, and the log tells a possible story of each message."""
        self.healing = True
        for name, line in self.lines.items():
            line.paused = False
            self.broker.set_queue(1, name, self.now, paused=False)
        while self.broker.sweep(self.now):
            pass
        for _ in range(3000):
            while self.in_hand:
                self.answer()
            self.turn()
            if not self.in_hand:
                due = self.broker.turn(Turn(), self.now).next_due
                if due is None:
                    break
                self.now = max(self.now + 1, due)
        self.audit()
        with self.store.transaction() as tx:
            left = tx.open_after(1, b"", 1)
        if left:
            raise Violation("P-1", f"{left[0].id.hex()} never came to rest")
        for message_id in self.told:
            self.check_life(message_id)

    def check_life(self, message_id: MessageId) -> None:
        """A message came to exactly one end, and its record agrees with both witnesses."""
        story = self.history.story(1, message_id, self.now)
        state, calls, told = story.view.message.state, self.of[message_id], self.told[message_id]
        taken = any(c.settled and c.outcome is not None and success(c.outcome) for c in calls)
        if (state is State.DELIVERED) != taken:
            raise Violation("P-20", f"{message_id.hex()} is {state.name}, receivers say {taken}")
        if state is State.CANCELED and not told.cancelled:
            raise Violation("P-95", f"{message_id.hex()} is CANCELED, and nobody asked for it")
        self.check_dead_letter(message_id, state)
        kinds = [event.kind for event in story.events]
        if not legal(kinds):
            raise Violation("P-120", f"{message_id.hex()}: {[kind.name for kind in kinds]}")
        if len(story.attempts) != sum(c.settled or c.lost for c in calls):
            raise Violation("P-120", f"{message_id.hex()}: {len(story.attempts)} attempts on record")
        self.check_callbacks(message_id, told, calls, state)

    def check_dead_letter(self, message_id: MessageId, state: State) -> None:
        """FAILED and only FAILED has a dead letter, until somebody takes it."""
        page = self.history.dead_letters(1, Filter(message_ids=(message_id,)), None, 10).items
        expected = state is State.FAILED and message_id not in self.redriven
        if (len(page) == 1) != expected:
            raise Violation("P-28", f"{message_id.hex()} is {state.name} with {len(page)} dead letters")

    def check_callbacks(self, message_id: MessageId, told: Told, calls: list[Call], state: State) -> None:
        """One callback for each finished attempt, one failure callback for the last."""
        options = told.publication.request.options
        ended = sum(c.settled for c in calls)
        if options.callback is not None and not told.cancelled:
            found = self.children(message_id, Kind.CALLBACK)
            if found != ended:
                raise Violation("P-40", f"{message_id.hex()}: {found} callbacks for {ended} attempts")
        expected = int(options.failure_callback is not None and state is State.FAILED)
        found = self.children(message_id, Kind.FAILURE_CALLBACK)
        if found != expected:
            raise Violation("P-41", f"{message_id.hex()}: {found} failure callbacks")

    def children(self, message_id: MessageId, kind: Kind) -> int:
        """Count the callbacks of a message that receivers saw; all of them are delivered in the end."""
        return len({c.message for c in self.calls if self.parent(c.message) == (message_id, kind)})

    def parent(self, message_id: MessageId) -> tuple[MessageId | None, Kind]:
        """Return what a message reports on."""
        with self.store.transaction() as tx:
            message = tx.read_message(1, message_id)
        assert message is not None
        return message.parent, message.kind


def url(told: Told) -> str:
    """Return where a publication goes."""
    return told.publication.request.url


def success(outcome: Outcome) -> bool:
    """Say independently of the core what success is."""
    return outcome.error is None and outcome.status is not None and outcome.status // 100 == 2


def final(call: Call) -> bool:
    """Whether nothing may follow this answer."""
    return call.outcome is not None and success(call.outcome)


FOLLOWS = {
    EventKind.CREATED: {EventKind.ACTIVE, EventKind.CANCEL_REQUESTED},
    EventKind.ACTIVE: {EventKind.DELIVERED, EventKind.ERROR, EventKind.CANCEL_REQUESTED},
    EventKind.CANCEL_REQUESTED: {EventKind.DELIVERED, EventKind.ERROR, EventKind.CANCELED},
    EventKind.ERROR: {EventKind.RETRY, EventKind.FAILED, EventKind.CANCELED},
    EventKind.RETRY: {EventKind.ACTIVE, EventKind.CANCEL_REQUESTED},
}


def legal(kinds: list[EventKind]) -> bool:
    """Whether a log is a possible story that came to an end."""
    ends = {EventKind.DELIVERED, EventKind.FAILED, EventKind.CANCELED}
    steps = all(after in FOLLOWS.get(before, ()) for before, after in pairwise(kinds))
    return bool(kinds) and kinds[0] is EventKind.CREATED and kinds[-1] in ends and steps
