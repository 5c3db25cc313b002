"""`logs` and `tail`: the same events, the last ones or those to come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.cli.conftest import Shell
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.cli import exits


@pytest.fixture
def message(endpoint: Endpoint, shell: Shell) -> str:
    """Publish a message that fails for good; return its id when its log is complete."""
    endpoint.answers(Answer(500))
    made = shell.run("publish", endpoint.url, "--retries", "0", "--label", "logged").strip()
    until(lambda: "FAILED" in shell.run("logs", "--message", made), "the message to fail")
    return made


def test_logs_end_with_the_newest(message: str, shell: Shell) -> None:
    """As every log that is read on a terminal."""
    told = [event["state"] for event in shell.items("logs", "--message", message)]

    assert told == ["CREATED", "ACTIVE", "ERROR", "FAILED"]
    assert [event["state"] for event in shell.items("logs", "--message", message, "--limit", "2")] == told[2:]
    assert [event["state"] for event in shell.items("logs", "--message", message, "--newest-first")] == told[::-1]
    assert [event["state"] for event in shell.items("logs", "--message", message, "--all")] == told
    newest_first = shell.items("logs", "--message", message, "--all", "--newest-first")
    assert [event["state"] for event in newest_first] == told[::-1]
    assert [event["state"] for event in shell.items("tail", "--message", message, "--no-follow")] == told


def test_logs_are_chosen_by_every_filter(message: str, endpoint: Endpoint, shell: Shell) -> None:
    """The filters of the API, and an empty one never means everything."""
    (failed,) = shell.items("logs", "--message", message, "--state", "FAILED", "--label", "logged", "--since", "1h")
    assert failed["responseStatus"] == 500
    assert len(shell.items("logs", "--path", endpoint.path, "--state", "CREATED", "--state", "ERROR")) == 2
    assert shell.items("logs", "--message", message, "--until", "1d") == []
    for command in ("logs", "tail"):
        assert "expected a value, got ''" in shell.refused(command, "--label", "")
        assert "state: expected" in shell.refused(command, "--state", "SOMEHOW")


def test_more_than_a_page_of_log_is_read_on(server: Server, endpoint: Endpoint, shell: Shell) -> None:
    """A page of the server has a thousand events."""
    items = [{"destination": endpoint.url, "headers": {"Upstash-Label": "paged", "Upstash-Delay": "1h"}}] * 1003
    assert server.call("POST", "/v2/batch", json.dumps(items).encode()).status == 201

    for flags in (["--all"], ["--all", "--newest-first"], ["--limit", "1003"]):
        ids = [event["messageId"] for event in shell.items("logs", "--label", "paged", *flags)]
        assert len(ids) == len(set(ids)) == 1003
    assert len(shell.items("logs", "--label", "paged")) == 100
    shell.run("messages", "cancel", "--label", "paged", "--yes")


def test_flags_that_exclude_each_other_are_refused(shell: Shell) -> None:
    """Which one is meant must not be guessed."""
    assert "--limit" in shell.refused("logs", "--all", "--limit", "3", code=exits.USAGE)
    for flags in (["--all"], ["--limit", "1"], ["--newest-first"], ["--until", "1h"]):
        assert "--follow: expected none of" in shell.refused("logs", "--follow", *flags, code=exits.USAGE)


@pytest.fixture(params=["logs --follow", "tail"])
def follower(request: pytest.FixtureRequest, server: Server, endpoint: Endpoint) -> Iterator[subprocess.Popen[str]]:
    """Follow what happens at an endpoint, in a process of its own."""
    flags = ["--path", endpoint.path, "--since", "1h", "--json"]
    environ = {**os.environ, "QSTASH_URL": server.url}
    environ.pop("QSTASH_TOKEN", None)
    running = subprocess.Popen(
        [sys.executable, "-m", "lateron", *request.param.split(), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    yield running
    running.kill()
    running.communicate()


def test_what_happens_is_printed_until_it_is_interrupted(
    follower: subprocess.Popen[str], endpoint: Endpoint, shell: Shell
) -> None:
    """What was there first, then each new event once; an interrupt is no error with a traceback."""
    assert follower.stdout is not None
    messages = []
    for _ in range(2):
        messages.append(shell.run("publish", endpoint.url).strip())
        told = [json.loads(follower.stdout.readline()) for _ in range(3)]
        assert [event["state"] for event in told] == ["CREATED", "ACTIVE", "DELIVERED"]
        assert {event["messageId"] for event in told} == {messages[-1]}

    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=PATIENCE_S)

    assert (follower.returncode, out, err) == (exits.INTERRUPTED, "", "")
