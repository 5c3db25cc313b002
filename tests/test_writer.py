"""The door to the store: group commit, backpressure, and what an error means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from lateron import writer as room
from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Limits, Prepared, Result, Turn, Turned
from lateron.core.values import Claimed, Filter, Millis, Options, Outcome, Publication, Request
from lateron.errors import Overloaded, StorageFull, StoreBusy, StoreFailed
from lateron.runtime import Nanos, SystemClock, id_maker
from lateron.store.reserve import Reserve
from lateron.store.sql import Verbs
from lateron.store.sqlite import SqliteStore, open_memory
from lateron.writer import Writer

ITEM = Publication(1, Request("http://one/", "POST", (), b"body", Options()))


class Node:
    """A writer on a store in memory, with a delivery loop that only notes what it is given."""

    def __init__(self, capacity: int = 0) -> None:
        self.store = open_memory(0)
        self.broker = Broker(self.store, id_maker(), 1, Limits())
        self.broker.open("test", SystemClock().wall())
        self.broker.add_tenant(1, "one", 0)
        self.history = History(self.store, Limits())
        self.writer = Writer(self.broker, self.history, SystemClock(), own_readers=False)
        self.begun: list[Claimed] = []
        self.failures: list[StoreFailed] = []
        self.capacity = capacity
        self.arrived = asyncio.Event()

    def attach(self) -> None:
        self.writer.attach(lambda: self.capacity - len(self.begun), self.begin, self.failures.append)

    def begin(self, claimed: Sequence[Claimed]) -> None:
        self.begun += claimed
        self.arrived.set()


def on_a_node(work: Callable[[Node], Awaitable[None]], capacity: int = 0) -> None:
    """Run work beside a writer, and close it."""

    async def run() -> None:
        node = Node(capacity)
        node.attach()
        await asyncio.wait_for(work(node), 30)
        if not node.failures:
            await asyncio.wait_for(node.writer.close(), 30)

    asyncio.run(run())


class Wrapped:
    """A connection whose ``execute`` is another."""

    def __init__(self, inner: apsw.Connection, execute: Callable[..., object]) -> None:
        self._inner, self.execute = inner, execute

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@contextmanager
def failing(patch: pytest.MonkeyPatch, error: Exception) -> Iterator[None]:
    """Every transaction fails before it commits."""

    def fail(*_: object) -> None:
        raise error

    with patch.context() as during:
        during.setattr(Verbs, "insert_messages", fail)
        yield


def test_what_arrives_together_commits_together() -> None:
    """A hundred publishes at once are one or two transactions, and each has its own answer."""

    async def work(node: Node) -> None:
        turns: list[int] = []
        honest = node.broker.prepare

        def prepare(turn: Turn, now: Millis) -> Prepared:
            turns.append(len(turn.publishes))
            return honest(turn, now)

        node.broker.prepare = prepare  # type: ignore[method-assign]
        answers = await asyncio.gather(*(node.writer.publish([ITEM]) for _ in range(100)))
        assert len({answer[0].id for answer in answers}) == 100
        assert sum(turns) == 100
        assert len([n for n in turns if n]) <= 2

    on_a_node(work)


def test_a_publisher_that_cannot_be_told_keeps_nobody_else_waiting() -> None:
    """Those behind it in the same transaction are told, and the next transaction begins."""

    async def work(node: Node) -> None:
        told: list[object] = []

        def broken(_: object) -> None:
            raise ValueError

        for done in (told.append, broken, told.append):
            node.writer.publish_nowait([ITEM], done)
        assert told == [], "not before the commit"
        await node.writer.settled()
        assert [type(result) for result in told] == [tuple, tuple]
        assert len(await node.writer.publish([ITEM])) == 1
        assert node.writer._pending_bytes == 0

    on_a_node(work)


@pytest.mark.promise("P-117")
def test_a_delayed_message_starts_by_itself() -> None:
    """Nothing but time has to happen."""

    async def work(node: Node) -> None:
        from msgspec.structs import replace

        await node.writer.publish([replace(ITEM, delay_ms=30)])
        assert node.begun == []
        await node.arrived.wait()
        assert len(node.begun) == 1
        node.writer.settle(Result(node.begun[0], Outcome(status=200)))

    on_a_node(work, capacity=5)


@pytest.mark.promise("P-119")
def test_too_much_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the high-water mark a publish is answered at once; what was taken before is stored."""
    monkeypatch.setattr(room, "PENDING_BYTES", 10)

    async def work(node: Node) -> None:
        answers = await asyncio.gather(*(node.writer.publish([ITEM]) for _ in range(5)), return_exceptions=True)
        assert [type(a) for a in answers] == [tuple, tuple, Overloaded, Overloaded, Overloaded]
        assert len(await node.writer.publish([ITEM])) == 1

    on_a_node(work)


@pytest.mark.promise("P-1")
def test_what_a_commit_that_fails_would_have_begun_is_made_ready_and_never_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop makes ready while the disk writes, and only what is durable begins."""

    async def work(node: Node) -> None:
        ready: list[Claimed] = []
        order: list[str] = []

        def make_ready(claimed: Sequence[Claimed]) -> None:
            order.append("ready")
            ready.extend(claimed)

        def begin(claimed: Sequence[Claimed]) -> None:
            order.append("begin")
            node.begin(claimed)

        node.writer.attach(lambda: node.capacity - len(node.begun), begin, node.failures.append, make_ready)
        many = [ITEM] * room.AHEAD_ITEMS
        accepted = await node.writer.publish(many)
        await node.arrived.wait()
        assert [one.message.id for one in ready] == [one.id for one in accepted]
        assert order == ["ready", "begin"]
        assert node.begun == ready

        def full() -> None:
            node.store._roll_back()
            raise StorageFull("full")

        monkeypatch.setattr(node.store, "commit", full)
        with pytest.raises(StorageFull):
            await node.writer.publish(many)
        assert order == ["ready", "begin", "ready"]
        assert len(node.begun) == room.AHEAD_ITEMS

    on_a_node(work, capacity=100)


@pytest.mark.promise("P-119")
def test_a_full_disk_loses_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishes are told that nothing was stored; outcomes of attempts wait until there is room."""
    monkeypatch.setattr(room, "FULL_PAUSE", 0.01)

    async def work(node: Node) -> None:
        await node.writer.publish([ITEM])
        await node.arrived.wait()
        with failing(monkeypatch, StorageFull("full")):
            with pytest.raises(StorageFull):
                await node.writer.publish([ITEM])
            node.writer.settle(Result(node.begun[0], Outcome(status=200)))
        await node.writer.settled()
        assert (await node.writer.read(lambda h: h.pending(1, Filter(), None, 9, 0))).items == ()

    on_a_node(work, capacity=1)


@pytest.mark.promise("P-9")
def test_a_reserve_that_is_needed_as_soon_as_it_is_back_is_not_taken_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is accepted before it is there, and one thread at a time makes it."""
    monkeypatch.setattr(room, "FULL_PAUSE", 0.0)

    async def run() -> None:
        node, loop, tries = Node(), asyncio.get_running_loop(), list[bool]()
        reserve = Reserve(tmp_path, 4096)
        writer = Writer(node.broker, node.history, SystemClock(), own_readers=False, reserve=reserve)
        honest, back, seen = reserve.restore, asyncio.Event(), list[tuple[bool, bool]]()

        async def spend() -> None:
            assert writer._spend()

        def restore() -> bool:
            made = honest()
            if not tries:
                asyncio.run_coroutine_threadsafe(spend(), loop).result(30)
            tries.append(made)
            return made

        def regained(restored: asyncio.Future[bool]) -> None:
            honestly(restored)
            seen.append((node.broker.tight, reserve.spent))
            if not reserve.spent:
                back.set()

        honestly = writer._regained
        monkeypatch.setattr(reserve, "restore", restore)
        monkeypatch.setattr(writer, "_regained", regained)
        await spend()
        await asyncio.wait_for(back.wait(), 30)
        assert tries == [True, True]
        assert seen == [(True, True), (False, False)]
        await writer.close()

    asyncio.run(run())


@pytest.mark.promise("P-119")
def test_a_result_that_a_turn_leaves_is_settled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk became full in the midst of a turn that was taken apart."""

    async def work(node: Node) -> None:
        honest, lefts = node.broker.prepare, 0

        def prepare(turn: Turn, now: Millis) -> Prepared:
            nonlocal lefts
            if turn.results and not lefts:
                lefts += 1
                return Prepared(Turned(left=turn.results), committed=True)
            return honest(turn, now)

        await node.writer.publish([ITEM])
        await node.arrived.wait()
        monkeypatch.setattr(node.broker, "prepare", prepare)
        node.writer.settle(Result(node.begun[0], Outcome(status=200)))
        await node.writer.settled()
        assert lefts == 1
        assert (await node.writer.read(lambda h: h.pending(1, Filter(), None, 9, 0))).items == ()

    on_a_node(work, capacity=1)


@pytest.mark.promise("P-119", "F-18")
def test_another_program_that_holds_the_file_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup takes the lock for some milliseconds: publishers notice nothing, and their order stays."""
    monkeypatch.setattr(room, "BUSY_PAUSE", 0.0)
    tries = 0

    async def work(node: Node) -> None:
        honest = node.store._connection.execute

        def execute(text: str, *values: Any) -> object:
            nonlocal tries
            tries += text == "BEGIN IMMEDIATE"
            if text == "BEGIN IMMEDIATE" and tries <= 3:
                raise apsw.BusyError("database is locked")
            return honest(text, *values)

        monkeypatch.setattr(node.store, "_connection", Wrapped(node.store._connection, execute))
        await node.writer.publish([ITEM])
        await node.arrived.wait()
        assert tries >= 4

    on_a_node(work, capacity=1)


@pytest.mark.promise("P-119", "P-130")
def test_a_server_that_ends_on_a_full_disk_gives_its_results_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot wait for room that may never come; the next start makes the attempt again."""

    async def work(node: Node) -> None:
        await node.writer.publish([ITEM])
        await node.arrived.wait()
        monkeypatch.setattr(node.broker, "prepare", full)
        node.writer.settle(Result(node.begun[0], Outcome(status=200)))
        await asyncio.wait_for(node.writer.close(), 30)

    def full(*_: object) -> None:
        raise StorageFull("full")

    on_a_node(work, capacity=1)


@pytest.mark.promise("P-119")
@pytest.mark.parametrize("waits", ["publish", "cold work"])
def test_a_server_that_ends_waits_for_no_other_program(monkeypatch: pytest.MonkeyPatch, waits: str) -> None:
    """Who waits until the file is free again is told before the end, and the end comes."""

    async def work(node: Node) -> None:
        tried = asyncio.Event()

        def held(*_: object) -> None:
            tried.set()
            raise StoreBusy

        with monkeypatch.context() as during:
            during.setattr(room, "BUSY_PAUSE", 3600.0)
            during.setattr(node.broker, "prepare", held)
            waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(node.writer.publish([ITEM]))]
            if waits == "cold work":
                node.writer._cold_last = True  # So that the publish goes first.
                waiting.append(asyncio.ensure_future(node.writer.run(lambda *_: None)))
            await tried.wait()
            await node.writer.close()

        assert all(task.done() for task in waiting)
        assert isinstance(waiting[0].exception(), StoreBusy)

    on_a_node(work)


def test_an_io_error_ends_all_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown is unknown: nobody is told 2xx any more, and the process is told to end, once."""

    async def work(node: Node) -> None:
        with failing(monkeypatch, apsw.IOError("disk")):
            answers = await asyncio.gather(*(node.writer.publish([ITEM]) for _ in range(3)), return_exceptions=True)
        assert {type(a) for a in answers} == {StoreFailed}
        with pytest.raises(StoreFailed):
            await node.writer.publish([ITEM])
        with pytest.raises(StoreFailed):
            await node.writer.run(lambda broker, now: broker.sweep(now))
        assert len(node.failures) == 1

    on_a_node(work)


def test_a_turn_that_meets_a_bug_is_not_all_that_the_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due is looked for again after a pause; a publish does not wait for that."""
    pauses: list[float] = []

    async def work(node: Node) -> None:
        tries = 0

        def prepare(*_: object) -> Prepared:
            nonlocal tries
            tries += 1
            raise RuntimeError

        await node.writer.settled()
        with monkeypatch.context() as during:
            during.setattr(node.broker, "prepare", prepare)
            during.setattr(node.writer, "_later", pauses.append)
            node.writer.wake()
            for _ in range(20):
                await asyncio.sleep(0)
            assert (tries, pauses) == (1, [room.FAILED_PAUSE])
        assert len(await node.writer.publish([ITEM])) == 1

    on_a_node(work, capacity=1)


def test_cold_work_takes_its_turn_and_its_error_is_its_own() -> None:
    """A failing piece of cold work harms nobody else."""

    async def work(node: Node) -> None:
        async def boom() -> None:
            def fail(_: Broker, now: Millis) -> None:
                raise ValueError(now)

            await node.writer.run(fail)

        failed, stored = await asyncio.gather(boom(), node.writer.publish([ITEM]), return_exceptions=True)
        assert isinstance(failed, ValueError)
        assert isinstance(stored, tuple)
        assert await node.writer.cancel(1, Filter()) == 1

    on_a_node(work)


@pytest.mark.promise("F-63")
def test_deliveries_go_first_while_messages_wait_that_could_start() -> None:
    """Else a backlog would grow for good under a load that is easily borne without it."""

    async def work(node: Node) -> None:
        turns: list[int] = []
        honest = node.broker.prepare

        def prepare(turn: Turn, now: Millis) -> Prepared:
            turns.append(len(turn.publishes))
            return honest(turn, now)

        for _ in range(2):
            await node.writer.publish([ITEM])
        published = SystemClock().wall()
        while SystemClock().wall() <= published:  # noqa: ASYNC110 # A millisecond has no event.
            await asyncio.sleep(0)
        node.capacity += 1
        node.writer.settle(Result(node.begun[0], Outcome(status=200)))
        await node.writer.settled()
        assert len(node.begun) == 2, "the second one had waited"
        node.broker.prepare = prepare  # type: ignore[method-assign]
        await asyncio.gather(*(node.writer.publish([ITEM]) for _ in range(100)))
        assert turns[0] == room.BEHIND_ITEMS
        assert sum(turns) == 100
        assert len([n for n in turns if n]) == 2, "nothing was delivered meanwhile, so nobody has to wait for it"

    on_a_node(work, capacity=1)


@pytest.mark.promise("P-118", "F-60")
def test_bulk_work_lets_publishes_pass_between_its_pieces() -> None:
    """A million are cancelled in pieces; whoever publishes meanwhile waits for one of them, not for all."""

    async def work(node: Node) -> None:
        order: list[str] = []

        async def bulk() -> None:
            for _ in range(5):
                await node.writer.run(lambda *_: order.append("piece"))

        async def publisher() -> None:
            for _ in range(2):
                await node.writer.publish([ITEM])
                order.append("publish")

        await asyncio.gather(bulk(), publisher())
        assert "publish" in order[:3], order
        assert order[-1] == "piece", order

    on_a_node(work)


def test_a_client_that_has_gone_changes_nothing() -> None:
    """Its message is stored all the same: the outcome is unknown to it, not to us."""

    async def work(node: Node) -> None:
        gone = asyncio.ensure_future(node.writer.publish([ITEM]))
        await asyncio.sleep(0)
        gone.cancel()
        await node.writer.settled()
        page = await node.writer.read(lambda h: h.pending(1, Filter(), None, 9, 0))
        assert len(page.items) <= 1
        assert len(await node.writer.publish([ITEM])) == 1

    on_a_node(work)


def test_the_system_clock_counts_in_the_right_units() -> None:
    """Milliseconds since 1970, and nanoseconds that do not run backwards."""
    clock = SystemClock()
    first, second = clock.mono(), clock.mono()

    assert 1_700_000_000_000 < clock.wall() < 4_000_000_000_000
    assert Nanos(0) < first <= second
    assert isinstance(open_memory(0), SqliteStore)
