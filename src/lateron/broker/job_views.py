"""Bulk jobs as readers see them, and how many a job would change."""

from __future__ import annotations

from lateron.broker.choosing import choose_letters, choose_messages, descend_from
from lateron.broker.rehearsal import EXAMPLES, Rehearsed
from lateron.broker.views import DeadView, MessageView
from lateron.core.bulk import OF_LETTERS, PAGE, Job, JobKind, Order, Place, beginning, job_text
from lateron.core.values import MessageId, Millis, Tenant
from lateron.errors import NotFound
from lateron.store.sql import LAST, Store, Verbs

NEWEST = beginning(LAST)


class JobHistory:
    """The part of the history that shows bulk jobs."""

    _store: Store

    def jobs(self, tenant: Tenant, before: bytes, count: int) -> list[Job]:
        """Return jobs of a tenant, newest first, from ``before`` (not included) on."""
        with self._store.transaction() as tx:
            return tx.jobs_before(tenant, before, count)

    def job(self, tenant: Tenant, job_id: bytes) -> Job:
        """Return one job.

        Raises:
            NotFound: There is none of that id.
        """
        with self._store.transaction() as tx:
            job = tx.job(tenant, job_id)
        if job is None:
            raise NotFound("job", job_text(job_id))
        return job

    def would_do(
        self, tenant: Tenant, order: Order, place: Place, now: Millis
    ) -> tuple[Rehearsed[MessageView | DeadView], Place | None]:
        """Count a piece of what an order would change, newest first, and say where to go on."""
        with self._store.transaction() as tx:
            if order.kind in OF_LETTERS:
                return _would_touch(tx, tenant, order, place)
            chosen = choose_messages(tx, tenant, order, place, now)
            found = chosen.messages
            if order.kind is JobKind.ERASE:
                page = [m for m in tx.messages_before(place.id, PAGE) if m.tenant == tenant]
                found = tuple(descend_from(tx, page, order.filter, LAST))
            requests = tx.load_requests([message.id for message in found[:EXAMPLES]])
            shown = tuple(MessageView(message, requests[message.id].request) for message in found[:EXAMPLES])
        return Rehearsed(len(found), shown), chosen.after


def _would_touch(
    tx: Verbs, tenant: Tenant, order: Order, place: Place
) -> tuple[Rehearsed[MessageView | DeadView], Place | None]:
    chosen = choose_letters(tx, tenant, order, place, LAST)
    shown = list[MessageView | DeadView]()
    for letter in chosen.letters[:EXAMPLES]:
        message = MessageId(letter.message)
        attempt = tx.attempt_of(message, letter.attempt)
        assert attempt is not None, "a dead letter has its attempt"
        request = tx.load_requests([message])[message].request
        shown.append(DeadView(letter, tx.read_messages([message])[message], request, attempt))
    return Rehearsed(len(chosen.letters), tuple(shown)), chosen.after
