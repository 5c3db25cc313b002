"""URL groups: who gets what is published under a name.

The clients read neither the answer to a change nor that to a deletion; it shows what there is now.
"""

from __future__ import annotations

from functools import partial

from lateron.api.call import Answer, Call, encode, json_answer
from lateron.api.ports import Ports
from lateron.api.publish import context
from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.core.group_wire import (
    check_group_name,
    group_object,
    parse_defaults,
    parse_endpoints,
    parse_targets,
)
from lateron.core.groups import Endpoint, Group, Target
from lateron.core.quota import Quota
from lateron.core.values import Headers, Millis, Tenant


async def list_groups(ports: Ports, call: Call) -> Answer:
    """List all groups: ``GET /v2/topics``."""
    return Answer(200, await ports.writer.read(partial(_list, call.who.tenant)))


async def get_group(ports: Ports, call: Call) -> Answer:
    """Show a group: ``GET /v2/topics/{urlGroupName}``."""
    return Answer(200, await ports.writer.read(partial(_get, call.who.tenant, call.params["urlGroupName"])))


async def save_endpoints(ports: Ports, call: Call) -> Answer:
    """Add endpoints, or bring them up to date: ``POST /v2/topics/{urlGroupName}/endpoints``."""
    name = check_group_name(call.params["urlGroupName"])
    endpoints = parse_endpoints(await call.small_body(), ports.check_destination)
    group = await ports.writer.run(partial(_save, call.who.tenant, name, endpoints, ports.quota))
    return json_answer(group_object(group))


async def remove_endpoints(ports: Ports, call: Call) -> Answer:
    """Remove endpoints, and with the last one the group: ``DELETE /v2/topics/{urlGroupName}/endpoints``."""
    targets = parse_targets(await call.small_body())
    group = await ports.writer.run(partial(_remove, call.who.tenant, call.params["urlGroupName"], targets))
    return json_answer({} if group is None else group_object(group))


async def set_defaults(ports: Ports, call: Call) -> Answer:
    """Set the headers that publishes to a group have by default: ``PATCH /v2/topics/{urlGroupName}``."""
    headers = parse_defaults(await call.small_body(), context(ports, call), ports.check_destination)
    group = await ports.writer.run(partial(_set_defaults, call.who.tenant, call.params["urlGroupName"], headers))
    return json_answer(group_object(group))


async def delete_group(ports: Ports, call: Call) -> Answer:
    """Delete a group, if there is one: ``DELETE /v2/topics/{urlGroupName}``."""
    deleted = await ports.writer.run(partial(_delete, call.who.tenant, call.params["urlGroupName"]))
    return json_answer({"deleted": int(deleted)})


def _list(tenant: Tenant, history: History) -> bytes:
    return encode([group_object(group) for group in history.groups(tenant)])


def _get(tenant: Tenant, name: str, history: History) -> bytes:
    return encode(group_object(history.group(tenant, name)))


def _save(
    tenant: Tenant, name: str, endpoints: tuple[Endpoint, ...], quota: Quota, broker: Broker, now: Millis
) -> Group:
    return broker.save_endpoints(tenant, name, endpoints, quota, now)


def _remove(tenant: Tenant, name: str, targets: tuple[Target, ...], broker: Broker, now: Millis) -> Group | None:
    return broker.remove_endpoints(tenant, name, targets, now)


def _set_defaults(tenant: Tenant, name: str, headers: Headers, broker: Broker, now: Millis) -> Group:
    return broker.set_defaults(tenant, name, headers, now)


def _delete(tenant: Tenant, name: str, broker: Broker, _now: Millis) -> bool:
    return broker.delete_group(tenant, name)
