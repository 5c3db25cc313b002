"""Logging in to the console of a server for production."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.console.conftest import Open
from tests.console.steps import reach, sign_in
from tests.console.test_looks import findings
from tests.serving import OWN
from tests.support.server import Server

PASSWORD = "four words are enough"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return a server for production, with a user who may only read."""
    with Server(tmp_path / "data", mode="serve", user=OWN) as running:
        anna = json.dumps({"name": "anna", "scope": "read", "password": PASSWORD}).encode()
        assert running.call("POST", "/lateron/v1/users", anna).status == 201
        yield running


def type_in(page: Page, password: str) -> None:
    """Fill in name and password and send them, by keyboard alone."""
    for label, text in (("Name", "anna"), ("Password", password)):
        reach(page, page.get_by_label(label, exact=True))
        page.keyboard.press("Control+a")
        page.keyboard.type(text)
    page.keyboard.press("Enter")


@pytest.mark.promise("D-54")
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_reader_logs_in_by_keyboard_and_sees_what_a_reader_may(
    open_page: Open, axe: str, theme: str, width: int
) -> None:
    """A wrong password first, which is told; no control of the page that axe would object to."""
    page = open_page("messages", theme=theme, width=width)
    expect(page.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()
    assert findings(page, axe) == []
    fields = [page.get_by_label(label, exact=True).get_attribute("autocomplete") for label in ("Name", "Password")]
    assert fields == ["username", "current-password"]

    type_in(page, "not that one, I fear")
    expect(page.get_by_role("alert").filter(has_text="The name or the password is wrong.")).to_be_visible()
    assert findings(page, axe) == []

    type_in(page, PASSWORD)
    expect(page.get_by_role("heading", level=1, name="Messages")).to_be_visible()
    who = page.evaluate("fetch('/console/api/session').then((answer) => answer.json())")
    assert (who["name"], who["role"]) == ("anna", "read")
    change = "{method: 'POST', headers: {'Lateron-Csrf': csrf}, body: '{}'}"
    assert page.evaluate(f"(csrf) => fetch('/v2/queues', {change}).then((a) => a.status)", who["csrf"]) == 403


def test_who_must_wait_is_told_how_long(open_page: Open) -> None:
    """In the words of the server, which knows."""
    page = open_page()
    told = {"error": "too many failed logins; try again in 37 s"}
    page.route("**/console/api/session", lambda route: route.fulfill(status=429, json=told))
    page.get_by_label("Name", exact=True).fill("anna")
    page.get_by_label("Password", exact=True).fill("whatever it may be")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("Too many failed logins. Try again in 37 s.")).to_be_visible()


def test_token_logs_in_and_settings_name_who_has_a_password(open_page: Open, server: Server) -> None:
    """And when he was last here."""
    page = open_page("settings")
    page.get_by_label("Token").fill("not this one")
    page.get_by_role("button", name="Sign in with the token").click()
    expect(page.get_by_text("This token is not known here.")).to_be_visible()
    page.get_by_label("Token").fill(server.token)
    page.get_by_role("button", name="Sign in with the token").click()

    row = page.get_by_role("table", name="Users").get_by_role("row", name="anna")
    expect(row).to_contain_text("read")
    expect(row).to_contain_text("never")


@pytest.mark.parametrize("scope", ["read", "manage"])
def test_who_is_no_administrator_is_shown_no_users(open_page: Open, server: Server, scope: str) -> None:
    """Nor anything to make one with: that is for who may say who may."""
    body = json.dumps({"name": "hand", "scope": scope}).encode()
    page = open_page("settings")
    sign_in(page, server.call("POST", "/lateron/v1/tokens", body).json["token"])
    expect(page.get_by_role("heading", name="Limits and retention")).to_be_visible()
    expect(page.get_by_role("heading", name="Users")).to_have_count(0)
    expect(page.get_by_role("button", name="New user…")).to_have_count(0)


def test_nothing_of_one_login_is_left_for_the_next(open_page: Open, server: Server) -> None:
    """A question that was open belongs to who was asked; nobody else may say yes to it, and to nobody it is dead."""
    page = open_page("settings")
    sign_in(page, server.token)
    page.get_by_role("button", name="Pause all").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.context.clear_cookies()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()

    sign_in(page, server.token)
    expect(page.get_by_role("heading", level=1, name="Settings")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_one_has_begun_is_not_done_in_the_name_of_another(open_page: Open, server: Server) -> None:
    """Somebody else has logged in with a second tab; the first says so, and shows what that login may do."""
    page = open_page("settings")
    sign_in(page, server.token)
    page.get_by_role("button", name="Pause all").click()
    answer = page.evaluate(
        "(login) => fetch('api/session', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify(login)}).then((answer) => answer.status)",
        {"name": "anna", "password": PASSWORD},
    )
    assert answer == 200
    page.get_by_role("dialog").get_by_role("button", name="Pause delivery").click()
    expect(page.get_by_text("This browser is logged in as anna now; nothing was changed.")).to_be_visible()
    expect(page.get_by_text("read only")).to_be_visible()
    assert not server.call("GET", "/lateron/v1/delivery").json["isPaused"]


DRAFT_KEPT = "sessionStorage.getItem('lateron.draft')"
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"


def end_session(page: Page) -> None:
    """Let the session be over, as it is after hours; the page finds out."""
    page.context.clear_cookies()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()


def write_draft(page: Page, token: str, body: str, header: str = "") -> None:
    """Begin a request in the builder, as whoever has the token."""
    sign_in(page, token)
    page.get_by_label("Destination").fill("https://example.com/half")
    page.get_by_label("Body", exact=True).fill(body)
    if header:
        page.get_by_text("Headers for the destination").click()
        page.get_by_role("button", name="Add a header").click()
        page.get_by_label("Name of header").fill("Authorization")
        page.get_by_label("Value of header").fill(header)
    expect(page.locator(".code pre").first).to_contain_text(header or "example.com/half")


@pytest.mark.parametrize(
    ("body", "header", "script", "stored"),
    [
        ("half", "", "", True),
        ("half", "Bearer secret", "", False),
        ("x" * (1 << 20), "", "", False),
        ("half", "", FULL, False),
    ],
    ids=["plain", "header", "large", "full"],
)
def test_a_form_outlives_the_session_that_ends_under_it(
    open_page: Open, server: Server, body: str, header: str, script: str, *, stored: bool
) -> None:
    """Whoever signs in again goes on writing; what may be a secret, or is large, is never stored, only remembered."""
    page = open_page("builder?kind=enqueue", script=script)
    write_draft(page, server.token, body, header)
    page.get_by_label("Queue").fill("mail")
    assert page.evaluate(DRAFT_KEPT) is None
    for _ in range(2):
        end_session(page)
        assert (page.evaluate(DRAFT_KEPT) is not None) == stored
        if stored:
            page.reload()
        sign_in(page, server.token)
        expect(page.get_by_text("The form is as you left it.").last).to_be_visible()
        expect(page.get_by_label("Queue")).to_have_value("mail")
        expect(page.get_by_label("Body", exact=True)).to_have_value(body)
        if header:
            expect(page.get_by_label("Value of header")).to_have_value(header)
        assert page.evaluate(DRAFT_KEPT) is None

    page.reload()
    expect(page.get_by_label("Queue")).to_have_value("")


def test_a_form_is_kept_for_nobody_else(open_page: Open, server: Server) -> None:
    """Another login ends it, wherever that begins; an address of another form does not get it either."""
    page = open_page("builder")
    write_draft(page, server.token, "of an administrator")
    end_session(page)
    page.evaluate("history.replaceState(null, '', 'overview')")
    page.reload()
    assert "of an administrator" in page.evaluate(DRAFT_KEPT)
    type_in(page, PASSWORD)
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    assert page.evaluate(DRAFT_KEPT) is None

    end_session(page)
    sign_in(page, server.token)
    page.get_by_role("navigation").get_by_role("link", name="Builder").click()
    expect(page.get_by_label("Body", exact=True)).to_have_value('{"hello": "world"}')


def test_another_login_in_a_second_tab_takes_the_form_away(open_page: Open, server: Server) -> None:
    """What somebody has typed is not for whoever comes after, though the page was never left."""
    page = open_page("builder")
    write_draft(page, server.token, "of an administrator")
    second = page.context.new_page()
    second.goto(f"{server.url}/console/")
    second.get_by_role("button", name="Sign out").click()
    expect(second.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()
    type_in(second, PASSWORD)
    expect(second.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    page.evaluate("import('./api.js').then(({ whoAmI }) => whoAmI())")
    expect(page.get_by_text("read only")).to_be_visible()
    expect(page.get_by_label("Body", exact=True)).to_have_value('{"hello": "world"}')


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in-another-tab"])
def test_who_signs_out_leaves_no_form(open_page: Open, server: Server, *, elsewhere: bool) -> None:
    """It was meant: the next one at this machine finds nothing, in no tab; nor what was kept of a session before."""
    page = open_page("builder")
    write_draft(page, server.token, "mine", "Bearer secret")
    acting = page
    if elsewhere:
        acting = page.context.new_page()
        acting.goto(f"{server.url}/console/")
    acting.get_by_role("button", name="Sign out").click()
    expect(acting.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()
    assert page.evaluate(DRAFT_KEPT) is None
    sign_in(page, server.token)
    expect(page.get_by_label("Body", exact=True)).to_have_value('{"hello": "world"}')
