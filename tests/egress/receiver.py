"""A receiver that does exactly what a test says, byte for byte, and the world to send to it in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec import structs

from lateron.core.destination import parse_destination
from lateron.core.values import Headers
from lateron.egress import Delivery, Egress, EgressSettings, GuardPolicy, Resolver
from lateron.runtime import Clock, SystemClock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Reading those of the system takes its time.
ANYWHERE = GuardPolicy(allow_private=True)


@dataclass
class Heard:
    """One request as it came over the wire."""

    connection: int
    head: bytes
    body: bytes

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Talk:
    """One connection, as a behaviour sees it."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    receiver: Receiver

    async def hear(self) -> Heard:
        """Read one request; ends the behaviour when the client has closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        heard = Heard(self.number, head, await self.reader.readexactly(length))
        self.receiver.heard.append(heard)
        return heard

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def end(self) -> None:
        """Wait until the client closes."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Close with RST."""
        self.writer.transport.abort()


Behaviour: TypeAlias = Callable[[Talk], Awaitable[None]]


@dataclass
class Receiver:
    """A server on a free port of loopback."""

    behave: Behaviour
    port: int = 0
    connections: int = 0
    heard: list[Heard] = field(default_factory=list)
    open: set[asyncio.Task[None]] = field(default_factory=set)
    scheme: str = "http"

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                await self.behave(Talk(self.connections, reader, writer, self))
        finally:
            self.open.discard(task)
            writer.close()


def answering(*answers: bytes) -> Behaviour:
    """Answer the requests of each connection with these bytes, one after another, then close."""

    async def behave(talk: Talk) -> None:
        for answer in answers:
            await talk.hear()
            await talk.say(answer)

    return behave


def always(answer: bytes = OK) -> Behaviour:
    """Answer every request alike and keep the connection."""

    async def behave(talk: Talk) -> None:
        while True:
            await talk.hear()
            await talk.say(answer)

    return behave


@asynccontextmanager
async def receiving(
    behave: Behaviour, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(behave, scheme="https" if tls else "http")
    server = await asyncio.start_server(receiver.meet, host, 0, ssl=tls, limit=1 << 20)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(receiver.open):
            task.cancel()
        while receiver.open:
            await asyncio.wait(set(receiver.open))
        await server.wait_closed()


@asynccontextmanager
async def sending(
    settings: EgressSettings | None = None, resolver: Resolver | None = None, clock: Clock | None = None
) -> AsyncIterator[Egress]:
    settings = settings or EgressSettings(guard=ANYWHERE)
    if settings.tls is None:
        settings = structs.replace(settings, tls=NO_AUTHORITIES)
    egress = Egress(settings, clock or SystemClock(), resolver)
    try:
        yield egress
    finally:
        await egress.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # What is waited for happens in sockets, which set no event.
            await asyncio.sleep(0)


def delivery(
    url: str,
    body: bytes = b"hello",
    headers: Headers | Iterable[tuple[str, str]] = (("Content-Type", "text/plain"),),
    *,
    method: str = "POST",
    timeout_ms: int = 10_000,
    tenant: int = 1,
) -> Delivery:
    return Delivery(tenant, parse_destination(url), method, tuple(headers), body, timeout_ms)
