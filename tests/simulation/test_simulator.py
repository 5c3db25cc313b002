"""The simulation is trusted because it finds bugs: each of these is planted in a real function.

A bug that is not found means that the world, not the bug, must change.
"""

from __future__ import annotations

from itertools import chain

import pytest
from tests.simulation.bugs_broker import BROKER
from tests.simulation.bugs_core import CORE
from tests.simulation.table import FEW, FOUND, MOST_SEEDS, STALE, Bug, read, search

BUGS = (*CORE, *BROKER)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Each bug breaks a promise or an assertion of the program, in the seed that the table names."""
    bug(monkeypatch)

    if request.config.getoption("--write-simulation"):
        found = search(bug, range(MOST_SEEDS))
        request.config.stash[FOUND] += [found] if found else []
    else:
        row = read()[bug.__name__.replace("_", " ")]
        found = search(bug, chain([row.seeds - 1], range(FEW)))
        if found and found.seeds != row.seeds:
            request.config.stash[STALE].append(row.name)

    assert found, f"{bug.__name__} lived through all seeds"


def test_the_table_of_planted_bugs_is_that_of_the_tests() -> None:
    """What the page says was found was found by these tests, and each within the bound."""
    table = read()

    assert list(table) == [bug.__name__.replace("_", " ") for bug in BUGS]
    assert [row.what for row in table.values()] == [(bug.__doc__ or "").strip() for bug in BUGS]
    assert max(row.seeds for row in table.values()) <= MOST_SEEDS
    assert len(table) >= 24
