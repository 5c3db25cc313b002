"""The record of a change, written in the transaction that makes it.

A call that changes something hands its ``Note`` in with its work. While that runs, each transaction that changes
something writes the note: the change and its record are durable together or not at all. What changes nothing in the
store (clearing the catcher, a switch that stood so already, logging in) is noted in a transaction of its own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from lateron.core.audit import Note, Search
from lateron.core.values import Tenant
from lateron.store.sql import Store


class AuditBroker:
    """Writes records."""

    _store: Store

    def noting(self, note: Note) -> AbstractContextManager[None]:
        """Let the transactions inside the block write this record."""
        return self._store.noting(note)

    def keep(self, note: Note) -> None:
        """Write a record that belongs to no other transaction."""
        with self._store.transaction() as tx:
            tx.sign(note)
        note.kept = True


class AuditHistory:
    """Reads records."""

    _store: Store

    def records(self, tenant: Tenant, search: Search) -> list[Note]:
        """Return records of a tenant, newest first."""
        with self._store.transaction() as tx:
            return tx.records(tenant, search)
