"""The examples in the help work, each of them, against a server."""

from __future__ import annotations

import json
import os
import shlex
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.cli.tree import commands
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.core.signature import sign
from lateron.runtime import SystemClock
from lateron.store.backup import copy as back_up
from lateron.store.sqlite import open_file
from lateron.store.unlocking import unlock

# These run a server on a port and a directory of their own; README.md and docs/serve.md, which are run, start both.
SERVERS = {"lateron dev", "lateron serve"}
EXAMPLES = [example for command in commands() if command.words not in SERVERS for example in command.examples]
HOOK = "https://example.com/hook"


@pytest.fixture
def _world(server: Server, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all that the examples speak of: files, a message, a dead letter, a queue, a key, a group, a schedule."""
    monkeypatch.chdir(tmp_path)
    item = {"destination": "https://example.com/orders", "body": {"order": 17}, "queue": "mail"}
    (tmp_path / "order.json").write_text('{"order": 17}', "utf-8")
    (tmp_path / "orders.json").write_text(json.dumps([item, item]), "utf-8")
    (tmp_path / "orders.jsonl").write_text(f"{json.dumps(item)}\n{json.dumps(item)}\n", "utf-8")

    def post(path: str, *headers: tuple[str, str], body: object = None) -> Any:
        reply = server.call("POST", path, None if body is None else json.dumps(body).encode(), headers)
        assert reply.status in {200, 201}, reply.text
        return reply.json

    post("/lateron/v1/delivery/resume")
    for name in ("ci", "ops", "spare"):
        server.call("DELETE", f"/lateron/v1/tokens/{name}")
    post("/lateron/v1/tokens", body={"name": "spare", "scope": "read"})
    for name in ("anna", "ben"):
        server.call("DELETE", f"/lateron/v1/users/{name}")
    (tmp_path / "secret.txt").write_text("four words are enough\n", "utf-8")
    if "berta" not in server.call("GET", "/lateron/v1/users").text:  # To hash a password takes its time.
        post("/lateron/v1/users", body={"name": "berta", "scope": "read", "password": "four words are enough"})
    post("/console/api/session", ("Content-Type", "application/json"), body={"token": server.token})
    monkeypatch.setenv("session", server.call("GET", "/lateron/v1/sessions").json[0]["sessionId"])
    endpoint.answers(Answer(500))
    dead = post(f"/v2/publish/{endpoint.url}", ("Upstash-Retries", "0"))["messageId"]
    letters = until(lambda: server.call("GET", f"/v2/dlq?messageId={dead}").json["messages"], "the dead letter")
    monkeypatch.setenv("dlq", letters[0]["dlqId"])
    flow = (("Upstash-Flow-Control-Key", "ai"), ("Upstash-Flow-Control-Value", "rate=5"))
    (tmp_path / "saved.jsonl").write_text('{"lateron": "export", "version": 1}\n', "utf-8")
    (tmp_path / "estate.toml").write_text("[queues.mail]\nparallelism = 1\n", "utf-8")
    monkeypatch.setenv("token", server.token)
    monkeypatch.setenv("data", str(server.data_dir))
    monkeypatch.setenv("catcher", f"{server.url}/_catch/doctor")
    monkeypatch.setenv("key", server.user.current)
    monkeypatch.setenv("QSTASH_CURRENT_SIGNING_KEY", server.user.current)
    now = SystemClock().wall()
    monkeypatch.setenv("signature", sign(server.user.current, HOOK, sha256(b"hello").digest(), now, "jwt_1"))
    _make_sealed(tmp_path)
    back_up(server.data_dir / "lateron.db", tmp_path / "saved.db")
    monkeypatch.setenv("id", post(f"/v2/publish/{HOOK}", ("Upstash-Delay", "1h"), *flow)["messageId"])
    nobody = {"kind": "cancel", "filter": {"label": "nobody"}}
    monkeypatch.setenv("job", post("/lateron/v1/jobs", body=nobody)["jobId"])
    post(f"/v2/enqueue/mail/{HOOK}", ("Upstash-Delay", "1h"))
    post(f"/v2/schedules/{HOOK}", ("Upstash-Cron", "@daily"), ("Upstash-Schedule-Id", "daily"))
    post("/v2/topics/order-events/endpoints", body={"endpoints": [{"url": HOOK, "name": "shop"}]})


def _make_sealed(place: Path) -> None:
    """Make an encrypted store, and the file of its key."""
    (place / "sealed").mkdir()
    (place / "key").write_text(b64encode(bytes(32)).decode(), "utf-8")
    (place / "key").chmod(0o600)
    store = open_file(place / "sealed", 0)
    unlock(store, [bytes(32)], 0, on=True)
    store.close()


@pytest.mark.usefixtures("_world")
@pytest.mark.parametrize("example", EXAMPLES)
def test_example_of_the_help_works(example: str, shell: Shell) -> None:
    """The first thing that is copied from a help is its example."""
    program, *argv = shlex.split(os.path.expandvars(example))

    shell.run(*argv)

    assert program == "lateron"


def test_every_command_has_an_example_that_fits_the_terminal() -> None:
    """A line that the terminal breaks cannot be copied."""
    assert [command.words for command in commands() if not command.examples] == []
    assert [example for example in EXAMPLES if len(example) > 75] == []
    assert [
        (command.words, example)
        for command in commands()
        for example in command.examples
        if not f"{example} ".startswith(f"{command.words} ")
    ] == []


def test_every_command_that_talks_to_a_server_can_print_json() -> None:
    """Scripts read documents, not tables."""
    without = [
        command.words for command in commands() if not any("--json" in option.opts for option in command.parsed.params)
    ]

    texts = ["lateron grafana", "lateron alerts", "lateron completion", "lateron config init"]
    assert without == ["lateron dev", "lateron serve", *texts]
