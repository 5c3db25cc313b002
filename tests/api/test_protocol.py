"""What a connection may do to us: the front, tried on real sockets."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.corpus import CHUNKED, CORPUS, END, POST
from tests.api.raw import (
    LOOPS,
    Answer,
    Client,
    answer,
    as_h11_reads,
    as_we_read,
    echo,
    exchange,
    front_class,
    parse_answers,
    run_on,
    serving,
    until,
)
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import ServerState

from lateron.api import lane, protocol
from lateron.api.heads import Limits


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The front must hold on every loop that it may run on."""
    return str(request.param)


GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def ask(loop: str, data: bytes, limits: Limits | None = None) -> list[Answer]:
    """Send ``data`` to a front of its own and return all its answers."""

    async def run() -> list[Answer]:
        async with serving(limits=limits) as front:
            return await exchange(front.port, data)

    return run_on(loop, run())


# ---- what is refused


@pytest.mark.promise("D-10", "D-13", "F-43")
@pytest.mark.parametrize("name", CORPUS)
def test_disputed_request_is_refused_or_read_as_h11_reads_it(loop: str, name: str) -> None:
    """Two parsers that disagree where a request ends are a smuggling hole; we refuse before we differ."""
    status, data = CORPUS[name]

    answers = ask(loop, data + END)

    assert answers[0].status == status, answers
    if status == 200:
        assert as_we_read(answers)[-1].target == "/end"
        if name != "absolute form":
            assert as_we_read(answers) == as_h11_reads(data + END)
    else:
        assert len(answers) == 1
        assert answers[0].headers["connection"] == "close"
        assert answers[0].headers["content-type"] == "application/json"
        assert answers[0].headers["x-request-id"]
        assert isinstance(answers[0].json()["error"], str)


@pytest.mark.promise("F-43")
@pytest.mark.parametrize("name", CORPUS)
def test_cuts_of_the_network_change_no_judgement(loop: str, name: str) -> None:
    """A request that comes byte by byte is judged as if it came at once."""
    status, data = CORPUS[name]

    async def run() -> list[Answer]:
        async with serving() as front:
            ours, theirs = socket.socketpair()
            loop = asyncio.get_running_loop()
            _, protocol = await loop.connect_accepted_socket(front.make, ours)
            reader, writer = await asyncio.open_connection(sock=theirs)
            for byte in data + END:
                protocol.data_received(bytes([byte]))
            received = await reader.read()
            writer.close()
            await writer.wait_closed()
            return parse_answers(received)

    answers = run_on(loop, run())

    assert [a.status for a in answers] == ([status, 200] if status == 200 else [status])


PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"1", b"a", b"#", b"//", b"%00", b"\xff"),
        *(b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"0\r\n\r\n", b"HTTP/1.0", GET),
    ]
)
BASES = st.sampled_from(
    [data for name, (status, data) in CORPUS.items() if status == 200 and name != "absolute form"]
    + [CHUNKED + b"1\r\na\r\n0\r\n\r\n"]
)
EDITS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), PIECES), min_size=1, max_size=4)


@pytest.mark.promise("F-43")
def test_mutated_requests_never_split_us_from_h11(loop: str) -> None:
    """Whatever reaches the application is what another strict parser finds in the same bytes."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        context = serving(limits=Limits(linger_ms=20, head_ms=20, body_grace_ms=20, idle_ms=20))
        front = runner.run(context.__aenter__())

        @settings(max_examples=400)
        @given(BASES, EDITS)
        def check(data: bytes, edits: list[tuple[int, int, bytes]]) -> None:
            for somewhere, drop, piece in edits:
                at = somewhere % len(data)
                data = data[:at] + piece + data[at + drop :]
            answers = runner.run(exchange(front.port, data + END))
            ours = as_we_read(answers)
            assert ours == as_h11_reads(data + END)[: len(ours)]
            assert {a.status for a in answers} <= {200, 400, 408, 414, 431, 501}

        check()
        runner.run(context.__aexit__(None, None, None))


def header_lines(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % i for i in range(count))


@pytest.mark.promise("D-14", "F-42")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + header_lines(199) + b"\r\n" + END, 200),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + header_lines(200) + b"\r\n" + END, 431),
        (b"GET /" + b"x" * 16_383 + b" HTTP/1.1\r\nHost: a\r\n\r\n" + END, 200),
        (b"GET /" + b"x" * 16_384 + b" HTTP/1.1\r\nHost: a\r\n\r\n" + END, 414),
        (b"GET /" + b"x" * 20_000_000, 414),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (32_768 - 33) + b"\r\n\r\n" + END, 200),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (32_768 - 32) + b"\r\n\r\n" + END, 431),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000_000, 431),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX:" + b" " * 20_000_000, 431),
    ],
)
def test_head_is_counted_to_the_byte(loop: str, data: bytes, status: int) -> None:
    """Stock uvicorn buffers a head without an end; ours is refused at its limit, not one byte before."""
    answers = ask(loop, data)

    assert answers[0].status == status


@pytest.mark.promise("F-42")
@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b"x" * 100_000 + b"\r\na\r\n0\r\n\r\n",
        b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"0" * 100_000 + b"1\r\na\r\n0\r\n\r\n",
    ],
)
def test_framing_of_a_chunked_body_is_bounded(loop: str, body: bytes) -> None:
    """Extensions, zeros and trailers are bytes without a body: they must not come without end."""
    answers = ask(loop, CHUNKED + body + END)

    assert [a.status for a in answers] == [400]


def test_trailers_are_not_headers(loop: str) -> None:
    """A trailer comes after every check on headers was made, so it must not pass for one."""
    data = CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + END

    first, _ = ask(loop, data)

    assert [name for name, _ in first.json()["headers"]] == ["host", "transfer-encoding"]


@pytest.mark.parametrize(("absolute", "path"), [("http://b:1/x?y=//", "/x?y=//"), ("https://b", "/")])
def test_absolute_form_is_read_as_its_path(loop: str, absolute: str, path: str) -> None:
    """RFC 9112 wants it accepted; the application must not need to know."""
    first, _ = ask(loop, f"GET {absolute} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + END)

    assert first.json()["target"] == path


@pytest.mark.parametrize("target", ["/v2/publish/https://h//p?a=b?c", "/p?", "/%2F%25/%ZZ", '/[::1]/u:p@|{}^<>"`\\'])
def test_target_reaches_the_application_byte_for_byte(loop: str, target: str) -> None:
    """A destination travels in it, and is signed and requested as it was given."""
    first, _ = ask(loop, f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode() + END)

    assert first.json()["target"] == target


# ---- order, and what stands behind a request


def test_answers_keep_the_order_of_pipelined_requests(loop: str) -> None:
    """A client that does not wait for answers must still know which is which."""
    count = 1000
    requests = b"".join(
        (b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i)
        if i % 3
        else b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\r\n\r\na\r\n0\r\n\r\n" % i
        for i in range(count)
    )

    answers = ask(loop, requests + END)

    assert [a.json()["target"] for a in answers] == [*(f"/{i}" for i in range(count)), "/end"]


def test_garbage_behind_a_request_does_not_cost_its_answer(loop: str) -> None:
    """Stock uvicorn answers the garbage at once and drops the good answer."""
    seen: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        seen.append(scope["path"])
        await echo(scope, receive, send)

    async def run() -> list[Answer]:
        async with serving(slow) as front:
            return await exchange(front.port, GET + b"\0\0garbage")

    answers = run_on(loop, run())

    assert [a.status for a in answers] == [200, 400]
    assert seen == ["/x"]


@pytest.mark.parametrize("body", [b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000, b"Content-Length: 0\r\n\r\n"])
def test_connection_is_kept_after_a_good_request(loop: str, body: bytes) -> None:
    """Keep-alive is what makes publishing cheap."""

    async def run() -> list[str]:
        async with serving() as front:
            client = await Client.connect(front.port)
            targets = []
            for i in range(5):
                await client.send(b"POST /%d HTTP/1.1\r\nHost: a\r\n" % i + body)
                targets.append((await client.answer()).json()["target"])
            await client.close()
            return targets

    assert run_on(loop, run()) == [f"/{i}" for i in range(5)]


def test_early_answer_is_read_although_the_body_was_not(loop: str) -> None:
    """A refusal in the middle of an upload must reach its sender, not be lost to a reset."""

    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, 413, {"error": "too large"}, ((b"connection", b"close"),))

    async def run() -> list[Answer]:
        async with serving(refuse) as front:
            return await exchange(front.port, POST + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)

    (only,) = run_on(loop, run())

    assert only.status == 413


def test_expected_continue_comes_when_the_application_reads(loop: str) -> None:
    """Curl asks before it sends a large body."""

    async def run() -> tuple[bytes, Answer]:
        async with serving() as front:
            client = await Client.connect(front.port)
            await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            interim = await client.reader.readuntil(b"\r\n\r\n")
            await client.send(b"abc")
            final = await client.answer()
            await client.close()
            return interim, final

    interim, final = run_on(loop, run())

    assert interim.startswith(b"HTTP/1.1 100 ")
    assert final.json()["body"] == "abc"


@pytest.mark.parametrize("bad", [b"1\na\r\n", b"zz\r\n"])
def test_broken_body_ends_the_request_in_the_application(loop: str, bad: bytes) -> None:
    """The application must not go on with half a body, nor wait for the rest for ever."""
    events: list[str] = []

    async def read(_scope: Any, receive: Any, send: Any) -> None:
        while (event := await receive())["type"] == "http.request" and event["more_body"]:
            pass
        events.append(event["type"])
        await answer(send, 200, {})

    async def run() -> list[Answer]:
        async with serving(read) as front:
            return await exchange(front.port, CHUNKED + b"1\r\na\r\n" + bad)

    answers = run_on(loop, run())

    assert [a.status for a in answers] == [400]
    assert events == ["http.disconnect"]


@pytest.mark.promise("F-41")
def test_request_cut_anywhere_is_no_request(loop: str) -> None:
    """A client that dies while sending has published nothing."""
    whole: list[bytes] = []

    async def read(_scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (event := await receive())["type"] == "http.request":
            body += event["body"]
            if not event["more_body"]:
                whole.append(body)
                await answer(send, 200, {})
                return

    async def run() -> None:
        for data in (POST + b"Content-Length: 5\r\n\r\nhello", CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"):
            async with serving(read) as front:
                for cut in range(len(data)):
                    client = await Client.connect(front.port)
                    await client.send(data[:cut])
                    await client.close()
                await until(lambda: not front.state.connections and not front.state.tasks)
                assert whole == []
                assert front.protocol.census.total == 0

    run_on(loop, run())


# ---- time


@pytest.mark.promise("D-14", "F-42")
@pytest.mark.parametrize(
    ("data", "limits", "status"),
    [
        (b"", Limits(head_ms=30), None),
        (b"GET /x HTT", Limits(head_ms=30), 408),
        (GET + b"GET /x HTT", Limits(head_ms=30), 408),
        (GET, Limits(idle_ms=30), None),
        (POST + b"Content-Length: 5\r\n\r\nhel", Limits(body_grace_ms=30), 408),
        (CHUNKED + b"5\r\nhel", Limits(body_grace_ms=30), 408),
    ],
)
def test_waiting_for_a_client_has_an_end(loop: str, data: bytes, limits: Limits, status: int | None) -> None:
    """A half-sent request must not keep a connection for ever."""
    answers = ask(loop, data, limits)

    assert [a.status for a in answers if a.status != 200] == ([] if status is None else [status])


def test_dripping_head_is_not_given_more_time(loop: str) -> None:
    """The time runs from the first byte of the head, not from the last one that came."""

    async def run() -> bytes:
        async with serving(limits=Limits(head_ms=50)) as front:
            client = await Client.connect(front.port)
            reading = asyncio.create_task(client.rest())
            client.writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\nX: ")
            while not reading.done():  # Were each byte given new time, the head would at last be too long: 431.
                client.writer.write(b"y")
                await asyncio.sleep(0)
            await client.close()
            return await reading

    assert run_on(loop, run()).startswith(b"HTTP/1.1 408 ")


def test_slow_body_is_judged_by_its_pace(loop: str) -> None:
    """A body may take long if it comes at the agreed rate, and not if it only never stops."""

    async def run() -> bytes:
        async with serving(limits=Limits(body_grace_ms=20, body_bytes_per_second=1_000_000)) as front:
            client = await Client.connect(front.port)
            await client.send(POST + b"Content-Length: 1000000\r\n\r\n")
            reading = asyncio.create_task(client.rest())
            while not reading.done():
                client.writer.write(b"x")
                await asyncio.sleep(0)
            await client.close()
            return await reading

    assert run_on(loop, run()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.promise("D-14")
def test_answer_that_nobody_reads_is_given_up(loop: str) -> None:
    """A client that asks and does not read would hold its answers in our memory."""

    async def huge(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, 200, "x" * 20_000_000)

    async def run() -> None:
        async with serving(huge, Limits(unread_ms=30)) as front:
            client = await Client.connect(front.port)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET)
            await until(lambda: front.state.total_requests and not front.state.connections)
            await client.close()

    run_on(loop, run())


# ---- how many


@pytest.mark.promise("D-14", "F-42")
@pytest.mark.parametrize(
    ("limits", "proxy", "status"),
    [
        (Limits(connections=2), False, 503),
        (Limits(connections_per_ip=2), False, 429),
        (Limits(connections_per_ip=2), True, None),
    ],
)
def test_connections_are_capped_in_total_and_per_address(
    loop: str, limits: Limits, proxy: bool, status: int | None
) -> None:
    """One client must not take every connection there is; a proxy speaks for many."""

    async def run() -> None:
        async with serving(limits=limits, uncapped=lambda ip: proxy and ip == "127.0.0.1") as front:
            clients = [await Client.connect(front.port) for _ in range(3)]
            await clients[0].send(GET)
            assert (await clients[0].answer()).status == 200
            await clients[1].send(GET)
            assert (await clients[1].answer()).status == 200
            await clients[2].send(GET)
            assert (await clients[2].answer()).status == (status or 200)
            for client in clients:
                await client.close()
            await until(lambda: not front.state.connections)
            again = await Client.connect(front.port)
            await again.send(GET)
            assert (await again.answer()).status == 200
            await again.close()

    run_on(loop, run())


def test_lost_connections_leave_nothing_behind(loop: str) -> None:
    """Counts that leak would in the end refuse everybody."""

    async def run() -> None:
        async with serving() as front:
            for data in (b"", b"GET", GET, POST + b"Content-Length: 9\r\n\r\nabc", b"\0", GET + GET + GET):
                client = await Client.connect(front.port)
                raw: socket.socket = client.writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # Close by reset.
                await client.send(data)
                await client.close()
            await until(lambda: not front.state.connections and not front.state.tasks)
            assert front.protocol.census.total == 0
            assert not front.protocol.census.per_ip

    run_on(loop, run())


# ---- under uvicorn


def test_graceful_stop_answers_what_was_begun(loop: str) -> None:
    """A publish whose commit is under way when the server stops is answered, and its connection closed."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go_on.wait()
        await echo(scope, receive, send)

    async def run() -> tuple[Answer, bytes, bytes]:
        config = uvicorn.Config(
            slow, http=front_class(), ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        running = asyncio.create_task(server._serve([listener]))
        port = listener.getsockname()[1]
        busy, idle = await Client.connect(port), await Client.connect(port)
        await busy.send(GET)
        await begun.wait()
        server.should_exit = True
        idle_saw = await idle.rest()
        go_on.set()
        last = await busy.answer()
        rest = await busy.rest()
        await running
        await busy.close()
        await idle.close()
        return last, rest, idle_saw

    last, rest, idle_saw = run_on(loop, run())

    assert last.status == 200
    assert rest == idle_saw == b""


# What we use of uvicorn beyond its documented surface. A name that is gone after an upgrade breaks
# this list before it breaks a connection.
OF_THE_PROTOCOL = {
    "access_log",
    "client",
    "config",
    "cycle",
    "expect_100_continue",
    "flow",
    "headers",
    "limit_concurrency",
    "loop",
    "parser",
    "scope",
    "server_state",
    "tasks",
    "transport",
    "url",
}
OF_THE_CYCLE = {"disconnected", "message_event", "response_complete", "response_started"}
OVERRIDDEN = {
    "__init__",
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "pause_writing",
    "resume_writing",
    "shutdown",
}
OF_THE_FLOW = {"pause_reading", "read_paused", "resume_reading", "write_paused"}
OF_THE_STATE = {"default_headers", "total_requests"}
OF_THE_TRANSPORT = {"close", "get_extra_info", "is_closing", "pause_reading", "resume_reading", "write"}


def test_every_borrowed_name_of_uvicorn_is_known_and_still_there(loop: str) -> None:
    """The pinned minor version is what these names were read from; an upgrade starts with this test."""
    trees = [ast.parse(Path(inspect.getfile(room)).read_text("utf-8")) for room in (protocol, lane)]
    classes = [n for tree in trees for n in tree.body if isinstance(n, ast.ClassDef)]
    ours = [n for n in classes if n.name in {"LimitedProtocol", "FastProtocol"}]
    body = [n for one in ours for n in one.body]
    methods = {n.name for n in body if isinstance(n, ast.FunctionDef)}
    declared = {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    nodes = [n for one in ours for n in ast.walk(one)]
    used = {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
    used -= methods | declared
    parents = {name for name in used if not name.startswith("_")}
    config = uvicorn.Config(echo, lifespan="off", log_config=None)

    async def make() -> httptools_impl.HttpToolsProtocol:
        return httptools_impl.HttpToolsProtocol(config, ServerState(), {})

    stock = run_on(loop, make())
    stock.on_message_begin()
    (errand,) = (n for n in classes if n.name == "Errand")
    of_an_errand = {n.value for n in ast.walk(errand.body[1]) if isinstance(n, ast.Constant)}
    of_an_errand |= {
        n.target.id for n in errand.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }

    assert parents == OF_THE_PROTOCOL
    assert methods & set(vars(httptools_impl.HttpToolsProtocol)) == OVERRIDDEN
    assert not [name for name in used - parents if hasattr(stock, name)], "a private name of ours is one of theirs"
    assert all(hasattr(stock, name) for name in OF_THE_PROTOCOL | OVERRIDDEN)
    cycle = inspect.getsource(httptools_impl.RequestResponseCycle)
    assert all(f"self.{name}" in cycle for name in OF_THE_CYCLE)
    protocol_source = inspect.getsource(httptools_impl.HttpToolsProtocol)
    touched = set(re.findall(r"(?:self\.|existing_)cycle\.(\w+)", protocol_source)) - {"body", "more_body"}
    assert touched | OF_THE_CYCLE <= of_an_errand, "an errand stands in the place of a cycle"
    assert set(re.findall(r"\bt\.(\w+)\(", inspect.getsource(uvicorn.Server.shutdown))) == {"cancel"}
    assert all(hasattr(ServerState(), name) for name in OF_THE_STATE)
    flow = inspect.getsource(flow_control.FlowControl)
    assert all(name in flow for name in OF_THE_FLOW)
    source = inspect.getsource(httptools_impl)
    used_of_transport = {
        n.attr
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self.transport"
    }
    assert used_of_transport <= OF_THE_TRANSPORT | {"set_protocol"}, "set_protocol is for WebSockets, which we refuse"
