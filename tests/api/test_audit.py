"""The audit log: every change leaves one record, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.api.test_routes import TABLE, furnished, name_of
from tests.api.world import ADMIN, MANAGER, NOW, OTHER, READER, TRUSTED, World, as_json, living

from lateron.api.app import ROUTES
from lateron.api.audit import ACTIONS, UNCHANGING
from lateron.api.ports import ConsoleSettings
from lateron.api.routes import Access
from lateron.broker.bulk import Broker
from lateron.core.audit import Note
from lateron.core.values import DAY
from lateron.errors import StorageFull
from lateron.writer import noting

AUDIT = "/lateron/v1/audit"
SCHEDULE = {"Upstash-Cron": "0 4 * * *", "Upstash-Schedule-Id": "nightly", "Upstash-Forward-Authorization": "s3cret"}


async def records(world: World, token: str = ADMIN, query: str = "") -> list[dict[str, Any]]:
    answer = await world.ask("GET", AUDIT + query, token)
    assert answer.status == 200, answer
    return list(answer.json()["records"])


def alive(test: Callable[[World], Awaitable[None]], **changes: Any) -> None:
    """Run a test in a world."""

    async def run() -> None:
        async with living(**changes) as world:
            await test(world)

    asyncio.run(run())


def test_every_route_that_changes_something_has_a_name_in_the_log() -> None:
    """A route that nobody named would change things and tell nobody."""
    changing = {name_of(r) for r in ROUTES if r.access in {Access.CHANGE, Access.ADMIN} and r.method != "GET"}
    assert set(ACTIONS) == changing - UNCHANGING


@pytest.mark.promise("D-57")
@pytest.mark.parametrize("name", TABLE)
def test_every_change_leaves_exactly_one_record_and_a_look_leaves_none(name: str) -> None:
    """Who changed what, when and from where must not depend on which way it was done."""
    row, method = TABLE[name], name.partition(" ")[0]
    headers = SCHEDULE if name == "POST /v2/schedules/{destination}" else {}

    async def check(world: World) -> None:
        target = row.target.format(**await furnished(world))
        before = await records(world)
        world.clock.now += 1

        refused = await world.ask(method, target, READER, row.body)
        answer = await world.ask(method, target, ADMIN, row.body, headers)

        found = await records(world)
        if name not in ACTIONS:
            assert found == before
            return
        assert refused.status == 403
        new = found[0]
        assert found[1:] == before
        assert (new["action"], new["who"], new["by"]) == (ACTIONS[name], "admin", "token")
        assert (new["time"], new["address"], new["status"]) == (NOW + 1, "127.0.0.1", answer.status)
        assert new["requestId"] == answer.headers["x-request-id"]
        assert await records(world, OTHER) == []

    alive(check)


@pytest.mark.promise("D-57")
def test_dry_run_leaves_no_record() -> None:
    """It changes nothing."""

    async def check(world: World) -> None:
        await furnished(world)
        before = await records(world)
        for method, path in (("DELETE", "/v2/messages"), ("DELETE", "/v2/dlq"), ("POST", "/v2/dlq/retry")):
            assert (await world.ask(method, f"{path}?dryRun=true")).json()["dryRun"] is True
        asked = as_json({"kind": "cancel", "filter": {"label": "nobody"}, "dryRun": True})
        assert (await world.ask("POST", "/lateron/v1/jobs", ADMIN, asked)).json()["dryRun"] is True
        assert await records(world) == before
        # Only where there is such a thing: elsewhere the word does not hide a change.
        world.clock.now += 1
        assert (await world.ask("POST", "/v2/keys/rotate?dryRun=true")).status == 200
        assert (await records(world))[0]["action"] == "keys.rotate"

    alive(check)


@pytest.mark.promise("D-57")
def test_bulk_change_is_one_record_with_its_filter_and_its_count() -> None:
    """It goes piece by piece; who reads the log wants to know of one cancellation."""

    async def check(world: World) -> None:
        items = [
            {"destination": "https://example.com/", "headers": {"Upstash-Delay": "1h", "Upstash-Label": "old"}}
        ] * 700
        assert (await world.ask("POST", "/v2/batch", ADMIN, as_json(items))).status == 201
        await world.ask("DELETE", "/v2/messages?label=old&url=https%3A%2F%2Fexample.com%2F%3Fkey%3Ds3cret")
        world.clock.now += 1
        await world.ask("DELETE", "/v2/messages?label=old", MANAGER)

        found = await records(world)

        assert [(r["action"], r["who"], r["count"]) for r in found] == [
            ("messages.cancel", "manage", 700),
            ("messages.cancel", "admin", 0),
        ]
        assert [r["filter"] for r in found] == ["label=old", "label=old url=https://example.com/"]

    alive(check)


def test_schedules_of_a_batch_are_noted_and_messages_are_not() -> None:
    """Publishing stands in the log of messages; a schedule goes on changing things for ever."""

    async def check(world: World) -> None:
        one = {"destination": "https://example.com/", "headers": {"Upstash-Cron": "0 4 * * *"}}
        answer = await world.ask("POST", "/v2/batch", ADMIN, as_json([{"destination": "https://example.com/"}, one]))
        made = answer.json()[1]["scheduleId"]

        (found,) = await records(world)

        assert (found["action"], found["object"], found["who"]) == ("schedule.set", made, "admin")

    alive(check)


@pytest.mark.promise("D-57")
@pytest.mark.parametrize("path", ["/v2/publish/https://example.com/", "/v2/enqueue/line/https://example.com/"])
def test_a_publish_that_makes_a_schedule_is_noted(path: str) -> None:
    """The way by which it was asked for makes it no less a schedule."""

    async def check(world: World) -> None:
        answer = await world.ask("POST", path, ADMIN, b"x", {"Upstash-Cron": "0 4 * * *"})

        (found,) = await records(world)

        assert (found["action"], found["object"], found["who"]) == (
            "schedule.set",
            answer.json()["scheduleId"],
            "admin",
        )
        assert found["status"] == answer.status == 201

    alive(check)


@pytest.mark.promise("D-57")
def test_record_is_written_with_the_change_or_neither_is() -> None:
    """A record of what did not happen, or a change without one, would both be lies."""

    async def check(world: World) -> None:
        note = Note(1, NOW, "id", "token", "admin", "", "queue.set")

        def fails(broker: Broker, _: int) -> None:
            with broker._store.transaction() as tx:
                tx.save_setting("kept", "no")
                raise StorageFull("no room")

        with noting(note), pytest.raises(StorageFull):
            await world.writer.run(fails)
        assert not note.kept
        assert await records(world) == []
        assert await world.writer.run(lambda _broker, _now: world.resources.setting("kept")) is None

        written: list[str] = []
        world.store._connection.set_profile(lambda text, _: written.append(text))
        await world.ask("POST", "/v2/queues", ADMIN, b'{"queueName":"other"}')
        world.store._connection.set_profile(None)
        commits = [place for place, text in enumerate(written) if text == "COMMIT"]
        (queue,) = [place for place, text in enumerate(written) if text.startswith("INSERT INTO queue")]
        (record,) = [place for place, text in enumerate(written) if text.startswith("INSERT INTO audit")]
        assert not [commit for commit in commits if queue < commit < record]

    alive(check)


def test_no_secret_is_in_the_log() -> None:
    """Whoever may read it must not be able to act as somebody else by it."""

    async def check(world: World) -> None:
        made = (await world.ask("POST", "/lateron/v1/tokens", ADMIN, b'{"name":"ci","scope":"read"}')).json()["token"]
        await world.ask("POST", "/v2/schedules/https://example.com/?x=s3cret", ADMIN, b"s3cret", SCHEDULE)
        await world.ask("DELETE", f"/v2/messages?qstash_token={ADMIN}", None)

        told = (await world.ask("GET", AUDIT)).body.decode()

        assert len(await records(world)) == 3
        assert not [secret for secret in (made, ADMIN, "s3cret", "sig_") if secret in told]

    alive(check)


def test_address_is_the_one_a_trusted_proxy_tells() -> None:
    """Otherwise every record would name the proxy, or whoever the client says he is."""

    async def check(world: World) -> None:
        await world.ask(
            "POST", "/v2/queues", ADMIN, b'{"queueName":"q"}', {"X-Forwarded-For": "198.51.100.9, 10.0.0.2"}
        )
        assert (await records(world))[0]["address"] == "198.51.100.9"

    alive(check, trusted_proxies=TRUSTED)


@pytest.mark.promise("D-57")
def test_logins_and_failures_are_noted() -> None:
    """The first trace of somebody who should not be here; one who guesses for long does not fill the log."""

    async def check(world: World) -> None:
        kind = {"Content-Type": "application/json", "X-Forwarded-Proto": "https"}
        for _ in range(30):
            await world.ask("POST", "/console/api/session", None, b'{"token":"wrong"}', kind)
        world.clock.now += 1
        await world.ask("POST", "/console/api/session", None, as_json({"token": MANAGER}), kind)

        found = await records(world)

        assert (found[0]["action"], found[0]["by"], found[0]["who"]) == ("login", "session", "manage")
        assert {(r["action"], r["by"], r["status"]) for r in found[1:]} == {("login.failed", "nobody", 401)}
        assert len(found) == 21

    alive(check, console=ConsoleSettings(environment="serve"), trusted_proxies=TRUSTED)


def test_list_is_paged_and_filtered() -> None:
    """Ninety days are more than a page."""

    async def check(world: World) -> None:
        for number in range(5):
            world.clock.now = NOW + number
            token = MANAGER if number % 2 else ADMIN
            await world.ask("POST", f"/v2/flowControl/k{number}/pause", token)
        pages, query = [], "?count=2"
        while True:
            page = (await world.ask("GET", AUDIT + query)).json()
            pages.append([r["object"] for r in page["records"]])
            if "cursor" not in page:
                break
            query = f"?count=2&cursor={page['cursor']}"

        assert pages == [["k4", "k3"], ["k2", "k1"], ["k0"]]
        assert [r["object"] for r in await records(world, query="?who=manage")] == ["k3", "k1"]
        assert [r["object"] for r in await records(world, query=f"?since={NOW + 3}")] == ["k4", "k3"]
        assert await records(world, query="?action=flow.pin") == []
        for bad in ("?count=0", "?cursor=x", "?since=-1", "?since=yesterday", "?what=1", "?who=a&who=b"):
            answer = await world.ask("GET", AUDIT + bad)
            assert answer.status == 400
            assert "expected" in answer.json()["error"]

    alive(check)


def test_records_go_after_their_own_retention() -> None:
    """They are kept longer than messages, and not for ever."""

    async def check(world: World) -> None:
        await world.ask("POST", "/v2/queues", ADMIN, b'{"queueName":"q"}')
        await world.writer.run(lambda broker, _: broker.sweep(NOW + 90 * DAY))
        assert len(await records(world)) == 1
        await world.writer.run(lambda broker, _: broker.sweep(NOW + 90 * DAY + 1))
        assert await records(world) == []

    alive(check)
