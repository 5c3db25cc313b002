"""What the publishes of one turn must become, and what each must be answered.

This is said before the broker sees them, from the wishes, the URL groups and the deduplication keys as the
witnesses know them; so the answers and the rows of the store can be compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from tests.simulation.models import DEFAULT_RETRIES, Birth, Violation
from tests.simulation.wishes import Wish

from lateron.broker.views import Accepted, Answered, FannedOut
from lateron.core.values import SECOND, Kind, MessageId, Millis, QueueKind
from lateron.errors import LateronError, NotFound

if TYPE_CHECKING:
    from tests.simulation.world import World

DEDUP_WINDOW: Millis = 30 * SECOND


class Holder(Struct):
    """Who has a deduplication key, and until when."""

    until: Millis
    place: int  # Of the message among the births of its turn.
    id: MessageId | None = None  # Once it is known.


class Wanted(Struct):
    """What an item of a request must be answered; a new message by its place among the births."""

    answers: list[tuple[str, int | Holder]] = msgspec.field(default_factory=list)  # By URL.
    group: str | None = None
    missing: bool = False  # There is no such group.


class Orders:
    """The publishes of one turn."""

    def __init__(self, world: World, births: Sequence[Birth], requests: Sequence[Sequence[Wish]]) -> None:
        self.births = list(births)  # Those of callbacks come first.
        self._world = world
        self._taken: dict[tuple[str, ...], Holder] = {}
        self._queues: list[tuple[int, QueueKind, str]] = []
        self._wanted = [[self._order(wish) for wish in wishes] for wishes in requests]

    def follow(self, made: Sequence[MessageId]) -> None:
        """Let the models follow: the turn holds, and its births have these ids."""
        for holder in self._taken.values():
            holder.id = made[holder.place]
        self._world.holders.update(self._taken)
        for tenant, kind, name in self._queues:
            self._world.line(tenant, kind, name)

    def check(self, accepted: Sequence[tuple[Answered, ...] | LateronError], made: Sequence[MessageId]) -> None:
        """Compare the answers with what was wanted."""
        if len(accepted) != len(self._wanted):
            raise Violation("P-91", f"{len(self._wanted)} requests got {len(accepted)} answers")
        for answers, items in zip(accepted, self._wanted, strict=True):
            if isinstance(answers, LateronError) or len(answers) != len(items):
                raise Violation("P-91", f"{len(items)} items answered with {answers!r}")
            for answer, wanted in zip(answers, items, strict=True):
                self._check(answer, wanted, made)

    def _check(self, answer: Answered, wanted: Wanted, made: Sequence[MessageId]) -> None:
        if wanted.missing:
            if not isinstance(answer, NotFound):
                raise Violation("P-90", f"a publish to a missing group was answered {answer!r}")
            return
        if wanted.group is None:
            got = [(wanted.answers[0][0], answer)]
        else:
            if not isinstance(answer, FannedOut) or [url for url, _ in answer.endpoints] != [
                url for url, _ in wanted.answers
            ]:
                raise Violation("P-90", f"a publish to group {wanted.group} was answered {answer!r}")
            got = list(answer.endpoints)
        for (_, one), (url, mine) in zip(got, wanted.answers, strict=True):
            expected = made[mine] if isinstance(mine, int) else mine.id or made[mine.place]
            if not isinstance(one, Accepted) or one.duplicate is isinstance(mine, int):
                raise Violation("P-50", f"{url}: a message of its own is {isinstance(mine, int)}, answered {one!r}")
            if one.id != expected:
                raise Violation("P-51", f"{url}: answered {one.id.hex()}, but it is {expected.hex()}")

    def _order(self, wish: Wish) -> Wanted:
        if wish.target.startswith("http:"):
            return Wanted([(wish.target, self._one(wish, wish.target, None))])
        crowd = self._world.crowds.get((wish.tenant, wish.target))
        if crowd is None:
            return Wanted(group=wish.target, missing=True)
        return Wanted([(url, self._one(wish, url, wish.target)) for url in crowd.urls], wish.target)

    def _one(self, wish: Wish, url: str, group: str | None) -> int | Holder:
        """Order one message, unless its key is held."""
        world = self._world
        birth = birth_of(world, wish, url, group)
        if birth.queue is not None:
            self._queues.append((wish.tenant, *birth.queue))
        if wish.dedup is not None:
            key = (str(wish.tenant), wish.dedup, *((group, url) if group is not None else ()))
            held = self._taken.get(key)
            if held is not None:
                return held
            held = world.holders.get(key)
            if held is not None and world.now < held.until:
                world.marks["duplicate"] += 1
                return held
            self._taken[key] = Holder(world.now + DEDUP_WINDOW, len(self.births))
        self.births.append(birth)
        return len(self.births) - 1


def birth_of(world: World, wish: Wish, url: str, group: str | None = None, due: Millis | None = None) -> Birth:
    """Return the message that a wish must become; ``due`` wins over what the wish says."""
    crowd = world.crowds.get((wish.tenant, group)) if group is not None else None
    default = DEFAULT_RETRIES if crowd is None or crowd.retries is None else crowd.retries
    if due is None:
        due = world.now + wish.delay if wish.not_before is None else wish.not_before
    queue = (QueueKind.NAMED, wish.queue) if wish.queue else (QueueKind.ORDER, wish.order) if wish.order else None
    return Birth(
        kind=Kind.PUBLISH,
        tenant=wish.tenant,
        url=url,
        item=wish.item,
        body=wish.body,
        due=max(due, world.now),
        retries=default if wish.retries is None else wish.retries,
        expression=wish.expression,
        limit=wish.limit,
        callback=wish.callback,
        failure=wish.failure,
        queue=queue,
        label=wish.label,
        group=group,
    )
