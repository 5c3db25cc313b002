"""The builder: what it is filled with comes out again as it went in, and what it cannot know it says."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from tests.console.conftest import Open
from tests.console.steps import answer, asked, hold
from tests.support.server import Server

CALLED = "https://example.com/called"
EVERY_OPTION = (
    ("Upstash-Cron", "CRON_TZ=Europe/Berlin 0 0 * * *"),
    ("Upstash-Schedule-Id", "full"),
    ("Upstash-Queue-Name", "mail"),
    ("Upstash-Method", "PUT"),
    ("Upstash-Delay", "90s"),
    ("Upstash-Timeout", "2500ms"),
    ("Upstash-Retries", "2"),
    ("Upstash-Retry-Delay", "1000 * (1 + retried)"),
    ("Upstash-Label", "one,two"),
    ("Upstash-Flow-Control-Key", "key"),
    ("Upstash-Flow-Control-Value", "parallelism=2, rate=3, period=60s"),
    ("Upstash-Forward-X-Team", "a"),
    ("Upstash-Callback", CALLED),
    ("Upstash-Callback-Forward-X-Of", "callback"),
    ("Upstash-Failure-Callback", CALLED),
    ("Upstash-Failure-Callback-Forward-X-Of", "failure"),
    ("Lateron-Jitter", "1500ms"),
    ("Lateron-Missed", "skip"),
    ("Lateron-Overlap", "skip"),
    ("Lateron-Start", "2030-01-01T00:00:00+01:00"),
    ("Lateron-End", "2031-01-01T00:00:00+01:00"),
    ("Lateron-Most-Runs", "17"),
)


def catcher(server: Server) -> str:
    """Return a destination."""
    return f"{server.url}/_catch/x"


def later(server: Server, body: bytes, *headers: tuple[str, str], query: str = "") -> str:
    """Publish what waits for an hour; return its id."""
    target = f"/v2/publish/{catcher(server)}{query}"
    reply = server.call("POST", target, body, (("Upstash-Delay", "1h"), *headers))
    assert reply.status == 201, reply.text
    return str(reply.json["messageId"])


def story(server: Server, message: str) -> dict[str, Any]:
    """Return what is kept of a message."""
    found: dict[str, Any] = server.call("GET", f"/lateron/v1/messages/{message}").json
    return found


def sent(page: Page, server: Server) -> dict[str, Any]:
    """Publish what the form says, and return the message that it became."""
    with page.expect_response(lambda response: "/v2/publish/" in response.url) as reply:
        page.get_by_role("button", name="Publish").last.click()
    assert reply.value.status == 201, reply.value.text()
    return story(server, reply.value.json()["messageId"])


@pytest.mark.parametrize("body", [b"plain text", b""], ids=["text", "none"])
def test_a_schedule_that_is_edited_keeps_what_nobody_touched(open_page: Open, server: Server, body: bytes) -> None:
    """Only the cron is written anew; a pause, an option without a field and a missing content type are kept too."""
    path = f"/v2/schedules/{catcher(server)}"
    assert server.call("POST", path, body, EVERY_OPTION).status == 201
    server.call("POST", "/v2/schedules/full/pause")
    before = server.call("GET", "/v2/schedules/full").json
    page = open_page("builder?schedule=full")
    page.get_by_label("Cron").fill("0 1 * * *")
    with page.expect_response(lambda response: response.url.endswith("/pause")):
        page.get_by_role("button", name="Save schedule").click()

    after = server.call("GET", "/v2/schedules/full").json
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {
        "cron",
        "createdAt",
        "nextScheduleTime",
    }
    assert after["cron"] == "CRON_TZ=Europe/Berlin 0 1 * * *"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"secret", (("Upstash-Redact-Fields", "body"),), "The body is redacted"),
        (b"\xff\0", (), "The body is no text"),
    ],
    ids=["redacted", "bytes"],
)
def test_a_body_that_cannot_be_known_must_be_given(
    open_page: Open, server: Server, body: bytes, headers: tuple[tuple[str, str], ...], said: str
) -> None:
    """Neither its hash nor nothing is sent in its place; that it is to be redacted stays."""
    message = later(server, body, *headers)
    page = open_page(f"builder?from={message}")
    button = page.get_by_role("button", name="Publish").last
    expect(page.get_by_text(said).first).to_be_visible()
    expect(page.get_by_label("Body", exact=True)).to_have_value("")
    expect(button).to_be_disabled()

    page.get_by_label("Body", exact=True).fill("given")
    expect(button).to_be_enabled()
    made = sent(page, server)
    assert made["body"].startswith("REDACTED:" if headers else "given")


def test_a_header_that_is_redacted_must_be_given(open_page: Open, server: Server) -> None:
    """A hash would be delivered as if it were the password."""
    redact = ("Upstash-Redact-Fields", "header[Authorization]")
    message = later(server, b"x", ("Upstash-Forward-Authorization", "Bearer secret"), redact)
    page = open_page(f"builder?from={message}")
    button = page.get_by_role("button", name="Publish").last
    expect(page.get_by_text("The value of Authorization is redacted")).to_be_visible()
    expect(button).to_be_disabled()

    page.get_by_label("Value of header").fill("Bearer anew")
    (value,) = sent(page, server)["header"]["Authorization"]
    assert value.startswith("REDACTED:")
    assert [value] != story(server, message)["header"]["Authorization"]


def test_a_copy_of_a_message_is_one_in_all_that_is_shown(open_page: Open, server: Server) -> None:
    """Spans are written as the API reads them, two headers of one name are both sent, and so is any script."""
    label = "日本"
    headers = (
        ("Upstash-Timeout", "90s"),
        ("Lateron-Retry-Delays", "1s,2500ms"),
        ("Upstash-Forward-X-A", "1"),
        ("Upstash-Forward-X-A", "2"),
        ("Upstash-Callback", CALLED),
        ("Upstash-Callback-Forward-X-Of", "callback"),
    )
    message = later(server, b"x", *headers, query=f"?upstash-label={quote(label)}")
    page = open_page(f"builder?from={message}")
    expect(page.get_by_label("Timeout")).to_have_value("90s")
    made, before = sent(page, server), story(server, message)
    assert ", ".join(made["header"].pop("X-A")) == ", ".join(before["header"].pop("X-A")) == "1, 2"
    same = ("url", "method", "body", "header", "timeout", "maxRetries", "retryDelays", "labels", "callback")
    for field in (*same, "callbackHeader", "notBefore"):
        assert made.get(field) == before.get(field), field
    assert made["labels"] == [label]


def test_the_name_of_a_header_is_judged_where_it_is_written(open_page: Open) -> None:
    """A browser's own words for it name neither the field nor what may stand there."""
    page = open_page("builder")
    page.get_by_text("Headers for the destination").click()
    page.get_by_role("button", name="Add a header").click()
    page.get_by_label("Name of header").fill("日本")
    expect(page.get_by_text("日本 is no name of a header").first).to_be_visible()
    expect(page.get_by_role("button", name="Publish").last).to_be_disabled()


def test_a_part_of_the_form_stays_open_while_one_types_in_it(open_page: Open) -> None:
    """Emptying the only field that was filled does not take the field away."""
    page = open_page("builder")
    page.get_by_text("When and how often").click()
    retries = page.get_by_label("Retries", exact=True)
    retries.fill("5")
    retries.fill("")
    expect(page.locator(".code pre").first).not_to_contain_text("Upstash-Retries")
    expect(retries).to_be_visible()
    expect(retries).to_be_focused()


def test_a_late_answer_does_not_write_over_what_was_typed(open_page: Open, server: Server) -> None:
    """Who has left a copy for an empty form has that form, whenever the message arrives."""
    message = later(server, b"late")
    page = open_page("builder")
    held = hold(page, f"**/v1/messages/{message}")
    go = "(to) => void import('./router.js').then(({ go }) => go(to))"
    page.evaluate(go, f"builder?from={message}")
    asked(page, held)
    page.evaluate(go, "builder?kind=publish")
    body = page.get_by_label("Body", exact=True)
    body.fill("typed")
    answer(page, held[0])
    expect(body).to_have_value("typed")


def test_an_address_fills_only_fields(open_page: Open) -> None:
    """A word of every object's, or a list, is no value of a field."""
    page = open_page("builder?constructor=x&forward=y&more=z&kind=evil&label=good")
    expect(page.get_by_label("Labels")).to_have_value("good")
    expect(page.locator(".code pre").first).to_contain_text("/v2/publish/")
