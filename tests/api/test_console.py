"""The door of the console: its files, logging in, and what a session may do."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.api.raw import Answer, exchange
from tests.api.world import ADMIN, PUBLISHER, READER, TRUSTED, World, as_json, living

from lateron.api.app import ROUTES
from lateron.api.auth import Failures
from lateron.api.pages import FILES, TYPES, Page, read_pages
from lateron.api.ports import ConsoleSettings
from lateron.api.routes import Access
from lateron.api.sessions import IDLE, MOST, OF_ONE, OLDEST, Entry
from lateron.broker.resources import Identity
from lateron.core.values import MINUTE

LOCAL = "localhost:8080"
JSON = ("Content-Type", "application/json")
SESSION = "/console/api/session"
PAGES = {
    "index.html": Page(b"<!doctype html>", b"text/html; charset=utf-8", b'"one"'),
    "app/start.js": Page(b"start()", b"text/javascript; charset=utf-8", b'"two"'),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
Story = Callable[["Browser"], Coroutine[Any, Any, None]]


class Browser:
    """Asks as a browser does: with a Host, and with the cookies it was given."""

    def __init__(self, world: World, host: str = LOCAL) -> None:
        self.world, self.host = world, host
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    async def ask(
        self, method: str, target: str, *headers: tuple[str, str], body: bytes = b"", host: str | None = None
    ) -> Answer:
        """Send one request."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host or self.host}", "Connection: close"]
        lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
        if self.cookies:
            lines.append("Cookie: theme=dark; " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        (answer,) = await exchange(self.world.front.port, head + body)
        cookie = answer.headers.get("set-cookie", "")
        if cookie:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    async def log_in(self, token: str, *headers: tuple[str, str]) -> Answer:
        """Log in with a token."""
        answer = await self.ask("POST", SESSION, JSON, *headers, body=as_json({"token": token}))
        self.csrf = answer.json().get("csrf", "")
        return answer

    async def change(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Change something, as the pages of the console do."""
        return await self.ask(method, target, ("Lateron-Csrf", self.csrf), body=body)


def told(story: Story, *, environment: str = "serve", host: str = LOCAL, **changes: Any) -> None:
    """Run a story of one browser."""
    settings = {"guest": ADMIN.encode() if environment == "dev" else None, "pages": PAGES}
    settings |= {name: changes.pop(name) for name in ("hosts", "pages") if name in changes}
    console = ConsoleSettings(environment=environment, **settings)  # type: ignore[arg-type]  # Mixed on purpose.

    async def tell() -> None:
        async with living(console=console, **changes) as world:
            await story(Browser(world, host))

    asyncio.run(tell())


@pytest.mark.promise("D-51")
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/console/", "index.html"),
        ("/console/index.html", "index.html"),
        ("/console/messages/msg_0", "index.html"),
        ("/console/flow/a%2Fb?x=y.z", "index.html"),
        ("/console/app/start.js", "app/start.js"),
    ],
)
def test_page_comes_with_its_type_and_a_policy_that_allows_nothing_foreign(target: str, name: str) -> None:
    """What a message says must never run as a script of the console."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("GET", target)
        assert (answer.status, answer.body) == (200, PAGES[name].body)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-type"].encode() == PAGES[name].kind
        again = await browser.ask("GET", target, ("If-None-Match", answer.headers["etag"]))
        assert (again.status, again.body) == (304, b"")
        assert again.headers["content-security-policy"] == POLICY

    told(story)


@pytest.mark.parametrize(
    ("accepted", "small"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip; q=0", False), ("br", False), ("x-gzip", False), ("", False)],
)
def test_page_is_sent_compressed_to_whom_can_read_that(accepted: str, *, small: bool) -> None:
    """A cache between must not give one the other's; the file is the same by its tag."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("GET", "/console/app/start.js", ("Accept-Encoding", accepted))
        body = gzip.decompress(answer.body) if small else answer.body
        assert (answer.status, body) == (200, b"start()")
        assert answer.headers.get("content-encoding") == ("gzip" if small else None)
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.headers["vary"] == "Accept-Encoding"
        again = await browser.ask("GET", "/console/app/start.js", ("If-None-Match", answer.headers["etag"]))
        assert (again.status, again.body, "content-encoding" in again.headers) == (304, b"", False)

    told(story)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/console", "console/"),
        ("/console?range=1h", "console/?range=1h"),
        ("/console//", "../../console/"),
        ("/console/messages/", "../messages"),
        ("/console/messages//?view=waiting", "../../messages?view=waiting"),
        ("/console//example.com/", "../example.com"),
    ],
)
def test_an_address_whose_links_would_miss_leads_to_the_right_one(target: str, place: str) -> None:
    """The pages name their files relative to it; and a proxy may have put a path before."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("GET", target)
        assert (answer.status, answer.headers["location"]) == (308, place)

    told(story)


@pytest.mark.promise("D-51")
@pytest.mark.parametrize(
    "target",
    [
        "/console/../pyproject.toml",
        "/console/..",
        "/console/./index.html",
        "/console/app/../../api/app.py",
        "/console/%2e%2e/app.py",
        "/console//etc/passwd.txt",
        "/console/app.py",
        "/console/index.html%00.js",
        "/console/\\..\\app.py",
    ],
)
def test_only_files_of_the_console_are_served(target: str) -> None:
    """Nothing of the machine, and nothing of the package beside it."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("GET", target)
        assert answer.status == 404
        assert answer.json() == {"error": "no such page"}

    told(story)


def test_pages_can_only_be_read() -> None:
    """A method that nobody thought about changes nothing."""

    async def story(browser: Browser) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await browser.ask(method, "/console/")).status == 405
        assert (await browser.ask("GET", "/console/api/other")).status == 404

    told(story)


def test_files_of_the_package_are_all_served(tmp_path: Path) -> None:
    """A file whose type nobody knows would be missing in a browser, offline and in silence."""
    here = {path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()}
    assert {name for name in here if not name.endswith((".md", ".toml")) and "LICENSE" not in name} <= set(read_pages())
    assert read_pages(tmp_path / "missing") == {}
    for ending in TYPES:
        (tmp_path / f"a{ending}").write_bytes(b"x")
    (tmp_path / "a.py").write_bytes(b"x")
    assert set(read_pages(tmp_path)) == {f"a{ending}" for ending in TYPES}


def test_console_that_is_switched_off_is_not_there() -> None:
    """An operator who does not want it has one door less."""

    async def check() -> None:
        async with living() as world:
            for target in ("/console", "/console/", SESSION):
                assert (await world.ask("GET", target)).status == 404

    asyncio.run(check())


@pytest.mark.promise("D-52", "D-55")
def test_login_gives_a_session_that_scripts_cannot_read() -> None:
    """The token is typed once; the browser keeps a number in its place."""

    async def story(browser: Browser) -> None:
        assert (await browser.ask("GET", SESSION)).status == 401
        answer = await browser.log_in(ADMIN)
        assert answer.status == 200
        content = answer.json()
        assert {name: content[name] for name in ("user", "role", "environment", "base")} == {
            "user": "user1",
            "role": "admin",
            "environment": "serve",
            "base": "/",
        }
        cookie = answer.headers["set-cookie"]
        number = browser.cookies["lateron-8080"]
        assert len(number) == 43  # 256 bits.
        assert cookie == f"lateron-8080={number}; Path=/; Max-Age={OLDEST // 1000}; HttpOnly; SameSite=Strict"
        assert ADMIN not in cookie + answer.body.decode()
        assert (await browser.ask("GET", SESSION)).json() == content
        assert (await browser.ask("GET", "/v2/messages")).status == 200

    told(story)


@pytest.mark.promise("D-52")
def test_behind_tls_the_cookie_stays_there() -> None:
    """A cookie that also goes over plain HTTP could be read, and one without the prefix be set by another host."""

    async def story(browser: Browser) -> None:
        secure = ("X-Forwarded-Proto", "https")
        answer = await browser.log_in(ADMIN, secure, ("X-Forwarded-Prefix", "/queue"))
        assert answer.headers["set-cookie"].startswith("__Host-lateron=")
        assert answer.headers["set-cookie"].endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure")
        assert answer.json()["base"] == "/queue/"
        assert (await browser.ask("GET", "/v2/messages", secure)).status == 200
        assert (await browser.ask("GET", "/v2/messages")).status == 401  # Not the plain cookie.

    told(story, host="queue.example.com", trusted_proxies=TRUSTED)


@pytest.mark.promise("D-52")
def test_plain_http_from_elsewhere_is_told_what_is_wrong() -> None:
    """Without TLS anybody on the way could take the session; a silent refusal would send people looking for hours."""

    async def story(browser: Browser) -> None:
        for answer in (await browser.ask("GET", SESSION), await browser.log_in(ADMIN)):
            assert answer.status in {401, 403}
            assert "plain HTTP" in answer.json()["error"]
            assert "--trusted-proxy" in answer.json()["error"]
        # Who is no proxy of ours cannot say that it was HTTPS.
        assert (await browser.log_in(ADMIN, ("X-Forwarded-Proto", "https"))).status == 403
        assert not browser.cookies

    told(story, host="queue.example.com")


@pytest.mark.promise("D-52")
@pytest.mark.parametrize(
    ("steps", "pause", "left"),
    [(3, IDLE - 1, 200), (1, IDLE, 401), (OLDEST // (IDLE - 1) + 1, IDLE - 1, 401)],
    ids=["used again and again", "not used", "too old"],
)
def test_session_ends_when_it_is_idle_or_old(steps: int, pause: int, left: int) -> None:
    """A browser that somebody forgot to close must not stay a key for ever."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        answer = None
        for _ in range(steps):
            browser.world.clock.now += pause
            answer = await browser.ask("GET", "/v2/messages")
        assert answer is not None
        assert answer.status == left

    told(story)


@pytest.mark.promise("D-52")
def test_session_ends_by_logging_out_and_with_its_token() -> None:
    """And a new login is a new number, so that nobody can wait inside one that was planted."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        first = dict(browser.cookies)
        await browser.log_in(ADMIN)
        second = dict(browser.cookies)
        assert first != second
        browser.cookies = first
        assert (await browser.ask("GET", "/v2/messages")).status == 401

        browser.cookies = dict(second)
        assert (await browser.ask("DELETE", SESSION)).status == 403
        assert (await browser.change("DELETE", SESSION)).json() == {"loggedOut": True}
        assert set(browser.cookies.values()) == {""}
        browser.cookies = second
        assert (await browser.ask("GET", "/v2/messages")).status == 401
        assert (await browser.change("DELETE", SESSION)).status == 401

        await browser.log_in(ADMIN)
        browser.world.resources.adopt_tokens([], browser.world.resources.changes)
        assert (await browser.ask("GET", "/v2/messages")).status == 401

    told(story)


@pytest.mark.promise("D-52")
def test_number_of_sessions_is_bounded() -> None:
    """Who may log in could fill the memory else; the one unused longest makes room."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        for number in range(MOST):
            browser.world.sessions.begin(Entry("token", partial(Identity, 1, "user1", name=f"token {number}")))
        assert (await browser.ask("GET", SESSION)).status == 401

    told(story)


@pytest.mark.promise("D-52")
def test_nobody_logs_out_others_by_logging_in_often() -> None:
    """Any token may log in; beyond so many sessions it is its own that end."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        sessions = browser.world.sessions
        entry = Entry("token", partial(browser.world.resources.authenticate, PUBLISHER.encode()))
        begun = [sessions.begin(entry) for _ in range(MOST)]
        assert (await browser.ask("GET", SESSION)).status == 200
        left = [opened for opened in begun if opened is not None and sessions.peek(opened[0]) is not None]
        assert left == begun[-OF_ONE:]

    told(story)


@pytest.mark.promise("D-53")
def test_change_needs_the_header_that_only_our_pages_know() -> None:
    """A cookie comes along with whatever makes the browser send a request."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        before = await browser.world.state()
        changes = [route for route in ROUTES if route.access is Access.CHANGE]
        for wrong in ((), (("Lateron-Csrf", ""),), (("Lateron-Csrf", "x" * 43),)):
            for route in changes:
                target = route.path.replace("{destination}", "https://example.com").replace("{", "").replace("}", "")
                answer = await browser.ask(route.method, target, *wrong)
                assert answer.status == 403, (route, answer)
                assert "Lateron-Csrf" in answer.json()["error"]
        assert await browser.world.state() == before
        assert (await browser.change("POST", "/v2/publish/https://example.com", b"hi")).status == 201

    told(story)


@pytest.mark.promise("D-53")
@pytest.mark.parametrize(
    "header",
    [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "http://evil.example"),
        ("Origin", "http://localhost:9090"),
        ("Origin", "null"),
    ],
    ids=" ".join,
)
def test_other_site_gets_nothing_by_a_session(header: tuple[str, str]) -> None:
    """Not a change, not a list, and not a login in somebody else's name."""

    async def story(browser: Browser) -> None:
        assert (await browser.log_in(ADMIN, header)).status == 403
        await browser.log_in(ADMIN)
        csrf = ("Lateron-Csrf", browser.csrf)
        for method, target in (("GET", "/v2/messages"), ("DELETE", "/v2/messages"), ("DELETE", SESSION)):
            assert (await browser.ask(method, target, csrf, header)).status == 403
        same = (("Origin", f"http://{LOCAL}"), ("Sec-Fetch-Site", "same-origin"))
        assert (await browser.ask("DELETE", "/v2/messages", csrf, *same)).status == 200

    told(story)


@pytest.mark.promise("P-109", "D-52")
def test_reader_reads_and_changes_nothing() -> None:
    """The page may hide its buttons; it is the API that says no."""

    async def story(browser: Browser) -> None:
        assert (await browser.log_in(READER)).json()["role"] == "read"
        assert (await browser.ask("GET", "/v2/messages")).status == 200
        for method, target in (("DELETE", "/v2/messages"), ("POST", "/v2/publish/https://example.com")):
            answer = await browser.change(method, target)
            assert (answer.status, answer.json()["error"].startswith("forbidden")) == (403, True)

    told(story)


def test_token_wins_over_a_session() -> None:
    """A program that says who it is is not somebody else because of a cookie."""

    async def story(browser: Browser) -> None:
        await browser.log_in(ADMIN)
        assert (await browser.ask("GET", "/v2/messages", ("Authorization", "Bearer wrong"))).status == 401
        assert (await browser.ask("GET", "/v2/messages?qstash_token=wrong")).status == 401
        assert (await browser.ask("POST", "/v2/publish/https://a", ("Authorization", f"Bearer {ADMIN}"))).status == 201

    told(story)


@pytest.mark.promise("D-57")
def test_failed_logins_do_not_fill_the_disk_whoever_they_come_from() -> None:
    """Who has many addresses of one network is one; who has many networks leaves so many records a minute at most."""

    async def story(browser: Browser) -> None:
        for number in range(Failures.FREE + 1):
            forwarded = ("X-Forwarded-For", f"2001:db8::{number}"), ("X-Forwarded-Proto", "https")
            await browser.ask("POST", SESSION, JSON, *forwarded, body=b'{"token":"wrong"}')
        assert browser.world.paused == 1
        for number in range(Failures.NOTED + 50):
            forwarded = ("X-Forwarded-For", f"2001:db8:{number}::1"), ("X-Forwarded-Proto", "https")
            await browser.ask("POST", SESSION, JSON, *forwarded, body=b'{"token":"wrong"}')
        records = (await browser.world.ask("GET", "/lateron/v1/audit?count=1000")).json()["records"]
        assert len(records) == Failures.NOTED

        browser.world.clock.now += MINUTE
        await browser.log_in("wrong")
        records = (await browser.world.ask("GET", "/lateron/v1/audit?count=1000")).json()["records"]
        assert len(records) == Failures.NOTED + 1

    told(story, trusted_proxies=TRUSTED)


def test_guessed_logins_are_slowed_down() -> None:
    """As guessed tokens are, and counted together with them."""

    async def story(browser: Browser) -> None:
        for _ in range(20):
            assert (await browser.log_in("wrong")).json() == {"error": "this is not a valid token"}
        assert browser.world.paused == 0
        assert (await browser.log_in("wrong")).status == 401
        assert browser.world.paused == 1
        assert not browser.cookies

    told(story)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", JSON, 400),
        (b"{}", JSON, 400),
        (b'{"token":1}', JSON, 400),
        (b'{"token":"a","more":1}', JSON, 400),
        (b'{"token":"\xff"}', JSON, 400),
        (as_json({"token": ADMIN}), ("Content-Type", "text/plain"), 400),
        (as_json({"token": "a" * 17_000}), JSON, 413),
    ],
)
def test_login_that_is_none_is_refused(body: bytes, kind: tuple[str, str], status: int) -> None:
    """A form of another site can send text, but no JSON."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("POST", SESSION, kind, body=body)
        assert answer.status == status
        assert answer.json()["error"]
        assert not browser.cookies

    told(story)


@pytest.mark.promise("D-56")
def test_development_server_needs_no_login_on_its_own_machine() -> None:
    """Its tokens are public; but only for who comes by the name of this machine."""

    async def story(browser: Browser) -> None:
        answer = await browser.ask("GET", SESSION)
        assert (answer.json()["role"], answer.json()["environment"]) == ("admin", "dev")
        assert (await browser.ask("GET", "/v2/messages")).status == 200
        browser.cookies.clear()
        assert (await browser.ask("GET", SESSION, ("Sec-Fetch-Site", "cross-site"))).status == 401
        assert (await browser.ask("GET", SESSION, host="192.168.1.5:8080")).status == 401

    told(story, environment="dev")


@pytest.mark.promise("D-56")
@pytest.mark.parametrize(
    ("environment", "hosts", "good", "bad"),
    [
        (
            "dev",
            (),
            ["localhost", "127.0.0.1:8080", "[::1]:8080", "me.localhost", "10.0.0.9"],
            ["evil.example", "a:80"],
        ),
        ("dev", ("box.lan",), ["box.lan:8080", "BOX.lan"], ["evil.example", "box.lan.evil.example"]),
        ("serve", (), ["queue.example.com"], []),
        ("serve", ("queue.example.com",), ["queue.example.com", "localhost"], ["evil.example"]),
    ],
)
def test_name_of_another_site_is_not_ours(
    environment: str, hosts: Sequence[str], good: Sequence[str], bad: Sequence[str]
) -> None:
    """Its owner can make it mean our address; a page of his would be one of ours then."""

    async def story(browser: Browser) -> None:
        await browser.ask("GET", SESSION, host="localhost:80")
        for host in good:
            assert (await browser.ask("GET", "/console/", host=host)).status == 200, host
        for host in bad:
            for target in ("/console/", "/console", SESSION, "/console/app/start.js"):
                answer = await browser.ask("GET", target, host=host)
                assert answer.status == 403
                assert host.split(":")[0] in answer.json()["error"]
        browser.cookies = {f"lateron-{port}": value for port in (80, 8080) for value in browser.cookies.values()}
        for host in bad:
            assert (await browser.ask("GET", "/v2/messages", host=host)).status == 401

    told(story, environment=environment, hosts=hosts)
