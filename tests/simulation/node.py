"""The process of a simulated world: it takes turns as the writer does, restarts, ticks and sweeps.

It keeps in memory what the real process keeps, and loses it when it dies: the calls that are open, the
answers that could not yet be stored, when to look again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.simulation.disk import Death
from tests.simulation.models import Birth, Call, Violation, reports, verdict, wait_of
from tests.simulation.orders import DEDUP_WINDOW, Orders
from tests.simulation.poison import cleared
from tests.simulation.ticks import Doubt, Ticks
from tests.simulation.wishes import Wish

from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Result, Turn
from lateron.core.publish import GroupPublication, PublishContext, parse_publish
from lateron.core.quota import QUOTAS
from lateron.core.values import Claimed, MessageId, Millis, Publication, State
from lateron.errors import StorageFull, StoreFailed
from lateron.runtime import Nanos, id_maker
from lateron.scheduler import CONFIRM, SteadyClock

if TYPE_CHECKING:
    from tests.simulation.world import World

RESTARTS = 1000  # After one death.

Handed = list[tuple[Claimed, Call]]


class Node:
    """The living incarnation, and what it has in hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = 0
        self.alarm: Millis | None = 0
        self.in_hand: dict[MessageId, tuple[Claimed, Call]] = {}
        self.pending: list[MessageId] = []  # Answered, and not yet stored: the disk was full.
        self.history = History(world.disk.real, world.limits)
        self.broker: Broker
        self.ticks = Ticks(world)
        self._doubt: Doubt
        self._chance = world.stream("node")
        self._ids = world.stream("ids")

    def actions(self) -> list[Callable[[], None]]:
        """Return what the node does by itself."""
        ticks = [self.tick] * 2 if "schedules" in self.world.swarm.features else []
        return [self.look] * 4 + [self.answer] * 5 + [self.sweep] + ticks

    def start(self) -> None:
        """Start a new incarnation, which rescues what the last one held; it may die of that, and start again."""
        world = self.world
        for _ in range(RESTARTS):
            self.number += 1
            world.mono += 1  # No process ends and begins in one millisecond.
            try:
                broker = Broker(world.disk, id_maker(self._ids.randbytes), self.number, world.limits)
                broker.open("world", world.now)
                for tenant in (1, 2):
                    broker.add_tenant(tenant, f"tenant {tenant}", world.now)
            except (StorageFull, StoreFailed, Death):
                world.marks["died while it recovered"] += 1
                continue
            self.broker, self.alarm = broker, 0
            world.poison.started()
            self._steady: SteadyClock | None = None
            self.ticks.begin()
            return
        raise Violation("P-6", "the node does not start any more")

    def die(self) -> None:
        """Lose all that is in hand, and start again."""
        world = self.world
        for claimed, _ in self.in_hand.values():
            world.faults.zombies.append(claimed)
            world.marks["lost with its node"] += 1
        births = world.poison.died()
        self.in_hand.clear()
        self.pending.clear()
        self.start()
        world.discover(births)

    def stop(self) -> None:
        """End in order, with attempts open that do not end in time, and start again."""
        world = self.world
        world.disk.relax()
        self.broker.leave(world.now)
        for claimed, call in self.in_hand.values():
            world.faults.zombies.append(claimed)
            self.lost(call)
            world.marks["broken off"] += 1
        self.in_hand.clear()
        self.pending.clear()
        self.start()

    def lost(self, call: Call) -> None:
        """Note an attempt that ends without an answer, and costs nothing."""
        known = self.world.known[call.message]
        call.lost = True
        known.spare += 1
        if known.cancelled:
            self.world.end(known, State.CANCELED)

    # Turns.

    def look(self) -> None:
        """Look for due messages, if the alarm has rung."""
        if self.alarm is not None and self.alarm <= self.world.now:
            self.turn()

    def answer(self) -> None:
        """Some receivers answer; the broker is told of all of them at once."""
        self.pending += self.answered(self._chance.choice([1, 1, 3, 10]))
        if self.pending:
            self.turn()

    def answered(self, count: int) -> list[MessageId]:
        """Let up to ``count`` receivers answer."""
        waiting = sorted(self.in_hand.keys() - set(self.pending))
        ready = waiting if len(waiting) <= count else self._chance.sample(waiting, count)
        for message_id in ready:
            self.in_hand[message_id][1].outcome = self.world.faults.outcome()
        return ready

    def give_back(self, message_id: MessageId) -> None:
        """Hand a message back unsent, as a node does that drains."""
        self.turn(given_back=[message_id])

    def turn(self, requests: Sequence[Sequence[Wish]] = (), given_back: Sequence[MessageId] = ()) -> None:
        """Hand in answers and publications in one transaction, and call what may start."""
        world = self.world
        room = 1000 if world.healing else self._chance.choice([0, 1, 2, 5, 50, 50])
        results = [self.in_hand[message_id] for message_id in (*self.pending, *given_back)]
        births, ends = self._foretold(results)
        orders = Orders(world, births, requests)
        turn = Turn(
            publishes=tuple(tuple(self.parsed(wish) for wish in wishes) for wishes in requests),
            results=tuple(Result(claimed, call.outcome) for claimed, call in results),
            room=room,
        )
        world.poison.before()
        try:
            turned = self.broker.turn(turn, world.now)
        except StorageFull:
            world.marks["disk full"] += 1
            world.discover([])
            return
        except (StoreFailed, Death):
            took = world.disk.committed
            world.marks["died, committed" if took else "died, not committed"] += 1
            made = world.discover(orders.births if took else [])
            if took:
                self._follow(results, ends)
                orders.follow(made)
                world.starts.receive(self._unseen(), room)
                world.poison.after(room)
            self.die()
            return
        made = world.discover(orders.births)
        if turned.settled != len(results):
            raise Violation("P-22", f"{turned.stale} answers of a living node were refused")
        self._follow(results, ends)
        orders.follow(made)
        orders.check(turned.accepted, made)
        self.alarm = turned.next_due
        world.audit.follow_keys()
        world.starts.receive(turned.claimed, room)
        world.poison.after(room)

    def parsed(self, wish: Wish) -> Publication | GroupPublication:
        """Have a wish read as the API reads it."""
        return parse_publish(wish.target.encode(), wish.headers(), wish.body, self.context(wish.tenant))

    def context(self, tenant: int) -> PublishContext:
        """Return what a request is read against."""
        return PublishContext(tenant, self.world.now, QUOTAS["none"], dedup_window_ms=DEDUP_WINDOW)

    def _foretold(self, results: Handed) -> tuple[list[Birth], list[State | None]]:
        """Say what answers must make, and what their messages come to; None: they go on."""
        births: list[Birth] = []
        ends: list[State | None] = []
        for claimed, call in results:
            known = self.world.known[claimed.message.id]
            end = None if call.outcome is None else verdict(known, call.outcome)
            if call.outcome is not None:
                births += reports(known, end, self.world.now)
            ends.append(end)
        return births, ends

    def _follow(self, results: Handed, ends: Sequence[State | None]) -> None:
        """Let the models follow: the answers are stored."""
        world = self.world
        for (claimed, call), end in zip(results, ends, strict=True):
            known = world.known[claimed.message.id]
            del self.in_hand[known.id]
            if call.outcome is None:
                self.lost(call)
                continue
            if end is None:
                known.wait = wait_of(known, call.outcome)
                known.not_before = world.now + known.wait
            call.settled = True
            cleared(known)
            if end is not None:
                world.end(known, end)
        self.pending.clear()

    def _unseen(self) -> tuple[Claimed, ...]:
        """Read what a turn has claimed whose answer never came."""
        with self.world.look() as tx:
            held = tx.owned(self.number, 10_000)
            return tuple(tx.claimed([m for m in held if m.id not in self.in_hand]))

    # Ticks and retention.

    def tick(self) -> None:
        """Let schedules tick."""
        self.ticks.tick()
        self.world.audit.follow_keys()

    def sweep(self) -> None:
        """Run retention as the scheduler does: not while the clock is in doubt, also behind a restart."""
        world, now, mono = self.world, self.world.now, self.world.mono
        over = self._chance.random() < 0.1
        if self._steady is None:
            swept = world.disk.rows("SELECT value FROM setting WHERE name = 'swept'")
            self._doubt = Doubt(int(swept[0][0]) if swept else now, mono, CONFIRM)
            holds, last = world.perform(self.broker.last_sweep)
            if not holds:
                return
            self._steady = SteadyClock(now if last is None else last, Nanos(mono * 1_000_000))
        doubtful = self._doubt.doubts(now, mono)
        if not self._steady.trusted(now, Nanos(mono * 1_000_000)):
            world.marks["clock not believed"] += 1
            return
        world.rest.judge_all()
        world.perform(lambda: self.broker.sweep(now, over_size=over))
        gone = world.rest.purged(over_size=over)
        if gone and doubtful:
            raise Violation("P-98", f"{gone} messages were deleted while the clock was in doubt")
