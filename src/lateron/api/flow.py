"""Flow control by call: keys, destinations, and the deliveries of the whole server.

A key may be paused or pinned before its first message. Every other verb changes nothing of a key that is not
known, and answers as for one without limits: QStash knows no 404 here, and its clients expect none. Whatever
a verb changed is its answer, so that nobody has to ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lateron.api.auth import require_operator
from lateron.api.call import Answer, Call, json_answer
from lateron.api.ports import Ports
from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Delivery, LaneView
from lateron.core import flow_control
from lateron.core.filters import parse_query
from lateron.core.flow import Lane, LaneName
from lateron.core.flow_control import Listing
from lateron.core.values import LaneKind, Millis, Tenant
from lateron.errors import NotFound
from lateron.telemetry import Log

log = Log("lateron.api")


Change = Callable[[Lane, Millis], Lane]


async def list_keys(ports: Ports, call: Call) -> Answer:
    """List flow-control keys by name."""
    now = ports.clock.wall()
    views = await ports.writer.read(partial(_listed, call.who.tenant, LaneKind.FLOW, _listing(call), now))
    return json_answer([flow_control.flow_object(view.lane, view.due, now) for view in views])


async def get_key(ports: Ports, call: Call) -> Answer:
    """Show all figures of a key."""
    now = ports.clock.wall()
    return _key(await ports.writer.read(partial(_read, call.who.tenant, _name(call), now)), now)


async def pause_key(ports: Ports, call: Call) -> Answer:
    """Let no message of a key start."""
    return await _change(ports, call, flow_control.paused, create=True)


async def resume_key(ports: Ports, call: Call) -> Answer:
    """Let messages of a key start again."""
    return await _change(ports, call, flow_control.resumed)


async def pin_key(ports: Ports, call: Call) -> Answer:
    """Fix limits of a key."""
    pin = flow_control.parse_pin(parse_query(call.query), ports.quota)
    return await _change(ports, call, partial(flow_control.pinned, pin), create=True)


async def unpin_key(ports: Ports, call: Call) -> Answer:
    """Let messages bring limits to a key again."""
    unpin = flow_control.parse_unpin(parse_query(call.query))
    return await _change(ports, call, partial(flow_control.unpinned, unpin))


async def reset_key(ports: Ports, call: Call) -> Answer:
    """Begin a new rate period of a key."""
    return await _change(ports, call, flow_control.rate_reset)


async def global_parallelism(ports: Ports, call: Call) -> Answer:
    """Show how many attempts may be open in all, and how many of this user are."""
    delivery = await ports.writer.read(partial(_delivery, call.who.tenant))
    return json_answer({"parallelismMax": delivery.most or 0, "parallelismCount": delivery.own})


async def list_destinations(ports: Ports, call: Call) -> Answer:
    """List destination hosts by name."""
    listing, now = _listing(call), ports.clock.wall()
    views = await ports.writer.read(partial(_listed, call.who.tenant, LaneKind.HOST, listing, now))
    items = [flow_control.host_object(view.lane, view.due) for view in views]
    return json_answer({"destinations": items})


async def pause_destination(ports: Ports, call: Call) -> Answer:
    """Let no message of this user start that goes to a host."""
    return await _change_host(ports, call, flow_control.paused)


async def resume_destination(ports: Ports, call: Call) -> Answer:
    """Let messages to a host start again."""
    return await _change_host(ports, call, flow_control.resumed)


async def get_delivery(ports: Ports, call: Call) -> Answer:
    """Show whether the whole server delivers."""
    return _switch(await ports.writer.read(partial(_delivery, call.who.tenant)))


async def pause_delivery(ports: Ports, call: Call) -> Answer:
    """Let no attempt of any user start."""
    return await _halt(ports, call, paused=True)


async def resume_delivery(ports: Ports, call: Call) -> Answer:
    """Let attempts of all users start again."""
    return await _halt(ports, call, paused=False)


async def _change(ports: Ports, call: Call, change: Change, *, create: bool = False) -> Answer:
    tenant, name = call.who.tenant, _name(call)
    try:
        view = await ports.writer.run(partial(_altered, tenant, name, change, create))
    except NotFound:
        view = LaneView(Lane(name.id, tenant, name.kind, name.name), 0)
    return _key(view, ports.clock.wall())


async def _change_host(ports: Ports, call: Call, change: Change) -> Answer:
    name = flow_control.host_lane(call.who.tenant, call.params["host"])
    view = await ports.writer.run(partial(_altered, call.who.tenant, name, change, True))  # partial.
    log.info("destination changed", tenant=call.who.tenant, host=name.name, paused=view.lane.paused)
    return json_answer(flow_control.host_object(view.lane, view.due))


async def _halt(ports: Ports, call: Call, *, paused: bool) -> Answer:
    """Switch the deliveries of all users.

    Raises:
        Forbidden: The caller is not the first user of this server.
    """
    require_operator(call.who, "pause or resume it for all")
    await ports.writer.run(lambda broker, _: broker.pause_delivery(paused=paused))
    log.warning("delivery paused" if paused else "delivery resumed", user=call.who.user, caller=call.caller_ip)
    return _switch(await ports.writer.read(partial(_delivery, call.who.tenant)))


def _name(call: Call) -> LaneName:
    return flow_control.flow_lane(call.who.tenant, call.params["flowControlKey"])


def _listing(call: Call) -> Listing:
    return flow_control.parse_listing(parse_query(call.query))


def _key(view: LaneView, now: Millis) -> Answer:
    return json_answer(flow_control.flow_object(view.lane, view.due, now))


def _switch(delivery: Delivery) -> Answer:
    content: dict[str, Any] = {"isPaused": delivery.paused}
    return json_answer({**content, "parallelismMax": delivery.most or 0, "parallelismCount": delivery.own})


def _altered(
    tenant: Tenant,
    name: LaneName,
    change: Change,
    create: bool,
    broker: Broker,
    now: Millis,  # partial.
) -> LaneView:
    return broker.alter_lane(tenant, name, change, now, create=create)


def _read(tenant: Tenant, name: LaneName, now: Millis, history: History) -> LaneView:
    return history.lane(tenant, name, now)


def _listed(tenant: Tenant, kind: LaneKind, listing: Listing, now: Millis, history: History) -> tuple[LaneView, ...]:
    return history.lanes(tenant, kind, listing, now)


def _delivery(tenant: Tenant, history: History) -> Delivery:
    return history.delivery(tenant)
