"""The code that the builder shows is run as it stands, and does what the form says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect
from tests.console.conftest import Open
from tests.support.poll import until
from tests.support.server import Server

# Each is read by some shell, some language or cURL itself, unless it is quoted as that one wants it.
HOSTILE = (
    "$(touch pwned) `touch pwned` \"two\" 'one' \\ \\\\ ${process.exit(3)} {os._exit(4)} %s %n "
    "$QSTASH_TOKEN !! #{x} \u65e5\u672c \U0001f9ed \u202eedoc\u2066 \u200b\ufeff\u2028\u2029\xad\x85"
)
LANGUAGES = ["cURL", "Python", "TypeScript", "Go", "CLI"]
BODIES = [
    f"{HOSTILE}\n'\r\n\tEOF\n",
    "@pwned",
    "--help",
    f"nul \0 escape \x1b[31m delete \x7f {HOSTILE}",
    "x" * 200_000,
]
BODY = '{"it\'s": "a \\"quoted\\" $HOME `word`"}'
RUN_S = 60


def command(language: str, code: str, folder: Path) -> list[str]:
    """Return how such code is run; skip where its language is not installed."""
    (runs, *more), name = {
        "cURL": (("bash", "-eu"), "main.sh"),
        "CLI": (("bash", "-eu"), "main.sh"),
        "Python": ((sys.executable,), "main.py"),
        "TypeScript": (("node",), "main.mjs"),  # It is JavaScript as well.
        "Go": (("go", "run"), "main.go"),
    }[language]
    found = shutil.which(runs)
    if found is None:
        assert not os.environ.get("CI"), f"{language} is not installed"
        pytest.skip(f"{language} is not installed")
    (folder / name).write_text(code, "utf-8")
    return [found, *more, name]


def run(language: str, code: str, server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a snippet as whoever copied it would."""
    environ = {**os.environ, "QSTASH_TOKEN": server.token, "QSTASH_URL": server.url}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    cache = folder.parent / "go"  # Of the whole run: what is compiled once is there for the next program.
    environ |= {"GOCACHE": str(cache), "GOPATH": str(cache), "GOENV": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    return subprocess.run(
        command(language, code, folder),
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_snippet_does_what_the_form_says(open_page: Open, server: Server, tmp_path: Path, language: str) -> None:
    """Quotes, dollars and backticks of a body are where snippets break; the options arrive with it."""
    page = open_page("builder")
    page.get_by_label("Destination").fill(f"{server.url}/_catch/later?a=b&c=d")
    page.get_by_label("Body").fill(BODY)
    page.get_by_text("When and how often").click()
    page.get_by_label("Delay", exact=True).fill("1h")
    page.get_by_text("Callbacks, labels, redaction").click()
    page.get_by_label("Labels").fill("from-code")
    page.get_by_role("button", name=language, exact=True).click()
    expect(page.get_by_role("button", name=language, exact=True)).to_have_attribute("aria-pressed", "true")
    code = page.locator(".code pre").first.inner_text()

    done = run(language, code, server, tmp_path)
    assert done.returncode == 0, done.stderr

    (message,) = server.call("GET", "/v2/messages?label=from-code").json["messages"]
    assert message["body"] == BODY
    assert message["url"] == f"{server.url}/_catch/later?a=b&c=d"
    assert message["nextDeliveryTime"] >= message["createdAt"] + 3_600_000


@pytest.mark.parametrize("body", [BODY, ""], ids=["body", "none"])
def test_go_is_written_as_its_own_tool_writes_it_and_a_refusal_fails(
    open_page: Open, server: Server, tmp_path: Path, body: str
) -> None:
    """An import that is not used is no program; whoever has it in a script learns why nothing was published."""
    page = open_page(f"builder?{urlencode({'body': body, 'target': 'https://example.com/%zz', 'delay': '1h'})}")
    expect(page.get_by_label("Body", exact=True)).to_have_value(body)
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.locator(".code pre").first).to_contain_text("package main")
    code = page.locator(".code pre").first.inner_text()
    done = run("Go", code, server, tmp_path)
    assert done.returncode == 0, done.stderr
    formatted = subprocess.run(["gofmt", "main.go"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert formatted.stdout == code

    refused = run("Go", code.replace("Bearer ", "Bearer not-"), server, tmp_path)
    assert refused.returncode != 0
    assert "401 Unauthorized" in refused.stderr


CLIPBOARD = """
Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { globalThis.copied = text; } } });
"""
CODE_OF = "([language, draft]) => import('./snippets.js').then(({LANGUAGES}) => LANGUAGES[language](draft))"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_value_of_somebody_else_is_read_as_code(
    open_page: Open, server: Server, tmp_path: Path, language: str
) -> None:
    """A body or a header that somebody published is copied into a terminal: it must arrive there as it is."""
    page = open_page("builder")
    for number, body in enumerate(BODIES):
        draft = {
            "kind": "publish",
            "target": "https://example.com/x/../y'$(touch$IFS''pwned)?q=[1-3]&a={b,c}&`touch+pwned`",
            "method": "POST",
            "body": body,
            "contentType": "",
            "delay": "1h",
            "label": f"\u65e5\u672c-{number}",
            "forward": [
                ["X-Evil", HOSTILE],
                ["X-Token", "$QSTASH_TOKEN"],
                ["Authorization", "Bearer $QSTASH_TOKEN"],
                ["X-Line", "one\r\nUpstash-Callback: https://example.com/"],
                ["X-Twice", "1"],
                ["X-Twice", "2"],
            ],
        }
        code = page.evaluate(CODE_OF, [language, draft])
        done = run(language, code, server, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "msg_" in done.stdout, done.stdout
        (message,) = server.call("GET", f"/v2/messages?label=%E6%97%A5%E6%9C%AC-{number}").json["messages"]
        assert message["body"] == body
        assert message["url"] == draft["target"]
        header = message["header"]
        twice = ", ".join(header.pop("X-Twice"))
        assert twice == "1, 2"
        assert header == {
            "X-Evil": [HOSTILE],
            "X-Token": ["$QSTASH_TOKEN"],
            "Authorization": ["Bearer $QSTASH_TOKEN"],
            "X-Line": ["one Upstash-Callback: https://example.com/"],
        }
        assert "callback" not in message
    assert [path.name for path in tmp_path.iterdir() if path.name == "pwned"] == []


@pytest.mark.parametrize("body", [b"\xff\0\x01 no text", b"$(touch pwned) '", b""], ids=["bytes", "text", "none"])
def test_a_delivery_copied_as_a_command_is_the_delivery(
    open_page: Open, server: Server, tmp_path: Path, body: bytes
) -> None:
    """Method, headers and body come as they came before, with a signature that is good for them; nothing is run."""
    evil = (("Upstash-Forward-X-Evil", "$(touch pwned)"), ("Upstash-Forward-Authorization", "Bearer $QSTASH_TOKEN"))
    reply = server.call("POST", f"/v2/publish/{server.url}/_catch/copy?q=[1-3]", body, evil)
    page = open_page(f"messages?id={reply.json['messageId']}", script=CLIPBOARD)
    expect(page.get_by_text("Delivered with attempt 1")).to_be_visible()
    if b"\0" in body:
        expect(page.locator(".body-view").last).to_contain_text("000000  ff 00 01 20")
    page.get_by_role("button", name="Copy the delivery as cURL").click()
    code = until(lambda: page.evaluate("globalThis.copied ?? ''"), "the command")
    done = run("cURL", code, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("pwned")) == []

    again, first = server.call("GET", "/lateron/v1/catcher/copy").json["requests"]
    assert again["signature"] == first["signature"] == {"valid": True}
    for field in ("method", "url", "body", "bodyBase64"):
        assert again.get(field) == first.get(field), field
    got, sent = ({name.lower(): value for name, value in one["header"].items()} for one in (again, first))
    for name in ("x-evil", "authorization", "content-type"):
        assert got.get(name) == sent.get(name), name


def test_a_pasted_command_fills_the_form(open_page: Open) -> None:
    """What a colleague sent becomes a form: a call of this API, or one of the destination itself."""
    page = open_page("builder")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    place = page.get_by_label("Paste a command of cURL")

    def paste(text: str) -> None:
        page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
        place.focus()
        page.keyboard.press("Control+v")

    paste("curl -X PUT https://example.com/hook -H 'X-Team: one' \\\n  -H \"Content-Type: text/plain\" -d 'a b'")
    expect(page.get_by_label("Destination")).to_have_value("https://example.com/hook")
    expect(page.get_by_label("Method")).to_have_value("PUT")
    expect(page.get_by_label("Body")).to_have_value("a b")
    expect(page.locator(".code pre").first).to_contain_text("Upstash-Forward-X-Team: one")
    expect(place).to_have_value("")

    page.get_by_text("Other options").click()
    page.get_by_role("button", name="Add an option").click()
    page.get_by_label("Name of option").fill("Upstash-Callback-Retries")
    page.get_by_label("Value of option").fill("7")
    shown = page.locator(".code pre").first.inner_text()
    page.get_by_label("Destination").fill("https://example.org/")
    paste(shown)
    expect(page.get_by_label("Destination")).to_have_value("https://example.com/hook")
    assert page.locator(".code pre").first.inner_text() == shown


def test_a_command_that_is_typed_is_taken_when_it_is_complete(open_page: Open) -> None:
    """The first letter of a URL must not write over a form that was filled by hand."""
    page = open_page("builder")
    page.get_by_label("Body", exact=True).fill("precious")
    page.get_by_label("Paste a command of cURL").press_sequentially("curl https://example.com/a")
    expect(page.get_by_label("Body", exact=True)).to_have_value("precious")
    page.get_by_role("button", name="Fill the form with it").click()
    expect(page.get_by_label("Destination")).to_have_value("https://example.com/a")


READ = "(texts) => import('./snippets.js').then(({readCurl}) => texts.map((text) => readCurl(text)))"


def test_the_url_of_a_command_is_no_value_of_another_option(open_page: Open) -> None:
    """A time, a cookie or a proxy is no destination; an option may be glued to its value or to others."""
    commands = {
        "curl --connect-timeout 5 https://x.example/": ("GET", "https://x.example/"),
        "curl -b a=b https://x.example/": ("GET", "https://x.example/"),
        "curl -x http://proxy:1 https://x.example/": ("GET", "https://x.example/"),
        "curl --proxy http://proxy:1 --compressed https://x.example/": ("GET", "https://x.example/"),
        "curl -XPUT https://x.example/": ("PUT", "https://x.example/"),
        "curl -sSLXPATCH https://x.example/ -d1": ("PATCH", "https://x.example/"),
        "curl --unheard-of https://x.example/": ("GET", "https://x.example/"),
        "curl --unheard-of 5 https://x.example/": ("GET", "https://x.example/"),
        "curl --url https://x.example/ -d a -d b": ("POST", "https://x.example/"),
    }
    found = open_page("builder").evaluate(READ, list(commands))
    assert [(one["method"], one["url"]) for one in found] == list(commands.values())
    assert found[1]["headers"] == [["Cookie", "a=b"]]
    assert found[-1]["body"] == "a&b"
