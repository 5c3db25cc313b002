"""Which messages and dead letters a change of many means, a page of candidates at a time.

Whatever looks, changes or only counts, chooses here, so that a dry run tells what would be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.bulk import PAGE, JobKind, Order, Place
from lateron.core.filters import matches
from lateron.core.values import (
    AT_REST,
    DeadLetter,
    Filter,
    Message,
    MessageId,
    Millis,
    Options,
    Request,
    State,
    Tenant,
)
from lateron.store.sql import Verbs

GENERATIONS = 1000  # A message made from a message made from ...; no chain is as long.
BODY_BYTES = 8 << 20  # Of the requests that one piece publishes anew.
_UNREADABLE: Final = Request("", "", (), None, Options())  # In place of a damaged one: its ids are known all the same.


class Chosen(Struct, frozen=True):
    """What a piece of messages means, newest first; ``after`` is where to go on behind all of them."""

    messages: tuple[Message, ...]
    after: Place | None
    unread: int = 0  # Their requests cannot be read, so nobody knows whether they are meant.


class ChosenLetters(Struct, frozen=True):
    """The same of dead letters."""

    letters: tuple[DeadLetter, ...]
    after: Place | None


def choose_messages(tx: Verbs, tenant: Tenant, order: Order, place: Place, now: Millis) -> Chosen:
    """Return the messages of one page that an order means and would change."""
    page, after = _page(tx, tenant, order, place)
    found, unread = meant(tx, page, order.filter)
    return Chosen(tuple(message for message in found if _would_change(order, message, now)), after, unread)


def _would_change(order: Order, message: Message, now: Millis) -> bool:
    if order.kind is JobKind.RETRY_NOW:
        return message.state is State.WAITING and message.due > now
    if order.kind is JobKind.RESCHEDULE:
        return message.state is State.WAITING and message.due != order.due
    return order.kind is JobKind.ERASE or message.cancel is None


def _page(tx: Verbs, tenant: Tenant, order: Order, place: Place) -> tuple[list[Message], Place | None]:
    named = order.filter.message_ids
    if named:
        ids = sorted((one for one in set(named) if one < place.id), reverse=True)[:PAGE]
        found = tx.read_messages(ids)
        page = [found[one] for one in ids if one in found and found[one].tenant == tenant]
        return [m for m in page if m.state < AT_REST], Place(ids[-1]) if len(ids) == PAGE else None
    if order.kind is JobKind.ERASE:
        every = tx.messages_before(place.id, PAGE)
        page, full = [message for message in every if message.tenant == tenant], len(every) == PAGE
        return page, Place(every[-1].id) if full else None
    page = tx.open_before(tenant, place.id, PAGE)
    return page, Place(page[-1].id) if len(page) == PAGE else None


def meant(tx: Verbs, page: Sequence[Message], selection: Filter) -> tuple[list[Message], int]:
    """Return those of a page that a filter means, and of how many that cannot be told: their requests are damaged."""
    if selection == Filter() or not page:
        return list(page), 0
    outlines = tx.outlines([message.id for message in page])
    found, unread = list[Message](), 0
    for message in page:
        outline = outlines.get(message.id)
        if matches(selection, message, _UNREADABLE if outline is None else outline.request):
            found.append(message)
        elif outline is None:
            unread += 1
    return found, unread


def descendants(tx: Verbs, roots: Sequence[MessageId]) -> list[MessageId]:
    """Return messages with all that was made from them, whatever generation; each once."""
    seen, young = dict.fromkeys(roots), list(roots)
    for _ in range(GENERATIONS):
        young = [child for child in tx.children(young) if child not in seen] if young else []
        seen.update(dict.fromkeys(young))
    return list(seen)


def descend_from(tx: Verbs, page: Sequence[Message], selection: Filter, before: bytes) -> list[Message]:
    """Return those of a page that are older than ``before`` and meant, or descend from one that is."""
    line, gone = {message.id: message for message in page}, set[MessageId]()
    for _ in range(GENERATIONS):
        parents = {message.parent for message in line.values() if message.parent is not None} - line.keys() - gone
        if not parents:
            break
        found = tx.read_messages(sorted(parents))
        line |= found
        gone |= parents - found.keys()
    wanted, _ = meant(tx, [message for message in line.values() if message.id < before], selection)
    ids = {message.id for message in wanted}
    return [message for message in page if _has_ancestor(message, line, ids)]


def _has_ancestor(message: Message, line: dict[MessageId, Message], ids: set[MessageId]) -> bool:
    one: Message | None = message
    for _ in range(GENERATIONS):
        if one is None or one.id in ids:
            return one is not None
        one = None if one.parent is None else line.get(one.parent)
    return False


def choose_letters(tx: Verbs, tenant: Tenant, order: Order, place: Place, bound: bytes) -> ChosenLetters:
    """Return the dead letters of one page that an order means, none of a message as new as ``bound``."""
    selection, before = order.filter, (place.time, place.id)
    if selection.dlq_ids:
        keys = sorted((one for one in set(selection.dlq_ids) if one < before), reverse=True)[:PAGE]
        page = [d for key in keys if (d := tx.dead_letter(tenant, *key)) is not None]
        after = Place(keys[-1][1], keys[-1][0]) if len(keys) == PAGE else None
    else:
        page = tx.dead_letters_before(tenant, before, selection.from_time or 0, PAGE)
        after = Place(page[-1].message, page[-1].time) if len(page) == PAGE else None
    older = [letter for letter in page if letter.message < bound]
    return ChosenLetters(tuple(matching_letters(tx, older, selection)), after)


def matching_letters(tx: Verbs, page: Sequence[DeadLetter], selection: Filter) -> list[DeadLetter]:
    """Return those of a page of dead letters that a filter means."""
    if selection == Filter() or not page:
        return list(page)
    # Times and statuses are those of the letter; the message must match in all else.
    of_message = replace(selection, dlq_ids=(), statuses=(), from_time=None, to_time=None)
    messages = tx.read_messages([letter.message for letter in page])
    outlines = tx.outlines([letter.message for letter in page])
    found = []
    for letter in page:
        outline = outlines[letter.message]
        request = _UNREADABLE if outline is None else outline.request
        if not matches(of_message, messages[letter.message], request):
            continue
        if selection.statuses:
            attempt = tx.attempt_of(letter.message, letter.attempt)
            status = 0 if attempt is None or attempt.outcome.status is None else attempt.outcome.status
            if status not in selection.statuses:
                continue
        if _inside(selection, letter.time):
            found.append(letter)
    return found


def _inside(selection: Filter, time: Millis) -> bool:
    early = selection.from_time is not None and time < selection.from_time
    late = selection.to_time is not None and time > selection.to_time
    return not early and not late
