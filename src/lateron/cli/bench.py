"""``lateron bench``: a small load on a running server, with a receiver of its own.

Each connection publishes a message, waits until the server has it on disk, and publishes the next one; the
receiver notes when each arrives. Both live in this process, on one loop, so on one machine they share the
processors with the server: what is printed is what a user gets there, not the most that the server can do.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

from lateron.cli.client import Client, reason_of
from lateron.cli.exits import REFUSED, UNREACHABLE, Failed
from lateron.cli.terminal import echo, echo_json
from lateron.runtime import Clock, Nanos, SystemClock

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
MILLISECOND: Final = 1_000_000  # Nanoseconds.


class Load(Struct, frozen=True):
    """What is sent."""

    messages: int
    connections: int
    size: int  # Bytes of a body.
    patience_s: float  # From the last publish until the last message must have arrived.


class Run:
    """What is known of a run: when each message was sent, stored and received."""

    def __init__(self, load: Load, clock: Clock) -> None:
        self.load = load
        self.path = f"/lateron-bench/{secrets.token_hex(8)}"  # Of this run only; strangers are not counted.
        self.sent: dict[int, Nanos] = {}
        self.stored: list[int] = []  # How long each publish took, in nanoseconds.
        self.arrived: dict[int, Nanos] = {}
        self.duplicates = 0
        self.changed = asyncio.Event()  # Set when there is something new to see.
        self.failure: Failed | None = None
        self._transports: set[asyncio.Transport] = set()
        self._clock = clock

    def opened(self, transport: asyncio.BaseTransport) -> asyncio.Transport:
        """Note a connection; it is ended with the run at the latest."""
        known = cast(asyncio.Transport, transport)
        self._transports.add(known)
        return known

    def closed(self, transport: asyncio.Transport) -> None:
        """Note that a connection has ended."""
        self._transports.discard(transport)
        self.changed.set()

    async def hang_up(self) -> None:
        """End all connections; each has a second to send what it still has to."""
        for transport in self._transports:
            transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._transports:
                    self.changed.clear()
                    await self.changed.wait()

    def body(self) -> tuple[int, bytes]:
        """Return the next message, and note that it is sent now."""
        number = len(self.sent)
        self.sent[number] = self._clock.mono()
        head = f'{{"number":{number},"pad":"'.encode()
        return number, head.ljust(self.load.size - 2, b"x") + b'"}'

    def more(self) -> bool:
        """Whether there is another message to send."""
        return len(self.sent) < self.load.messages and self.failure is None

    def accepted(self, number: int) -> None:
        """Note that the server has answered a publish with 201."""
        self.stored.append(self._clock.mono() - self.sent[number])
        if len(self.stored) == self.load.messages:
            self.changed.set()

    def receive(self, path: bytes, body: bytes) -> None:
        """Note that a delivery has come."""
        if path.decode("latin-1") != self.path:
            return
        with suppress(ValueError, KeyError, TypeError):
            number = int(json.loads(body)["number"])
            if number in self.arrived:
                self.duplicates += 1
            elif number in self.sent:
                self.arrived[number] = self._clock.mono()
                if len(self.arrived) == self.load.messages:
                    self.changed.set()

    def fail(self, failure: Failed) -> None:
        """End the run."""
        self.failure = self.failure or failure
        self.changed.set()

    def document(self) -> dict[str, Any]:
        """Return the figures, times in milliseconds."""
        begin = min(self.sent.values(), default=0)
        seconds = (max(self.arrived.values(), default=begin) - begin) / 1e9
        late = [at - self.sent[number] for number, at in self.arrived.items()]
        return {
            "messages": self.load.messages,
            "connections": self.load.connections,
            "size": self.load.size,
            "seconds": round(seconds, 3),
            "perSecond": round(len(self.arrived) / seconds, 1) if seconds else 0.0,
            "publishMs": spread(self.stored),
            "arrivalMs": spread(late),
            "missing": self.load.messages - len(self.arrived),
            "duplicates": self.duplicates,
        }


class Publisher(asyncio.Protocol):
    """One connection that publishes, the next message when the last one is stored."""

    def __init__(self, run: Run, head: bytes) -> None:
        self._run = run
        self._head = head
        self._parser = httptools.HttpResponseParser(self)
        self._number = -1
        self._body = b""
        self._busy = False  # A publish waits for its answer.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = self._run.opened(transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"it does not answer HTTP: {error}", UNREACHABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._run.closed(self._transport)
        if self._busy:
            self._fail(f"the connection ended before an answer{f': {exc}' if exc else ''}", UNREACHABLE)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        self._busy = False
        if not 200 <= status < 300:
            self._fail(f"the server answered {status}: {reason_of(self._body)}", REFUSED)
            return
        self._run.accepted(self._number)
        self._next()

    def _next(self) -> None:
        """Publish another message, if there is one."""
        self._busy = self._run.more()
        if not self._busy:
            self._transport.close()
            return
        self._number, body = self._run.body()
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))

    def _fail(self, reason: str, code: int) -> None:
        self._busy = False
        self._run.fail(Failed(reason, code))
        self._transport.close()


class Sink(asyncio.Protocol):
    """One connection of the server that delivers."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser = httptools.HttpRequestParser(self)
        self._path = self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = self._run.opened(transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        del exc
        self._run.closed(self._transport)

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._run.receive(self._path, self._body)
        self._path = self._body = b""
        self._transport.write(OK)


def bench(client: Client, load: Load, listen: str, reach: str | None, *, as_json: bool) -> None:
    """Run a load and print its figures.

    Args:
        client: Where to publish, and as whom.
        load: What to send.
        listen: Address of this machine on which deliveries are received.
        reach: Name by which the server reaches that address; None: the address itself.
        as_json: Print a document instead of lines.

    Raises:
        Failed: The server refused a message, or not all arrived in time; the figures are printed before.
    """
    run = asyncio.run(_run(client, load, listen, reach))
    figures = run.document()
    if as_json:
        echo_json(figures)
    else:
        for line in told(figures):
            echo(line)
    if figures["missing"]:
        raise Failed(f"{figures['missing']} of {load.messages} messages did not arrive in time", REFUSED)


async def _run(client: Client, load: Load, listen: str, reach: str | None) -> Run:
    loop, run = asyncio.get_running_loop(), Run(load, SystemClock())
    try:
        server = await loop.create_server(lambda: Sink(run), listen, 0)
    except OSError as error:
        raise Failed(f"cannot listen on {listen}: {error.strerror or error}", REFUSED) from None
    port = server.sockets[0].getsockname()[1]
    host = reach or listen
    head = _head(client, f"http://{f'[{host}]' if ':' in host else host}:{port}{run.path}")
    parts = urlsplit(client.url)
    assert parts.hostname is not None, "connect() has looked"
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    try:
        for _ in range(min(load.connections, load.messages)):
            await loop.create_connection(
                lambda: Publisher(run, head), parts.hostname, parts.port or (443 if tls else 80), ssl=tls
            )
        await _ended(run)
    except OSError as error:
        raise Failed(f"no answer from {client.url}: {error.strerror or error}", UNREACHABLE) from None
    finally:
        server.close()
        await run.hang_up()
    if run.failure is not None:
        raise run.failure
    return run


async def _ended(run: Run) -> None:
    """Wait until all is stored, then until all has arrived, or something failed, or for too long."""
    while run.failure is None and len(run.stored) < run.load.messages:
        await run.changed.wait()
        run.changed.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(run.load.patience_s):
            while run.failure is None and len(run.arrived) < run.load.messages:
                await run.changed.wait()
                run.changed.clear()


def _head(client: Client, destination: str) -> bytes:
    """Return the request of a publish up to the length of its body."""
    parts = urlsplit(client.url)
    lines = (
        f"POST {parts.path}/v2/publish/{destination} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Bearer {client.token}",
        "Content-Type: application/json",
    )
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def told(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines for people."""
    publish, arrival = figures["publishMs"], figures["arrivalMs"]
    what = f"{figures['messages']:,} messages of {figures['size']} bytes on {figures['connections']} connections"
    return [
        f"{what} in {figures['seconds']:.2f} s: {figures['perSecond']:,.0f}/s",
        f"stored   p50 {publish['p50']:.1f} ms   p99 {publish['p99']:.1f} ms   longest {publish['max']:.1f} ms",
        f"arrived  p50 {arrival['p50']:.1f} ms   p99 {arrival['p99']:.1f} ms   longest {arrival['max']:.1f} ms",
        f"missing {figures['missing']}, delivered twice {figures['duplicates']}",
    ]


def spread(times: Sequence[int]) -> dict[str, float]:
    """Return median, 99th percentile and maximum of nanoseconds, in milliseconds; zeros of none."""
    ranked = sorted(times) or [0]
    picked = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        name: round(ranked[min(len(ranked) - 1, int(len(ranked) * part))] / MILLISECOND, 3)
        for name, part in picked.items()
    }
