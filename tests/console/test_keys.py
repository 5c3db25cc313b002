"""The whole way by keyboard alone, on a desk and on a telephone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.console.conftest import Open
from tests.console.test_walk import fail, publish
from tests.support.poll import until
from tests.support.server import Server

STEPS_MAX = 120


def reach(page: Page, wanted: Locator) -> None:
    """Go to a control as a keyboard goes: by Tab, until it has the focus."""
    expect(wanted).to_be_visible()
    for _ in range(STEPS_MAX):
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} cannot be reached by Tab")


def press(page: Page, name: str, where: Locator | None = None) -> None:
    """Reach a button and press it."""
    reach(page, (where or page.locator("main")).get_by_role("button", name=name).first)
    page.keyboard.press("Enter")


def screen(page: Page, key: str, title: str) -> None:
    """Go to a screen by its letters."""
    page.locator("main").evaluate("(main) => main.focus()")
    page.keyboard.press("g")
    page.keyboard.press(key)
    expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_the_whole_way_is_walked_without_a_mouse(open_page: Open, server: Server, theme: str, width: int) -> None:
    """First message, catcher, a bad night, its replay, a schedule, a pinned limit, new keys: never a pointer."""
    page = open_page(width=width, theme=theme)
    box = page.get_by_role("dialog")
    press(page, "Send a test message to the catcher")
    expect(page.get_by_text("The destination answered 200 after 1 attempt")).to_be_visible()
    screen(page, "c", "Catcher")
    expect(page.get_by_text("signature good")).to_be_visible()

    fail(server, 2)
    screen(page, "d", "Dead letters")
    press(page, "Replay 2")
    expect(box.get_by_text("would be published anew")).to_be_visible()
    press(page, "Replay 2 messages", box)
    expect(page.get_by_text("2 dead letters replayed.")).to_be_visible()

    screen(page, "s", "Schedules")
    page.goto(f"{server.url}/console/builder?kind=schedule")
    reach(page, page.get_by_label("Cron"))
    page.keyboard.press("Control+a")
    page.keyboard.type("0 7 * * *")
    expect(page.get_by_text("daily at 07:00")).to_be_visible()
    press(page, "Save schedule")
    until(lambda: server.call("GET", "/v2/schedules").json, "the schedule")

    flow = (("Upstash-Flow-Control-Key", "api"), ("Upstash-Flow-Control-Value", "rate=1,period=1h"))
    publish(server, "llm", None, *flow)
    screen(page, "f", "Flow control")
    press(page, "Pin limits")
    reach(page, box.get_by_label("Starts"))
    page.keyboard.press("Control+a")
    page.keyboard.type("9")
    press(page, "Pin limits", box)
    until(lambda: server.call("GET", "/v2/flowControl/api").json["rateMax"] == 9, "the pin")
    expect(page.locator("dialog")).to_have_count(0)

    before = server.call("GET", "/v2/keys").json
    screen(page, "e", "Settings")
    press(page, "Rotate")
    reach(page, box.get_by_role("textbox"))
    page.keyboard.type("rotate")
    press(page, "Rotate keys", box)
    expect(page.get_by_text("The keys are rotated.")).to_be_visible()
    assert server.call("GET", "/v2/keys").json["current"] == before["next"]
