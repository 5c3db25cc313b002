"""The service of systemd: what the server tells its manager, and that it needs no more than its unit allows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import Event

import pytest
from tests.crash.tracing import Traced, require_strace
from tests.deploy.manager import Manager, call_sets, read_unit
from tests.serving import OWN, delivered, ended, publish
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Answer, Received, Receiver
from tests.support.server import Server

from lateron.cli import exits
from lateron.server.notify import Notifier

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "lateron.service"
EXPOSURE_MAX = 15  # Tenths; systemd calls a service OK up to 4.9.


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "file" else f"@lateron-test-{os.getpid()}"
    with Manager(address) as running:
        yield running


def asks(url: str, path: str) -> int:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def value_of(name: str) -> str:
    """Return the last value of a name in our unit."""
    return [value for _, found, value in read_unit(UNIT) if found == name][-1]


# What the manager is told


def test_the_manager_hears_ready_when_requests_are_answered(tmp_path: Path, manager: Manager) -> None:
    """What is ordered after this service may send to it the moment it is told to be ready."""

    def first() -> tuple[dict[str, str], int]:
        told = manager.told()
        return told, asks(told["STATUS"].split()[-1], "/readyz")

    server = Server(tmp_path / "data", mode="serve", user=OWN, environ=manager.environ)
    with ThreadPoolExecutor(1) as watching:
        heard = watching.submit(first)
        with server:
            told, status = heard.result(PATIENCE_S)

    assert told == {"READY": "1", "STATUS": f"Accepting requests on {server.url}"}
    assert status == 200


def test_beats_come_from_the_loop_while_the_server_works_and_while_it_drains(tmp_path: Path, manager: Manager) -> None:
    """A server that waits for its last deliveries is no dead one."""
    environ = {**manager.environ, "WATCHDOG_USEC": "100000"}
    with Receiver() as receiver, Server(tmp_path / "data", environ=environ) as server:
        endpoint, arrived, answer = receiver.endpoint(), Event(), Event()

        def late(_: Received) -> Answer:
            arrived.set()
            answer.wait(PATIENCE_S)
            return Answer()

        endpoint.answer_by(late)
        publish(server, endpoint.url)
        assert arrived.wait(PATIENCE_S)
        assert [manager.told() for _ in range(4)][1:] == [{"WATCHDOG": "1"}] * 3

        os.kill(server.pid, 15)
        until(lambda: "STOPPING" in manager.told(), "the manager to hear of the end")
        assert [manager.told() for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
        answer.set()
        assert ended(server) == exits.DONE


def test_the_manager_hears_that_the_server_stops_and_how_long_that_may_take(tmp_path: Path, manager: Manager) -> None:
    """Or its own patience would cut off deliveries for which `drain` leaves time."""
    with Server(tmp_path / "data", "--drain=5m", environ=manager.environ) as server:
        server.stop()

    _, last = manager.rest()
    assert last["STOPPING"] == "1"
    assert last["STATUS"] == "Shutting down; deliveries that are open: 0"
    assert int(last["EXTEND_TIMEOUT_USEC"]) > 5 * 60 * 1_000_000


def test_a_server_that_fails_says_why(tmp_path: Path, manager: Manager) -> None:
    """`systemctl status` shows the line; the exit code alone is a number."""
    server = Server(tmp_path / "data", "--drain=0s", environ=manager.environ).start()
    (tmp_path / "data" / "lateron.lock").unlink()
    server.call("POST", "/v2/publish/http://127.0.0.1:9/", b"x")

    assert ended(server) != 0
    *_, last = manager.rest()
    assert last["STOPPING"] == "1"
    assert last["STATUS"].startswith("Failed: the lock file")


def test_nobody_who_listens_is_no_reason_to_end(tmp_path: Path) -> None:
    """A manager that was restarted may have left a socket behind."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "20000"}
    with Server(tmp_path / "data", environ=environ) as server:
        assert server.call("GET", "/readyz").status == 200
        assert server.stop() == exits.DONE

    assert server.log.count("cannot be told") == 1


@pytest.mark.parametrize(
    ("environ", "address", "watchdog_s"),
    [
        ({}, None, None),
        ({"NOTIFY_SOCKET": "/run/notify"}, "/run/notify", None),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "30000000"}, "@notify", 30.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, "/n", 30.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, "/n", None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, "/n", None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, "/n", None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None, None),
        ({"WATCHDOG_USEC": "30000000"}, None, None),
    ],
)
def test_what_a_manager_sets_is_read_and_taken_away(
    environ: dict[str, str], address: str | None, watchdog_s: float | None
) -> None:
    """What the server starts must not speak in its name; a beat is for the process that was asked for it."""
    environ["OTHER"] = "stays"

    notifier = Notifier.taken_from(environ)

    assert (notifier._address, notifier._watchdog_s) == (address, watchdog_s)
    assert environ == {"OTHER": "stays"}


# The unit


def test_the_unit_starts_a_command_that_exists(tmp_path: Path) -> None:
    """A flag that was renamed would be noticed at the next start of somebody's server."""
    program, command, *flags = shlex.split(value_of("ExecStart").replace("%S", str(tmp_path)))

    done = subprocess.run(
        [sys.executable, "-m", "lateron", "config", "show", "--mode", command, "--json", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (program, command) == ("/opt/lateron/bin/lateron", "serve")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/lateron" in done.stdout


def test_the_unit_does_not_restart_what_only_a_person_can_mend() -> None:
    """All else is started again, for as long as it takes: a full disk gets room, a lost lock is free again."""
    assert value_of("Restart") == "on-failure"
    assert value_of("RestartPreventExitStatus") == f"{exits.USAGE} {exits.LOCKED}"
    assert value_of("StartLimitIntervalSec") == "0"


def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    """A name that it does not know it leaves out, and with it what the line should forbid."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze (Debian: systemd) is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/lateron/bin/lateron", sys.executable), "utf-8")

    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    judged = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE_MAX}", unit],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    assert judged.returncode == 0, judged.stdout[-2000:]


def test_a_working_server_makes_no_call_that_the_unit_forbids(tmp_path: Path) -> None:
    """The kernel would answer it with an error that no test without systemd has seen.

    No memory is writable and executable, no page becomes executable, and each call is of the sets that the unit names.
    """
    require_strace()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze (Debian: systemd), which knows the sets of calls, is not installed")
    server = Traced(tmp_path / "data", "--allow-private", mode="serve", user=OWN)
    with Receiver() as receiver, server:
        message = publish(server, receiver.endpoint().url)
        until(lambda: delivered(server, message), "the delivery")
        assert server.call("GET", "/console/").status == 200
        assert server.call("GET", "/metrics").status == 200
        assert server.stop() == exits.DONE
    last = re.compile(rf"^{server.pid} +\+\+\+ ", re.MULTILINE)
    until(lambda: last.search(server.trace.read_text("ascii")), "strace to end")
    text = server.trace.read_text("ascii")
    calls = set(re.findall(r"^[0-9]+ +(\w+)\(", text, re.MULTILINE))

    sets = call_sets()
    allowed: frozenset[str] = frozenset()
    for _, name, value in read_unit(UNIT):
        if name == "SystemCallFilter":
            allowed = allowed - sets[value[1:]] if value.startswith("~") else allowed | sets[value]

    owners = {"fchown"} if os.geteuid() == 0 else set()  # SQLite gives its files the owner of the store, as root only.
    assert sorted(calls - allowed - owners) == []
    assert len(calls) > 50, "the trace sees the whole server"
    mapped = [line for line in text.splitlines() if " mmap(" in line or " mprotect(" in line]
    assert mapped
    assert [line for line in mapped if "PROT_WRITE|PROT_EXEC" in line or ("mprotect" in line and "EXEC" in line)] == []
