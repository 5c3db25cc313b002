"""The verbs of one transaction that are about schedules and their ticks."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import msgpack

from lateron.core.recurring import Last, Rules, Schedule
from lateron.core.values import Millis, Tenant
from lateron.store.interface import Row
from lateron.store.rows import Statements, StoredRequest, integer, octets, pack

_rules = msgpack.Decoder(Rules).decode
_last = msgpack.Decoder(Last).decode


class ScheduleVerbs(Statements):
    """The part of ``Verbs`` that is about schedules."""

    def save_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Store schedules, new ones too, without their requests."""
        self._run_rows("save_schedules", [_schedule_row(s) for s in schedules])

    def save_schedule_request(self, schedule: Schedule) -> None:
        """Store the request of a schedule, with its digest."""
        r = schedule.request
        headers, options, digest, body = self.request_columns("schedule", schedule.tenant, schedule.key, r)
        self._run("save_schedule_request", (schedule.key, r.url, r.method, headers, options, digest, 0, body))

    def schedule(self, tenant: Tenant, schedule_id: str) -> Schedule | None:
        """Read one schedule with its request."""
        found = self._with_requests(self._run("schedule", (tenant, schedule_id)))
        return found[0] if found else None

    def schedules(self, tenant: Tenant, after: str, limit: int) -> list[Schedule]:
        """Read schedules of a tenant with their requests, by id."""
        return self._with_requests(self._run("schedules", (tenant, after, limit)))

    def due_schedules(self, now: Millis, limit: int) -> list[Schedule]:
        """Read schedules that are due with their requests, those due longest first."""
        return self._with_requests(self._run("due_schedules", (now, limit)))

    def next_schedule(self) -> Millis | None:
        """Return when the first schedule is due."""
        rows = self._run("next_schedule")
        return integer(rows[0][0]) if rows else None

    def count_schedules(self, tenant: Tenant) -> int:
        """Return how many schedules a tenant has."""
        return integer(self._run("count_schedules", (tenant,))[0][0])

    def delete_schedule(self, schedule: Schedule) -> None:
        """Delete a schedule; its messages stay."""
        self._run("delete_schedule", (schedule.key,))
        self._run("delete_schedule_request", (schedule.key,))

    def insert_ticks(self, ticks: Sequence[tuple[bytes, Millis]]) -> set[tuple[bytes, Millis]]:
        """Take ticks, given (key of the schedule, instant); return those that nobody had taken."""
        new = self._run_rows("insert_ticks", [(*tick, 0) for tick in ticks])
        return {(octets(row[0]), integer(row[1])) for row in new}

    def count_ticks(self, schedule: bytes, first: Millis, last: Millis, limit: int) -> int:
        """Count ticks of a schedule that are taken, from one instant to another, at most ``limit``."""
        return integer(self._run("count_ticks", (schedule, first, last, limit))[0][0])

    def look_again(self, now: Millis, limit: int) -> int:
        """Make schedules due now that were to be due later; return how many, at most ``limit``."""
        return len(self._run("look_again", (now, now, limit)))

    def expire_ticks(self, before: Millis, limit: int) -> None:
        """Delete ticks older than ``before``."""
        self._run("expire_ticks", (before, limit))

    def _with_requests(self, rows: Sequence[Row]) -> list[Schedule]:
        keys = [row[0] for row in rows]
        tenants = {row[0]: row[1] for row in rows}
        requests = {
            row[0]: self.request_of("schedule", (*row, tenants[row[0]]))
            for row in self._run_ids("schedule_requests", keys)
        }
        return [_schedule(row, requests[row[0]]) for row in rows]


def _schedule_row(s: Schedule) -> Row:
    return (s.key, s.tenant, s.id, s.cron, s.created, int(s.paused), s.due, pack(s.rules), s.runs, s.missed,
            s.skipped, None if s.last is None else pack(s.last), 0)  # fmt: skip


def _schedule(row: Row, stored: StoredRequest) -> Schedule:
    key, tenant, name, cron, created, paused, due, rules, runs, missed, skipped, last = row
    return Schedule(
        key=octets(key),
        tenant=integer(tenant),
        id=str(name),
        cron=str(cron),
        created=integer(created),
        paused=bool(paused),
        due=None if due is None else integer(due),
        rules=_rules(octets(rules)),
        request=stored.request,
        runs=integer(runs),
        missed=integer(missed),
        skipped=integer(skipped),
        last=None if last is None else _last(octets(last)),
        intact=stored.intact,
    )
