"""Why a message has not gone out yet.

A message passes its time first, then the pause of the whole server, then its lane with all who stand before
it there, then, if that is the lane of a key, the cap and the pause of its host, then what the server as a
whole may have open; then it waits for a node with room, or to be attempted alone. What is told is the gate
at which it stands now.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from lateron.broker.messages import HALTED
from lateron.broker.rescue import listed
from lateron.broker.views import Limits, Waiting
from lateron.core import flow
from lateron.core.apart import suspected
from lateron.core.flow import Lane, lane_name
from lateron.core.queue import PLACES
from lateron.core.values import LaneKind, Message, MessageId, Millis, Request, State, Tenant
from lateron.store.sql import Verbs


class Gates:
    """The gates as one transaction sees them; each is read only when a message stands before it."""

    def __init__(self, tx: Verbs, tenant: Tenant, limits: Limits, now: Millis) -> None:
        self._tx = tx
        self._tenant = tenant
        self._limits = limits
        self._now = now
        self._lanes: dict[int, Lane] = {}
        self._first: dict[int, str | None] = {}  # Where the first message of a lane goes.
        self._halted: bool | None = None
        self._scarce: str | None = None
        self._suspects: frozenset[MessageId] | None = None

    def hold(self, lanes: Iterable[int]) -> None:
        """Read lanes, all at once."""
        found = self._tx.read_lanes(sorted(set(lanes) - self._lanes.keys()))
        self._lanes |= {lane_id: flow.righted(lane, self._now) for lane_id, lane in found.items()}

    def waiting(self, message: Message, request: Request) -> Waiting | None:
        """Say what a message waits for; None if it is under way or rests."""
        if message.state is not State.WAITING:
            return None
        if message.due > self._now:
            return Waiting("retry" if message.attempt else "delay", message.due)
        if self._is_halted():
            return Waiting("server_paused")
        place = 1 + self._tx.ahead(message, PLACES)
        waiting = self._before(message, request, place) or Waiting(self._apart(message) or self._places())
        return replace(waiting, place=place)

    def _before(self, message: Message, request: Request, place: int) -> Waiting | None:
        """Say which gate of its lane or host is shut before a message whose time has come."""
        self.hold([message.lane])
        lane = self._lanes.get(message.lane)
        if lane is not None:
            shut = flow.closed(self._capped(lane), self._now, place)
            if shut is not None:
                return Waiting(shut.reason, shut.until, lane.name)
            if lane.kind is LaneKind.FLOW:
                waiting = self._at_host(self._first_of(lane)) or self._at_host(request.url)
                if waiting is not None:
                    return waiting
        return None

    def _is_halted(self) -> bool:
        if self._halted is None:
            self._halted = self._tx.setting(HALTED) is not None
        return self._halted

    def _apart(self, message: Message) -> str | None:
        """Say whether a message waits to be attempted alone, because the process has died with it."""
        if not suspected(message, self._limits.crash_limit):
            return None
        if self._suspects is None:
            self._suspects = listed(self._tx)
        return "set_apart" if message.id in self._suspects else None

    def _places(self) -> str:
        """Say whose places are taken: those of the server, of this user, or of the node, which may have some."""
        if self._scarce is None:
            limits = self._limits
            everybody, own = self._tx.open_attempts(self._tenant)
            if limits.global_parallelism is not None and everybody >= limits.global_parallelism:
                self._scarce = "global_parallelism"
            elif (
                limits.tenant_parallelism is not None
                and own >= limits.tenant_parallelism
                and len(self._tx.tenants()) > 1
            ):
                self._scarce = "user_parallelism"
            else:
                self._scarce = "node"
        return self._scarce

    def _capped(self, lane: Lane) -> Lane:
        """Return a lane with the operator's cap of today; a full one has been looked at today, and shows it itself."""
        full = lane.parallelism is not None and 0 < lane.parallelism <= lane.active
        if lane.kind is not LaneKind.HOST or full:
            return lane
        return replace(lane, parallelism=self._limits.host_parallelism)

    def _at_host(self, url: str | None) -> Waiting | None:
        """Say whether the host of a key's message is full or paused: the second gate such a message has."""
        if url is None:
            return None
        name = lane_name(self._tenant, LaneKind.HOST, flow.host_of(url))
        self.hold([name.id])
        host = self._lanes.get(name.id)
        shut = None if host is None else flow.closed(self._capped(host), self._now)
        return None if shut is None else Waiting(shut.reason, shut.until, name.name)

    def _first_of(self, lane: Lane) -> str | None:
        """Return where the first message of a key goes; those behind it wait for what it waits for."""
        if lane.id not in self._first:
            heads = [message_id for _, message_id, _ in self._tx.take([(lane.id, 1)])]
            self._first[lane.id] = next(iter(self._tx.urls(heads).values()), None)
        return self._first[lane.id]
