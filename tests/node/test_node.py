"""The official JavaScript SDK drives a live server: each file of tests beside this one, run by Node.

The packages are installed once, at the versions of the lock file and never newer. What a file shows stands
in its own test names; here are the server it talks to and the promises it keeps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.support.look_alikes import Authority, bind_https
from tests.support.receiver import echo
from tests.support.server import DEV_USERS, Server

HERE = Path(__file__).parent
PACKAGE = Path("node_modules/@upstash/qstash")
INSTALL_S = 240
RUN_S = 120
HOSTS = ("api.openai.com", "api.anthropic.com", "api.resend.com", "gateway.helicone.ai", "llm.example.test")


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of Node, with the locked packages installed."""
    found = shutil.which("node")
    npm = shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("Node 20 and npm are not installed")
    if not is_installed():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        for _ in range(2):  # A registry may fail once.
            done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr
    return found


def is_installed() -> bool:
    """Say whether the packages that are there are those of the lock file."""
    wanted = json.loads((HERE / "package-lock.json").read_text("utf-8"))["packages"]
    there = HERE / "node_modules/.package-lock.json"
    if not there.exists():
        return False
    installed = json.loads(there.read_text("utf-8"))["packages"]
    return all(installed.get(name, {}).get("version") == entry["version"] for name, entry in wanted.items() if name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("node") / "data") as running:
        yield running


def run(node: str, name: str, server: Server, home: Path, environ: Mapping[str, str] | None = None) -> None:
    """Run one file of tests; its report is the failure's message."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QSTASH_", "UPSTASH_", "NODE_"))}
    ours = {"TEST_URL": server.url, "TEST_USERS": json.dumps([asdict(user) for user in DEV_USERS]), "HOME": str(home)}
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", f"{name}.test.mjs"],
        cwd=HERE,
        env={**kept, **ours, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\bpass [1-9]", done.stdout), "the file holds no test"


@pytest.mark.promise("P-12", "P-23", "P-26", "P-27", "P-40", "P-41", "P-44", "P-50", "P-51", "P-106", "P-110")
def test_javascript_publishes(node: str, server: Server, tmp_path: Path) -> None:
    """Every option of a publish, and what the destination sees of it."""
    run(node, "publish", server, tmp_path)


@pytest.mark.promise("P-91")
def test_javascript_publishes_batches(node: str, server: Server, tmp_path: Path) -> None:
    """Many messages in one call."""
    run(node, "batch", server, tmp_path)


@pytest.mark.promise("P-90")
def test_javascript_publishes_to_url_groups(node: str, server: Server, tmp_path: Path) -> None:
    """Groups are made and taken apart, and each endpoint gets its message."""
    run(node, "url-groups", server, tmp_path)


@pytest.mark.promise("P-95", "P-96")
def test_javascript_looks_up_and_cancels_messages(node: str, server: Server, tmp_path: Path) -> None:
    """By id, ids, filter, or all."""
    run(node, "messages", server, tmp_path)


@pytest.mark.promise("P-80", "P-86", "P-87")
def test_javascript_schedules(node: str, server: Server, tmp_path: Path) -> None:
    """Create, overwrite, list, pause, resume, delete; and ticks that arrive."""
    run(node, "schedules", server, tmp_path)


@pytest.mark.promise("P-60", "P-65", "P-68")
def test_javascript_works_with_queues(node: str, server: Server, tmp_path: Path) -> None:
    """Configure, enqueue, pause, resume, delete."""
    run(node, "queues", server, tmp_path)


@pytest.mark.promise("P-98")
def test_javascript_reads_the_log(node: str, server: Server, tmp_path: Path) -> None:
    """With every filter, page by page."""
    run(node, "logs", server, tmp_path)


@pytest.mark.promise("P-28", "P-96", "P-97", "P-98")
def test_javascript_works_with_dead_letters(node: str, server: Server, tmp_path: Path) -> None:
    """List, delete and retry in every form."""
    run(node, "dlq", server, tmp_path)


@pytest.mark.promise("P-106", "P-107")
def test_javascript_receivers_verify_before_and_after_a_rotation(node: str, server: Server, tmp_path: Path) -> None:
    """The SDK's receiver and Next.js helpers, and a verifier written by hand."""
    run(node, "receivers", server, tmp_path)


@pytest.mark.promise("P-75", "P-77")
def test_javascript_controls_the_flow(node: str, server: Server, tmp_path: Path) -> None:
    """Pause, resume, pin, unpin, reset, and all figures."""
    run(node, "flow-control", server, tmp_path)


@pytest.mark.promise("P-43", "P-44")
def test_javascript_reaches_options_of_ours(node: str, server: Server, tmp_path: Path) -> None:
    """In every spelling the SDK can send."""
    run(node, "extensions", server, tmp_path)


@pytest.mark.promise("P-28", "P-41", "P-90", "P-106")
def test_javascript_of_guides_works_as_written(node: str, server: Server, tmp_path: Path) -> None:
    """What people copy from a page and change a little."""
    run(node, "guides", server, tmp_path)


def test_every_call_of_javascript_is_driven(node: str, server: Server, tmp_path: Path) -> None:
    """By a test that is named for it, so that a new one is not forgotten."""
    run(node, "every-call", server, tmp_path)


def test_javascript_takes_a_running_server_as_its_dev_server(node: str, server: Server, tmp_path: Path) -> None:
    """With one variable set, and nothing to download."""
    run(node, "dev-mode", server, tmp_path, {"QSTASH_DEV": "true", "QSTASH_DEV_PORT": str(server.port)})


def test_javascript_finds_its_region(node: str, tmp_path: Path) -> None:
    """Clients and receivers of several regions choose address, token and keys by name."""
    right, wrong = DEV_USERS[0], DEV_USERS[1]
    with Server(tmp_path / "data", "--region", "EU-CENTRAL-1") as server:
        environ = {
            "QSTASH_REGION": "EU_CENTRAL_1",
            "EU_CENTRAL_1_QSTASH_URL": server.url,
            "EU_CENTRAL_1_QSTASH_TOKEN": right.token,
            "EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY": right.current,
            "EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY": right.next,
            "US_EAST_1_QSTASH_CURRENT_SIGNING_KEY": wrong.current,
            "US_EAST_1_QSTASH_NEXT_SIGNING_KEY": wrong.next,
        }
        run(node, "regions", server, tmp_path, environ)


def test_javascript_calls_providers(node: str, tmp_path: Path) -> None:
    """OpenAI, Anthropic, Resend, one's own, and analytics in between, all by their own names over TLS."""
    authority = Authority.create(tmp_path)
    stand_in = bind_https(authority.context(HOSTS, tmp_path))
    if stand_in is None:
        pytest.skip("this user may not listen on port 443, where providers are")
    resolve = [f"--resolve={host}:443:{stand_in.host}" for host in HOSTS]
    with stand_in, Server(tmp_path / "data", *resolve, "--ca-file", str(authority.path)) as server:
        stand_in.endpoint("/").answer_by(echo)
        run(node, "providers", server, tmp_path)
