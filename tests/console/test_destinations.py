"""A destination is tested from its row, by the guard that judges deliveries."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.console.conftest import Open
from tests.console.steps import publish
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
