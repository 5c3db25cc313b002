"""What goes wrong in a simulated world: receivers, disks, clocks, deaths, and answers that come too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.models import Violation

from lateron.broker.views import Result, Turn
from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Claimed, Millis, Outcome

if TYPE_CHECKING:
    from tests.simulation.world import World

OK: Final = Outcome(status=200)
OUTCOMES: Final = (
    OK, OK, OK, Outcome(status=500), Outcome(status=503, headers=(("Retry-After", "2"),)), Outcome(status=301),
    Outcome(error="timeout"), Outcome(error="connect"),
    Outcome(status=489, headers=(("Upstash-NonRetryable-Error", "true"),)),
    Outcome(status=200, error="closed"),
)  # fmt: skip
STEPS_OF_THE_CLOCK: Final = (-HOUR, -HOUR, HOUR, -3650 * DAY, 3650 * DAY)


class Faults:
    """Draws faults."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.zombies: list[Claimed] = []
        self._chance = world.stream("faults")
        self._receivers = world.stream("receivers")
        self._strobe = 0  # How often the clock will still be thrown to and fro.

    def actions(self) -> list[Callable[[], None]]:
        """Return the faults of this world; time passes in every one."""
        found: list[Callable[[], None]] = [self.pass_time] * 4
        by_name: dict[str, Callable[[], None]] = {
            "crash": self.crash, "full": self.fill_disk, "broken": self.break_disk, "zombies": self.late_answer,
            "give_back": self.drain, "clock": self.step_clock,
        }  # fmt: skip
        if "crash" in self.world.swarm.faults and self.world.limits.crash_limit is not None:
            found += [self.world.node.stop, self.world.poison.strike, self.world.poison.strike]
        return found + [by_name[name] for name in sorted(self.world.swarm.faults & by_name.keys())]

    def outcome(self) -> Outcome:
        """Draw how a receiver answers."""
        if self.world.healing or "receivers" not in self.world.swarm.faults:
            return OK
        return self._receivers.choice(OUTCOMES)

    def pass_time(self) -> None:
        """Let time go on, a little or a lot."""
        self.world.mono += self._chance.choice([1, 100, 999, SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, HOUR])
        if self._strobe:
            self._strobe -= 1
            self.set_clock(HOUR - self.world.offset)

    def step_clock(self) -> None:
        """The clock on the wall is set: by an hour, by ten years, back to the truth, or to and fro for a while."""
        if self._chance.random() < 0.5:
            return
        step = self._chance.choice([*STEPS_OF_THE_CLOCK, 0])
        self.set_clock(step)
        self._strobe = self._chance.choice([0, 0, 10]) if step == HOUR else 0
        self.world.marks["clock stepped"] += 1

    def set_clock(self, offset: Millis) -> None:
        """Let the wall show another time; whoever was put off by the one before may be put off from this one."""
        self.world.offset = offset
        for known in self.world.open.values():
            known.not_before = min(known.not_before, self.world.now + known.wait)

    def crash(self) -> None:
        """The node dies between two transactions; another starts and rescues, and may die of that."""
        if self._chance.random() < 0.7:
            return
        if self._chance.random() < 0.3:
            self.world.disk.plan(self._chance.choice(["death", "death after"]), self._chance.randrange(1, 30))
        self.world.node.die()

    def fill_disk(self) -> None:
        """The disk will be full at one of the next statements; once there is room again all goes on."""
        if self._chance.random() < 0.5:
            self.world.disk.plan("full", self._chance.randrange(1, 40))

    def break_disk(self) -> None:
        """The store or the process ends at one of the next statements, or with a commit that holds."""
        if self._chance.random() < 0.5:
            fault = self._chance.choice(["broken", "death", "broken after", "death after", "death after"])
            self.world.disk.plan(fault, self._chance.randrange(1, 40))

    def late_answer(self) -> None:
        """The result of a node that is dead comes in; only its successor, who has the lock, can hand it in."""
        if not self.zombies:
            return
        world = self.world
        claimed = self.zombies.pop(self._chance.randrange(len(self.zombies)))
        broker, turn = world.node.broker, Turn(results=(Result(claimed, self.outcome()),), room=0)
        holds, turned = world.perform(lambda: broker.turn(turn, world.now), cold=False)
        if holds and turned is not None:
            if turned.stale != 1:
                raise Violation("P-22", f"the late answer for {claimed.message.id.hex()} was taken")
            world.marks["late answer refused"] += 1

    def drain(self) -> None:
        """The node drains: a message in hand goes back unsent."""
        node = self.world.node
        waiting = sorted(node.in_hand.keys() - set(node.pending))
        if waiting and self._chance.random() < 0.5:
            node.give_back(self._chance.choice(waiting))
            self.world.marks["given back"] += 1
