"""How it goes, at one glance: in words, in figures of the last hour, and the few things worth a look.

The figures come from the boards, which are fed as things happen; what is read from the store is a handful of rows
by their keys: the last failures, and the first of the schedules to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from lateron.api.call import Answer, Call, json_answer
from lateron.api.ports import Ports
from lateron.broker.history import History
from lateron.broker.views import EventView
from lateron.core.board import Board, Minute, quantile
from lateron.core.destination import parse_destination
from lateron.core.tally import Histogram
from lateron.core.values import MINUTE, SECOND, Millis, Tenant
from lateron.errors import StoreBusy

LATE: Final[Millis] = 30 * SECOND
TOP: Final = 5
AGES_EVERY: Final = 5.0  # Seconds.
RECENT: Final = 5  # Minutes that say whether it goes well now.


async def overview(ports: Ports, call: Call) -> Answer:
    """Say how it goes: ``GET /lateron/v1/overview``."""
    tenant, now = call.who.tenant, ports.clock.wall()
    board = ports.boards.of(tenant)
    oldest, top, paused = await ports.writer.read(partial(_looked_up, tenant, board, now))
    board.aged(now, oldest)
    series = [_line(minute, board.ages.get(minute.time)) for minute in _last_hour(board, now)]
    series[-1]["oldestDueMs"] = oldest
    return json_answer({"health": _health(board, series, oldest, paused=paused), "series": series, "top": top})


def counters(board: Board, now: Millis, oldest: Millis | None) -> dict[str, Any]:
    """Return the figures of this moment, as the stream sends them each second."""
    return {
        "time": now,
        "published": board.published,
        "delivered": board.delivered,
        "failed": board.failed,
        "retried": board.retried,
        "waiting": board.waiting,
        "active": max(0, board.active),
        "deadLetters": board.letters,
        "oldestDueMs": oldest,
    }


async def follow_ages(ports: Ports) -> None:
    """Note for ever how old the oldest due message of each tenant is, also while nobody looks; one row by its key."""
    while True:
        await ports.clock.nap(recheck=AGES_EVERY)
        for tenant in ports.boards.waiting():
            now = ports.clock.wall()
            with suppress(StoreBusy):  # There is another time.
                ports.boards.of(tenant).aged(now, await ports.writer.read(partial(oldest_due, tenant, now)))


def oldest_due(tenant: Tenant, now: Millis, history: History) -> Millis | None:
    """Return for how long the first message that could start has been due; None if none is."""
    due = history.next_due(tenant)
    return None if due is None or due > now else now - due


def _looked_up(
    tenant: Tenant, board: Board, now: Millis, history: History
) -> tuple[Millis | None, dict[str, Any], bool]:
    failures = history.lines(list(board.failures))
    top = {
        "failingHosts": _counted(Counter(map(_host, failures)), "host"),
        "errors": _counted(Counter(map(_error, failures)), "error"),
        "busyKeys": [
            {"flowControlKey": lane.name, "waiting": lane.waiting, "active": lane.active}
            for lane in history.busy_keys(tenant, TOP)
        ],
        "nextSchedules": [
            {"scheduleId": schedule.id, "nextScheduleTime": schedule.due, "destination": schedule.request.url}
            for schedule in history.next_schedules(tenant, TOP)
        ],
    }
    return oldest_due(tenant, now, history), top, history.delivery(tenant).paused


def _counted(found: Counter[str], name: str) -> list[dict[str, Any]]:
    return [{name: key, "count": number} for key, number in found.most_common(TOP)]


def _host(view: EventView) -> str:
    return parse_destination(view.request.url).authority


def _error(view: EventView) -> str:
    """Return what failures of one cause have in common."""
    outcome = None if view.attempt is None else view.attempt.outcome
    if outcome is None:
        return "no outcome"
    return str(outcome.status) if outcome.error is None else outcome.error


def _last_hour(board: Board, now: Millis) -> list[Minute]:
    """Return the last sixty minutes, also those in which nothing happened."""
    known = {minute.time: minute for minute in list(board.minutes)}
    this = now - now % MINUTE
    found: list[Minute] = []
    before = Minute(0, Histogram(()))
    for time in range(this - 59 * MINUTE, this + 1, MINUTE):
        before = known.get(time) or Minute(time, before.attempts, waiting=before.waiting, active=before.active)
        found.append(before)
    found[-1].waiting, found[-1].active = board.waiting, max(0, board.active)
    return found


def _line(minute: Minute, oldest: Millis | None) -> dict[str, Any]:
    quiet = not minute.published and not minute.delivered and not minute.failed
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        "time": minute.time,
        "published": minute.published,
        "delivered": minute.delivered,
        "failed": minute.failed,
        "attemptMs": {name: None if quiet else quantile(minute.attempts, part) for name, part in parts.items()},
        "waiting": minute.waiting,
        "active": minute.active,
        "oldestDueMs": oldest,
    }


def _health(
    board: Board, series: list[Mapping[str, Any]] | list[dict[str, Any]], oldest: Millis | None, *, paused: bool
) -> dict[str, str]:
    """Say how it goes in a sentence or two."""
    waits = f"{board.waiting} {'message waits' if board.waiting == 1 else 'messages wait'}."
    recent = series[-RECENT:]
    failed, delivered = (sum(int(line[name]) for line in recent) for name in ("failed", "delivered"))
    if paused:
        return {"status": "paused", "text": f"Delivery is paused for the whole server. {waits}"}
    if failed and failed >= delivered:
        told = f"{failed} {'message has' if failed == 1 else 'messages have'} failed in the last {RECENT} minutes"
        return {"status": "failing", "text": f"{told}, {delivered} arrived. {waits}"}
    if oldest is not None and oldest > LATE:
        return {
            "status": "late",
            "text": f"Delivering late: the oldest due message waits for {oldest // SECOND} s. {waits}",
        }
    return {"status": "ok", "text": f"Delivering. {waits}"}
