"""SQLite as the store: one file, one connection that writes, WAL, ``synchronous=FULL``.

Laws of this room:

* Exactly one connection writes and checkpoints. Others only read, but for a command of the operator that changes
  a token or a user, and never checkpoints (``open_beside``). (SQLite before 3.51.3 has a race between
  two that write and checkpoint, so older libraries are refused too.)
* A second process is refused by a lock of the operating system, which ends with the process however it dies.
* An I/O error or a corrupt page is never retried: the kernel may have dropped what the next fsync would
  claim to have written. The exception is ``StoreFailed``, and the process must end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Final

import apsw

from lateron.core.audit import Note
from lateron.core.values import Millis
from lateron.errors import StorageFull, StoreBusy, StoreFailed, StoreLocked
from lateron.store.interface import ALIKE, Row, Statement, Value, groups_of, load_statements, pieces
from lateron.store.sealing import Seals
from lateron.store.sql import Verbs
from lateron.store.usage import Usage, sizes, usage

SCHEMA: Final = 12  # What this program writes: the number of the last step in schema/.
OLDEST_READER: Final = 7  # The oldest program that still reads what this one writes; for those before no token ends.
APPLICATION_ID: Final = 0x4C61746F  # "Lato" in the header of the file: what `file` and backups see.
OLDEST_SQLITE: Final = (3, 51, 3)
NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs"})

FILE: Final = "lateron.db"
BUSY_MS: Final = 5000  # How long to wait for another program that holds the file; never on the loop, see below.
# One thread at a time uses a connection, which is ours to see to; SQLite need not lock it for each call.
WRITING: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
READING: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX
CACHE_KB: Final = 32_000  # Pages of the store that are kept in memory.
SPARING_KB: Final = 2_000  # As above, while much is read that is not needed again.
PREPARED: Final = 320  # Statements kept ready: all of the hot ones in all their sizes.


@cache
def statements() -> dict[str, Statement]:
    """Return all statements for this database, by name."""
    return load_statements("hot_sqlite.sql", "queries.sql")


class SqliteConnection:
    """One connection; see ``store.interface.Connection``."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._execute = connection.execute
        self._pragma = connection.pragma
        self._statements = found = statements()
        self._alike = {name: found[name + ALIKE] for name in found if name + ALIKE in found}

    @property
    def locks(self) -> bool:
        """There is one writer."""
        return False

    def run(self, name: str, values: Sequence[Value] = ()) -> list[Row]:
        """Execute a statement without a list."""
        return list(self._execute(self._statements[name].text, tuple(values)))

    def run_rows(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Execute a statement for all rows of its list."""
        alike = self._alike.get(name)
        if alike is not None:
            groups = groups_of(rows, alike.width)
            if groups is not None:
                self._run_alike(alike, groups)
                return []  # No statement that has such a form returns anything.
        found: list[Row] = []
        expanded = self._statements[name].expanded
        for start, size in pieces(len(rows)):
            values = tuple(chain.from_iterable(rows[start : start + size]))
            found += self._execute(expanded[size], values)
        return found

    def _run_alike(self, statement: Statement, groups: Mapping[Row, list[Value]]) -> None:
        """Execute the statement of rows that are alike, once for each group; it returns nothing."""
        width, expanded = statement.width, statement.expanded
        for shared, own in groups.items():
            for start, size in pieces(len(own) // width):
                self._execute(expanded[size], (*shared, *own[start * width : (start + size) * width]))

    def run_ids(self, name: str, ids: Sequence[Value]) -> list[Row]:
        """Execute a statement for all values of its list."""
        found: list[Row] = []
        expanded = self._statements[name].expanded
        for start, size in pieces(len(ids)):
            found += self._execute(expanded[size], tuple(ids[start : start + size]))
        return found

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """Keep few pages inside the block."""
        self._pragma("cache_size", -SPARING_KB)
        try:
            yield
        finally:
            self._pragma("cache_size", -CACHE_KB)


class SqliteStore:
    """Opens transactions on one SQLite file, or in memory."""

    def __init__(
        self, connection: apsw.Connection, *, read_only: bool = False, files: Mapping[str, os.stat_result] | None = None
    ) -> None:
        self._connection = connection
        self._files = files or {}
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        self._verbs = Verbs(SqliteConnection(connection))
        self._note: Note | None = None  # What the next transactions are noted as.

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[Verbs]:
        """Run the block in one transaction, taking the write lock at once.

        Args:
            commit: False leaves it open behind the block; the caller then calls ``commit``, perhaps on
                another thread, and nothing else may use the connection in between. Such a transaction is begun
                on the loop, so it waits for no other program.

        Raises:
            StoreBusy: Another program holds the file; nothing was stored.
            StorageFull: No room; nothing was stored, and a later try may succeed.
            StoreFailed: An I/O error or a corrupt page. Whether the transaction is stored is unknown.
        """
        with _told_apart():
            self._connection.set_busy_timeout(BUSY_MS if commit else 0)
            self._connection.execute(self._begin)
            note, changes = self._note, self._connection.total_changes()
            try:
                self._verbs.begin()
                yield self._verbs
                if commit:
                    # What changes nothing may still become a refusal, which leaves no record.
                    if note is not None and self._connection.total_changes() == changes:
                        self._verbs.count(note)
                        note = None
                    if note is not None:
                        self._verbs.sign(note)
                    self._check_files()
                    self._connection.execute("COMMIT")
                    if note is not None:
                        note.kept = True
                else:
                    self._check_files()  # Here: on the thread each would wait for the busy interpreter.
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def noting(self, note: Note) -> Iterator[None]:
        """Let each transaction inside the block that changes something write this record, too."""
        assert self._note is None, "one call at a time"
        self._note = note
        try:
            yield
        finally:
            self._note = None

    def commit(self) -> None:
        """Commit the transaction that was left open; raises as ``transaction`` does."""
        with _told_apart():
            try:
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _check_files(self) -> None:
        """Refuse to commit into a file that nobody will find again: it was deleted, moved or replaced."""
        for path, opened in self._files.items():
            try:
                same = os.path.samestat(os.stat(path), opened)  # noqa: PTH116 # Twice as fast, at each commit.
            except OSError:
                same = False
            if not same:
                raise StoreFailed(f"{Path(path).name} was deleted, moved or replaced while the store was open")

    def _roll_back(self) -> None:
        # An error of the disk may have rolled back already.
        with suppress(apsw.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def seal_with(self, seals: Seals) -> None:
        """Seal what is written from now on, and open what is read."""
        self._verbs.seals = seals

    def used_bytes(self) -> int:
        """Return how much of the file is in use, free pages not counted."""
        with _told_apart():
            pages, free, size = sizes(self._connection)
        return (pages - free) * size

    def usage(self) -> Usage:
        """Return what the store takes, and what of."""
        with _told_apart():
            return usage(self._connection)

    def shrink(self, pages: int) -> None:
        """Give up to ``pages`` free pages back to the file system.

        Raises:
            StorageFull: It needs room in the log first, and there is none; nothing has changed.
            StoreBusy: Another program holds the file; nothing has changed.
        """
        with _told_apart():
            self._connection.pragma("incremental_vacuum", pages)

    def empty_log(self) -> bool:
        """Bring all of the log into the file, and cut the log to nothing; False while a reader needs it."""
        with _told_apart():
            self._connection.set_busy_timeout(0)
            ((busy, _, _),) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    def close(self) -> None:
        """Close the connection; the writing one checkpoints."""
        self._connection.close()


def open_file(directory: Path, now: Millis, *, vfs: str = "", synchronous: str = "FULL") -> SqliteStore:
    """Open the writing connection on a directory, and create or migrate the file.

    Args:
        directory: Exists, and is locked by this process (``lock_directory``).
        now: Time, for the creation stamp.
        vfs: Name of another SQLite VFS, for tests of power cuts.
        synchronous: Anything but FULL loses acknowledged messages in a power cut; for tests that show it.

    Raises:
        StoreFailed: The library is too old, the file is not ours, or a newer program has changed it for good.
    """
    check_library()
    path = directory / FILE
    connection = apsw.Connection(str(path), flags=WRITING, vfs=vfs or None, statementcachesize=PREPARED)
    _configure(connection, synchronous)
    _migrate(connection, now)
    if vfs:
        return SqliteStore(connection)
    with suppress(OSError):
        path.chmod(0o600)
    # The log is there: it was written to, or read, and is kept until the connection is closed.
    return SqliteStore(connection, files={str(name): name.stat() for name in (path, path.with_name(f"{FILE}-wal"))})


def open_beside(directory: Path) -> SqliteStore:
    """Open a connection that may write beside a running server, for few rows that it looks for by itself.

    It never checkpoints, which is the server's alone, and migrates nothing.

    Raises:
        StoreFailed: The library is too old, the file is not ours, or it has another schema than this program's.
    """
    check_library()
    with _told_apart():
        connection = apsw.Connection(str(directory / FILE), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX)
        connection.set_busy_timeout(BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("wal_autocheckpoint", 0)
        connection.pragma("synchronous", "FULL")
        connection.pragma("secure_delete", "ON")
        ours = connection.pragma("application_id") == APPLICATION_ID
        schema = next(iter(connection.execute(statements()["schema"].text)))[0] if ours else None
    if schema != SCHEMA:
        connection.close()
        raise StoreFailed(f"the store has schema {schema}, this program {SCHEMA}; start a server of this version")
    return SqliteStore(connection)


def open_memory(now: Millis) -> SqliteStore:
    """Open a store that ends with the process."""
    check_library()
    connection = apsw.Connection(":memory:", flags=WRITING, statementcachesize=PREPARED)
    _configure(connection, "OFF")
    _migrate(connection, now)
    return SqliteStore(connection)


def open_reader(directory: Path) -> SqliteStore:
    """Open a connection that only reads; it sees each transaction whole and never blocks the writer."""
    connection = apsw.Connection(str(directory / FILE), flags=READING, statementcachesize=PREPARED)
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("query_only", 1)
    connection.pragma("temp_store", "MEMORY")
    # Opens the log too, so that a process that runs out of descriptors later has those of its store.
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    return SqliteStore(connection, read_only=True)


def stop_counting_memory() -> None:
    """Let SQLite keep no statistics of its memory: nobody reads them, and each of its allocations pays for them.

    For a process that is about to open its store, and has no connection open: the library begins anew.
    """
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_MEMSTATUS, 0)
    apsw.initialize()


def check_library() -> None:
    """Refuse a SQLite library with known corruption (before 3.51.3)."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        raise StoreFailed(f"SQLite {apsw.sqlite_lib_version()} has a WAL race; at least 3.51.3 is needed")


def lock_directory(directory: Path) -> int:
    """Take the lock that keeps a second process out; it ends with this process.

    Returns:
        The open descriptor; keep it as long as the store is open.

    Raises:
        StoreLocked: Another process holds it.
        StoreFailed: The directory cannot be written to.
    """
    try:
        descriptor = os.open(directory / "lateron.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreFailed(f"the store cannot be opened: {error.strerror} ({directory})") from error
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreLocked(f"another process already runs on {directory}") from error
    return descriptor


def still_locked(directory: Path, descriptor: int) -> bool:
    """Whether the lock is still the one a second process would meet; not after somebody deleted its file."""
    try:
        there, ours = (directory / "lateron.lock").stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def file_system(directory: Path, mounts: str | None = None) -> str | None:
    """Return the type of the file system under ``directory``; None where the system does not say.

    Args:
        directory: Exists.
        mounts: The text of /proc/self/mounts, for tests.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text("utf-8")
        except OSError:
            return None
    path, best, kind = directory.resolve(), -1, None
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        root = Path(point.replace("\\040", " "))
        if (path == root or root in path.parents) and len(root.parts) >= best:
            best, kind = len(root.parts), name
    return kind


def is_network(kind: str | None) -> bool:
    """Whether locks and fsync of this kind of file system cannot be trusted."""
    return kind is not None and (kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse"))


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turn errors of the driver into ours: what was not stored, and what is unknown."""
    try:
        yield
    except apsw.FullError as error:
        raise StorageFull(f"the disk under the store is full: {error}") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StoreBusy(f"another program holds the file of the store: {error}") from error
    except (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.CantOpenError) as error:
        raise StoreFailed(f"the store reported {type(error).__name__}: {error}") from error


def reason(error: apsw.Error) -> str:
    """Say what an error of the driver means, for people.

    On a full disk SQLite has no room for its index of the log (``-shm``) either, and calls that an I/O error.
    """
    full = getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE
    return f"{type(error).__name__}: {'no room for its index, the disk is full' if full else error}"


def _configure(connection: apsw.Connection, synchronous: str) -> None:
    pragma = connection.pragma
    # Until there is a log a change goes through a journal that is deleted; EXTRA syncs its directory then, or the
    # journal might be there again after a power cut, and undo what came later.
    pragma("synchronous", "EXTRA")
    if not list(connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")):
        # New, or its creation was cut short: a page without a table may be there already.
        pragma("page_size", 4096)
        pragma("auto_vacuum", "INCREMENTAL")
        pragma("application_id", APPLICATION_ID)
    elif pragma("application_id") != APPLICATION_ID:
        raise StoreFailed("the file is not a Lateron store")
    pragma("journal_mode", "WAL")
    pragma("synchronous", synchronous)
    if sys.platform == "darwin":
        pragma("fullfsync", 1)
    pragma("cell_size_check", 1)
    pragma("secure_delete", 1)  # What is deleted is overwritten, and no page keeps what has moved to another.
    pragma("temp_store", "MEMORY")  # No file is opened later, when there may be no descriptor and no room.
    pragma("cache_size", -CACHE_KB)
    pragma("wal_autocheckpoint", 4000)
    pragma("journal_size_limit", 64 << 20)
    connection.set_busy_timeout(BUSY_MS)


def _migrate(connection: apsw.Connection, now: Millis) -> None:
    """Create the tables, or bring them to ``SCHEMA``: each step is one transaction, and a crash repeats it.

    A step only adds (tables, columns, indexes), so that the program before it still reads the store; one
    that does not must raise ``OLDEST_READER`` to its own number.
    """
    execute = connection.execute
    schema, oldest_reader = 0, 0
    if list(execute("SELECT 1 FROM sqlite_schema WHERE name = 'store'")):
        ((schema, oldest_reader),) = list(execute(statements()["schema"].text))
    if oldest_reader > SCHEMA:
        raise StoreFailed(f"the store has schema {schema}, which needs a newer program; this one reads {SCHEMA}")
    for number in range(schema + 1, SCHEMA + 1):
        (step,) = (file for file in files(__package__).joinpath("schema").iterdir() if _is_step(file.name, number))
        execute("BEGIN IMMEDIATE")
        execute(step.read_text("utf-8"))
        if number == 1:
            execute(statements()["stamp"].text, (1, OLDEST_READER, now))
        else:
            execute(statements()["restamp"].text, (number, max(oldest_reader, OLDEST_READER)))
        execute("COMMIT")


def _is_step(name: str, number: int) -> bool:
    return name.startswith(f"{number:04}_") and name.endswith("_sqlite.sql")
