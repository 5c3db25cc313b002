"""What a user is told who asks why a message has not gone out yet: it must be true at that moment.

The answer is foretold from the models, gate by gate, in the order that the documents promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.models import Known, Violation

from lateron.broker.rescue import listed
from lateron.core.values import Message, MessageId, State

if TYPE_CHECKING:
    from tests.simulation.world import World


class Reasons:
    """Asks about a message after every step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._chance = world.stream("reasons")

    def ask(self) -> None:
        """Ask for what some open message waits, and in which place."""
        world = self.world
        if not world.open:
            return
        known = world.open[self._chance.choice(list(world.open))]
        view = world.node.history.message(known.wish.tenant, known.id, world.now)
        told, message = view.waiting, view.message
        foretold = self._foretold(known, message)
        if foretold is not None and (told.reason if told is not None else "nothing") not in foretold:
            raise Violation("why", f"{known.id.hex()} waits for {' or '.join(sorted(foretold))}, and not for {told}")
        if told is not None and told.place is not None and told.place != self._place(message):
            raise Violation("why", f"{known.id.hex()} is in place {self._place(message)}, and not {told.place}")
        world.marks["asked why"] += told is not None

    def _foretold(self, known: Known, message: Message) -> set[str] | None:
        """Return what may be told; None where nothing can be said."""
        world, wish = self.world, known.wish
        if message.state is State.ACTIVE:
            return {"nothing"}
        if message.state in {State.QUEUED, State.HELD}:
            line = None if wish.queue is None else world.lines.get((wish.tenant, *wish.queue))
            if line is None or known.id not in line.order:
                return None  # Its queue was deleted; it will be cancelled.
            return {"queue_paused"} if line.paused else {"queue_head", "callback_of"}
        if message.due > world.now:
            return {"retry" if known.calls else "delay"}
        if world.halted:
            return {"server_paused"}
        most = world.swarm.most
        rest = "global_parallelism" if most is not None and len(world.node.in_hand) >= most else "node"
        with world.look() as tx:
            rest = "set_apart" if known.id in listed(tx) and known.deaths >= (world.limits.crash_limit or 1) else rest
        held = self.held(known, message) or {rest}
        return held | {rest} if "node" in held else held

    def held(self, known: Known, message: Message) -> set[str] | None:
        """Return what keeps a message from starting at its key or its host, if something does."""
        return self._at_key(known, message) or self._at_host(known.id)

    def _at_key(self, known: Known, message: Message) -> set[str] | None:
        """Return what holds a message at its key, or at the host of the one in front of it there."""
        world, wish = self.world, known.wish
        if wish.limit is None:
            return None
        key = world.key(wish.tenant, wish.limit.key)
        if key.paused:
            return {"flow_paused"}
        running = sum(
            other.tenant == wish.tenant and other.limit is not None and other.limit.key == wish.limit.key
            for other in (world.known[message_id].wish for message_id in world.node.in_hand)
        )
        if key.parallelism is not None and running >= key.parallelism:
            return {"flow_parallelism"}
        if key.rate is not None and key.count >= key.rate and world.now < key.opened + key.period:
            return {"flow_rate"}
        ((first,),) = world.disk.rows(
            "SELECT id FROM message WHERE lane = ? AND state = 0 ORDER BY due, id LIMIT 1", (message.lane,)
        )
        found = self._at_host(MessageId(first)) or self._at_host(known.id)
        # When a smooth key lets the next one start is nothing that its users can count.
        return (found or {"node", "global_parallelism"}) | {"flow_rate"} if key.smooth else found

    def _at_host(self, message_id: MessageId) -> set[str] | None:
        """Return what holds a message at its host."""
        world, wish = self.world, self.world.known[message_id].wish
        if (wish.tenant, wish.host) in world.paused_hosts:
            return {"host_paused"}
        others = [world.known[i].wish for i in world.node.in_hand]
        number = sum((other.tenant, other.host) == (wish.tenant, wish.host) for other in others)
        cap = world.swarm.host_cap
        return {"host_cap"} if cap is not None and number >= cap else None

    def _place(self, message: Message) -> int:
        """Count who stands before a message, in its queue or in its lane."""
        if message.state is State.QUEUED:
            rows = self.world.disk.rows(
                "SELECT count(*) FROM message WHERE queue = ? AND state = 2 AND seq < ?", (message.queue, message.seq)
            )
        else:
            rows = self.world.disk.rows(
                "SELECT count(*) FROM message WHERE lane = ? AND state = 0 AND (due, id) < (?, ?)",
                (message.lane, message.due, message.id),
            )
        return 1 + int(rows[0][0])
