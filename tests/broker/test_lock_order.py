"""Rows are locked in one order by everybody: a job, queues, lanes, messages; that excludes deadlocks of many nodes.

SQLite has one writer and locks nothing, so here the statements are watched that would lock on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypothesis import settings
from hypothesis.stateful import initialize
from tests.broker.conftest import NOW, Desk
from tests.broker.test_queue_machine import Queues

from lateron.broker.views import Limits
from lateron.store.interface import Row, Value, load_statements
from lateron.store.sql import Verbs
from lateron.store.sqlite import SqliteConnection, SqliteStore, open_memory

ORDER = {"load_job": 0, "load_queues": 1, "load_lanes": 2, "load_messages": 3, "load_fences": 3}


class Watched(SqliteConnection):
    """A connection that behaves as one of many writers, and checks what it would lock."""

    locks = True
    locked = 0  # The class that this transaction has come to.

    def _watch(self, name: str) -> None:
        rank = ORDER.get(name, self.locked)
        assert rank >= self.locked, f"{name} after a lock of class {self.locked}"
        self.locked = rank

    def run(self, name: str, values: Sequence[Value] = ()) -> list[Row]:
        self._watch(name)
        return super().run(name, values)

    def run_rows(self, name: str, rows: Sequence[Row]) -> list[Row]:
        self._watch(name)
        return super().run_rows(name, rows)

    def run_ids(self, name: str, ids: Sequence[Value]) -> list[Row]:
        if ids:
            self._watch(name)
        return super().run_ids(name, ids)


class WatchedStore(SqliteStore):
    """A store whose transactions are watched."""

    def __init__(self) -> None:
        super().__init__(open_memory(NOW)._connection)
        self.watched = Watched(self._connection)
        self._verbs = Verbs(self.watched)

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[Verbs]:
        self.watched.locked = 0
        with super().transaction(commit=commit) as tx:
            yield tx


class Ordered(Queues):
    """Queues, callbacks, cancels, pauses, deletions and crashes, with every lock in its order."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.desk = Desk(WatchedStore(), Limits())


TestLockOrder = Ordered.TestCase
TestLockOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_is_read_to_be_changed_is_locked() -> None:
    """The statements of the order lock on PostgreSQL, and nothing that only reads does."""
    statements = load_statements("hot_postgres.sql", "queries.sql", locks=True)
    locking = {name for name, statement in statements.items() if "FOR UPDATE" in statement.text}

    assert locking == {*ORDER, "due_lanes", "sleeping_lanes"}
    assert not any("{" in statement.text for statement in statements.values())
