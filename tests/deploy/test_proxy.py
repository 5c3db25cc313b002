"""The configurations of docs/proxy.md, in real proxies before a real server."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect
from qstash import QStash
from tests.console.conftest import browser as browser  # noqa: PLC0414 - A fixture, used by its name.
from tests.serving import OWN, accepts
from tests.support.look_alikes import Authority
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.core.quota import BATCH_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "proxy.md"
TARGETS = ["//a//b", "/x/https://example.com//y", "/a?x=1&y=%26&z=a+b", "/one%2Ftwo%20three/%C3%A4"]


@dataclass(frozen=True)
class Front:
    """A proxy and the server behind it."""

    url: str  # As clients have it.
    server: Server
    context: ssl.SSLContext

    def ask(self, path: str) -> tuple[HTTPSConnection, HTTPResponse]:
        """Send a GET with the token; the connection stays open."""
        place = urlsplit(self.url)
        connection = HTTPSConnection(place.netloc, timeout=PATIENCE_S, context=self.context)
        connection.request("GET", place.path + path, headers={"Authorization": f"Bearer {self.server.token}"})
        return connection, connection.getresponse()


def blocks_of(title: str) -> list[str]:
    """Return the blocks below a heading of the page."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_proxy_lets_through_the_largest_batch() -> None:
    """What it refuses, the server would have taken; its answer is a page and no JSON."""
    (most,) = re.findall(r"client_max_body_size (\d+)m;", blocks_of("nginx")[0])  # In units of 2^20.

    assert int(most) << 20 > BATCH_BYTES


def nginx(folder: Path, prefix: str, port: int, behind: int, certificate: Path) -> list[str]:
    """Write nginx's files and return its command line."""
    site, mapping, below = blocks_of("nginx")
    if prefix:
        site = mapping + re.sub(r"    location / \{.*?\n    \}\n", lambda _: below, site, flags=re.DOTALL)
    site = site.replace("listen 443", f"listen 127.0.0.1:{port}").replace("127.0.0.1:8080", f"127.0.0.1:{behind}")
    site = site.replace("queue.example.com;", "localhost;", 1).replace(
        "/etc/ssl/queue.example.com.pem", str(certificate)
    )
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}\n{site}\n}}\n",
        "utf-8",
    )
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(main)]


def caddy(folder: Path, prefix: str, port: int, behind: int, certificate: Path) -> list[str]:
    """Write Caddy's file and return its command line."""
    site = blocks_of("Caddy")[bool(prefix)].replace("127.0.0.1:8080", f"127.0.0.1:{behind}")
    head = f"https://localhost:{port} {{\n    bind 127.0.0.1\n    tls {certificate} {certificate}"
    main = folder / "Caddyfile"
    text = f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site.replace('queue.example.com {', head)}"
    main.write_text(text, "utf-8")
    return ["caddy", "run", "--config", str(main), "--adapter", "caddyfile"]


PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(params=[(name, prefix) for name in PROXIES for prefix in ("", "/queue")], ids="".join, scope="module")
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Run a server and, before it, a proxy as the page has it."""
    name, prefix = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp(name)
    authority = Authority.create(folder)
    authority.context(["localhost"], folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ("--trusted-proxy", "127.0.0.1/32,::1/128", "--console-host", "localhost", "--allow-private")
    with Server(folder / "data", *flags, mode="serve", user=OWN) as server:
        command = PROXIES[name](folder, prefix, port, server.port, folder / "localhost.pem")
        environ = {"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with (folder / "proxy.log").open("w") as log:
            process = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or accepts(port), "the proxy to listen")
            assert process.poll() is None, (folder / "proxy.log").read_text("utf-8")
            context = ssl.create_default_context(cafile=str(authority.path))
            yield Front(f"https://localhost:{port}{prefix}", server, context)
        finally:
            process.kill()  # It keeps nothing.
            process.wait(PATIENCE_S)


@pytest.fixture
def client(front: Front, monkeypatch: pytest.MonkeyPatch) -> Iterator[QStash]:
    """Return the official client, which knows the proxy's address only."""
    monkeypatch.setenv("SSL_CERT_FILE", str(front.server.data_dir.parent / "authority.pem"))
    made = QStash(front.server.token, base_url=front.url)
    yield made
    made.http._client.close()


def test_destinations_come_through_as_they_were_given(client: QStash) -> None:
    """Merged slashes and decoded signs would send to another place, or be refused."""
    with Receiver() as receiver:
        for target in TARGETS:
            endpoint = receiver.endpoint(target.partition("?")[0])
            client.message.publish(url=receiver.origin + target, body="hello")

            assert endpoint.wait_for_one().target == target


def test_a_large_body_comes_through(client: QStash) -> None:
    """A proxy's own limit is a megabyte."""
    with Receiver() as receiver:
        endpoint = receiver.endpoint()
        client.message.publish(url=endpoint.url, body="x" * 5_000_000)

        assert len(endpoint.wait_for_one().body) == 5_000_000


def test_the_stream_is_not_held_back(front: Front) -> None:
    """What happens is seen while the answer goes on; a proxy that collects would show it at the end, or never."""
    connection, answer = front.ask("/lateron/v1/stream?topics=messages")
    with Receiver() as receiver:
        assert (answer.status, answer.getheader("Content-Type")) == (200, "text/event-stream")
        message = front.server.call("POST", f"/v2/publish/{receiver.endpoint().url}", b"x").json["messageId"]

        while message not in (line := answer.readline().decode()):
            assert line, "the stream ended before it told"
    answer.close()
    connection.close()


def test_the_console_works_through_it(front: Front, browser: Browser) -> None:
    """Pages, the login, its cookie and changes; below a path as well."""
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((front.url, "data:")) else wrong.append(asked.url))

    page.goto(f"{front.url}/console")
    page.get_by_label("Token").fill(front.server.token)
    page.get_by_role("button", name="Sign in with the token").click()

    expect(page.locator("nav").first).to_be_visible()
    page.goto(f"{front.url}/console/queues")
    expect(page.locator("main h1").first).to_be_visible()
    context.close()
    assert wrong == []
