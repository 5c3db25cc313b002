"""The real broker and store under a simulated world: any order of events, crashes, late answers, wrong clocks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.simulation.wishes import FAULTS, FEATURES
from tests.simulation.world import World

ROOT = Path(__file__).parent.parent.parent
SEEDS = 150
RARE = {
    "asked why",
    "cancelled", "clock not believed", "clock stepped", "died while it recovered", "died, committed",
    "died, not committed", "disk full", "duplicate", "given back", "host paused", "key paused", "key pinned",
    "late answer refused", "lost with its node", "purged", "queue deleted", "queue paused", "redriven",
    "replayed by a job", "schedule paused", "scheduled", "set apart", "convicted", "broken off", "server paused",
    "ticked", "ticks not believed", "waiting",
}  # fmt: skip


class Life(NamedTuple):
    """What is left of a world that has run."""

    marks: Counter[str]
    drawn: tuple[str, ...]
    trace: str


@cache
def live(seed: int) -> Life:
    """Run a world, once however many tests look at it: a seed is one history."""
    world = World(seed)
    world.run()
    return Life(world.marks, (*world.swarm.features, *world.swarm.faults), world.trace.hexdigest())


@pytest.mark.promise(
    "P-1", "P-2", "P-4", "P-20", "P-21", "P-22", "P-23", "P-24", "P-28", "P-30", "P-31", "P-32", "P-40", "P-41", "P-42",
    "P-43", "P-50", "P-51", "P-52", "P-53", "P-60", "P-61", "P-62", "P-63", "P-65", "P-66", "P-67", "P-68", "P-70",
    "P-71", "P-72", "P-73", "P-74", "P-75", "P-76", "P-77", "P-78", "P-80", "P-81", "P-82", "P-83", "P-86", "P-87",
    "P-89", "P-90", "P-91", "P-95", "P-96", "P-97", "P-98", "P-111", "P-117", "P-120", "P-121", "F-1", "F-20",
)  # fmt: skip
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_message_comes_to_one_end_whatever_happens(seed: int) -> None:
    """Nothing accepted is lost, doubled or started against a promise, and the log tells the truth."""
    live(seed)


def test_the_simulation_reaches_what_it_is_for() -> None:
    """A world in which the rare things never happen proves nothing about them."""
    marks: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    for seed in range(60):
        life = live(seed)
        marks += life.marks
        drawn.update(life.drawn)

    assert set(marks) == RARE
    assert min(marks.values()) >= 5, marks
    assert set(drawn) == {*FEATURES, *FAULTS}


def test_a_seed_is_one_history_in_every_process() -> None:
    """A seed that fails must fail again, also for whoever replays it on another machine."""

    def trace(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.simulation", "--seed", "7", "--seed", "12", "--trace"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True).stdout

    assert trace("1") == trace("2") == "".join(f"{seed} {live(seed).trace}\n" for seed in (7, 12))
