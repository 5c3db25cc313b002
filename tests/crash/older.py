"""A store as an older program left it, and what strikes whoever brings it to the schema of this one (F-19, F-64).

``make_older`` puts the rows of a store into one of an older schema, which the steps of that schema alone have made:
what a program of that time would have left. The next start migrates it, and may be struck at any point of that: before
each statement of the connection that migrates, before each write and before each sync of its files.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest.mock import patch

import apsw
from tests.crash.disk import Calls, Faulty
from tests.serving import ended, refused
from tests.support.poll import until

from lateron.cli import exits
from lateron.store import sqlite
from lateron.store.backup import copy
from lateron.store.sqlite import FILE, SCHEMA, open_file

# The schemas that these came with. Ordering keys are queues to the store.
GROUPS_SINCE = 2
SCHEDULES_SINCE = 3
QUEUES_SINCE = 4

FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")
CREATED = 1  # Of a store that is only looked at.

Shape = Mapping[str, Sequence[str]]  # Tables, and the columns of each.
Rows = Mapping[str, Sequence[tuple[object, ...]]]

# Another program that holds the file is waited for so long only, so that a run is short.
IMPATIENT = """
import lateron.store.sqlite, lateron.writer
lateron.store.sqlite.BUSY_MS = 100
lateron.writer.BUSY_PATIENCE_NS = 100_000_000
"""
# The first connection of a server is the one that migrates.
STRIKES = """
import os, apsw
if "STRIKE" in os.environ:
    at, number = map(int, os.environ["STRIKE"].split())
    begun = []

    def before_a_statement(_):
        begun[0] += 1
        if begun[0] == at:
            os.kill(os.getpid(), number)

    def opened(connection):
        if not begun:
            begun.append(0)
            connection.trace_v2(apsw.SQLITE_TRACE_STMT, before_a_statement)

    apsw.connection_hooks.append(opened)
"""


# Making it.


def make_older(directory: Path, schema: int, *, killed: bool) -> None:
    """Replace a store that nobody has open by one of an older schema with the same rows.

    What that schema has no place for is left out: its program could not have written it.

    Args:
        directory: Of the store.
        schema: 1 .. ``SCHEMA`` - 1.
        killed: Leave the log there, as a process does that is killed; else it has been brought into the file.
    """
    place = Path(tempfile.mkdtemp(prefix="older-", dir=directory.parent))
    with closing(apsw.Connection(str(directory / FILE))) as newer:
        ((created,),) = newer.execute("SELECT created FROM store")
    with patch.multiple(sqlite, SCHEMA=schema, OLDEST_READER=min(schema, sqlite.OLDEST_READER)):
        connection = open_file(place, int(str(created)))._connection
    with closing(connection):
        connection.execute("ATTACH ? AS newer", (str(directory / FILE),))
        known = shape_of(connection)
        connection.execute("BEGIN IMMEDIATE")
        for table, columns in known.items():
            names = ", ".join(columns)
            connection.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
        connection.execute("COMMIT")
        connection.execute("DETACH newer")
        left = {name: (place / name).read_bytes() for name in FILES[:2]}
    for name, content in left.items() if killed else ():
        (place / name).write_bytes(content)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
        if (place / name).exists():
            (place / name).rename(directory / name)
            (directory / name).chmod(0o600)
    shutil.rmtree(place)


# Looking at it.


def shape_of(connection: apsw.Connection) -> Shape:
    """Return tables and columns, but for the table that a migration itself changes."""
    named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name != 'store'"
    tables = sorted(str(name) for (name,) in connection.execute(named))
    return {table: [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}


def rows_of(connection: apsw.Connection, shape: Shape) -> Rows:
    """Return every row, of these columns, in a fixed order."""
    return {
        table: sorted(connection.execute(f"SELECT {', '.join(columns)} FROM {table}"), key=repr)
        for table, columns in shape.items()
    }


def schema_of(connection: apsw.Connection) -> int:
    """Return the schema that a store says it has."""
    ((schema,),) = connection.execute("SELECT schema FROM store")
    return int(str(schema))


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    """Copy a store that nobody writes to, with its log."""
    with tempfile.TemporaryDirectory(prefix="lateron-older-") as name:
        for file in FILES[:2]:
            if (directory / file).exists():
                shutil.copyfile(directory / file, Path(name) / file)
        yield Path(name)


class Older:
    """What an older store held, to be compared with what is found after it was struck."""

    def __init__(self, directory: Path) -> None:
        with copied(directory) as place, closing(apsw.Connection(str(place / FILE))) as connection:
            self.schema = schema_of(connection)
            self._shape = shape_of(connection)
            self._rows = rows_of(connection, self._shape)

    @property
    def filled(self) -> set[str]:
        """Return the tables that are not empty."""
        return {table for table, rows in self._rows.items() if rows}

    def check(self, directory: Path) -> int:
        """Start on a copy of what is there now: all rows are found; return the schema that it had reached."""
        with copied(directory) as place:
            with closing(apsw.Connection(str(place / FILE))) as connection:
                reached = schema_of(connection)
            with closing(open_file(place, CREATED, synchronous="OFF")._connection) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert schema_of(connection) == SCHEMA
                found = rows_of(connection, self._shape)
            changed = [table for table in self._shape if found[table] != self._rows[table]]
            assert not changed, f"a migration from schema {self.schema}, struck at {reached}, changed {changed}"
            return reached


# Its points.


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a migration: before the n-th of its statements, writes or syncs, counted from one."""

    kind: str
    at: int

    def __str__(self) -> str:
        return f"{self.kind} {self.at}"


KINDS = ("statement", "write", "sync")


class Counted:
    """Counts the points that a connection passes, and says at which it is.

    A SQLite VFS stands between the connection and its files; it changes nothing.
    """

    def __init__(self, reached: Callable[[Point], None] = lambda _: None) -> None:
        self.passed: Counter[str] = Counter()
        self._reached = reached
        self._vfs = _Passed(self)

    def passes(self, kind: str) -> None:
        """Note a point."""
        self.passed[kind] += 1
        self._reached(Point(kind, self.passed[kind]))

    def open(self, directory: Path) -> None:
        """Open a store, which migrates it, and close it."""
        opened: list[apsw.Connection] = []

        def watch(connection: apsw.Connection) -> None:
            opened.append(connection)
            connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda _: self.passes("statement"))

        apsw.connection_hooks.append(watch)
        try:
            open_file(directory, CREATED, vfs=self._vfs.name)
        finally:
            apsw.connection_hooks.remove(watch)
            (connection,) = opened
            connection.trace_v2(0, None)
            self._vfs.quiet = True
            connection.close()


class _Passed(apsw.VFS):
    def __init__(self, counted: Counted) -> None:
        self.name = f"counted-{id(self)}"
        self.counted, self.quiet = counted, False
        super().__init__(self.name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _PassedFile(self, name, flags)


class _PassedFile(apsw.VFSFile):
    def __init__(self, vfs: _Passed, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._passed = vfs
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if not self._passed.quiet:
            self._passed.counted.passes("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if not self._passed.quiet:
            self._passed.counted.passes("sync")
        super().xSync(flags)


def points_of(directory: Path) -> dict[str, int]:
    """Return how many points of each kind the migration of a store has."""
    with copied(directory) as place:
        counted = Counted()
        counted.open(place)
    return dict(counted.passed)


def start_and_die(directory: Path, point: Point) -> None:
    """Open a store as a start does, and be killed at a point; for a process of its own."""

    def reached(here: Point) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    Counted(reached).open(directory)


def start_when_full(directory: Path, point: Point) -> None:
    """Open a store on a disk that is full from a point on.

    Raises:
        apsw.FullError: As expected.
    """
    full = False

    def reached(here: Point) -> None:
        nonlocal full
        full |= here == point
        if full and here.kind == point.kind:
            raise apsw.FullError

    Counted(reached).open(directory)


# Striking a server.


class Strikable(Faulty):
    """A server that may be struck by a signal while it migrates."""

    code = IMPATIENT + STRIKES
    _strike: str | None = None

    def strike(self, point: Point, number: int) -> None:
        """Let its next start be struck."""
        self.faults.heal()
        self._strike = f"{point.at} {number}" if point.kind == "statement" else None
        if point.kind != "statement":
            self.faults.signal({"write": Calls.WRITES, "sync": Calls.SYNCS}[point.kind], number, skip=point.at - 1)

    def spare(self) -> None:
        """Let nothing strike it any more."""
        self.faults.heal()
        self._strike = None

    @property
    def stands_still(self) -> bool:
        """Whether it was stopped by a signal."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        return environment if self._strike is None else environment | {"STRIKE": self._strike}


class Migration:
    """The start of a server on an older store, struck again and again until it is let through.

    Args:
        server: Is not running; its store is an older one.
        chance: Draws points.
    """

    def __init__(self, server: Strikable, chance: Random) -> None:
        self._server, self._chance = server, chance
        self.older = Older(server.data_dir)
        self.reached = [self.older.schema]  # The schemas that it was struck at.
        self.kinds: dict[str, Callable[[], None]] = {
            "killed in migration": self._killed,
            "disk full in migration": self._full,
            "disk error in migration": self._disk_error,
            "stood still in migration": self._stood_still,
            "file held in migration": self._held,
        }

    def strike(self, name: str) -> bool:
        """Let a fault strike one start, which fails, and see that nothing is lost; False if no step is left."""
        if self.reached[-1] == SCHEMA:
            return False
        try:
            self.kinds[name]()
        finally:
            self._server.spare()
        self.reached.append(self.older.check(self._server.data_dir))
        return True

    def _point(self, *kinds: str) -> Point:
        """Draw a point of what is left of the migration."""
        left = points_of(self._server.data_dir)
        kind = self._chance.choice([kind for kind in kinds if kind in left])
        return Point(kind, self._chance.randint(1, left[kind]))

    def _fails(self, code: int) -> None:
        self._server.launch()
        try:
            assert ended(self._server) == code, self._server.log
        finally:
            self._server.kill()

    def _killed(self) -> None:
        self._server.strike(self._point(*KINDS), signal.SIGKILL)
        self._fails(-signal.SIGKILL)

    def _full(self) -> None:
        self._server.faults.fail(Calls.WRITES, errno.ENOSPC, skip=self._point("write").at - 1)
        self._fails(exits.STORE)
        assert "full" in self._server.log, self._server.log

    def _disk_error(self) -> None:
        point = self._point("write", "sync")
        calls = {"write": Calls.WRITES, "sync": Calls.SYNCS}[point.kind]
        self._server.faults.fail(calls, errno.EIO, skip=point.at - 1, times=self._chance.choice((1, -1)))
        self._fails(exits.STORE)

    def _stood_still(self) -> None:
        """Let it stand still; a second server is refused meanwhile, and a copy can be made. Then kill it."""
        self._server.strike(self._point(*KINDS), signal.SIGSTOP)
        with self._standing_still():
            code, printed = refused(self._server.data_dir)
            assert code == exits.LOCKED, printed
            with tempfile.TemporaryDirectory(prefix="lateron-copy-") as place:
                copy(self._server.data_dir / FILE, Path(place) / FILE)
                self.older.check(Path(place))
            self._server.kill()

    def _held(self) -> None:
        """Let another program write into the file between two steps, and forget to commit.

        In the midst of a step nobody else gets to write; then the start is killed.
        """
        self._server.strike(self._point("statement"), signal.SIGSTOP)
        with self._standing_still(), closing(apsw.Connection(str(self._server.data_dir / FILE))) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except apsw.BusyError:
                self._server.kill()
            else:
                os.kill(self._server.pid, signal.SIGCONT)
                assert ended(self._server) == exits.STORE, self._server.log
                assert "locked" in self._server.log

    @contextmanager
    def _standing_still(self) -> Iterator[None]:
        """Start the server until a signal stops it; it has ended when the block has."""
        self._server.launch()
        try:
            until(lambda: self._server.stands_still, "it to stand still")
            yield
        finally:
            self._server.kill()
