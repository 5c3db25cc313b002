"""A daily report at four in the morning, New York time, through a change of clocks, a night's outage and a pause.

The server is the real one, with the official client and a receiver over HTTP; only its clock is the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from qstash import AsyncQStash

from lateron.config import load
from lateron.config.dev_users import DEV_USERS
from lateron.core.values import HOUR, MINUTE, SECOND, Millis
from lateron.runtime import Nanos, SystemClock
from lateron.server import Server

CRON = "CRON_TZ=America/New_York 0 4 * * *"


def at(text: str) -> Millis:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


class MovableClock(SystemClock):
    """Time as the test says; both clocks move together, as they do where nobody sets them."""

    def __init__(self, now: Millis) -> None:
        self.now = now

    def wall(self) -> Millis:
        return self.now

    def mono(self) -> Nanos:
        return Nanos(self.now * 1_000_000)


class Morning:
    """The server, and what a user does."""

    def __init__(self, folder: Path, now: str) -> None:
        self.clock = MovableClock(at(now))
        self._folder = folder
        self._port = 0  # After the first start always the same.
        self._server: Server | None = None

    async def start(self) -> None:
        data = self._folder / "data"
        settings = load("dev", {"port": str(self._port), "data-dir": str(data)}, {}, self._folder / "empty.toml")
        server = Server(settings, data, self.clock)
        await server.start()
        self._server, self.url, self._port = server, server.url, server.port
        self.client = AsyncQStash(DEV_USERS[0].token, base_url=server.url)

    async def stop(self) -> None:
        if self._server is not None:
            await self.client.http._client.aclose()
            server, self._server = self._server, None
            await server.stop()

    def lives(self, life: Callable[[], Awaitable[None]]) -> None:
        """Run a story on a loop of its own, and stop the server however it ends."""

        async def whole() -> None:
            try:
                await life()
            finally:
                await self.stop()

        asyncio.run(whole())

    async def get(self, path: str) -> Any:
        """Ask for what the SDK has no call for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {DEV_USERS[0].token}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode())
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        return msgspec.json.decode(body)

    @property
    def catcher(self) -> str:
        return f"{self.url}/_catch/report"

    async def reports(self) -> list[Any]:
        return list((await self.get("/lateron/v1/catcher/report"))["requests"])

    async def shown(self) -> Any:
        return await self.get("/v2/schedules/daily-report")

    async def wait(self, until: Callable[[], Awaitable[object]]) -> None:
        """Ask until the answer is true; the loop of ticks looks at its clock once a second."""
        async with asyncio.timeout(60):
            while not await until():  # noqa: ASYNC110 - Over HTTP there is no event to wait for.
                await asyncio.sleep(0.02)

    async def move(self, to: str, runs: int) -> None:
        """Set the clock, and wait until so many runs are counted and delivered."""
        self.clock.now = at(to)

        async def done() -> bool:
            shown = await self.shown()
            states = list(shown.get("lastScheduleStates", {}).values())
            return (
                shown.get("runs", 0) == runs
                and set(states) <= {"SUCCESS"}
                and shown["nextScheduleTime"] > self.clock.now
            )

        await self.wait(done)

    async def next_is(self, expected: str) -> None:
        """Wait until the next tick is shown to be the expected one."""

        async def so() -> bool:
            return bool((await self.shown())["nextScheduleTime"] == at(expected))

        await self.wait(so)


@pytest.fixture
def morning(tmp_path: Path) -> Morning:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "empty.toml").touch()
    return Morning(tmp_path, "2026-03-06T12:00Z")


@pytest.mark.promise("P-80", "P-82", "P-84", "P-86")
def test_the_report_comes_at_four_in_new_york_whatever_happens(morning: Morning) -> None:
    """Winter, summer, an outage of half a minute and one of hours, a pause: each day's report once or not at all."""

    async def life() -> None:
        await morning.start()
        name = await morning.client.schedule.create(
            destination=morning.catcher, cron=CRON, body="report", schedule_id="daily-report", retries=1
        )
        times = (await morning.get(f"/lateron/v1/schedules/{name}/next?count=3"))["times"]
        assert times == [at("2026-03-07T04:00-05:00"), at("2026-03-08T04:00-04:00"), at("2026-03-09T04:00-04:00")]

        await morning.move("2026-03-07T04:00:00-05:00", runs=1)
        await morning.move("2026-03-08T04:00:01-04:00", runs=2)
        assert len(await morning.reports()) == 2

        await morning.stop()
        morning.clock.now = at("2026-03-09T04:00:30-04:00")
        await morning.start()
        await morning.move("2026-03-09T04:00:40-04:00", runs=3)

        await morning.stop()
        morning.clock.now = at("2026-03-10T09:00-04:00")
        await morning.start()
        await morning.move("2026-03-10T09:00:10-04:00", runs=3)
        shown = await morning.shown()
        assert (shown["missedRuns"], shown["nextScheduleTime"]) == (1, at("2026-03-11T04:00-04:00"))

        await morning.client.schedule.pause("daily-report")
        await morning.stop()
        morning.clock.now = at("2026-03-12T12:00-04:00")
        await morning.start()
        assert (await morning.client.schedule.get("daily-report")).paused
        await morning.client.schedule.resume("daily-report")
        await morning.move("2026-03-13T04:00:00-04:00", runs=4)
        assert (await morning.shown())["missedRuns"] == 1
        assert [each["body"] for each in await morning.reports()] == ["report"]

    morning.lives(life)


@pytest.mark.promise("P-83", "F-20")
def test_a_server_whose_clock_was_ten_years_ahead_goes_on(morning: Morning) -> None:
    """Started by a wrong clock, stopped, and started by the right one: the next report is that of tomorrow."""

    async def life() -> None:
        true = morning.clock.now
        morning.clock.now = true + 3652 * 24 * HOUR
        await morning.start()
        await morning.client.schedule.create(
            destination=morning.catcher, cron=CRON, body="report", schedule_id="daily-report"
        )
        assert (await morning.shown())["nextScheduleTime"] > morning.clock.now
        await morning.stop()
        morning.clock.now = true
        await morning.start()
        await morning.next_is("2026-03-07T04:00-05:00")
        await morning.move("2026-03-07T04:00:00-05:00", runs=1)
        assert len(await morning.reports()) == 1

    morning.lives(life)


@pytest.mark.promise("P-82", "P-87")
def test_bounds_and_jitter_are_kept(morning: Morning) -> None:
    """Start, end, most runs, jitter and the preview of them, as a user sees them."""

    async def life() -> None:
        await morning.start()
        headers = {
            "Lateron-Start": "2026-03-10T00:00:00-04:00",
            "Lateron-End": "2026-03-31T00:00:00-04:00",
            "Lateron-Most-Runs": "2",
            "Lateron-Jitter": "10m",
            "Lateron-Missed": "skip",
            "Lateron-Overlap": "queue",
        }
        await morning.client.schedule.create(
            destination=morning.catcher, cron=CRON, body="report", schedule_id="daily-report", headers=headers
        )
        shown = await morning.shown()
        assert "header" not in shown
        assert (shown["mostRuns"], shown["jitter"], shown["missed"], shown["overlap"]) == (2, 600, "skip", "queue")
        assert shown["start"] == at(headers["Lateron-Start"])
        first, second = at("2026-03-10T04:00-04:00"), at("2026-03-11T04:00-04:00")
        assert (await morning.get("/lateron/v1/schedules/daily-report/next"))["times"] == [first, second]

        morning.clock.now = first
        await morning.wait(lambda: _field(morning, "runs"))
        (message,) = (await morning.get("/v2/messages?scheduleId=daily-report"))["messages"]
        assert first <= message["notBefore"] <= first + 10 * MINUTE
        morning.clock.now = message["notBefore"] + SECOND
        await morning.wait(morning.reports)
        morning.clock.now = second
        await morning.wait(lambda: _ended(morning))
        assert (await morning.shown())["runs"] == 2
        assert (await morning.get("/lateron/v1/schedules/daily-report/next"))["times"] == []

    async def _field(morning: Morning, name: str) -> object:
        return (await morning.shown()).get(name)

    async def _ended(morning: Morning) -> bool:
        return "nextScheduleTime" not in await morning.shown()

    morning.lives(life)
