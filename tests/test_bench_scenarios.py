"""The scenarios of the benchmark run to their end, small: a figure nobody can repeat is worth nothing."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import pytest
from bench import lanes, scale
from bench.fill import STEP, filling, message, multiply, now_ms, publish_all, run_through
from bench.load import build
from bench.report import FOREIGN, Load, Sheet

from lateron.core.values import State

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="the tools need Linux and gcc"
)

SMALL = argparse.Namespace(scale=0.00002, rounds=1, load_seconds=0.1, claims=5)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tools"))


@pytest.mark.parametrize("name", lanes.SCENARIOS)
def test_each_scenario_of_lanes_measures_what_it_says(name: str, tools: Path) -> None:
    """Nothing is lost and nothing comes twice, or it would be no measurement of the work."""
    sheet = lanes.SCENARIOS[name](tools, SMALL)

    assert sheet.figures
    assert all(value >= 0 for figure in sheet.figures.values() for value in figure.values)
    for figure in ("lost", "delivered twice"):
        assert figure not in sheet.figures or sheet.median(figure) == 0


@pytest.mark.parametrize("name", ["backlog", "drain", "lists", "start", "limit"])
def test_each_scenario_of_scale_measures_what_it_says(name: str, tools: Path) -> None:
    """Every row of the table has a value, and every ratio two."""
    sheet = scale.SCENARIOS[name](tools, argparse.Namespace(scale=0.002, rounds=1))

    assert sheet.figures
    assert all(value >= 0 for figure in sheet.figures.values() for value in figure.values)


def test_a_store_is_filled_with_what_a_publisher_would_have_left(tmp_path: Path) -> None:
    """Filled messages wait; those run through rest, one in ten as a dead letter; a copy is a message of its own."""
    with filling(tmp_path) as (broker, store):
        run_through(broker, 20, (now_ms() - STEP) // STEP * STEP)
        multiply(store, 3)
        publish_all(broker, (message(i, "http://127.0.0.1:9/") for i in range(5)))
        with store.transaction() as tx:
            waiting = tx.open_after(1, b"", 100)
            rest = [tx.ended_before(state, now_ms() + 3 * STEP, 1000) for state in (State.DELIVERED, State.FAILED)]
            requests = tx.load_requests(rest[0])

    assert [each.state for each in waiting] == [State.WAITING] * 5
    assert [len(each) for each in rest] == [54, 6]
    assert len(set(rest[0])) == 54
    assert len(requests) == 54
    assert all(stored.intact for stored in requests.values())


def test_a_sheet_judges_the_median_and_compares_round_by_round() -> None:
    """Two figures of the same round felt the same mood of the machine; their ratio is steadier than they are."""
    sheet = Sheet("Title", "What was run.")
    sheet.add("a", 10, 30, 20, at_most=20)
    sheet.add("b", 5, 15, 5)
    sheet.ratio("a ÷ b", "a", "b", at_least=3)

    assert sheet.figures["a ÷ b"].values == [2, 2, 4]
    assert not sheet.kept
    assert "| a | 20 | 10 | 30 | ≤ 20: kept |" in sheet.table()
    assert "| a ÷ b | 2 | 2 | 4 | ≥ 3: **missed** |" in sheet.table()


def test_the_machine_is_watched_beside_the_run() -> None:
    """What others used is written beside the figures; our own work is not theirs."""
    sheet = Sheet("Title", "What was run.")
    sheet.close()

    assert sheet.median(FOREIGN) >= 0
    assert Load().foreign() >= 0
