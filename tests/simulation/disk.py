"""A store that fails when it is told to: full, broken, or dead with its process, at a statement or a commit.

It stands around the real store in memory. A death is a ``BaseException``, because nothing of the process
may catch it. After any failure ``committed`` says what only the disk knows: whether the transaction holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lateron.core.audit import Note
from lateron.errors import StorageFull, StoreFailed
from lateron.store.interface import Row, Value
from lateron.store.sql import Verbs
from lateron.store.sqlite import SqliteConnection, SqliteStore


class Death(BaseException):
    """The process ends here."""


class Disk:
    """The store of a simulated node; see the module."""

    def __init__(self, store: SqliteStore) -> None:
        self.real = store
        self.committed = False  # Of the last transaction.
        self.transactions = 0  # Begun since the start of the world.
        self._verbs = Verbs(_Counting(SqliteConnection(store._connection), self))
        self._fault: str | None = None
        self._left = 0

    def plan(self, fault: str, statements: int) -> None:
        """Let the next transactions fail.

        Args:
            fault: "full", "broken" or "death", each also with " after" behind it: only once committed.
            statements: So many statements succeed before; a commit counts as one. Faults "after" are those of a commit.
        """
        self._fault, self._left = fault, statements

    def relax(self) -> None:
        """Fail no more."""
        self._fault = None

    def spend(self, *, committing: bool = False) -> None:
        """Count a statement, and fail if its turn has come."""
        fault = self._fault
        if fault is None:
            return
        self._left -= 1
        if self._left > 0 or fault.endswith(" after"):
            return
        self._fault = None
        _fail(fault, "commit" if committing else "statement")

    def noting(self, note: Note) -> AbstractContextManager[None]:
        """Nobody here is audited."""
        return self.real.noting(note)

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[Verbs]:
        """Begin a transaction as the real store does."""
        self.committed = False
        self.transactions += 1
        with self.real.transaction(commit=False):
            yield self._verbs
        if commit:
            self.commit()

    def commit(self) -> None:
        """Commit, unless the disk fails."""
        try:
            self.spend(committing=True)
        except BaseException:
            self.real._roll_back()
            raise
        self.real.commit()
        self.committed = True
        fault = self._fault
        if fault is not None and fault.endswith(" after") and self._left <= 0:
            self._fault = None
            _fail(fault.removesuffix(" after"), "commit that holds")

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[tuple[Any, ...]]:
        """Read, as a witness who stands outside."""
        return list(self.real._connection.execute(sql, values))


def _fail(fault: str, where: str) -> None:
    errors: dict[str, Callable[[str], BaseException]] = {"full": StorageFull, "broken": StoreFailed, "death": Death}
    raise errors[fault](f"planned at a {where}")


class _Counting:
    """A connection that asks the disk before each statement."""

    def __init__(self, inner: SqliteConnection, disk: Disk) -> None:
        self.locks = inner.locks
        self._inner = inner
        self._disk = disk

    def sparing(self) -> AbstractContextManager[None]:
        return self._inner.sparing()

    def run(self, name: str, values: Sequence[Value] = ()) -> list[Row]:
        self._disk.spend()
        return self._inner.run(name, values)

    def run_rows(self, name: str, rows: Sequence[Row]) -> list[Row]:
        self._disk.spend()
        return self._inner.run_rows(name, rows)

    def run_ids(self, name: str, ids: Sequence[Value]) -> list[Row]:
        self._disk.spend()
        return self._inner.run_ids(name, ids)
