"""What must hold at the end of a message, of its retention, and of a world that has healed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.simulation.models import AHEAD, Call, Known, Violation

from lateron.core.values import DAY, HOUR, MINUTE, Attempt, EventKind, Millis, State

if TYPE_CHECKING:
    from tests.simulation.world import World

FOLLOWS: Final = {
    EventKind.CREATED: {EventKind.ACTIVE, EventKind.CANCEL_REQUESTED},
    EventKind.ACTIVE: {EventKind.DELIVERED, EventKind.ERROR, EventKind.CANCEL_REQUESTED},
    EventKind.CANCEL_REQUESTED: {EventKind.DELIVERED, EventKind.ERROR, EventKind.CANCELED},
    EventKind.ERROR: {EventKind.RETRY, EventKind.FAILED, EventKind.CANCELED},
    EventKind.RETRY: {EventKind.ACTIVE, EventKind.CANCEL_REQUESTED},
}
ENDS: Final = {
    State.DELIVERED: EventKind.DELIVERED,
    State.FAILED: EventKind.FAILED,
    State.CANCELED: EventKind.CANCELED,
}
SLACK: Final = DAY + HOUR  # The longest wait that a receiver may ask for, and a little.
TURNS: Final = 5000


class Rest:
    """Judges what has come to an end."""

    def __init__(self, world: World) -> None:
        self.world = world

    def heal(self) -> None:
        """No more faults: everything comes to rest, woken by the alarms alone; then judge it."""
        world = self.world
        world.healing = True
        world.disk.relax()
        world.faults.set_clock(0)
        world.managers.let_all_go()
        world.audit.follow_keys()
        world.node.ticks.go_on()
        self._nobody_is_put_off()
        for tenant, name in sorted(world.plans):
            world.managers.delete_schedule(tenant, name)  # So that all can rest.
        self._sweep()
        world.audit.follow_keys()
        self._drain()
        world.audit.look()
        if world.open:
            raise Violation("P-1", f"{min(world.open).hex()} never came to rest")
        self.judge_all()
        self._nothing_twice()

    def _sweep(self) -> None:
        """Run retention until it finds nothing; deleted queues are emptied by it too."""
        more = True
        while more:
            self.judge_all()
            more = self.world.node.broker.sweep(self.world.now)
            self.purged(over_size=False)

    def _drain(self) -> None:
        """Answer what is open and obey the alarms, until nobody is left to be woken."""
        world, node = self.world, self.world.node
        horizon = max(world.latest, world.now) + SLACK
        for _ in range(TURNS):
            node.answer()
            if node.in_hand:
                continue
            if node.alarm is None:
                if world.open:
                    raise Violation("P-117", f"{len(world.open)} messages wait, and no alarm is set")
                return
            self._nobody_waits_for_a_wrong_clock(node.alarm)
            world.mono += max(0, node.alarm - world.now)
            if world.now > horizon:
                raise Violation("P-1", "the world does not come to rest in time")
            node.look()
        raise Violation("P-1", "the world does not come to rest")

    def _nobody_waits_for_a_wrong_clock(self, alarm: Millis) -> None:
        """P-83: a message whose time has come waits for the end of a period at most, nothing else being in its way."""
        world = self.world
        period = max((key.period for key in world.keys.values()), default=0)
        if alarm <= world.now + period + AHEAD:
            return
        late = world.disk.rows("SELECT id FROM message WHERE state = 0 AND due <= ? LIMIT 1", (world.now,))
        if late:
            raise Violation("P-83", f"{late[0][0].hex()} waits {alarm - world.now} ms for what a wrong clock has shown")

    def _nobody_is_put_off(self) -> None:
        """P-83: who was to go at once, or is to be tried again, waits for no far date of a clock that was ahead."""
        world = self.world
        for message_id, due in world.disk.rows("SELECT id, due FROM message WHERE state IN (0, 4)"):
            known = world.known[message_id]
            last = known.calls[-1] if known.calls else None
            if last is None:  # The run of a schedule may be spread over a while, and is not to go at once.
                meant, since, wait = known.wish.due <= known.born and known.wish.schedule is None, known.born, 0
            else:
                meant, since, wait = last.settled, last.at, known.wait
            logged = since >= world.swept
            # Why an hour more: a clock that is set back in two steps has righted them in between.
            if meant and logged and due > world.now + wait + HOUR:
                raise Violation(
                    "P-83", f"{message_id.hex()} waits {due - world.now} ms for what a wrong clock has shown"
                )

    def settle_deleted(self) -> None:
        """Find out which messages of a deleted queue rest by now; the others may never start."""
        world = self.world
        doomed = [k for k in world.open.values() if k.cancelled and k.id not in world.node.in_hand]
        if not doomed:
            return
        with world.look() as tx:
            rows = tx.read_messages([known.id for known in doomed])
        for known in doomed:
            if known.id in rows and rows[known.id].state is State.CANCELED:
                world.end(known, State.CANCELED)

    # One message.

    def judge_all(self) -> None:
        """Judge what has come to rest since the last time; afterwards its history may go."""
        self.settle_deleted()
        for known in self.world.known.values():
            if known.end is not None and not known.judged:
                self._judge(known)
                known.judged = True

    def _judge(self, known: Known) -> None:
        """A message came to the end that it must, and its record agrees with both witnesses."""
        story = self.world.node.history.story(known.wish.tenant, known.id, self.world.now)
        name, state = known.id.hex(), story.view.message.state
        if state is not known.end:
            promise = "P-95" if State.CANCELED in {state, known.end} else "P-20"
            assert known.end is not None
            raise Violation(promise, f"{name} is {state.name}, and should be {known.end.name}")
        kinds = [event.kind for event in story.events]
        if not self._legal(known, kinds) or kinds[-1] is not ENDS[state]:
            raise Violation("P-120", f"{name}: {[kind.name for kind in kinds]}")
        if len(story.attempts) != len(known.calls):
            raise Violation("P-120", f"{name}: {len(story.attempts)} attempts on record, {len(known.calls)} calls")
        for call, attempt in zip(known.calls, story.attempts, strict=True):
            if not _same(call, attempt):
                raise Violation("P-120", f"{name}: attempt {attempt.number} is on record as {attempt.outcome}")

    def _legal(self, known: Known, kinds: list[EventKind]) -> bool:
        """Whether a log is a possible story that came to an end, as far as retention has kept it."""
        world = self.world
        if not kinds or kinds[-1] not in ENDS.values():
            return False
        if "clock" in world.swarm.faults and world.swept:
            return True  # What happened while the clock was in the past is old, wherever it stands in the story.
        # Of a message that was open for long the beginning may be gone.
        begins = kinds[0] is EventKind.CREATED or known.born < world.swept
        return begins and all(after in FOLLOWS.get(before, ()) for before, after in pairwise(kinds))

    def purged(self, *, over_size: bool) -> int:
        """Look at what retention has deleted: only what is old, judged, and needed by nobody; return how many."""
        world, limits = self.world, self.world.limits
        self.settle_deleted()
        world.swept = max(world.swept, world.now - limits.history_retention_ms)
        kept = {row[0] for row in world.disk.rows("SELECT id FROM message")}
        count = 0
        for known in world.known.values():
            if known.gone or known.id in kept:
                continue
            known.gone = True
            count += 1
            if known.end is None or not known.judged:
                raise Violation("P-98", f"{known.id.hex()} was deleted before it came to rest")
            age = world.now - known.ended
            least = limits.dead_letter_retention_ms
            if known.end is not State.FAILED:
                least = limits.message_retention_ms if over_size else limits.history_retention_ms
            if age <= least:
                raise Violation("P-98", f"{known.id.hex()} was deleted {age // MINUTE} minutes after its end")
        world.marks["purged"] += count
        self._letters_expired()
        self._forgotten()
        return count

    def _letters_expired(self) -> None:
        """Dead letters go when they are old, and not before."""
        world = self.world
        left = {row[0] for row in world.disk.rows("SELECT message FROM dead_letter")}
        for known in world.known.values():
            if known.letter and known.id not in left:
                if world.now - known.ended <= world.limits.dead_letter_retention_ms:
                    raise Violation("P-98", f"the dead letter of {known.id.hex()} was deleted early")
                known.letter = False

    def _forgotten(self) -> None:
        """Deduplication keys and ticks are forgotten in their time, and not before."""
        world = self.world
        held = {row[0] for row in world.disk.rows("SELECT message FROM dedup")}
        for key, holder in list(world.holders.items()):
            if holder.id in held:
                continue
            if holder.until > world.now:
                raise Violation("P-53", f"key {key} was forgotten {holder.until - world.now} ms early")
            del world.holders[key]
        ticks = {(bytes(key), time) for key, time in world.disk.rows("SELECT schedule, time FROM tick")}
        for plan in world.plans.values():
            for tick in sorted(plan.fired):
                if (plan.key, tick) in ticks:
                    continue
                if tick >= world.now - world.limits.history_retention_ms:
                    raise Violation("P-83", f"a tick of schedule {plan.id} was forgotten early")
                plan.fired.remove(tick)
                world.node.ticks.forget(plan.key, tick)

    def _nothing_twice(self) -> None:
        """A world in which nothing failed has called each receiver exactly once for each message."""
        world = self.world
        if world.swarm.faults - {"clock"}:
            return
        for known in world.known.values():
            if len(known.calls) != (known.end is State.DELIVERED) and not known.cancelled:
                raise Violation("P-1", f"{known.id.hex()} was called {len(known.calls)} times in a healthy world")


def _same(call: Call, attempt: Attempt) -> bool:
    if attempt.number != call.attempt or attempt.retried != call.retried:
        return False
    if call.lost:
        return attempt.outcome.error == "node-lost"
    outcome = call.outcome
    return outcome is not None and (attempt.outcome.status, attempt.outcome.error) == (outcome.status, outcome.error)
