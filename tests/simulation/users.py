"""Who uses a simulated world: publishes, alone and in batches, cancels, and works with dead letters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace
from tests.simulation.models import Birth, Known, Violation

from lateron.broker.bulk import NEWEST, Cancelled, Deleted, Redriven
from lateron.core.bulk import Job, JobKind, JobState, Order
from lateron.core.values import SECOND, Filter, Kind, MessageId, Millis, Overrides, QueueKind, State

if TYPE_CHECKING:
    from tests.simulation.world import World

Letter = tuple[Millis, MessageId]


class Users:
    """Draws what users do with messages."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._chance = world.stream("users")

    def actions(self) -> list[Callable[[], None]]:
        """Return what the users of this world do."""
        has = self.world.swarm.features
        found: list[Callable[[], None]] = [self.publish] * 5
        if "cancel" in has:
            found += [self.cancel]
        if "redrive" in has:
            found += [self.redrive, self.delete_letters]
        return found

    def publish(self) -> None:
        """Clients publish, in one or several requests that come at once, beside answers that come then too."""
        world, chance = self.world, self._chance
        requests = []
        for _ in range(chance.choice([1, 1, 1, 2])):
            tenant = world.tastes.tenant()
            count = chance.choice([1, 1, 2, 4])
            requests.append([world.tastes.wish(tenant, world.now, self._group()) for _ in range(count)])
        if chance.random() < 0.3:
            world.node.pending += world.node.answered(2)
        world.node.turn(requests)

    def _group(self) -> str | None:
        if "groups" not in self.world.swarm.features or self._chance.random() > 0.3:
            return None
        return self._chance.choice(["g", "h"])

    # Cancel.

    def cancel(self) -> None:
        """A client cancels some messages by their ids, or, piece by piece, all that match."""
        world, chance = self.world, self._chance
        if not world.known or chance.random() < 0.5:
            return
        tenant = world.tastes.tenant()
        if "bulk" not in world.swarm.features or chance.random() < 0.8:
            chosen = chance.sample(sorted(world.known), min(len(world.known), chance.choice([1, 1, 2])))
            self._cancel(tenant, Filter(message_ids=tuple(chosen)), None)
            return
        selection = chance.choice([
            Filter(hosts=("three",)), Filter(labels=("red",)), Filter(flow_keys=("a",)), Filter(queues=("r",)),
            Filter(queues=("r",), labels=("blue",)), Filter(),
        ])  # fmt: skip
        self._cancel(tenant, selection, chance.choice([None, None, 1, 5]))

    def _cancel(self, tenant: int, selection: Filter, limit: int | None) -> None:
        """Cancel piece by piece; each piece must take whom it should, and say where to go on."""
        world, before, left = self.world, NEWEST, limit
        while True:
            page = self._page(tenant, selection, before)
            hit = [known for known in page if matches(selection, known.wish) and self._can_be_cancelled(known)][:left]
            full = len(page) == world.swarm.page and not selection.message_ids and (left is None or len(hit) < left)

            def then(_: list[MessageId], done: Cancelled | None, hit: list[Known] = hit, more: bool = full) -> None:
                if done is not None and (done.count, done.before is not None) != (len(hit), more):
                    raise Violation("P-96", f"{done} of {len(hit)} that should be cancelled, with more: {more}")
                for known in hit:
                    self.cancelled(known)

            broker, now = world.node.broker, world.now
            piece = partial(broker.cancel, tenant, selection, now, left, before)
            holds, done = world.perform(piece, then)
            if not holds or done is None or done.before is None:
                return
            before, left = done.before, None if left is None else left - done.count

    def _page(self, tenant: int, selection: Filter, before: bytes) -> list[Known]:
        """Say whom one piece of a cancellation looks at."""
        world = self.world
        mine = [world.open[i] for i in sorted(world.open) if world.open[i].wish.tenant == tenant]
        if selection.message_ids:
            return [known for known in mine if known.id in selection.message_ids]
        return [known for known in reversed(mine) if known.id < before][: world.swarm.page]

    def _can_be_cancelled(self, known: Known) -> bool:
        return not (known.cancelled and known.id in self.world.node.in_hand)

    def cancelled(self, known: Known) -> None:
        """Note a cancellation: what waits has come to rest, what is open will."""
        known.cancelled = True
        self.world.marks["cancelled"] += 1
        if known.id not in self.world.node.in_hand:
            self.world.end(known, State.CANCELED)

    # Dead letters.

    def redrive(self) -> None:
        """A user retries dead letters, and once more by mistake; some with other options."""
        world, chance = self.world, self._chance
        tenant, letters, selection = self._letters()
        if not letters:
            return
        overrides = chance.choice([Overrides(), Overrides(), Overrides(retries=2, delay_ms=3 * SECOND)])
        births = [self._again(letter, overrides) for letter in letters]

        def then(made: list[MessageId], done: Redriven | None) -> None:
            if done is not None and list(done.messages) != made:
                raise Violation("P-97", "a retry of dead letters does not answer with its messages")
            self._taken(letters)
            world.marks["redriven"] += len(made)

        broker, now, count = world.node.broker, world.now, len(letters)
        if count >= 2:
            self._by_job(tenant, Order(JobKind.REPLAY, selection, limit=count, overrides=overrides), births, letters)
            return
        holds, _ = world.perform(lambda: broker.redrive(tenant, selection, overrides, now, count), then, births)
        if holds and broker is world.node.broker and selection.dlq_ids:
            world.perform(lambda: broker.redrive(tenant, selection, overrides, now, count))

    def _by_job(self, tenant: int, order: Order, births: list[Birth], letters: list[Letter]) -> None:
        """The same by a bulk job, which outlives the node: its one piece is done once, whatever fails meanwhile."""
        world, asked = self.world, "SELECT id, done, failed, state FROM bulk_job"
        before = world.disk.rows(asked, ())
        holds, _ = world.perform(lambda: world.node.broker.create_job(tenant, order, "user", None, world.now))
        if not holds:
            return

        def then(made: list[MessageId], _: Job | None) -> None:
            self._taken(letters)
            world.marks["replayed by a job"] += len(made)

        while not world.perform(lambda: world.node.broker.advance_job(world.now), then, births)[0]:
            pass  # It failed, or the node died of it, before it was stored.
        ended = [row[1:] for row in world.disk.rows(asked, ()) if row not in before]
        if ended != [(len(letters), 0, JobState.DONE)]:
            raise Violation("P-135", f"a job for {len(letters)} dead letters ended as {ended}")

    def delete_letters(self) -> None:
        """A user deletes dead letters."""
        world = self.world
        tenant, letters, selection = self._letters()
        if not letters or self._chance.random() < 0.5:
            return

        def then(_: list[MessageId], done: Deleted | None) -> None:
            if done is not None and done.count != len(letters):
                raise Violation("P-96", f"{done.count} dead letters deleted, {len(letters)} should be")
            self._taken(letters)

        world.perform(lambda: world.node.broker.delete_dead(tenant, selection, len(letters)), then)

    def _taken(self, letters: list[Letter]) -> None:
        for _, message_id in letters:
            self.world.known[message_id].letter = False

    def _letters(self) -> tuple[int, list[Letter], Filter]:
        """Choose dead letters of a tenant: by their ids, or the newest to a host; newest first, as they are taken."""
        tenant = self.world.tastes.tenant()
        rows = self.world.disk.rows("SELECT time, message FROM dead_letter WHERE tenant = ? ORDER BY 1, 2", (tenant,))
        letters = [(int(time), MessageId(message)) for time, message in rows]
        if "bulk" in self.world.swarm.features and self._chance.random() < 0.3:
            selection = self._chance.choice([Filter(), Filter(hosts=("one",))])
            matching = [letter for letter in letters if matches(selection, self.world.known[letter[1]].wish)]
            return tenant, matching[::-1][:4], selection
        chosen = self._chance.sample(letters, min(len(letters), self._chance.choice([1, 1, 3])))
        chosen.sort(reverse=True)
        return tenant, chosen, Filter(dlq_ids=tuple(chosen))

    def _again(self, letter: Letter, overrides: Overrides) -> Birth:
        """Return the message that a retry of a dead letter must make."""
        old = self.world.known[letter[1]].wish
        callback = old.kind in {Kind.CALLBACK, Kind.FAILURE_CALLBACK}
        return replace(
            old,
            kind=old.kind if callback else Kind.REDRIVE,
            parent=letter[1],
            due=self.world.now + (overrides.delay_ms or 0),
            retries=old.retries if overrides.retries is None else overrides.retries,
            loose=callback,
            schedule=old.schedule,
        )


def matches(selection: Filter, wish: Birth) -> bool:
    """Say independently of the core whether a filter means a message."""
    queue = wish.queue[1] if wish.queue is not None and wish.queue[0] is QueueKind.NAMED else None
    return (
        (not selection.hosts or wish.host in selection.hosts)
        and (not selection.labels or wish.label in selection.labels)
        and (not selection.flow_keys or (wish.limit is not None and wish.limit.key in selection.flow_keys))
        and (not selection.queues or queue in selection.queues)
    )
