"""Bulk jobs: ask for one, look at it, stop it; and one waiting message that shall go now."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from lateron.api.call import Answer, Call, encode, json_answer
from lateron.api.ports import Ports
from lateron.api.publish import context
from lateron.api.resources import listed, message_id, message_view, rehearsed
from lateron.broker.history import History
from lateron.broker.job_views import NEWEST
from lateron.broker.rehearsal import EXAMPLES
from lateron.broker.views import DeadView, MessageView
from lateron.core import bulk, filters
from lateron.core.bulk import Order
from lateron.core.bulk_wire import job_object, parse_job
from lateron.core.ids import message_text
from lateron.core.reach import guard_callbacks
from lateron.core.render import dead_letter_object
from lateron.core.values import Millis, Tenant
from lateron.errors import InvalidValue, NotFound
from lateron.store.sql import LAST
from lateron.telemetry import Log

log = Log("lateron.api")

JOB_BYTES: Final = 16 << 20  # Of a request for one; an edited body is in it.
JOBS_MAX: Final = 100  # Default and maximum of a page.
COUNTED: Final = 20  # Pages that are counted before a job begins; what has more has no total.
_LIST: Final = frozenset(("count", "cursor"))


async def create_job(ports: Ports, call: Call) -> Answer:
    """Ask for a job; with ``dryRun`` only for what it would change."""
    reading = context(ports, call)
    wanted = parse_job(await call.small_body(JOB_BYTES), reading)
    order, tenant = wanted.order, call.who.tenant
    guard_callbacks(ports.check_destination, (order.overrides.callback, order.overrides.failure_callback))
    if wanted.dry:
        call.only_asks()
        count, examples, _ = await _count(ports, tenant, order, None)
        return rehearsed(count, examples)
    count, _, whole = await _count(ports, tenant, order, None if wanted.spread is not None else COUNTED)
    total = count if whole else None
    if wanted.spread is not None:
        order = bulk.spread(order, wanted.spread, count)
    by = call.who.name or call.who.user
    job = await ports.writer.run(lambda broker, now: broker.create_job(tenant, order, by, total, now))
    log.info("bulk job", job=bulk.job_text(job.id), tenant=tenant, user=call.who.user, by=by, kind=order.kind.name)
    return json_answer(job_object(job), 201)


async def list_jobs(ports: Ports, call: Call) -> Answer:
    """List jobs, newest first; those that ended stay as long as the history."""
    chosen = filters.parse_filter(filters.parse_query(call.query), _LIST)
    before = LAST if chosen.cursor is None else _job_id(chosen.cursor)
    if before is None:
        raise InvalidValue("cursor", chosen.cursor, "the cursor of an earlier answer")
    count = min(chosen.count or JOBS_MAX, JOBS_MAX)
    return Answer(200, await ports.writer.read(partial(_page, call.who.tenant, before, count)))


async def get_job(ports: Ports, call: Call) -> Answer:
    """Show a job."""
    tenant, job_id = call.who.tenant, _named(call)
    return json_answer(job_object(await ports.writer.read(lambda history: history.job(tenant, job_id))))


async def cancel_job(ports: Ports, call: Call) -> Answer:
    """Let a job go no further; what it has done stays done."""
    tenant, job_id = call.who.tenant, _named(call)
    job = await ports.writer.run(lambda broker, now: broker.cancel_job(tenant, job_id, now))
    return json_answer(job_object(job))


async def retry_now(ports: Ports, call: Call) -> Answer:
    """Let a message that waits for its time be due at once, and show it."""
    tenant, message = call.who.tenant, message_id(call)
    await ports.writer.run(lambda broker, now: broker.retry_now(tenant, message, now))
    return json_answer({"messageId": message_text(message)})


async def _count(
    ports: Ports, tenant: Tenant, order: Order, pages: int | None
) -> tuple[int, list[dict[str, Any]], bool]:
    """Count what an order means, at most so many pages; give examples, and say whether these were all pages."""
    count, examples, place, now = 0, list[dict[str, Any]](), NEWEST, ports.clock.wall()
    while pages is None or pages > 0:
        piece, after = await ports.writer.read(partial(_piece, tenant, order, place, now))
        count += piece.count
        examples += [_example(view) for view in piece.examples[: EXAMPLES - len(examples)]]
        if order.limit is not None and count >= order.limit:
            return order.limit, examples[: order.limit], True
        if after is None:
            return count, examples, True
        place, pages = after, None if pages is None else pages - 1
    return count, examples, False


def _piece(tenant: Tenant, order: Order, place: bulk.Place, now: Millis, history: History) -> Any:  # noqa: ANN401
    return history.would_do(tenant, order, place, now)


def _example(view: MessageView | DeadView) -> dict[str, Any]:
    if isinstance(view, DeadView):
        return dead_letter_object(view.dead, view.message, view.request, view.attempt)
    return message_view(view)


def _page(tenant: Tenant, before: bytes, count: int, history: History) -> bytes:
    jobs = history.jobs(tenant, before, count)
    cursor = bulk.job_text(jobs[-1].id) if len(jobs) == count else None
    return encode(listed("jobs", [job_object(job) for job in jobs], cursor))


def _named(call: Call) -> bytes:
    found = _job_id(call.params["jobId"])
    if found is None:
        raise NotFound("job", call.params["jobId"][:100])
    return found


def _job_id(text: str) -> bytes | None:
    try:
        return bulk.parse_job_id(text)
    except ValueError:
        return None
