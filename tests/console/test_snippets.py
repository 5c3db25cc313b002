"""The code that the builder shows is run as it stands, and does what the form says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.console.conftest import Open
from tests.support.server import Server

BODY = '{"it\'s": "a \\"quoted\\" $HOME `word`"}'
RUN_S = 60


def command(language: str, code: str, folder: Path) -> list[str]:
    """Return how such code is run; skip where its language is not installed."""
    if language in {"cURL", "CLI"}:
        return ["bash", "-euc", code]
    if language == "Python":
        return [sys.executable, "-c", code]
    assert language == "TypeScript"
    found, name = shutil.which("node"), "main.mjs"  # It is JavaScript as well.
    if found is None:
        pytest.skip(f"{language} is not installed")
    (folder / name).write_text(code)
    return [found, name]


@pytest.mark.parametrize("language", ["cURL", "Python", "TypeScript", "CLI"])
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

    environ = {**os.environ, "QSTASH_TOKEN": server.token, "QSTASH_URL": server.url}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        command(language, code, tmp_path),
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    (message,) = server.call("GET", "/v2/messages?label=from-code").json["messages"]
    assert message["body"] == BODY
    assert message["url"] == f"{server.url}/_catch/later?a=b&c=d"
    assert message["nextDeliveryTime"] >= message["createdAt"] + 3_600_000


def test_a_pasted_command_fills_the_form(open_page: Open) -> None:
    """What a colleague sent becomes a form: a call of this API, or one of the destination itself."""
    page = open_page("builder")
    page.get_by_label("Paste a command of cURL").fill(
        "curl -X PUT https://example.com/hook -H 'X-Team: one' \\\n  -H \"Content-Type: text/plain\" -d 'a b'"
    )
    expect(page.get_by_label("Destination")).to_have_value("https://example.com/hook")
    expect(page.get_by_label("Method")).to_have_value("PUT")
    expect(page.get_by_label("Body")).to_have_value("a b")
    expect(page.locator(".code pre").first).to_contain_text("Upstash-Forward-X-Team: one")

    shown = page.locator(".code pre").first.inner_text()
    page.get_by_label("Destination").fill("https://example.org/")
    page.get_by_label("Paste a command of cURL").fill(shown)
    expect(page.get_by_label("Destination")).to_have_value("https://example.com/hook")
    assert re.search(r"X-Team", page.locator(".code pre").first.inner_text())
