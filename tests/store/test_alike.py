"""Rows that differ in their first columns only go to SQLite together; what is stored is the same (decision 0037)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.store.interface import ALIKE, GROUP, Row, groups_of
from lateron.store.sqlite import SqliteConnection, SqliteStore, open_memory, statements

# A row of each statement that has a form for rows that are alike, behind the id; no two columns hold the same.
ROWS: dict[str, Row] = {
    "insert_messages": (*range(1, 16), b"parent", *range(17, 20), b"root", 21),
    "insert_requests": (b"digest", b"body", 3, "http://one/", "POST", b"headers", b"options", 8),
    "insert_attempts": (b"outcome", 2, 3, 4, 5, 6, 7),
    "insert_events": (*range(1, 6), "note", 7),
    "save_messages": tuple(range(31, 42)),
}
TABLES = {"insert_requests": "request", "insert_attempts": "attempt", "insert_events": "event"}

values = st.one_of(st.none(), st.integers(0, 2), st.sampled_from([b"a", "a"]))


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    with closing(open_memory(0)) as opened:
        yield opened


@given(st.lists(st.tuples(values, values, values), max_size=5 * GROUP), st.integers(1, 2))
def test_rows_in_groups_are_the_rows(rows: list[Row], own: int) -> None:
    """None is lost, none is made up, and those of a group keep their order."""
    groups = groups_of(rows, own)

    few = len({row[own:] for row in rows}) * GROUP <= len(rows)
    assert (groups is not None) == few
    for shared, columns in (groups or {}).items():
        again = [(*columns[at : at + own], *shared) for at in range(0, len(columns), own)]
        assert again == [row for row in rows if row[own:] == shared]
    assert groups is None or sum(map(len, groups.values())) == own * len(rows)


def test_each_such_statement_is_tried_here() -> None:
    assert {name.removesuffix(ALIKE) for name in statements() if name.endswith(ALIKE)} == set(ROWS)


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize("size", [GROUP, 131])
def test_rows_that_are_alike_are_stored_as_each_would_be_alone(name: str, size: int, store: SqliteStore) -> None:
    """Every column is where it belongs, for rows of two groups; the statements that ran are those for groups."""
    ids = [number.to_bytes(16, "big") for number in range(2 * size)]
    ours = [(message, *ROWS[name]) for message in ids]
    rows = [*ours[:size], *((*row[:-1], 99) for row in ours[size:])]
    both = [_after(store, name, ids, rows, grouped=grouped) for grouped in (True, False)]

    assert both[0] == both[1]
    assert len(both[0]) == 2 * size


def _after(store: SqliteStore, name: str, ids: Sequence[bytes], rows: Sequence[Row], *, grouped: bool) -> list[Row]:
    """Return what the table holds after these rows were stored, and undo it."""
    connection = store._connection
    ours = SqliteConnection(connection)
    ran: list[str] = []
    connection.execute("BEGIN")
    if name == "save_messages":
        ours.run_rows("insert_messages", [(message, *ROWS["insert_messages"]) for message in ids])
    if not grouped:
        ours._alike.clear()

    def note(_cursor: object, text: str, _values: object) -> bool:
        ran.append(text)
        return True

    connection.exec_trace = note
    ours.run_rows(name, rows)
    connection.exec_trace = None
    found = list(connection.execute(f"SELECT * FROM {TABLES.get(name, 'message')} ORDER BY 1, 2, 3, 4"))
    connection.execute("ROLLBACK")
    alike = set(statements()[name + ALIKE].expanded.values())
    assert {text in alike for text in ran} == {grouped}
    return found
