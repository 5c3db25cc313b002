"""People in the console's settings: users are made, changed and removed, sessions ended; by mouse and by keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.console.conftest import Open
from tests.console.steps import JSON, press, reach, sign_in, write
from tests.console.test_looks import findings
from tests.serving import OWN
from tests.support.server import Server

PASSWORD = "four words are enough"
OTHER = "some other words as good"
USERS = "/lateron/v1/users"


def log_in(server: Server, name: str, password: str) -> int:
    """Log in from elsewhere, and return the status."""
    body = json.dumps({"name": name, "password": password}).encode()
    port = server.url.rpartition(":")[2]
    try:
        with urlopen(Request(f"http://localhost:{port}/console/api/session", body, dict([JSON])), timeout=60) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code


def row(page: Page, name: str) -> Locator:
    """Return the line of a user."""
    return page.get_by_role("table", name="Users").get_by_role("row", name=re.compile(rf"\b{name}\b"))


@pytest.mark.promise("D-54")
def test_a_user_is_made_changed_and_removed(open_page: Open, server: Server) -> None:
    """And is what the page says; the password is in no address, and nowhere on the page once it is sent."""
    page = open_page("settings")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.get_by_role("button", name="New user…").click()
    dialog = page.get_by_role("dialog", name="New user")
    dialog.get_by_label("Name").fill("anna")
    password = dialog.get_by_label("Password")
    assert (password.get_attribute("type"), password.get_attribute("autocomplete")) == ("password", "new-password")
    expect(dialog.get_by_role("button", name="Make user")).to_be_disabled()
    password.fill(PASSWORD)
    dialog.get_by_role("button", name="Make user").click()
    expect(row(page, "anna")).to_contain_text("read")
    expect(dialog).to_have_count(0)
    assert log_in(server, "anna", PASSWORD) == 200

    row(page, "anna").get_by_role("button", name="Change anna").click()
    dialog = page.get_by_role("dialog", name="Change the user anna")
    expect(dialog.get_by_label("New password")).to_have_value("")
    expect(dialog.get_by_role("button", name="Change user")).to_be_disabled()
    dialog.get_by_label("May").select_option("manage")
    dialog.get_by_role("button", name="Change user").click()
    expect(row(page, "anna")).to_contain_text("manage")
    assert log_in(server, "anna", PASSWORD) == 200, "whose password was left empty keeps it"

    row(page, "anna").get_by_role("button", name="Change anna").click()
    dialog.get_by_label("New password").fill(OTHER)
    dialog.get_by_role("button", name="Change user").click()
    expect(dialog).to_have_count(0)
    assert [log_in(server, "anna", word) for word in (PASSWORD, OTHER)] == [401, 200]
    assert server.call("GET", USERS).json[0]["scope"] == "manage"

    row(page, "anna").get_by_role("button", name="Remove anna").click()
    expect(page.get_by_role("dialog")).to_contain_text("Nobody can sign in as anna any more")
    page.get_by_label("Type anna to go on").fill("anna")
    page.get_by_role("button", name="Remove user").click()
    expect(page.get_by_text("Nobody has a password yet.")).to_be_visible()
    assert log_in(server, "anna", OTHER) == 401
    assert not [one for one in (*addresses, page.content()) if PASSWORD in one or OTHER in one]
    records = server.call("GET", "/lateron/v1/audit").json["records"]
    assert [(one["action"], one["object"]) for one in records if one["action"].startswith("user.")] == [
        ("user.remove", "anna"),
        ("user.change", "anna (password)"),
        ("user.change", "anna (manage)"),
        ("user.create", "anna (read)"),
    ]


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_a_user_is_made_by_keyboard_and_what_is_wrong_is_said_there(
    open_page: Open, server: Server, axe: str, theme: str, width: int
) -> None:
    """In the words of the API, in the dialog, which stays as it was filled in; axe has nothing against it."""
    page = open_page("settings", theme=theme, width=width)
    press(page, "New user…")
    dialog = page.get_by_role("dialog", name="New user")
    write(page, "Name", "anna", dialog)
    write(page, "Password", "short", dialog)
    press(page, "Make user", dialog)
    expect(dialog.get_by_role("alert")).to_contain_text("password: expected 12 to 1024 characters, got 5")
    assert findings(page, axe) == []

    write(page, "Password", PASSWORD, dialog)
    expect(dialog.get_by_role("alert")).to_have_count(0)
    press(page, "Make user", dialog)
    expect(row(page, "anna")).to_be_visible()
    reach(page, page.get_by_role("button", name="Change anna"))
    assert findings(page, axe) == []

    press(page, "New user…")
    write(page, "Name", "anna", dialog)
    write(page, "Password", OTHER, dialog)
    press(page, "Make user", dialog)
    expect(dialog.get_by_role("alert")).to_contain_text("a name that no other user has")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert log_in(server, "anna", PASSWORD) == 200


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Server]:
    """Return a server for production, where who is signed out stays out."""
    with Server(tmp_path / "data", mode="serve", user=OWN) as running:
        for name in ("anna", "berta"):
            user = json.dumps({"name": name, "scope": "read", "password": PASSWORD}).encode()
            assert running.call("POST", USERS, user).status == 201
        yield running


def come_in(browser: Browser, server: Server, name: str) -> Page:
    """Log in with a password, in a browser of one's own."""
    page = browser.new_context(reduced_motion="reduce", locale="en-GB").new_page()
    page.goto(f"{server.url}/console/messages")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Messages")).to_be_visible()
    return page


def is_out(page: Page) -> None:
    """Expect the next request to be refused, and the page to say so; its stream may have told it already."""
    assert page.evaluate("fetch('/v2/queues').then((answer) => answer.status)") == 401
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", name="Sign in to Lateron")).to_be_visible()


@pytest.mark.promise("D-52")
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_who_is_signed_in_is_shown_and_signed_out_by_keyboard(
    browser: Browser, house: Server, axe: str, theme: str, width: int
) -> None:
    """One session, or all of somebody; one's own is marked, and left by signing out."""
    visitors = [come_in(browser, house, name) for name in ("anna", "berta", "berta")]
    context = browser.new_context(
        color_scheme="dark" if theme == "dark" else "light", viewport={"width": width, "height": 900}, locale="en-GB"
    )
    page = context.new_page()
    page.goto(f"{house.url}/console/settings")
    sign_in(page, house.token)
    table = page.get_by_role("table", name="Signed in")
    expect(table.get_by_role("row")).to_have_count(5)
    own = table.get_by_role("row").filter(has_text="by token")
    expect(own).to_contain_text("you")
    expect(own.get_by_role("button")).to_have_count(0)
    expect(table.get_by_role("row").filter(has_text="anna by password")).to_contain_text("read")
    assert findings(page, axe) == []
    (number,) = [one["value"] for one in visitors[0].context.cookies() if one["name"].startswith("lateron")]
    assert number not in page.content()

    press(page, "End anna", table)
    expect(page.get_by_role("dialog", name="End this session of anna?")).to_contain_text("can sign in again")
    assert findings(page, axe) == []
    press(page, "End", page.get_by_role("dialog").locator(".dialog-foot"))
    expect(table.get_by_role("row")).to_have_count(4)
    is_out(visitors[0])

    press(page, "End all of berta", table)
    press(page, "End", page.get_by_role("dialog", name="End all 2 sessions of berta?").locator(".dialog-foot"))
    expect(table.get_by_role("row")).to_have_count(2)
    for visitor in visitors[1:]:
        is_out(visitor)
    records = house.call("GET", "/lateron/v1/audit").json["records"]
    assert [(one["action"], one["object"].partition(" ")[0]) for one in records[:2]] == [
        ("sessions.end", "berta"),
        ("session.end", "anna"),
    ]

    visitors.append(come_in(browser, house, "anna"))
    press(page, "Refresh who is signed in")
    expect(table.get_by_role("row")).to_have_count(3)
    for one in (page, *visitors):
        one.context.close()
