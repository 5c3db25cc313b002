"""The simulation is trusted because it finds bugs: each of these is planted in a real function.

A bug that is not found means that the world, not the bug, must change.
"""

from __future__ import annotations

from itertools import chain

import pytest
from tests.simulation.bugs_broker import BROKER
from tests.simulation.bugs_core import CORE
from tests.simulation.table import FEW, FOUND, MOST_SEEDS, Bug, read, search

BUGS = (*CORE, *BROKER)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Each bug breaks a promise or an assertion of the program, in the seed that the table names."""
    bug(monkeypatch)

    if request.config.getoption("--write-simulation"):
        found = search(bug, range(MOST_SEEDS))
        request.config.stash[FOUND] += [found] if found else []
    else:
        known = read().get(bug.__name__.replace("_", " "))
        found = search(bug, chain([known.seeds - 1] if known else [], range(FEW)))

    assert found, f"{bug.__name__} lived through all seeds"
