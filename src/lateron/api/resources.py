"""Messages, keys, the catcher, and what the server says of itself."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from lateron import __version__
from lateron.api.call import Answer, Call, encode, json_answer, refusal
from lateron.api.openapi import document
from lateron.api.ports import CatchingRoom, Ports
from lateron.api.storage import storage
from lateron.broker.bulk import NEWEST
from lateron.broker.history import History
from lateron.broker.rehearsal import EXAMPLES, Rehearsed
from lateron.broker.views import KeyPair, MessageView
from lateron.core import filters
from lateron.core.ids import parse_message_id
from lateron.core.render import message_object
from lateron.core.values import Filter, MessageId, Millis, Tenant
from lateron.errors import InvalidValue, NotFound, RequestError
from lateron.telemetry import Log

log = Log("lateron.api")

PENDING_DEFAULT: Final = 100
PENDING_MAX: Final = 1000


async def get_message(ports: Ports, call: Call) -> Answer:
    """Show a message until shortly after its end."""
    read = partial(_message, call.who.tenant, message_id(call), ports.clock.wall())
    return Answer(200, await ports.writer.read(read))


async def list_messages(ports: Ports, call: Call) -> Answer:
    """List messages that do not rest yet, newest first; ours, QStash has no such list."""
    chosen = filters.parse_filter(filters.parse_query(call.query), filters.MESSAGE_FILTERS)
    count = min(chosen.count or PENDING_DEFAULT, PENDING_MAX)
    read = partial(_pending, call.who.tenant, chosen, count, ports.clock.wall())
    return Answer(200, await ports.writer.read(read))


async def cancel_message(ports: Ports, call: Call) -> Answer:
    """Cancel one message."""
    cancelled = await ports.writer.cancel(call.who.tenant, Filter(message_ids=(message_id(call),)))
    if not cancelled:
        raise NotFound("message", call.params["messageId"])
    return json_answer({"cancelled": cancelled})


async def cancel_messages(ports: Ports, call: Call) -> Answer:
    """Cancel all messages that a body or a query selects; without either, all there are."""
    body = await call.small_body()
    dry, pairs = dry_run(filters.parse_query(call.query))
    chosen = filters.parse_filter(pairs, filters.MESSAGE_FILTERS - {"cursor"})
    ids = filters.parse_selection(body, "messageIds")
    selection = either(ids, chosen.filter)
    call.chooses(ids)
    if dry:
        call.only_asks()
        return await _would_cancel(ports, call.who.tenant, selection, chosen.count)
    return json_answer({"cancelled": await ports.writer.cancel(call.who.tenant, selection, chosen.count)})


async def get_keys(ports: Ports, call: Call) -> Answer:
    """Show the signing keys."""
    keys = ports.keys(call.who.tenant)
    if keys is None:
        raise NotFound("signing keys of", call.who.user)
    return _keys(keys)


async def rotate_keys(ports: Ports, call: Call) -> Answer:
    """Make the next key the current one."""
    keys = await ports.rotate_keys(call.who.tenant)
    log.info("signing keys rotated", tenant=call.who.tenant, user=call.who.user, caller=call.caller_ip)
    return _keys(keys)


async def info(ports: Ports, call: Call) -> Answer:
    """Say which server this is, and as whom the caller is known."""
    who = {"user": call.who.user, "scope": call.who.scope}
    content = {
        "name": "lateron",
        "version": __version__,
        "quota": ports.quota.name,
        "catcher": ports.catcher is not None,
    }
    return json_answer({**content, **who, **ports.info()})


async def configuration(ports: Ports, _call: Call) -> Answer:
    """List the settings that the server runs with, where each came from, and what the store takes."""
    settings = [{"name": name, "value": value, "source": source} for name, value, source in ports.settings()]
    return json_answer({"settings": settings, "storage": await storage(ports)})


async def health(_ports: Ports, _call: Call) -> Answer:
    """Say that the event loop runs."""
    return json_answer({"status": "ok"})


async def readiness(ports: Ports, _call: Call) -> Answer:
    """Say whether work may be sent here."""
    reason = ports.not_ready()
    return json_answer({"status": "ok"}) if reason is None else refusal(503, f"not ready: {reason}")


async def openapi(_ports: Ports, _call: Call) -> Answer:
    """Describe this API."""
    return json_answer(document())


async def list_catchers(ports: Ports, call: Call) -> Answer:
    """List the names under which requests were caught."""
    return json_answer({"names": _catcher(ports).names(call.who.tenant)})


async def list_caught(ports: Ports, call: Call) -> Answer:
    """List the requests that were caught under a name, newest first."""
    return json_answer({"requests": _catcher(ports).requests(call.who.tenant, call.params["name"])})


async def clear_catchers(ports: Ports, call: Call) -> Answer:
    """Forget all that was caught."""
    return json_answer({"deleted": _catcher(ports).clear(call.who.tenant)})


async def clear_caught(ports: Ports, call: Call) -> Answer:
    """Forget what was caught under a name."""
    return json_answer({"deleted": _catcher(ports).clear(call.who.tenant, call.params["name"])})


def message_id(call: Call) -> MessageId:
    """Return the message that the path names.

    Raises:
        NotFound: No message can have that name.
    """
    text = call.params["messageId"]
    try:
        return parse_message_id(text)
    except ValueError:
        raise NotFound("message", text[:100]) from None


def either(ids: Filter | None, query: Filter) -> Filter:
    """Return the one way in which a call selects.

    Raises:
        RequestError: It uses both; which of them is meant cannot be guessed when things are deleted.
    """
    if ids is None:
        return query
    if query != Filter():
        raise RequestError("select by the body or by the query, not by both")
    return ids


def dry_run(pairs: list[tuple[str, str]]) -> tuple[bool, list[tuple[str, str]]]:
    """Return whether a call only asks what it would do, and the rest of its query.

    Raises:
        InvalidValue: It says neither yes nor no; what it would do must not be guessed.
    """
    said = [value for name, value in pairs if name == "dryRun"]
    for value in said:
        if value not in {"true", "false"} or len(set(said)) > 1:
            raise InvalidValue("dryRun", value, "true or false")
    return said[:1] == ["true"], [pair for pair in pairs if pair[0] != "dryRun"]


def rehearsed(count: int, examples: list[dict[str, Any]]) -> Answer:
    """Return what a dry run is answered."""
    return json_answer({"count": count, "examples": examples, "dryRun": True})


async def _would_cancel(ports: Ports, tenant: Tenant, selection: Filter, most: int | None) -> Answer:
    count, examples, before = 0, list[dict[str, Any]](), NEWEST
    while True:
        left = None if most is None else most - count
        work = partial(_would_cancel_piece, tenant, selection, ports.clock.wall(), left, before)
        piece = await ports.writer.read(work)
        count += piece.count
        examples += [message_view(view) for view in piece.examples[: EXAMPLES - len(examples)]]
        if piece.before is None or count == most:
            return rehearsed(count, examples)
        before = piece.before[1]


def _would_cancel_piece(
    tenant: Tenant, selection: Filter, now: Millis, left: int | None, before: bytes, history: History
) -> Rehearsed[MessageView]:
    return history.would_cancel(tenant, selection, now, left, before)


def message_view(view: MessageView) -> dict[str, Any]:
    """Return the object of a message, with what it waits for."""
    waiting = view.waiting
    if waiting is None:
        return message_object(view.message, view.request)
    return message_object(
        view.message,
        view.request,
        waiting_for=waiting.reason,
        waiting_until=waiting.until,
        held_by=waiting.held_by,
        place=waiting.place,
    )


def _message(tenant: Tenant, message: MessageId, now: Millis, history: History) -> bytes:
    return encode(message_view(history.message(tenant, message, now)))


def _pending(tenant: Tenant, chosen: filters.Selection, count: int, now: Millis, history: History) -> bytes:
    page = history.pending(tenant, chosen.filter, chosen.cursor, count, now)
    return encode(listed("messages", [message_view(view) for view in page.items], page.cursor))


def listed(name: str, items: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    """Return a page of a list; the last one has no cursor."""
    return {name: items} if cursor is None else {name: items, "cursor": cursor}


def _keys(keys: KeyPair) -> Answer:
    return json_answer({"current": keys.current, "next": keys.next})


def _catcher(ports: Ports) -> CatchingRoom:
    if ports.catcher is None:
        raise NotFound("catcher:", "it is switched off (--catcher)")
    return ports.catcher
