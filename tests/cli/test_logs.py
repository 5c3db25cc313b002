"""`logs` and `tail`: the same events, the last ones or those to come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.parametrize("argv", [("logs", "--message"), ("tail", "--no-follow", "--message")])
def test_log_in_a_pipe_is_columns_between_tabs(
    argv: tuple[str, ...], message: str, endpoint: Endpoint, shell: Shell
) -> None:
    """As every list is, so that `cut` finds the same field in each line."""
    rows = [line.split("\t") for line in shell.run(*argv, message).splitlines()]

    assert [row[1:] for row in rows] == [
        ["CREATED", message, endpoint.url, "-", "-", "-"],
        ["ACTIVE", message, endpoint.url, "-", "-", "-"],
        ["ERROR", message, endpoint.url, "500", "-", "status 500"],
        ["FAILED", message, endpoint.url, "500", "-", "status 500"],
    ]
    assert all(row[0].endswith("Z") for row in rows)


def test_tail_waits_for_a_server_that_starts_again(tmp_path: Path, endpoint: Endpoint, shell: Shell) -> None:
    """Nobody sits beside it at night; what happened after the restart is printed, and what was before is not again."""
    with Server(tmp_path / "data") as server:
        there = ("--url", server.url)
        argv = [sys.executable, "-m", "lateron", "tail", "--since", "1h", "--json", *there]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stderr is not None
            shell.run("publish", endpoint.url, *there)
            before = [json.loads(follower.stdout.readline())["state"] for _ in range(3)]

            server.stop()
            away = follower.stderr.readline()
            server.start()
            back = follower.stderr.readline()
            message = shell.run("publish", endpoint.url, *there).strip()
            after = [json.loads(follower.stdout.readline()) for _ in range(3)]
            follower.send_signal(signal.SIGINT)
            follower.wait(PATIENCE_S)

    assert before == [event["state"] for event in after] == ["CREATED", "ACTIVE", "DELIVERED"]
    assert {event["messageId"] for event in after} == {message}
    assert away.startswith(f"lateron: no answer from {server.url}: ")
    assert away.endswith("; asking again until it is back\n")
    assert back == "lateron: the server is back\n"
    assert follower.returncode == exits.INTERRUPTED


def test_tail_of_a_server_that_was_never_there_ends(shell: Shell) -> None:
    """A wrong address is not waited for."""
    assert "no answer" in shell.refused("tail", "--url", "http://127.0.0.1:1", code=exits.UNREACHABLE)
