"""The schedules of a simulated world: what must fire, and what must not.

Where the clock is true the ticks are foretold, every one. Where it is stepped it is not said which ticks fire, only
what may never be: an instant twice, one that its cron does not mean, one of the future, more than a
hundred at once; and after every step a schedule must soon stand at its next instant again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace
from tests.simulation.models import MOST_MISSED, Birth, Plan, Violation
from tests.simulation.orders import birth_of

from lateron.broker.schedules import Schedules, next_tick
from lateron.core.queue import line_of
from lateron.core.values import DAY, MINUTE, MessageId, Millis, QueueKind
from lateron.runtime import Nanos
from lateron.scheduler import CONFIRM_TICKS, SteadyClock

if TYPE_CHECKING:
    from tests.simulation.world import World

WINDOW: Millis = MINUTE  # How old a missed tick may be that still fires.

Place = tuple[int, str]


class Doubt:
    """Says from outside whether a clock must not be believed: it jumped by more than a day, and not long ago."""

    def __init__(self, wall: Millis, mono: Millis, confirm: Millis) -> None:
        self._wall = wall
        self._mono = mono
        self._confirm = confirm
        self._since: Millis | None = None

    def doubts(self, wall: Millis, mono: Millis) -> bool:
        """Judge a reading."""
        if abs((wall - self._wall) - (mono - self._mono)) > DAY:
            self._since = mono if self._since is None else self._since
            if mono - self._since < self._confirm:
                return True
        self._wall, self._mono, self._since = wall, mono, None
        return False


class Row(Struct, frozen=True):
    """A schedule as the store has it."""

    key: bytes
    due: Millis | None
    paused: bool
    runs: int
    created: Millis


class Ticks:
    """Lets schedules tick as the timer does, and holds them to their rules."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._ever: set[tuple[bytes, Millis]] = set()
        self._exact = "clock" not in world.swarm.faults

    def begin(self) -> None:
        """Begin as a new process does: it believes the clock as it stands."""
        now, mono = self.world.now, self.world.mono
        self._steady = SteadyClock(now, Nanos(mono * 1_000_000), CONFIRM_TICKS)
        self._doubt = Doubt(now, mono, CONFIRM_TICKS)

    def tick(self) -> None:
        """Let schedules tick, if their alarm has rung and the clock is believed."""
        world, now = self.world, self.world.now
        broker = world.node.broker
        due, trusted = next_tick(broker, now), self._steady.trusted(now, Nanos(world.mono * 1_000_000))
        doubtful = self._doubt.doubts(now, world.mono)
        if due is None or due > now or not trusted:
            world.marks["ticks not believed"] += not trusted
            return
        foretold = self._foretold(now)
        runs: list[tuple[Place, list[Millis]]] = []

        def births() -> list[Birth]:
            runs.extend(self._runs(now, foretold))
            if doubtful and any(ticks for _, ticks in runs):
                raise Violation("P-83", "schedules ran while the clock was in doubt")
            return [birth for place, ticks in runs for tick in ticks for birth in self.births(place, tick)]

        def then(made: list[MessageId], _: object) -> None:
            ids = iter(made)
            for place, ticks in runs:
                plan = world.plans[place]
                for tick in ticks:
                    plan.last = tuple(next(ids) for _ in self.births(place, tick))

        world.perform(lambda: Schedules(broker, WINDOW).tick(now, world.swarm.ticks), then, births)

    def births(self, place: Place, tick: Millis) -> list[Birth]:
        """Return the messages of a run: one, or one for each endpoint of its group."""
        plan, wish = self.world.plans[place], self.world.plans[place].calendar.wish
        if plan.group is None:
            urls = [wish.target]
        else:
            crowd = self.world.crowds.get((wish.tenant, plan.group))
            urls = [] if crowd is None else crowd.urls
        made = [birth_of(self.world, wish, url, plan.group, tick + wish.delay) for url in urls]
        if plan.calendar.overlap == "queue":
            made = [replace(birth, queue=(QueueKind.ORDER, line_of(plan.id, birth.url))) for birth in made]
        return [replace(birth, schedule=plan.id) for birth in made]

    def rows(self) -> dict[Place, Row]:
        """Read all schedules."""
        return {
            (tenant, name): Row(bytes(key), due, bool(paused), runs, created)
            for tenant, name, key, due, paused, runs, created in self.world.disk.rows(
                "SELECT tenant, id, key, due, paused, runs, created FROM schedule ORDER BY tenant, id"
            )
        }

    def _line(self) -> list[Place]:
        """Return the schedules in the order in which they tick, those that are paused or over last."""
        far = 1 << 62
        plans = self.world.plans
        return sorted(plans, key=lambda place: (plans[place].due or far, plans[place].key))

    def _foretold(self, now: Millis) -> dict[Place, list[Millis]]:
        """Say which ticks must fire, where the clock is true."""
        due = [p for p in self._line() if (self.world.plans[p].due or now + 1) <= now][: self.world.swarm.ticks]
        plans = {place: self.world.plans[place] for place in due}
        return {place: [t for t in plan.fire(now, WINDOW) if t not in plan.fired] for place, plan in plans.items()}

    def _runs(self, now: Millis, foretold: dict[Place, list[Millis]]) -> list[tuple[Place, list[Millis]]]:
        """Read which ticks have fired, and let the models follow; return the runs that they became."""
        world, rows = self.world, self.rows()
        stored: dict[bytes, list[Millis]] = {}
        for key, time in world.disk.rows("SELECT schedule, time FROM tick ORDER BY time"):
            stored.setdefault(bytes(key), []).append(time)
        runs = []
        for place in self._line():
            plan, row = world.plans[place], rows[place]
            fresh = [tick for tick in stored.get(plan.key, []) if tick not in plan.fired]
            if plan.created != row.created and not self._exact:
                plan.created = row.created  # It was made by a clock that ran ahead by days.
            self._may_fire(plan, fresh, now)
            if self._exact and fresh != foretold.get(place, []):
                raise Violation("P-80", f"schedule {plan.id} fires for {fresh}, and not for {foretold.get(place)}")
            ran = plan.runs_of(fresh, busy=any(message in world.open for message in plan.last))
            plan.fired.update(fresh)
            plan.runs += len(ran)
            plan.due = plan.following(now) if self._exact and place in foretold else row.due
            runs.append((place, ran))
            world.marks["ticked"] += len(ran)
        return runs

    def _may_fire(self, plan: Plan, ticks: list[Millis], now: Millis) -> None:
        """Hold ticks to what may be, whatever the clock does."""
        if len(ticks) > MOST_MISSED:
            raise Violation("P-82", f"schedule {plan.id} fires {len(ticks)} times at once")
        for tick in ticks:
            if tick > now or plan.next_tick(tick - 1) != tick or plan.paused:
                raise Violation("P-80", f"schedule {plan.id} fires for {tick} at {now}")
            if (plan.key, tick) in self._ever:
                raise Violation("P-83", f"schedule {plan.id} fires a second time for {tick}")
            self._ever.add((plan.key, tick))

    def reckon(self, place: Place) -> None:
        """Say when a schedule that is resumed is due; one that was made by a clock ahead by days is made anew."""
        plan = self.world.plans[place]
        if not self._exact:
            plan.created = self.rows()[place].created
        plan.due = plan.following(self.world.now)

    def forget(self, key: bytes, tick: Millis) -> None:
        """An instant whose record has passed its retention may come round again if the clock does."""
        self._ever.discard((key, tick))

    def go_on(self) -> None:
        """P-80: with the right time every schedule that is not paused or over ticks when it is due."""
        world = self.world
        for _ in range(8):  # More than the minute for which a clock that has jumped is doubted.
            world.node.tick()
            world.mono += MINUTE // 4
        for place in sorted(world.plans):
            plan = world.plans[place]
            for _ in range(20 * (1 + len(world.plans))):
                if plan.due is None or plan.due > world.now:
                    break
                world.node.tick()
            following = plan.following(world.now)
            if not plan.paused and following is not None and (plan.due is None or plan.due > following):
                raise Violation("P-83", f"schedule {plan.id} waits for {plan.due}, its next tick is {following}")
            if plan.due is None:
                continue
            world.mono += max(0, plan.due - world.now)
            before = plan.due
            for _ in range(20 * (1 + len(world.plans))):
                world.node.tick()
                if plan.due != before:
                    break
            else:
                raise Violation("P-80", f"schedule {plan.id} never ticks")
