"""What a store takes: exactly where the file is small, and by a sample where it is large."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from lateron.store import usage as store_usage
from lateron.store.sqlite import FILE, SqliteStore, open_file, open_memory
from lateron.store.usage import PageMap, usage

NOW = 1_700_000_000_000


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Return the connection of a store with bodies of all sizes, some of them deleted again, as its file has it."""
    open_file(tmp_path, NOW).close()
    with closing(apsw.Connection(str(tmp_path / FILE))) as opened:
        chance = random.Random(1)
        with opened:
            for number in range(3000):
                key = chance.randbytes(16)
                body = chance.randbytes(chance.choice((100, 300, 3000, 20_000)))
                opened.execute(
                    "INSERT INTO request (id, tenant, url, method, headers, options, digest, bucket, body) "
                    "VALUES (?, 1, 'http://x/', 'POST', x'', x'', x'', 0, ?)",
                    (key, body),
                )
                opened.execute("INSERT INTO dedup VALUES (1, ?, ?, ?, ?, 0)", (key, key, number, number))
            opened.execute("DELETE FROM request WHERE hex(id) < '20'")
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield opened


def owners(connection: apsw.Connection) -> dict[int, str]:
    """Return the table of each page of any, as SQLite finds them: from the roots down."""
    return dict(connection.execute("SELECT pageno, s.tbl_name FROM dbstat JOIN sqlite_schema AS s USING (name)"))


def test_each_page_of_a_file_is_found_to_be_its_tables(connection: apsw.Connection) -> None:
    """The map of parents and SQLite's own walk from the roots say the same of every page: leaf, overflow, free."""
    ((pages,),) = connection.execute("PRAGMA page_count")
    ((free,),) = connection.execute("PRAGMA freelist_count")
    roots = dict(connection.execute("SELECT rootpage, tbl_name FROM sqlite_schema"))
    walked = owners(connection)
    tree = PageMap(connection, 4096)

    found = {page: roots[root] for page in range(2, pages + 1) if (root := tree.root(page))}
    assert found == {page: name for page, name in walked.items() if page > 1}
    assert free > 100
    assert {"request", "dedup", "message"} <= set(found.values())


def test_a_small_file_is_looked_through(connection: apsw.Connection) -> None:
    """Every page is somebody's, free, or of the map."""
    ((pages,),) = connection.execute("PRAGMA page_count")
    found = usage(connection)
    of_table = Counter(owners(connection).values())
    del of_table["sqlite_schema"]
    assert {name: size // 4096 for name, size in found.tables.items()} == of_table
    assert found.used + found.unused == pages * 4096


def test_a_large_file_is_sampled(connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shares are right to a few hundredths of the file."""
    exact = usage(connection)
    monkeypatch.setattr(store_usage, "SMALL", 100)
    sampled = usage(connection)
    assert (sampled.used, sampled.unused) == (exact.used, exact.unused)
    whole = exact.used + exact.unused
    for name, size in exact.tables.items():
        assert abs(sampled.tables.get(name, 0) - size) < whole * 0.05, name


def test_pages_that_are_only_in_the_log_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is behind its log; what it does not say is left out, and nothing fails."""
    monkeypatch.setattr(store_usage, "SMALL", 1)
    with closing(open_file(tmp_path, NOW)) as store:
        found = store.usage()
    assert found.used > 0
    assert sum(found.tables.values()) <= found.used


def test_a_store_in_memory_is_looked_through() -> None:
    """It has no file and no map to read."""
    store: SqliteStore = open_memory(NOW)
    assert store.usage().tables["message"] > 0


def test_a_map_that_goes_round_in_circles_ends(connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file must not hold the thread that reads."""
    monkeypatch.setattr(PageMap, "_entry", lambda _self, page: (5, 7 if page == 9 else 9))
    assert PageMap(connection, 4096).root(7) == 0
