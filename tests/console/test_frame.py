"""What is around every screen: going from one to the other, what is kept fresh, dialogs, toasts and keys."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect
from tests.console.conftest import Open
from tests.console.steps import JSON, go, poll, publish, screen
from tests.console.test_files import FILES, FILES_GZIP_MAX, sent
from tests.support.poll import until
from tests.support.server import Server

from lateron.api.pages import packed

MARK = "window.mark = true"
IS_MARKED = "window.mark === true"

POLL = "document.dispatchEvent(new Event('visibilitychange'))"  # One has come back: asks at once, as the clock does.
# A stream that says what the test says, and timers that fire when it says so.
STREAM = """
window.streams = [];
window.EventSource = class extends EventTarget {
  static CLOSED = 2;
  constructor(url) { super(); this.url = url; this.readyState = 1; streams.push(this); }
  close() { this.readyState = 2; }
};
window.tell = (kind, data) => streams.at(-1).dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }));
const later = setTimeout;
const kept = new Map();
window.setTimeout = (act, ms, ...more) => {
  if (!(ms > 200)) return later(act, ms, ...more);
  kept.set(-kept.size - 1, { act, ms });
  return -kept.size;
};
const forget = clearTimeout;
window.clearTimeout = (id) => (id < 0 ? kept.set(id, null) : forget(id));
const repeated = [];
window.setInterval = (act) => repeated.push(act);
window.fire = (most = Infinity) => {
  for (const [id, one] of [...kept]) if (one?.ms <= most) { kept.set(id, null); one.act(); }
  for (const act of repeated) act();
};
"""


def hold(page: Page, pattern: str | re.Pattern[str], method: str = "GET") -> list[Route]:
    """Keep back what a page asks for from now on; return what is kept."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        if route.request.method == method:
            held.append(route)
        else:
            route.continue_()

    page.route(pattern, keep)
    return held


def test_a_screen_is_changed_without_loading_the_page_anew(open_page: Open) -> None:
    """What one has stopped stays stopped, and what was loaded is not fetched a second time."""
    page = open_page()
    page.evaluate(MARK)
    page.get_by_role("button", name="Stop updating").click()
    go(page, "Queues")
    assert page.evaluate(IS_MARKED)
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()


def test_a_choice_at_the_left_shuts_the_menu_of_a_telephone(open_page: Open) -> None:
    """The screen that was chosen lies behind it."""
    page = open_page(width=360)
    go(page, "Queues")
    expect(page.get_by_role("button", name="Menu")).to_have_attribute("aria-expanded", "false")


@pytest.mark.parametrize("came", [True, False])
def test_a_screen_that_comes_late_does_not_push_out_the_one_chosen_since(open_page: Open, *, came: bool) -> None:
    """Over a slow line one has gone on before it is there; neither it nor its failure is wanted any more."""
    page = open_page()
    held = hold(page, "**/screens/settings.js")
    page.get_by_role("link", name="Settings").click()
    poll(page, lambda: len(held) == 1)
    go(page, "Queues")

    if came:
        held[0].continue_()
    else:
        held[0].abort()
    page.unroute("**/screens/settings.js")
    page.evaluate("import('./screens/settings.js').catch(() => {}).then(() => new Promise(requestAnimationFrame))")
    expect(page.get_by_role("heading", level=1, name="Queues")).to_be_visible()


def test_what_answers_slowly_is_shown_though_more_is_asked_for(open_page: Open, server: Server) -> None:
    """Else a server that takes longer than the console's patience shows nothing for as long as it is slow."""
    server.call("POST", "/_catch/slow", b"found")
    page = open_page("queues", script=STREAM)
    held = hold(page, re.compile("/v1/catcher/slow"))
    go(page, "Catcher")
    poll(page, lambda: len(held) == 1)
    page.evaluate(POLL)
    page.evaluate("tell('changed', { topic: 'messages' })")
    page.evaluate("fire()")
    poll(page, lambda: len(held) == 1)

    held[0].continue_()
    expect(page.get_by_text("found").first).to_be_visible()
    page.evaluate("fire()")
    poll(page, lambda: len(held) == 2)  # What changed meanwhile is asked for afterwards.


def test_a_busy_server_is_read_less_often(open_page: Open, server: Server) -> None:
    """Nobody reads a hundred lines a second, and the server has other work; who comes back is answered at once."""
    publish(server, "one")
    page = open_page(script=STREAM)
    expect(page.get_by_text("Newest lines")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def readings() -> int:
        return len([url for url in asked if url.endswith("/v1/overview")])

    def change(most: str) -> bool:
        page.evaluate("tell('changed', { topic: 'messages' })")
        page.evaluate(f"fire({most})")
        return readings() > 1

    rest = {"active": 0, "waiting": 0, "deadLetters": 0, "oldestDueMs": None}
    for second in (1, 2):
        told = {"time": second * 1000, "published": second * 1000, "delivered": second * 1000, **rest}
        page.evaluate("(told) => tell('counters', told)", told)
    page.evaluate(POLL)
    poll(page, lambda: readings() == 1)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    change("5_000")  # With the clock that asks each five seconds.
    poll(page, lambda: True)
    assert readings() == 1
    until(lambda: change("Infinity"), "the next reading")


def test_lines_of_the_stream_ask_for_a_message_no_faster_than_it_is_told(open_page: Open, server: Server) -> None:
    """A message that moves fast on a busy server is not asked for once for every line."""
    message = publish(server, "one", None, ("Upstash-Delay", "1h"))
    page = open_page(f"messages?id={message}", script=STREAM)
    expect(page.get_by_role("button", name="Retry now")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(5):
        page.evaluate(f"tell('message', {{ messageId: '{message}' }})")
    server.call("POST", f"/lateron/v1/messages/{message}/retry")
    until(lambda: server.call("GET", f"/lateron/v1/messages/{message}").json["state"] == "DELIVERED", "the delivery")
    page.evaluate("fire()")
    expect(page.get_by_text("Delivered with attempt 1")).to_be_visible()
    assert len([url for url in asked if url.endswith(f"/v1/messages/{message}")]) == 1


@pytest.mark.parametrize("way", ["stopped", "hidden"])
def test_nothing_is_asked_for_while_nobody_looks(open_page: Open, server: Server, way: str) -> None:
    """Not by the screens either that ask more often than all others; they go on when one looks again."""
    server.call("POST", "/_catch/one", b"found")
    page = open_page("catcher", script=STREAM)
    expect(page.get_by_text("found").first).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    if way == "stopped":
        page.get_by_role("button", name="Stop updating").click()
    else:
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        page.evaluate(POLL)
    page.evaluate("fire()")
    poll(page, lambda: True)
    assert asked == []

    if way == "stopped":
        page.get_by_role("button", name="Go on updating").click()
    else:
        page.evaluate("delete document.hidden")
        page.evaluate(POLL)
    poll(page, lambda: any("/v1/catcher/one" in url for url in asked))


def test_a_session_that_ended_with_its_server_is_opened_again(open_page: Open, server: Server) -> None:
    """A development server asks nobody to log in; one that was started anew does so no more than the first."""
    page = open_page("messages", script=STREAM)
    page.evaluate(MARK)
    page.evaluate("streams[0].readyState = 2; streams[0].dispatchEvent(new Event('error'))")
    page.context.clear_cookies()
    publish(server, "one")
    page.evaluate(POLL)

    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.evaluate(IS_MARKED)
    assert page.evaluate("streams.length") == 2  # And the stream that it refused for so long is there again.


def test_a_server_in_trouble_does_not_say_that_one_is_signed_out(open_page: Open) -> None:
    """It is asked again, until it knows."""
    page = open_page(script=STREAM)
    troubles = [503]

    def answer(route: Route) -> None:
        if troubles:
            route.fulfill(status=troubles.pop(), json={"error": "busy"})
        else:
            route.continue_()

    page.route("**/console/api/session", answer)
    page.reload()
    poll(page, lambda: not troubles)
    until(lambda: page.evaluate("fire(); document.querySelector('h1') !== null"), "a screen")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()


def test_a_second_tab_takes_nothing_from_the_first(open_page: Open, server: Server) -> None:
    """The browser has one session, which the second one opened anew; what the first changes goes through with it."""
    server.call("POST", "/v2/queues", b'{"queueName": "mail"}', (JSON,))
    page = open_page("queues")
    page.context.clear_cookies()
    page.context.new_page().goto(f"{server.url}/console/")
    until(page.context.cookies, "the session of the second")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()


def test_figures_are_of_now_or_not_there(open_page: Open, server: Server) -> None:
    """No rate goes below zero, counts hours in which nobody listened, or stays when the stream has gone."""
    publish(server, "one")
    page = open_page(script=STREAM)
    figures = page.locator(".grid-4").first
    expect(figures).to_contain_text("delivered in the last hour")

    def tell(second: int, delivered: int) -> None:
        told = {"time": second * 1000, "published": delivered, "delivered": delivered, "waiting": 777, "active": 0}
        page.evaluate("(told) => tell('counters', told)", {**told, "deadLetters": 0, "oldestDueMs": None})

    beat = page.locator(".pulse.beat")
    tell(1, 10)
    expect(beat).to_have_count(1)  # The dot beats with each word of the stream.
    tell(2, 30)
    expect(figures).to_contain_text("20/s")
    expect(beat).to_have_count(0)
    tell(3, 0)
    expect(figures).to_contain_text("delivered in the last hour")
    tell(4, 50)
    expect(figures).to_contain_text("50/s")
    tell(3604, 60)
    expect(figures).to_contain_text("delivered in the last hour")
    expect(figures).to_contain_text("777")
    page.evaluate("streams[0].readyState = 0; streams[0].dispatchEvent(new Event('error'))")
    expect(figures).not_to_contain_text("777")


def test_a_second_that_passes_is_cheap(open_page: Open, server: Server) -> None:
    """A list full of times is open for hours: a tick asks nobody for the zone, and reads the clock of no row anew."""
    for number in range(3):
        publish(server, f"n{number}")
    page = open_page("messages", script=STREAM)
    expect(page.locator("tbody tr")).to_have_count(3)
    counted = page.evaluate("""async () => {
      const { now } = await import("./live.js");
      const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const { DateTimeFormat } = Intl;
      const { get } = Object.getOwnPropertyDescriptor(DateTimeFormat.prototype, "format");
      let asked = 0;
      Intl.DateTimeFormat = function (...of) { asked += 1; return new DateTimeFormat(...of); };
      Object.defineProperty(DateTimeFormat.prototype, "format", { get() { asked += 1; return get.call(this); } });
      const begin = (Math.floor(now.value / 60_000) + 1) * 60_000;
      now.value = begin;
      await drawn();
      const minute = asked;
      now.value = begin + 1_000;
      await drawn();
      return [minute > 0, asked - minute];
    }""")
    assert counted == [True, 0]


def test_what_ends_late_closes_no_other_dialog(open_page: Open) -> None:
    """One has gone on to something else while it was under way."""
    page = open_page("queues")
    page.get_by_role("button", name="New queue").first.click()
    page.get_by_label("Name").fill("mail")
    held = hold(page, "**/v2/queues", "POST")
    page.get_by_role("button", name="Save queue").click()
    poll(page, lambda: len(held) == 1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Keys", exact=True).click()

    held[0].continue_()
    expect(page.get_by_role("table").get_by_text("mail")).to_be_visible()
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


@pytest.mark.parametrize(("button", "name"), [("Keys", "Keys"), ("Search an id", "Search and commands")])
def test_a_press_beside_a_dialog_closes_it_and_one_on_its_scrollbar_does_not(
    open_page: Open, button: str, name: str
) -> None:
    """For a browser the scrollbar is the dialog itself, as what lies beside it is."""
    page = open_page()
    page.get_by_role("button", name=button).click()
    box = page.get_by_role("dialog", name=name)
    press = """(box, inside) => {
      const { right, top } = box.getBoundingClientRect();
      const where = { clientX: right - 3, clientY: inside ? top + 30 : top - 9 };
      box.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, ...where }));
      return new Promise(requestAnimationFrame).then(() => box.isConnected);
    }"""
    assert box.evaluate(press, True)
    assert not box.evaluate(press, False)


def test_a_toast_that_can_be_acted_on_waits_for_that(open_page: Open) -> None:
    """Who reads or moves slowly is not to lose the Undo to the clock, nor to what is said in passing."""
    page = open_page(script=STREAM)
    page.evaluate("""async () => {
      const { toast } = await import("./ui.js");
      toast("3 replayed.", "good", ["Undo", () => toast("taken back")]);
      for (let n = 1; n <= 5; n += 1) toast(`said ${n}`);
    }""")
    expect(page.get_by_text(re.compile("said [2-5]"))).to_have_count(4)
    page.evaluate("fire(60_000)")
    expect(page.get_by_text(re.compile("said"))).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("taken back")).to_be_visible()
    expect(page.get_by_text("3 replayed.")).to_have_count(0)


OLD_CLIPBOARD = """
Object.defineProperty(Navigator.prototype, "clipboard", { value: undefined });
addEventListener("copy", () => (window.copied = document.activeElement.value));
"""


def test_what_is_copied_over_plain_http_is_copied_or_not_said_to_be(open_page: Open, server: Server) -> None:
    """There a browser copies only what is chosen, and nothing outside of a dialog can be chosen while it is open."""
    message = publish(server, "one")
    page = open_page(f"messages?id={message}", script=OLD_CLIPBOARD)
    page.get_by_role("button", name="Copy id").click()
    assert page.evaluate("copied") == message
    page.get_by_role("button", name="Keys", exact=True).click()
    close = page.get_by_role("dialog").get_by_role("button", name="Close")
    close.focus()
    page.evaluate("import('./ui.js').then(({ putOnClipboard }) => putOnClipboard('inside'))")
    assert page.evaluate("copied") == "inside"
    expect(close).to_be_focused()

    close.click()
    page.evaluate("document.execCommand = () => false")
    page.get_by_role("button", name="Copy the delivery as cURL").click()
    expect(page.get_by_text("The browser did not let it be copied.")).to_be_visible()


def test_single_keys_can_be_switched_off(open_page: Open, server: Server) -> None:
    """Who dictates says letters without meaning a command; what is no single key goes on, and the choice is kept."""
    publish(server, "one"), publish(server, "two")
    delivered = "/v2/events?state=DELIVERED"
    until(lambda: len(server.call("GET", delivered).json["events"]) == 2, "the deliveries, after which no row moves")
    page = open_page("messages")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Keys", exact=True).click()
    page.get_by_label("Single keys are commands").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    for again in (False, True):
        if again:
            page.reload()
            expect(rows).to_have_count(2)
        rows.first.focus()
        for key in ("t", ".", "g", "d", "j", "x", "/", "?"):
            page.keyboard.press(key)
        expect(rows.first).to_be_focused()
        expect(page.get_by_text("Paused", exact=True)).to_have_count(0)
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="Theme: system")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(rows.last).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Message", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Copy id")).to_be_visible()
    page.keyboard.press("c")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Search and commands")).to_be_visible()
    expect(page.get_by_text("Id copied.")).to_have_count(0)


CLIPBOARD = """
window.copied = [];
Object.defineProperty(Navigator.prototype, "clipboard", { value: {
  writeText: (text) => (window.refuses ? Promise.reject(new Error("no")) : (copied.push(text), Promise.resolve())),
} });
"""


def test_a_key_does_one_thing_once(open_page: Open, server: Server) -> None:
    """The second letter of `g c` copies nothing, a key that is held down is one press, and a failure is told."""
    message = publish(server, "one", None, ("Upstash-Delay", "1h"))
    page = open_page(f"messages?id={message}", script=CLIPBOARD)
    expect(page.get_by_role("button", name="Retry now")).to_be_visible()
    page.evaluate("dispatchEvent(new KeyboardEvent('keydown', { key: '.', repeat: true }))")
    page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'c', repeat: true, bubbles: true }))"
    )
    page.keyboard.press("c")
    expect(page.get_by_text("Id copied.")).to_be_visible()
    expect(page.get_by_text("Paused", exact=True)).to_have_count(0)
    page.evaluate("window.refuses = true; document.execCommand = () => false")
    page.keyboard.press("y")
    expect(page.get_by_text("The browser did not let it be copied.")).to_be_visible()
    page.evaluate("window.refuses = false")
    screen(page, "c", "Catcher")
    assert page.evaluate("copied") == [message]


def test_another_place_takes_the_focus_and_another_question_does_not(open_page: Open, server: Server) -> None:
    """Else a screen reader stays with a row that is gone, and one who types loses the field he types in."""
    publish(server, "one")
    page = open_page("messages")
    main = page.locator("main")
    page.get_by_role("combobox", name="Filter").fill("state:delivered")
    expect(page).to_have_url(re.compile("filter="))
    expect(page.get_by_role("combobox", name="Filter")).to_be_focused()
    page.get_by_role("table").locator("tbody tr").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Message", exact=True)).to_be_visible()
    expect(main).to_be_focused()
    go(page, "Queues")
    expect(main).to_be_focused()


def test_the_badge_says_how_many_dead_letters_are_new_or_that_there_are_more(open_page: Open) -> None:
    """A hundred are asked for; which are new is told by their own times, whatever this machine's clock says."""
    page = open_page("queues", script="Date.now = () => 4_000_000_000_000;")
    badge = page.get_by_role("link", name=re.compile("Dead letters")).locator(".badge")
    born = {"url": "http://127.0.0.1/x", "method": "POST", "maxRetries": 0, "responseStatus": 503, "createdAt": 1}
    letters = [{**born, "messageId": f"msg_{n}", "dlqId": f"{1_790_000_000_000 + n}-{n:032x}"} for n in range(100)]
    answers = [{"messages": letters, "cursor": "more"}, {"messages": letters[:3]}]

    def answer(route: Route) -> None:
        route.fulfill(json=answers[0])

    page.route("**/v2/dlq?*", answer)
    page.evaluate(POLL)
    expect(badge).to_contain_text("100+")
    answers.pop(0)
    go(page, "Dead letters")
    expect(page.locator(".group-row .figure")).to_have_text("3")
    expect(badge).to_have_count(0)
    answers[0] = {"messages": letters[2:5]}
    go(page, "Queues")
    page.evaluate(POLL)
    expect(badge).to_contain_text("2")


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_too_many_is_dropped_from_the_address(open_page: Open, slashes: str) -> None:
    """A browser would look for the files of the page in a place where none are."""
    page = open_page(f"messages{slashes}?view=waiting")
    expect(page).to_have_url(re.compile(r"[0-9]/console/messages\?view=waiting$"))
    expect(page.get_by_role("heading", level=1, name="Messages")).to_be_visible()


WEIGH = """
async (names) => {
  await Promise.all(names.map((name) => import(`./${name}`)));
  const scripts = performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".js"));
  return [scripts.length, scripts.reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)];
}
"""


def test_the_scripts_of_all_screens_weigh_in_a_browser_what_was_promised(open_page: Open) -> None:
    """What went over the wire, each script once, by the browser's own count; compressed, or it would be twice that."""
    scripts = sorted(FILES.rglob("*.js"))
    begun = {"main.js", "theme.js"}  # The page itself has loaded them.
    names = [path.relative_to(FILES).as_posix() for path in scripts if path.name not in begun]
    number, weight = open_page(script="performance.setResourceTimingBufferSize(1000)").evaluate(WEIGH, names)
    assert number == len(scripts)
    assert weight == sum(len(packed(body)) for body in sent(".js")) <= FILES_GZIP_MAX
