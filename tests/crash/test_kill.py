"""The real server is killed again and again while it works, and loses nothing (F-1).

A SIGKILL shows what a transaction left half done, what was only in memory, and what the next process makes
of it. It shows nothing of what was not synced, because the kernel keeps it; that is the business of
``test_power_cuts`` and ``test_durable_before_answer``.
"""

from __future__ import annotations

import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.history import Verdict
from tests.crash.tracing import Changed, Traced, require_strace
from tests.crash.traffic import Traffic
from tests.serving import ended, standing
from tests.support.server import Server

KILLS = 10
HEALTHY_ANSWERS = 300
# At which system call to die, and at which of them, counted for each thread from the start of the process. The
# store's files are written by pwrite64, sockets by write; the first few happen before the server is ready.
CRASH_POINTS = (
    ("pwrite64", 1),
    ("fdatasync", 1),
    ("pwrite64", 9),
    ("fdatasync", 3),
    ("write", 60),
    ("fdatasync", 12),
    ("connect", 3),
    ("pwrite64", 150),
    ("write", 140),
    ("fdatasync", 25),
)

# One fault each, everything else is as it should be; with the promise that is then broken.
COSTS_A_RETRY = """
from msgspec.structs import replace
import lateron.core.message as life
lose = life.lose
life.lose = lambda message, now: lose(replace(message, retried=message.retried + 1), now)
"""
HAS_A_PLACE_TOO_MANY = """
import lateron.core.queue as queues
free = queues.free
queues.free = lambda queue: free(queue) + 1
"""
FAULTS = {
    "a crash costs a retry": (COSTS_A_RETRY, "P-22"),
    "a queue has a place too many": (HAS_A_PLACE_TOO_MANY, "P-61"),
}


@pytest.mark.promise("P-1", "P-2", "P-3", "P-4", "P-20", "P-21", "P-22", "P-23", "P-28", "P-30", "P-40", "P-41",
                     "P-50", "P-51", "P-52", "P-60", "P-61", "P-62", "P-70", "P-80", "P-81", "P-90", "P-95", "P-120",
                     "F-1")  # fmt: skip
def test_a_server_that_is_killed_at_any_moment_keeps_its_promises(tmp_path: Path) -> None:
    """Every moment of a kill is counted from the last start: none, or so many, answers or requests after it."""
    chance = random.Random(1)
    with Server(tmp_path / "data") as server, Traffic(server, seed=1) as traffic:
        for kill in range(KILLS):
            answers, requests = traffic.acknowledged, traffic.arrived
            more = chance.randint(1, 40) if kill % 4 else 0
            if kill % 2:
                traffic.wait(lambda: traffic.acknowledged >= answers + more, "more answers")  # noqa: B023 # Waits here.
            else:
                traffic.wait(lambda: traffic.arrived >= requests + more, "more requests")  # noqa: B023 # Waits here.
            if kill % 4:
                traffic.wait(lambda: traffic.holding > 0, "an open attempt")
            traffic.crash()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert len(history.crashes) == KILLS
    assert report.repeats > 0, "no attempt was open when the server died"
    assert any(publish.verdict is Verdict.UNKNOWN for publish in history.publishes), "no call was cut off"


@pytest.mark.promise("P-1", "P-2", "P-4", "P-6", "P-20", "P-21", "P-22", "P-28", "P-40", "P-41", "P-50", "P-51",
                     "P-52", "F-1")  # fmt: skip
def test_a_server_that_dies_at_a_system_call_keeps_its_promises(tmp_path: Path) -> None:
    """Also while it starts and rescues what its predecessor left, and between a commit and its answer."""
    require_strace()
    server = Traced(tmp_path / "data")
    server.options = ("-e", "trace=none")
    with server, Traffic(server, seed=4) as traffic:
        traffic.wait(lambda: traffic.holding > 0, "an open attempt")
        traffic.going_down()
        server.kill()
        traffic.crashed()
        for call, n in CRASH_POINTS:
            server.options = ("-s", "0", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}")
            with suppress(AssertionError):  # It may die before it is ready.
                server.start()
                traffic.back()
            assert ended(server) == -signal.SIGKILL, f"did not die at {call} {n}"
            traffic.going_down()
            traffic.crashed()
        server.options = ("-e", "trace=none")
        server.start()
        traffic.back()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert len(history.crashes) == 1 + len(CRASH_POINTS)
    assert report.repeats > 0, "no attempt was open when the server died"


@pytest.mark.promise("P-1", "P-2", "P-3", "P-20", "P-21", "P-22", "P-23", "P-28", "P-30", "P-40", "P-41", "P-51",
                     "P-60", "P-61", "P-62", "P-70", "P-80", "P-81", "P-90", "P-95", "P-120")  # fmt: skip
def test_a_healthy_run_has_no_violations_and_no_duplicates(tmp_path: Path) -> None:
    """At least once is for faults; where nothing goes wrong it is exactly once."""
    with Server(tmp_path / "data") as server, Traffic(server, seed=2) as traffic:
        traffic.wait(lambda: traffic.acknowledged >= HEALTHY_ANSWERS, "answers")
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert report.repeats == 0
    assert {publish.verdict for publish in history.publishes} == {Verdict.OK, Verdict.FAIL}


@pytest.mark.promise("P-1", "P-21", "P-22")
def test_a_server_that_stood_still_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """A suspended laptop, a paused machine: no attempt is made twice, no result of an open one is lost."""
    with Server(tmp_path / "data") as server, Traffic(server, seed=3) as traffic:
        for _ in range(3):
            answers = traffic.acknowledged
            traffic.wait(lambda: traffic.acknowledged >= answers + 30, "more answers")  # noqa: B023 # Waits here.
            traffic.wait(lambda: traffic.holding > 0, "an open attempt")
            with standing(server):
                traffic.answer_all()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert report.repeats == 0
    assert not traffic.endings, "a call was cut off"


@pytest.mark.parametrize(("code", "promise"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_of_the_server_is_seen_in_such_a_run(code: str, promise: str, tmp_path: Path) -> None:
    """The control: what the checker finds in hand-made logs, it finds in the logs of a real run."""
    server = Changed(tmp_path / "data")
    server.code = code
    with server, Traffic(server, seed=5) as traffic:
        traffic.wait(lambda: traffic.acknowledged >= HEALTHY_ANSWERS and traffic.holding > 0, "an open attempt")
        traffic.crash()
        history = traffic.finish()

    assert promise in {violation.promise for violation in check(history).violations}
