"""`lateron bench` against a running server: its figures are those of real messages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.poll import until
from tests.support.server import Server

from lateron.cli import exits, main
from lateron.cli.bench import Load, Run, spread, told
from lateron.runtime import Nanos, SystemClock


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("bench") / "data") as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_URL", server.url)
    monkeypatch.delenv("QSTASH_TOKEN", raising=False)


class Hand(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0

    def wall(self) -> int:
        return self.now // 1_000_000

    def mono(self) -> Nanos:
        return Nanos(self.now)


def test_the_bench_counts_each_message_that_arrived(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure stands for messages that were stored and delivered, all of them, each once."""
    assert main(["bench", "-n", "60", "--connections", "4", "--size", "300", "--json"]) == exits.DONE

    figures = json.loads(capsys.readouterr().out)
    assert (figures["messages"], figures["connections"], figures["size"]) == (60, 4, 300)
    assert (figures["missing"], figures["duplicates"]) == (0, 0)
    assert figures["perSecond"] > 0
    assert 0 < figures["publishMs"]["p50"] <= figures["publishMs"]["p99"] <= figures["publishMs"]["max"]
    assert 0 < figures["arrivalMs"]["p50"] <= figures["arrivalMs"]["max"]
    until(lambda: delivered(server) == 60, "all sixty delivered")


def delivered(server: Server) -> int:
    """Count the messages of the bench that the server knows to be delivered."""
    events = server.call("GET", "/v2/events?state=DELIVERED&count=1000").json["events"]
    return sum("/lateron-bench/" in event["url"] for event in events)


def test_the_bench_speaks_to_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there are four lines, the first with the rate."""
    assert main(["bench", "-n", "10"]) == exits.DONE

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("10 messages of 200 bytes on 16 connections in ")
    assert lines[3] == "missing 0, delivered twice 0"


def test_a_message_that_does_not_arrive_fails_the_bench(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens at the address the server is told: the figures say what is missing, and so does the exit code."""
    assert main(["bench", "-n", "3", "--reach", "127.0.0.2", "--patience", "0"]) == exits.REFUSED

    captured = capsys.readouterr()
    assert "missing 3" in captured.out
    assert "3 of 3 messages did not arrive in time" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--token", "wrong"], exits.REFUSED, "the server answered 401: unauthorized"),
        (["--reach", "169.254.169.254"], exits.REFUSED, "the server answered 400: destination"),
        (["--listen", "192.0.2.1"], exits.REFUSED, "cannot listen on 192.0.2.1"),
        (["--size", "1"], exits.USAGE, "--size"),
    ],
)
def test_what_keeps_the_bench_from_running_is_said_in_a_line(
    arguments: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal is the server's own word, and never a figure."""
    assert main(["bench", "-n", "3", *arguments]) == code

    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert reason in captured.err


def test_the_bench_says_that_no_server_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is that of every other command."""
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:
        port = bound.getsockname()[1]

    assert main(["bench", "-n", "1", "--url", f"http://127.0.0.1:{port}"]) == exits.UNREACHABLE
    assert f"no answer from http://127.0.0.1:{port}" in capsys.readouterr().err


def test_figures_of_a_run_are_those_of_its_clock() -> None:
    """Latencies count from sending; what comes twice counts once; a stranger's request does not count."""
    hand = Hand()
    run = Run(Load(messages=3, connections=1, size=64, patience_s=1), hand)
    for took in (1, 2, 3):
        number, body = run.body()
        assert len(body) == 64
        hand.now += took * 1_000_000
        run.accepted(number)
        hand.now += 500_000
        run.receive(run.path.encode(), body)
        run.receive(run.path.encode(), body)
    run.receive(b"/elsewhere", b"{}")
    run.receive(run.path.encode(), b"no json")

    figures = run.document()

    assert figures["publishMs"] == {"p50": 2.0, "p99": 3.0, "max": 3.0}
    assert figures["arrivalMs"] == {"p50": 2.5, "p99": 3.5, "max": 3.5}
    assert (figures["seconds"], figures["missing"], figures["duplicates"]) == (0.007, 0, 3)  # 7.5 ms, rounded to even
    assert told(figures)[0].endswith("400/s")


def test_the_spread_of_nothing_is_zero() -> None:
    """A run in which nothing arrived still has a line to print."""
    assert spread([]) == {"p50": 0.0, "p99": 0.0, "max": 0.0}
