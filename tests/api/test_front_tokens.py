"""Tokens: who may what, for how long, and from when on not any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.api import world as world_room
from tests.api.raw import Answer
from tests.api.world import ADMIN, MANAGER, NOW, OTHER, PUBLISHER, READER, World, as_json, living

from lateron.broker.history import History
from lateron.core.token import GRANTS, Access, require
from lateron.core.values import DAY, MINUTE
from lateron.errors import Forbidden

TOKENS = "/lateron/v1/tokens"


@pytest.fixture(params=[True, False], ids=["fast lane", "long way"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the fast lane or the long way."""
    monkeypatch.setattr(world_room, "FAST", request.param)


async def make(world: World, name: str, scope: str, **more: str) -> str:
    """Make a token and return it."""
    answer = await world.ask("POST", TOKENS, ADMIN, as_json({"name": name, "scope": scope, **more}))
    assert answer.status == 201, answer
    return str(answer.json()["token"])


async def publish(world: World, token: str) -> Answer:
    return await world.ask("POST", "/v2/publish/https://example.com/", token, b"x")


async def shown(world: World, name: str, token: str = ADMIN) -> dict[str, Any]:
    tokens = (await world.ask("GET", TOKENS, token)).json()
    return next(one for one in tokens if one["name"] == name)


def test_a_scope_that_nobody_knows_may_nothing() -> None:
    """A newer program may have stored it."""
    for access in set(Access) - {Access.PUBLIC}:
        with pytest.raises(Forbidden):
            require("everything", access)
    assert all(grants <= GRANTS["admin"] for grants in GRANTS.values())


@pytest.mark.promise("P-109")
@pytest.mark.usefixtures("_both_ways")
def test_each_scope_publishes_or_not_whichever_way_it_comes() -> None:
    """The fast lane asks the same question as the long way."""

    async def check() -> None:
        async with living() as world:
            for _ in range(3):  # A head that came before takes a shorter way still.
                statuses = [(await publish(world, token)).status for token in (PUBLISHER, MANAGER, ADMIN, READER)]
                assert statuses == [201, 201, 201, 403]

    asyncio.run(check())


@pytest.mark.promise("P-109")
def test_who_may_only_publish_makes_no_schedule() -> None:
    """A schedule stays, and one that is there would be replaced: by no route, header, query or item of a batch."""

    async def check() -> None:
        async with living() as world:
            cron = {"Upstash-Cron": "0 4 * * *"}
            url = "https://example.com/x"
            batch = as_json([{"destination": url, "headers": cron}, {"destination": url}])
            for target in (f"/v2/publish/{url}", f"/v2/enqueue/q/{url}", f"/v2/schedules/{url}"):
                assert (await world.ask("POST", target, PUBLISHER, b"x", cron)).status == 403
            mixed = await world.ask("POST", "/v2/batch", PUBLISHER, batch)
            assert mixed.status == 201
            assert [item.get("status") for item in mixed.json()] == [403, None]
            assert (await world.ask("GET", "/v2/schedules")).json() == []
            assert (await world.ask("POST", "/v2/batch", MANAGER, batch)).json()[0]["scheduleId"]

    asyncio.run(check())


@pytest.mark.promise("P-108")
@pytest.mark.usefixtures("_both_ways")
def test_token_ends_when_it_is_revoked_reset_or_expired() -> None:
    """The next request that brings it is refused, by the fast lane too."""

    async def check() -> None:
        async with living() as world:
            revoked, reset = await make(world, "a", "publish"), await make(world, "b", "publish")
            expiring = await make(world, "c", "publish", expiresIn="1d")
            for token in (revoked, reset, expiring) * 3:
                assert (await publish(world, token)).status == 201

            assert (await world.ask("DELETE", f"{TOKENS}/a")).json() == {}
            renewed = (await world.ask("POST", f"{TOKENS}/b/reset")).json()
            assert [(await publish(world, token)).status for token in (revoked, reset, renewed["token"])] == [
                401,
                401,
                201,
            ]
            world.clock.now += DAY - 1
            assert (await publish(world, expiring)).status == 201
            world.clock.now += 1
            assert (await publish(world, expiring)).status == 401
            assert (renewed["name"], renewed["scope"]) == ("b", "publish")

    asyncio.run(check())


@pytest.mark.promise("P-108")
def test_a_token_that_another_process_changed_is_not_met_as_it_was() -> None:
    """The lane takes a head as it took it before only for the very same identity; noting a use is no change of it."""

    async def check() -> None:
        async with living() as world:
            token, resources = (await make(world, "ci", "publish")).encode(), world.resources
            before = resources.authenticate(token)
            await world.writer.run(lambda *_: resources.note_uses())
            assert resources.authenticate(token) is before

            rows = [replace(row, scope="read") if row.name == "ci" else row for row in resources.tokens(1)]
            resources.adopt_tokens(rows, resources.changes)
            after = resources.authenticate(token)
            assert (after is not before, after and after.scope) == (True, "read")
            resources.adopt_tokens([row for row in rows if row.name != "ci"], resources.changes)
            assert resources.authenticate(token) is None

    asyncio.run(check())


def test_a_token_is_shown_once_and_its_last_use_to_the_minute() -> None:
    """What is kept is its hash; the list says when it was used, and no secret."""

    async def check() -> None:
        async with living() as world:
            token = await make(world, "ci", "publish", expiresIn="90d")
            assert await shown(world, "ci") == {
                "name": "ci",
                "scope": "publish",
                "createdAt": NOW,
                "expiresAt": NOW + 90 * DAY,
            }
            await publish(world, token)
            world.clock.now += MINUTE // 2
            await publish(world, token)
            assert (await shown(world, "ci"))["lastUsedAt"] == NOW, "once a minute is enough"

            await world.writer.run(lambda *_: world.resources.note_uses())
            world.clock.now += MINUTE
            await publish(world, token)
            assert (await shown(world, "ci"))["lastUsedAt"] == NOW + 3 * MINUTE // 2
            listed = (await world.ask("GET", TOKENS)).body.decode()
            assert token not in listed
            assert "token-of" not in listed

    asyncio.run(check())


@pytest.mark.promise("P-111", "D-5")
def test_users_do_not_see_each_others_tokens() -> None:
    """A name is each user's own."""

    async def check() -> None:
        async with living() as world:
            await make(world, "ci", "publish")
            assert [one["name"] for one in (await world.ask("GET", TOKENS, OTHER)).json()] == ["admin"]
            assert (await world.ask("DELETE", f"{TOKENS}/ci", OTHER)).status == 404
            same = await world.ask("POST", TOKENS, OTHER, as_json({"name": "ci", "scope": "read"}))
            assert same.status == 201
            assert (await world.ask("DELETE", f"{TOKENS}/ci", OTHER)).status == 200
            assert await shown(world, "ci")

    asyncio.run(check())


def test_what_cannot_be_a_token_is_refused_with_what_could() -> None:
    """And changes nothing; nor does revoking the last token that may administer."""

    async def check() -> None:
        async with living() as world:
            before = await world.state()
            for content, said in (
                ({"name": "a/b", "scope": "read"}, "name: expected 1 to 100 letters"),
                ({"name": "..", "scope": "read"}, "name: expected"),
                ({"name": "a", "scope": "root"}, "scope: expected one of publish, read, manage, admin, got 'root'"),
                ({"name": "a", "scope": "read", "expiresIn": "soon"}, "expiresIn: expected a span"),
                ({"name": "a", "scope": "read", "expiresIn": "0"}, "expiresIn: expected a span"),
                ({"name": "read", "scope": "read"}, "name: expected a name that no other token has"),
                ({"name": "a"}, "body: expected"),
                ({"name": "a", "scope": "read", "admin": True}, "body: expected"),
            ):
                answer = await world.ask("POST", TOKENS, ADMIN, as_json(content))
                assert answer.status == 400, content
                assert said in answer.json()["error"]
            last = await world.ask("DELETE", f"{TOKENS}/admin")
            assert (last.status, "the last one with scope admin" in last.json()["error"]) == (400, True)
            assert await world.state() == before

    asyncio.run(check())


def test_stale_list_brings_no_token_back() -> None:
    """A list that was read before a revocation, and arrives after it."""

    async def check() -> None:
        async with living() as world:
            token = await make(world, "a", "publish")
            rows, changes = await world.writer.read(History.tokens), world.resources.changes
            await world.ask("DELETE", f"{TOKENS}/a")
            world.resources.adopt_tokens(rows, changes)
            assert (await publish(world, token)).status == 401
            world.resources.adopt_tokens(rows, world.resources.changes)
            assert (await publish(world, token)).status == 201, "as another process would have stored it"

    asyncio.run(check())
