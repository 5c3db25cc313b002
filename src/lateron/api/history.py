"""The log, dead letters, and the story of a message.

Lists are rendered and encoded on the readers' thread: a page of a thousand events is work that no other
call should wait for.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from lateron.api.call import Answer, Call, encode, json_answer
from lateron.api.ports import Ports
from lateron.api.publish import CREATED, context
from lateron.api.resources import dry_run, either, listed, message_id, message_view, rehearsed
from lateron.api.sending import sent
from lateron.broker.bulk import Broker, Deleted, Redriven
from lateron.broker.history import History
from lateron.broker.rehearsal import EXAMPLES, NEWEST_LETTER, Rehearsed
from lateron.broker.views import DeadView
from lateron.core import filters
from lateron.core.ids import dlq_text, parse_dlq_id
from lateron.core.reach import guard_callbacks
from lateron.core.render import dead_letter_object, event_object, publish_answer, story_object
from lateron.core.values import Filter, MessageId, Millis, Overrides, Tenant
from lateron.core.wire import parse_overrides
from lateron.errors import InvalidValue, NotFound

EVENTS_MAX: Final = 1000  # Default and maximum of a page, as the SDKs expect.
DEAD_LETTERS_MAX: Final = 100  # Default and maximum of a page.
BULK_MAX: Final = 1000  # Dead letters that one call retries or deletes.

LetterId = tuple[Millis, MessageId]
LetterKey = tuple[Millis, bytes]  # Where to go on.


async def events(ports: Ports, call: Call) -> Answer:
    """List the log: ``GET /v2/events``."""
    return Answer(200, await _events(ports, call, "events"))


async def logs(ports: Ports, call: Call) -> Answer:
    """List the log under its other name: ``GET /v2/logs``."""
    return Answer(200, await _events(ports, call, "logs"))


async def story(ports: Ports, call: Call) -> Answer:
    """Show all that is kept of a message: every attempt with its phases, every event."""
    said = ports.info()
    how = said.get("region"), bool(said.get("signs", True))
    read = partial(_story, call.who.tenant, message_id(call), ports.clock.wall(), how)
    return Answer(200, await ports.writer.read(read))


async def list_dead(ports: Ports, call: Call) -> Answer:
    """List dead letters, newest first."""
    chosen = filters.parse_filter(filters.parse_query(call.query), filters.DEAD_LETTER_FILTERS)
    return Answer(200, await ports.writer.read(partial(_dead_page, call.who.tenant, chosen)))


async def get_dead(ports: Ports, call: Call) -> Answer:
    """Show one dead letter."""
    return Answer(200, await ports.writer.read(partial(_dead, call.who.tenant, _letter_id(call))))


async def delete_dead(ports: Ports, call: Call) -> Answer:
    """Delete one dead letter."""
    deleted = await ports.writer.run(partial(_delete, call.who.tenant, Filter(dlq_ids=(_letter_id(call),)), 1, None))
    if not deleted.count:
        raise NotFound("dead letter", call.params["dlqId"])
    return json_answer({"deleted": deleted.count})


async def delete_many_dead(ports: Ports, call: Call) -> Answer:
    """Delete the dead letters that a body or a query selects; without either, all up to the count."""
    chosen, _, dry = await _selected(call)
    if dry:
        return await _would_touch(ports, call.who.tenant, chosen, intact=False)
    before: LetterKey | None = _before(chosen.cursor)
    while True:
        work = partial(_delete, call.who.tenant, chosen.filter, _limit(chosen), before)
        deleted = await ports.writer.run(work)
        before = deleted.before
        if deleted.count or before is None:  # Else it has looked in vain, and others have had their turn.
            return json_answer(_with_cursor({"deleted": deleted.count}, before))


async def retry_dead(ports: Ports, call: Call) -> Answer:
    """Publish one dead letter anew."""
    letter = _letter_id(call)
    overrides = _overrides(ports, call, filters.parse_query(call.query))
    redriven = await ports.writer.run(partial(_redrive, call.who.tenant, Filter(dlq_ids=(letter,)), overrides, 1, None))
    if not redriven.messages:
        raise NotFound("dead letter", call.params["dlqId"])
    return json_answer(publish_answer(redriven.messages[0]), CREATED)


async def retry_many_dead(ports: Ports, call: Call) -> Answer:
    """Publish the selected dead letters anew."""
    chosen, options, dry = await _selected(call)
    overrides = _overrides(ports, call, options)
    if dry:
        return await _would_touch(ports, call.who.tenant, chosen, intact=True)
    before: LetterKey | None = _before(chosen.cursor)
    while True:
        work = partial(_redrive, call.who.tenant, chosen.filter, overrides, _limit(chosen), before)
        redriven = await ports.writer.run(work)
        before = redriven.before
        if redriven.messages or before is None:  # As in the deletion.
            responses = [publish_answer(message) for message in redriven.messages]
            return json_answer(_with_cursor({"responses": responses}, before))


async def _events(ports: Ports, call: Call, name: str) -> bytes:
    chosen = filters.parse_filter(filters.parse_query(call.query), filters.EVENT_FILTERS)
    return await ports.writer.read(partial(_event_page, call.who.tenant, chosen, name))


def _event_page(tenant: Tenant, chosen: filters.Selection, name: str, history: History) -> bytes:
    count = min(chosen.count or EVENTS_MAX, EVENTS_MAX)
    page = history.events(tenant, chosen.filter, chosen.cursor, count, newest_first=chosen.newest_first)
    shown = [event_object(view.event, view.message, view.request, view.attempt) for view in page.items]
    return encode(listed(name, shown, page.cursor))


def _story(tenant: Tenant, message: MessageId, now: Millis, how: tuple[str | None, bool], history: History) -> bytes:
    told = history.story(tenant, message, now)
    view, (region, signed) = told.view, how
    shown = story_object(message_view(view), view.request, told.attempts, told.events)
    for line, attempt in zip(shown["attempts"], told.attempts, strict=True):
        request = sent(view.message, view.request, attempt, region, signed=signed)
        if request is not None:
            line["request"] = request
    return encode(shown)


def _dead_page(tenant: Tenant, chosen: filters.Selection, history: History) -> bytes:
    count = min(chosen.count or DEAD_LETTERS_MAX, DEAD_LETTERS_MAX)
    page = history.dead_letters(tenant, chosen.filter, chosen.cursor, count)
    shown = [dead_letter_object(view.dead, view.message, view.request, view.attempt) for view in page.items]
    return encode(listed("messages", shown, page.cursor))


def _dead(tenant: Tenant, letter: LetterId, history: History) -> bytes:
    view = history.dead_letter(tenant, *letter)
    return encode(dead_letter_object(view.dead, view.message, view.request, view.attempt))


def _delete(
    tenant: Tenant, selection: Filter, limit: int, before: LetterKey | None, broker: Broker, _now: Millis
) -> Deleted:
    if before is None:
        return broker.delete_dead(tenant, selection, limit)
    return broker.delete_dead(tenant, selection, limit, before)


def _redrive(
    tenant: Tenant,
    selection: Filter,
    overrides: Overrides,
    limit: int,
    before: LetterKey | None,
    broker: Broker,
    now: Millis,
) -> Redriven:
    if before is None:
        return broker.redrive(tenant, selection, overrides, now, limit)
    return broker.redrive(tenant, selection, overrides, now, limit, before)


async def _would_touch(ports: Ports, tenant: Tenant, chosen: filters.Selection, *, intact: bool) -> Answer:
    """Count all that match, not only what one call does; at most ``count`` of them if that is given."""
    count, examples, before = 0, list[dict[str, Any]](), _before(chosen.cursor) or NEWEST_LETTER
    while True:
        left = None if chosen.count is None else chosen.count - count
        piece = await ports.writer.read(partial(_would_touch_piece, tenant, chosen.filter, left, before, intact))
        count += piece.count
        shown = piece.examples[: EXAMPLES - len(examples)]
        examples += [dead_letter_object(view.dead, view.message, view.request, view.attempt) for view in shown]
        if piece.before is None or count == chosen.count:
            return rehearsed(count, examples)
        before = piece.before


def _would_touch_piece(
    tenant: Tenant,
    selection: Filter,
    left: int | None,
    before: tuple[Millis, bytes],
    intact: bool,
    history: History,
) -> Rehearsed[DeadView]:
    return history.would_touch(tenant, selection, left, before, intact=intact)


async def _selected(call: Call) -> tuple[filters.Selection, list[tuple[str, str]], bool]:
    """Return which dead letters a call means, the options in its query, and whether it only asks."""
    body = await call.small_body()
    dry, pairs = dry_run(filters.parse_query(call.query))
    options = [pair for pair in pairs if _is_option(pair[0])]
    chosen = filters.parse_filter([pair for pair in pairs if not _is_option(pair[0])], filters.DEAD_LETTER_FILTERS)
    ids = filters.parse_selection(body, "dlqIds")
    selection = either(ids, chosen.filter)
    call.chooses(ids)
    if dry:
        call.only_asks()
    return filters.Selection(selection, chosen.cursor, chosen.count), options, dry


def _is_option(name: str) -> bool:
    return name.lower().startswith(("upstash-", "lateron-"))


def _overrides(ports: Ports, call: Call, options: list[tuple[str, str]]) -> Overrides:
    overrides = parse_overrides(call.headers, context(ports, call), [pair for pair in options if _is_option(pair[0])])
    guard_callbacks(ports.check_destination, (overrides.callback, overrides.failure_callback))
    return overrides


def _limit(chosen: filters.Selection) -> int:
    """Return how many dead letters a call may touch: as asked, else all that it names, else a page."""
    return min(chosen.count or max(DEAD_LETTERS_MAX, len(chosen.filter.dlq_ids)), BULK_MAX)


def _letter_id(call: Call) -> LetterId:
    text = call.params["dlqId"]
    try:
        return parse_dlq_id(text)
    except ValueError:
        raise NotFound("dead letter", text[:100]) from None


def _before(cursor: str | None) -> LetterId | None:
    if cursor is None:
        return None
    try:
        return parse_dlq_id(cursor)
    except ValueError:
        raise InvalidValue("cursor", cursor, "the cursor of an earlier answer") from None


def _with_cursor(content: dict[str, Any], before: tuple[Millis, bytes] | None) -> dict[str, Any]:
    return content if before is None else {**content, "cursor": dlq_text(before[0], MessageId(before[1]))}
