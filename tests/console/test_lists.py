"""Lists while they change: what was chosen, what stands between two pages, what is said of what is not there."""

from __future__ import annotations

import json
import re
from functools import partial

from playwright.sync_api import Download, Locator, Page, Route, expect
from tests.console.conftest import Open
from tests.console.steps import answer, asked, fail, hold, publish
from tests.support.poll import until
from tests.support.server import Server

LATER = ("Upstash-Delay", "1h")


def many(server: Server, number: int, *headers: tuple[str, str], queue: str = "") -> list[str]:
    """Publish messages that wait in one call; return their ids."""
    item = {"destination": f"{server.url}/_catch/x", "headers": dict((LATER, *headers)), "body": "x"}
    items = json.dumps([item | ({"queue": queue} if queue else {})] * number).encode()
    reply = server.call("POST", "/v2/batch", items, (("Content-Type", "application/json"),))
    assert reply.status == 201, reply.text
    return [one["messageId"] for one in reply.json]


def rows(page: Page) -> Locator:
    """Return the rows of the list."""
    return page.locator("main table.table tbody tr")


def ids(page: Page) -> list[str]:
    """Return what the rows are, in order."""
    found: list[str] = rows(page).evaluate_all("(rows) => rows.map((row) => row.dataset.id)")
    return found


def refresh(page: Page) -> None:
    """Let the page ask again, as it does by itself, and wait until it has."""
    with page.expect_response(re.compile("/v2/(events|messages|dlq)")):
        page.evaluate("import('./live.js').then(({ hold }) => (hold(true), hold(false)))")


def test_a_range_begins_at_the_row_that_was_chosen(open_page: Open, server: Server) -> None:
    """Rows that came in above it move it down; those are not meant."""
    first = many(server, 3)
    page = open_page("messages?view=waiting")
    expect(rows(page)).to_have_count(3)
    shown = ids(page)
    page.get_by_label(f"Select {shown[0]}").click()
    many(server, 2)
    expect(rows(page)).to_have_count(5)
    page.get_by_label(f"Select {shown[1]}").click(modifiers=["Shift"])
    expect(page.get_by_text("2 selected")).to_be_visible()
    assert set(shown) == set(first)


def test_no_row_is_lost_between_the_newest_page_and_older_ones(open_page: Open, server: Server) -> None:
    """The newest page would move on, the older one not: so it stays, and says that there is something new."""
    many(server, 150)
    page = open_page("messages?view=waiting&range=24h")
    expect(rows(page)).to_have_count(100)
    page.get_by_role("button", name="Older").click()
    expect(rows(page)).to_have_count(150)
    before = ids(page)
    new = many(server, 3)
    note = page.get_by_text("Something has changed since")
    expect(note).to_be_visible()
    assert ids(page) == before

    page.get_by_role("button", name="Show the newest").click()
    expect(note).to_have_count(0)
    until(lambda: set(new) <= set(ids(page)), "the newest")
    expect(rows(page)).to_have_count(100)


def test_older_rows_stay_while_the_minutes_of_a_range_go_by(open_page: Open, server: Server) -> None:
    """The last day is the same question a minute later."""
    many(server, 120)
    page = open_page("messages?view=waiting&range=24h")
    page.get_by_role("button", name="Older").click()
    expect(rows(page)).to_have_count(120)
    page.evaluate("Date.now = ((now) => () => now() + 180_000)(Date.now)")
    refresh(page)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(rows(page)).to_have_count(120)


def test_older_rows_of_another_filter_are_not_shown(open_page: Open, server: Server) -> None:
    """The answer comes when nobody asks for it any more."""
    many(server, 120, ("Upstash-Label", "one"))
    many(server, 2, ("Upstash-Label", "two"))
    page = open_page("messages?view=waiting&filter=label:one")
    expect(rows(page)).to_have_count(100)
    held = hold(page, re.compile("/v2/messages.*cursor="))
    page.get_by_role("button", name="Older").click()
    asked(page, held)
    page.get_by_role("combobox", name="Filter").fill("label:two")
    expect(rows(page)).to_have_count(2)
    answer(page, held[0])
    expect(rows(page)).to_have_count(2)


def test_nothing_waits_is_said_when_it_is_known(open_page: Open, server: Server) -> None:
    """Not while it loads, and not of an answer that never came."""
    publish(server, "x", None, LATER)
    page = open_page("messages")
    expect(rows(page)).to_have_count(1)
    held = hold(page, re.compile("/v2/messages"))
    page.get_by_role("button", name="Waiting", exact=True).click()
    asked(page, held)
    expect(page.get_by_text("Loading…")).to_be_visible()
    expect(page.get_by_text("Nothing waits")).to_have_count(0)
    for route in held:
        route.fulfill(status=503, body='{"error": "busy"}', content_type="application/json")
    expect(page.get_by_text("The server said 503.")).to_be_visible()
    expect(page.get_by_text("Nothing waits")).to_have_count(0)


def test_each_view_has_its_own_columns(open_page: Open, server: Server) -> None:
    """Why something waits is what one goes to that view for, from wherever one comes."""
    publish(server, "x", None, LATER)
    page = open_page("messages")
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_role("columnheader", name="Why it waits")).to_have_count(0)
    page.get_by_role("button", name="Waiting", exact=True).click()
    expect(page.get_by_role("columnheader", name="Why it waits")).to_be_visible()


def test_only_a_head_that_is_known_is_shown(open_page: Open, server: Server) -> None:
    """The oldest of those looked at is not the first in line of a queue that is deeper."""
    for name in ("deep", "flat"):
        body = json.dumps({"queueName": name, "paused": True}).encode()
        assert server.call("POST", "/v2/queues", body, (("Content-Type", "application/json"),)).status == 200
    many(server, 130, queue="deep")
    first, *_ = many(server, 2, queue="flat")
    page = open_page("queues")
    flat, deep = (page.get_by_role("row").filter(has_text=name) for name in ("flat", "deep"))
    expect(flat.locator("a.target")).to_have_attribute("href", re.compile(first))
    expect(deep.locator("td[data-title='At the head']")).to_have_text("\N{EN DASH}")


def page_of(field: str, route: Route) -> None:
    """Answer with a page of a list without end."""
    size = int(re.search(r"count=(\d+)", route.request.url)[1])  # type: ignore[index]
    rows_ = [
        {"messageId": "m", "dlqId": "1-m", "url": "https://example.com/", "method": "POST", "maxRetries": 0}
    ] * size
    route.fulfill(json={field: rows_, "cursor": "more"})


def test_a_saved_file_that_ends_early_says_so(open_page: Open) -> None:
    """Who counts its lines would take them for all there are."""
    for screen, path, field in (("messages", "events", "events"), ("dead", "dlq", "messages")):
        page = open_page(screen)
        page.route(re.compile(f"/v2/{path}"), partial(page_of, field))
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as NDJSON").click()
        assert isinstance(download.value, Download)
        expect(page.get_by_text("The file ends after the newest")).to_be_visible()


def test_all_that_fit_are_those_that_were_looked_through(open_page: Open) -> None:
    """What the server cannot filter by is looked for among the newest thousand, and nothing more is promised."""
    page = open_page("dead?filter=method:post")
    page.route(re.compile("/v2/dlq"), partial(page_of, "messages"))
    refresh(page)
    expect(page.get_by_text("Only the newest 1,000 were looked through")).to_be_visible()
    expect(page.get_by_text("“all” means all")).to_have_count(0)
    expect(page.get_by_role("button", name="Replay the 1,000 that fit…")).to_be_visible()


def test_what_has_left_the_dead_letters_is_chosen_no_more(open_page: Open, server: Server) -> None:
    """It was replayed elsewhere; a bar that still counts it promises what cannot be."""
    fail(server, 2)
    page = open_page("dead?view=list")
    page.get_by_label("Select all shown").click()
    expect(page.get_by_text("2 selected")).to_be_visible()
    one, _ = server.call("GET", "/v2/dlq").json["messages"]
    assert server.call("DELETE", f"/v2/dlq/{one['dlqId']}").status == 200
    expect(page.get_by_text("1 selected")).to_be_visible()


def test_a_field_that_cannot_be_read_holds_a_job_back(open_page: Open, server: Server) -> None:
    """A bound that is dropped in silence is a destination under full load."""
    fail(server, 2)
    page = open_page("dead")
    page.get_by_role("button", name="Replay all").click()
    box = page.get_by_role("dialog")
    box.get_by_text("Change something on the way").click()
    button = box.get_by_role("button", name="Replay 2 messages")
    bad = {
        "At most a second": ["10/s", "1,5", "0", "-1", "many"],
        "Or spread over": ["soon", "1h 30m"],
        "Retries": ["1.5", "two"],
        "Delay": ["soon"],
        "Timeout": ["1m 30s"],
    }
    for label, texts in bad.items():
        field = box.get_by_label(label, exact=True)
        for text in texts:
            field.fill(text)
            expect(field).to_have_attribute("aria-invalid", "true")
            expect(button).to_be_disabled()
        field.fill("")
        expect(button).to_be_enabled()
    box.get_by_label("At most a second").fill("0.5")
    expect(button).to_be_enabled()
    box.get_by_label("Or spread over").fill("1h30m")
    expect(button).to_be_disabled()


def test_a_span_that_cannot_be_read_holds_a_new_time_back(open_page: Open, server: Server) -> None:
    """Both spans of that dialog are judged where they are written."""
    publish(server, "x", None, LATER)
    page = open_page("messages?view=waiting")
    page.get_by_role("button", name="Reschedule all that wait").click()
    box = page.get_by_role("dialog")
    button = box.get_by_role("button", name="Reschedule 1 message")
    expect(button).to_be_enabled()
    box.get_by_label("Spread the job over").fill("slowly")
    expect(box.get_by_label("Spread the job over")).to_have_attribute("aria-invalid", "true")
    expect(button).to_be_disabled()


def test_a_filter_of_any_text_is_answered(open_page: Open, server: Server) -> None:
    """A word that every object knows is no field, and a pattern of many stars is tried in one way only."""
    publish(server, "x", None, LATER)
    page = open_page("messages?view=waiting")
    box = page.get_by_role("combobox", name="Filter")
    for word in ("constructor:", "toString:x", "__proto__:x"):
        box.fill(word)
        expect(box).to_have_value(word)
    box.fill(f"url:{'*a' * 40}*b")
    expect(page.get_by_text("Nothing fits this filter")).to_be_visible()
    holds = (
        "([text, pattern]) => import('./filter.js').then((m) => m.understand(pattern, 'events').rest({ url: text }))"
    )
    for text, pattern, fits in (
        ("a" * 5_000, f"url:{'**a' * 60}b", False),
        ("https://a.example/x", "url:*//a.example/*", True),
        ("https://a.example/x", "url:https://*", True),
        ("https://a.example/x", "url:*/X", True),
        ("aba", "url:ab*ba", False),
        ("abba", "url:ab*ba", True),
        ("abc", "url:*b", False),
    ):
        assert page.evaluate(holds, [text, pattern]) is fits, pattern
