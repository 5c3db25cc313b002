"""Changes of lanes by call, and the two switches that hold deliveries back: of a host, of the whole server.

A paused lane is a flag in its row, and such a row is never collected, so a pause outlives every restart.
The pause of a host must also reach messages that stand in the lane of a key. To such a message a paused host is
one without room: it holds its key, whose order is kept, and the key sleeps until the host resumes.
"""

from __future__ import annotations

from collections.abc import Callable

from lateron.broker.messages import HALTED, MessageBroker
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
            RequestError: Another name has the lane of its number.
        """
        with self._store.transaction() as tx:
            if not create and name.id not in tx.load_lanes([name.id]):
                raise NotFound(KINDS[name.kind], name.name)
            ledger = self._ledger(tx, now)
            ledger.hold([(tenant, name)])
            ledger.refuse_shared(tenant, name)
            lane = ledger.alter(name.id, change)
            ledger.write()
            alarm = ledger.next_due()
            view = LaneView(lane, tx.waiting_due(lane.id, now) if lane.waiting else 0)
        self._noted(alarm)
        return view

    def pause_delivery(self, *, paused: bool) -> None:
        """Let no attempt of anybody start any more, or let them start again."""
        with self._store.transaction() as tx:
            if paused:
                tx.save_setting(HALTED, "true")
            else:
                tx.delete_setting(HALTED)
        self._halted = paused
