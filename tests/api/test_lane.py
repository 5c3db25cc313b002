"""The fast lane of publishing: whatever is sent, it is answered and stored as on the long way."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api import world as world_room
from tests.api.raw import LOOPS, PATIENCE_S, Answer, Client, exchange, front_class, parse_answers, run_on, until
from tests.api.world import ADMIN, OTHER, PRIVATE, READER, TRUSTED, World, living

from lateron.api.heads import Limits
from lateron.api.lane import FastProtocol
from lateron.api.publish import Entry, Reply

AUTH = f"Authorization: Bearer {ADMIN}\r\n".encode()
DATE = (b"date", b"Sun, 22 Nov 2026 05:00:00 GMT")
MESSAGE = re.compile(rb"msg_[0-9a-f]{32}|'cursor': '[^']*'")  # Of what is different in each world.
MASK = b"msg_" + b"x" * 32  # As long as what it hides, so that answers can still be parsed.
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The lane must hold on every loop that it may run on."""
    return str(request.param)


@pytest.fixture
def both() -> Iterator[Ways]:
    with asyncio.Runner() as runner:
        ways = Ways(runner)
        yield ways
        ways.close()


def post(target: bytes, *lines: bytes, body: bytes = b"hi", auth: bytes = AUTH) -> bytes:
    """Return a publish as a client sends it."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n" % (target, auth, len(body))
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


GOOD = post(b"/v2/publish/https://h/")


class Way(NamedTuple):
    """A world that serves publishes in one way, and how many of them its lane has served."""

    world: World
    served: list[bytes]

    async def tell(self, data: bytes) -> bytes:
        """Send ``data`` and return what comes back until the server closes, ids of messages masked."""
        client = await Client.connect(self.world.front.port)
        await client.send(data)
        received = await client.rest()
        await client.close()
        return MESSAGE.sub(MASK, received)

    async def kept(self) -> Any:
        """Return what is stored and counted, ids of messages masked."""
        await self.world.writer.settled()
        begun = [(claimed.request, claimed.message.due, claimed.message.state) for claimed in self.world.begun]
        state = MESSAGE.sub(MASK, repr(await self.world.state()).encode())
        ports = self.world.api._ports
        return begun, state, ports.counters.snapshot(), self.world.api._in_flight.taken, self.world.paused


@asynccontextmanager
async def way(fast: bool, limits: Limits | None = None, **changes: Any) -> AsyncIterator[Way]:
    """Open a world whose publishes take the lane, or do not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_room, "FAST", fast)
        async with living(limits, **changes) as world:
            served: list[bytes] = []
            honest = world.api.lane.publish

            def publish(entry: Entry, body: bytes, reply: Reply) -> None:
                served.append(entry.rest)
                honest(entry, body, reply)

            patch.setattr(world.api.lane, "publish", publish)
            world.front.state.default_headers = [DATE]
            yield Way(world, served)


class Ways:
    """The lane and the long way side by side, given the same bytes."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self._contexts: list[Any] = []
        self.lane = self._open(fast=True)
        self.long = self._open(fast=False)

    def _open(self, *, fast: bool) -> Way:
        context = way(fast)
        opened: Way = self.runner.run(context.__aenter__())
        self._contexts.append(context)
        return opened

    def tell(self, data: bytes) -> bytes:
        """Send bytes to both, hold them to the same answer, and return it."""
        short = self.runner.run(self.lane.tell(data))
        assert short == self.runner.run(self.long.tell(data))
        return short

    def check_kept(self) -> None:
        assert self.runner.run(self.lane.kept()) == self.runner.run(self.long.kept())
        assert self.long.served == []

    def close(self) -> None:
        for context in reversed(self._contexts):
            self.runner.run(context.__aexit__(None, None, None))


def on_the_lane(test: Callable[[Way], Awaitable[None]], loop: str = "asyncio", **changes: Any) -> None:
    """Run a test in a world with a lane."""

    async def run() -> None:
        async with way(True, **changes) as opened:
            await test(opened)

    run_on(loop, run())


# ---- the same answers, the same rows

ON_THE_LANE = {
    "plain": (201, GOOD),
    "no body": (201, post(b"/v2/publish/https://h/", body=b"")),
    "no length": (201, b"POST /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\n"),
    "upper case": (201, post(b"/V2/PUBLISH/https://H/A")),
    "absolute form": (201, post(b"http://us/v2/publish/https://h/a?x=1")),
    "query": (201, post(b"/v2/publish/https://h/a//b?x=1&upstash-delay=1h&y=%20")),
    "empty query": (201, post(b"/v2/publish/https://h/p?")),
    "encoded": (201, post(b"/v2/publish/https%3A%2F%2Fh%2Fa%3Fx%3D1")),
    "token in the query": (201, post(b"/v2/publish/https://h/?qstash_token=" + ADMIN.encode(), auth=b"")),
    "options": (201, post(b"/v2/publish/https://h/", b"Upstash-Delay: 1h", b"Upstash-Forward-X:  a \xff\t", b"x-y: z")),
    "another tenant": (201, post(b"/v2/publish/https://h/", auth=f"authorization: bearer  {OTHER}\r\n".encode())),
    "forwarded for": (201, post(b"/v2/publish/https://h/", b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-For: 1.1.1.1")),
    "all headers": (201, post(b"/v2/publish/https://h/", b"Upstash-Header-Forward: true", b"X-A: b")),
    "big": (201, post(b"/v2/publish/https://h/", body=b"x" * 300_000)),
    "no destination": (400, post(b"/v2/publish/")),
    "no such group": (404, post(b"/v2/publish/orders")),
    "not UTF-8": (400, post(b"/v2/publish/https://h/%ff".replace(b"%ff", b"") + b"%zz\\")),
    "private": (400, post(f"/v2/publish/http://{PRIVATE}/".encode())),
    "bad option": (400, post(b"/v2/publish/https://h/", b"Upstash-Retries: soon")),
    "over a quota": (412, post(b"/v2/publish/https://h/", b"Upstash-Retries: 1000001")),
    "not built": (501, post(b"/v2/publish/https://h/", b"Upstash-Workflow-RunId: wfr_1")),
    "in circles": (400, post(b"/v2/publish/https://h/", b"Lateron-Hops: 17")),
    "told to close": (201, post(b"/v2/publish/https://h/", b"Connection: close")),
    "offer to upgrade": (201, post(b"/v2/publish/https://h/", b"Connection: Upgrade", b"Upgrade: h2c")),
}
CHUNKED = b"POST /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n"
LONG_WAY = {
    "no token": (401, post(b"/v2/publish/https://h/", auth=b"")),
    "no token, no body": (401, post(b"/v2/publish/https://h/", auth=b"", body=b"")),
    "bad token": (401, post(b"/v2/publish/https://h/", auth=b"Authorization: Bearer x\r\n")),
    "two tokens": (401, post(b"/v2/publish/https://h/", auth=AUTH + AUTH)),
    "bad token in the query": (401, post(b"/v2/publish/https://h/?qstash_token=x", auth=b"")),
    "reader": (403, post(b"/v2/publish/https://h/", auth=f"Authorization: Bearer {READER}\r\n".encode())),
    "too long": (413, b"POST /v2/publish/https://h HTTP/1.1\r\nHost: a\r\n%bContent-Length: 999999999\r\n\r\n" % AUTH),
    "over the quota": (
        412,
        b"POST /v2/publish/https://h HTTP/1.1\r\nHost: a\r\n%bContent-Length: 60000000\r\n\r\n" % AUTH,
    ),
    "chunked": (201, CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"),
    "chunked and empty": (201, CHUNKED + b"0\r\n\r\n"),
    "HTTP/1.0": (201, GOOD.replace(b"HTTP/1.1", b"HTTP/1.0")),
    "GET": (405, b"GET /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\n"),
    "PUT": (405, GOOD.replace(b"POST", b"PUT")),
    "batch": (201, post(b"/v2/batch", body=b'[{"destination":"https://h"}]')),
    "another path": (404, post(b"//v2/publish/https://h/")),
    "prefix alone": (404, post(b"/v2/publish")),
    "prefix encoded": (404, post(b"/v2/%70ublish/https://h/")),
    "queue": (201, post(b"/v2/enqueue/q/https://h/")),
    "catcher": (200, post(b"/_catch/x")),
    "public": (405, post(b"/healthz")),
    "two Hosts": (400, post(b"/v2/publish/https://h/", b"Host: b")),
    "no Host": (400, GOOD.replace(b"Host: a\r\n", b"")),
    "two lengths": (400, post(b"/v2/publish/https://h/", b"Content-Length: 3")),
    "length and chunked": (400, post(b"/v2/publish/https://h/", b"Transfer-Encoding: chunked")),
    "NUL in a header": (400, post(b"/v2/publish/https://h/", b"X: a\0b")),
    "too many lines": (431, post(b"/v2/publish/https://h/", *[b"X: y"] * 200)),
    "too long a URL": (414, post(b"/v2/publish/https://h/" + b"x" * 17_000)),
    "fragment": (400, post(b"/v2/publish/https://h/#x")),
}


@pytest.mark.promise("D-3", "P-3")
@pytest.mark.parametrize("name", [*ON_THE_LANE, *LONG_WAY])
def test_lane_answers_and_stores_byte_for_byte_as_the_long_way(both: Ways, name: str) -> None:
    """A client must not be able to tell which way its request took, nor may a rule hold on one of them only."""
    status, data = (ON_THE_LANE | LONG_WAY)[name]

    received = both.tell(data + LAST)

    assert parse_answers(received)[0].status == status, received
    assert (len(both.lane.served) == 1) is (name in ON_THE_LANE), "the table says what the lane takes"
    both.check_kept()


NAMES = st.sampled_from(
    [
        *("Upstash-Delay", "Upstash-Retries", "Upstash-Forward-X", "UPSTASH-METHOD", "Upstash-Timeout", "Lateron-Hops"),
        *("Upstash-Callback", "Upstash-Deduplication-Id", "Upstash-Content-Based-Deduplication", "Upstash-Label"),
        *("Upstash-Header-Forward", "Upstash-Not-Before", "Upstash-Flow-Control-Key", "Upstash-Redact-Fields"),
        *("Content-Type", "X-Other", "Connection", "Expect", "X-Forwarded-For", "Authorization", "Upgrade", "Cookie"),
    ]
)
VALUES = st.sampled_from(["", "1", "1h", "true", "close", "PUT", "https://c", f"http://{PRIVATE}", "100-continue"]) | (
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12)
)
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=6)
TARGETS = st.sampled_from(
    ["https://h/", "https://h/?x=1&upstash-retries=2", "orders", "", f"http://{PRIVATE}/", "http:/h"]
)


def test_any_headers_make_the_same_on_both_ways(both: Ways) -> None:
    """Nobody can list what clients send."""

    @settings(max_examples=150)
    @given(LINES, TARGETS, st.binary(max_size=20))
    def check(lines: list[tuple[str, str]], target: str, body: bytes) -> None:
        encoded = [f"{name}: {value}".encode("latin-1") for name, value in lines]
        both.tell(post(f"/v2/publish/{target}".encode(), *encoded, body=body) + LAST)

    check()

    assert len(both.lane.served) > 50
    both.check_kept()


def test_guessing_of_tokens_is_slowed_down_on_both_ways(both: Ways) -> None:
    """The lane must not be the fast way to try tokens."""
    guess = post(b"/v2/publish/https://h/", auth=b"Authorization: Bearer guess\r\n", body=b"")

    both.tell(guess * 30 + LAST)

    assert both.lane.world.paused > 0
    both.check_kept()


@pytest.mark.promise("D-12")
def test_caller_behind_a_proxy_is_the_same_on_both_ways() -> None:
    """Whom a proxy speaks for is found out once, for all."""

    async def callers(*, fast: bool) -> list[str | None]:
        async with way(fast, trusted_proxies=TRUSTED) as opened:
            for lines in (
                [],
                [b"X-Forwarded-For: 6.6.6.6, 9.9.9.9"],
                [b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-For: x"],
            ):
                await opened.tell(post(b"/v2/publish/https://h/", *lines) + LAST)
            return [claimed.request.options.caller_ip for claimed in opened.world.begun]

    assert asyncio.run(callers(fast=True)) == asyncio.run(callers(fast=False)) == ["127.0.0.1", "9.9.9.9", "127.0.0.1"]


@pytest.mark.promise("D-8")
def test_bug_of_ours_costs_a_publish_on_the_lane_and_not_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    """The answer carries the id under which the log has the trace."""

    def broken(_: Any) -> None:
        raise RuntimeError("secret insides")

    async def check(opened: Way) -> None:
        first, last = parse_answers(await opened.tell(GOOD + LAST))

        assert (first.status, last.status) == (500, 200)
        assert first.json() == {"error": "internal error", "requestId": first.headers["x-request-id"]}
        (record,) = [record for record in caplog.records if record.name == "lateron.api"]
        assert record.__dict__["fields"]["request"] == first.headers["x-request-id"]
        assert record.exc_info is not None
        assert opened.world.api._in_flight.taken == 0

    on_the_lane(check, check_destination=broken)


# ---- the order of things


def test_lane_and_long_way_keep_the_order_of_pipelined_requests(both: Ways) -> None:
    """A client that does not wait for answers must still know which is which."""
    kinds = [
        GOOD,
        b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        post(b"/v2/publish/orders"),
        b"GET /v2/keys HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\n",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\n",
        post(b"/v2/publish/https://h/", b"Expect: 100-continue"),
        post(b"/v2/batch", body=b'[{"destination":"https://h"}]'),
        post(b"/v2/publish/https://h/", auth=b"", body=b""),
    ]
    turns = [kinds[(i * i + i // 5) % len(kinds)] for i in range(200)]

    received = both.tell(b"".join(turns) + LAST)

    statuses = [int(word) for word in re.findall(rb"HTTP/1.1 (\d+) ", received)]
    assert {201, 200, 404, 401} <= set(statuses)
    assert len([status for status in statuses if status != 100]) == len(turns) + 1
    assert len(both.lane.served) > 40
    both.check_kept()


def test_thousands_of_publishes_in_one_packet_are_answered_one_after_the_other(loop: str) -> None:
    """Refusals answer at once; were each to begin the next, the stack would end before they do."""

    async def check(opened: Way) -> None:
        answers = await exchange(opened.world.front.port, post(b"/v2/publish/orders") * 3000 + GOOD + LAST)

        assert [answer.status for answer in answers] == [404] * 3000 + [201, 200]

    on_the_lane(check, loop)


def test_garbage_behind_a_publish_does_not_cost_its_answer(loop: str) -> None:
    """What stands behind a request is not looked at before that request is answered."""

    async def check(opened: Way) -> None:
        answers = parse_answers(await opened.tell(GOOD + b"\0\0garbage"))

        assert [answer.status for answer in answers] == [201, 400]

    on_the_lane(check, loop)


def test_what_comes_behind_a_last_publish_does_not_cost_its_answer(loop: str) -> None:
    """Closing while a peer still sends would reset the connection and lose the answer on its way."""
    last = post(b"/v2/publish/orders", b"Connection: close")

    async def check(opened: Way) -> None:
        (only,) = await exchange(opened.world.front.port, last + b"x" * 5_000_000)

        assert (only.status, only.headers["connection"]) == (404, "close")

    on_the_lane(check, loop)


@pytest.mark.promise("F-43")
def test_publish_that_comes_byte_by_byte_is_the_same_publish(loop: str) -> None:
    """The network may cut anywhere."""

    async def check(opened: Way) -> None:
        ours, theirs = socket.socketpair()
        running = asyncio.get_running_loop()
        _, protocol = await running.connect_accepted_socket(opened.world.front.make, ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        for byte in post(b"/v2/publish/https://h/?x", body=b"hello") + LAST:
            protocol.data_received(bytes([byte]))
        first, last = parse_answers(await reader.read())
        writer.close()
        await writer.wait_closed()

        assert (first.status, last.status) == (201, 200)
        assert opened.served == [b"https://h/?x"]
        assert [claimed.request.body for claimed in opened.world.begun] == [b"hello"]

    on_the_lane(check, loop)


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
            (only,) = await exchange(opened.world.front.port, GOOD[:-1])
            await until(lambda: not opened.world.front.state.tasks)
            return only, await opened.kept()

    only, (begun, _, counts, in_flight, _) = run_on(loop, run())

    assert only.status == 408
    assert (begun, in_flight) == ([], 0)
    assert counts["api_clients_gone"] == 1


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
