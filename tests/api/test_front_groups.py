"""URL groups over HTTP: every call, every form of a publish to one, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.api.raw import Answer
from tests.api.world import ADMIN, NOW, OTHER, PRIVATE, World, as_json, living

from lateron.core.quota import QUOTAS
from lateron.core.values import Outcome

ONE, TWO = "https://one.example/", "https://two.example/x?y=1"


def in_a_world(check: Callable[[World], Awaitable[None]], **changes: Any) -> None:
    async def run() -> None:
        async with living(**changes) as world:
            await check(world)

    asyncio.run(run())


async def add(world: World, *endpoints: dict[str, str], group: str = "orders", token: str = ADMIN) -> Answer:
    body = as_json({"endpoints": list(endpoints)})
    return await world.ask("POST", f"/v2/topics/{group}/endpoints", token, body)


async def remove(world: World, *endpoints: dict[str, str], group: str = "orders") -> Answer:
    return await world.ask("DELETE", f"/v2/topics/{group}/endpoints", body=as_json({"endpoints": list(endpoints)}))


def test_group_lives_from_its_first_endpoint_to_its_last() -> None:
    """Added by URL, changed by name, removed by either; and deleting what is not there is no error."""

    async def check(world: World) -> None:
        assert (await world.ask("GET", "/v2/topics")).json() == []
        assert (await world.ask("DELETE", "/v2/topics/orders")).json() == {"deleted": 0}
        added = await add(world, {"url": ONE}, {"url": TWO, "name": "the second"})
        shown = {
            "name": "orders",
            "createdAt": NOW + 1,
            "updatedAt": NOW + 1,
            "endpoints": [{"url": ONE}, {"url": TWO, "name": "the second"}],
        }
        assert (added.status, added.json()) == (200, shown)
        assert (await world.ask("GET", "/v2/topics/orders")).json() == shown
        assert (await world.ask("GET", "/V2/Topics")).json() == [shown]
        await add(world, {"url": "https://three.example/", "name": "the second"})
        changed = (await world.ask("GET", "/v2/topics/orders")).json()["endpoints"]
        assert changed == [{"url": ONE}, {"url": "https://three.example/", "name": "the second"}]
        left = (await remove(world, {"name": "the second"}, {"name": "never there"})).json()["endpoints"]
        assert left == [{"url": ONE}]
        assert (await remove(world, {"url": ONE})).json() == {}
        missing = await world.ask("GET", "/v2/topics/orders")
        assert (missing.status, missing.json()) == (404, {"error": "topic orders not found"})
        assert (await remove(world, {"url": ONE})).status == 404

    in_a_world(check)


@pytest.mark.promise("P-90")
def test_publish_to_a_group_answers_a_bare_array() -> None:
    """One entry per endpoint, in order; and each message says where it came from, wherever it is shown."""

    async def check(world: World) -> None:
        await add(world, {"url": ONE, "name": "the first"}, {"url": TWO})
        answer = await world.ask("POST", "/v2/publish/orders", ADMIN, b"hi", {"Upstash-Retries": "0"})
        first, second = answer.json()
        assert (answer.status, first["url"], second["url"]) == (201, ONE, TWO)
        assert set(first) == {"messageId", "url"}
        await world.end(Outcome(status=500))
        await world.end(Outcome(status=200))

        shown = (await world.ask("GET", f"/v2/messages/{first['messageId']}")).json()
        assert (shown["topicName"], shown["endpointName"], shown["url"]) == ("orders", "the first", ONE)
        shown = (await world.ask("GET", f"/v2/messages/{second['messageId']}")).json()
        assert (shown["topicName"], "endpointName" in shown) == ("orders", False)
        events = (await world.ask("GET", "/v2/events?topicName=orders")).json()["events"]
        assert {event["topicName"] for event in events} == {"orders"}
        assert {event["messageId"] for event in events} == {first["messageId"], second["messageId"]}
        assert (await world.ask("GET", "/v2/events?topicName=other")).json() == {"events": []}
        (letter,) = (await world.ask("GET", "/v2/dlq?topicName=orders")).json()["messages"]
        assert (letter["topicName"], letter["endpointName"]) == ("orders", "the first")
        retried = await world.ask("POST", f"/v2/dlq/retry/{letter['dlqId']}")
        again = (await world.ask("GET", f"/v2/messages/{retried.json()['messageId']}")).json()
        assert (again["topicName"], again["endpointName"]) == ("orders", "the first")

    in_a_world(check)


def test_publish_url_of_a_group_is_a_webhook_target() -> None:
    """A service that can only be given a URL publishes to many: token and options stand in the query."""

    async def check(world: World) -> None:
        await add(world, {"url": ONE}, {"url": TWO})
        target = f"/v2/publish/orders?qstash_token={ADMIN}&upstash-delay=100s&upstash-forward-x=y"
        answer = await world.ask("POST", target, None, b"event")
        assert [entry["url"] for entry in answer.json()] == [ONE, TWO]
        for entry in answer.json():
            shown = (await world.ask("GET", f"/v2/messages/{entry['messageId']}")).json()
            assert (shown["notBefore"], shown["header"]) == (NOW + 100_000, {"X": ["y"]})

    in_a_world(check)


@pytest.mark.promise("P-90", "P-91")
def test_batch_mixes_urls_groups_and_errors() -> None:
    """An element is an object, an array for a group, or an error, in order."""

    async def check(world: World) -> None:
        await add(world, {"url": ONE}, {"url": TWO})
        wanted = [
            {"destination": to} for to in ("https://a.example/", "orders", "missing", "a b", "https://b.example/")
        ]
        answer = await world.ask("POST", "/v2/batch", ADMIN, as_json(wanted))
        first, group, missing, bad, last = answer.json()
        assert answer.status == 201
        assert set(first) == set(last) == {"messageId"}
        assert [entry["url"] for entry in group] == [ONE, TWO]
        assert missing == {"error": "message 2: topic missing not found", "status": 404}
        assert bad == {"error": "message 3: topic a b not found; a URL begins with http:// or https://", "status": 404}
        only = await world.ask("POST", "/v2/batch", ADMIN, as_json(wanted[2:3]))
        assert (only.status, [item["status"] for item in only.json()]) == (200, [404])

    in_a_world(check)


@pytest.mark.promise("P-51")
def test_repetition_is_202_only_if_nothing_is_new() -> None:
    """The status says whether anything was stored; each entry says it for itself."""

    async def check(world: World) -> None:
        await add(world, {"url": ONE})
        options = {"Upstash-Deduplication-Id": "x"}
        (first,) = (await world.ask("POST", "/v2/publish/orders", ADMIN, b"", options)).json()
        again = await world.ask("POST", "/v2/publish/orders", ADMIN, b"", options)
        assert (again.status, again.json()) == (202, [{**first, "deduplicated": True}])
        await add(world, {"url": TWO})
        more = await world.ask("POST", "/v2/publish/orders", ADMIN, b"", options)
        assert more.status == 201
        assert [entry.get("deduplicated") for entry in more.json()] == [True, None]

    in_a_world(check)


def test_defaults_are_set_shown_used_and_taken_away() -> None:
    """They configure what a publish does not; other headers than an option's are refused."""

    async def check(world: World) -> None:
        await add(world, {"url": ONE})
        headers = {"Upstash-Retries": "7", "Upstash-Forward-X": ["a", "b"], "Lateron-Retry-Delays": "1s"}
        answer = await world.ask("PATCH", "/v2/topics/orders", body=as_json({"headers": headers}))
        assert answer.json()["headers"] == {
            "Upstash-Retries": ["7"],
            "Upstash-Forward-X": ["a", "b"],
            "Upstash-Lateron-Retry-Delays": ["1s"],
        }
        (entry,) = (await world.ask("POST", "/v2/publish/orders", ADMIN, b"", {"Upstash-Retries": "2"})).json()
        shown = (await world.ask("GET", f"/v2/messages/{entry['messageId']}")).json()
        assert (shown["maxRetries"], shown["header"]) == (2, {"X": ["a", "b"]})
        bad = await world.ask("PATCH", "/v2/topics/orders", body=as_json({"headers": {"X-Y": "1"}}))
        assert (bad.status, bad.json()["error"][:4]) == (400, "X-Y:")
        await world.ask("PATCH", "/v2/topics/orders", body=b'{"headers":{}}')
        assert "headers" not in (await world.ask("GET", "/v2/topics/orders")).json()
        unknown = await world.ask("PATCH", "/v2/topics/unknown", body=b'{"headers":{}}')
        assert (unknown.status, unknown.json()) == (404, {"error": "topic unknown not found"})

    in_a_world(check)


@pytest.mark.promise("F-44", "D-7")
@pytest.mark.parametrize("name", ["a%20b", "%00", "%2e%2e%2f", "a:b", "api", "%E2%80%AEx", "x" * 257, "*"])
def test_group_with_a_bad_name_is_not_made(name: str) -> None:
    """And publishing to one is answered like publishing to any group that is not there."""

    async def check(world: World) -> None:
        assert (await add(world, {"url": ONE}, group=name)).status in {400, 404}
        assert (await world.ask("GET", "/v2/topics")).json() == []
        assert (await world.ask("POST", f"/v2/publish/{name}")).status in {400, 404}

    in_a_world(check)


@pytest.mark.promise("D-20")
def test_address_that_is_refused_cannot_be_an_endpoint() -> None:
    """The one who adds it is told, not each of those who publish."""

    async def check(world: World) -> None:
        answer = await add(world, {"url": ONE}, {"url": f"http://{PRIVATE}/"})
        assert (answer.status, "private" in answer.json()["error"]) == (400, True)
        assert (await world.ask("GET", "/v2/topics")).json() == []
        await add(world, {"url": ONE})
        publish = await world.ask("POST", "/v2/publish/orders", ADMIN, b"", {"Upstash-Callback": f"http://{PRIVATE}/"})
        assert publish.status == 400
        assert (await world.ask("GET", "/v2/messages")).json() == {"messages": []}

    in_a_world(check)


def test_plan_limits_groups_and_endpoints() -> None:
    """Above the limit 412, and nothing is stored; another user has limits of his own."""

    async def check(world: World) -> None:
        assert (await add(world, {"url": ONE})).status == 200
        refused = await add(world, {"url": ONE}, group="second")
        assert (refused.status, refused.json()["error"]) == (412, "URL groups: the quota allows at most 1, got 2")
        assert (await add(world, {"url": ONE}, group="second", token=OTHER)).status == 200
        full = [{"url": f"https://h/{n}"} for n in range(100)]
        assert (await add(world, *full)).status == 412
        assert (await add(world, *full[:99])).status == 200

    in_a_world(check, quota=QUOTAS["free"])
