"""Lines about attempts: enough to see that it works and what fails, never a flood, never a secret."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

from lateron.core.values import Claimed, Message, MessageId, Millis, Options, Outcome, Phases, Request, State
from lateron.runtime import Nanos, SystemClock
from lateron.server.attempts import FAILURES, AttemptLog
from lateron.telemetry import configure

GOOD, BAD = Outcome(status=200, phases=Phases(total=4_500)), Outcome(error="connect", detail="connection refused")


class Hand(SystemClock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0

    def wall(self) -> Millis:
        return self.now

    def mono(self) -> Nanos:
        return Nanos(self.now * 1_000_000)


def told(which: str, *outcomes: Outcome | int) -> list[dict[str, Any]]:
    """Return the lines about attempts; a number among them lets so many milliseconds pass."""
    stream = io.StringIO()
    configure("info", "json", stream)
    clock = Hand()
    log = AttemptLog(which, clock)
    message = Message(MessageId(bytes(16)), 1, 5, State.ACTIVE, 0, 0, 3, attempt=2)
    request = Request("https://hooks.example/s3cret?token=t0ken", "POST", (("X-Key", "k3y"),), b"b0dy", Options())
    for outcome in outcomes:
        if isinstance(outcome, int):
            clock.now += outcome
        else:
            log(Claimed(message, request), outcome)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(("which", "lines"), [("all", 60), ("failures", FAILURES), ("sample", FAILURES + 1)])
def test_a_second_has_so_many_lines(which: str, lines: int) -> None:
    """A receiver that is down for a night must not fill a disk with lines that say so."""
    assert len(told(which, *[GOOD, BAD] * 30)) == lines


def test_the_next_second_says_how_many_were_left_out() -> None:
    """Who reads only the log must know that it is not everything."""
    lines = told("failures", *[BAD] * 25, 1000, BAD)

    assert [(line["event"], line.get("count")) for line in lines[-2:]] == [
        ("failed attempts not logged", 5),
        ("attempt failed", None),
    ]


def test_a_line_says_what_and_how_and_nothing_that_is_secret() -> None:
    """The path of a webhook is its password; so may be anything that is sent."""
    good, bad = told("all", GOOD, BAD)

    assert {name: good[name] for name in ("event", "host", "status", "ms", "attempt")} == {
        "event": "attempt delivered", "host": "hooks.example:443", "status": 200, "ms": 4, "attempt": 2,
    }  # fmt: skip
    assert (bad["error_class"], bad["detail"]) == ("connect", "connection refused")
    assert not any(secret in json.dumps([good, bad]) for secret in ("s3cret", "t0ken", "k3y", "b0dy"))


@pytest.mark.parametrize(("flags", "events"), [((), {"attempt delivered", "attempt failed"}),
                                              (("--log-attempts", "failures"), {"attempt failed"})])  # fmt: skip
def test_a_server_logs_attempts_as_told(tmp_path: Path, flags: tuple[str, ...], events: set[str]) -> None:
    """The default shows that something is delivered, and everything that fails."""
    with Receiver() as receiver, Server(tmp_path / "data", "--log-format", "json", *flags) as server:
        good, bad = receiver.endpoint(), receiver.endpoint()
        bad.answers(Answer(500))
        for endpoint in (good, bad):
            server.call("POST", f"/v2/publish/{endpoint.url}", b"hello", (("Upstash-Retries", "0"),))
            endpoint.wait_for_one()
        until(lambda: '"attempt failed"' in server.log, "the line about the failure")
        server.stop()

    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines if line["logger"] == "lateron.attempts"} == events
