"""The verbs of bulk jobs, and of what an erase deletes; a part of ``store.sql.Verbs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import DecodeError, Struct, msgpack
from msgspec.structs import replace

from lateron.core.bulk import Job, JobState, Order, Place
from lateron.core.values import MessageId, Millis, Options, Request, Tenant
from lateron.store.interface import Row
from lateron.store.rows import StoredRequest, integer, octets, pack
from lateron.store.sealed import SealVerbs

_order: Final = msgpack.Decoder(Order).decode
_options: Final = msgpack.Decoder(Options).decode


class Outline(Struct, frozen=True):
    """A request without its body, not compared with its digest."""

    request: Request
    size: int  # Of the body.


class JobVerbs(SealVerbs):
    """Rows of bulk jobs."""

    def _job(self, row: Row) -> Job:
        job_id, tenant, state, asked, author, created, bound, time, place, due, total, done, failed, left, ended = row
        return Job(
            id=octets(job_id),
            tenant=integer(tenant),
            order=_order(self.opened_order(octets(job_id), octets(asked))),
            by=str(author),
            created=integer(created),
            bound=octets(bound),
            place=None if place is None else Place(octets(place), integer(time)),
            due=integer(due),
            total=None if total is None else integer(total),
            state=JobState(integer(state)),
            done=integer(done),
            failed=integer(failed),
            left=integer(left),
            ended=None if ended is None else integer(ended),
        )

    def save_job(self, job: Job) -> None:
        """Store a job, a new one too."""
        time, place = (None, None) if job.place is None else (job.place.time, job.place.id)
        asked = self.order_column(job.id, pack(job.order))
        row = (job.id, job.tenant, job.state, asked, job.by, job.created, job.bound, time, place, job.due)
        self._run("save_job", (*row, job.total, job.done, job.failed, job.left, job.ended, 0))

    def job(self, tenant: Tenant, job_id: bytes) -> Job | None:
        """Read one job of a tenant, without a lock."""
        rows = self._run("job", (job_id, tenant))
        return self._job(rows[0]) if rows else None

    def load_job(self, tenant: Tenant, job_id: bytes) -> Job | None:
        """Read and lock one job of a tenant."""
        rows = self._run("load_job", (job_id, tenant))
        return self._job(rows[0]) if rows else None

    def jobs_before(self, tenant: Tenant, before: bytes, limit: int) -> list[Job]:
        """Read jobs of a tenant, newest first."""
        return [self._job(row) for row in self._run("jobs_before", (tenant, before, limit))]

    def open_jobs(self) -> list[tuple[Millis, int, bytes, Tenant]]:
        """Read (due, done, job, tenant) of those that are under way, in the order of their turns."""
        rows = self._run("open_jobs")
        return sorted((integer(due), integer(done), octets(job), integer(tenant)) for job, tenant, due, done in rows)

    def count_open_jobs(self, tenant: Tenant) -> int:
        """Count the jobs of a tenant that are under way."""
        return integer(self._run("count_open_jobs", (tenant,))[0][0])

    def expire_jobs(self, before: Millis, limit: int) -> None:
        """Delete jobs that ended before ``before``."""
        self._run("expire_jobs", (before, limit))

    def children(self, ids: Sequence[MessageId]) -> list[MessageId]:
        """Name the messages that were made from some."""
        return [MessageId(octets(row[0])) for row in self._run_ids("children", ids)]

    def outlines(self, ids: Sequence[MessageId]) -> dict[MessageId, Outline | None]:
        """Read requests without their bodies; None stands for one whose options cannot be read."""
        return {MessageId(octets(row[0])): _outline(row) for row in self._run_ids("outlines", ids)}

    def delete_events_at(self, tenant: Tenant, time: Millis, message: MessageId) -> None:
        """Delete the events of a message at one instant."""
        self._run("delete_events_at", (tenant, time, message))


def outline_of(stored: StoredRequest) -> Outline:
    """Leave the body out of a request."""
    request = stored.request
    return Outline(replace(request, body=None), len(request.body or b""))


def _outline(row: Row) -> Outline | None:
    _, url, options, size = row
    try:
        return Outline(Request(str(url), "", (), None, _options(octets(options))), integer(size))
    except DecodeError:
        return None
