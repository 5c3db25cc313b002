"""What is told as it happens, and at one glance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import pytest
from tests.api.raw import until
from tests.api.test_console import JSON, LOCAL, PAGES, SESSION, Browser
from tests.api.world import ADMIN, OTHER, READER, World, as_json, living

from lateron.api.heads import Limits
from lateron.api.ports import ConsoleSettings
from lateron.api.stream import OF_ONE, QUIET, ROWS, STREAMS
from lateron.broker.resources import Identity
from lateron.core.values import MINUTE, Outcome

STREAM = "/lateron/v1/stream"


class Told(NamedTuple):
    """One event of a stream."""

    name: str
    data: Any
    id: str


class Listener:
    """Reads a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = ""
        self.kept = b""

    async def piece(self) -> bytes:
        """Return the next chunk; empty at the end."""
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:size]

    async def event(self) -> Told | None:
        """Return the next event; None at the end."""
        while True:
            text, end, left = self.kept.partition(b"\n\n")
            if not end:
                piece = await self.piece()
                if not piece:
                    return None
                self.kept += piece
                continue
            self.kept = left
            lines = text.decode().split("\n")
            if not lines[0].startswith(":"):
                fields = dict(line.split(": ", 1) for line in lines)
                return Told(fields["event"], json.loads(fields["data"]), fields["id"])

    async def next(self, name: str) -> Told:
        """Return the next event of a name, passing over others."""
        while told := await self.event():
            if told.name == name:
                return told
        raise AssertionError(f"the stream ended without {name}")

    async def rest(self) -> list[Told]:
        """Return all that comes until the end."""
        found = []
        while told := await self.event():
            found.append(told)
        return found


@asynccontextmanager
async def listening(
    world: World, query: str = "", token: str = ADMIN, *more: str, headers: bool = True
) -> AsyncIterator[Listener]:
    """Open a stream, and wait until it has begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.front.port)
    lines = [f"GET {STREAM}{query} HTTP/1.1", "Host: " + LOCAL, *more]
    if headers:
        lines.append(f"Authorization: Bearer {token}")
    listener = Listener(reader, writer)
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        listener.head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert listener.head.startswith("HTTP/1.1 200"), listener.head
        assert await listener.piece() == b": lateron\n\n"
        yield listener
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def test_stream_counts_each_second() -> None:
    """Totals since the start, what waits and what is open; never by counting rows."""

    async def check() -> None:
        async with living() as world:
            await world.publish(Delay="1h")
            await world.fail()
            await world.publish()
            await world.end(Outcome(status=200))
            async with listening(world, "?topics=counters", READER) as listener:
                assert "text/event-stream" in listener.head
                assert (await listener.next("counters")).data == {
                    "time": world.clock.now,
                    "published": 3,
                    "delivered": 1,
                    "failed": 1,
                    "retried": 0,
                    "waiting": 1,
                    "active": 0,
                    "deadLetters": 1,
                    "oldestDueMs": None,
                }
                assert (await world.ask("DELETE", "/v2/dlq")).json() == {"deleted": 1}
                assert (await world.ask("DELETE", "/v2/messages")).json() == {"cancelled": 1}
                world.clock.now += 1000
                told = (await listener.next("counters")).data
                assert (told["waiting"], told["deadLetters"], told["published"]) == (0, 0, 3)

    asyncio.run(check())


def test_stream_tells_events_as_the_log_lists_them() -> None:
    """Who watches sees what who asks gets."""

    async def check() -> None:
        async with living() as world:
            async with listening(world, "?topics=messages") as listener:
                await until(lambda: world.api._ports.boards.of(1).watched_until)
                message = await world.publish()
                await world.end(Outcome(status=200, body=b"yes"))
                told = [await listener.next("message") for _ in range(3)]
            listed = (await world.ask("GET", f"/v2/events?messageId={message}&order=earliestFirst")).json()["events"]
            assert [one.data for one in told] == listed
            assert [one.data["state"] for one in told] == ["CREATED", "ACTIVE", "DELIVERED"]
            assert [one.id for one in told] == ["7.1", "7.2", "7.3"]

    asyncio.run(check())


def test_stream_shows_at_most_twenty_rows_a_second_and_says_what_it_left_out() -> None:
    """A storm must not drown who watches it, nor cost more than a calm."""

    async def check() -> None:
        async with living() as world, listening(world, "?topics=messages&seconds=2") as listener:
            board = world.api._ports.boards.of(1)
            await until(lambda: board.watched_until)
            items = [{"destination": "https://example.com", "headers": {"Upstash-Delay": "1h"}}] * 50
            await world.ask("POST", "/v2/batch", body=as_json(items))
            rows = [await listener.next("message") for _ in range(ROWS)]
            world.clock.now += 1000
            assert (await listener.next("sampled")).data == {"skipped": 30}
            world.clock.now += 1000
            assert [told.name for told in await listener.rest() if told.name == "message"] == []
            assert rows[-1].id == "7.20"

    asyncio.run(check())


def test_nothing_is_kept_or_rendered_while_nobody_watches() -> None:
    """A server without a console open pays for no console."""

    async def check() -> None:
        async with living() as world:
            board = world.api._ports.boards.of(1)
            await world.publish(Delay="1h")
            async with listening(world, "?topics=counters,dlq") as listener:
                await listener.next("counters")
                await world.publish(Delay="1h")
            assert (len(board.tape), board.number) == (0, 0)
            async with listening(world, "?topics=messages"):
                await until(lambda: board.watched_until)
                await world.publish(Delay="1h")
                assert board.number == 1
            world.clock.now = board.watched_until + 1
            await world.publish(Delay="1h")
            assert board.number == 1

    asyncio.run(check())


def test_stream_goes_on_where_the_reader_stood() -> None:
    """A browser that was away for a moment misses nothing; one that was away for long is told to look anew."""

    async def check() -> None:
        async with living() as world:
            async with listening(world, "?topics=messages") as listener:
                await until(lambda: world.api._ports.boards.of(1).watched_until)
                await world.publish(Delay="1h")
                last = (await listener.next("message")).id
            missed = [await world.publish(Delay="1h") for _ in range(2)]
            async with listening(world, "?topics=messages", ADMIN, f"Last-Event-ID: {last}") as listener:
                told = [await listener.next("message") for _ in range(2)]
                assert [one.data["messageId"] for one in told] == missed
            for old in ("6.1", "x", "7.x", "7"):
                async with listening(world, "?topics=messages,dlq", ADMIN, f"Last-Event-ID: {old}") as listener:
                    assert [(await listener.next("changed")).data["topic"] for _ in range(2)] == ["dlq", "messages"]

    asyncio.run(check())


@pytest.mark.parametrize(
    ("method", "target", "body", "topic"),
    [
        ("POST", "/v2/queues", b'{"queueName":"q"}', "queues"),
        ("POST", "/v2/flowControl/k/pause", b"", "flow"),
        ("POST", "/lateron/v1/delivery/pause", b"", "flow"),
        ("POST", "/v2/topics/g/endpoints", b'{"endpoints":[{"url":"https://example.com"}]}', "groups"),
        ("POST", "/v2/schedules/https://example.com?upstash-cron=@daily", b"", "schedules"),
    ],
)
def test_stream_says_what_has_changed(method: str, target: str, body: bytes, topic: str) -> None:
    """A list that somebody else changes is read anew, and no other is."""

    async def check() -> None:
        async with living() as world, listening(world, f"?topics={topic},dlq,counters&seconds=9") as listener:
            await listener.next("counters")
            assert (await world.ask(method, target, body=body)).status in {200, 201}
            world.clock.now += 1000
            assert (await listener.next("changed")).data == {"topic": topic}
            world.clock.now += 9000
            assert [told for told in await listener.rest() if told.name == "changed"] == []

    asyncio.run(check())


@pytest.mark.promise("P-111")
def test_stream_and_overview_tell_nothing_of_another_tenant() -> None:
    """Not an event, not a number, not that something has changed."""

    async def check() -> None:
        async with living() as world:
            before = (await world.ask("GET", "/lateron/v1/overview", OTHER)).json()
            topics = "messages,dlq,queues,flow,log,schedules,groups"
            async with listening(world, f"?topics=counters,{topics}&seconds=5", OTHER) as listener:
                first = (await listener.next("counters")).data
                await world.fail()
                await world.ask("POST", "/v2/queues", body=b'{"queueName":"q"}')
                world.clock.now += 5000
                rest = await listener.rest()
            assert {told.name for told in rest} <= {"counters"}
            assert all({**told.data, "time": 0} == {**first, "time": 0} for told in rest)
            assert (await world.ask("GET", "/lateron/v1/overview", OTHER)).json() == before

    asyncio.run(check())


def test_quiet_stream_says_that_it_is_still_there() -> None:
    """A proxy closes a connection on which nothing comes."""

    async def check() -> None:
        async with living() as world, listening(world, "?topics=dlq&seconds=60") as listener:
            world.clock.now += QUIET
            assert await listener.piece() == b": still here\n\n"

    asyncio.run(check())


@pytest.mark.promise("D-52")
def test_stream_ends_with_what_it_was_opened_with() -> None:
    """A token that is revoked, or a session that is over, must not go on listening."""

    async def check() -> None:
        async with living(console=ConsoleSettings(environment="serve", pages=PAGES)) as world:
            async with listening(world, "?topics=dlq", READER) as listener:
                known = world.resources
                known.adopt_tokens([row for row in known.tokens(1) if row.scope != "read"], known.changes)
                assert await listener.rest() == []
            browser = Browser(world)
            await browser.log_in(ADMIN)
            cookie = "Cookie: " + "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            async with listening(world, "?topics=dlq", ADMIN, cookie, headers=False) as listener:
                await browser.ask("DELETE", SESSION, JSON, ("Lateron-Csrf", browser.csrf))
                assert await listener.rest() == []
            await browser.log_in(ADMIN)
            cookie = "Cookie: " + "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            async with listening(world, "?topics=dlq", ADMIN, cookie, headers=False) as listener:
                ended = await world.ask("DELETE", "/lateron/v1/sessions?name=admin")
                assert ended.json() == {"ended": 1}
                assert await listener.rest() == []

    asyncio.run(check())


def test_streams_end_when_the_server_stops_and_when_the_client_goes() -> None:
    """Neither waits for the other."""

    async def check() -> None:
        async with living() as world:
            streams = world.api._ports.streams
            async with listening(world, "?topics=dlq"):
                await until(lambda: streams.open.total() == 1)
            await until(lambda: not streams.open)
            async with listening(world, "?topics=dlq") as listener:
                streams.close()
                assert await listener.rest() == []
            assert (await world.ask("GET", STREAM)).status == 503
            assert not streams.open

    asyncio.run(check())


def test_reader_that_does_not_read_is_dropped() -> None:
    """He would hold memory and a place for nothing."""

    async def check() -> None:
        async with living(Limits(unread_ms=50)) as world, listening(world, "?topics=messages"):
            streams = world.api._ports.streams
            await until(lambda: world.api._ports.boards.of(1).watched_until)
            while streams.open:
                await world.publish(body=b"x" * 60_000, Delay="1h", Label="y" * 200)
                world.clock.now += 1000

    asyncio.run(check())


def test_number_of_streams_is_bounded() -> None:
    """Each holds a connection and looks at the board."""

    async def check() -> None:
        async with living() as world:
            world.api._ports.streams.open[Identity(2, "others")] = STREAMS
            assert (await world.ask("GET", STREAM)).status == 503

    asyncio.run(check())


def test_nobody_takes_the_streams_of_all() -> None:
    """A token that may only read would keep everybody else from looking."""

    async def check() -> None:
        async with living() as world:
            reader = world.resources.authenticate(READER.encode())
            assert reader is not None
            world.api._ports.streams.open[reader] = OF_ONE
            assert (await world.ask("GET", STREAM, READER)).status == 503
            async with listening(world, "?topics=counters"):
                assert world.api._ports.streams.open.total() == OF_ONE + 1

    asyncio.run(check())


def test_number_of_a_thousand_digits_is_none_of_ours() -> None:
    """Python refuses to read it, which must not become an answer 500."""

    async def check() -> None:
        async with living() as world:
            assert (await world.ask("GET", f"{STREAM}?seconds={'1' * 5000}")).status == 400
            last = {"Last-Event-ID": f"{world.api._ports.boards.run}.{'1' * 5000}"}
            assert (await world.ask("HEAD", STREAM, headers=last)).status == 200

    asyncio.run(check())


@pytest.mark.parametrize("query", ["topics=", "topics=none", "topics=dlq,no", "seconds=0", "seconds=x", "count=1"])
def test_stream_of_what_is_not_there_is_refused(query: str) -> None:
    """Silence would look like nothing happening."""

    async def check() -> None:
        async with living() as world:
            answer = await world.ask(
                "GET", f"{STREAM}?{query}&seconds=1" if "seconds" not in query else f"{STREAM}?{query}"
            )
            name = query.partition("=")[0]
            assert (answer.status, name in answer.json()["error"]) == (400, True)
            assert (await world.ask("HEAD", STREAM)).status == 200

    asyncio.run(check())


def test_overview_says_how_it_goes() -> None:
    """In words first; then the last hour, a line a minute; then what is worth a look."""

    async def check() -> None:
        async with living() as world:
            quiet = (await world.ask("GET", "/lateron/v1/overview")).json()
            assert quiet["health"] == {"status": "ok", "text": "Delivering. 0 messages wait."}
            assert len(quiet["series"]) == 60
            await world.publish()
            await world.end(Outcome(status=200))
            world.clock.now += MINUTE
            await world.fail(status=503)
            await world.publish(Delay="1h", Flow_Control_Key="k", Flow_Control_Value="parallelism=1")
            cron = {"Upstash-Cron": "0 4 * * *", "Upstash-Schedule-Id": "daily"}
            await world.ask("POST", "/v2/schedules/https://example.com", ADMIN, b"", cron)
            told = (await world.ask("GET", "/lateron/v1/overview", READER)).json()
            assert told["health"]["status"] == "failing"
            assert "1 message has failed" in told["health"]["text"]
            before, now = told["series"][-2:]
            assert now["time"] - before["time"] == MINUTE
            assert (before["published"], before["delivered"], before["failed"]) == (1, 1, 0)
            assert (now["published"], now["failed"], now["waiting"]) == (2, 1, 1)
            assert set(now["attemptMs"]) == {"p50", "p95", "p99"}
            assert told["top"]["failingHosts"] == [{"host": "example.com", "count": 1}]
            assert told["top"]["errors"] == [{"error": "503", "count": 1}]
            assert told["top"]["busyKeys"] == [{"flowControlKey": "k", "waiting": 1, "active": 0}]
            assert [one["scheduleId"] for one in told["top"]["nextSchedules"]] == ["daily"]
            await world.ask("POST", "/lateron/v1/delivery/pause")
            paused = (await world.ask("GET", "/lateron/v1/overview")).json()["health"]
            assert paused["status"] == "paused"

    asyncio.run(check())


def test_overview_says_when_messages_are_late() -> None:
    """How old the oldest one is says more than how many there are."""

    async def check() -> None:
        async with living() as world:
            world.room = 0
            await world.publish()
            world.clock.now += 61_000
            told = (await world.ask("GET", "/lateron/v1/overview")).json()
            assert told["health"]["status"] == "late"
            assert told["series"][-1]["oldestDueMs"] == 61_000
            world.clock.now += MINUTE
            told = (await world.ask("GET", "/lateron/v1/overview")).json()
            assert [line["oldestDueMs"] for line in told["series"][-3:]] == [None, 61_000, 121_000]

    asyncio.run(check())
