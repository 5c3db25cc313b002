"""Why a message has not gone out yet.

A message passes its time first, then the pause of the whole server, then its lane with all who stand before
it there, then what the server as a whole may have open; then it waits for a node with room. What is told
is the gate at which it stands now.
"""

from __future__ import annotations

from collections.abc import Iterable

from lateron.broker.messages import HALTED
from lateron.broker.views import Limits, Waiting
from lateron.core import flow
from lateron.core.flow import Lane, lane_name
from lateron.core.values import LaneKind, Message, Millis, Request, State, Tenant
from lateron.store.sql import Verbs


class Gates:
    """The gates as one transaction sees them; each is read only when a message stands before it."""

    def __init__(self, tx: Verbs, tenant: Tenant, limits: Limits, now: Millis) -> None:
        self._tx = tx
        self._tenant = tenant
        self._limits = limits
        self._now = now
        self._lanes: dict[int, Lane] = {}
        self._blocked: dict[int, str | None] = {}
        self._halted: bool | None = None
        self._full: bool | None = None
        self._paused: frozenset[int] | None = None

    def hold(self, lanes: Iterable[int]) -> None:
        """Read lanes, all at once."""
        self._lanes |= self._tx.read_lanes(sorted(set(lanes) - self._lanes.keys()))

    def waiting(self, message: Message, request: Request) -> Waiting | None:
        """Say what a message waits for; None if it is under way or rests."""
        if message.state is not State.WAITING:
            return None
        if message.due > self._now:
            return Waiting("retry" if message.attempt else "delay", message.due)
        if self._is_halted():
            return Waiting("server_paused")
        self.hold([message.lane])
        lane = self._lanes.get(message.lane)
        if lane is not None:
            shut = flow.closed(lane, self._now)
            if shut is not None:
                return Waiting(shut.reason, shut.until, lane.name)
            host = self._paused_host(lane, request)
            if host is not None:
                return Waiting("host_paused", None, host)
        return Waiting("global_parallelism" if self._is_full() else "node")

    def _is_halted(self) -> bool:
        if self._halted is None:
            self._halted = self._tx.setting(HALTED) is not None
        return self._halted

    def _is_full(self) -> bool:
        most = self._limits.global_parallelism
        if self._full is None:
            self._full = most is not None and self._tx.open_attempts(self._tenant)[0] >= most
        return self._full

    def _paused_host(self, lane: Lane, request: Request) -> str | None:
        """Return the paused host that holds a message of a key: its own, or that of the key's first."""
        if self._paused is None:
            self._paused = frozenset(self._tx.paused_lanes(self._tenant, LaneKind.HOST))
        if not self._paused or lane.kind is LaneKind.HOST:
            return None
        if lane.id not in self._blocked:
            heads = [message_id for _, message_id, _ in self._tx.take([(lane.id, 1)])]
            held = [self._held(stored.request) for stored in self._tx.load_requests(heads).values()]
            self._blocked[lane.id] = next(iter(held), None)
        return self._held(request) or self._blocked[lane.id]

    def _held(self, request: Request) -> str | None:
        assert self._paused is not None
        host = flow.host_of(request.url)
        return host if lane_name(self._tenant, LaneKind.HOST, host).id in self._paused else None
