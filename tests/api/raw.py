"""A server of ours on a real socket, and a client that writes bytes as they stand.

Tests of the front talk to it over 127.0.0.1: nothing between them and the protocol mends a request
or hides an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import h11
import uvicorn
from uvicorn.server import ServerState

from lateron.api.heads import Limits
from lateron.api.lane import protocol_class
from lateron.api.protocol import LimitedProtocol
from lateron.api.publish import FastLane
from lateron.runtime import SystemClock

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

App = Callable[[Any, Any, Any], Awaitable[None]]
T = TypeVar("T")
PATIENCE_S = 20  # Ends a test that would hang; no test waits for it to pass.


class Answer(NamedTuple):
    """One answer as read from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Front(NamedTuple):
    """A listening front."""

    port: int
    protocol: type[LimitedProtocol]
    state: ServerState
    make: Callable[[], LimitedProtocol]


def run_on(loop: str, promise: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on one kind of event loop."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(promise)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole request and say what it was."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return
        body += event["body"]
        if not event["more_body"]:
            break
    seen = {
        "method": scope["method"],
        "target": scope["lateron.target"].decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    await answer(send, 200, seen)


async def answer(send: Any, status: int, content: Any, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Send a JSON answer."""
    body = json.dumps(content).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def front_class(
    limits: Limits | None = None,
    uncapped: Callable[[str], bool] = lambda _: False,
    lane: FastLane | None = None,
) -> type[LimitedProtocol]:
    """Return a protocol class with a census of its own."""
    numbers = itertools.count(1)
    return protocol_class(limits or Limits(), SystemClock(), lambda: f"r{next(numbers)}", uncapped, lane)


@asynccontextmanager
async def serving(app: App = echo, limits: Limits | None = None, **more: Any) -> AsyncIterator[Front]:
    """Listen on a port that the system chooses."""
    cls = front_class(limits, **more)
    config = uvicorn.Config(app, http=cls, ws="none", lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()

    def make() -> LimitedProtocol:
        return cls(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Front(server.sockets[0].getsockname()[1], cls, state, make)
    finally:
        server.close()
        for protocol in list(state.connections):
            protocol._wire.abort()  # type: ignore[union-attr]  # All are of our class.
        await server.wait_closed()


async def until(done: Callable[[], object]) -> None:
    """Let the loop run until ``done`` says so; for what gives no event to wait for."""
    while not done():  # noqa: ASYNC110 -- as above
        await asyncio.sleep(0)


class Client:
    """One connection to a front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        """Open a connection."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26))

    async def send(self, data: bytes) -> None:
        """Write bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Read one answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """Read until the other side closes or resets."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        """Close our side."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def exchange(port: int, data: bytes) -> list[Answer]:
    """Write ``data``, read until the server closes, return its answers."""
    client = await Client.connect(port)
    with suppress(ConnectionError):
        await client.send(data)
    received = await client.rest()
    await client.close()
    return parse_answers(received)


def parse_answers(received: bytes) -> list[Answer]:
    """Cut what a server sent into answers."""
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        answers.append(Answer(int(status.split(" ")[1]), headers, received[:length]))
        received = received[length:]
    return answers


class Seen(NamedTuple):
    """A request as a parser understood it."""

    method: str
    target: str
    body: str


def as_h11_reads(data: bytes) -> list[Seen]:
    """Return the requests that h11 finds in ``data``, up to the first it refuses or that is not whole."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    found: list[Seen] = []
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                found.append(Seen(head.method.decode(), head.target.decode("latin-1"), body.decode("latin-1")))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found
    except h11.ProtocolError:
        return found


def as_we_read(answers: list[Answer]) -> list[Seen]:
    """Return the requests that ``echo`` was given."""
    found = [answer.json() for answer in answers if answer.status == 200]
    return [Seen(seen["method"], seen["target"], seen["body"]) for seen in found]
