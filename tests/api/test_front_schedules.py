"""Schedules over HTTP: what is a destination and what a name, every way to make one, and what is refused."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from tests.api.world import ADMIN, NOW, as_json, living

from lateron.broker.schedules import Schedules
from lateron.core.quota import QUOTAS
from lateron.core.values import MINUTE

CRON = {"Upstash-Cron": "* * * * *"}


def test_what_begins_like_a_url_is_a_destination_and_all_else_a_name() -> None:
    """``/run`` at the end of somebody's URL is his, and behind a name of ours it is a command."""

    async def check() -> None:
        async with living() as world:
            ask = partial(world.ask, token=ADMIN)
            made = {}
            for target in (
                "/v2/schedules/https://host/run",
                "/v2/Schedules/http://host/x/pause",
                "/V2/SCHEDULES/https%3A%2F%2Fhost%2Fresume",
                "/v2/schedules/https:/host//a?b=c&upstash-retries=1",
            ):
                answer = await ask("POST", target, headers=CRON)
                assert answer.status == 201, (target, answer)
                name = answer.json()["scheduleId"]
                made[name] = (await ask("GET", f"/v2/Schedules/{name}")).json()["destination"]
            assert list(made.values()) == [
                "https://host/run", "http://host/x/pause", "https://host/resume", "https://host//a?b=c"
            ]  # fmt: skip

            (first, *_) = made
            ran = await ask("POST", f"/v2/schedules/{first}/run")
            assert ran.status == 201
            message = (await ask("GET", f"/v2/messages/{ran.json()['messageId']}")).json()
            assert (message["scheduleId"], message["url"]) == (first, "https://host/run")
            assert (await ask("POST", "/v2/schedules/none/run")).status == 404
            assert (await ask("POST", "/v2/schedules/a-group", headers=CRON)).json() == {
                "error": "topic a-group not found"
            }
            assert (await ask("POST", "/v2/schedules/", headers=CRON)).status == 400
            assert (await ask("GET", "/v2/schedules/https://host/run")).status == 405
            for method in ("PATCH", "POST"):
                for word, paused in (("pause", True), ("resume", False)):
                    assert (await ask(method, f"/v2/schedules/{first}/{word}")).status == 200
                    assert (await ask("GET", f"/v2/schedules/{first}")).json()["isPaused"] is paused

    asyncio.run(check())


@pytest.mark.promise("P-91")
def test_a_cron_makes_a_schedule_wherever_one_publishes() -> None:
    """In a publish, as a query parameter, in an enqueue, in an item of a batch: never a message instead."""

    async def check() -> None:
        async with living() as world:
            headers = {**CRON, "Upstash-Schedule-Id": "mine"}
            answer = await world.ask("POST", "/v2/publish/https://example.com", ADMIN, b"x", headers)
            assert (answer.status, answer.json()) == (201, {"scheduleId": "mine"})
            by_query = await world.ask("POST", "/v2/publish/https://example.com?a=b&upstash-cron=@daily")
            assert by_query.status == 201
            queued = await world.ask("POST", "/v2/enqueue/line/https://example.com", ADMIN, b"x", CRON)
            shown = (await world.ask("GET", f"/v2/schedules/{queued.json()['scheduleId']}")).json()
            assert (queued.status, shown["queueName"]) == (201, "line")
            good = {"destination": "https://example.com", "headers": {**CRON, "Upstash-Schedule-Id": "item"}}
            bad = {"destination": "https://example.com", "headers": {"Upstash-Cron": "0 0 30 2 *"}}
            lost = {"destination": "nobody", "headers": CRON}
            items = as_json([good, bad, lost, {**good, "queue": "line", "body": {"a": 1}}])
            answer = await world.ask("POST", "/v2/batch", ADMIN, items)
            first, second, third, fourth = answer.json()
            assert (answer.status, first, fourth) == (201, {"scheduleId": "item"}, {"scheduleId": "item"})
            assert (second["status"], third["status"]) == (400, 404)
            assert third["error"] == "message 2: topic nobody not found"
            shown = (await world.ask("GET", "/v2/schedules/item")).json()
            assert (shown["body"], shown["queueName"]) == ('{"a":1}', "line")
            assert (await world.ask("GET", "/v2/messages")).json() == {"messages": []}
            assert len((await world.ask("GET", "/v2/schedules")).json()) == 4

    asyncio.run(check())


@pytest.mark.promise("P-85", "F-45")
@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 400, "Upstash-Cron: a schedule needs one"),
        ({"Upstash-Cron": "0 0 30 2 *"}, 400, "Upstash-Cron: expected a cron expression"),
        ({**CRON, "Upstash-Schedule-Id": "a/b"}, 400, "Upstash-Schedule-Id"),
        ({**CRON, "Upstash-Schedule-Id": ".."}, 400, "Upstash-Schedule-Id"),
        ({**CRON, "Upstash-Not-Before": "1900000000"}, 400, "Upstash-Not-Before: a schedule has Upstash-Delay"),
        ({**CRON, "Upstash-Deduplication-Id": "x"}, 400, "Upstash-Deduplication-Id"),
        ({**CRON, "Lateron-Overlap": "queue", "Upstash-Queue-Name": "q"}, 400, "and so does Upstash-Queue-Name"),
        ({**CRON, "Lateron-Overlap": "queue", "Lateron-Order-Key": "k"}, 400, "and so does Lateron-Order-Key"),
        ({**CRON, "Lateron-Overlap": "maybe"}, 400, "Lateron-Overlap: expected allow, skip or queue"),
        ({**CRON, "Lateron-Missed": "none"}, 400, "Lateron-Missed: expected skip, latest or all"),
        ({**CRON, "Lateron-Most-Runs": "0"}, 400, "Lateron-Most-Runs"),
        ({**CRON, "Lateron-Jitter": "2d"}, 400, "Lateron-Jitter"),
        ({**CRON, "Lateron-Start": "2026-01-01T00:00:00"}, 400, "its offset is missing"),
        ({**CRON, "Lateron-End": "1000000000"}, 400, "Lateron-End"),
        ({**CRON, "Lateron-Nothing": "1"}, 400, "unknown option"),
        ({**CRON, "Upstash-Callback": "nowhere"}, 400, "Upstash-Callback"),
        ({**CRON, "Upstash-Retries": "1000000"}, 412, "Upstash-Retries"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_stored(headers: dict[str, str], status: int, words: str) -> None:
    """A schedule that fails at its first tick, at night, helps nobody."""

    async def check() -> None:
        async with living(quota=QUOTAS["payg"]) as world:
            answer = await world.ask("POST", "/v2/schedules/https://example.com", ADMIN, b"", headers)
            assert answer.status == status
            assert words.lower() in answer.json()["error"].lower()
            assert (await world.ask("GET", "/v2/schedules")).json() == []

    asyncio.run(check())


def test_options_of_ours_are_shown_and_the_preview_keeps_to_them() -> None:
    """What one asks for, one can read, before it has ticked."""

    async def check() -> None:
        async with living() as world:
            headers = {
                **CRON,
                "Upstash-Schedule-Id": "mine",
                "Lateron-Missed": "skip",
                "Upstash-Forward-Lateron-Overlap": "skip",
                "Lateron-Start": str(NOW // 1000 + 3600),
                "Lateron-Most-Runs": "2",
                "Lateron-Jitter": "30s",
            }
            assert (await world.ask("POST", "/v2/schedules/https://example.com", ADMIN, b"", headers)).status == 201
            shown = (await world.ask("GET", "/v2/schedules/mine")).json()
            assert (shown["missed"], shown["overlap"], shown["mostRuns"], shown["jitter"]) == ("skip", "skip", 2, 30)
            assert "header" not in shown
            start = NOW + 60 * MINUTE
            expected = [at for at in range(start, start + 2 * MINUTE + 1) if at % MINUTE == 0][:2]
            assert (await world.ask("GET", "/lateron/v1/schedules/mine/next")).json() == {"times": expected}
            assert shown["nextScheduleTime"] == expected[0]
            times = (await world.ask("GET", "/lateron/v1/cron?cron=@every+1h&count=2")).json()["times"]
            assert times == [NOW + 60 * MINUTE, NOW + 120 * MINUTE]
            assert (await world.ask("GET", "/lateron/v1/cron?cron=60+*+*+*+*")).status == 400
            assert (await world.ask("GET", "/lateron/v1/cron?cron=@daily&count=0")).status == 400

    asyncio.run(check())


@pytest.mark.promise("P-80")
def test_a_tick_is_found_by_its_schedule_and_delivered() -> None:
    """In the list of messages, in the log, and at the destination."""

    async def check() -> None:
        async with living() as world:
            headers = {**CRON, "Upstash-Schedule-Id": "mine"}
            await world.ask("POST", "/v2/schedules/https://example.com", ADMIN, b"x", headers)
            world.clock.now = NOW + MINUTE
            await world.writer.run(lambda broker, now: Schedules(broker).tick(now))
            for path, name in (("/v2/messages", "messages"), ("/v2/events", "events")):
                found = (await world.ask("GET", f"{path}?scheduleId=mine")).json()[name]
                assert {each["scheduleId"] for each in found} == {"mine"}
                assert (await world.ask("GET", f"{path}?scheduleId=other")).json()[name] == []
            states = (await world.ask("GET", "/v2/schedules/mine")).json()["lastScheduleStates"]
            assert list(states.values()) == ["IN_PROGRESS"]

    asyncio.run(check())


@pytest.mark.promise("P-90")
def test_a_schedule_to_a_group_over_http() -> None:
    """Created by either route, shown with the name of the group; its runs are found by topic and by schedule."""

    async def check() -> None:
        async with living() as world:
            endpoints = as_json(
                {"endpoints": [{"url": "https://a.example/", "name": "first"}, {"url": "https://b.example/"}]}
            )
            headers = {**CRON, "Upstash-Schedule-Id": "mine", "Upstash-Forward-X": "1"}
            refused = await world.ask("POST", "/v2/schedules/orders", ADMIN, b"x", headers)
            assert (refused.status, refused.json()) == (404, {"error": "topic orders not found"})
            await world.ask("POST", "/v2/topics/orders/endpoints", ADMIN, endpoints)
            for target in ("/v2/publish/orders", "/v2/schedules/orders"):
                made = await world.ask("POST", target, ADMIN, b"x", headers)
                assert (made.status, made.json()) == (201, {"scheduleId": "mine"})
            shown = (await world.ask("GET", "/v2/schedules/mine")).json()
            assert (shown["destination"], shown["header"], shown["body"]) == ("orders", {"X": ["1"]}, "x")

            world.clock.now = NOW + MINUTE
            await world.writer.run(lambda broker, now: Schedules(broker).tick(now))
            found = (await world.ask("GET", "/v2/messages?topicName=orders&scheduleId=mine")).json()["messages"]
            assert {each["url"] for each in found} == {"https://a.example/", "https://b.example/"}
            assert {each.get("endpointName") for each in found} == {"first", None}
            shown = (await world.ask("GET", "/v2/schedules/mine")).json()
            assert shown["lastScheduleStates"] == {each["messageId"]: "IN_PROGRESS" for each in found}
            ran = await world.ask("POST", "/v2/schedules/mine/run")
            assert ran.status == 201
            assert [each["url"] for each in ran.json()] == ["https://a.example/", "https://b.example/"]

            await world.ask("DELETE", "/v2/topics/orders")
            world.clock.now = NOW + 2 * MINUTE
            await world.writer.run(lambda broker, now: Schedules(broker).tick(now))
            shown = (await world.ask("GET", "/v2/schedules/mine")).json()
            assert (shown["error"], shown["failedRuns"], shown["runs"]) == ("topic orders not found", 1, 2)
            assert (await world.ask("POST", "/v2/schedules/mine/run")).status == 404

    asyncio.run(check())


def test_a_line_of_a_schedule_is_not_shown_as_an_ordering_key() -> None:
    """It is nobody's to use; what a message waits for is said all the same."""

    async def check() -> None:
        async with living() as world:
            headers = {**CRON, "Upstash-Schedule-Id": "mine", "Lateron-Overlap": "queue"}
            await world.ask("POST", "/v2/schedules/https://example.com", ADMIN, b"x", headers)
            ids = [(await world.ask("POST", "/v2/schedules/mine/run")).json()["messageId"] for _ in range(2)]
            shown = [(await world.ask("GET", f"/v2/messages/{each}")).json() for each in ids]
            assert not any("orderKey" in each for each in shown)
            assert (shown[1]["waitingFor"], shown[1]["heldBy"]) == ("queue_head", ids[0])

    asyncio.run(check())
