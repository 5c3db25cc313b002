"""Bulk jobs, and one message at a time of what they do: see ``core.bulk`` for their rules.

``advance_job`` is the deed: one piece of the job that has waited longest, with the job's place and counts, in one
transaction. Whoever runs it repeats it; between two pieces everybody else has his turn.

An erase deletes whole families: a message with all that was made from it, callbacks and retries of its dead letter, for
these hold its body too. While an attempt of one of them is open the family stays, for its end may make one more;
the job comes back until a pass has met none. Then the log of the store is emptied into its file, which overwrites what
is deleted, and only after that the job is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from lateron.broker.choosing import BODY_BYTES, choose_letters, choose_messages, descendants
from lateron.broker.groups import GroupBroker
from lateron.broker.lanes import LaneBroker
from lateron.broker.ledger import Ledger
from lateron.broker.queues import QueueBroker
from lateron.core import bulk
from lateron.core import message as life
from lateron.core.bulk import OF_LETTERS, Job, JobKind, JobState, Order, Piece, Place
from lateron.core.ids import message_text
from lateron.core.tally import Moves
from lateron.core.values import AT_REST, DeadLetter, Message, MessageId, Millis, Overrides, State, Tenant
from lateron.errors import Conflict, LateronError, NotFound, QuotaExceeded, RequestError
from lateron.store.jobs import Outline
from lateron.store.sql import LAST, Verbs

FAMILY: Final = 2_000  # Messages that one piece of an erase deletes, a single family apart.
PAUSES: Final = {State.QUEUED: "its place in a queue", State.HELD: "its queue, which is paused"}

log = logging.getLogger("lateron.broker.jobs")


class JobBroker(GroupBroker, QueueBroker, LaneBroker):
    """Makes bulk jobs and advances them; see the module."""

    job_alarm: Millis | None = 0  # When the first job may go on; may be early, never late. 0: not known yet, look.

    def create_job(self, tenant: Tenant, order: Order, by: str, total: int | None, now: Millis) -> Job:
        """Store a job; it begins by itself.

        Args:
            tenant: Whose.
            order: What to do.
            by: Who asks.
            total: How many that are, if they were counted.
            now: Time of the call; what is published later is not meant.

        Raises:
            QuotaExceeded: As many as there may be are under way.
        """
        with self._store.transaction() as tx:
            newest = next((message.id for message in tx.messages_before(LAST, 1)), None)
            job = bulk.made(self._new_id(now), tenant, order, by, total, now, newest)
            count = tx.count_open_jobs(tenant)
            if count >= bulk.OPEN_MOST:
                raise QuotaExceeded("jobs", count + 1, bulk.OPEN_MOST)
            tx.save_job(job)
        self.job_alarm = 0
        self.boards.changed(tenant, "jobs")
        return job

    def cancel_job(self, tenant: Tenant, job_id: bytes, now: Millis) -> Job:
        """Let a job go no further; what it has done stays done. One that rests is returned as it is.

        Raises:
            NotFound: There is no such job.
        """
        with self._store.transaction() as tx:
            job = tx.load_job(tenant, job_id)
            if job is None:
                raise NotFound("job", bulk.job_text(job_id))
            stopped = bulk.rested(job, JobState.CANCELED, now)
            if stopped is not job:
                tx.save_job(stopped)
        self.boards.changed(tenant, "jobs")
        return stopped

    def advance_job(self, now: Millis) -> Job | None:
        """Do one piece of the job that has waited longest; one transaction.

        A job that cannot go on, because of a quota or a bug, ends as FAILED and holds up no other.

        Returns:
            An erase that has deleted all it means and waits for ``end_erase``; else None.
        """
        try:
            with self._store.transaction() as tx:
                job = self._next_job(tx, now)
                if job is None:
                    return None
                if job.place is None:
                    return job
                after, settle = self._advance(tx, job, job.place, now)
                tx.save_job(after)
        except RequestError as error:  # What it asks for cannot be done, now or later: a queue too many, for one.
            log.warning("a bulk job failed: %s", error)
            self._fail_job(now)
            return None
        except LateronError:
            raise
        except Exception:
            log.exception("a bulk job failed")
            self._fail_job(now)
            return None
        settle()
        self.job_alarm = 0
        self.boards.changed(job.tenant, "jobs")
        return None

    def end_erase(self, tenant: Tenant, job_id: bytes, now: Millis, *, emptied: bool) -> None:
        """Note that the log of the store holds nothing any more of what was erased; or look again later."""
        with self._store.transaction() as tx:
            job = tx.load_job(tenant, job_id)
            if job is not None and job.state is JobState.RUNNING:
                later = replace(job, due=now + bulk.AGAIN)
                tx.save_job(bulk.rested(job, JobState.DONE, now) if emptied else later)
        self.job_alarm = 0
        self.boards.changed(tenant, "jobs")

    def retry_now(self, tenant: Tenant, message_id: MessageId, now: Millis) -> None:
        """Let a message that waits for its time be due at once; again changes nothing.

        Raises:
            NotFound: There is no such message.
            Conflict: It does not wait for its time.
        """
        with self._store.transaction() as tx:
            seen = tx.read_message(tenant, message_id)
            if seen is None:
                raise NotFound("message", message_text(message_id))
            ledger = self._ledger(tx, now)
            ledger.hold_known([seen.lane])
            message = tx.load_messages([message_id])[message_id]
            if message.state is not State.WAITING:
                raise Conflict(f"message {message_text(message_id)} waits for no time: {_reason(message)}")
            hurried = life.hurry(message, now)
            if hurried is not None:
                ledger.move(message, hurried)
            ledger.write()
            alarm = ledger.next_due()
        self._noted(alarm)
        self.boards.changed(tenant, "messages")

    def _next_job(self, tx: Verbs, now: Millis) -> Job | None:
        """Read the job that may go on and has waited longest; note when the next one may."""
        open_jobs = tx.open_jobs()
        loaded = (tx.load_job(tenant, job_id) for _, _, job_id, tenant in open_jobs)
        found = next((job for job in loaded if job is not None and bulk.is_due(job, now)), None)
        self.job_alarm = open_jobs[0][0] if open_jobs else None
        return found

    def _fail_job(self, now: Millis) -> None:
        with self._store.transaction() as tx:
            job = self._next_job(tx, now)
            if job is not None:
                tx.save_job(bulk.rested(job, JobState.FAILED, now))
        self.job_alarm = 0
        if job is not None:
            self.boards.changed(job.tenant, "jobs")

    def _advance(self, tx: Verbs, job: Job, place: Place, now: Millis) -> tuple[Job, Callable[[], None]]:
        """Do a piece; return the job it leaves, and what must follow when all of it is stored."""
        ledger = self._ledger(tx, now)
        if job.order.kind in OF_LETTERS:
            piece, letters = self._change_letters(tx, ledger, job, place)
        else:
            change = self._erase if job.order.kind is JobKind.ERASE else self._change_messages
            piece, letters = change(tx, ledger, job, place)
        if job.order.kind is not JobKind.ERASE:
            ledger.write()
        self.tally.note(Moves(letters=-letters))
        alarm = ledger.next_due()

        def settle() -> None:
            self._noted(alarm)
            self.boards.changed(job.tenant, "messages")
            if letters:
                self.boards.letters(job.tenant, -letters)

        return bulk.advanced(job, piece, now), settle

    def _change_messages(self, tx: Verbs, ledger: Ledger, job: Job, place: Place) -> tuple[Piece, int]:
        """Cancel messages, or let them be due at another time."""
        now, most = ledger.now, bulk.most(job)
        chosen = choose_messages(tx, job.tenant, job.order, place, now)
        seen = chosen.messages[:most]
        if job.order.kind is JobKind.CANCEL:
            ledger.hold_queues(message.queue for message in seen)
        ledger.hold_known(message.lane for message in seen)
        ledger.foresee(len(seen))
        stored = tx.load_messages([message.id for message in seen])
        done = sum(_change(ledger, job.order, stored[message.id]) for message in seen)
        return Piece(done, _after(chosen.after, len(chosen.messages) > most, seen), chosen.unread), 0

    def _change_letters(self, tx: Verbs, ledger: Ledger, job: Job, place: Place) -> tuple[Piece, int]:
        """Delete dead letters, or publish them anew."""
        most, name = bulk.most(job), bulk.job_text(job.id)
        chosen = choose_letters(tx, job.tenant, job.order, place, job.bound)
        meant = list(chosen.letters)
        if job.order.kind is JobKind.REPLAY:
            outlines = tx.outlines([letter.message for letter in meant])
            # What it has made itself is newer than its bound, unless the clock was set back before the last start.
            meant = [letter for letter in meant if not _is_made_by(outlines.get(letter.message), name)]
            most = min(most, _bounded([outlines.get(letter.message) for letter in meant]))
        letters = meant[:most]
        cut = len(letters) < len(meant)
        after = Place(letters[-1].message, letters[-1].time) if cut else chosen.after
        if job.order.kind is JobKind.DELETE:
            deleted = tx.delete_dead_letters(letters)
            return Piece(deleted, after), deleted
        overrides = replace(job.order.overrides, job=name)
        made = self._republish(tx, ledger, letters, overrides)
        return Piece(len(made), after, failed=len(letters) - len(made)), len(made)

    def _republish(
        self, tx: Verbs, ledger: Ledger, letters: Sequence[DeadLetter], overrides: Overrides
    ) -> list[MessageId]:
        """Publish dead letters anew and take them out of the queue; one whose request is damaged stays.

        Raises:
            StorageFull: The disk was full, and takes nothing new.
        """
        stored = tx.read_messages([letter.message for letter in letters])
        requests = tx.load_requests([letter.message for letter in letters])
        # Whoever deletes the record makes the message: two retries of one record make one.
        ours = [d for d in letters if requests[d.message].intact and tx.delete_dead_letters([d])]
        again = [life.redrive(stored[d.message], requests[d.message].request, overrides) for d in ours]
        return self._desk(tx, ledger).create(again)

    def _erase(self, tx: Verbs, ledger: Ledger, job: Job, place: Place) -> tuple[Piece, int]:
        """Cancel what does not rest of some families, and delete those that rest whole."""
        chosen = choose_messages(tx, job.tenant, job.order, place, ledger.now)
        roots, families, size = list[Message](), list[list[MessageId]](), 0
        for root in chosen.messages:
            if size >= min(FAMILY, bulk.most(job)):
                break
            families.append(descendants(tx, [root.id]))
            roots.append(root)
            size += len(families[-1])
        everybody = tx.read_messages(sorted({one for family in families for one in family}))
        alive = [message for message in everybody.values() if message.state < AT_REST]
        ledger.hold_queues(message.queue for message in alive)
        ledger.hold_known(message.lane for message in alive)
        ledger.foresee(len(alive))
        stored = tx.load_messages([message.id for message in alive])
        for message in stored.values():
            _change(ledger, Order(JobKind.CANCEL), message)
        ledger.write()  # Before anything is deleted: it may still be in a queue.
        running = {message.id for message in stored.values() if message.state is State.ACTIVE}
        resting = {one for family in families if running.isdisjoint(family) for one in family}
        letters = _delete(tx, list(tx.read_messages(sorted(resting)).values()))
        after = _after(chosen.after, len(roots) < len(chosen.messages), roots)
        left = sum(not running.isdisjoint(family) for family in families)
        return Piece(len(resting), after, chosen.unread, left), letters


def _after(page: Place | None, cut: bool, seen: Sequence[Message]) -> Place | None:
    """Return where to go on: behind the page, or behind the last one that was changed."""
    return Place(seen[-1].id) if cut else page


def _change(ledger: Ledger, order: Order, message: Message) -> bool:
    """Change one message in hand; False if there is nothing to change."""
    if order.kind is JobKind.CANCEL:
        transition = life.cancel(message, ledger.now)
        if transition is None:
            return False
        if transition.message.state is State.ACTIVE:
            ledger.record(transition)
        else:
            ledger.leave(message, transition)
        return True
    due = ledger.now if order.due is None else order.due
    changed = life.hurry(message, due) if order.kind is JobKind.RETRY_NOW else life.redate(message, due)
    if changed is None:
        return False
    ledger.move(message, changed)
    return True


def _is_made_by(outline: Outline | None, job: str) -> bool:
    return outline is not None and outline.request.options.job == job


def _bounded(outlines: Sequence[Outline | None]) -> int:
    """Return of how many requests the bodies are not too much for one piece; at least one."""
    size = 0
    for count, outline in enumerate(outlines):
        size += 0 if outline is None else outline.size
        if count and size > BODY_BYTES:
            return count
    return max(1, len(outlines))


def _delete(tx: Verbs, messages: Sequence[Message]) -> int:
    """Delete all that is kept of messages at rest; return how many of them were dead letters."""
    letters = 0
    for message in messages:
        times = {message.created, message.started, message.ended, message.cancel}
        for attempt in tx.attempts_of(message.id):
            times |= {attempt.started, attempt.ended}
        for time in times:
            if time is not None:
                tx.delete_events_at(message.tenant, time, message.id)
        if message.state is State.FAILED and message.ended is not None:
            letter = DeadLetter(message.tenant, message.ended, message.id, message.attempt)
            letters += tx.delete_dead_letters([letter])
    tx.delete_messages([message.id for message in messages])
    return letters


def _reason(message: Message) -> str:
    if message.state >= AT_REST:
        return f"it is {message.state.name} for good"
    return "its attempt is under way" if message.state is State.ACTIVE else f"it waits for {PAUSES[message.state]}"
