"""Which test shows which promise, and the page that says so.

A test names what it shows: ``@pytest.mark.promise("P-25", "D-76")``. The promises themselves stand,
one line each, in ``docs/promises.toml``. From both comes ``docs/promises.md``::

    pytest --write-promises                  run all tests, write the page with counts
    pytest --write-promises --collect-only   write the page at once, keep the counts it has

A promise is *exercised* once by every test case that passed, and once more by every further example
that Hypothesis tried in it. The counts are those of the run that wrote the page; which test shows
which promise is compared at every full run, so that part of the page is true at every commit.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"
TEXTS = ROOT / "docs" / "promises.toml"
UNCOUNTED = "-"

ROW = re.compile(r"\| (?P<promise>[PDF]-[0-9]+) \| [^|]* \| [^|]* \| (?P<count>[^|]*) \|")


@dataclass(frozen=True, slots=True)
class Promises:
    """What ``docs/promises.toml`` says."""

    texts: Mapping[str, str]  # Id -> what we promise, in one line.
    later: Mapping[str, str]  # Id -> what its full proof still needs.


@dataclass(slots=True)
class Shown:
    """What one run of pytest saw: the tests of each promise, and how often each passed."""

    full: bool  # Nothing was deselected, so that the tests seen are all there are.
    tests: dict[str, set[str]] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)


SHOWN = pytest.StashKey[Shown]()


def load() -> Promises:
    """Read the promises of this version."""
    content = tomllib.loads(TEXTS.read_text("utf-8"))
    return Promises(content["promises"], content["later"])


def render(promises: Promises, tests: Mapping[str, set[str]], counts: Mapping[str, str]) -> str:
    """Return the page: a row for each promise that has a test, then those that have none."""
    lines = [
        "# Promises and the tests that show them",
        "",
        "Written by `pytest --write-promises` from the markers of the tests and `promises.toml`; do not edit.",
        "*Exercised* counts the test cases that passed, with each example of a property, when the page was written.",
        "",
        "| promise | what it says | shown by | exercised |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {promise} | {promises.texts[promise]} | {_links(tests[promise])} | {counts.get(promise, UNCOUNTED)} |"
        for promise in promises.texts
        if promise in tests
    ]
    lines += ["", "## Not shown yet", ""]
    missing = [f"- **{promise}** {text}" for promise, text in promises.texts.items() if promise not in tests]
    lines += missing or ["Nothing: each promise of this version has a test."]
    lines += ["", "## What is still owed", ""]
    lines += [f"- **{promise}** {text}" for promise, text in promises.later.items()] or ["Nothing."]
    return "\n".join(lines) + "\n"


def counts_of(page: str) -> dict[str, str]:
    """Return the counts that a page holds."""
    return {row["promise"]: row["count"] for row in ROW.finditer(page)}


def _links(tests: set[str]) -> str:
    return "<br>".join(
        f"[{name.replace('_', ' ')}](../{path})" for path, name in sorted(test.split("::", 1) for test in tests)
    )


def promises_of(item: pytest.Item) -> set[str]:
    """Return the promises that a test shows, by its own marker, its class's or its module's."""
    return {str(promise) for marker in item.iter_markers("promise") for promise in marker.args}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--write-promises``."""
    parser.addoption("--write-promises", action="store_true", help="write docs/promises.md after a full run")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "promise(*ids): the promises of docs/promises.toml that the test shows")


def is_full(config: pytest.Config) -> bool:
    """Say whether nothing on the command line leaves a test out."""
    narrowed = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
    named = config.args_source is config.ArgsSource.ARGS
    return not named and not any(config.getoption(name, None) for name in narrowed)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note the tests of each promise."""
    shown = session.config.stash[SHOWN] = Shown(is_full(session.config))
    for item in session.items:
        path, _, name = item.nodeid.partition("::")
        for promise in promises_of(item):
            shown.tests.setdefault(promise, set()).add(f"{path}::{name.partition('[')[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a passed test case for each promise that it shows."""
    report = yield
    if call.when == "call" and report.passed:
        for promise in promises_of(item):
            item.config.stash[SHOWN].count[promise] += _cases(item)
    return report


def _cases(item: pytest.Item) -> int:
    """Return how many examples Hypothesis tried in the test; 1 for a plain one."""
    # Hypothesis leaves this text on the item whether or not it is asked to print it.
    statistics = str(getattr(item, "hypothesis_statistics", ""))
    return sum(int(number) for number in re.findall(r"([0-9]+) passing examples", statistics)) or 1


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the page if that was asked for and nothing failed."""
    config = session.config
    shown = config.stash.get(SHOWN, None)
    if not config.getoption("--write-promises") or shown is None:
        return
    if not shown.full or exitstatus != pytest.ExitCode.OK:
        message = "docs/promises.md is only written by a full run that passes"
        raise pytest.UsageError(message)
    counts = {promise: str(number) for promise, number in shown.count.items()}
    if config.getoption("collectonly"):
        counts = counts_of(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    PAGE.write_text(render(load(), shown.tests, counts), "utf-8")


def stale_lines(tests: Mapping[str, set[str]], page: str) -> Sequence[str]:
    """Return the lines in which a page differs from what the tests show, whatever its counts."""
    wanted = render(load(), tests, counts_of(page))
    return sorted(set(wanted.splitlines()) ^ set(page.splitlines()))
