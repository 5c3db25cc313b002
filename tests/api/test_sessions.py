"""Who is logged in to the console: what an administrator sees of it, and what he can end."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest
from tests.api import test_openid
from tests.api.test_console import SESSION, Browser, told
from tests.api.test_openid import TLS, Visit
from tests.api.test_passwords import PASSWORD, USERS, make, try_in
from tests.api.world import ADMIN, MANAGER, NOW, OTHER, READER, World, as_json

from lateron.api.sessions import IDLE, OLDEST, Entry
from lateron.core.values import HOUR, MINUTE

SESSIONS = "/lateron/v1/sessions"


async def listed(world: World, token: str = ADMIN) -> list[dict[str, Any]]:
    """Return the sessions that are shown."""
    answer = await world.ask("GET", SESSIONS, token)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json()
    return found


async def is_in(browser: Browser) -> bool:
    """Whether the session of a browser is good for a request."""
    status = (await browser.ask("GET", "/v2/messages")).status
    assert status in {200, 401}
    return status == 200


@pytest.mark.promise("D-52", "D-55")
def test_sessions_are_listed_with_who_and_how_and_without_what_opens_them() -> None:
    """An id that could be turned into the cookie would make each administrator anybody."""

    async def story(browser: Browser) -> None:
        world, anna = browser.world, Browser(browser.world)
        await browser.log_in(ADMIN)
        await make(world)
        world.clock.now += MINUTE
        await try_in(anna)
        world.clock.now += MINUTE
        answer = await browser.ask("GET", SESSIONS)
        own, hers = answer.json()
        assert [re.fullmatch("ses_[0-9a-f]{32}", one.pop("sessionId")) is not None for one in (own, hers)] == [True] * 2
        assert own == {
            "name": "admin",
            "by": "token",
            "scope": "admin",
            "createdAt": NOW,
            "lastUsedAt": NOW + 2 * MINUTE,
            "expiresAt": NOW + 2 * MINUTE + IDLE,
            "isOwn": True,
        }
        assert hers == {
            "name": "anna",
            "by": "password",
            "scope": "read",
            "createdAt": NOW + MINUTE,
            "lastUsedAt": NOW + MINUTE,
            "expiresAt": NOW + MINUTE + IDLE,
            "isOwn": False,
        }
        for one in (browser, anna):
            (number,) = one.cookies.values()
            assert len(number) > 40
            secrets = (number, one.csrf, sha256(number.encode()).hexdigest()[:16])
            assert [secret for secret in secrets if secret in answer.body.decode()] == []
        assert [one["isOwn"] for one in await listed(world)] == [False, False], "a token has no session"

    told(story)


@pytest.mark.promise("D-52")
def test_an_id_of_the_list_opens_nothing() -> None:
    """It is no cookie, and has nothing of one."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        (session,) = await listed(browser.world)
        ((name, number),) = browser.cookies.items()
        browser.cookies = {name: session["sessionId"]}
        assert not await is_in(browser)
        browser.cookies = {name: session["sessionId"].removeprefix("ses_")}
        assert not await is_in(browser)
        browser.cookies = {name: number}
        assert await is_in(browser)
        assert (await browser.change("DELETE", f"{SESSIONS}/{number}")).status == 404

    told(story)


@pytest.mark.promise("D-52")
def test_an_ended_session_is_refused_at_its_next_request_and_no_other_is() -> None:
    """Whoever is logged in by the same password goes on; ended is ended."""

    async def story(browser: Browser) -> None:
        world, anna, berta = browser.world, Browser(browser.world), Browser(browser.world)
        await make(world, scope="manage")
        await make(world, "berta", "read")
        await browser.log_in(ADMIN)
        for one, name in ((anna, "anna"), (berta, "berta")):
            assert (await try_in(one, name)).status == 200
        (wanted,) = [one["sessionId"] for one in await listed(world) if one["name"] == "anna"]
        assert (await browser.ask("DELETE", f"{SESSIONS}/{wanted}")).status == 403, "another site could send that"
        assert (await anna.change("DELETE", f"{SESSIONS}/{wanted}")).status == 403
        assert await is_in(anna)

        assert (await browser.change("DELETE", f"{SESSIONS}/{wanted}")).json() == {}
        assert (await anna.change("POST", "/v2/queues", b'{"queueName":"q"}')).status == 401
        assert (await anna.ask("GET", SESSION)).status == 401
        assert (await world.ask("GET", "/v2/queues")).json() == []
        assert (await is_in(berta), await is_in(browser)) == (True, True)
        again = await browser.change("DELETE", f"{SESSIONS}/{wanted}")
        assert (again.status, again.json()) == (404, {"error": f"session {wanted} not found"})
        assert (await try_in(anna)).status == 200, "she has her password still"

        records = (await world.ask("GET", "/lateron/v1/audit?action=session.end")).json()["records"]
        assert [(one["by"], one["who"], one["object"]) for one in records] == [
            ("session", "admin", f"anna ({wanted})"),
        ]

    told(story)


@pytest.mark.promise("D-52")
def test_all_sessions_of_one_name_end_together() -> None:
    """One may not know which of three it is; nobody's name means everybody."""

    async def story(browser: Browser) -> None:
        world, others = browser.world, [Browser(browser.world) for _ in range(3)]
        await make(world)
        await browser.log_in(READER)
        for one in others:
            await try_in(one)
        wrong = ("", "?", "?name", "?name=", "?name=anna&name=anna", "?user=anna", "?name=anna&by=token")
        for query in wrong:
            refused = await world.ask("DELETE", SESSIONS + query)
            assert (refused.status, "name" in refused.json()["error"]) == (400, True), query
        assert (await world.ask("DELETE", f"{SESSIONS}?name=ann")).json() == {"ended": 0}
        assert len(await listed(world)) == 4

        world.clock.now += 1
        assert (await world.ask("DELETE", f"{SESSIONS}?name=anna")).json() == {"ended": 3}
        assert [await is_in(one) for one in (*others, browser)] == [False, False, False, True]
        record = (await world.ask("GET", "/lateron/v1/audit")).json()["records"][0]
        assert (record["action"], record["who"], record["object"], record["count"]) == (
            "sessions.end",
            "admin",
            "anna",
            3,
        )

    told(story)


@pytest.mark.promise("D-54")
def test_who_came_by_a_provider_can_be_shut_out_before_his_twelve_hours_are_over() -> None:
    """He was removed there, of which nobody tells us."""

    async def story(visit: Visit) -> None:
        await visit.log_in()
        (session,) = await listed(visit.world)
        assert (session["name"], session["by"], session["scope"]) == ("oidc:ops@example.org", "provider", "manage")
        assert (await visit.browser.ask("GET", "/v2/messages", TLS)).status == 200
        ended = await visit.world.ask("DELETE", f"{SESSIONS}?name=oidc%3Aops%40example.org")
        assert ended.json() == {"ended": 1}
        assert (await visit.browser.ask("GET", "/v2/messages", TLS)).status == 401

    test_openid.told(story)


@pytest.mark.promise("D-52")
def test_to_be_listed_is_no_use_of_a_session_nor_of_what_opened_it() -> None:
    """Who only looks would keep logins open, and say of tokens and users that they were here just now."""

    async def story(browser: Browser) -> None:
        world, anna = browser.world, Browser(browser.world)
        await make(world)
        await browser.log_in(READER)
        await try_in(anna)

        async def uses() -> list[Any]:
            await world.writer.run(lambda *_: world.resources.note_uses())
            await world.writer.run(lambda *_: world.resources.users.note_uses())
            tokens = (await world.ask("GET", "/lateron/v1/tokens")).json()
            users = (await world.ask("GET", USERS)).json()
            return [one.get("lastUsedAt") for one in (*tokens, *users) if one["name"] != "admin"]

        before = await uses()
        world.clock.now += IDLE - 1
        assert [one["lastUsedAt"] for one in await listed(world)] == [NOW, NOW]
        assert await uses() == before
        world.clock.now += 1
        assert await listed(world) == []
        assert (await is_in(browser), await is_in(anna)) == (False, False)

    told(story)


@pytest.mark.promise("D-52")
def test_what_is_over_is_not_listed() -> None:
    """Its next request would be refused: old, or opened with what is no more."""

    async def story(browser: Browser) -> None:
        world, anna, berta = browser.world, Browser(browser.world), Browser(browser.world)
        soon = Browser(world)
        brief = as_json({"name": "brief", "scope": "read", "expiresIn": "1h"})
        token = (await world.ask("POST", "/lateron/v1/tokens", ADMIN, brief)).json()["token"]
        await soon.log_in(token)
        await browser.log_in(MANAGER)
        for one, name in ((anna, "anna"), (berta, "berta")):
            await make(world, name)
            await try_in(one, name)

        async def names() -> list[str]:
            return [one["name"] for one in await listed(world)]

        assert await names() == ["berta", "anna", "manage", "brief"]
        await world.ask("PATCH", f"{USERS}/anna", ADMIN, as_json({"password": f"{PASSWORD}, five"}))
        assert await names() == ["berta", "manage", "brief"]
        await world.ask("DELETE", "/lateron/v1/tokens/manage")
        assert await names() == ["berta", "brief"]
        world.clock.now += HOUR
        assert await names() == ["berta"]
        for _ in range(OLDEST // HOUR - 2):
            assert await is_in(berta)
            world.clock.now += HOUR
        assert (await listed(world))[0]["expiresAt"] == NOW + OLDEST
        world.clock.now += HOUR
        assert await names() == []

    told(story)


@pytest.mark.promise("P-111")
def test_administrator_of_another_user_sees_and_ends_none() -> None:
    """Not even by an id that he was told."""

    async def story(browser: Browser) -> None:
        world = browser.world
        await browser.log_in(READER)
        guest = world.resources.visitor(1, "oidc:ops@example.org", "admin")
        world.sessions.begin(Entry("provider", lambda: guest))
        assert await listed(world, OTHER) == []
        for session in await listed(world):
            assert (await world.ask("DELETE", f"{SESSIONS}/{session['sessionId']}", OTHER)).status == 404
            ended = await world.ask("DELETE", f"{SESSIONS}?name={session['name'].replace('@', '%40')}", OTHER)
            assert ended.json() == {"ended": 0}
        assert await is_in(browser)
        assert len(await listed(world)) == 2

    told(story)
