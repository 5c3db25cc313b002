"""Whom deaths of the process make suspect, who is attempted alone, and who is convicted.

Deaths are counted here and not taken from a row. That others wait is seen in the setting that tells users of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.models import Birth, Known, Violation, reports

from lateron.broker.rescue import listed
from lateron.core.apart import ALONE_MS
from lateron.core.values import MessageId, Millis, Outcome, State

if TYPE_CHECKING:
    from tests.simulation.world import World


class Poison:
    """Follows the suspects of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._lost: list[MessageId] = []  # What the last death has interrupted.
        self._before: frozenset[MessageId] = frozenset()  # Who was set apart before the turn.
        self._first: Millis | None = None  # When this start attempted the first of them.

    def strike(self) -> None:
        """The node dies of what it has in hand, in a world in which it has died of that before."""
        hands, limit = self.world.node.in_hand, self.world.limits.crash_limit
        if limit is not None and hands and max(self.world.known[i].deaths for i in hands) >= limit:
            self.world.node.die()

    def died(self) -> list[Birth]:
        """Count a death against all that is in hand; if a suspect was alone there, it ends, with its callbacks."""
        world, limit = self.world, self.world.limits.crash_limit
        hands = list(world.node.in_hand.values())
        self._lost = [call.message for _, call in hands]
        births: list[Birth] = []
        for _, call in hands:
            known = world.known[call.message]
            if limit is not None and known.deaths >= limit and len(hands) == 1 and not known.cancelled:
                call.outcome, call.settled = Outcome(error="crash-loop"), True
                births = reports(known, State.FAILED, world.now)
                world.end(known, State.FAILED)
                world.marks["convicted"] += 1
            else:
                known.deaths += 1
                world.node.lost(call)
        return births

    def started(self) -> None:
        """Look at who is set apart at a start: only who has seen so many deaths, and all of them that were lost."""
        world, limit = self.world, self.world.limits.crash_limit
        self._first = None
        with world.look() as tx:
            apart = listed(tx)
            rows = tx.read_messages(sorted({*self._lost, *apart}))
        waiting = {message.id for message in rows.values() if message.state is State.WAITING}
        suspects = {i for i in waiting if limit is not None and world.known[i].deaths >= limit}
        if apart - suspects:
            raise Violation("P-31", f"{min(apart - suspects).hex()} is set apart for no reason")
        if (suspects & set(self._lost)) - apart:
            raise Violation("P-31", f"{min((suspects & set(self._lost)) - apart).hex()} is not set apart")
        self._lost = []
        world.marks["set apart"] += bool(apart)

    def before(self) -> None:
        """A turn comes."""
        self._before = self._listed()

    def after(self, room: int) -> None:
        """A turn has been: while suspects are set apart no more than one attempt is open, and not for ever."""
        world = self.world
        if not self._before:
            return
        if self._listed():
            if len(world.node.in_hand) > 1:
                raise Violation("P-31", f"{len(world.node.in_hand)} attempts are open beside a suspect")
            if self._first is None and world.node.in_hand:
                self._first = world.now
            if self._first is not None and not 0 <= world.now - self._first < ALONE_MS:
                raise Violation("P-31", "suspects hold everybody up for more than a minute")
        elif self._first is None and room and not world.node.in_hand.keys() & self._before:
            self._all_held()

    def _all_held(self) -> None:
        """No suspect was attempted: something else must keep each of them from starting."""
        world = self.world
        with world.look() as tx:
            rows = tx.read_messages(sorted(self._before))
        for message in rows.values():
            if message.state is not State.WAITING or message.due > world.now:
                continue
            if not world.reasons.held(world.known[message.id], message):
                raise Violation("P-31", f"others go before {message.id.hex()}, which should be attempted alone")

    def _listed(self) -> frozenset[MessageId]:
        with self.world.look() as tx:
            return listed(tx)


def cleared(known: Known) -> None:
    """An attempt has ended, and the process has not."""
    known.deaths = 0
