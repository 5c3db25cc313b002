"""The whole way in one piece, by mouse and by keyboard alone, on a desk and on a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.console.conftest import Open
from tests.console.steps import fail, go, log_in, make_token, press, publish, reach, screen, sign_in, write
from tests.serving import OWN
from tests.support.poll import until
from tests.support.server import Server

LOOKS = pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 360)])
FLOW = (("Upstash-Flow-Control-Key", "api"), ("Upstash-Flow-Control-Value", "rate=1,period=1h"))
CHANGES = (
    ("post", "v2/keys/rotate"),
    ("post", "v2/schedules/morning/run"),
    ("post", "v2/flowControl/api/unpin?rate=true"),
    ("post", "lateron/v1/delivery/pause"),
    ("remove", "v2/dlq"),
)
# Words of what changes something, on the screens that the ways have filled.
FORBIDDEN = {
    "Overview": (),
    "Messages": ("Retry all", "Cancel all"),
    "Dead letters": ("Replay", "Delete", "Send one that fails"),
    "Schedules": ("New schedule", "Run now", "Pause"),
    "Queues": ("New queue",),
    "Flow control": ("Pause", "Pin limits", "Unpin", "Begin a new period"),
    "URL groups": ("New group",),
    "Destinations": ("Test now", "Pause"),
    "Builder": ("Save schedule",),
    "Catcher": ("Forget all", "Send"),
    "Settings": ("Rotate", "Pause all", "Make token"),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return an empty server of which nobody knows anything before he has logged in."""
    with Server(tmp_path / "data", "--catcher", "--allow-private", mode="serve", user=OWN) as running:
        yield running


@LOOKS
def test_the_whole_way_is_walked_by_mouse(open_page: Open, server: Server, theme: str, width: int) -> None:
    """First message, catcher, a failure and its replay, a schedule, a pin, new keys; then who may only look."""
    page = open_page(width=width, theme=theme)
    box = page.get_by_role("dialog")
    sign_in(page, server.token)
    page.get_by_role("button", name="Send a test message to the catcher").click()
    expect(page.get_by_text("The destination answered 200 after 1 attempt")).to_be_visible()
    go(page, "Catcher")
    expect(page.get_by_text("signature good")).to_be_visible()

    go(page, "Dead letters")
    page.get_by_role("button", name="Send one that fails").click()
    expect(page.get_by_text("Given up; kept as a dead letter")).to_be_visible()
    fail(server, 2, "broken")
    go(page, "Dead letters")
    page.get_by_role("button", name="Replay all").click()
    expect(box.get_by_text("3 messages would be published anew.")).to_be_visible()
    box.get_by_role("button", name="Replay 3 messages").click()
    expect(page.get_by_text("3 dead letters replayed.")).to_be_visible()

    go(page, "Schedules")
    page.get_by_role("button", name="New schedule").first.click()
    page.get_by_label("Cron").fill("0 7 * * *")
    expect(page.get_by_text("daily at 07:00. The next runs:")).to_be_visible()
    page.get_by_label("Id of the schedule").fill("morning")
    page.get_by_role("button", name="Save schedule").click()
    expect(page.get_by_role("heading", name="morning")).to_be_visible()

    publish(server, "llm", None, *FLOW)
    go(page, "Flow control")
    page.get_by_role("button", name="Pin limits").click()
    box.get_by_label("Starts").fill("9")
    box.get_by_role("button", name="Pin limits").click()
    expect(page.get_by_text("pinned", exact=True)).to_be_visible()

    before = server.call("GET", "/v2/keys").json
    go(page, "Settings")
    page.get_by_role("button", name="Rotate").click()
    box.get_by_role("textbox").fill("rotate")
    box.get_by_role("button", name="Rotate keys").click()
    expect(page.get_by_text("The keys are rotated.")).to_be_visible()
    assert server.call("GET", "/v2/keys").json["current"] == before["next"]

    page.get_by_label("New token's name").fill("guest")
    page.get_by_label("It may").select_option("read")
    page.get_by_role("button", name="Make token").click()
    shown = page.get_by_text("shown only now").locator("xpath=..").locator("code")
    guest = str(shown.text_content())
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, guest)
    for word in FORBIDDEN:
        go(page, word)
        only_looks(page, word)
    go(page, "Builder")
    expect(page.get_by_text("This login may only read")).to_be_visible()
    expect(page.locator(".button.primary")).to_have_count(0)
    changes_nothing(page)


@LOOKS
def test_the_whole_way_is_walked_without_a_mouse(open_page: Open, server: Server, theme: str, width: int) -> None:
    """The same by keys: never a pointer, and never an address."""
    guest = make_token(server, "guest", "read")
    page = open_page(width=width, theme=theme)
    box = page.get_by_role("dialog")
    log_in(page, server.token)
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

    screen(page, "b", "Builder")
    press(page, "Schedule")
    write(page, "Cron", "0 7 * * *")
    expect(page.get_by_text("daily at 07:00")).to_be_visible()
    write(page, "Id of the schedule", "morning")
    press(page, "Save schedule")
    expect(page.get_by_role("heading", name="morning")).to_be_visible()

    publish(server, "llm", None, *FLOW)
    screen(page, "f", "Flow control")
    press(page, "Pin limits")
    write(page, "Starts", "9", box)
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

    press(page, "Sign out", page.locator("header.top-head"))
    log_in(page, guest)
    for key, word in (("f", "Flow control"), ("s", "Schedules"), ("d", "Dead letters"), ("b", "Builder")):
        screen(page, key, word)
        only_looks(page, word)
    changes_nothing(page)


def only_looks(page: Page, word: str) -> None:
    """See that a screen has been drawn, and offers nothing that changes anything."""
    expect(page.get_by_text("Loading…")).to_have_count(0)
    main = page.locator("main")
    for name in FORBIDDEN[word]:
        expect(main.get_by_role("button", name=name)).to_have_count(0)


def changes_nothing(page: Page) -> None:
    """Ask for changes as the pages themselves would; the API has the last word."""
    told = page.evaluate(
        """async (changes) => {
            const api = await import("./api.js");
            const asked = changes.map(([how, path]) => api[how](path).then(() => path, (error) => error.status));
            return Promise.all(asked);
        }""",
        CHANGES,
    )
    assert told == [403] * len(CHANGES)
