"""Changes of lanes by call, and the two switches that hold deliveries back: of a host, of the whole server.

A paused lane is a flag in its row, and such a row is never collected, so a pause outlives every restart.
The pause of a host must also reach messages that stand in the lane of a key: the paused hosts are few, so
they are kept in memory, and only while there are any does a claim look where the heads of a key would go.
A head that is held back holds its key, whose order is kept; the key sleeps until the host resumes.
"""

from __future__ import annotations

from collections.abc import Callable

from lateron.broker.messages import HALTED, MessageBroker, earlier
from lateron.broker.views import LaneView
from lateron.core.flow import Lane, LaneName
from lateron.core.values import LaneKind, Millis, Tenant
from lateron.errors import NotFound

KINDS = {LaneKind.FLOW: "flow-control key", LaneKind.HOST: "destination"}


class LaneBroker(MessageBroker):
    """Changes lanes; see the module."""

    def alter_lane(
        self,
        tenant: Tenant,
        name: LaneName,
        change: Callable[[Lane, Millis], Lane],
        now: Millis,
        *,
        create: bool = False,
    ) -> LaneView:
        """Change a lane, and look at it again.

        Args:
            tenant: Whose.
            name: Which.
            change: One of the verbs of ``core.flow_control``.
            now: Time of the change.
            create: Make the lane if there is none: a key may be pinned or paused before its first message.

        Raises:
            NotFound: No such lane, and none was to be made.
        """
        with self._store.transaction() as tx:
            if not create and name.id not in tx.load_lanes([name.id]):
                raise NotFound(KINDS[name.kind], name.name)
            ledger = self._ledger(tx, now)
            ledger.hold({name.id: (tenant, name)})
            lane = ledger.alter(name.id, change)
            ledger.write()
            alarm, held = ledger.next_due(), self._held
            if lane.kind is LaneKind.HOST:
                held = held | {lane.id} if lane.paused else held - {lane.id}
            if lane.id in self._held - held:
                tx.wake_lanes(tenant, now)
                alarm = now
            view = LaneView(lane, tx.waiting_due(lane.id, now) if lane.waiting else 0)
        self._held = held
        self._alarm = earlier(self._alarm, alarm)
        return view

    def pause_delivery(self, *, paused: bool) -> None:
        """Let no attempt of anybody start any more, or let them start again."""
        with self._store.transaction() as tx:
            if paused:
                tx.save_setting(HALTED, "true")
            else:
                tx.delete_setting(HALTED)
        self._halted = paused
