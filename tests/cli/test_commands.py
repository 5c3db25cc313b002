"""`publish`, `tail` and `why` against a running server, as a user types them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server

from lateron.cli import exits, main
from lateron.cli.client import connect
from lateron.cli.exits import Failed
from lateron.cli.show import told
from lateron.cli.tailing import OVERLAP, events_since, line


@pytest.fixture(autouse=True)
def _environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_URL", server.url)
    monkeypatch.delenv("QSTASH_TOKEN", raising=False)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that should succeed, and return what it printed."""
    code = main(argv)
    captured = capsys.readouterr()
    assert code == exits.DONE, captured.err
    return captured.out


def test_group_is_made_published_to_and_deleted(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Every call on groups from the command line, as a script would use it."""
    one, two = receiver.endpoint(), receiver.endpoint()
    run(capsys, "groups", "add", "cli-group", one.url, "--name", "the first")
    assert run(capsys, "groups", "add", "cli-group", two.url).splitlines() == [
        f"cli-group\tthe first\t{one.url}",
        f"cli-group\t-\t{two.url}",
    ]
    shown = json.loads(run(capsys, "groups", "defaults", "cli-group", "--option", "Forward-X: y", "--json"))
    assert shown["headers"] == {"Upstash-Forward-X": ["y"]}
    assert len(run(capsys, "publish", "cli-group", "-d", "to all").splitlines()) == 2
    assert [at.wait_for_one().header("X") for at in (one, two)] == ["y", "y"]
    assert two.url in run(capsys, "groups", "list")
    run(capsys, "groups", "remove", "cli-group", two.url)
    assert run(capsys, "groups", "get", "cli-group") == f"cli-group\tthe first\t{one.url}\n"
    assert run(capsys, "groups", "remove", "cli-group", "the first") == ""
    assert main(["groups", "delete", "cli-group"]) == exits.REFUSED
    assert main(["groups", "show", "cli-group"]) == exits.REFUSED
    assert "topic cli-group not found" in capsys.readouterr().err


def is_told(capsys: pytest.CaptureFixture[str], message: str, word: str) -> str | None:
    out = run(capsys, "why", message)
    return out if word in out else None


def test_published_message_arrives_with_its_options(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag is the header that an SDK would send."""
    flags = ["-X", "PUT", "-H", "X-Mine: one: two", "--retries", "0", "--label", "a", "--label", "b"]
    message = run(capsys, "publish", endpoint.url, "-d", '{"a": 1}', *flags).strip()

    request = endpoint.wait_for_one()
    shown = json.loads(run(capsys, "why", message, "--json"))
    assert (request.method, request.body, request.header("X-Mine")) == ("PUT", b'{"a": 1}', "one: two")
    assert request.header("Content-Type") == "application/json"
    assert (shown["messageId"], shown["maxRetries"], shown["labels"]) == (message, 0, ["a", "b"])


def test_destination_keeps_its_query(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """A destination travels in the path byte for byte."""
    run(capsys, "publish", f"{endpoint.url}//a?x=1&y=%20z", "-d", "text")

    request = endpoint.wait_for_one()
    assert request.target == f"{endpoint.path}//a?x=1&y=%20z"
    assert request.header("Content-Type") == "text/plain; charset=utf-8"


def test_body_comes_from_a_file_or_standard_input(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes are not touched on the way."""
    content = bytes(range(256))
    (tmp_path / "body").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content[::-1])))

    run(capsys, "publish", endpoint.url, "-d", f"@{tmp_path / 'body'}", "--type", "application/octet-stream")
    run(capsys, "publish", endpoint.url, "-d", "@-")

    assert sorted(request.body for request in endpoint.wait_for(2)) == sorted([content, content[::-1]])


def test_duplicate_is_said(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Who publishes by hand must see that nothing new was stored."""
    first = run(capsys, "publish", endpoint.url, "--dedup", endpoint.path)
    again = run(capsys, "publish", endpoint.url, "--dedup", endpoint.path)

    assert again.startswith(first.strip())
    assert "duplicate" in again


def test_any_option_can_be_given_by_its_name(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Not every header needs a flag of its own."""
    options = ["--option", "Timeout: 7s", "--option", "Lateron-Retry-Delays: 1m, 2m", "--delay", "1h"]
    message = run(capsys, "publish", endpoint.url, *options).strip()

    shown = json.loads(run(capsys, "why", message, "--json"))
    assert shown["timeout"] == 7000
    assert shown["retryDelays"] == [60_000, 120_000]


def test_refusal_of_the_server_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With the server's own reason, and an exit code."""
    assert main(["publish", "http://user@example.com"]) == exits.REFUSED

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("lateron: the server answered 400: ")
    assert captured.err.count("\n") == 1


def test_wrong_token_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """And is not printed."""
    assert main(["tail", "--no-follow", "--token", "canary"]) == exits.REFUSED

    assert "401" in (err := capsys.readouterr().err)
    assert "canary" not in err


def test_why_tells_of_a_failed_attempt_and_the_next_one(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Why has it not arrived, and when will it be tried again: the question of every evening."""
    endpoint.answers(Answer(503))
    message = run(capsys, "publish", endpoint.url, "--retries", "1").strip()

    out = until(lambda: is_told(capsys, message, "503"), "the first attempt to be recorded")

    assert "its last attempt failed" in out
    assert "RETRY" in out


def test_why_of_a_delayed_message_names_the_delay(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was tried yet, and that is right."""
    message = run(capsys, "publish", endpoint.url, "--delay", "1h").strip()

    assert "it was published with a delay" in run(capsys, "why", message)


def test_why_of_an_unknown_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Not found is exit code 1."""
    assert main(["why", "msg_" + "0" * 32]) == exits.REFUSED
    assert "not found" in capsys.readouterr().err


def test_tail_prints_the_log_of_a_message_oldest_first(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each; in a pipe JSON lines."""
    message = run(capsys, "publish", endpoint.url).strip()
    until(lambda: is_told(capsys, message, "DELIVERED"), "the delivery")

    plain = run(capsys, "tail", "--no-follow", "--message", message).splitlines()
    parsed = [
        json.loads(text) for text in run(capsys, "tail", "--no-follow", "--message", message, "--json").splitlines()
    ]

    assert [event["state"] for event in parsed] == ["CREATED", "ACTIVE", "DELIVERED"]
    assert len(plain) == 3
    assert all(message in text and endpoint.url in text for text in plain)


def test_tail_filters_by_state(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    """As the API does; an unknown state is refused by the server."""
    message = run(capsys, "publish", endpoint.url, "--delay", "1h").strip()

    out = run(capsys, "tail", "--no-follow", "--since", "1h", "--state", "CREATED", "--message", message)

    assert out.count("\n") == 1
    assert main(["tail", "--no-follow", "--state", "SOMEHOW"]) == exits.REFUSED


# Following a log, without a server: pages are given.


def event(time: int, name: str, state: str = "CREATED") -> dict[str, Any]:
    return {"time": time, "messageId": name, "state": state, "url": "http://x"}


class NoMore(Exception):
    """Ends the following of a log that would go on for ever."""


class Log:
    """Answers as the API would, from a list that grows."""

    def __init__(self, page: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.page = page

    def fetch(self, query: Mapping[str, str | int]) -> dict[str, Any]:
        found = sorted((e for e in self.events if e["time"] >= int(query["fromDate"])), key=lambda e: -e["time"])
        start = int(query.get("cursor", 0))
        page = {"events": found[start : start + self.page]}
        return page | ({"cursor": str(start + self.page)} if start + self.page < len(found) else {})


@given(
    st.lists(st.lists(st.integers(0, 3 * OVERLAP), max_size=6), max_size=6),
    st.integers(1, 5),
)
def test_tail_prints_each_event_once_whatever_the_pages(rounds: list[list[int]], page: int) -> None:
    """Events that come late, by less than the overlap, are not lost; none is printed twice."""
    log, printed, left, newest = Log(page), list[str](), [list(r) for r in rounds], 0

    def arrive() -> None:
        nonlocal newest
        for ago in left.pop(0):
            time = max(newest - ago % OVERLAP, 0) + 1 if ago % 2 else newest + ago
            log.events.append(event(time, f"m{len(log.events)}"))
        newest = max([newest, *(e["time"] for e in log.events)])

    def pause() -> None:
        if not left:
            raise NoMore
        arrive()

    with suppress(NoMore):
        printed.extend(one["messageId"] for one in events_since(log.fetch, 0, pause))

    assert sorted(printed) == sorted(e["messageId"] for e in log.events)


@pytest.mark.parametrize("is_rich", [True, False])
def test_line_of_an_event_cannot_drive_the_terminal(is_rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs and errors are chosen by others."""
    monkeypatch.setattr("lateron.cli.tailing.is_rich", lambda: is_rich)
    shown = line({**event(0, "msg_1", "ERROR"), "url": "http://x/\x1b[2J", "error": "a\nb", "nextDeliveryTime": 1000})

    assert "\x1b" not in shown
    assert "\n" not in shown
    assert ("  next " if is_rich else "\t") + "1970-01-01T00:00:01.000Z" in shown


def test_reason_that_is_newer_than_the_command_is_shown_as_it_is() -> None:
    """An old command line talks to a new server."""
    story = {"messageId": "msg_1", "state": "CREATED", "url": "http://x", "createdAt": 0, "waitingFor": "moon"}

    assert told(story)[-1] == "waits: moon"


# Whom it talks to.


def test_development_token_is_used_for_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server is ever sent it, nor taken for a development server."""
    monkeypatch.delenv("QSTASH_URL")
    assert connect(None, None).url == "http://127.0.0.1:8080"
    assert connect("http://[::1]:1/", None).token
    for url in ("http://10.0.0.1", "https://example.com", "http://localhost.example.com"):
        with pytest.raises(Failed, match="QSTASH_TOKEN"):
            connect(url, None)


def test_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.setenv("QSTASH_TOKEN", "b")

    assert (connect(None, None).token, connect(None, "a").token) == ("b", "a")
    assert "b" not in repr(connect("http://x", None)).replace("http", "")
