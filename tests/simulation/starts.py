"""What must hold when a message starts: its time, its right to, its place in line, its limits, its bytes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.json import Decoder
from tests.simulation.models import Call, Known, Violation

from lateron.core.ids import message_text
from lateron.core.values import Claimed, Kind, QueueKind

if TYPE_CHECKING:
    from tests.simulation.world import World

_report = Decoder().decode


class Starts:
    """Looks at every message that the node is given to attempt."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._queues = world.swarm.features & {"queues", "orders"}

    def receive(self, claimed: tuple[Claimed, ...], room: int) -> None:
        """Call the destinations of claimed messages; check that this may be."""
        if not claimed:
            return
        world = self.world
        if len(claimed) > room:
            raise Violation("P-119", f"{len(claimed)} messages for a node with room for {room}")
        if world.halted:
            raise Violation("P-75", f"{claimed[0].message.id.hex()} started while the server was paused")
        for item in claimed:
            known = world.known.get(item.message.id)
            if known is None or item.message.id in world.node.in_hand or known.end is not None:
                raise Violation("P-22", f"{item.message.id.hex()} started while open, at rest or unknown")
            self._may_start(item, known)
            call = Call(known.id, item.message.attempt, item.message.retried, world.now)
            known.calls.append(call)
            world.node.in_hand[known.id] = (item, call)
            world.note("call", known.id, call.attempt, world.now, item.request.body)
            self._in_line(known)
        self._in_order(claimed)
        self._inside_limits(claimed)

    def _may_start(self, item: Claimed, known: Known) -> None:
        """Check one attempt: not early, not after a cancel, not too often, not changed."""
        world, wish, name = self.world, known.wish, known.id.hex()
        if world.now < wish.due and wish.due > known.born and not known.calls:  # At once is never too early.
            raise Violation("P-30", f"{name} started {wish.due - world.now} ms early")
        if world.now < known.not_before and known.calls[-1].settled:
            raise Violation("P-24", f"{name} was tried again {known.not_before - world.now} ms early")
        if known.cancelled:
            raise Violation("P-95", f"{name} started after it was cancelled")
        if (wish.tenant, wish.host) in world.paused_hosts:
            raise Violation("P-75", f"{name} started to a host that is paused")
        allowed = 1 + wish.retries + known.spare
        if len(known.calls) + 1 > allowed:
            raise Violation("P-21", f"{name} was called {len(known.calls) + 1} times, {allowed} allowed")
        if item.message.retried != known.charged:
            raise Violation("P-23", f"{name}: retried is {item.message.retried} after {known.charged} answers")
        if not item.intact or item.request.url != wish.url or item.request.method != "POST":
            raise Violation("P-2", f"{name} went to {item.request.url} and not to {wish.url}")
        if wish.body is not None:
            if (item.request.body or b"") != wish.body:
                raise Violation("P-2", f"{name} went out with another body")
        elif wish.kind in {Kind.CALLBACK, Kind.FAILURE_CALLBACK}:
            self._check_report(item, known)

    def _check_report(self, item: Claimed, known: Known) -> None:
        """P-42: a callback says what became of an attempt of its source."""
        told: dict[str, Any] = _report(item.request.body or b"")
        source = self._source(known)
        same = [
            call
            for call in source.calls
            if call.settled
            and call.outcome is not None
            and (call.outcome.status or 0, call.retried) == (told["status"], told["retried"])
        ]
        if told["sourceMessageId"] != message_text(source.id) or told["url"] != source.wish.url or not same:
            raise Violation("P-42", f"callback {known.id.hex()} reports what did not happen")

    def _source(self, known: Known) -> Known:
        """Return what a callback reports on; one that was retried from the dead letters reports on the same."""
        assert known.wish.parent is not None
        parent = self.world.known[known.wish.parent]
        return self._source(parent) if known.wish.loose else parent

    def _in_line(self, known: Known) -> None:
        """A message of a queue starts: in its order, with a slot, and not while the queue is paused."""
        world, wish = self.world, known.wish
        if wish.queue is None:
            return
        line = world.lines.get((wish.tenant, *wish.queue))
        if line is None or known.id not in line.order:
            raise Violation("P-65", f"{known.id.hex()} started though its queue was deleted")
        name = wish.queue[1]
        if line.paused:
            raise Violation("P-65", f"{known.id.hex()} started in queue {name}, which is paused")
        line.begun = {family for family in line.begun if world.family[family]}
        others = line.begun - {known.id}
        if known.id not in line.begun and len(others) >= line.parallelism:
            promise = "P-61" if line.parallelism == 1 else "P-62"
            raise Violation(promise, f"{len(others) + 1} families of queue {name} are under way")
        line.begun.add(known.id)
        # Where a queue never had two slots, the order of starts is the order of the queue.
        if wish.queue[0] is QueueKind.ORDER or name == "q":
            before = line.order[: line.order.index(known.id)]
            ahead = [other for other in before if other in world.open and not world.open[other].calls]
            if ahead:
                raise Violation("P-60", f"{known.id.hex()} overtook {ahead[0].hex()} in queue {name}")

    def _in_order(self, claimed: tuple[Claimed, ...]) -> None:
        """P-74: whoever still waits in a lane is not due earlier than those that started."""
        world = self.world
        first: dict[int, tuple[int, bytes]] = {}
        for lane, due, message_id in world.disk.rows(
            "SELECT lane, due, id FROM message WHERE state = 0 ORDER BY due, id"
        ):
            first.setdefault(lane, (due, message_id))
        for item in claimed:
            message = item.message
            apart = world.known[message.id].deaths >= (world.limits.crash_limit or 1)  # It goes before everybody.
            if message.lane in first and first[message.lane][0] < message.due and not apart:
                raise Violation("P-74", f"{message.id.hex()} overtook {first[message.lane][1].hex()} in its lane")

    def _inside_limits(self, claimed: tuple[Claimed, ...]) -> None:
        """Limits of keys, hosts and the server, counted here and not taken from a lane."""
        world, in_hand = self.world, self.world.node.in_hand
        most, cap = world.swarm.most, world.swarm.host_cap
        if most is not None and len(in_hand) > most:
            raise Violation("P-70", f"{len(in_hand)} attempts are open, the server allows {most}")
        keys, hosts = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
        for message_id in in_hand:
            wish = world.known[message_id].wish
            hosts[wish.tenant, wish.host] += 1
            if wish.limit is not None:
                keys[wish.tenant, wish.limit.key] += 1
        if cap is not None and any(number > cap for number in hosts.values()):
            raise Violation("D-33", f"more than {cap} attempts are open to a host")
        for item in claimed:
            wish = world.known[item.message.id].wish
            if wish.limit is not None:
                self._inside_key(wish.tenant, wish.limit.key, keys[wish.tenant, wish.limit.key])

    def _inside_key(self, tenant: int, name: str, running: int) -> None:
        """One attempt of a key has started."""
        key, now = self.world.key(tenant, name), self.world.now
        key.start(now)
        if key.paused:
            raise Violation("P-75", f"key {name} started while it was paused")
        if key.parallelism is not None and running > key.parallelism:
            raise Violation("P-70", f"{running} attempts of key {name} are open, {key.parallelism} allowed")
        if key.rate is not None and key.count > key.rate:
            raise Violation("P-71", f"{key.count} starts of key {name} in a period, {key.rate} allowed")
        if key.smooth and key.rate is not None and len(key.starts) > key.rate:
            raise Violation("P-72", f"{len(key.starts)} starts of smooth key {name} in a window, {key.rate} allowed")
