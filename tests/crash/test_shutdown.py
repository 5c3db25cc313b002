"""A server that is told to end, under load: nothing answered is lost, nothing is made twice.

What one message sees of an end is shown in ``tests.test_server``; here publishers and receiver are busy, and the
checker that judges the kill loop judges these runs too. To it, an end in order is no crash: an attempt that was
made again would be a violation.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.history import Verdict
from tests.crash.traffic import Traffic
from tests.serving import accepts, ended, publish, states
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.cli import exits

ROUNDS = 3
RIVALS = 4
# How a call ends that reaches an idle connection in the moment in which it is closed: without a byte of an answer.
UNANSWERED = {"ConnectionResetError", "BrokenPipeError", "RemoteDisconnected"}


@pytest.mark.promise("P-1", "P-2", "P-20", "P-21", "P-22", "P-28", "P-32", "P-40", "P-41", "P-51", "P-120", "P-130",
                     "D-82", "D-83")  # fmt: skip
@pytest.mark.parametrize("flags", [(), ("--no-catcher",)], ids=["with catcher", "without"])
def test_restarts_in_order_lose_nothing_and_repeat_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A deployment while publishers publish and receivers are slow: exactly once, and no answer is cut."""
    with Server(tmp_path / "data", *flags) as server, Traffic(server, seed=6) as traffic:
        for _ in range(ROUNDS):
            answers = traffic.acknowledged
            traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")  # noqa: B023 # Waits here.
            traffic.wait(lambda: traffic.holding > 0, "an open attempt")
            traffic.going_down()
            os.kill(server.pid, signal.SIGTERM)
            until(lambda: "shutting down" in server.log, "the server to begin")
            if flags:
                until(lambda: not accepts(server.port), "the listener to close")
            else:  # Attempts to our own catcher need somebody who accepts them.
                assert server.call("GET", "/readyz").status == 503
            assert server._process is not None
            assert server._process.poll() is None, "it did not wait for its open attempts"
            until(lambda: letting_go(traffic, server), "the server to end")
            assert ended(server) == 0
            server.start()
            traffic.back()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert report.repeats == 0
    assert traffic.torn == []
    assert set(traffic.endings) <= UNANSWERED
    assert len([publish for publish in history.publishes if publish.verdict is Verdict.OK]) >= ROUNDS * 20


def letting_go(traffic: Traffic, server: Server) -> bool:
    """Answer what the receiver holds, and say whether the server has ended."""
    traffic.let_go()
    assert server._process is not None
    return server._process.poll() is not None


@pytest.mark.promise("P-1", "P-21", "P-22", "P-32", "P-120", "P-130")
def test_a_second_signal_under_load_is_no_worse_than_a_crash(tmp_path: Path) -> None:
    """Receivers that hang hold nobody up: the drain would take an hour, the test has not that patience."""
    with Server(tmp_path / "data", "--drain=1h") as server, Traffic(server, seed=7) as traffic:
        for _ in range(2):
            answers = traffic.acknowledged
            traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")  # noqa: B023 # Waits here.
            traffic.wait(lambda: traffic.holding > 0, "an open attempt")
            traffic.going_down()
            os.kill(server.pid, signal.SIGTERM)
            until(lambda: "shutting down" in server.log, "the server to begin")
            os.kill(server.pid, signal.SIGTERM)
            assert ended(server) == 128 + signal.SIGTERM
            traffic.crashed()
            server.start()
            traffic.back()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert report.repeats > 0
    assert traffic.torn == []


@pytest.mark.promise("P-130")
def test_idle_connections_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """Clients keep connections open for minutes; the end closes those on which nothing is under way."""
    with Server(tmp_path / "data") as server:
        idle = [HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S) for _ in range(20)]
        for connection in idle:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)

        assert server.stop() == 0

        for connection in idle:
            assert connection.sock is not None
            assert connection.sock.recv(1) == b""
            connection.close()
        with suppress(ConnectionResetError), silent:  # It may not have been accepted yet.
            assert silent.recv(1) == b""


@pytest.mark.promise("P-11", "D-83")
def test_of_many_that_start_at_once_one_runs(tmp_path: Path) -> None:
    """A supervisor and an impatient operator: whoever comes second ends with its own exit code and one line."""
    data = tmp_path / "data"
    rivals = [Server(data) for _ in range(RIVALS)]
    first = rivals[0]
    with first:
        with Receiver() as receiver:
            endpoint = receiver.endpoint()
            kept = publish(first, endpoint.url, ("Upstash-Delay", "1h"))
            first.kill()  # As it was, with all its files.
            processes = [start(rival, tmp_path / f"rival-{i}.log") for i, rival in enumerate(rivals)]

            until(lambda: sum(p.poll() is None for p in processes) == 1, "all but one to end")
            (runs,) = [i for i, process in enumerate(processes) if process.poll() is None]
            printed = [(tmp_path / f"rival-{i}.log").read_text("utf-8") for i in range(RIVALS)]
            until(lambda: "QSTASH_URL" in (tmp_path / f"rival-{runs}.log").read_text("utf-8"), "it to be ready")
            processes[runs].terminate()
            assert processes[runs].wait(PATIENCE_S) == 0

        refusals = [
            (p.returncode, text) for i, (p, text) in enumerate(zip(processes, printed, strict=True)) if i != runs
        ]
        assert {code for code, _ in refusals} == {exits.LOCKED}
        assert all(text.count("\n") == 1 and "another process" in text for _, text in refusals)
        first.start()
        assert states(first, kept) == ["CREATED"]


def start(server: Server, log: Path) -> subprocess.Popen[bytes]:
    """Start a server's command without waiting for it."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [*server.command, "--port", "0", "--data-dir", str(server.data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=server._environment(),
        )


@pytest.mark.promise("P-11")
def test_a_refused_process_harms_nobody(tmp_path: Path) -> None:
    """The one that runs goes on delivering, and its files are still its own."""
    with Server(tmp_path / "data") as server, Traffic(server, seed=8) as traffic:
        refused = start(Server(tmp_path / "data"), tmp_path / "refused.log")
        assert refused.wait(PATIENCE_S) == exits.LOCKED
        answers = traffic.acknowledged
        traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")
        report = check(traffic.finish())

    assert report.violations == (), str(report)
    assert report.repeats == 0


@pytest.mark.promise("P-30")
@pytest.mark.parametrize("crash", [False, True], ids=["in order", "killed"])
def test_delays_survive_restarts(tmp_path: Path, crash: bool) -> None:
    """What falls due while nobody runs goes out with the next start, never before its time; the rest waits on."""
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        endpoint = receiver.endpoint()
        far = publish(server, f"{endpoint.url}/far", ("Upstash-Delay", "365d"))
        near = publish(server, f"{endpoint.url}/near", ("Upstash-Delay", "1s"))
        due = {name: server.call("GET", f"/v2/messages/{name}").json["notBefore"] for name in (far, near)}

        for _ in range(2):
            server.restart(crash=crash)

        request, *_ = endpoint.wait_for(1)
        assert request.header("Upstash-Message-Id") == near
        assert request.time * 1000 >= due[near]
        waiting = server.call("GET", f"/v2/messages/{far}").json
        assert (waiting["notBefore"], waiting["nextDeliveryTime"]) == (due[far], due[far])
        assert waiting["waitingFor"] == "delay"
        assert due[far] > time.time() * 1000
        assert states(server, far) == ["CREATED"]
