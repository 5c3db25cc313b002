"""URL groups as the broker keeps them, and how a publish to one becomes messages.

A change of a group is one transaction. So is a publish, and it reads the group in that very transaction: it
means the endpoints before a change or those after it, never some of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from lateron.broker.views import Accepted, Answered, Enrolled, FannedOut, Item
from lateron.core import groups
from lateron.core.groups import Endpoint, Group, Target
from lateron.core.quota import Quota
from lateron.core.reach import Check
from lateron.core.recurring import NewSchedule, Schedule
from lateron.core.values import Headers, Millis, Publication, Tenant
from lateron.errors import LateronError, NotFound, NotSupported, RequestError
from lateron.store.sql import Store, Verbs

# None: a publish to a URL.
_Shape: TypeAlias = tuple[Publication, ...] | Enrolled | LateronError | None


class GroupBroker:
    """The part of the broker that changes URL groups."""

    _store: Store

    def save_endpoints(
        self, tenant: Tenant, name: str, endpoints: Sequence[Endpoint], quota: Quota, now: Millis
    ) -> Group:
        """Add endpoints to a group, or bring them up to date; the first one makes the group.

        Raises:
            QuotaExceeded: There would be too many groups, or endpoints in this one.
        """
        with self._store.transaction() as tx:
            old = tx.group(tenant, name)
            if old is None and quota.url_groups is not None:
                quota.check("URL groups", tx.count_groups(tenant) + 1, quota.url_groups)
            group = groups.with_endpoints(old, tenant, name, endpoints, quota, now)
            tx.save_group(group)
        return group

    def remove_endpoints(self, tenant: Tenant, name: str, targets: Sequence[Target], now: Millis) -> Group | None:
        """Take endpoints out of a group; with the last one it is gone, and None is returned.

        Raises:
            NotFound: There is no such group.
        """
        with self._store.transaction() as tx:
            group = groups.without_endpoints(_known(tx, tenant, name), targets, now)
            if group is None:
                tx.delete_group(tenant, name)
            else:
                tx.save_group(group)
        return group

    def set_defaults(self, tenant: Tenant, name: str, headers: Headers, now: Millis) -> Group:
        """Set the headers that configure publishes to a group as far as these do not themselves.

        Raises:
            NotFound: There is no such group.
        """
        with self._store.transaction() as tx:
            group = groups.with_headers(_known(tx, tenant, name), headers, now)
            tx.save_group(group)
        return group

    def delete_group(self, tenant: Tenant, name: str) -> bool:
        """Delete a group; what was published to it is delivered all the same. False if there was none."""
        with self._store.transaction() as tx:
            return tx.delete_group(tenant, name)


class GroupHistory:
    """The part of the history that shows URL groups."""

    _store: Store

    def groups(self, tenant: Tenant) -> list[Group]:
        """Return all groups of a tenant, by name."""
        with self._store.transaction() as tx:
            return tx.groups(tenant)

    def group(self, tenant: Tenant, name: str) -> Group:
        """Return one group.

        Raises:
            NotFound: There is none of that name.
        """
        with self._store.transaction() as tx:
            return _known(tx, tenant, name)


def _known(tx: Verbs, tenant: Tenant, name: str) -> Group:
    group = tx.group(tenant, name)
    if group is None:
        raise NotFound("topic", name)
    return group


class FanOut:
    """The requests of a turn with one publication per endpoint, and how their answers belong together.

    Schedules among their items are stored here. A turn of publishes to URLs passes through as it is.

    Args:
        tx: The transaction of the turn.
        requests: Of the turn.
        check: Judges the URLs of endpoints.
        enrol: Stores a schedule.
    """

    def __init__(
        self,
        tx: Verbs,
        requests: Sequence[tuple[Item, ...]],
        check: Check,
        enrol: Callable[[NewSchedule], Schedule],
    ) -> None:
        self.publishes: list[tuple[Publication, ...]] = []
        self._tx = tx
        self._check = check
        self._enrol = enrol
        self._shapes: dict[int, list[_Shape]] = {}  # Of the requests with other things than publishes, by their place.
        self._known: dict[tuple[Tenant, str], Group | None] = {}
        for place, items in enumerate(requests):
            if not any([type(item) is not Publication for item in items]):  # noqa: C419 # A list is faster.
                self.publishes.append(items)  # type: ignore[arg-type]
                continue
            shapes = self._shaped(items)
            self._shapes[place] = shapes
            flat: list[Publication] = []
            for item, shape in zip(items, shapes, strict=True):
                if isinstance(shape, tuple):
                    flat += shape
                elif isinstance(item, Publication):
                    flat.append(item)
            self.publishes.append(tuple(flat))

    def fold(self, accepted: Sequence[tuple[Accepted | LateronError, ...]]) -> tuple[tuple[Answered, ...], ...]:
        """Return the answers in the shape of the requests: those of a group's endpoints as one."""
        if not self._shapes:
            return tuple(accepted)
        return tuple(
            _folded(answers, self._shapes[place]) if place in self._shapes else answers
            for place, answers in enumerate(accepted)
        )

    def _shaped(self, items: Sequence[Item]) -> list[_Shape]:
        """Expand the items of one request; one that cannot be is an error in its place."""
        shapes: list[_Shape] = []
        messages = size = 0
        for item in items:
            if isinstance(item, Publication):
                shapes.append(None)
                continue
            try:
                if isinstance(item, NewSchedule):
                    shapes.append(Enrolled(self._enrol(item).id))
                    continue
                made = groups.expand(item, self._group(item.tenant, item.group), self._check)
                groups.check_size(messages + len(made), size + len(made) * len(item.body or b""))
            except (RequestError, NotSupported) as error:  # Trouble of the store is not this item's: it ends the turn.
                shapes.append(error)
                continue
            messages, size = messages + len(made), size + len(made) * len(item.body or b"")
            shapes.append(made)
        return shapes

    def _group(self, tenant: Tenant, name: str) -> Group | None:
        if (tenant, name) not in self._known:
            self._known[tenant, name] = self._tx.group(tenant, name)
        return self._known[tenant, name]


def _folded(answers: Sequence[Accepted | LateronError], shapes: Sequence[_Shape]) -> tuple[Answered, ...]:
    left = iter(answers)
    folded: list[Answered] = []
    for shape in shapes:
        if isinstance(shape, tuple):
            # They go to one queue, if to any, so all of them are refused or none.
            pairs = [(made.request.url, next(left)) for made in shape]
            error = next((answer for _, answer in pairs if isinstance(answer, LateronError)), None)
            ours = tuple((url, answer) for url, answer in pairs if isinstance(answer, Accepted))
            folded.append(FannedOut(ours) if error is None else error)
        else:
            folded.append(next(left) if shape is None else shape)
    return tuple(folded)
