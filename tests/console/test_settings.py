"""Settings in the console: tokens, and what the server was told."""

from __future__ import annotations

import re

from playwright.sync_api import Route, expect
from tests.console.conftest import Open
from tests.console.steps import go, publish
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


def test_what_takes_the_room_of_the_store_is_shown(open_page: Open, server: Server) -> None:
    """The largest first, and that it is too early for a forecast, minutes after the start."""
    for number in range(3):
        publish(server, "orders", {"text": "x" * 200_000, "n": number})
    told = server.call("GET", "/lateron/v1/config").json["storage"]
    assert told["used"] <= told["store"] + told["log"]
    assert told["tables"]["request"] > 600_000
    assert "growth" not in told

    page = open_page("settings")
    expect(page.get_by_role("list", name="What takes it").get_by_role("listitem").first).to_contain_text("Bodies and")
    expect(page.get_by_text("too early to say")).to_be_visible()


def test_it_is_shown_when_the_disk_will_be_full(open_page: Open) -> None:
    """As it grew, and as red as it is near."""
    growing = {"bytesPerDay": 5_368_709_120, "overMs": 36_000_000, "fullInMs": 300_000_000}
    page = open_page()

    def forecast(route: Route) -> None:
        told = route.fetch().json()
        route.fulfill(json=told | {"storage": told["storage"] | {"growth": growing}})

    page.route(re.compile("/v1/config"), forecast)
    go(page, "Settings")
    expect(page.get_by_text("5.0 GB a day, full in 3d 11h, as in the last 10h")).to_be_visible()
    expect(page.locator(".wrong-text", has_text="full in 3d 11h")).to_be_visible()
    growing |= {"bytesPerDay": -1, "overMs": 86_400_000}
    go(page, "Overview")
    go(page, "Settings")
    expect(page.get_by_text("none, as in the last 1d")).to_be_visible()
