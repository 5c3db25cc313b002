"""URL groups as the broker keeps them, and how a publish to one becomes messages.

A change of a group is one transaction. So is a publish, and it reads the group in that very transaction: it
means the endpoints before a change or those after it, never some of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from lateron.broker.views import Accepted, Answered, FannedOut
from lateron.core import groups
from lateron.core.groups import Endpoint, Group, Target
from lateron.core.publish import GroupPublication
from lateron.core.quota import Quota
from lateron.core.reach import Check
from lateron.core.values import Headers, Millis, Publication, Tenant
from lateron.errors import LateronError, NotFound
from lateron.store.sql import Store, Verbs

_Shape: TypeAlias = tuple[Publication, ...] | LateronError | None  # None: it was no publish to a group.


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

    A turn without a publish to a group passes through as it is.
    """

    def __init__(self, tx: Verbs, requests: Sequence[tuple[Publication | GroupPublication, ...]], check: Check) -> None:
        self.publishes: list[tuple[Publication, ...]] = []
        self._shapes: dict[int, list[_Shape]] = {}  # Of the requests that publish to groups, by their place.
        known: dict[tuple[Tenant, str], Group | None] = {}
        for place, items in enumerate(requests):
            if not any([type(item) is GroupPublication for item in items]):  # noqa: C419 # A list is faster.
                self.publishes.append(items)  # type: ignore[arg-type]
                continue
            shapes = list(_shapes(tx, items, check, known))
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


def _shapes(
    tx: Verbs,
    items: Sequence[Publication | GroupPublication],
    check: Check,
    known: dict[tuple[Tenant, str], Group | None],
) -> Iterator[_Shape]:
    """Expand the items of one request; one that cannot be is an error in its place."""
    messages = size = 0
    for item in items:
        if isinstance(item, Publication):
            yield None
            continue
        key = (item.tenant, item.group)
        if key not in known:
            known[key] = tx.group(*key)
        try:
            made = groups.expand(item, known[key], check)
            groups.check_size(messages + len(made), size + len(made) * len(item.body or b""))
        except LateronError as error:
            yield error
            continue
        messages, size = messages + len(made), size + len(made) * len(item.body or b"")
        yield made


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
