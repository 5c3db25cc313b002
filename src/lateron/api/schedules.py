"""Schedules: list, show, delete, pause, resume; ours: run once now, and when they will tick.

They are made in ``publish``, because a schedule is a publish with a cron.
"""

from __future__ import annotations

from typing import Any, Final

from lateron.api.call import Answer, Call, encode, json_answer
from lateron.api.ports import Ports
from lateron.api.publish import answered
from lateron.broker.history import History
from lateron.broker.schedules import Schedules, ScheduleView
from lateron.core import recurring
from lateron.core.filters import parse_query
from lateron.core.render import schedule_object
from lateron.core.schedule import next_after, parse_cron
from lateron.core.values import Millis
from lateron.errors import InvalidValue, RequestError

PREVIEW_DEFAULT: Final = 10
PREVIEW_MAX: Final = 100


async def listing(ports: Ports, call: Call) -> Answer:
    """List all schedules."""
    tenant = call.who.tenant

    def read(history: History) -> bytes:
        return encode([_view(view) for view in history.schedules(tenant)])

    return Answer(200, await ports.writer.read(read))


async def show(ports: Ports, call: Call) -> Answer:
    """Show one schedule."""
    tenant, name = call.who.tenant, call.params["scheduleId"]
    view = await ports.writer.read(lambda history: history.schedule(tenant, name))
    return json_answer(_view(view))


async def delete(ports: Ports, call: Call) -> Answer:
    """Delete a schedule; what it has made is delivered."""
    tenant, name = call.who.tenant, call.params["scheduleId"]
    await ports.writer.run(lambda broker, now: Schedules(broker).delete(tenant, name, now))
    return json_answer({"scheduleId": name})


async def pause(ports: Ports, call: Call) -> Answer:
    """Let a schedule tick no more."""
    tenant, name = call.who.tenant, call.params["scheduleId"]
    await ports.writer.run(lambda broker, now: Schedules(broker).pause(tenant, name, now))
    return json_answer({"scheduleId": name})


async def resume(ports: Ports, call: Call) -> Answer:
    """Go on with the next tick."""
    tenant, name = call.who.tenant, call.params["scheduleId"]
    await ports.writer.run(lambda broker, now: Schedules(broker).resume(tenant, name, now))
    return json_answer({"scheduleId": name})


async def run(ports: Ports, call: Call) -> Answer:
    """Run a schedule now: a message, or one for each endpoint of its group."""
    tenant, name = call.who.tenant, call.params["scheduleId"]
    return answered(await ports.writer.run(lambda broker, now: Schedules(broker).run(tenant, name, now)))


async def preview(ports: Ports, call: Call) -> Answer:
    """Say when a schedule will tick; of a paused one, when it would."""
    tenant, name, now = call.who.tenant, call.params["scheduleId"], ports.clock.wall()
    count = _count(dict(parse_query(call.query)))
    view = await ports.writer.read(lambda history: history.schedule(tenant, name))
    return json_answer({"times": recurring.preview(view.schedule, now, count)})


async def preview_cron(ports: Ports, call: Call) -> Answer:
    """Say when a schedule with this cron would tick, if it were made now."""
    given = dict(parse_query(call.query))
    now, count = ports.clock.wall(), _count(given)
    try:
        timing = parse_cron(given.pop("cron", "").strip(" \t"))
    except ValueError as error:
        raise RequestError(f"cron: {error}") from None
    times: list[Millis] = []
    while len(times) < count and (tick := next_after(timing, times[-1] if times else now, now)) is not None:
        times.append(tick)
    return json_answer({"times": times})


def _view(view: ScheduleView) -> dict[str, Any]:
    return schedule_object(view.schedule, view.states, view.redact)


def _count(given: dict[str, str]) -> int:
    text = given.get("count", str(PREVIEW_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= PREVIEW_MAX):
        raise InvalidValue("count", text, f"a whole number from 1 to {PREVIEW_MAX}")
    return int(text)
