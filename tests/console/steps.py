"""What the walks of the console have in common: things to look at, and steps by mouse and by keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress

from playwright.sync_api import Locator, Page, Route, expect
from tests.support.poll import until
from tests.support.server import Server

JSON = ("Content-Type", "application/json")
STEPS_MAX = 120  # Presses of Tab until something is out of reach.


def publish(server: Server, name: str, body: object = None, *headers: tuple[str, str]) -> str:
    """Publish to the catcher of the server."""
    content = json.dumps({"n": 1} if body is None else body).encode()
    reply = server.call("POST", f"/v2/publish/{server.url}/_catch/{name}", content, (JSON, *headers))
    assert reply.status == 201, reply.text
    return str(reply.json["messageId"])


def fail(server: Server, number: int, name: str = "orders") -> None:
    """Make dead letters, and wait until they are."""
    for n in range(number):
        publish(server, f"{name}?status=503", {"order": n}, ("Upstash-Retries", "0"), ("Upstash-Label", "nightly"))
    until(lambda: len(server.call("GET", "/v2/dlq").json["messages"]) >= number, "dead letters")


def make_token(server: Server, name: str, scope: str) -> str:
    """Make a token, and return it."""
    reply = server.call("POST", "/lateron/v1/tokens", json.dumps({"name": name, "scope": scope}).encode(), (JSON,))
    assert reply.status == 201, reply.text
    return str(reply.json["token"])


def go(page: Page, word: str) -> None:
    """Choose a screen at the left, which a telephone hides behind its menu."""
    menu = page.get_by_role("button", name="Menu")
    if menu.is_visible() and menu.get_attribute("aria-expanded") == "false":
        menu.click()
    page.get_by_role("navigation").get_by_role("link", name=re.compile(f"^{word}")).click()
    expect(page.get_by_role("heading", level=1, name=word)).to_be_visible()


def hold(page: Page, pattern: str | re.Pattern[str]) -> list[Route]:
    """Keep requests back from now on; the list grows with each, and ``continue_`` lets one go."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held


def asked(page: Page, held: list[Route], number: int = 1) -> None:
    """Wait until so many requests are kept back; they are only handed over while the driver is awake."""
    until(lambda: page.evaluate("1") and len(held) >= number, "a request of the page")


def answer(page: Page, route: Route) -> None:
    """Let a request go, and wait until the page has drawn what its answer changes."""
    with page.expect_event("requestfinished", lambda request: request == route.request):
        route.continue_()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def sign_in(page: Page, token: str) -> None:
    """Log in with a token, by mouse."""
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Sign in with the token").click()
    expect(page.get_by_role("button", name="Keys", exact=True)).to_be_visible()


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


def write(page: Page, label: str, text: str, where: Locator | None = None) -> None:
    """Reach a field and write over what it holds."""
    reach(page, (where or page.locator("main")).get_by_label(label, exact=True).first)
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def log_in(page: Page, token: str) -> None:
    """Log in with a token, by keyboard."""
    write(page, "Token", token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keys", exact=True)).to_be_visible()


def screen(page: Page, key: str, title: str) -> None:
    """Go to a screen by its letters, and once more if the second came too long after the first."""
    heading = page.get_by_role("heading", level=1, name=title)
    page.locator("main").evaluate("(main) => main.focus()")
    page.keyboard.press("g")
    page.keyboard.press(key)
    with suppress(AssertionError):
        expect(heading).to_be_visible(timeout=5_000)
        return
    page.keyboard.press("g")
    page.keyboard.press(key)
    expect(heading).to_be_visible()


def poll(page: Page, fact: Callable[[], bool]) -> None:
    """Wait for what a page asks; its requests are only handed over while the driver is awake."""
    until(lambda: page.evaluate("1") and fact(), "a request of the page")
