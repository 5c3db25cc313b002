"""``lateron health``: what a container asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Shell
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

from lateron.cli import exits


@pytest.mark.promise("D-82")
def test_health_tells_ready_from_not_ready_from_gone(shell: Shell, tmp_path: Path) -> None:
    """Restarting a server that only has no room yet would make things worse; so the codes differ."""
    with Server(tmp_path / "data") as other:
        assert shell.run("health", other.url) == f"{other.url} is ready\n"
        assert shell.run("health", other.url, "--live") == f"{other.url} is alive\n"
        assert shell.json("health", other.url) == {"url": other.url, "ok": True, "status": 200}
        other.stop()
        assert "no answer" in shell.refused("health", other.url, code=exits.UNREACHABLE)
        other.start()
    with Receiver() as receiver:
        endpoint = receiver.endpoint("/readyz")
        endpoint.answers(Answer(503, body=b'{"error":"not ready: starting"}'))
        said = shell.refused("health", receiver.origin, code=exits.REFUSED)
    assert "answers 503: not ready: starting" in said


def test_health_sends_no_token(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A health check is configured by hand, perhaps with a wrong address; a token must not go there."""
    monkeypatch.setenv("QSTASH_TOKEN", "a-secret")
    with Receiver() as receiver:
        endpoint = receiver.endpoint("/readyz")
        endpoint.answers(Answer(200, body=b'{"status":"ok"}'))

        shell.run("health", receiver.origin)

        assert not endpoint.wait_for_one().has("Authorization")


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b'{"status":"starting"}', b'["ok"]', b""])
def test_page_that_answers_is_no_server(body: bytes, shell: Shell) -> None:
    """A proxy, a console or a catcher answers 200 to anything; a container behind it is not ready."""
    with Receiver() as receiver:
        for path in ("/readyz", "/healthz"):
            receiver.endpoint(path).answers(Answer(200, body=body))

        for live in ((), ("--live",)):
            said = shell.refused("health", receiver.origin, *live)
            assert 'expected {"status": "ok"}' in said
        out = shell.run("health", receiver.origin, "--json", code=exits.REFUSED)

    assert json.loads(out) == {"url": receiver.origin, "ok": False, "status": 200}
