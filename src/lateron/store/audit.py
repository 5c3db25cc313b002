"""The verbs of the audit log, a part of ``store.sql.Verbs``."""

from __future__ import annotations

from lateron.core.audit import Note, Search
from lateron.core.values import Millis, Tenant
from lateron.store.interface import Row
from lateron.store.rows import Statements, integer


class AuditVerbs(Statements):
    """Records of changes."""

    _touched: int | None = None  # In this transaction.

    def begin(self) -> None:
        """Forget what the last transaction has touched."""
        self._touched = None

    def touched(self, count: int) -> None:
        """Say how many things the transaction changes, for the record of the call that it belongs to."""
        self._touched = count + (self._touched or 0)

    def count(self, note: Note) -> None:
        """Remember what this transaction, which changes nothing, has touched; a later record tells it."""
        if self._touched is not None:
            note.count = self._touched

    def sign(self, note: Note) -> None:
        """Write the record of a change, or add to it what this transaction has touched."""
        # Counts of several transactions are added up, so one that stands already is not written again.
        touched = self._touched if self._touched is not None or note.kept else note.count
        row = (note.tenant, note.time, note.request, note.kind, note.who, note.address, note.action, note.object,
               note.filter, touched, note.status)  # fmt: skip
        self._run("sign", row)

    def records(self, tenant: Tenant, search: Search) -> list[Note]:
        """Read records of a tenant, newest first."""
        who, action = search.who, search.action
        values = (tenant, *search.before, search.since, who, who, action, action, search.count)
        return [_note(row) for row in self._run("records", values)]

    def expire_records(self, before: Millis, limit: int) -> int:
        """Delete records older than ``before``; return how many there were."""
        return len(self._run("expire_records", (before, limit)))


def _note(row: Row) -> Note:
    tenant, time, request, kind, who, address, action, what, chosen, count, status = row
    return Note(integer(tenant), integer(time), str(request), str(kind), str(who), str(address), str(action), str(what),
                str(chosen), None if count is None else integer(count), integer(status), kept=True)  # fmt: skip
