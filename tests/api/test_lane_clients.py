"""The fast lane and clients that go, dawdle or do not read; and the end of the server."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import Any

import pytest
import uvicorn
from tests.api.raw import LOOPS, PATIENCE_S, Answer, Client, exchange, front_class, parse_answers, run_on, until
from tests.api.ways import GOOD, LAST, Way, on_the_lane, post, way
from tests.api.world import World

from lateron.api.heads import Limits
from lateron.api.lane import FastProtocol
from lateron.api.protocol import LimitedProtocol


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The lane must hold on every loop that it may run on."""
    return str(request.param)


# ---- clients that go, dawdle, or do not read


class Hold:
    """Keeps the store's thread busy, so that what is published waits for its commit."""

    def __init__(self, world: World) -> None:
        self._go_on = threading.Event()
        self._world = world

    async def __aenter__(self) -> None:
        self._cold = asyncio.ensure_future(self._world.writer.run(lambda *_: self._go_on.wait(PATIENCE_S)))
        await until(lambda: self._world.writer._busy)

    async def __aexit__(self, *_: object) -> None:
        self._go_on.set()
        assert await self._cold


@pytest.mark.promise("F-41")
def test_client_that_leaves_during_the_commit_changes_nothing(loop: str) -> None:
    """Its message is stored, its answer dropped, and nothing of it stays behind."""

    async def check(opened: Way) -> None:
        world = opened.world
        async with Hold(world):
            for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # Close in order, and by reset.
                client = await Client.connect(world.front.port)
                raw: socket.socket = client.writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                before = len(opened.served)
                await client.send(GOOD)
                await until(lambda before=before: len(opened.served) > before)  # type: ignore[misc]
                await client.close()
            await until(lambda: not world.front.state.connections)
            assert len(world.front.state.tasks) == 2
            assert world.api._in_flight.taken == 4
        await world.writer.settled()

        assert len(world.begun) == 2
        assert world.front.state.tasks == set()
        assert world.api._in_flight.taken == 0
        assert world.api._ports.counters.snapshot() == {"api_answers_2xx": 2}
        assert world.front.state.total_requests == 0

    on_the_lane(check, loop)


@pytest.mark.promise("F-41")
def test_publish_cut_anywhere_publishes_nothing(loop: str) -> None:
    """A client that dies while sending has published nothing, and holds no memory."""

    async def check(opened: Way) -> None:
        world = opened.world
        for cut in range(len(GOOD)):
            client = await Client.connect(world.front.port)
            await client.send(GOOD[:cut])
            await client.close()
        await until(lambda: not world.front.state.connections)
        await world.writer.settled()

        assert not world.begun
        assert not opened.served
        assert world.front.state.tasks == set()
        assert world.api._in_flight.taken == 0

    on_the_lane(check, loop)


@pytest.mark.promise("D-14", "F-42")
@pytest.mark.parametrize("fast", [True, False])
def test_stalled_body_is_refused_and_forgotten(loop: str, *, fast: bool) -> None:
    """Half a body must not hold a connection, nor memory, for ever."""

    async def run() -> tuple[Answer, Any]:
        async with way(fast, Limits(body_grace_ms=30)) as opened:
            client = await Client.connect(opened.world.front.port)
            await client.send(GOOD[:-1])
            only = await client.answer()
            await until(lambda: not opened.world.front.state.tasks)
            assert opened.world.api._in_flight.taken == 0, "also while he may still read the answer"
            await client.close()
            return only, await opened.kept()

    only, (begun, _, counts, in_flight, _) = run_on(loop, run())

    assert only.status == 408
    assert (begun, in_flight) == ([], 0)
    assert counts["api_clients_gone"] == 1


async def half_sent(opened: Way) -> tuple[Client, LimitedProtocol]:
    """Send a publish but for its last byte, and return its two ends."""
    client = await Client.connect(opened.world.front.port)
    await client.send(GOOD[:-1])
    await until(lambda: opened.world.api._in_flight.taken == 1)
    (protocol,) = opened.world.front.state.connections
    assert isinstance(protocol, LimitedProtocol)
    return client, protocol


@pytest.mark.parametrize("fast", [True, False])
def test_body_that_comes_at_the_agreed_rate_is_waited_for(loop: str, *, fast: bool) -> None:
    """The pace is what is refused, not the time."""

    async def run() -> Answer:
        async with way(fast, Limits(body_grace_ms=0, body_bytes_per_second=1)) as opened:
            client, protocol = await half_sent(opened)
            protocol._late()
            await client.send(GOOD[-1:])
            answer = await client.answer()
            await client.close()
            return answer

    assert run_on(loop, run()).status == 201


@pytest.mark.parametrize("fast", [True, False])
def test_nothing_is_expected_of_a_client_while_we_work(loop: str, *, fast: bool) -> None:
    """A commit on a slow disk must not be taken for a slow body."""

    async def run() -> Answer:
        async with way(fast) as opened:
            client, protocol = await half_sent(opened)
            assert protocol._deadline is not None
            async with Hold(opened.world):
                await client.send(GOOD[-1:])
                await until(lambda: opened.world.writer._publishes)
                assert protocol._deadline is None
            answer = await client.answer()
            await client.close()
            return answer

    assert run_on(loop, run()).status == 201


@pytest.mark.promise("P-119", "D-7")
@pytest.mark.parametrize("sent", [2000, 1500])
def test_body_for_which_there_is_no_room_ends_its_connection(loop: str, sent: int) -> None:
    """Its rest is not read, so nobody knows where the next request begins."""

    async def run(*, fast: bool) -> tuple[list[Answer], Any]:
        async with way(fast, in_flight_bytes=1000) as opened:
            whole = post(b"/v2/publish/https://h/", body=b"x" * 2000)
            answers = await exchange(opened.world.front.port, whole[: len(whole) - 2000 + sent] + LAST * (sent == 2000))
            return answers, await opened.kept()

    (only,), kept = run_on(loop, run(fast=True))

    assert (only.status, only.headers["connection"]) == (503, "close")
    assert ([only], kept) == run_on(loop, run(fast=False))


def test_answer_waits_for_a_client_that_does_not_read(loop: str) -> None:
    """Answers must not pile up in our memory; one that nobody comes to read leaves nothing behind."""

    async def check(opened: Way) -> None:
        world = opened.world
        for stays in (True, False):
            ours, theirs = socket.socketpair()
            running = asyncio.get_running_loop()
            _, protocol = await running.connect_accepted_socket(world.front.make, ours)
            assert isinstance(protocol, FastProtocol)
            reader, writer = await asyncio.open_connection(sock=theirs)
            protocol.pause_writing()  # As the transport does when what was written is not taken.
            writer.write(GOOD + LAST if stays else GOOD)
            await until(lambda protocol=protocol: protocol._kept)  # type: ignore[misc]
            assert len(world.front.state.tasks) == 1
            if stays:
                protocol.resume_writing()
                answers = parse_answers(await reader.read())
                assert [answer.status for answer in answers] == [201, 200]
            writer.close()
            await writer.wait_closed()
            await until(lambda: not world.front.state.connections)
            assert world.front.state.tasks == set()
        assert len(world.begun) == 2

    on_the_lane(check, loop)


# ---- the end of the server


@pytest.mark.parametrize("limit", [PATIENCE_S, 0])
def test_stopping_server_answers_the_publishes_it_has_taken(loop: str, limit: int) -> None:
    """A commit under way is waited for, also when its client has gone; past the time limit it is answered still."""

    async def check(opened: Way) -> None:
        world = opened.world
        config = uvicorn.Config(
            world.api,
            http=front_class(lane=world.api.lane),
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=limit,
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        running = asyncio.create_task(server._serve([listener]))
        port = listener.getsockname()[1]
        stays, goes, idle = [await Client.connect(port) for _ in range(3)]
        async with Hold(world):
            await stays.send(GOOD)
            await goes.send(GOOD)
            await until(lambda: len(opened.served) == 2)
            await goes.close()
            server.should_exit = True
            assert await idle.rest() == b""
            if limit == 0:
                await running
            else:
                await until(lambda: len(server.server_state.connections) == 1)
                assert not running.done()
        last, rest = await stays.answer(), await stays.rest()
        await running
        await stays.close()
        await idle.close()

        assert (last.status, last.headers["connection"], rest) == (201, "close", b"")
        assert len(world.begun) == 2
        assert server.server_state.tasks == set()

    on_the_lane(check, loop)


def test_without_a_lane_its_code_is_not_there() -> None:
    """Whoever mistrusts it can take it away, and has the front as it is without."""

    async def check(opened: Way) -> None:
        front = opened.world.front
        assert not issubclass(front.protocol, FastProtocol)
        assert parse_answers(await opened.tell(GOOD + LAST))[0].status == 201
        assert opened.served == []

    async def run() -> None:
        async with way(False) as opened:
            await check(opened)

    asyncio.run(run())
