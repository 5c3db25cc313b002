"""Logging in to the console with a password: who may, how often one may fail, and when it is over."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.api.raw import Answer, until
from tests.api.test_console import JSON, SESSION, Browser, told
from tests.api.world import ADMIN, CHEAP, TRUSTED, World, as_json, living

from lateron.api.auth import network_of
from lateron.api.passwords import MOST_WAITING, Hashing, Tried, new_secret
from lateron.broker.history import History
from lateron.core.guessing import ADDRESS, NAME
from lateron.core.password import Cost, is_current
from lateron.core.values import MINUTE, SECOND
from lateron.errors import Overloaded
from lateron.store.users import UserRow

USERS = "/lateron/v1/users"
PASSWORD = "four words are enough"
WRONG = {"error": "wrong name or password"}


async def make(world: World, name: str = "anna", scope: str = "read", password: str = PASSWORD) -> None:
    """Make a user."""
    answer = await world.ask("POST", USERS, ADMIN, as_json({"name": name, "scope": scope, "password": password}))
    assert answer.status == 201, answer


async def try_in(browser: Browser, name: str = "anna", password: str = PASSWORD, address: str | None = None) -> Answer:
    """Try to log in, perhaps from another address."""
    headers = [JSON] if address is None else [JSON, ("X-Forwarded-For", address)]
    answer = await browser.ask("POST", SESSION, *headers, body=as_json({"name": name, "password": password}))
    browser.csrf = answer.json().get("csrf", "")
    return answer


@pytest.mark.promise("D-54", "D-52")
def test_reader_logs_in_with_a_password_and_may_only_read() -> None:
    """What a user may do is asked where it is asked for tokens, so there is one answer."""

    async def story(browser: Browser) -> None:
        assert (await try_in(browser)).status == 401, "there is no user, and no password that anybody knows"
        await make(browser.world)
        answer = await try_in(browser)
        assert (answer.status, answer.json()["role"], answer.json()["name"]) == (200, "read", "anna")
        assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
        assert (await browser.ask("GET", "/v2/messages")).status == 200
        refused = await browser.change("POST", "/v2/queues", b'{"queueName":"q"}')
        assert (refused.status, refused.json()) == (403, {"error": "forbidden: scope read may not change this"})
        assert (await browser.ask("GET", USERS)).status == 403
        assert (await browser.change("DELETE", SESSION)).status == 200
        assert (await browser.ask("GET", "/v2/messages")).status == 401

    told(story)


def test_manager_changes_what_a_manager_may() -> None:
    """And the audit log says that it was a user of the console, not a token of that name."""

    async def story(browser: Browser) -> None:
        await make(browser.world, scope="manage")
        await try_in(browser)
        assert (await browser.change("POST", "/v2/queues", b'{"queueName":"q"}')).status == 200
        assert (await browser.change("POST", "/v2/keys/rotate")).status == 403
        records = (await browser.world.ask("GET", "/lateron/v1/audit")).json()["records"]
        found = sorted((record["action"], record["by"], record["who"]) for record in records)
        assert found == [
            ("login", "user", "anna"),
            ("queue.set", "user", "anna"),
            ("user.create", "token", "admin"),
        ]

    told(story)


@pytest.mark.promise("D-54")
def test_wrong_name_and_wrong_password_are_answered_alike_and_cost_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who guesses must not learn who there is."""
    compared: list[bool] = []
    real = Hashing._verify

    def counted(self: Hashing, password: str, stored: str | None) -> bool:
        compared.append(stored is None)
        return real(self, password, stored)

    monkeypatch.setattr(Hashing, "_verify", counted)

    async def story(browser: Browser) -> None:
        await make(browser.world)
        answers = [
            await try_in(browser, password="not that one"),
            await try_in(browser, "nobody"),
            await try_in(browser, PASSWORD),
        ]
        assert [(answer.status, answer.json()) for answer in answers] == [(401, WRONG)] * 3
        varying = {"date", "x-request-id"}
        assert len({frozenset((k, v) for k, v in a.headers.items() if k not in varying) for a in answers}) == 1
        assert compared == [False, True, True]
        records = (await browser.world.ask("GET", "/lateron/v1/audit")).json()["records"]
        failed = [record.get("object") for record in records if record["action"] == "login.failed"]
        assert sorted(failed, key=str) == [None, None, "anna"], "what is no name may be a password"

    told(story)


@pytest.mark.promise("D-54")
def test_who_fails_waits_longer_each_time_and_is_told_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever it is: from another address, and with the right password; and nothing is computed for him."""
    compared: list[str] = []
    real = Hashing._verify

    def counted(self: Hashing, password: str, stored: str | None) -> bool:
        compared.append(password)
        return real(self, password, stored)

    monkeypatch.setattr(Hashing, "_verify", counted)

    async def story(browser: Browser) -> None:
        await make(browser.world)
        for number in range(NAME.free + 1):
            assert (await try_in(browser, password=f"wrong {number}", address=f"198.51.100.{number}")).status == 401
        count = len(compared)
        for address in ("198.51.100.1", "203.0.113.7"):
            refused = await try_in(browser, address=address)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.json() == {"error": "too many failed logins; try again in 1 s"}
            assert "set-cookie" not in refused.headers
        assert len(compared) == count

        browser.world.clock.now += SECOND
        assert (await try_in(browser, password="wrong again")).status == 401
        assert (await try_in(browser)).headers["retry-after"] == "2"
        browser.world.clock.now += 2 * SECOND
        assert (await try_in(browser)).status == 200
        assert (await try_in(browser, password="wrong at last")).status == 401
        assert (await try_in(browser)).status == 200, "who was right begins anew"

    told(story, trusted_proxies=TRUSTED)


@pytest.mark.promise("D-54")
def test_who_tries_many_names_is_slowed_down_by_address() -> None:
    """Of IPv6 by network: whoever has one address there has as many as he likes. Others are not kept out."""

    async def story(browser: Browser) -> None:
        await make(browser.world)
        for number in range(ADDRESS.free + 1):
            assert (await try_in(browser, f"name{number}", address=f"2001:db8::{number}")).status == 401
        assert (await try_in(browser, address="2001:db8::ffff")).status == 429
        assert (await try_in(browser, address="2001:db8:0:1::1")).status == 200
        assert (await try_in(browser, address="198.51.100.1")).status == 200
        assert (await browser.log_in(ADMIN, ("X-Forwarded-For", "2001:db8::1"))).status == 200, "a token is no guess"

    told(story, trusted_proxies=TRUSTED)


@pytest.mark.promise("D-54")
def test_guesses_at_once_are_no_more_than_guesses_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that is counted only when it is one would let a thousand through together."""
    held, compared = threading.Event(), list[str]()
    real = Hashing._verify

    def slow(self: Hashing, password: str, stored: str | None) -> bool:
        compared.append(password)
        held.wait(60)
        return real(self, password, stored)

    monkeypatch.setattr(Hashing, "_verify", slow)

    async def story(browser: Browser) -> None:
        await make(browser.world)
        tries = [
            asyncio.create_task(try_in(browser, password=f"guess {n}", address=f"198.51.100.{n}")) for n in range(20)
        ]
        refused = 20 - (NAME.free + 1)
        await until(lambda: sum(one.done() for one in tries) >= refused)
        held.set()
        statuses = sorted([(await one).status for one in tries])
        assert statuses == [401] * (NAME.free + 1) + [429] * refused
        assert len(compared) == NAME.free + 1

    told(story, trusted_proxies=TRUSTED)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("198.51.100.1", "::ffff:198.51.100.1", True),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("not an address", "not another one", False),
    ],
)
def test_failures_of_one_network_are_one_count(one: str, other: str, same: bool) -> None:
    """Where addresses are free, counting each is counting none."""
    assert (network_of(one) == network_of(other)) is same
    assert network_of(None) == b"", "a socket of this machine has none"


def test_own_password_does_not_pay_for_guesses() -> None:
    """Who has one could log in between guesses of another's, and be taken for somebody who just mistypes."""

    async def story(browser: Browser) -> None:
        await make(browser.world)
        for number in range(ADDRESS.free + 1):
            assert (await try_in(browser, f"name{number}")).status == 401
            browser.world.clock.now += SECOND
            if number < ADDRESS.free:
                assert (await try_in(browser)).status == 200
        browser.world.clock.now -= SECOND
        assert (await try_in(browser)).status == 429

    told(story)


def test_memory_of_failures_is_bounded() -> None:
    """Anybody can fail under ever new names."""
    tried = Tried(NAME, most=3)
    for key in (b"a", b"b", b"a", b"c", b"d"):
        tried.count(key, 0)
    assert set(tried._tries) == {b"a", b"c", b"d"}


CHANGES: dict[str, Callable[[World], Any]] = {
    "another password": lambda world: world.ask(
        "PATCH", f"{USERS}/anna", ADMIN, as_json({"password": "some other words"})
    ),
    "another scope": lambda world: world.ask("PATCH", f"{USERS}/anna", ADMIN, as_json({"scope": "admin"})),
    "removal": lambda world: world.ask("DELETE", f"{USERS}/anna", ADMIN),
}


@pytest.mark.promise("D-54", "D-52")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_login_ends_when_its_user_is_changed(change: Callable[[World], Any]) -> None:
    """With the answer to whoever changed him; and nobody else's does."""

    async def story(browser: Browser) -> None:
        await make(browser.world)
        await make(browser.world, "berta")
        other = Browser(browser.world)
        await try_in(other, "berta")
        await try_in(browser)
        assert (await browser.ask("GET", "/v2/messages")).status == 200
        assert (await change(browser.world)).status == 200
        assert (await browser.ask("GET", "/v2/messages")).status == 401
        assert (await browser.ask("GET", SESSION)).status == 401
        assert (await other.ask("GET", "/v2/messages")).status == 200

    told(story)


def made_again(world: World) -> list[UserRow]:
    """Remove a user and make another of the same name, as another process does."""
    with world.store.transaction() as tx:
        (row,) = tx.users()
        tx.delete_user(row.name)
        secret = new_secret("some other words", CHEAP)
        tx.save_user(replace(row, password=secret.password, proof=secret.proof))
        return tx.users()


@pytest.mark.promise("D-54")
def test_user_made_again_under_his_name_gets_no_old_login() -> None:
    """By another process, between two looks: the name and the scope are the same."""

    async def story(browser: Browser) -> None:
        world = browser.world
        await make(world)
        await try_in(browser)
        users = world.resources.users
        rows, changes = await world.writer.run(lambda *_: made_again(world)), users.changes
        assert (await browser.ask("GET", "/v2/messages")).status == 200, "nobody has looked yet"
        users.adopt(rows, changes)
        assert (await browser.ask("GET", "/v2/messages")).status == 401
        assert (await try_in(browser, password="some other words")).status == 200

    told(story)


def test_stale_list_brings_no_user_back() -> None:
    """A list that was read before a removal, and arrives after it."""

    async def check() -> None:
        async with living() as world:
            await make(world)
            users = world.resources.users
            rows, changes = await world.writer.read(History.users), users.changes
            await world.ask("DELETE", f"{USERS}/anna")
            users.adopt(rows, changes)
            assert users.named("anna") is None

    asyncio.run(check())


def test_change_while_a_password_is_compared_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is slow, and who it is may be removed meanwhile."""

    async def story(browser: Browser) -> None:
        await make(browser.world)
        real = Hashing.verify

        async def slow(self: Hashing, password: str, stored: str | None) -> bool:
            right = await real(self, password, stored)
            await browser.world.ask("DELETE", f"{USERS}/anna")
            return right

        monkeypatch.setattr(Hashing, "verify", slow)
        answer = await try_in(browser)
        assert (answer.status, answer.json()) == (401, WRONG)

    told(story)


@pytest.mark.promise("D-54")
def test_password_kept_in_an_old_way_is_kept_anew_with_the_next_login() -> None:
    """So that the cost can rise; whoever is logged in stays so."""

    async def story(browser: Browser) -> None:
        world, dear = browser.world, Cost(5, 8, 1)
        await make(world)
        other = Browser(world)
        await try_in(other)
        world.api._console._passwords._hashing._cost = dear  # type: ignore[union-attr]
        before = world.resources.users.named("anna")
        assert before is not None
        assert not is_current(before.password, dear)

        assert (await try_in(browser)).status == 200

        (after,) = await world.writer.read(History.users)
        assert is_current(after.password, dear)
        assert (after.proof, after.changed) == (before.proof, before.changed)
        assert (await other.ask("GET", "/v2/messages")).status == 200
        assert (await try_in(browser)).status == 200
        await world.writer.run(lambda *_: world.resources.users.rehash(before, "from an older login"))
        assert world.resources.users.named("anna") == after

    told(story)


@pytest.mark.promise("D-54")
def test_passwords_are_compared_one_at_a_time_beside_the_loop_and_few_wait() -> None:
    """Each takes memory, and anybody who reaches the server can ask for one; what is not compared counts for nobody."""
    held, names = threading.Event(), set()
    hashing = Hashing(CHEAP)
    real = hashing._verify

    def slow(password: str, stored: str | None) -> bool:
        names.add((threading.current_thread().name, threading.active_count()))
        held.wait(60)
        return real(password, stored)

    hashing._verify = slow  # type: ignore[method-assign]

    async def check() -> None:
        waiting = [asyncio.create_task(hashing.verify("x", None)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await hashing.verify("x", None)
        waiting[-1].cancel()
        await asyncio.sleep(0)
        held.set()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert done[:-1] == [False] * (MOST_WAITING - 1)

    asyncio.run(check())
    assert len(names) == 1, "one thread did it all"
    assert next(iter(names))[0].startswith("lateron-password")


def test_too_much_to_compare_is_no_failure_of_whoever_came() -> None:
    """He is asked to come again, and has as many tries as before."""

    async def story(browser: Browser) -> None:
        await make(browser.world)
        hashing = browser.world.api._console._passwords._hashing  # type: ignore[union-attr]
        hashing._waiting = MOST_WAITING
        for _ in range(NAME.free + 5):
            answer = await try_in(browser)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        hashing._waiting = 0
        assert (await try_in(browser)).status == 200

    told(story)


@pytest.mark.promise("D-54", "D-55")
def test_neither_password_nor_what_is_kept_of_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """In no answer, no record and no line of the log, whatever went wrong."""

    async def story(browser: Browser) -> None:
        world = browser.world
        answers = [
            await world.ask("POST", USERS, ADMIN, as_json({"name": "anna", "scope": "read", "password": PASSWORD})),
            await world.ask("POST", USERS, ADMIN, as_json({"name": "anna", "scope": "read", "password": PASSWORD})),
            await world.ask("POST", USERS, ADMIN, as_json({"name": "b", "scope": "x", "password": PASSWORD})),
            await world.ask("POST", USERS, ADMIN, as_json({"name": "b", "scope": "read", "password": "s3cret"})),
            await world.ask("PATCH", f"{USERS}/anna", ADMIN, as_json({"password": PASSWORD})),
            await world.ask("PATCH", f"{USERS}/nobody", ADMIN, as_json({"password": PASSWORD})),
            await try_in(browser),
            await try_in(browser, PASSWORD, "s3cret and more"),
            await browser.ask("POST", SESSION, JSON, body=as_json({"name": "anna", "password": PASSWORD, "x": 1})),
            await world.ask("GET", USERS),
            await world.ask("GET", "/lateron/v1/audit"),
        ]
        assert [a.status for a in answers] == [201, 400, 400, 400, 200, 404, 200, 401, 400, 200, 200]
        row = world.resources.users.named("anna")
        assert row is not None
        texts = [caplog.text, repr(row), repr(new_secret(PASSWORD, CHEAP)), *(a.body.decode() for a in answers)]
        secret = (PASSWORD, "s3cret", row.password, row.password.rpartition("$")[2], row.proof.hex(), "scrypt")
        assert not [(text, word) for text in texts for word in secret if word in text]
        assert len(answers[-1].json()["records"]) == 4

    with caplog.at_level("DEBUG"):
        told(story)


def test_last_use_of_a_user_is_shown_and_outlives_the_server() -> None:
    """Who has not been there for a year can go."""

    async def story(browser: Browser) -> None:
        world = browser.world
        await make(world)
        (shown,) = (await world.ask("GET", USERS)).json()
        now = world.clock.now
        assert shown == {"name": "anna", "scope": "read", "createdAt": now, "changedAt": now}
        world.clock.now += MINUTE
        await try_in(browser)
        assert (await world.ask("GET", USERS)).json()[0]["lastUsedAt"] == now + MINUTE
        await world.writer.run(lambda *_: world.resources.users.note_uses())
        assert [row.used for row in await world.writer.read(History.users)] == [now + MINUTE]
        await world.ask("PATCH", f"{USERS}/anna", ADMIN, as_json({"scope": "admin"}))
        (shown,) = (await world.ask("GET", USERS)).json()
        assert (shown["scope"], shown["lastUsedAt"], shown["changedAt"]) == ("admin", now + MINUTE, now + MINUTE)

    told(story)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"name": "anna"},
        {"password": PASSWORD},
        {"token": ADMIN, "name": "anna", "password": PASSWORD},
        {"token": ADMIN, "name": "anna"},
        {"name": 1, "password": PASSWORD},
        {"name": "anna", "password": None},
    ],
)
def test_login_is_the_one_or_the_other(content: dict[str, Any]) -> None:
    """Half of a login is a mistake, and two are one too many."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("POST", SESSION, JSON, body=json.dumps(content).encode())
        assert answer.status == 400
        assert answer.json() == {"error": 'expected {"token": "..."} or {"name": "...", "password": "..."}'}

    told(story)


def test_longest_password_logs_in() -> None:
    """However a program writes its letters."""
    password = "\U0001f511" * 1024

    async def story(browser: Browser) -> None:
        await make(browser.world, password=password)
        assert len(as_json({"name": "anna", "password": password})) > 12_000
        assert (await try_in(browser, password=password)).status == 200

    told(story)


def test_change_of_nothing_that_is_there() -> None:
    """Says what is not there, or what was expected; and names are nobody else's."""

    async def check() -> None:
        async with living() as world:
            await make(world)
            assert (await world.ask("DELETE", f"{USERS}/nobody")).status == 404
            assert (await world.ask("PATCH", f"{USERS}/nobody", ADMIN, as_json({"scope": "read"}))).status == 404
            again = as_json({"name": "anna", "scope": "admin", "password": PASSWORD})
            refused = await world.ask("POST", USERS, ADMIN, again)
            assert "a name that no other user has" in refused.json()["error"]
            assert [row.scope for row in world.resources.users.of(1)] == ["read"]
            assert world.resources.users.of(2) == []

    asyncio.run(check())
