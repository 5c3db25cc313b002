"""Power cuts under all that a store does (F-2): what was acknowledged is there, whole.

A sample of the cuts is made here; ``python -m tests.crash.power_cuts --all`` makes every one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import apsw
import pytest
from tests.crash.power import Disk, Files, Kind, Operation, PowerCutError, State, cuts
from tests.crash.workload import (
    DIRECTORY,
    OPEN,
    Recorded,
    Work,
    close_all,
    dump,
    found_on,
    one_process,
    record,
    recovered,
)

from lateron.broker.bulk import Broker
from lateron.broker.views import Accepted, Limits, Turn
from lateron.core.values import MessageId, Options, Publication, Request
from lateron.errors import StoreFailed
from lateron.runtime import id_maker
from lateron.store import sqlite
from lateron.store.sqlite import open_file, statements

SEEDS = (0, 1, 2)
STEPS = 40
STRIDE = 71  # Every so many operations a cut.
TABLES_THAT_CHANGE = {"attempt", "bulk_job", "dead_letter", "dedup", "event", "lane", "message", "node", "queue",
                      "request", "schedule", "setting", "signing_key", "tick", "token", "url_group"}  # fmt: skip

ROWS = 20  # In each table of the old store.
BATCH = tuple(
    Publication(1, Request("http://one/", "POST", (), b"x" * 2800, Options()), dedup=bytes([j]) * 32) for j in range(5)
)


@pytest.fixture(autouse=True)
def _one_process() -> Iterator[None]:
    with one_process():
        yield


@pytest.fixture(scope="module")
def runs() -> list[Recorded]:
    with one_process():
        return [record(seed, STEPS) for seed in SEEDS]


def test_the_work_is_some_of_everything(runs: list[Recorded]) -> None:
    """A workload that never touches a table shows nothing about it; one without a checkpoint nothing about those."""
    changed = {name for run in runs for a, b in zip(run.history, run.history[1:], strict=False)
               for name in a if a[name] != b[name]}  # fmt: skip
    kinds = {operation.kind for run in runs for operation in run.log}
    copied = sum(operation.kind is Kind.WRITE and operation.path.endswith(".db") for operation in runs[0].log)

    assert changed >= TABLES_THAT_CHANGE
    assert kinds == set(Kind)
    assert copied > 100
    assert sum(len(run.log) for run in runs) >= 5000


@pytest.mark.promise("P-1", "P-4", "P-28", "P-40", "P-52", "P-81", "P-90", "P-97", "F-2")
def test_a_power_cut_loses_nothing_that_was_acknowledged(runs: list[Recorded]) -> None:
    """Each transaction is there whole or not at all, acknowledged ones always, whatever of the rest is."""
    cases = 0
    for run in runs:
        for cut_at, state in cuts(run.log):
            if cut_at % STRIDE:
                continue
            for image in state.images(seed=cut_at):
                assert not run.lost(cut_at, recovered(image)[0]), f"cut at operation {cut_at}"
                cases += 1
    assert cases >= 400


def test_a_run_that_is_really_cut_leaves_what_its_log_says(runs: list[Recorded]) -> None:
    """The cuts are made in the log of a run that nothing disturbed: a run that meets the cut does the same."""
    (run, *_) = runs
    for cut_at in range(0, 600, 37):
        disk = Disk("cut", cut_at=cut_at)
        with suppress(StoreFailed, PowerCutError, apsw.IOError):
            store = open_file(DIRECTORY, 0, vfs=disk.name)
            store._connection.pragma("wal_autocheckpoint", 40)
            Work(SEEDS[0]).run(store, STEPS)
        close_all()
        # SQLite draws salts and nonces, so the bytes differ from run to run.
        assert [shape(done) for done in disk.log] == [shape(done) for done in run.log[:cut_at]]


def shape(done: Operation) -> tuple[str, Kind, int, int]:
    return done.path, done.kind, done.at, len(done.data)


@pytest.mark.promise("P-6", "F-2")
def test_a_power_cut_during_recovery_changes_nothing(runs: list[Recorded]) -> None:
    """Recovery that is cut short, at any of its own writes, leaves what a clean one leaves."""
    interrupted = 0
    for run in runs[:2]:
        for cut_at, state in cuts(run.log):
            if cut_at % 1301:
                continue
            for image in state.images(seed=cut_at):
                clean, disk = recovered(image)
                assert not run.lost(cut_at, clean)
                for again, broken in cuts(disk.log, image):
                    if again % 11:
                        continue
                    for rest in broken.images(seed=again):
                        assert recovered(rest)[0] == clean
                        interrupted += 1
    assert interrupted >= 100


@pytest.mark.promise("F-2")
@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_without_full_sync_the_same_cuts_lose_messages(synchronous: str) -> None:
    """The control: the tests above can fail. NORMAL syncs, but not before it acknowledges."""
    careless = record(SEEDS[0], STEPS, synchronous)
    losses = 0
    for cut_at, state in cuts(careless.log):
        if cut_at % 211:
            continue
        for image in state.images(seed=cut_at):
            with suppress(AssertionError, apsw.Error, StoreFailed):
                if not careless.lost(cut_at, recovered(image)[0]):
                    continue
            losses += 1
    assert losses > 10


@pytest.mark.promise("P-7", "F-3")
def test_a_disk_that_lies_damages_no_message_that_is_sent(runs: list[Recorded]) -> None:
    """Its syncs return and keep nothing: what is lost is lost, but nothing is sent that was not published."""
    found = intact = 0
    for run in runs:
        published = run.requests
        for start in range(500, len(run.log) - 400, 607):
            state = State({})
            for number, operation in enumerate(run.log[: start + 250]):
                state.apply(operation, lying=number >= start)
            for image in state.images(seed=start):
                begun = found_on(image)
                found += begun.seen
                intact += len(begun.sent)
                assert begun.sent <= published
    assert found
    assert intact


@pytest.mark.promise("P-4", "P-6", "F-19")
def test_a_power_cut_during_a_migration_changes_nothing() -> None:
    """From the first schema to the last: the next start takes the steps that are missing, and no row is lost."""
    old = old_store()
    run = Recorded(initial=old)
    (made,) = run.open()._connection.execute("SELECT schema FROM store")
    close_all()
    assert made == (sqlite.SCHEMA,)
    whole = run.history[0]
    assert all(len(whole[table]) == ROWS for table in ("message", "request", "lane"))
    cases = 0
    for cut_at, state in cuts(run.log, old):
        for image in state.images(seed=cut_at):
            assert recovered(image)[0] == whole, f"cut at operation {cut_at}"
            cases += 1
    assert cases >= 100


@pytest.mark.promise("P-50", "P-52", "P-92", "F-2")
def test_a_batch_repeated_after_a_power_cut_is_complete_and_single() -> None:
    """Its answer was never seen: the same batch with the same keys leaves each message there exactly once."""
    disk = Disk("recorded")
    seen, complete = publish_batch(disk, 1), 0
    answered = len(disk.log)
    close_all()
    for cut_at, state in cuts(disk.log):
        if cut_at % 3:
            continue
        for image in state.images(seed=cut_at):
            again = Disk("recover", image)
            ids = publish_batch(again, 2)
            kept = dump(OPEN[-1])
            close_all()
            assert len(set(ids)) == len(BATCH)
            assert cut_at < answered or seen == ids
            assert {row[0] for row in kept["message"]} == set(ids)
            complete += 1
    assert complete >= 100


def publish_batch(disk: Disk, node: int) -> tuple[MessageId, ...]:
    broker = Broker(open_file(DIRECTORY, 0, vfs=disk.name), id_maker(), node, Limits())
    broker.open("cut", 1000)
    broker.add_tenant(1, "one", 1000)
    (accepted,) = broker.turn(Turn(publishes=(BATCH,)), 1000).accepted
    assert isinstance(accepted, tuple)
    return tuple(answer.id for answer in accepted if isinstance(answer, Accepted))


def old_store() -> Files:
    """Return the files of a store of the first schema, with rows in its tables."""
    disk = Disk("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "SCHEMA", 1)
        patch.setattr(sqlite, "OLDEST_READER", 1)
        connection = open_file(DIRECTORY, 0, vfs="old")._connection
    for table in ("message", "request", "lane", "event"):
        columns = list(connection.execute(f"PRAGMA table_info({table})"))
        for n in range(ROWS):
            values = {"INTEGER": n + 1, "TEXT": f"text {n}", "BLOB": bytes([n]) * 16}
            row = [values[kind] for _, _, kind, *_ in columns]
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    close_all()
    return {path: bytes(content) for path, content in disk.files.items()}


@pytest.mark.promise("D-75")
def test_no_statement_is_built_from_parts() -> None:
    """All SQL lies in files, under names."""
    assert {"insert_messages", "save_messages", "take"} <= set(statements())
