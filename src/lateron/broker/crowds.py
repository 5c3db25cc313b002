"""Who waits for room at a destination: the second gate of a message that has a flow-control key.

A message of a key stands in the lane of the key, and its host has a lane too: a *host* counts every attempt
that is open to it, whatever lane the message came from. If the head of a key finds its host full or paused,
the key falls asleep (no time wakes it) and joins the *crowd* before that host. When the host has room
again, those at the front are called, each for its share of the room, and whoever has more goes to the end.
While there is a crowd nobody passes it: neither a key that comes later, nor the host's own lane, which
stands in the crowd like any other. So there is no busy loop (a sleeping key is not read), nobody starves,
and keys and plain messages of one host take turns.

Crowds are a memory of this process, for they can be found again: a key that sleeps although nothing of its
own keeps it from starting is asleep because of a host. After a start, after a transaction whose fate
was an error, and where more keys sleep than are worth remembering, the store is searched for such keys
in pieces (``unseen``), and each looks again for itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from lateron.core.values import Millis, Tenant

MOST: Final = 10_000  # Sleeping lanes that are remembered; the rest is found by search.


class Crowds:
    """The crowds before the hosts, by the number of the host's lane."""

    def __init__(self) -> None:
        self._crowds: dict[int, dict[int, Millis]] = {}  # Host: lanes in their order, each with when it came.
        self._tenants: dict[int, Tenant] = {}  # Host: whose it is.
        self._before: dict[int, int] = {}  # Lane: the host before which it stands.
        self._stirred: set[int] = set()  # Hosts that may have room for their crowd.
        self._unseen: int | None = FROM_START  # Sleeping lanes behind this number are not known; None: all are.
        self._unsettled = False

    def begin(self) -> None:
        """Begin a transaction; if the one before changed crowds and was not heard of again, forget them."""
        if self._unsettled:
            self.forget()

    def settle(self) -> None:
        """The changes since ``begin`` are true."""
        self._unsettled = False

    def forget(self) -> None:
        """Know nothing, and search from the start."""
        self._crowds.clear()
        self._tenants.clear()
        self._before.clear()
        self._stirred.clear()
        self._unseen, self._unsettled = FROM_START, False

    def restless(self, full: Collection[Tenant] = ()) -> bool:
        """Whether a claim has to look here although no lane is due; not for tenants that may open no more."""
        return self.searching or any(self._tenants[host] not in full for host in self._stirred)

    @property
    def searching(self) -> bool:
        """Whether the store has sleeping lanes that are not known, and there is place to remember some."""
        return self._unseen is not None and len(self._before) <= MOST // 2

    @property
    def unseen(self) -> int:
        """Return behind which number to search."""
        return FROM_START if self._unseen is None else self._unseen

    def searched(self, last: int | None) -> None:
        """Note how far the store was searched; None: to its end."""
        self._unseen, self._unsettled = last, True

    def join(self, tenant: Tenant, host: int, lane: int, now: Millis) -> None:
        """Put a lane of a tenant at the end of a crowd; one that stands there keeps its place."""
        if self._before.get(lane) == host:
            return
        self.leave(lane)
        self._unsettled = True
        if len(self._before) >= MOST:
            self._unseen = self.unseen
            return
        self._crowds.setdefault(host, {})[lane] = now
        self._tenants[host] = tenant
        self._before[lane] = host

    def leave(self, lane: int) -> None:
        """Take a lane out of the crowd it stands in, if it does."""
        host = self._before.pop(lane, None)
        if host is None:
            return
        self._unsettled = True
        crowd = self._crowds[host]
        del crowd[lane]
        if crowd:
            # Whoever left may have been called, and what it did not need is for the others.
            self._stirred.add(host)
        else:
            del self._crowds[host], self._tenants[host]
            self._stirred.discard(host)

    def stir(self, host: int) -> None:
        """Note that a host may have room."""
        if host in self._crowds and host not in self._stirred:
            self._stirred.add(host)
            self._unsettled = True

    def calm(self, host: int) -> None:
        """Note that a host has no room: its crowd waits until the next end of an attempt."""
        self._stirred.discard(host)

    def stirred(self) -> list[int]:
        """Return the hosts that may have room for their crowd."""
        return sorted(self._stirred)

    def crowd(self, host: int, most: int) -> list[tuple[int, Millis]]:
        """Return the first of a crowd, each with when it came."""
        first = self._crowds.get(host, {}).items()
        return [entry for entry, _ in zip(first, range(most), strict=False)]

    def size(self, host: int) -> int:
        """Return how many stand before a host."""
        return len(self._crowds.get(host, ()))

    def asleep(self, lane: int) -> bool:
        """Whether a lane stands in a crowd."""
        return lane in self._before

    def before(self, lane: int) -> int | None:
        """Return the host before which a lane stands."""
        return self._before.get(lane)

    def __bool__(self) -> bool:
        """Whether anybody stands anywhere."""
        return bool(self._crowds)


FROM_START: Final = -1
