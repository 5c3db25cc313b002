"""A start on the store of an older program, struck at every point of it (F-19): the rows are all there afterwards.

Some runs with publishers and a receiver are made here; any number by ``python -m tests.crash.migrations``.
"""

from __future__ import annotations

import errno
import multiprocessing
import shutil
import signal
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.crash.disk import Calls, Faulty, require_gcc
from tests.crash.migrations import run
from tests.crash.older import QUEUES_SINCE, Older, Point, make_older, points_of, start_and_die, start_when_full
from tests.crash.workload import Work
from tests.serving import ended

from lateron.cli import exits
from lateron.store import sqlite
from lateron.store.backup import copy
from lateron.store.sqlite import FILE, SCHEMA, open_file

STEPS = 60  # Of the work that fills the store.
SEED = 5
WRITES_STRIDE = 5  # No step writes fewer; ``python -m tests.crash.migrations --every`` leaves none out.
# Tables that have rows in the store of each schema.
LIFE: Final = {"message", "request", "attempt", "event", "dead_letter", "lane", "node", "dedup", "token"}
FILLED: Final = {1: LIFE, QUEUES_SINCE: LIFE | {"queue", "schedule", "tick", "url_group"}}


@pytest.fixture(scope="module", params=FILLED, ids="from schema {}".format)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a store of an older schema, whose program was killed."""
    place = tmp_path_factory.mktemp("old")
    store = open_file(place, 0)
    Work(SEED).run(store, STEPS)
    store.close()
    make_older(place, request.param, killed=True)
    return place


def again(old: Path, place: Path) -> Path:
    """Make a copy of it, to be struck."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(old, place)
    return place


def some_points(old: Path) -> list[Point]:
    """Return all its statements and syncs, and some of its writes: a commit has many."""
    return [
        Point(kind, at)
        for kind, number in points_of(old).items()
        for at in range(1, number + 1, WRITES_STRIDE if kind == "write" else 1)
    ]


def test_the_older_store_holds_some_of_everything(old: Path) -> None:
    """A migration of empty tables shows nothing."""
    older = Older(old)

    assert older.filled >= FILLED[older.schema]


@pytest.mark.promise("P-1", "P-4", "P-6", "F-19")
def test_a_start_that_is_killed_at_any_point_of_a_migration_loses_nothing(old: Path, tmp_path: Path) -> None:
    """Before each statement, write and sync: the next start takes the steps that are missing."""
    older, reached = Older(old), set[int]()
    children = multiprocessing.get_context("forkserver")
    children.set_forkserver_preload(["tests.crash.older"])
    for point in some_points(old):
        place = again(old, tmp_path / "struck")
        child = children.Process(target=start_and_die, args=(place, point))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"it was not killed at {point}"
        reached.add(older.check(place))

    assert reached == set(range(older.schema, SCHEMA + 1))


@pytest.mark.promise("P-1", "P-9", "F-19")
def test_a_disk_that_is_full_from_any_write_of_a_migration_on_loses_nothing(old: Path, tmp_path: Path) -> None:
    """The start fails; one with room goes on where it stopped."""
    older, reached = Older(old), set[int]()
    for at in range(1, points_of(old)["write"] + 1, WRITES_STRIDE):
        place = again(old, tmp_path / "struck")
        with pytest.raises(apsw.FullError):
            start_when_full(place, Point("write", at))
        reached.add(older.check(place))

    assert reached == set(range(older.schema, SCHEMA))


@pytest.mark.promise("P-132")
def test_a_copy_made_before_a_migration_is_brought_up_to_date_as_the_store_is(old: Path, tmp_path: Path) -> None:
    """Whoever takes a copy before an upgrade can come back to it, also with the program of today."""
    older = Older(old)
    (tmp_path / "saved").mkdir()
    copy(again(old, tmp_path / "struck") / FILE, tmp_path / "saved" / FILE)

    assert older.check(tmp_path / "saved") == older.schema


@pytest.mark.promise("P-9", "F-11")
def test_a_start_without_room_says_that_the_disk_is_full(tmp_path: Path) -> None:
    """Also where SQLite speaks of an I/O error: its index of the log is a file, which the first read makes."""
    require_gcc()
    with Faulty(tmp_path / "data") as server:
        server.kill()
        (tmp_path / "data" / f"{FILE}-shm").unlink()
        server.faults.fail(Calls.WRITES, errno.ENOSPC)

        with pytest.raises(AssertionError, match="the disk is full"):
            server.start()

        assert ended(server) == exits.STORE
        server.faults.heal()
        server.start()


def test_a_row_that_a_migration_loses_is_noticed(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the tests above can fail."""
    older, place = Older(old), again(old, tmp_path / "struck")
    migrate = sqlite._migrate

    def careless(connection: apsw.Connection, now: int) -> None:
        migrate(connection, now)
        connection.execute("DELETE FROM event WHERE time = (SELECT max(time) FROM event)")

    monkeypatch.setattr(sqlite, "_migrate", careless)
    with pytest.raises(AssertionError, match="event"):
        older.check(place)


@pytest.mark.promise("P-1", "P-2", "P-4", "P-11", "P-20", "P-21", "P-22", "P-28", "P-50", "P-61", "P-80", "P-132",
                     "F-12", "F-18", "F-19", "F-64")  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_a_server_that_is_struck_while_it_migrates_delivers_what_waited(seed: int, tmp_path: Path) -> None:
    """Publishers and receiver see nothing of an upgrade but that the server was away."""
    require_gcc()
    result = run(seed, tmp_path)

    assert result.report.violations == (), str(result)
    assert result.injected.total() >= 1
