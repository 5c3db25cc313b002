"""SQLite as the store: one process, one file, refusals, damage."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
import pytest

from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Limits, Turn
from lateron.core.values import Filter, Options, Publication, Request
from lateron.errors import StorageFull, StoreBusy, StoreFailed, StoreLocked
from lateron.runtime import id_maker
from lateron.store import sqlite
from lateron.store.sqlite import (
    FILE,
    SCHEMA,
    SqliteStore,
    file_system,
    is_network,
    lock_directory,
    open_file,
    open_reader,
    still_locked,
)

NOW = 1_700_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(open_file(tmp_path, NOW)) as opened:
        yield opened


def publish(store: SqliteStore, body: bytes = b"hello", count: int = 1) -> Broker:
    broker = Broker(store, id_maker(), 1, Limits())
    broker.open("test", NOW)
    broker.add_tenant(1, "one", NOW)
    publication = Publication(1, Request("http://one/", "POST", (), body, Options()))
    broker.turn(Turn(publishes=((publication,) * count,)), NOW)
    return broker


@pytest.mark.promise("P-11")
def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """Two processes on one file would corrupt it; the lock of a process that died is free again."""
    held = lock_directory(tmp_path)
    with pytest.raises(StoreLocked, match="another process already runs"):
        lock_directory(tmp_path)
    assert held > 0

    program = "import sys; from pathlib import Path; from lateron.store.sqlite import lock_directory as lock\n"
    dying = program + "lock(Path(sys.argv[1])); import os; os._exit(9)"
    other = tmp_path / "other"
    other.mkdir()
    assert subprocess.run([sys.executable, "-c", dying, str(other)], check=False).returncode == 9
    assert lock_directory(other) > 0


@pytest.mark.promise("P-11")
def test_network_file_systems_are_recognised(tmp_path: Path) -> None:
    """Their locks and their fsync cannot be trusted."""
    mounts = f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nother /elsewhere ext4 rw 0 0\n"
    assert file_system(tmp_path / "deep", mounts) == "nfs4"
    assert is_network("nfs4")
    assert is_network("fuse.sshfs")
    assert not is_network("ext4")
    assert not is_network(file_system(tmp_path))


@pytest.mark.promise("D-74")
def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.51.3 two connections could corrupt the log between them."""
    sqlite.check_library()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreFailed, match=r"at least 3\.51\.3"):
        sqlite.check_library()


@pytest.mark.promise("D-62")
def test_the_file_is_for_its_owner_only(store: SqliteStore, tmp_path: Path) -> None:
    """Bodies may hold secrets."""
    assert store is not None
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_durability_is_what_it_says(store: SqliteStore) -> None:
    """WAL, synced at every commit."""
    pragma = store._connection.pragma
    assert (pragma("journal_mode"), pragma("synchronous"), pragma("auto_vacuum")) == ("wal", 2, 2)


def test_each_message_keeps_its_own_request(store: SqliteStore) -> None:
    """Whatever it shares with the one before it: headers, options, or both."""
    headers, others = (("A", "1"),), (("B", "2"),)
    options, labelled = Options(), Options(labels=("x",))
    shared = [(headers, options), (headers, options), (others, options), (others, labelled), (headers, labelled)]
    broker = publish(store, count=0)
    wanted = [Request("http://one/", "POST", pair[0], b"", pair[1]) for pair in [*shared, *reversed(shared)]]
    turned = broker.turn(Turn(publishes=tuple((Publication(1, one),) for one in wanted), room=20), NOW)

    claimed = [one.request for one in turned.claimed]
    with store.transaction() as tx:
        stored = tx.load_requests([one.message.id for one in turned.claimed])
    kept = [stored[one.message.id].request for one in turned.claimed]

    assert [(one.headers, one.options.labels) for one in kept] == [(one.headers, one.options.labels) for one in wanted]
    assert kept == claimed


def test_a_server_pays_for_no_statistics_of_memory(tmp_path: Path) -> None:
    """In a process of its own, for the library begins anew."""
    code = """
import sys, apsw
from pathlib import Path
from lateron.store.sqlite import open_file, stop_counting_memory
stop_counting_memory()
store = open_file(Path(sys.argv[1]), 1)
assert store.used_bytes() > 0
print(apsw.memory_used())
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_a_store_of_a_newer_program_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    """A newer schema that this program cannot read is refused; one that it still can is not."""
    store._connection.execute(f"UPDATE store SET schema = {SCHEMA + 1}")
    open_file(tmp_path, NOW).close()
    store._connection.execute(f"UPDATE store SET oldest_reader = {SCHEMA + 1}")
    with pytest.raises(StoreFailed, match="needs a newer program"):
        open_file(tmp_path, NOW)


def test_another_database_is_refused(tmp_path: Path) -> None:
    """A file of somebody else is not written to."""
    connection = apsw.Connection(str(tmp_path / FILE))
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreFailed, match="not a Lateron store"):
        open_file(tmp_path, NOW)


def test_a_reader_sees_what_is_committed_and_cannot_write(store: SqliteStore, tmp_path: Path) -> None:
    """Lists are served beside the writer."""
    publish(store, count=3)
    with closing(open_reader(tmp_path)) as reader:
        page = History(reader, Limits()).pending(1, Filter(), None, 10, NOW)
        assert len(page.items) == 3
        with pytest.raises(StoreFailed), reader.transaction() as tx:
            tx.save_setting("a", "b")


@pytest.mark.promise("P-7")
@pytest.mark.parametrize("column", ["url", "method", "headers", "options", "body"])
def test_a_damaged_request_is_found_and_never_sent(store: SqliteStore, column: str) -> None:
    """Whatever part of a request has changed in the file, the message is not what was published."""
    broker = publish(store)
    store._connection.execute(f"UPDATE request SET {column} = CAST(CAST({column} AS TEXT) || 'x' AS BLOB)"
                              if column in {"headers", "options", "body"} else
                              f"UPDATE request SET {column} = {column} || 'x'")  # fmt: skip

    (claimed,) = broker.turn(Turn(room=1), NOW).claimed

    assert not claimed.intact


@pytest.mark.promise("P-119")
def test_a_full_disk_is_told_apart_and_goes_by(store: SqliteStore) -> None:
    """Nothing is stored while there is no room, and the same connection works again when there is."""
    broker = publish(store)
    pages = store._connection.pragma("page_count")
    store._connection.pragma("max_page_count", pages + 2)
    big = Publication(1, Request("http://one/", "POST", (), bytes(100_000), Options()))
    with pytest.raises(StorageFull):
        broker.turn(Turn(publishes=((big,),)), NOW)
    with store.transaction() as tx:
        assert len(tx.open_after(1, b"", 10)) == 1

    store._connection.pragma("max_page_count", 1 << 30)
    assert broker.turn(Turn(publishes=((big,),)), NOW).accepted


@pytest.mark.parametrize(
    ("error", "told"), [(apsw.FullError, StorageFull), (apsw.BusyError, StoreBusy), (apsw.IOError, StoreFailed)]
)
@pytest.mark.parametrize("work", [SqliteStore.used_bytes, partial(SqliteStore.shrink, pages=1)])
def test_whoever_gives_space_back_is_told_apart_too(
    store: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[SqliteStore], object],
    error: type[apsw.Error],
    told: type[Exception],
) -> None:
    """Retention meets a full disk and other programs as everybody does, and the driver's own errors nobody catches."""

    class Failing:
        def pragma(self, *_: object) -> None:
            raise error

    with monkeypatch.context() as during:
        during.setattr(store, "_connection", Failing())
        with pytest.raises(told):
            work(store)


@pytest.mark.promise("P-64")
def test_a_lock_whose_file_was_removed_or_replaced_is_lost(tmp_path: Path) -> None:
    """Another process would lock another file, and think itself alone."""
    held = lock_directory(tmp_path)
    assert still_locked(tmp_path, held)
    (tmp_path / "lateron.lock").unlink()
    assert not still_locked(tmp_path, held)
    other = lock_directory(tmp_path)
    assert not still_locked(tmp_path, held)
    assert still_locked(tmp_path, other)
    for descriptor in (held, other):
        os.close(descriptor)
