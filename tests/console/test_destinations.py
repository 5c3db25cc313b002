"""A destination is tested from its row, by the guard that judges deliveries."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import expect
from tests.console.conftest import Open
from tests.console.steps import publish
from tests.support.poll import until
from tests.support.server import Server


def test_a_destination_is_tested_at_a_press(open_page: Open, server: Server) -> None:
    """Why nothing arrives is asked here first: the address, the guard's word on it, the answer."""
    publish(server, "hello")
    page = open_page("destinations")
    page.get_by_role("button", name="Test now").click()
    box = page.get_by_role("dialog")
    expect(box.get_by_text("The guard allows it.")).to_be_visible()
    expect(box.get_by_text(f"200 from 127.0.0.1:{server.port}")).to_be_visible()
    box.get_by_role("button", name="Test again").click()
    expect(box.get_by_text("Nothing was delivered")).to_be_visible()


def test_a_destination_says_how_long_its_answers_take(open_page: Open, server: Server) -> None:
    """Half of the newest ones within this, 95 of 100 within that; an attempt without an answer says nothing of it."""
    for status in (200, 200, 503):
        publish(server, f"busy?status={status}", None, ("Upstash-Retries", "0"))
    until(lambda: len(answered(server)) == 3, "all to be answered")
    assert all(0 < line["attemptMs"] < 60_000 for line in answered(server))

    page = open_page("destinations")
    row = page.get_by_role("row", name=f"127.0.0.1:{server.port}")

    expect(row.get_by_text(re.compile(r"^\d[\d.]*(µs|ms|s), \d[\d.]*(µs|ms|s)$"))).to_be_visible()


def answered(server: Server) -> list[dict[str, Any]]:
    """Return the lines of the log that show an answer."""
    found = server.call("GET", "/v2/events?state=DELIVERED&state=ERROR").json["events"]
    return [line for line in found if "responseStatus" in line]


def test_a_test_is_no_way_around_the_guard_and_no_scanner(server: Server) -> None:
    """It tells about hosts that get messages of ours, refuses what a delivery may not do, and has a pace."""
    publish(server, "hello")
    host = f"127.0.0.1:{server.port}"
    path = f"/lateron/v1/destinations/{host}/test"
    own = server.call("POST", path).json
    assert own["ok"] is False
    assert own["errorClass"] == "blocked"
    assert own["addresses"] == [
        {"address": "127.0.0.1", "allowed": False, "reason": f"127.0.0.1 port {server.port} is this server itself"}
    ]

    assert server.call("POST", "/lateron/v1/destinations/127.0.0.1:9/test").status == 404
    foreign = server.call("POST", f"{path}?url=http://127.0.0.1:9/")
    assert foreign.status == 400
    assert f"url: expected a URL of {host}" in foreign.json["error"]

    answers = [server.call("POST", path) for _ in range(10)]
    assert [answer.status for answer in answers] == [200] * 9 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
