"""What a change of many things at once would do, without doing it.

It looks with the same eyes as the change: the same pages, the same filter, the same decision about each. Like the
change it goes piece by piece, so that counting a million holds up nobody.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

from lateron.broker.bulk import NEWEST, choose_dead_letters, matching_messages, open_page
from lateron.broker.messages import PAGE
from lateron.broker.views import DeadView, MessageView
from lateron.core import message as life
from lateron.core.values import Filter, MessageId, Millis, Tenant
from lateron.store.sql import LAST, Store

EXAMPLES = 3
NEWEST_LETTER = (1 << 62, LAST)

T = TypeVar("T")


class Rehearsed(Struct, Generic[T], frozen=True):
    """One piece: how many it would touch, the first of them, and where to go on; None at the end."""

    count: int
    examples: tuple[T, ...]
    before: tuple[Millis, bytes] | None = None


class Rehearsal:
    """Reads for dry runs; see the module."""

    _store: Store

    def would_cancel(
        self, tenant: Tenant, selection: Filter, now: Millis, limit: int | None = None, before: bytes = NEWEST
    ) -> Rehearsed[MessageView]:
        """Count a piece of what ``cancel`` would cancel, the newest first."""
        with self._store.transaction() as tx:
            page = open_page(tx, tenant, selection, before)
            found = [m for m in matching_messages(tx, page, selection) if life.cancel(m, now) is not None]
            found = found if limit is None else found[:limit]
            requests = tx.load_requests([message.id for message in found[:EXAMPLES]])
            shown = tuple(MessageView(m, requests[m.id].request) for m in found[:EXAMPLES])
        last = len(page) < PAGE or selection.message_ids or len(found) == limit
        return Rehearsed(len(found), shown, None if last else (0, page[-1].id))

    def would_touch(
        self,
        tenant: Tenant,
        selection: Filter,
        limit: int | None = None,
        before: tuple[Millis, bytes] = NEWEST_LETTER,
        *,
        intact: bool = False,
    ) -> Rehearsed[DeadView]:
        """Count a piece of the dead letters that match; with ``intact`` those that could be published anew."""
        with self._store.transaction() as tx:
            letters, following = choose_dead_letters(tx, tenant, selection, before, min(limit or PAGE, PAGE))
            if intact:
                stored = tx.load_requests([letter.message for letter in letters])
                letters = [letter for letter in letters if stored[letter.message].intact]
            shown = []
            for letter in letters[:EXAMPLES]:
                message = MessageId(letter.message)
                attempt = tx.attempt_of(message, letter.attempt)
                assert attempt is not None, "a dead letter has its attempt"
                request = tx.load_requests([message])[message].request
                shown.append(DeadView(letter, tx.read_messages([message])[message], request, attempt))
        return Rehearsed(len(letters), tuple(shown), following)
