"""A verified copy of a store, made while a server works on it, and put back in place.

The copy is one state of the store: a read transaction holds it while the pages are copied, and the server goes on
writing to its log meanwhile. What is written is read again before it gets its name: SQLite's own check of every page
and index, and the number of rows of every table, compared with those of the original in the same transaction. A copy
that was cut short never has the name of one.

Nothing in a copy has to be undone for a new place. Whatever a node held in it is rescued by the next start, as after a
crash, because the nodes of the copy are not that start's; and a schedule whose time has passed follows its own rule
for missed ticks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw
from msgspec import Struct

from lateron.errors import StoreFailed
from lateron.store.sqlite import APPLICATION_ID, BUSY_MS, READING, SCHEMA, WRITING, check_library

COUNTS: Final = {  # What is compared, table by table.
    "account": "SELECT count(*) FROM account",
    "audit": "SELECT count(*) FROM audit",
    "attempt": "SELECT count(*) FROM attempt",
    "bulk_job": "SELECT count(*) FROM bulk_job",
    "data_key": "SELECT count(*) FROM data_key",
    "dead_letter": "SELECT count(*) FROM dead_letter",
    "dedup": "SELECT count(*) FROM dedup",
    "event": "SELECT count(*) FROM event",
    "lane": "SELECT count(*) FROM lane",
    "message": "SELECT count(*) FROM message",
    "node": "SELECT count(*) FROM node",
    "queue": "SELECT count(*) FROM queue",
    "request": "SELECT count(*) FROM request",
    "schedule": "SELECT count(*) FROM schedule",
    "schedule_request": "SELECT count(*) FROM schedule_request",
    "setting": "SELECT count(*) FROM setting",
    "signing_key": "SELECT count(*) FROM signing_key",
    "store": "SELECT count(*) FROM store",
    "tenant": "SELECT count(*) FROM tenant",
    "tick": "SELECT count(*) FROM tick",
    "token": "SELECT count(*) FROM token",
    "url_group": "SELECT count(*) FROM url_group",
}
_STEP: Final = 2000  # Pages of a step, after which progress is told.


class Copied(Struct, frozen=True):
    """What a copy holds."""

    bytes: int
    rows: dict[str, int]  # Of each table.


def copy(source: Path, target: Path, progress: Callable[[int, int], None] = lambda *_: None) -> Copied:
    """Copy a store to a file that is not there yet, and verify it.

    Args:
        source: The file of a store; a server may work on it.
        target: Appears when it is whole, verified and on disk.
        progress: Is told pages done and pages in all.

    Raises:
        StoreFailed: The source is no store of ours or is damaged, or the copy is not what it should be.
        FileExistsError: The target is there.
        OSError: It cannot be written.
    """
    check_library()
    if target.exists():
        raise FileExistsError(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with _told(source), closing(_opened(source, READING)) as reading:
            reading.execute("BEGIN")
            _check_ours(reading, source)
            rows = _counted(reading)
            with closing(_opened(part, WRITING)) as writing:
                with writing.backup("main", reading, "main") as steps:
                    while not steps.done:
                        steps.step(_STEP)
                        progress(steps.page_count - steps.remaining, steps.page_count)
                writing.pragma("journal_mode", "DELETE")  # One file; a server makes its log again.
                _verify(writing, rows)
        _appear(part, target)
    finally:
        for name in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                part.with_name(part.name + name).unlink()
    return Copied(target.stat().st_size, rows)


def _verify(connection: apsw.Connection, rows: dict[str, int]) -> None:
    problems = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(3)")]
    if problems != ["ok"]:
        raise StoreFailed(f"the copy is damaged, as its original may be: {'; '.join(problems)}")
    found = _counted(connection)
    if found != rows:
        raise StoreFailed(f"the copy has other rows than its original: {found}, not {rows}")


def _counted(connection: apsw.Connection) -> dict[str, int]:
    named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    tables = [str(name) for (name,) in connection.execute(named)]
    counts = {}
    for table in set(tables) & COUNTS.keys():  # An older store has fewer.
        (count,) = next(iter(connection.execute(COUNTS[table])))
        counts[table] = int(str(count))
    return counts


def _check_ours(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StoreFailed(f"{path} is not a Lateron store")
    _, oldest_reader = next(iter(connection.execute("SELECT schema, oldest_reader FROM store")))
    if int(str(oldest_reader)) > SCHEMA:
        raise StoreFailed(f"{path} needs a newer program: its schema is read from {oldest_reader} on, ours is {SCHEMA}")


def _opened(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    return connection


def _appear(part: Path, target: Path) -> None:
    """Give a file its name, once it is on disk; never in the place of another."""
    for path in (part, target.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == part:
            os.link(part, target)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except apsw.FullError as error:
        raise StoreFailed(f"no room for a copy of {path}: {error}") from None
    except apsw.Error as error:
        raise StoreFailed(f"{path} cannot be copied: {type(error).__name__}: {error}") from None
