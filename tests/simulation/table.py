"""The table of planted bugs in ``docs/simulation.md``: which invariant found each, and after how many seeds.

``pytest tests/simulation/test_simulator.py --write-simulation`` searches for each bug from seed 0 on, and writes
the table. Every other run replays the seed that the table names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct
from tests.simulation.models import Violation
from tests.simulation.world import World

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "simulation.md"
HEAD: Final = "| bug | what it does | found by | seeds |\n|---|---|---|---|\n"
MOST_SEEDS: Final = 2000
FEW: Final = 400  # Seeds that are tried if the one in the table finds nothing any more; write the table anew then.

ROW = re.compile(r"\| (?P<name>[^|]+) \| (?P<what>[^|]+) \| (?P<by>[^|]+) \| (?P<seeds>[0-9]+) \|\n")

Bug = Callable[[pytest.MonkeyPatch], None]


class Found(Struct, frozen=True):
    """A bug that was found."""

    name: str
    what: str
    by: str  # The promise whose check found it, or the assertion of the program.
    seeds: int  # So many were tried, the last one found it.

    @property
    def row(self) -> str:
        """Return its line of the table."""
        return f"| {self.name} | {self.what} | {self.by} | {self.seeds} |\n"


FOUND = pytest.StashKey[list[Found]]()
STALE = pytest.StashKey[list[str]]()  # Bugs that the seed of the table did not find: each costs a search.


def search(bug: Bug, seeds: Iterable[int]) -> Found | None:
    """Run worlds until an invariant finds the bug, which is planted already."""
    logging.disable(logging.CRITICAL)
    try:
        for seed in seeds:
            try:
                World(seed).run()
            except Violation as violation:
                return _found(bug, violation.promise, seed)
            except AssertionError:
                return _found(bug, "an assertion of the program", seed)
    finally:
        logging.disable(logging.NOTSET)
    return None


def _found(bug: Bug, by: str, seed: int) -> Found:
    return Found(bug.__name__.replace("_", " "), (bug.__doc__ or "").strip(), by, seed + 1)


def read() -> dict[str, Found]:
    """Return the table as it is committed, by the names of the bugs."""
    _, _, behind = PAGE.read_text("utf-8").partition(HEAD)
    rows = [Found(row["name"], row["what"], row["by"], int(row["seeds"])) for row in ROW.finditer(behind)]
    return {row.name: row for row in rows}


def write(rows: Iterable[Found]) -> None:
    """Bring the rows of these bugs in the page up to date; those of others stay."""
    table = read() | {row.name: row for row in rows}
    before, head, behind = PAGE.read_text("utf-8").partition(HEAD)
    assert head, f"{PAGE.name} has lost the head of its table"
    rest = behind.splitlines(keepends=True)
    while rest and rest[0].startswith("|"):
        rest.pop(0)
    PAGE.write_text(before + HEAD + "".join(row.row for row in table.values()) + "".join(rest), "utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--write-simulation``."""
    parser.addoption(
        "--write-simulation", action="store_true", help="search for planted bugs, write docs/simulation.md"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table."""
    config.stash[FOUND] = []
    config.stash[STALE] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table if that was asked for and every bug was found."""
    rows = session.config.stash[FOUND]
    if session.config.getoption("--write-simulation") and rows and exitstatus == pytest.ExitCode.OK:
        write(rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the rows that only cost time: the programs of some changes make other histories of the same seeds."""
    stale = config.stash[STALE]
    if stale:
        terminalreporter.section(f"{PAGE.name} is old: --write-simulation makes these quick again")
        terminalreporter.line(", ".join(stale))
