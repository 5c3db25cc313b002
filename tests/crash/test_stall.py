"""A loop that stands still ends the real process (F-9); one that was stopped from outside does not."""

from __future__ import annotations

import os
import re
import signal
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.crash.tracing import Changed
from tests.serving import delivered, ended, publish
from tests.support.poll import until
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.cli import exits
from lateron.server import watchdog

STALLS = """
from threading import Event
from lateron.server import rooms
def wait_for_ever(*_):
    Event().wait()
rooms.self_description = wait_for_ever
"""


@pytest.mark.promise("P-112", "F-9")
def test_a_server_that_stands_still_says_where_and_ends(tmp_path: Path) -> None:
    """With an exit code of its own, so that a supervisor starts it again; what was accepted is delivered then."""
    assert watchdog.EXIT_STALLED == exits.STALLED
    server = Changed(tmp_path / "data", "--stall=1s")
    server.code = STALLS
    with Receiver() as receiver, server:
        endpoint = receiver.endpoint()
        later = publish(server, endpoint.url, ("Upstash-Delay", "2s"))
        assert "lateron_loop_lag_seconds" in server.call("GET", "/metrics").text

        connection = HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/lateron/v1/info", headers={"Authorization": f"Bearer {server.token}"})
        assert ended(server) == exits.STALLED
        connection.close()

        assert "wait_for_ever" in server.log
        assert "the loop stands still" in server.log
        server.code = None
        server.start()
        until(lambda: delivered(server, later), "the delivery")


@pytest.mark.promise("P-112")
def test_a_server_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """A SIGSTOP, a debugger, a machine that sleeps: its time has not passed for the process."""
    with Changed(tmp_path / "data", "--stall=1s") as server:
        os.kill(server.pid, signal.SIGSTOP)
        until(lambda: stood_for(server.pid, 3), "the process to stand for three times the stall")
        os.kill(server.pid, signal.SIGCONT)

        until(lambda: lag(server) > 2, "a beat that came two stalls late")

        assert lag(server) >= 0
        assert server.stop() == 0


def lag(server: Server) -> float:
    """Return how late the loop says it came to its last beat."""
    found = re.search(r"^lateron_loop_lag_seconds (\S+)$", server.call("GET", "/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


_since: dict[int, float] = {}


def stood_for(pid: int, seconds: float) -> bool:
    """Whether a process has been seen stopped for so long."""
    state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    first = _since.setdefault(pid, time.monotonic())
    return state == "T" and time.monotonic() - first >= seconds
