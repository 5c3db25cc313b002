"""Queues over HTTP: what is configured, refused, and shown."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.raw import Answer, until
from tests.api.test_front_publish import in_a_world
from tests.api.world import ADMIN, PRIVATE, World, as_json

from lateron.core.quota import QUOTAS
from lateron.core.values import Outcome

OK = Outcome(status=200)


async def setting(world: World, **settings: Any) -> Answer:
    return await world.ask("POST", "/v2/queues", ADMIN, as_json(settings))


@pytest.mark.parametrize(
    "headers",
    [{"Upstash-Queue-Name": "a.b-c_1"}, {"Upstash-Forward-Lateron-Order-Key": "any key"}, {}],
    ids=["header", "order key", "path"],
)
def test_a_message_goes_through_its_queue_however_it_is_named(headers: dict[str, str]) -> None:
    """Header, path or ordering key: one after another, and shown."""

    async def check(world: World) -> None:
        start = "/v2/publish" if headers else "/v2/enqueue/a.b-c_1"
        for name in "ab":
            answer = await world.ask("POST", f"{start}/https://example.com/{name}?q=1", ADMIN, b"hi", headers)
            assert answer.status == 201
        await until(lambda: world.begun)
        assert [claimed.request.url for claimed in world.begun] == ["https://example.com/a?q=1"]
        shown = (await world.ask("GET", f"/v2/messages/{answer.json()['messageId']}")).json()
        keys = {"orderKey": "any key"} if any("Order" in name for name in headers) else {"queueName": "a.b-c_1"}
        assert keys.items() <= shown.items()
        assert (shown["waitingFor"], shown["placeInLine"]) == ("queue_head", 1)
        await world.end(OK)
        await until(lambda: world.begun)
        assert world.begun[0].request.url == "https://example.com/b?q=1"
        assert [name for name, _ in world.begun[0].request.headers] == []

    in_a_world(check)


@pytest.mark.parametrize(
    ("target", "headers", "status", "says"),
    [
        ("/v2/enqueue/q/", {}, 400, "non-empty destination"),
        ("/v2/enqueue/q", {}, 400, "non-empty destination"),
        ("/v2/enqueue//https://h", {}, 400, "queue"),
        ("/v2/enqueue/a%20b/https://h", {}, 400, "queue"),
        ("/v2/enqueue/%ff/https://h", {}, 400, "queue"),
        (f"/v2/enqueue/{'x' * 257}/https://h", {}, 400, "queue"),
        ("/v2/enqueue/q/nonsense", {}, 404, "topic nonsense not found"),
        (f"/v2/enqueue/q/http://{PRIVATE}", {}, 400, "private"),
        ("/v2/enqueue/q/https://h", {"Upstash-Queue-Name": "other"}, 400, "another queue"),
        ("/v2/enqueue/q/https://h", {"Lateron-Order-Key": "k"}, 400, "Order-Key"),
        ("/v2/publish/https://h", {"Upstash-Queue-Name": "a/b"}, 400, "Queue-Name"),
        ("/v2/publish/https://h", {"Lateron-Order-Key": "x" * 257}, 400, "Order-Key"),
        ("/v2/publish/https://h", {"Upstash-Callback": "http://h", "Upstash-Callback-Queue-Name": "q"}, 400, "Queue"),
    ],
)
def test_a_bad_enqueue_says_what_is_wrong_and_makes_no_queue(
    target: str, headers: dict[str, str], status: int, says: str
) -> None:
    """Refused as a whole."""

    async def check(world: World) -> None:
        answer = await world.ask("POST", target, ADMIN, b"hi", headers)

        assert answer.status == status, answer
        assert says.lower() in answer.json()["error"].lower()
        assert (await world.ask("GET", "/v2/queues")).json() == []

    in_a_world(check)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"parallelism":1}', 400),
        (b'{"queueName":""}', 400),
        (b'{"queueName":"a b"}', 400),
        (b'{"queueName":"a","parallelism":0}', 400),
        (b'{"queueName":"a","parallelism":-1}', 400),
        (b'{"queueName":"a","parallelism":1.5}', 400),
        (b'{"queueName":"a","parallelism":9223372036854775808}', 400),
        (b'{"queueName":"a","paused":"yes"}', 400),
        (b'{"queueName":"a","colour":"red"}', 400),
    ],
)
def test_a_bad_setting_is_refused(body: bytes, status: int) -> None:
    """Nothing is guessed, and nothing is made."""

    async def check(world: World) -> None:
        assert (await world.ask("POST", "/v2/queues", ADMIN, body)).status == status
        assert (await world.ask("GET", "/v2/queues")).json() == []

    in_a_world(check)


def test_the_quota_limits_parallelism() -> None:
    """412, whatever else is fine."""

    async def check(world: World) -> None:
        assert (await setting(world, queueName="q", parallelism=101)).status == 412
        assert (await setting(world, queueName="q", parallelism=100)).status == 200

    in_a_world(check, quota=QUOTAS["payg"])


@pytest.mark.promise("P-65", "P-66", "P-68")
def test_a_queue_is_shown_as_it_is() -> None:
    """Settings that are left out stay; lag is exact; an enqueue changes nothing."""

    async def check(world: World) -> None:
        await setting(world, queueName="q", parallelism=3, paused=True)
        for _ in range(2):
            await world.ask("POST", "/v2/enqueue/q/https://h/", ADMIN, b"x")
        batch = [{"destination": "https://h/", "queue": name} for name in ("q", "", None)]
        answer = await world.ask("POST", "/v2/batch", ADMIN, as_json(batch))
        assert answer.status == 201
        await setting(world, queueName="q")

        (shown,) = (await world.ask("GET", "/v2/queues")).json()
        assert shown == (await world.ask("GET", "/v2/queues/q")).json()
        now = world.clock.wall()
        assert shown == {
            "name": "q", "parallelism": 3, "createdAt": now, "updatedAt": now, "lag": 3, "paused": True,
        }  # fmt: skip
        assert [claimed.request.options.queue_name for claimed in world.begun] == [None, None]
        assert (await world.ask("DELETE", "/v2/messages?queueName=q")).json() == {"cancelled": 3}
        assert (await world.ask("GET", "/v2/queues/q")).json()["lag"] == 0
        assert (await world.ask("POST", "/v2/queues/none/pause")).status == 404
        assert (await world.ask("DELETE", "/v2/queues/none")).status == 200

    in_a_world(check)
