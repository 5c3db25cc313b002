"""A browser for the tests of the console: Debian's Chromium, driven by Playwright.

Every page of every test is watched: a request to another origin, an exception of a script, or a word of the
browser about the content security policy fails the test at its end, whatever it was about.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from tests.node.test_node import HERE as NODE
from tests.node.test_node import is_installed
from tests.support.server import Server

Open = Callable[..., Page]

expect.set_options(timeout=20_000)  # The machine is shared; a green run never comes near it.


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser for the tests of a module; while it runs, no other test may have a loop in this thread."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


class Spares:
    """Empty development servers, each for one test; the next one starts while a test still runs, so none waits."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder
        self._next: Server | None = None

    def take(self) -> Server:
        """Return one that is ready, and let the next one start."""
        taken = self._next or self._launched()
        self._next = self._launched()
        return taken.await_ready()

    def drop(self) -> None:
        """End the one that nobody has taken."""
        if self._next is not None:
            self._next.kill()

    def _launched(self) -> Server:
        server = Server(self._new_folder() / "data")
        server.launch()
        return server


@pytest.fixture(scope="module")
def spares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spares]:
    """Return the spares of a module: none stands idle, and grows old, while another module runs."""
    waiting = Spares(lambda: tmp_path_factory.mktemp("console"))
    yield waiting
    waiting.drop()


@pytest.fixture
def server(spares: Spares) -> Iterator[Server]:
    """Return an empty development server of the test's own."""
    running = spares.take()
    yield running
    running.stop()


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Open]:
    """Return a function that opens a screen of the console in a fresh browser profile."""
    wrong: list[str] = []
    contexts = []

    def said(message: ConsoleMessage) -> None:
        # A path the server does not have yet is asked for once and then left alone; a page may do that.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    def opened(
        screen: str = "",
        *,
        width: int = 1440,
        theme: str = "light",
        height: int = 900,
        policy: bool = True,
        script: str = "",
    ) -> Page:
        context = browser.new_context(
            bypass_csp=not policy,
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="Europe/Berlin",
        )
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: foreign(request.url))
        page.goto(f"{server.url}/console/{screen}")
        page.locator("main").wait_for()
        return page

    def foreign(url: str) -> None:
        if not url.startswith((server.url, "blob:", "data:")):
            wrong.append(f"a request to {url}")

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the text of axe-core, which looks for what keeps people out."""
    if not is_installed():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE, check=True, timeout=240)
    return (NODE / "node_modules/axe-core/axe.min.js").read_text("utf-8")
