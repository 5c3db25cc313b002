"""Users in the console's settings: made, changed and removed, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.console.conftest import Open
from tests.console.steps import JSON, press, reach, write
from tests.console.test_looks import findings
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
