"""Logging in to the console by a certified provider of OpenID Connect, which lies on another site."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.console.test_looks import findings
from tests.node.test_node import HERE as NODE
from tests.node.test_node import node
from tests.serving import OWN, refused
from tests.support.poll import until
from tests.support.server import Server

from lateron.cli import exits

SECRET = "of-the-client-0123456789-0123456789"
__all__ = ["node"]  # A fixture.


def unused_port() -> int:
    """Return a port that nobody listens on now: the provider must know it before the server starts."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server for production that has a provider."""
    port, here = unused_port(), tmp_path_factory.mktemp("provider")
    environ = {"CALLBACK": f"http://127.0.0.1:{port}/console/api/oidc/callback", "CLIENT_SECRET": SECRET}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    log = here / "provider.log"
    with (
        log.open("w") as out,
        subprocess.Popen([node, "provider.mjs"], cwd=NODE, env={**kept, **environ}, stdout=out, stderr=out) as process,
    ):
        try:
            issuer = until(lambda: next(iter(_lines(log)), None), "the provider to listen")
            secret = here / "secret"
            secret.write_text(SECRET, "utf-8")
            flags = {
                "oidc-issuer": issuer,
                "oidc-client-id": "lateron",
                "oidc-client-secret-file": str(secret),
                "oidc-scopes": "email,groups",
                "oidc-allow": "email=ops@example.org:admin,groups=viewers:read",
                "oidc-name": "Our Login",
                "console-host": "queue.example.com",
            }
            given = [f"--{name}={value}" for name, value in flags.items()]
            with Server(here / "data", *given, mode="serve", user=OWN, port=port) as running:
                yield running
        finally:
            process.terminate()


def _lines(log: Path) -> list[str]:
    return [line for line in log.read_text("utf-8").split("\n") if line.startswith("http://localhost:")]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page of a browser that nobody has used."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", reduced_motion="reduce")
    context.route("**/*googleapis.com/**", lambda route: route.abort())  # The provider's pages would like a font.
    yield context.new_page()
    context.close()


def come_in(page: Page, server: Server, name: str) -> None:
    """Press the button, say who one is at the provider, and come back."""
    page.goto(f"{server.url}/console/messages")
    page.get_by_role("button", name="Sign in with Our Login").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("whatever")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def who(page: Page) -> tuple[str, str]:
    """Return who is logged in, and as what."""
    found = page.evaluate("fetch('/console/api/session').then((answer) => answer.json())")
    return found["name"], found["role"]


@pytest.mark.promise("D-54", "D-52")
def test_operator_comes_back_from_the_provider_logged_in(page: Page, server: Server) -> None:
    """Across sites: the cookie of the way goes along and is gone then, the session's is kept to our own pages."""
    come_in(page, server, "ops")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    assert who(page) == ("oidc:ops@example.org", "admin")
    assert page.url == f"{server.url}/console/"
    (cookie,) = [one for one in page.context.cookies(server.url) if one["name"].startswith("lateron")]
    assert (cookie["name"], cookie["sameSite"], cookie["httpOnly"]) == (f"lateron-{server.port}", "Strict", True)

    page.goto(f"{server.url}/console/settings")
    page.get_by_role("button", name="Pause all").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause delivery").click()
    until(lambda: server.call("GET", "/lateron/v1/delivery").json["isPaused"], "the pause")
    records = server.call("GET", "/lateron/v1/audit").json["records"]
    assert [(one["action"], one["who"]) for one in records[:2]] == [
        ("delivery.pause", "oidc:ops@example.org"),
        ("login", "oidc:ops@example.org"),
    ]
    assert SECRET not in server.log


@pytest.mark.promise("D-54")
def test_viewer_of_the_provider_may_only_read(page: Page, server: Server) -> None:
    """It is the API that says so."""
    come_in(page, server, "vera")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    assert who(page) == ("oidc:vera", "read")
    csrf = page.evaluate("fetch('/console/api/session').then((answer) => answer.json()).then((one) => one.csrf)")
    change = "{method: 'POST', headers: {'Lateron-Csrf': csrf}, body: '{}'}"
    assert page.evaluate(f"(csrf) => fetch('/v2/queues', {change}).then((a) => a.status)", csrf) == 403


@pytest.mark.promise("D-54")
def test_who_is_not_let_in_reads_why_once(page: Page, server: Server, axe: str) -> None:
    """On the page for logging in, where the other ways are; the address says nothing of it any more."""
    come_in(page, server, "stranger")
    told = page.get_by_role("alert").filter(has_text="The provider has not verified your address.")
    expect(told).to_be_visible()
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    assert "login=" not in page.url
    assert findings(page, axe) == []
    page.get_by_role("button", name="Sign in with Our Login").focus()
    page.reload()
    expect(page.get_by_role("button", name="Sign in with Our Login")).to_be_visible()
    expect(told).to_have_count(0)


def test_without_its_library_a_server_with_a_provider_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to install; a page without the button would be a riddle."""
    hidden = tmp_path / "hidden" / "joserfc"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('no such module', name='joserfc')", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    flags = (
        "--oidc-issuer=https://login.example.com",
        "--oidc-client-id=lateron",
        "--oidc-allow=groups=viewers:read",
        "--console-host=queue.example.com",
    )
    code, printed = refused(tmp_path / "data", *flags, mode="serve")
    assert code == exits.USAGE
    assert "pip install 'lateron[oidc]'" in printed
    assert "Traceback" not in printed
