"""What others wrote is shown as letters, on every screen: it never becomes markup, a script or an address (D-50).

Whoever publishes, and every destination that answers, writes what an administrator later reads. One server is filled
with payloads in each field that takes them; then every screen is visited, with its tabs and dialogs. All of it is done
with the content security policy and without: the code must be right by itself, not only held back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from tests.console.conftest import Open
from tests.console.steps import JSON
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

# Each would call `ran`, or make an element that is marked, if it were ever taken for more than text.
PAYLOADS = {
    "image": "<img data-made src=x onerror=ran(1)>",
    "script": '"><script data-made>ran(2)</script>',
    "closing": "</textarea></pre></style><svg data-made onload=ran(3)>",
    "attribute": "' data-made onmouseover='ran(4)' autofocus onfocus='ran(5)",
    "frame": '<iframe data-made srcdoc="<script>parent.ran(6)</script>"></iframe>',
    "address": "javascript:ran(7)",
    "template": "{{constructor.constructor('ran(8)')()}}${ran(9)}<%= ran(10) %>",
    "entities": "&lt;b data-made&gt;&#60;i data-made&#62;",
    "prototype": "__proto__",
    "bidi": "\u202egnp.exe\u2066 \u200b\ufeffend",
    "control": "a\x01\x1b[31mred\x07\x7f\u2028b",
}
NAMES = {
    name: text for name, text in PAYLOADS.items() if name not in {"bidi", "control"}
}  # Keys and labels refuse those.
SCREENS = {  # What each must show; others shorten it, or show it encoded in a URL.
    "overview": (),
    "messages": NAMES.values(),
    "messages?view=waiting": NAMES.values(),
    "messages?view=lines": NAMES.values(),
    "dead": NAMES.values(),
    "dead?view=list": NAMES.values(),
    "schedules": (),
    "queues": ("__proto__",),
    "flow": NAMES.values(),
    "groups": NAMES.values(),
    "destinations": (),
    "jobs": NAMES.values(),
    "builder": (),
    "settings": NAMES.values(),
}
POLICIES = pytest.mark.parametrize("policy", [True, False], ids=["policy", "no-policy"])
TRAP = """
window.trap = [];
window.ran = (number) => trap.push(`script ${number} ran`);
addEventListener("securitypolicyviolation", (event) => trap.push(`${event.violatedDirective} was violated`));
addEventListener("error", (event) => trap.push(`error: ${event.message ?? event.target.outerHTML}`), true);
addEventListener("unhandledrejection", (event) => trap.push(`rejected: ${event.reason}`));
"""
MADE = """() => {
    const every = [...document.querySelectorAll("*")];
    const strange = /^(iframe|object|embed|base|math)$/i;
    const made = every.filter((one) => one.hasAttribute("data-made") || strange.test(one.tagName));
    const acting = every.filter((one) => one.getAttributeNames().some((name) => name.startsWith("on")));
    const ours = /^(theme|main)\\.js$/;
    const scripts = every.filter((one) => one.tagName === "SCRIPT" && !ours.test(one.getAttribute("src")));
    const scheme = (one) => new URL(one.getAttribute("href"), document.baseURI).protocol;
    const leading = every.filter((one) => one.hasAttribute("href") && !/^(https?|blob):/.test(scheme(one)));
    return [...trap, ...[made, acting, scripts, leading].flat().map((one) => one.outerHTML.slice(0, 200))];
}"""
VISIT = """async () => {
    const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const found = [];
    const look = async (control) => (control.click(), await drawn(), found.push(...(MADE)()));
    for (const details of document.querySelectorAll("main details:not([open]) > summary")) await look(details);
    for (const tab of document.querySelectorAll("main [role=tab]")) {
        await look(tab);
        const panel = tab.closest(".tabs").querySelector("[role=tabpanel]");
        for (const view of panel.querySelectorAll(".segments button")) await look(view);
    }
    return found;
}""".replace("MADE", MADE)
UNSEEN = """(texts) => {
    const fields = [...document.querySelectorAll("input, textarea, select")].map((field) => field.value);
    const shown = [document.body.textContent, ...fields].join("\\n");
    return texts.filter((text) => !shown.includes(text));
}"""


@dataclass(frozen=True, slots=True)
class Filled:
    """Where the payloads are."""

    delivered: dict[str, str]  # Name of the payload -> id of a message that was delivered.
    dead: dict[str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return the server of this module; its tests look, and change nothing."""
    with Server(tmp_path_factory.mktemp("hostile") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Filled]:
    """Put every payload into every field that takes it."""
    with Receiver() as receiver:
        found = Filled({}, {})
        for at, (name, text) in enumerate(PAYLOADS.items()):
            found.delivered[name] = _send(server, receiver, text, 200)
            found.dead[name] = _send(server, receiver, text, 500 + at)
            _send(server, receiver, text, 200, ("Upstash-Delay", "1h"))
            _fill(server, receiver, name, text)
        for text in NAMES.values():  # Last, so that the newest page of the audit log has them; it means no message.
            chosen = f"label={quote(text, safe='')}&flowControlKey=none"
            assert server.call("DELETE", f"/v2/messages?{chosen}").json["cancelled"] == 0
        for message in (*found.delivered.values(), *found.dead.values()):
            until(lambda at=message: _state(server, at) in {"DELIVERED", "FAILED"}, "the end of a message")  # type: ignore[misc]
        yield found


def _send(server: Server, receiver: Receiver, text: str, status: int, *more: tuple[str, str]) -> str:
    """Publish a message with the payload in all its parts, to a destination that answers with it."""
    shown = text if text.isprintable() else quote(text)
    endpoint = receiver.endpoint()
    answered = (("X-Answered", shown), ("Content-Type", "text/html"))
    endpoint.answers(Answer(status, json.dumps({"said": text, text: [text]}).encode(), answered))
    place = quote(text, safe="'();:${}=,")
    headers = {
        "Upstash-Retries": "0",
        "Upstash-Forward-X-Evil": shown,
        "Upstash-Failure-Callback": f"{receiver.endpoint().url}/{place}",
    }
    if text in NAMES.values():
        headers |= {
            "Upstash-Label": text,
            "Upstash-Flow-Control-Key": text,
            "Upstash-Flow-Control-Value": "parallelism=9",
        }
        headers |= {"Lateron-Order-Key": text, "Upstash-Deduplication-Id": f"{text}{status}{len(more)}"}
    item = {
        "destination": f"{endpoint.url}/{place}?q={place}",
        "body": json.dumps({text: text}),
        "headers": headers | dict(more),
    }
    reply = server.call("POST", "/v2/batch", json.dumps([item]).encode(), (JSON,))
    assert reply.json[0].get("messageId"), reply.text
    return str(reply.json[0]["messageId"])


def _fill(server: Server, receiver: Receiver, name: str, text: str) -> None:
    """Put a payload wherever else it goes: a schedule, a group, a job and so the log of changes, the catcher."""
    url = f"{receiver.origin}/{quote(text, safe='')}"
    cron = (("Upstash-Cron", "0 0 1 1 *"), ("Upstash-Schedule-Id", f"evil-{name}"))
    assert server.call("POST", f"/v2/schedules/{url}", text.encode(), cron).status == 201
    body = text.encode() + (b"\xff" if name == "bidi" else b"")
    assert server.call("POST", f"/_catch/{name}?q={quote(text)}", body, (("X-Evil", quote(text)),)).status == 200
    if name not in NAMES:
        return
    ends = {"endpoints": [{"url": url, "name": text}]}
    assert server.call("POST", "/v2/topics/evil/endpoints", json.dumps(ends).encode(), (JSON,)).status == 200
    job = {"kind": "cancel", "filter": {"label": [text, "none"], "flowControlKey": "none"}}
    assert server.call("POST", "/lateron/v1/jobs", json.dumps(job).encode(), (JSON,)).status == 201
    if text.replace("_", "").isalnum():
        named = {"name": text, "scope": "read", "queueName": text}
        assert server.call("POST", "/v2/queues", json.dumps({"queueName": text}).encode(), (JSON,)).status == 200
        del named["queueName"]
        assert server.call("POST", "/lateron/v1/tokens", json.dumps(named).encode(), (JSON,)).status == 201


def _state(server: Server, message: str) -> str:
    return str(server.call("GET", f"/lateron/v1/messages/{message}").json["state"])


def opened(open_page: Open, screen: str = "", *, policy: bool = True) -> Page:
    """Open the console with the trap set."""
    page = open_page(screen, script=TRAP, policy=policy)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


def visit(page: Page, screen: str) -> None:
    """Let an open console show what an address names, without loading its modules anew."""
    page.evaluate("(to) => (history.pushState(null, '', to), dispatchEvent(new PopStateEvent('popstate')))", screen)
    expect(page.locator("main .loading")).to_have_count(0)


def check(page: Page, *texts: str) -> None:
    """See that these are shown as they are, and that nothing was made of any payload."""
    until(lambda: page.evaluate(UNSEEN, texts) == [], f"{page.url} to show {texts}")
    assert page.evaluate(MADE) == []


@pytest.mark.promise("D-50")
@POLICIES
def test_a_message_shows_what_it_holds_as_letters(open_page: Open, filled: Filled, *, policy: bool) -> None:
    """Body, headers, label, address, answer and error of a message, in each of their views."""
    page = opened(open_page, policy=policy)
    for name, text in PAYLOADS.items():
        for message in (filled.dead[name], filled.delivered[name]):
            visit(page, f"messages?id={message}")
            expect(page.locator(".about")).to_contain_text(message)
            check(page, *([text] if name in NAMES else []))
            assert page.evaluate(VISIT) == []
            page.get_by_role("tab", name="Body").click()
            page.get_by_role("button", name="As sent").first.click()
            check(page, json.dumps({text: text}))


def read_on(page: Page) -> bool:
    """Ask for what is older, if the list says that there is more; what comes must be looked at first."""
    # In one step: between a look and a press the list may have come to its end, and the button be gone.
    page.evaluate("[...document.querySelectorAll('.more button')].find((one) => one.textContent === 'Older')?.click()")
    return False


@pytest.mark.promise("D-50")
@POLICIES
def test_a_screen_shows_what_it_lists_as_letters(open_page: Open, filled: Filled, *, policy: bool) -> None:
    """Labels, keys, names, filters, addresses and errors, in lists."""
    assert filled.dead
    page = opened(open_page, policy=policy)
    for screen, shown in SCREENS.items():
        visit(page, screen)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        until(lambda: page.evaluate(UNSEEN, tuple(shown)) == [] or read_on(page), f"{screen} to show {shown}")  # noqa: B023 # Waits here.
        check(page)
        assert page.evaluate(VISIT) == [], screen
    for name, text in PAYLOADS.items():
        visit(page, f"schedules?name=evil-{name}")
        check(page, text)
        visit(page, f"catcher?id={name}")
        check(page, text if name != "bidi" else quote(text))  # With a byte beside it that is no text.
        assert page.evaluate(VISIT) == [], name


@pytest.mark.promise("D-50")
@POLICIES
@pytest.mark.parametrize(
    ("screen", "button"),
    [
        ("dead", "Replay all"),
        ("dead", "Delete"),
        ("messages?view=waiting", "Cancel all"),
        ("messages?view=waiting", "Retry all"),
    ],
)
def test_a_dialog_shows_its_examples_as_letters(
    open_page: Open, filled: Filled, screen: str, button: str, *, policy: bool
) -> None:
    """Before many are changed three of them are shown, and those are somebody else's words."""
    assert filled.dead
    page = opened(open_page, screen, policy=policy)
    page.get_by_role("button", name=button).first.click()
    expect(page.get_by_role("dialog").locator(".dry li")).to_have_count(3)
    check(page)


@pytest.mark.promise("D-50")
@POLICIES
def test_an_address_is_taken_as_letters(open_page: Open, filled: Filled, *, policy: bool) -> None:
    """A link that somebody was lured to opens filters, forms and errors with his words; they stay words."""
    assert filled.dead
    page = opened(open_page, policy=policy)
    for text in PAYLOADS.values():
        said = quote(text, safe="")
        visit(page, f"messages?filter={said}")
        check(page, text)
        visit(page, f"dead?filter={said}&range={said}")
        check(page, text)
        visit(page, f"flow?search={said}")
        check(page, text)
        visit(page, f"messages?id={said}")
        check(page, text)
        visit(page, said)
        check(page, text)
        visit(page, f"catcher?id={said}")
        check(page)
        visit(page, f"builder?target={said}&body={said}&kind=enqueue&queue={said}&label={said}")
        check(page, text)
        page.get_by_role("button", name="Enqueue").last.click()
        expect(page.locator(".toast.tone-bad").first).to_be_visible()  # The refusal of the API quotes it.
        check(page)
        page.get_by_role("button", name="Dismiss").first.click()
        visit(page, "overview")
        page.keyboard.press("/")
        page.get_by_role("combobox", name="Search and commands").fill(text)
        check(page, f"Messages with “{text.strip()}”" if text.isprintable() else "")
        page.keyboard.press("Escape")


def test_an_address_that_is_no_text_opens_a_page(open_page: Open, filled: Filled) -> None:
    """A percent sign that begins no escape is no reason to show nothing at all."""
    assert filled.dead
    page = open_page("flow%zz?search=%zz")
    expect(page.get_by_role("heading", name="There is no such screen")).to_be_visible()
