"""How SQLite finds what a statement asks for: a store with ten million rows is no slower than an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from lateron.store.sqlite import SqliteStore, open_memory, statements

# What a statement may walk through from one end to the other, and why that is never much.
WALKS = {
    "SCAN CONSTANT ROW": "the rows that came with the statement",
    "SCAN v": "as above",
    "SCAN heads": "what the statement has just found, bounded by what came with it",
    "SCAN before": "cut at a bound of its own",
    "SCAN message USING INDEX message_active": "open attempts only",
    "SCAN queue USING COVERING INDEX queue_deleted": "queues that are being emptied only",
    "SCAN node": "incarnations, forgotten after their history",
    "SCAN tenant": "one row for each user",
    "SCAN token": "as above",
    "SCAN account": "as above",
    "SCAN signing_key": "as above",
    "SCAN data_key": "one row for each rotation",
    "SCAN store": "one row",
    "SCAN bulk_job USING INDEX bulk_job_open": "jobs that are under way, at most a hundred of each user",
    "SCAN message USING COVERING INDEX message_active": "open attempts only",
    "SCAN message USING COVERING INDEX message_lane": "once, at a start, and at most so many",
    "SCAN message USING INDEX message_parked": "as above",
    "SCAN dead_letter": "as above",
    "SCAN counted": "rows that a subquery has found, at most so many",
    "SCAN taken": "rows that a subquery has found by an index, and at most so many",
}


@pytest.fixture(scope="module")
def store() -> Iterator[SqliteStore]:
    with closing(open_memory(0)) as opened:
        yield opened


@pytest.mark.promise("P-78")
@pytest.mark.parametrize("name", sorted(statements()))
def test_no_statement_walks_a_table_that_grows(name: str, store: SqliteStore) -> None:
    """One statement without an index turns a long history, or a million idle keys, into a halt of the server."""
    statement = statements()[name]
    text = statement.expanded[min(statement.expanded)]

    plan = store._connection.execute(f"EXPLAIN QUERY PLAN {text}", (None,) * text.count("?"))

    walks = {line for *_, line in plan if str(line).startswith("SCAN")}
    assert walks <= WALKS.keys()


@pytest.mark.promise("P-78")
@pytest.mark.parametrize("name", ["open_after", "open_before"])
def test_what_does_not_rest_is_merged_from_its_two_indexes(name: str, store: SqliteStore) -> None:
    """By the key of the table it would be found too, among all messages that came to rest since."""
    text = statements()[name].text

    plan = store._connection.execute(f"EXPLAIN QUERY PLAN {text}", (None,) * text.count("?"))

    used = {line.split()[4] for *_, line in plan if " USING " in str(line)}
    assert used == {"message_active", "message_waiting"}


def test_a_walk_is_seen() -> None:
    """The control: without its index, a question is answered by a walk, and the plan says so."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute("CREATE TABLE lane (id INTEGER PRIMARY KEY, name TEXT)")
        plan = [str(line) for *_, line in connection.execute("EXPLAIN QUERY PLAN SELECT id FROM lane WHERE name = 'a'")]

    assert plan == ["SCAN lane"]
