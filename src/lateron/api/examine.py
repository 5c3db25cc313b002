"""A destination tested by call: how a delivery to it would go, step by step, without a message.

It is no scanner: only a host that messages of this user go to is tested, at most ``TESTS`` times a minute, and the
guard that judges deliveries judges this one too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from lateron.api.call import Answer, Call, json_answer, refusal
from lateron.api.ports import TESTS, Ports
from lateron.broker.history import History
from lateron.broker.views import LaneView
from lateron.core import flow_control
from lateron.core.destination import Destination, parse_destination
from lateron.core.filters import parse_query
from lateron.core.flow import LaneName
from lateron.core.values import SECOND, Millis, Tenant
from lateron.egress.probe import Probe
from lateron.errors import InvalidValue, NotSupported


async def examine(ports: Ports, call: Call) -> Answer:
    """Test a destination: ``POST /lateron/v1/destinations/{host}/test``."""
    tenant, now = call.who.tenant, ports.clock.wall()
    name = flow_control.host_lane(tenant, call.params["host"])
    destination = _meant(name, call)
    await ports.writer.read(partial(_known, tenant, name, now))
    if ports.examine is None:
        raise NotSupported("testing destinations is not supported here")
    wait = ports.tests.wait(tenant, now)
    if wait:
        after = -(-wait // SECOND)
        headers = ((b"retry-after", str(after).encode()),)
        return refusal(429, f"rate limit: at most {TESTS} tests a minute; the next in {after} s", headers)
    return json_answer(_shown(destination, await ports.examine(destination)))


def _meant(name: LaneName, call: Call) -> Destination:
    """Return what to request: the URL of the query, which must be of this host, or its root."""
    urls = [value for key, value in parse_query(call.query) if key == "url"]
    host, _, port = name.name.rpartition(":")
    authority = f"[{host}]" if ":" in host else host
    url = urls[0] if urls else f"{'https' if port == '443' else 'http'}://{authority}:{port}/"
    destination = parse_destination(url)
    if (destination.host, str(destination.port)) != (host, port):
        raise InvalidValue("url", url, f"a URL of {name.name}")
    return destination


def _known(tenant: Tenant, name: LaneName, now: Millis, history: History) -> LaneView:
    return history.lane(tenant, name, now)


def _shown(destination: Destination, found: Probe) -> dict[str, Any]:
    outcome, phases = found.outcome, found.outcome.phases
    timed = {"dns": phases.dns, "connect": phases.connect, "tls": phases.tls}
    timed |= {"firstByte": phases.first_byte, "body": phases.body, "total": phases.total}
    tls = found.tls and {
        "protocol": found.tls.protocol,
        "issuer": found.tls.issuer,
        "expiresAt": found.tls.expires,
    }
    return {
        "url": destination.url,
        "ok": outcome.error is None,
        "responseStatus": outcome.status or 0,
        "errorClass": outcome.error,
        "error": outcome.detail if outcome.error else None,
        "peer": outcome.peer,
        "addresses": [
            {"address": one.address, "allowed": one.refused is None, "reason": one.refused} for one in found.addresses
        ],
        "tls": tls or None,
        "phases": {key: value for key, value in timed.items() if value is not None},
    }
