"""Logging in to the console by OpenID Connect: who gets in, and what a provider or a stranger may try in vain."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from tests.api.provider import (
    CLIENT,
    CODE,
    FIRST,
    SECRET,
    Provider,
    providing,
    sign,
)
from tests.api.raw import Answer
from tests.api.test_console import JSON, PAGES, SESSION, Browser
from tests.api.world import ADMIN, TRUSTED, MovableClock, as_json, living

from lateron.api.idtoken import Keys
from lateron.api.issuer import KEPT, Client, Issuer
from lateron.api.openid import LASTS, MOST, MOST_ASKED, OF_ONE, WORDS, OpenId
from lateron.api.pages import FILES
from lateron.api.ports import ConsoleSettings
from lateron.core.guessing import ADDRESS
from lateron.core.oidc import parse_rule
from lateron.egress import Egress, EgressSettings, GuardPolicy, Limits
from lateron.runtime import SystemClock

OIDC = "/console/api/oidc"
HOST = "queue.example.com"
TLS = ("X-Forwarded-Proto", "https")
RULES = ("email=ops@example.org:manage", "groups=viewers:read", "groups=chiefs:admin")


class Visit:
    """A browser, the server it wants to come into, and the provider."""

    def __init__(self, browser: Browser, provider: Provider, openid: OpenId, clock: MovableClock) -> None:
        self.browser, self.provider, self.openid, self.clock = browser, provider, openid, clock
        self.world = browser.world

    async def leave(self, *headers: tuple[str, str], browser: Browser | None = None) -> Answer:
        """Begin a login."""
        return await (browser or self.browser).ask("POST", OIDC, TLS, *headers)

    async def come_back(
        self, given: dict[str, str] | str, *headers: tuple[str, str], browser: Browser | None = None
    ) -> Answer:
        """Come back from the provider, as a browser does: from another site, and without what is kept to ours."""
        asking = browser or self.browser
        kept = dict(asking.cookies)
        asking.cookies.pop("__Host-lateron", None)
        query = given if isinstance(given, str) else urlencode(given)
        back = await asking.ask("GET", f"{OIDC}/callback?{query}", TLS, ("Sec-Fetch-Site", "cross-site"), *headers)
        asking.cookies = kept | asking.cookies
        return back

    async def log_in(self) -> Answer:
        """Leave and come back."""
        left = await self.leave()
        assert left.status == 200, left
        return await self.come_back(self.provider.let_in(left.json()["location"]))

    async def who(self) -> Any:
        """Return who is logged in."""
        answer = await self.browser.ask("GET", SESSION, TLS)
        self.browser.csrf = answer.json().get("csrf", "")
        return answer.json()

    async def is_refused(self, word: str) -> None:
        """Expect a login to fail, for that reason; and nobody to be logged in."""
        assert why(await self.log_in()) == word
        assert await self.who() == {"error": "nobody is logged in"}


Story = Callable[[Visit], Coroutine[Any, Any, None]]


def why(answer: Answer) -> str:
    """Return what the page will explain; nothing if he is in."""
    assert answer.status == 303, answer
    assert answer.headers["cache-control"] == "no-store"
    place, _, word = answer.headers["location"].partition("?login=")
    assert place == "../../"
    return word


def told(
    story: Story,
    *rules: str,
    secret: str | None = SECRET,
    hosts: tuple[str, ...] = (HOST,),
    issuer: Callable[[str], str] = str,
    host: str = HOST,
) -> None:
    """Run a story of a server that has a provider."""

    async def tell() -> None:
        clock = MovableClock()
        settings = EgressSettings(GuardPolicy(allow_private=True), Limits(stored=4096, read=4096))
        egress = Egress(settings, SystemClock())
        async with providing(lambda: clock.now // 1000) as provider:
            allowed = tuple(parse_rule(rule) for rule in rules or RULES)
            client = Client(issuer(provider.url), CLIENT, secret, ("openid", "email"), allowed)
            openid = OpenId("Our Login", Issuer(client, egress.send, Keys, clock), clock)
            console = ConsoleSettings(environment="serve", hosts=hosts, pages=PAGES)
            try:
                async with living(console=console, openid=openid, trusted_proxies=TRUSTED) as world:
                    await story(Visit(Browser(world, host), provider, openid, clock))
            finally:
                await egress.close()

    asyncio.run(tell())


@pytest.mark.promise("D-54", "D-52")
def test_who_fits_a_rule_gets_a_session_with_its_scope() -> None:
    """The same as a password gives; it is noted who it was, by a name that no user with a password can have."""

    async def story(visit: Visit) -> None:
        left = await visit.leave()
        cookie = left.headers["set-cookie"]
        assert cookie.startswith("__Host-lateron-oidc=")
        assert cookie.endswith("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure")
        place = left.json()["location"]
        assert f"redirect_uri=https%3A%2F%2F{HOST}%2Fconsole%2Fapi%2Foidc%2Fcallback&scope=openid+email&" in place
        back = await visit.come_back(visit.provider.let_in(place))
        assert why(back) == ""
        assert back.headers["set-cookie"].startswith("__Host-lateron=")
        assert back.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")
        who = await visit.who()
        assert (who["name"], who["user"], who["role"]) == ("oidc:ops@example.org", "user1", "admin")
        body = ("Lateron-Csrf", visit.browser.csrf)
        made = await visit.browser.ask("POST", "/v2/queues", TLS, body, body=b'{"queueName":"q"}')
        assert made.status == 200
        assert (await visit.browser.ask("GET", "/v2/messages", TLS)).status == 200
        refused = await visit.browser.ask("POST", "/v2/keys/rotate", TLS, body)
        assert refused.status == 403, "manage is not admin"
        records = (await visit.world.ask("GET", "/lateron/v1/audit")).json()["records"]
        found = [(one["action"], one["by"], one["who"]) for one in records]
        assert found == [("queue.set", "user", "oidc:ops@example.org"), ("login", "user", "oidc:ops@example.org")]
        out = await visit.browser.ask("DELETE", SESSION, TLS, body)
        assert out.json() == {"loggedOut": True}

    told(story)


@pytest.mark.parametrize(
    ("claims", "name", "role"),
    [
        ({"groups": ["staff", "viewers"]}, "oidc:u1", "read"),
        ({"groups": "viewers"}, "oidc:u1", "read"),
        ({"groups": ["chiefs", "viewers"]}, "oidc:u1", "read"),  # The first rule that fits.
        ({"email": "OPS@Example.org", "email_verified": True}, "oidc:OPS@Example.org", "admin"),
        ({"sub": "Ä b", "groups": ["viewers"]}, "oidc:??b", "read"),
    ],
)
def test_first_rule_that_fits_decides(claims: dict[str, Any], name: str, role: str) -> None:
    """So a person who is in two groups has what the operator wrote first."""

    async def story(visit: Visit) -> None:
        visit.provider.claims = claims
        assert why(await visit.log_in()) == ""
        who = await visit.who()
        assert (who["name"], who["role"]) == (name, role)

    told(story)


@pytest.mark.promise("D-54")
@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({}, "nobody"),
        ({"groups": ["staff"]}, "nobody"),
        ({"groups": "viewers and more"}, "nobody"),
        ({"groups": {"viewers": True}}, "nobody"),
        ({"groups": [["viewers"], None, 1]}, "nobody"),
        ({"email": "other@example.org", "email_verified": True}, "nobody"),
        ({"email": ["ops@example.org"], "email_verified": True}, "nobody"),
        ({"email": "op\u017f@example.org", "email_verified": True}, "nobody"),  # A long s, which is small for S.
        ({"email": "ops@example.org", "email_verified": False}, "unverified"),
        ({"email": "ops@example.org", "email_verified": "true"}, "unverified"),
        ({"email": "ops@example.org"}, "unverified"),
    ],
)
def test_nobody_gets_in_whom_no_rule_names(claims: dict[str, Any], word: str) -> None:
    """Who may call himself what he likes at the provider must not become somebody here."""

    async def story(visit: Visit) -> None:
        visit.provider.claims = claims
        await visit.is_refused(word)
        (record,) = (await visit.world.ask("GET", "/lateron/v1/audit")).json()["records"]
        assert (record["action"], record["by"], record["status"]) == ("login.failed", "nobody", 401)
        expected = "oidc:other@example.org" if claims.get("email") == "other@example.org" else "oidc:u1"
        assert claims.get("email_verified") is True or record["object"] == expected

    told(story)


@pytest.mark.promise("D-54")
def test_a_state_is_good_once_for_its_own_browser_and_not_for_long() -> None:
    """Else somebody could log another into his account, or come in by what he has seen of another's address."""

    async def story(visit: Visit) -> None:
        other_browser = Browser(visit.world, HOST)
        asked = visit.provider.asked

        async def given() -> dict[str, str]:
            return visit.provider.let_in((await visit.leave()).json()["location"])

        assert why(await visit.come_back({"code": CODE, "state": "made up"})) == "late"
        assert why(await visit.come_back({"code": CODE})) == "late"
        assert why(await visit.come_back("state=%ff&state=x&code=%00")) == "late"
        assert why(await visit.come_back(await given(), browser=other_browser)) == "late"
        await visit.leave(browser=other_browser)
        assert why(await visit.come_back(await given(), browser=other_browser)) == "late", "it has a cookie of its own"
        late = await given()
        visit.clock.now += LASTS
        assert why(await visit.come_back(late)) == "late"
        assert "/token" not in asked, "none of these codes is given to the provider"

        once = await given()
        cookies = dict(visit.browser.cookies)
        assert why(await visit.come_back(once)) == ""
        visit.browser.cookies = cookies
        assert why(await visit.come_back(once)) == "late"
        assert asked.count("/token") == 1

    told(story)


@pytest.mark.promise("D-52", "D-53")
def test_a_login_is_begun_by_our_own_page_alone_and_ends_the_session_before() -> None:
    """A number that was planted in a browser must not become somebody's."""

    async def story(visit: Visit) -> None:
        assert (await visit.leave(("Origin", "https://evil.example.com"))).status == 403
        assert (await visit.leave(("Sec-Fetch-Site", "cross-site"))).status == 403
        assert (await visit.browser.ask("POST", OIDC)).status == 403, "over plain HTTP"
        assert (await visit.browser.ask("DELETE", OIDC, TLS)).status == 405
        assert (await visit.browser.ask("POST", f"{OIDC}/callback", TLS)).status == 404
        assert (await visit.browser.ask("HEAD", f"{OIDC}/callback?state=x", TLS)).status == 404
        assert visit.browser.cookies == {}

        await visit.browser.ask("POST", SESSION, JSON, TLS, body=as_json({"token": ADMIN}))
        first = dict(visit.browser.cookies)
        assert why(await visit.log_in()) == ""
        assert visit.browser.cookies["__Host-lateron"] != first["__Host-lateron"]
        visit.browser.cookies = first
        assert (await visit.browser.ask("GET", "/v2/messages", TLS)).status == 401

    told(story)


@pytest.mark.parametrize(
    ("host", "headers", "place"),
    [
        (HOST, (), f"https://{HOST}"),
        (f"{HOST.upper()}:8443", (), f"https://{HOST}:8443"),
        (HOST, (("X-Forwarded-Prefix", "/queue/"),), f"https://{HOST}/queue"),
        ("localhost:8080", (("X-Forwarded-Proto", "http"),), "http://localhost:8080"),
        ("[::1]:8080", (("X-Forwarded-Proto", "http"),), "http://[::1]:8080"),
        ("192.0.2.7", (), None),
        ("elsewhere.example.com", (), None),
        (f"{HOST}:1@evil.example.com", (), None),
        (f"{HOST}:1/evil.example.com", (), None),
        (f"{HOST}:evil.example.com", (), None),
    ],
)
def test_a_browser_is_sent_back_to_a_name_that_the_operator_gave(
    host: str, headers: tuple[tuple[str, str], ...], place: str | None
) -> None:
    """Behind a proxy that says so, below its path; never to what only a request says."""

    async def story(visit: Visit) -> None:
        given = headers if any(name == "X-Forwarded-Proto" for name, _ in headers) else (TLS, *headers)
        answer = await visit.browser.ask("POST", OIDC, *given)
        assert answer.status in {200, 400, 403}
        if place is None:
            assert answer.status != 200
            return
        sent = visit.provider.let_in(answer.json()["location"])
        assert visit.provider._begun[sent["code"]]["redirect_uri"] == f"{place}/console/api/oidc/callback"

    told(story, host=host)


def test_who_the_provider_refuses_or_who_brings_its_name_wrongly_is_not_in() -> None:
    """With RFC 9207 an answer says whose it is; a mix-up of two providers is seen by it."""

    async def story(visit: Visit) -> None:
        async def back(**changes: str | None) -> str:
            given = visit.provider.let_in((await visit.leave()).json()["location"]) | changes
            return why(await visit.come_back({name: value for name, value in given.items() if value is not None}))

        assert await back(code=None, error="access_denied") == "denied"
        assert await back(error="server_error") == "denied"
        assert await back(code=None) == "denied"
        assert await back(iss="https://elsewhere.example.com") == "token"
        assert await back(iss=visit.provider.url) == ""
        visit.provider.described = {"authorization_response_iss_parameter_supported": True}
        visit.clock.now += KEPT
        assert await back() == "token"
        assert await back(iss=visit.provider.url) == ""

    told(story)


def test_claims_that_are_not_in_the_token_are_asked_for_beside_it() -> None:
    """Only if a rule needs them, and only if they are about the same person."""

    async def story(visit: Visit) -> None:
        provider = visit.provider
        provider.described = {"userinfo_endpoint": f"{provider.url}/userinfo"}
        provider.claims = {"email": "ops@example.org"}
        provider.userinfo = {"sub": "u1", "email": "x@example.org", "email_verified": True, "groups": []}
        await visit.is_refused("unverified")  # The one address is in the token, the other one was verified.
        provider.claims = {}
        provider.userinfo |= {"email": "ops@example.org"}
        assert why(await visit.log_in()) == ""
        provider.userinfo |= {"sub": "u2"}
        assert why(await visit.log_in()) == "token"
        provider.userinfo = {"sub": "u1"}
        provider.claims = {"groups": ["viewers"], "email": "a@example.org", "email_verified": True}
        before = provider.asked.count("/userinfo")
        assert why(await visit.log_in()) == ""
        assert provider.asked.count("/userinfo") == before

    told(story)


@pytest.mark.promise("D-54")
def test_logins_that_are_away_are_bounded_and_nobody_pushes_out_others() -> None:
    """Anybody can begin one."""

    async def story(visit: Visit) -> None:
        first = visit.provider.let_in((await visit.leave(("X-Forwarded-For", "198.51.100.1"))).json()["location"])
        cookies = dict(visit.browser.cookies)
        for _ in range(OF_ONE + 5):
            await visit.openid.begin("https://x", None, "2001:db8::1")
        assert len(visit.openid._away) == OF_ONE + 1
        visit.browser.cookies = cookies
        assert why(await visit.come_back(first)) == ""
        for number in range(MOST + 5):
            await visit.openid.begin("https://x", None, f"10.0.{number // 256}.{number % 256}")
        assert len(visit.openid._away) == MOST

    told(story)


@pytest.mark.promise("D-54")
def test_who_comes_back_in_vain_again_and_again_must_wait() -> None:
    """As with passwords: by address, and a good login does not count."""

    async def story(visit: Visit) -> None:
        assert why(await visit.log_in()) == ""
        visit.provider.claims = {}
        for _ in range(ADDRESS.free + 1):
            assert why(await visit.log_in()) == "nobody"
        answer = await visit.leave()
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.json() == {"error": "too many failed logins; try again in 1 s"}
        assert (await visit.leave(("X-Forwarded-For", "198.51.100.7"))).status == 200
        visit.openid._asked = MOST_ASKED
        assert why(await visit.come_back({"code": CODE, "state": "x"})) == "busy"

    told(story)


@pytest.mark.promise("D-54", "D-55")
def test_neither_codes_nor_tokens_nor_secrets_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """In no answer but the address of the provider, no record and no line of the log, whatever went wrong."""

    async def story(visit: Visit) -> None:
        provider, seen = visit.provider, list[str]()
        signed = list[str]()

        def token(claims: dict[str, Any]) -> str:
            signed.append(sign(claims, FIRST))
            return signed[-1]

        provider.token = token
        for claims in ({"email": "ops@example.org", "email_verified": True}, {}, {"iss": "x"}, {"nonce": "x"}):
            provider.claims = claims
            left = await visit.leave()
            back = await visit.come_back(provider.let_in(left.json()["location"]))
            seen += [back.body.decode(), str({k: v for k, v in back.headers.items() if k != "set-cookie"})]
        for instead in ((500, b"c0de"), (400, b'{"error": "invalid_grant", "c0de-of-a-login": 1}'), (200, b"{}")):
            provider.instead["/token"] = instead
            seen.append(str((await visit.log_in()).headers))
        seen += [repr(visit.openid._issuer.client), repr(list(visit.openid._away.values()))]
        lines = [f"{record.getMessage()} {record.__dict__.get('fields')}" for record in caplog.records]
        seen += lines
        seen.append((await visit.world.ask("GET", "/lateron/v1/audit")).body.decode())
        secret = ("c0de", "s3cret", "acc3ss", *(part for one in signed for part in one.split(".")[1:]))
        assert not [(text, word) for text in seen for word in secret if word in text]
        assert sum("login failed" in line for line in lines) == 6
        assert sum("invalid_grant" in line for line in lines) == 1

    with caplog.at_level("DEBUG"):
        told(story)


@pytest.mark.parametrize(
    ("secret", "methods", "expected"),
    [
        (None, [], ("", {"client_id": CLIENT})),
        (SECRET, ["client_secret_post"], ("", {"client_id": CLIENT, "client_secret": SECRET})),
        (SECRET, ["client_secret_post", "client_secret_basic"], ("Basic", {})),
    ],
)
def test_a_client_shows_itself_as_its_provider_wants_it(
    secret: str | None, methods: list[str], expected: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By header, by form, or only by the verifier."""

    def shown(headers: Any, form: Any) -> tuple[int, bytes]:
        kept = {name: value for name, value in form.items() if name.startswith("client_")}
        assert (headers.get("authorization", "").partition(" ")[0], kept) == expected
        return 400, b"{}"

    async def story(visit: Visit) -> None:
        monkeypatch.setattr(visit.provider, "_tokens", shown)
        visit.provider.described = {"token_endpoint_auth_methods_supported": methods}
        await visit.is_refused("issuer")

    told(story, secret=secret)


def test_without_a_provider_there_is_no_such_way() -> None:
    """The page asks, and shows nothing."""

    async def check() -> None:
        console = ConsoleSettings(environment="serve", pages=PAGES)
        async with living(console=console) as world:
            browser = Browser(world)
            assert (await browser.ask("GET", OIDC)).json() == {"name": None, "why": None}
            assert (await browser.ask("POST", OIDC)).status == 404
            assert (await browser.ask("GET", f"{OIDC}/callback?state=x")).status == 404

    asyncio.run(check())


def test_page_has_words_for_each_reason() -> None:
    """A reason that it does not know would be a page that says nothing; and it says no word of a stranger."""
    code = "".join(path.read_text("utf-8") for path in FILES.parent.rglob("*.py"))
    given = set(re.findall(r'(?:LoginRefused|UnknownKey)\("(\w+)"', code)) | set(re.findall(r"\?login=(\w+)", code))
    assert given == set(WORDS)

    async def story(visit: Visit) -> None:
        asked = [(await visit.browser.ask("GET", f"{OIDC}?login={word}", TLS)).json() for word in ("late", "<b>", "")]
        assert asked == [{"name": "Our Login", "why": why} for why in (WORDS["late"], None, None)]

    told(story)


def test_no_field_of_the_protocol_stands_in_what_a_url_says_twice() -> None:
    """Two readers that disagree about which of two counts are a hole."""

    async def story(visit: Visit) -> None:
        given = visit.provider.let_in((await visit.leave()).json()["location"])
        assert why(await visit.come_back(urlencode(given) + "&code=other")) == "denied"
        assert urlsplit(visit.provider.url).hostname == "127.0.0.1"

    told(story)
