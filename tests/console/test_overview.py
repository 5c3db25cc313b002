"""The overview: charts that choose the time range of every list, by mouse and by keys, and that can be read."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect
from tests.console.conftest import Open
from tests.console.steps import fail, go, publish
from tests.support.poll import until
from tests.support.server import Server

FIXED = re.compile(r"range=(\d{13})-(\d{13})")
MINUTE = 60_000


def chosen(page: Page) -> tuple[int, int]:
    """Return the range that the address names."""
    page.wait_for_url(FIXED)
    found = FIXED.search(page.url)
    assert found is not None
    return int(found[1]), int(found[2])


def test_a_stretch_drawn_over_a_chart_is_the_time_range_of_every_list(open_page: Open, server: Server) -> None:
    """What one sees in a chart one wants to see as messages; the address keeps the range, so it can be shared."""
    fail(server, 2)
    page = open_page()
    chart = page.get_by_role("slider", name=re.compile("^Messages a minute"))
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + 20)
    page.mouse.up()

    first, last = chosen(page)
    assert 29 * MINUTE <= last - first <= 32 * MINUTE
    go(page, "Messages")
    assert chosen(page) == (first, last)
    expect(page.locator("tbody tr")).to_have_count(2)
    go(page, "Dead letters")
    expect(page.locator(".group-row .figure")).to_have_text("2")
    page.get_by_label("Time range").last.select_option(label="Any time")
    expect(page).not_to_have_url(re.compile("range="))


def test_keys_choose_a_stretch_as_the_mouse_does(open_page: Open, server: Server) -> None:
    """Arrows move, Shift draws, Enter takes; a single minute leads to its messages."""
    publish(server, "one")
    page = open_page()
    chart = page.get_by_role("slider", name=re.compile("^Messages a minute"))
    chart.focus()
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^\d\d:\d\d: published 0, delivered 0, failed 0$"))
    page.keyboard.press("Shift+ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^\d\d:\d\d to \d\d:\d\d$"))
    page.keyboard.press("Enter")
    first, last = chosen(page)
    assert last - first == 2 * MINUTE

    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Messages")).to_be_visible()
    first, last = chosen(page)
    assert last - first == MINUTE
    expect(page.get_by_text("There is a time range, at the top.")).to_be_visible()
    page.get_by_role("button", name="Drop the filter").click()
    expect(page.locator("tbody tr").first).to_be_visible()


def test_a_chart_can_be_read_as_a_table(open_page: Open, server: Server) -> None:
    """Who does not see lines gets the figures as words: a sentence, and the minutes that had any."""
    fail(server, 1)
    page = open_page()
    chart = page.get_by_role("slider", name=re.compile("^Messages a minute: now published .*; highest 1.$"))
    expect(chart).to_be_visible()
    page.get_by_text("As a table").first.click()
    table = page.get_by_role("table", name=re.compile("^Messages a minute"))
    expect(table.locator("tbody tr").first).to_contain_text("1")
    assert table.locator("tbody tr").count() <= 2


def test_the_age_of_the_oldest_due_message_is_shown_while_delivery_stands(open_page: Open, server: Server) -> None:
    """How many wait says little; for how long the first has been due says whether it is bad."""
    server.call("POST", "/lateron/v1/delivery/pause")
    publish(server, "stuck")
    until(lambda: server.call("GET", "/lateron/v1/overview").json["series"][-1]["oldestDueMs"], "an age")
    page = open_page()
    expect(page.get_by_text(re.compile("waiting, the oldest due for .*s"))).to_be_visible()


def test_a_range_of_ones_own_is_asked_for_in_a_dialog(open_page: Open) -> None:
    """A night last week is no preset; the times are those of the zone one reads in."""
    page = open_page("messages")
    page.get_by_label("Time range").last.select_option("custom")
    box = page.get_by_role("dialog", name="Time range")
    box.get_by_label("From").fill("2026-01-02T03:00")
    box.get_by_label("Until").fill("2026-01-02T04:30")
    box.get_by_role("button", name="Use this range").click()
    assert chosen(page) == (1767319200000, 1767324600000)  # Berlin is an hour ahead of UTC.
    expect(page.get_by_label("Time range").last.locator("option:checked")).to_have_text(re.compile("03:00.*04:30"))
