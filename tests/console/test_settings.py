"""Settings in the console: tokens, and what the server was told."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.console.conftest import Open
from tests.support.server import Server


def test_a_token_is_made_shown_once_replaced_and_revoked(open_page: Open, server: Server) -> None:
    """And is what the page says it is: it opens what its scope says, and nothing once it is revoked."""
    page = open_page("settings")
    card = page.locator("section").filter(has=page.get_by_role("heading", name="Tokens"))
    card.get_by_label("New token's name").fill("ci")
    card.get_by_label("It may").select_option("read")
    card.get_by_label("Ends after").fill("90d")
    card.get_by_role("button", name="Make token").click()

    first = str(card.get_by_role("status").locator("code").text_content())
    row = page.get_by_role("table", name="Tokens").get_by_role("row", name=re.compile("^ci"))
    expect(row).to_contain_text("read")
    assert server.call("GET", "/v2/queues", token=first).status == 200
    assert server.call("POST", "/v2/queues", b'{"queueName": "q", "parallelism": 1}', token=first).status == 403

    row.get_by_role("button", name="Replace ci").click()
    page.get_by_label("Type ci to go on").fill("ci")
    page.get_by_role("button", name="Replace token").click()
    expect(card.get_by_role("status").locator("code")).not_to_have_text(first)
    second = str(card.get_by_role("status").locator("code").text_content())
    assert server.call("GET", "/v2/queues", token=first).status == 401
    assert server.call("GET", "/v2/queues", token=second).status == 200

    row.get_by_role("button", name="Revoke ci").click()
    page.get_by_label("Type ci to go on").fill("ci")
    page.get_by_role("button", name="Revoke token").click()
    expect(row).to_have_count(0)
    assert server.call("GET", "/v2/queues", token=second).status == 401
    actions = [record["action"] for record in server.call("GET", "/lateron/v1/audit").json["records"]]
    assert actions[:3] == ["token.revoke", "token.reset", "token.create"]


def test_a_token_that_cannot_be_made_says_why(open_page: Open) -> None:
    """In the words of the API."""
    page = open_page("settings")
    page.get_by_label("New token's name").fill("ci")
    page.get_by_label("Ends after").fill("soon")
    page.get_by_role("button", name="Make token").click()

    expect(page.get_by_text("expiresIn: expected")).to_be_visible()


def test_every_setting_is_there_with_where_it_came_from(open_page: Open, server: Server) -> None:
    """Why does it do that? Because somebody told it so, and here is where."""
    page = open_page("settings")
    page.get_by_label("Find a setting").fill("data-dir")

    row = page.get_by_role("table", name="Configuration").get_by_role("row", name=re.compile("^data-dir"))
    expect(row).to_contain_text("flag --data-dir")
    expect(page.get_by_text("Private addresses and this machine")).to_be_visible()
    expect(page.get_by_text("Room on its disk")).to_be_visible()
    told = server.call("GET", "/lateron/v1/config").json
    assert {"name": "catcher", "value": "true", "source": "default"} in told["settings"]
    assert told["storage"]["store"] > 0
