"""What is done to many messages at once: cancel, retry and delete dead letters, retention.

Each call is one transaction over a few pages of candidates at most and returns where to go on, so that a million
messages never hold the store, however few of them are meant. The caller repeats it until there is nothing left; a crash
between two calls leaves whole items done and the rest untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lateron.broker.audit import AuditBroker
from lateron.broker.choosing import matching_letters
from lateron.broker.jobs import JobBroker
from lateron.broker.messages import PAGE
from lateron.core import message as life
from lateron.core.filters import matches
from lateron.core.tally import Moves
from lateron.core.values import (
    DeadLetter,
    Filter,
    Message,
    MessageId,
    Millis,
    Overrides,
    State,
    Tenant,
)
from lateron.store.sql import LAST, Verbs

SWEPT: Final = "swept"  # The setting that says when.

LAST_TIME: Millis = 1 << 62
FIRST_LANE = -1  # Below every number of a lane.
LANES = 5000  # Looked at in one piece of a sweep: a millisecond, also where a million keys are idle.
NEWEST = LAST  # Where cancelling begins.
PAGES: Final = 5  # Of dead letters that one call looks at; some ten milliseconds, in which nobody else can write.


class Cancelled(Struct, frozen=True):
    """What one piece of a cancellation did; ``before`` is where to go on, None at the end."""

    count: int
    before: bytes | None = None


class Redriven(Struct, frozen=True):
    """The new messages of one piece of a retry of dead letters, perhaps none; ``before`` is where to go on."""

    messages: tuple[MessageId, ...]
    before: tuple[Millis, bytes] | None = None


class Deleted(Struct, frozen=True):
    """What one piece of a deletion of dead letters did, perhaps nothing; ``before`` is where to go on."""

    count: int
    before: tuple[Millis, bytes] | None = None


class Broker(JobBroker, AuditBroker):
    """All that changes messages: the hot verbs, those of groups, queues, lanes and jobs, and those for many at once."""

    _swept = FIRST_LANE  # How far the sweep has looked through the lanes.

    def cancel(
        self, tenant: Tenant, selection: Filter, now: Millis, limit: int | None = None, before: bytes = NEWEST
    ) -> Cancelled:
        """Cancel messages that match and do not rest, the newest first.

        So between two pieces nothing starts in the place of what was cancelled: whoever would is gone already.

        Args:
            tenant: Whose.
            selection: Which; an empty filter means all.
            now: Time of the cancellation.
            limit: At most so many; None means no bound.
            before: Where the last piece ended.

        Returns:
            How many were cancelled, or will be once their open attempt has ended.
        """
        with self._store.transaction() as tx:
            page = open_page(tx, tenant, selection, before)
            matching = matching_messages(tx, page, selection)
            ledger = self._ledger(tx, now)
            ledger.hold_queues(message.queue for message in matching)
            ledger.hold_known(message.lane for message in matching)
            ledger.foresee(len(matching))
            stored = tx.load_messages([message.id for message in matching])
            done, last = 0, page[-1].id if len(page) >= PAGE and not selection.message_ids else None
            for message in (stored[seen.id] for seen in matching):
                if limit is not None and done >= limit:
                    last = None
                    break
                transition = life.cancel(message, now)
                if transition is None:
                    continue
                done += 1
                if transition.message.state is State.ACTIVE:
                    ledger.record(transition)
                else:
                    ledger.leave(message, transition)
            ledger.write()
            tx.touched(done)
            alarm = ledger.next_due()
        self._noted(alarm)
        return Cancelled(done, None if limit is not None and done >= limit else last)

    def redrive(
        self,
        tenant: Tenant,
        selection: Filter,
        overrides: Overrides,
        now: Millis,
        limit: int = PAGE,
        before: tuple[Millis, bytes] = (LAST_TIME, LAST),
    ) -> Redriven:
        """Publish dead letters anew and take them out of the queue, in one transaction.

        A record whose stored request is damaged stays where it is.

        Raises:
            StorageFull: The disk was full, and takes nothing new.
        """
        with self._store.transaction() as tx:
            letters, cursor = self._letters(tx, tenant, selection, before, limit)
            ledger = self._ledger(tx, now)
            made = self._republish(tx, ledger, letters, overrides)
            tx.touched(len(made))
            self.tally.note(Moves(letters=-len(made)))
            ledger.write()
            alarm = ledger.next_due()
        self._noted(alarm)
        self.boards.letters(tenant, -len(made))
        return Redriven(tuple(made), cursor)

    def delete_dead(
        self,
        tenant: Tenant,
        selection: Filter,
        limit: int = PAGE,
        before: tuple[Millis, bytes] = (LAST_TIME, LAST),
    ) -> Deleted:
        """Delete dead letters that match; their history stays until its own retention."""
        with self._store.transaction() as tx:
            letters, cursor = self._letters(tx, tenant, selection, before, limit)
            deleted = tx.delete_dead_letters(letters)
            tx.touched(deleted)
        self._letters_gone(deleted)
        self.boards.letters(tenant, -deleted)
        return Deleted(deleted, cursor)

    def last_sweep(self) -> Millis | None:
        """Return when something was last deleted because of its age, or would have been."""
        with self._store.transaction() as tx:
            text = tx.setting(SWEPT)
        return None if text is None else int(text)

    def sweep(self, now: Millis, *, over_size: bool = False) -> bool:
        """Delete one piece of what has passed its retention; never a message that does not rest.

        Args:
            now: Retention is counted back from here.
            over_size: The store is larger than its limit: the oldest history goes, whatever its age.

        Returns:
            Whether there may be more.
        """
        limits = self._limits
        history = now if over_size else now - limits.history_retention_ms
        letters = now - limits.dead_letter_retention_ms
        with self._store.transaction() as tx:
            tx.save_setting(SWEPT, str(now))
            gone = [
                *tx.ended_before(State.DELIVERED, min(history, now - limits.message_retention_ms), PAGE),
                *tx.ended_before(State.CANCELED, min(history, now - limits.message_retention_ms), PAGE),
                # A dead letter needs its message; both go together.
                *tx.ended_before(State.FAILED, min(letters, now - limits.message_retention_ms), PAGE),
            ]
            tx.delete_messages(gone)
            expired, gone_of = 0, dict[Tenant, int]()
            for tenant in self._tenants:
                tx.delete_events(tenant, now - limits.history_retention_ms, PAGE * 4)
                if (over := tx.expire_dead_letters(tenant, letters, PAGE)) > 0:
                    expired += over
                    gone_of[tenant] = over
            tx.expire_dedup(now, PAGE)
            tx.expire_ticks(now - limits.history_retention_ms, PAGE)
            # An idle key can be read as long as its last message.
            swept = tx.collect_lanes(now - limits.message_retention_ms, self._swept, LANES)
            records = tx.expire_records(now - limits.audit_retention_ms, PAGE)
            tx.expire_jobs(now - limits.history_retention_ms, PAGE)
            tx.forget_nodes(now - limits.history_retention_ms)
            emptying = tx.deleted_queues(PAGE)
        self._letters_gone(expired)
        for tenant, number in gone_of.items():
            self.boards.letters(tenant, -number)
        self._swept = FIRST_LANE if swept is None else swept
        more = [self.empty_queue(queue_id, now) for queue_id in emptying]
        return max(len(gone), records) >= PAGE or swept is not None or any(more)

    def _letters_gone(self, count: int) -> None:
        """Count dead letters that are gone for good, the transaction being over."""
        self.tally.begin()
        self.tally.note(Moves(letters=-count))
        self.tally.settle()  # And nothing else: what was reckoned last may have been rolled back.

    def _letters(
        self, tx: Verbs, tenant: Tenant, selection: Filter, before: tuple[Millis, bytes], limit: int
    ) -> tuple[list[DeadLetter], tuple[Millis, bytes] | None]:
        """Choose up to ``limit`` dead letters; say where to go on if there may be more."""
        return choose_dead_letters(tx, tenant, selection, before, limit)


def open_page(tx: Verbs, tenant: Tenant, selection: Filter, before: bytes) -> list[Message]:
    """Read candidates: those named, or a page of all that do not rest, the newest first."""
    if not selection.message_ids:
        return tx.open_before(tenant, before, PAGE)
    named = tx.read_messages(list(dict.fromkeys(selection.message_ids)))
    return [message for message in named.values() if message.tenant == tenant]


def matching_messages(tx: Verbs, page: Sequence[Message], selection: Filter) -> list[Message]:
    """Return those of a page that a filter means."""
    if selection == Filter() or not page:
        return list(page)
    requests = tx.load_requests([message.id for message in page])
    return [message for message in page if matches(selection, message, requests[message.id].request)]


def choose_dead_letters(
    tx: Verbs, tenant: Tenant, selection: Filter, before: tuple[Millis, bytes], limit: int, pages: int | None = None
) -> tuple[list[DeadLetter], tuple[Millis, bytes] | None]:
    """Read dead letters that match, newest first.

    Where few match a call ends before it has found as many as it may, perhaps none.

    Args:
        tx: Where to read.
        tenant: Whose.
        selection: Which.
        before: Where the last page ended.
        limit: At most so many.
        pages: So many pages are looked at, at most; None: ``PAGES``.

    Returns:
        The letters, and where to go on: behind the last that was looked at. None if no more can match.
    """
    ids = _named(tx, selection)
    if ids is not None:
        named = [tx.dead_letter(tenant, time, message) for time, message in dict.fromkeys(ids)]
        found = [letter for letter in named if letter is not None and (letter.time, letter.message) < before]
        found.sort(key=lambda letter: (letter.time, letter.message), reverse=True)
        chosen = matching_letters(tx, found, selection)
        more = len(chosen) > limit
        chosen = chosen[:limit]
        return chosen, (chosen[-1].time, chosen[-1].message) if more else None
    if selection.to_time is not None:
        before = min(before, (selection.to_time, LAST))
    chosen = []
    for _ in range(PAGES if pages is None else pages):
        page = tx.dead_letters_before(tenant, before, selection.from_time or 0, PAGE)
        for letter in matching_letters(tx, page, selection):
            if len(chosen) == limit:
                return chosen, (chosen[-1].time, chosen[-1].message)
            chosen.append(letter)
        if len(page) < PAGE:
            return chosen, None
        before = (page[-1].time, page[-1].message)
    return chosen, before


def _named(tx: Verbs, selection: Filter) -> Sequence[tuple[Millis, MessageId]] | None:
    """Return the dead letters that a filter names, by themselves or by their messages; None: it names none."""
    if selection.dlq_ids or not selection.message_ids:
        return selection.dlq_ids or None
    messages = tx.read_messages(list(dict.fromkeys(selection.message_ids))).values()
    return [(m.ended, m.id) for m in messages if m.state is State.FAILED and m.ended is not None]
