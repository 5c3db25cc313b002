"""What must hold of the rows of the store after every step, whatever happened."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct
from tests.simulation.models import Line, Violation

from lateron.core.flow import Lane, lane_name
from lateron.core.queue import Queue
from lateron.core.values import SECOND, LaneKind, Message, MessageId, QueueKind, State

if TYPE_CHECKING:
    from tests.simulation.world import World


class Rows(Struct):
    """The store as it is now, as far as it is alive."""

    messages: list[Message]
    lanes: dict[int, Lane]
    queues: dict[int, Queue]
    holders: dict[int, list[Message]]  # Of slots, by queue.


class Audit:
    """Compares rows with the models, and counters with the rows that they count."""

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self) -> None:
        """Look at everything."""
        self.follow_keys()
        rows = self._read()
        self._open(rows)
        self._letters()
        self._lanes(rows)
        self._keys(rows)
        self._queues(rows)
        self._schedules()
        self._alarms(rows)
        self._figures(rows)

    def _read(self) -> Rows:
        with self.world.look() as tx:
            messages = [m for tenant in (1, 2) for m in tx.open_after(tenant, b"", 100_000)]
            lanes = tx.read_lanes([row[0] for row in self.world.disk.rows("SELECT id FROM lane ORDER BY id")])
            queues = tx.load_queues([row[0] for row in self.world.disk.rows("SELECT id FROM queue ORDER BY id")])
            holders = {queue: tx.slot_holders(queue) for queue in queues}
        return Rows(messages, lanes, queues, holders)

    def _open(self, rows: Rows) -> None:
        """What is open is what must be, and what is ACTIVE is what the node has in hand."""
        world = self.world
        alive = {message.id for message in rows.messages}
        lost = [message_id for message_id in world.open if message_id not in alive]
        if lost:
            raise Violation("P-1", f"{lost[0].hex()} came to rest or was lost without a reason in {world.doing}")
        if len(alive) > len(world.open):
            back = min(message_id for message_id in alive if message_id not in world.open)
            raise Violation("P-22", f"{back.hex()} goes on although it has come to rest")
        active = {message.id for message in rows.messages if message.state is State.ACTIVE}
        if active - world.node.in_hand.keys():
            raise Violation(
                "P-1", f"nobody has {min(active - world.node.in_hand.keys()).hex()} in hand, though it is ACTIVE"
            )
        if world.node.in_hand.keys() - active:
            raise Violation("P-22", "the node calls for a message that is not ACTIVE")

    def _letters(self) -> None:
        """P-28: a message that failed has a dead letter, until somebody takes it."""
        world = self.world
        found = [row[0] for row in world.disk.rows("SELECT message FROM dead_letter")]
        wanted = {known.id for known in world.known.values() if known.letter}
        if len(found) != len(wanted) or set(found) != wanted:
            raise Violation("P-28", f"{len(found)} dead letters, {len(wanted)} should be")

    def _lanes(self, rows: Rows) -> None:
        """Counters are the truth, and no lane sleeps through the time of its head."""
        world = self.world
        active = Counter(m.lane for m in rows.messages if m.state is State.ACTIVE)
        # An attempt of a key counts for the host that it goes to as well.
        active.update(
            self._host(m.id)
            for m in rows.messages
            if m.state is State.ACTIVE and world.known[m.id].wish.limit is not None
        )
        waiting: dict[int, list[Message]] = defaultdict(list)
        for message in rows.messages:
            if message.state is State.WAITING:
                waiting[message.lane].append(message)
        missing = [m for m in rows.messages if m.state in {State.ACTIVE, State.WAITING} and m.lane not in rows.lanes]
        if missing:
            raise Violation("P-77", f"the lane of {missing[0].id.hex()} is gone")
        for lane in rows.lanes.values():
            if (lane.active, lane.waiting) != (active[lane.id], len(waiting[lane.id])):
                raise Violation("P-77", f"lane {lane.name}: counts {lane.active}, {lane.waiting} are not the truth")
            if lane.waiting and not lane.paused:
                self._wakes(lane, sorted((m.due, m.id) for m in waiting[lane.id]), active)
        for message in rows.messages:
            if message.state is State.WAITING and message.tenant != rows.lanes[message.lane].tenant:
                raise Violation("P-111", f"{message.id.hex()} stands in the lane of another tenant")
        world.marks["waiting"] += bool(waiting)

    def _host(self, message_id: MessageId) -> int:
        """Return the lane of the host that a message goes to."""
        wish = self.world.known[message_id].wish
        return lane_name(wish.tenant, LaneKind.HOST, f"{wish.host}:80").id

    def _shut(self, message_id: MessageId, active: Counter[int]) -> bool:
        """Whether the host that a message goes to is full or paused."""
        wish, cap = self.world.known[message_id].wish, self.world.swarm.host_cap
        full = cap is not None and active[self._host(message_id)] >= cap
        return full or (wish.tenant, wish.host) in self.world.paused_hosts

    def _wakes(self, lane: Lane, line: list[tuple[int, MessageId]], active: Counter[int]) -> None:
        """P-117: a lane with somebody in it is looked at when its head may start."""
        world = self.world
        if lane.parallelism is not None and lane.active >= lane.parallelism:
            return
        if lane.next_due is None:
            # It may sleep because of the host of its head; once that has room, the broker looks by itself. A head
            # that came to the front only because the clock was set back waits for the one that was there before.
            alarm, heads = world.node.broker._alarm, line if "clock" in world.swarm.faults else line[:1]
            if alarm is not None and alarm <= max(world.now, world.latest):
                return
            if not any(self._shut(message_id, active) for _, message_id in heads):
                raise Violation("P-117", f"lane {lane.name} would never wake")
            return
        head = line[0]
        latest = max(head[0], world.latest, world.now)
        if lane.rate is not None and lane.rate_count >= lane.rate:
            latest = max(latest, lane.period_start + lane.period_ms)
        if lane.earliest is not None:
            latest = max(latest, lane.earliest // 1000)
        if lane.next_due > latest and not self._shut(head[1], active):
            raise Violation("P-117", f"lane {lane.name} would wake {lane.next_due - latest} ms late")

    def follow_keys(self) -> None:
        """Let the models of keys follow whose period a clock ahead has opened, once the broker has met them."""
        if "clock" not in self.world.swarm.faults:
            return
        now, kind = self.world.now, LaneKind.FLOW.value
        for tenant, name, opened in self.world.disk.rows(
            f"SELECT tenant, name, period_start FROM lane WHERE kind = {kind}"
        ):
            key = self.world.keys.get((tenant, name))
            if key is not None and now - SECOND <= opened <= now:
                key.right(opened)

    def _keys(self, rows: Rows) -> None:
        """What a key shows is what its users have made of it; one that is idle may be forgotten."""
        found = {(lane.tenant, lane.name): lane for lane in rows.lanes.values() if lane.kind is LaneKind.FLOW}
        for (tenant, name), key in list(self.world.keys.items()):
            lane = found.get((tenant, name))
            if lane is None:
                wanted = any(
                    k.wish.tenant == tenant and k.wish.limit is not None and k.wish.limit.key == name
                    for k in self.world.open.values()
                )
                if key.paused or key.fixed_parallelism or key.fixed_rate or wanted:
                    raise Violation("P-78", f"key {name} was forgotten while it meant something")
                del self.world.keys[tenant, name]
                continue
            shown = (lane.parallelism, lane.rate, lane.period_ms, lane.earliest is not None)
            if shown != (key.parallelism, key.rate, key.period, key.smooth):
                raise Violation("P-76", f"key {name} has limits {shown}")
            if (lane.paused, lane.pinned_parallelism, lane.pinned_rate) != (
                key.paused,
                key.fixed_parallelism,
                key.fixed_rate,
            ):
                raise Violation("P-75", f"key {name} is not as paused or pinned as it should be")
            if (lane.period_start, lane.rate_count) != (key.opened, key.count):
                raise Violation("P-77", f"key {name}: {lane.rate_count} starts, there were {key.count}")

    def _queues(self, rows: Rows) -> None:
        """Slots and lengths of queues are the truth, and nobody waits for a slot that is free."""
        mine: dict[int, list[Message]] = defaultdict(list)
        for message in rows.messages:
            if message.queue is not None:
                mine[message.queue].append(message)
        named = {}
        for row in rows.queues.values():
            if not row.deleted:
                named[row.tenant, row.kind, row.name] = row
            self._queue(row, mine[row.id], rows.holders[row.id])
        for place, line in self.world.lines.items():
            self._line(place, line, named.get(place))

    def _line(self, place: tuple[int, QueueKind, str], line: Line, row: Queue | None) -> None:
        """A queue is there, and configured as its users said."""
        if row is None:
            busy = any(message_id in self.world.open for message_id in line.order)
            if place[1] is QueueKind.NAMED or busy:
                raise Violation("P-65", f"queue {place[2]} is gone")
            return
        if (row.parallelism, row.paused) != (line.parallelism, line.paused):
            raise Violation("P-66", f"queue {place[2]} was configured otherwise")

    def _queue(self, row: Queue, messages: list[Message], holders: list[Message]) -> None:
        lag = sum(message.seq is not None for message in messages)
        if (row.lag, row.held) != (lag, len(holders)):
            raise Violation("P-68", f"queue {row.name}: counts {row.lag}, {row.held} are not the truth")
        families = {m.root or m.id for m in messages if m.slot or m.root is not None}
        if {m.id for m in holders} != families:
            raise Violation("P-62", f"queue {row.name}: {len(holders)} slots for {len(families)} families")
        if row.deleted:
            return
        queued = [message for message in messages if message.state is State.QUEUED]
        if queued and not row.paused and row.held < row.parallelism:
            raise Violation("P-67", f"queue {row.name} has stopped")
        if any(m.state is State.HELD for m in messages) and not row.paused:
            raise Violation("P-65", f"queue {row.name}: a message is held without a pause")

    def _figures(self, rows: Rows) -> None:
        """P-121: the figures that are only added to are those of the rows, across deaths and full disks."""
        tally, states = self.world.node.broker.tally, Counter(message.state for message in rows.messages)
        letters = len(self.world.disk.rows("SELECT message FROM dead_letter"))
        ready = sum(m.state is State.WAITING and m.due // 1000 <= self.world.now // 1000 for m in rows.messages)
        shown = (tally.open, tally.waiting, tally.active, tally.dead_letters, tally.ready(self.world.now)[0])
        truth = (len(rows.messages), states[State.WAITING], states[State.ACTIVE], letters, ready)
        if shown != truth:
            raise Violation("P-121", f"figures say {shown} of open, waiting, active, dead, ready; there are {truth}")

    def _schedules(self) -> None:
        """Schedules are where the count of our own says, and nowhere else."""
        found = self.world.node.ticks.rows()
        if found.keys() != self.world.plans.keys():
            raise Violation("P-87", f"there are schedules {sorted(found)}, and should be {sorted(self.world.plans)}")
        for place, row in found.items():
            plan = self.world.plans[place]
            if (row.key, row.due, row.runs) != (plan.key, plan.due, plan.runs):
                raise Violation("P-80", f"schedule {place[1]} is at {row}, and not at {plan.due} after {plan.runs}")
            if row.paused is not plan.paused:
                raise Violation("P-86", f"schedule {place[1]} is not as paused as it should be")

    def _alarms(self, rows: Rows) -> None:
        """P-117, P-89: the broker looks again no later than the first lane and the first schedule are due."""
        broker = self.world.node.broker
        first = min((lane.next_due for lane in rows.lanes.values() if lane.next_due is not None), default=None)
        if first is not None and (
            broker._alarm is None or broker._alarm > max(first, self.world.latest, self.world.now)
        ):
            raise Violation("P-117", "the broker would sleep through the time of a lane")
        dues = [plan.due for plan in self.world.plans.values() if plan.due is not None]
        if dues and (broker.tick_alarm is None or broker.tick_alarm > min(dues)):
            raise Violation("P-89", "the broker would sleep through the time of a schedule")
