"""One message: what was sent with each attempt, what differs between two answers, what may be handed to others."""

from __future__ import annotations

import json

from playwright.sync_api import expect
from tests.console.conftest import Open
from tests.console.steps import press, publish, reach
from tests.support.poll import until
from tests.support.server import Server

SECRET = "Bearer of-the-publisher"


PRESS_AS_SOON_AS_THERE = """
new MutationObserver((_, observer) => {
  if (![...document.querySelectorAll("button")].some((button) => button.textContent.includes("Retry now"))) return;
  observer.disconnect();
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "r", bubbles: true }));
}).observe(document, { childList: true, subtree: true });
"""


def test_a_key_works_as_soon_as_its_button_is_there(open_page: Open, server: Server) -> None:
    """Before the browser has painted it, that is, and so however busy the machine is."""
    message = publish(server, "one", None, ("Upstash-Delay", "1h"))
    page = open_page(f"messages?id={message}", script=PRESS_AS_SOON_AS_THERE)
    expect(page.get_by_text("Delivered with attempt 1")).to_be_visible()


def failed_twice(server: Server, *headers: tuple[str, str]) -> str:
    """Publish a message that fails twice; return its id."""
    retries = (("Upstash-Retries", "1"), ("Upstash-Retry-Delay", "1"))
    message = publish(server, "orders?status=503", None, *retries, *headers)
    until(lambda: server.call("GET", f"/lateron/v1/messages/{message}").json["state"] == "FAILED", "the failure")
    return message


def test_what_an_attempt_sent_is_told_as_the_receiver_got_it(server: Server) -> None:
    """A header that went out must be the one that is shown; what is redacted is not shown, nor is the signature."""
    forwarded = (("Upstash-Forward-X-Team", "one"), ("Upstash-Forward-Authorization", SECRET))
    message = failed_twice(server, *forwarded, ("Upstash-Redact-Fields", "header[Authorization]"))
    story = server.call("GET", f"/lateron/v1/messages/{message}")
    caught = server.call("GET", "/lateron/v1/catcher/orders").json["requests"]
    assert SECRET not in story.text
    for attempt in story.json["attempts"]:
        line, *rows = attempt["request"]["head"].rstrip("\r\n").split("\r\n")
        shown = {name.lower(): value for name, value in (row.split(": ", 1) for row in rows)}
        (got,) = [one for one in caught if _value(one, "upstash-retried") == str(attempt["retried"])]
        got_names = {name.lower() for name in got["header"]}
        assert line == "POST /_catch/orders?status=503 HTTP/1.1"
        assert set(shown) == got_names
        same = set(shown) - {"authorization", "upstash-signature"}
        assert {name: shown[name] for name in same} == {name: _value(got, name) for name in same}
        assert shown["authorization"].startswith("REDACTED:")
        assert attempt["request"]["claims"]["sub"] == f"{server.url}/_catch/orders?status=503"
        assert attempt["request"]["claims"]["jti"].endswith(str(attempt["attempt"]))


def _value(request: dict[str, object], name: str) -> str:
    headers = request["header"]
    assert isinstance(headers, dict)
    value = next(value for key, value in headers.items() if key.lower() == name)
    return str(value[0] if isinstance(value, list) else value)


def test_two_answers_are_compared_and_the_keys_go_from_one_to_the_other(open_page: Open, server: Server) -> None:
    """What has changed since the attempt before is the question of whoever mends a receiver."""
    message = failed_twice(server)
    page = open_page(f"messages?id={message}")
    page.get_by_role("tab", name="Since attempt 1").click()
    expect(
        page.get_by_text("The answer is the same as that of attempt 1.").or_(page.locator(".difference"))
    ).to_be_visible()
    page.get_by_role("tab", name="Request").last.click()
    expect(page.get_by_text("POST /_catch/orders?status=503 HTTP/1.1")).to_be_visible()
    expect(page.get_by_text("What the signature says")).to_be_visible()
    page.keyboard.press("[")
    expect(page.locator(".attempt").first).to_have_attribute("open", "")


def test_lines_that_differ_are_told_in_order(open_page: Open) -> None:
    """A line that stays is told once, one that went before the one that came."""
    page = open_page()
    compare = "({difference}) => difference('a\\nb\\nc', 'a\\nx\\nc').map((one) => one[0] + one[1])"
    told = page.evaluate(f"import('./difference.js').then({compare})")
    assert told == [" a", "-b", "+x", " c"]


COMPARE = (
    "([one, other]) => import('./difference.js').then(({difference}) => difference(one, other).map((d) => d[0] + d[1]))"
)


def test_a_difference_is_found_however_far_down(open_page: Open) -> None:
    """That two answers are the same is said of the whole of them."""
    lines = [f"line {n}" for n in range(1_000)]
    one, other = "\n".join(lines), "\n".join([*lines[:950], "other", *lines[951:]])
    page = open_page()
    told = page.evaluate(COMPARE, [one, other])
    assert [line for line in told if line[0] in "+-"] == ["-line 950", "+other"]
    assert "…850 lines are the same" in told
    told = page.evaluate(COMPARE, [one, "\n".join(line.upper() for line in lines)])
    assert told[-1].startswith("…what differs goes on")


def test_a_copy_of_a_long_body_has_all_of_it(open_page: Open, server: Server) -> None:
    """What is shown ends somewhere, and says so; what is copied is the body."""
    long = "a" * 250_000
    script = (
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (t) => { globalThis.got = t; } } })"
    )
    reply = server.call("POST", f"/v2/publish/{server.url}/_catch/x", long.encode(), (("Upstash-Delay", "1h"),))
    page = open_page(f"messages?id={reply.json['messageId']}", script=script)
    expect(page.get_by_text("The first 200,000 characters are shown; a copy has all 250,000.")).to_be_visible()
    page.get_by_role("button", name="Copy body").click()
    assert until(lambda: page.evaluate("globalThis.got ?? ''"), "the copy") == long


def test_what_is_copied_for_support_holds_no_secret(open_page: Open, server: Server) -> None:
    """It is pasted into tickets: names and sizes, no value of a header, no body, no query."""
    message = publish(server, "x?token=of-the-url", {"card": "4111"}, ("Upstash-Forward-Authorization", SECRET))
    page = open_page(f"messages?id={message}")
    expect(page.get_by_text("Delivered with attempt 1")).to_be_visible()
    story = server.call("GET", f"/lateron/v1/messages/{message}").json
    text = page.evaluate("(story) => import('./screens/message.js').then(({bundle}) => bundle(story))", story)
    assert [word for word in (SECRET, "4111", "of-the-url", server.token) if word in text] == []
    kept = json.loads(text)["message"]
    assert kept["messageId"] == message
    assert "Authorization" in kept["header"]


def test_a_body_is_a_tree_whose_paths_can_be_copied(open_page: Open, server: Server) -> None:
    """By keys: one stop of Tab, arrows to the line, and the path is what a program needs to get there."""
    message = publish(server, "hello", {"order": {"lines": [{"price net": 7}], "id": 12345678901234567890}})
    page = open_page(f"messages?id={message}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tree = page.get_by_role("tree", name="Body as a tree").last
    reach(page, tree.get_by_role("treeitem").first)
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(tree.locator("li:focus")).to_contain_text('"price net": 7')
    expect(tree.get_by_text('"id": 12345678901234567890')).to_be_visible()  # More digits than a double holds.
    press(page, "Copy path", tree.locator("xpath=.."))
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == '$.order.lines[0]["price net"]'

    tree.locator('li[tabindex="0"]').focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    expect(tree.get_by_text('"price net": 7')).to_have_count(0)
    expect(tree.locator("li:focus")).to_have_attribute("aria-expanded", "false")


def test_a_large_body_costs_no_more_than_what_is_seen(open_page: Open, server: Server) -> None:
    """A hundred fields at a time; what is no JSON is text, and the bytes as they came are one press away."""
    large = publish(server, "large", {"rows": [{"n": n} for n in range(5_000)]}, ("Upstash-Delay", "1h"))
    page = open_page(f"messages?id={large}")
    tree = page.get_by_role("tree", name="Body as a tree")
    tree.get_by_text("5000 items").click()
    expect(tree.get_by_role("treeitem")).to_have_count(103)
    tree.get_by_text("4900 more").click()
    expect(tree.get_by_role("treeitem")).to_have_count(203)
    page.get_by_role("button", name="As sent").click()
    expect(page.locator(".code pre").first).to_contain_text('{"rows": [{"n": 0}, {"n": 1}')

    text = server.call("POST", f"/v2/publish/{server.url}/_catch/text", b'{"cut": [', (("Upstash-Delay", "1h"),))
    page = open_page(f"messages?id={text.json['messageId']}")
    expect(page.locator(".code pre").first).to_have_text('{"cut": [')
    expect(page.get_by_role("tree")).to_have_count(0)
