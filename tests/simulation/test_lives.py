"""The real broker and store under a simulated world: any order of events, crashes, late answers."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.simulation.world import World

from lateron.store.sqlite import open_memory

SEEDS = 150
STEPS = 120


@pytest.mark.promise("P-1", "P-2", "P-20", "P-21", "P-22", "P-23", "P-28", "P-30", "P-32", "P-40", "P-41", "P-43",
                     "P-50", "P-51", "P-53", "P-70", "P-71", "P-72", "P-75", "P-76", "P-77",
                     "P-91", "P-95", "P-97", "P-117", "P-120", "P-121")  # fmt: skip
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_message_comes_to_one_end_whatever_happens(seed: int) -> None:
    """Nothing accepted is lost, doubled or started against a promise, and the log tells the truth."""
    World(seed, open_memory(0)).run(STEPS)


def test_the_simulation_reaches_what_it_is_for() -> None:
    """A world in which the rare things never happen proves nothing about them."""
    marks: Counter[str] = Counter()
    for seed in range(30):
        world = World(seed, open_memory(0))
        world.run(STEPS)
        marks += world.marks

    rare = {"late answer refused", "lost with its node", "cancelled", "redriven", "duplicate"}
    rare |= {"paused", "pinned", "reset"}
    assert rare == set(marks)
    assert min(marks.values()) >= 20


def test_a_seed_is_one_history() -> None:
    """A seed that fails must fail again: two runs of it agree to the last call."""
    first, second = (World(7, open_memory(0)) for _ in range(2))
    first.run(STEPS)
    second.run(STEPS)

    assert [(c.message, c.attempt, c.at, c.body) for c in first.calls] == [
        (c.message, c.attempt, c.at, c.body) for c in second.calls
    ]
