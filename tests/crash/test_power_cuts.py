"""Power cuts under publish, claim, settle, cancel and redrive (F-2): what was acknowledged is there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from tests.crash.power import Disk, PowerCutError

from lateron.broker.bulk import Broker
from lateron.broker.views import Accepted, Limits, Result, Turn
from lateron.core.groups import Endpoint
from lateron.core.publish import GroupPublication, PublishContext
from lateron.core.quota import QUOTAS
from lateron.core.values import (
    CallbackOptions,
    Claimed,
    Filter,
    MessageId,
    Millis,
    Options,
    Outcome,
    Overrides,
    Publication,
    Request,
    RetryPolicy,
)
from lateron.errors import StoreFailed
from lateron.runtime import id_maker
from lateron.store.sql import Store
from lateron.store.sqlite import open_file, open_memory, statements

DIRECTORY = Path("/disk")
TABLES = (
    *("message", "request", "attempt", "event", "dead_letter", "dedup", "lane", "queue", "node", "tenant"),
    "url_group",
)
OUTCOMES = (Outcome(status=200), Outcome(status=500), Outcome(error="timeout"), Outcome(status=404, body=b"no"))

OPEN: list[apsw.Connection] = []

Dump = dict[str, list[tuple[Any, ...]]]


@contextmanager
def one_process() -> Iterator[None]:
    """SQLite keeps its index of the WAL on its heap: a disk in memory has no shared memory."""
    apsw.connection_hooks.append(exclusive)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(exclusive)


def exclusive(connection: apsw.Connection) -> None:
    """Hold the file for good, and remember the connection so that it is closed in good time."""
    OPEN.append(connection)
    connection.pragma("locking_mode", "EXCLUSIVE")


def close_all() -> None:
    """Close what a cut has left open; closing writes, and the power may be gone."""
    while OPEN:
        with suppress(apsw.Error):
            OPEN.pop().close()


def work(store: Store, commit: Callable[[], None]) -> None:
    """Do some of everything; ``commit`` is called after each transaction that was acknowledged."""
    broker = Broker(store, id_maker(random.Random(1).randbytes), 1, Limits())
    now: Millis = 1_000_000
    broker.open("cut", now)
    commit()
    broker.add_tenant(1, "one", now)
    commit()
    held: list[Claimed] = []
    for i in range(6):
        now += 500
        items = tuple(publication(i, j) for j in range(1 + i % 3))
        held += broker.turn(Turn(publishes=(items,), room=2), now).claimed
        commit()
        results = tuple(Result(claimed, OUTCOMES[(i + n) % 4]) for n, claimed in enumerate(held[:2]))
        del held[:2]
        held += broker.turn(Turn(results=results, room=3), now).claimed
        commit()
        if i in {2, 3}:
            broker.set_queue(1, "q", now, parallelism=i - 1, paused=i == 2)
            commit()
    broker.save_endpoints(
        1, "all", [Endpoint(f"http://{name}/") for name in ("one", "two", "three")], QUOTAS["none"], now
    )
    commit()
    everybody = GroupPublication("all", (), b"x" * 3000, PublishContext(1, now, QUOTAS["none"]))
    broker.turn(Turn(publishes=((everybody, publication(9, 0)),), room=1), now)
    commit()
    broker.delete_group(1, "all")
    commit()
    broker.cancel(1, Filter(hosts=("two",)), now)
    commit()
    broker.redrive(1, Filter(), Overrides(), now)
    commit()
    broker.delete_queue(1, "q", now)
    commit()


def publication(i: int, j: int) -> Publication:
    callback = CallbackOptions("http://callback/")
    options = Options(
        retry=RetryPolicy(retries=j),
        callback=callback if i % 2 else None,
        failure_callback=callback,
        queue_name="q" if i in {1, 2, 4} else None,
    )
    request = Request(f"http://{('one', 'two')[j % 2]}/{i}", "POST", (), b"x" * (i * 700), options)
    return Publication(1, request, delay_ms=(i % 4 == 3) * 100, dedup=bytes(32) if i in {2, 3} and j == 0 else None)


def dump(connection: apsw.Connection) -> Dump:
    """Return every row, in a fixed order."""
    return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES}


@pytest.fixture(scope="module")
def history() -> list[Dump]:
    """What the store holds after each transaction of a run that nothing disturbs."""
    store = open_memory(0)
    dumps = [dump(store._connection)]
    work(store, lambda: dumps.append(dump(store._connection)))
    unchanged = sum(a == b for a, b in pairwise(dumps))
    assert unchanged == 1  # A publication that is a duplicate changes nothing.
    return dumps


def run_until(disk: Disk, synchronous: str = "FULL") -> int:
    """Work on a disk until its power goes; return how many transactions were acknowledged."""
    acknowledged = 0

    def commit() -> None:
        nonlocal acknowledged
        acknowledged += 1

    with suppress(StoreFailed, PowerCutError, apsw.IOError):
        work(open_file(DIRECTORY, 0, vfs=disk.name, synchronous=synchronous), commit)
    close_all()
    return acknowledged


def recovered(files: dict[str, bytes], cut_at: int | None = None) -> tuple[Dump | None, Disk]:
    """Open the store as it was found; None if the power goes again meanwhile."""
    disk = Disk("recover", files, cut_at)
    try:
        store = open_file(DIRECTORY, 0, vfs=disk.name)
        assert store._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dump(store._connection), disk
    except (PowerCutError, apsw.IOError, StoreFailed):
        assert cut_at is not None
        return None, disk
    finally:
        close_all()


def lost(acknowledged: int, found: Dump, history: list[Dump]) -> bool:
    """Whether the store is neither as acknowledged nor as the transaction under way would have left it."""
    return found not in history[acknowledged : acknowledged + 2]


@pytest.mark.promise("P-1", "P-4", "P-28", "P-40", "P-52", "P-90", "P-97", "F-2")
def test_a_power_cut_loses_nothing_that_was_acknowledged(history: list[Dump]) -> None:
    """At every write of the workload: each transaction is there whole or not at all, acknowledged ones always."""
    with one_process():
        whole = Disk("cut")
        assert run_until(whole) == len(history) - 1
        cases = 0
        for cut_at in range(1, whole.operations + 1):
            disk = Disk("cut", cut_at=cut_at)
            acknowledged = run_until(disk)
            for image in disk.images(seed=cut_at):
                found, _ = recovered(image)
                assert found is not None
                assert not lost(acknowledged, found, history), f"cut at operation {cut_at}"
                cases += 1
    assert cases >= 400


@pytest.mark.promise("P-6", "F-2")
def test_a_power_cut_during_recovery_changes_nothing(history: list[Dump]) -> None:
    """Recovery that is cut short, at any of its own writes, leaves what a clean one leaves."""
    with one_process():
        whole = Disk("cut")
        run_until(whole)
        interrupted = 0
        for cut_at in range(20, whole.operations, 41):
            disk = Disk("cut", cut_at=cut_at)
            acknowledged = run_until(disk)
            for image in disk.images(seed=cut_at):
                clean, _ = recovered(image)
                for again in range(1, 12):
                    found, broken = recovered(image, cut_at=again)
                    if found is not None:
                        break
                    interrupted += 1
                    for rest in broken.images(seed=again):
                        assert recovered(rest)[0] == clean
                assert clean is not None
                assert not lost(acknowledged, clean, history)
    assert interrupted >= 20


@pytest.mark.promise("F-2")
def test_without_synchronous_the_same_cuts_lose_messages(history: list[Dump]) -> None:
    """The control: the test above can fail. With OFF, nothing is synced before it is acknowledged."""
    with one_process():
        whole = Disk("cut")
        run_until(whole, "OFF")
        losses = 0
        for cut_at in range(10, whole.operations, 7):
            disk = Disk("cut", cut_at=cut_at)
            acknowledged = run_until(disk, "OFF")
            for image in disk.images(seed=cut_at):
                with suppress(AssertionError, apsw.Error, StoreFailed):
                    found, _ = recovered(image)
                    if found is not None and not lost(acknowledged, found, history):
                        continue
                losses += 1
    assert losses > 10


@pytest.mark.promise("P-50", "P-52", "P-92", "F-2")
def test_a_batch_repeated_after_a_power_cut_is_complete_and_single() -> None:
    """Its answer was never seen: the same batch with the same keys leaves each message there exactly once."""
    items = tuple(replace(publication(4, j), dedup=bytes([j]) * 32) for j in range(5))

    def publish(disk: Disk, node: int) -> tuple[MessageId, ...] | None:
        with suppress(StoreFailed, PowerCutError, apsw.IOError):
            broker = Broker(open_file(DIRECTORY, 0, vfs=disk.name), id_maker(), node, Limits())
            broker.open("cut", 1000)
            broker.add_tenant(1, "one", 1000)
            (accepted,) = broker.turn(Turn(publishes=(items,)), 1000).accepted
            assert isinstance(accepted, tuple)
            return tuple(answer.id for answer in accepted if isinstance(answer, Accepted))
        return None

    with one_process():
        whole, complete = Disk("cut"), 0
        assert publish(whole, 1) is not None
        close_all()
        for cut_at in range(1, whole.operations + 1):
            disk = Disk("cut", cut_at=cut_at)
            seen = publish(disk, 1)
            close_all()
            for image in disk.images(seed=cut_at):
                again = Disk("recover", image)
                ids = publish(again, 2)
                close_all()
                assert ids is not None
                assert len(set(ids)) == len(items)
                assert seen is None or seen == ids
                kept = dump(apsw.Connection("/disk/lateron.db", vfs="recover"))
                close_all()
                assert {row[0] for row in kept["message"]} == set(ids)
                complete += 1
    assert complete >= 100


@pytest.mark.promise("P-7", "D-75")
def test_no_statement_is_built_from_parts() -> None:
    """All SQL lies in files, under names."""
    assert {"insert_messages", "save_messages", "take"} <= set(statements())
