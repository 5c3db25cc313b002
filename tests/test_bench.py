"""The yardstick is true before anything is measured with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.load import Receiver, build, cpu_of_session, generate, memory_of_session
from bench.run import Round, main, table

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="the tools need Linux and gcc"
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def receiver(tools: Path) -> Iterator[Receiver]:
    with Receiver(tools) as running:
        yield running


def test_the_receiver_counts_what_the_generator_sent(tools: Path, receiver: Receiver) -> None:
    """Each number once: a tool that loses or doubles messages would blame the server."""
    report, cpu = generate(tools, receiver.url(), {"X-Number": "{i}"}, count=500, connections=8)

    assert (report["accepted"], report["refused"], report["lost"]) == (500, 0, 0)
    stats = receiver.stats()
    assert (stats["unique"], stats["duplicates"], stats["unreadable"]) == (500, 0, 0)
    assert cpu >= 0


def test_a_message_that_comes_twice_is_counted_as_a_duplicate(tools: Path, receiver: Receiver) -> None:
    """Delivery is at least once; the figures count messages, not requests."""
    generate(tools, receiver.url(), {}, count=20, connections=2)
    generate(tools, receiver.url(), {}, count=20, connections=2)

    stats = receiver.stats()
    assert (stats["unique"], stats["duplicates"]) == (20, 20)


def test_stragglers_of_the_warm_up_do_not_count(tools: Path, receiver: Receiver) -> None:
    """A round begins with its own first number."""
    receiver.reset(100)
    generate(tools, receiver.url(), {}, count=30, first=90, connections=2)

    assert receiver.count() == 20


def test_an_open_loop_sends_everything_and_a_refusal_is_no_success(tools: Path, receiver: Receiver) -> None:
    """What the server refuses must not look like throughput."""
    report, _ = generate(tools, receiver.url("/status/503"), {}, count=50, rate=5000, connections=4)

    assert (report["accepted"], report["refused"]) == (0, 50)
    assert report["status"] == {"503": 50}


def test_a_load_that_is_stopped_says_what_it_never_began(tools: Path, receiver: Receiver, tmp_path: Path) -> None:
    """Too much load is judged by what was really asked."""
    log = tmp_path / "log"
    report, _ = generate(tools, receiver.url(), {}, count=50, rate=5, connections=2, stop=0.001, log=log)

    assert report["sent"] == report["accepted"]
    assert log.read_bytes() == b"2" * report["sent"] + b"." * (50 - report["sent"])


def test_latencies_are_told_window_by_window(tools: Path, receiver: Receiver) -> None:
    """A figure of the whole run would hide when the load became bearable again."""
    generate(tools, receiver.url(), {}, count=20, connections=2)
    first = receiver.window()
    generate(tools, receiver.url(), {}, count=5, first=20, connections=2)

    assert (first["count"], receiver.window()["count"], receiver.window()["count"]) == (20, 5, 0)


def test_the_table_shows_median_and_spread() -> None:
    """One good round is luck; the spread says how much."""
    rounds = [Round(rate, rel, 1, 1, 1, 1, 1, 1, 1, 1) for rate, rel in [(100, 3.0), (300, 2.0), (200, 4.0)]]

    assert "| messages/s | 200 | 100 | 300 |" in table(rounds)
    assert "| rel | 3.00 | 2.00 | 4.00 |" in table(rounds)


def test_the_main_job_runs_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """The driver waits for real deliveries of a real server; a job that loses one never ends well."""
    assert main(["--count", "200", "--rounds", "1", "--connections", "8"]) == 0

    assert "| rel |" in capsys.readouterr().out


def test_the_cpu_time_of_a_peer_is_that_of_all_its_processes() -> None:
    """A worker that forks would look cheap if only its first process counted."""
    burn = "import os, sys; pid = os.fork()\nwhile os.times().user < 0.1: pass\nif not pid: print(flush=True); input()"
    command = [sys.executable, "-c", f"{burn}\nos.waitpid(pid, 0) if pid else None"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, start_new_session=True, **pipes) as parent:  # type: ignore[call-overload]
        parent.stdout.readline()
        burnt = cpu_of_session(parent.pid)
        held = memory_of_session(parent.pid)
        parent.stdin.close()

    assert burnt >= 0.1
    assert held > 1


def test_the_locked_versions_of_the_peers_name_no_registry() -> None:
    """Anybody must be able to install them from where he gets his packages."""
    peers = Path(__file__).parent.parent / "bench" / "peers"
    packages = json.loads((peers / "bullmq" / "package-lock.json").read_text("utf-8"))["packages"]

    assert all("resolved" not in package for package in packages.values())
    pinned = (peers / "taskiq" / "requirements.txt").read_text("utf-8").splitlines()
    assert all("==" in line and "/" not in line for line in pinned)
