"""What one sees: both themes, a telephone and a desk; and whether everybody can use it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from tests.console.conftest import Open
from tests.console.steps import JSON, fail, publish
from tests.support.server import Server

SCREENS = (
    "",
    "messages",
    "messages?view=waiting",
    "dead",
    "dead?view=list",
    "schedules?name=sweep",
    "queues",
    "flow",
    "groups",
    "destinations",
    "builder?kind=schedule",
    "catcher",
    "settings",
    "jobs",
)


# An animation that never ends is drawn sixty times a second for as long as the page is open.
ENDLESS = "document.getAnimations().some(({ effect }) => effect.getComputedTiming().iterations === Infinity)"


def furnish(server: Server) -> str:
    """Put a little of everything into a server; return a message that failed."""
    catch = f"{server.url}/_catch"
    fail(server, 2)
    publish(server, "hello")
    publish(server, "later", None, ("Upstash-Delay", "1h"), ("Upstash-Label", "reminder"))
    publish(server, "slow", None, ("Upstash-Flow-Control-Key", "api"), ("Upstash-Flow-Control-Value", "rate=1"))
    server.call("POST", "/v2/queues", b'{"queueName": "mail", "parallelism": 2}', (JSON,))
    server.call("POST", f"/v2/enqueue/mail/{catch}/mail", b"{}", (JSON,))
    server.call("POST", "/v2/queues/mail/pause")
    endpoints = f'{{"endpoints": [{{"url": "{catch}/a", "name": "billing"}}]}}'.encode()
    server.call("POST", "/v2/topics/orders/endpoints", endpoints, (JSON,))
    slow = b'{"kind": "retryNow", "filter": {"label": "reminder"}, "spread": "1h"}'
    assert server.call("POST", "/lateron/v1/jobs", slow, (JSON,)).status == 201
    cron = (("Upstash-Cron", "*/5 * * * *"), ("Upstash-Schedule-Id", "sweep"))
    server.call("POST", f"/v2/schedules/{catch}/sweep", b"{}", (JSON, *cron))
    return str(server.call("GET", "/v2/dlq").json["messages"][0]["messageId"])


def findings(page: Page, axe: str) -> list[str]:
    """Return what axe finds that is serious or worse."""
    page.evaluate(axe)
    found = page.evaluate(
        "axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"
    )
    return [
        f"{page.url}: {one['id']}: {node['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
def test_everybody_can_use_every_screen(open_page: Open, server: Server, axe: str, theme: str, width: int) -> None:
    """Nothing serious for axe, nothing wider than the window, and nothing that is drawn for ever, on any screen."""
    failed = furnish(server)
    page = open_page(width=width, theme=theme)
    wrong = []
    for screen in (*SCREENS, f"messages?id={failed}"):
        page.goto(f"{server.url}/console/{screen}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        wrong += findings(page, axe)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            wrong.append(f"{screen}: {wide} px wide")
        if page.evaluate(ENDLESS):
            wrong.append(f"{screen}: something moves without end")
    assert wrong == []


def test_the_theme_is_chosen_once(open_page: Open) -> None:
    """A choice is kept, and holds before the first paint of the next visit."""
    page = open_page(theme="light")
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 20, 24)"


def test_dialogs_and_the_rail_work_on_a_telephone(open_page: Open, server: Server, axe: str) -> None:
    """The rail is behind the menu; a dialog fits; both are fit for all."""
    fail(server, 1)
    page = open_page("dead", width=360, height=700)
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("link", name="Queues")).to_be_visible()
    page.get_by_role("link", name="Dead letters").click()
    page.get_by_role("button", name="Replay 1").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert findings(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 360
