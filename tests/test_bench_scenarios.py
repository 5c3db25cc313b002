"""The scenarios of the benchmark run to their end, small: a figure nobody can repeat is worth nothing."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import pytest
from bench import endure, lanes, pair, scale, sealed, storms
from bench.fill import STEP, filling, message, multiply, now_ms, publish_all, run_through
from bench.ledger import account
from bench.load import Receiver, build, generate
from bench.report import FOREIGN, Load, Sheet
from bench.servers import Server

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


def test_what_encryption_costs_is_measured_with_a_key_and_without(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures of both, and the ratio of each pair; a server that did not encrypt would store no less."""
    monkeypatch.setattr(sealed, "WARM_UP", 50)
    sheet = Sheet("Title", "What was run.")
    options = argparse.Namespace(count=200, connections=4, size=200, pages=2)
    sealed.measure(tools, sheet, 1, options)

    clear, encrypted = ({name for name in sheet.figures if how in name} for how in (sealed.CLEAR, sealed.SEALED))
    assert {name.replace(sealed.CLEAR, sealed.SEALED) for name in clear} == encrypted
    assert all(value >= 0 for figure in sheet.figures.values() for value in figure.values)
    size = "store, {}, bytes/message"
    assert sheet.median(size.format(sealed.SEALED)) > sheet.median(size.format(sealed.CLEAR))


with_history = pytest.mark.skipif(not (pair.ROOT / ".git").exists(), reason="there are no older versions here")


@with_history
def test_two_versions_are_measured_side_by_side(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure of the one has that of the other beside it."""
    monkeypatch.setattr("bench.job.WARM_UP", 50)
    sheet = Sheet("Title", "What was run.")
    options = argparse.Namespace(count=200, connections=4, turns=2)
    sources = {pair.OLD: pair.unpacked("HEAD", tmp_path), pair.NEW: pair.ROOT / "src"}
    pair.measure(tools, sheet, sources, options)

    ratios = {name for name in sheet.figures if "÷" in name}
    assert {name.replace(f"{pair.NEW} ÷ {pair.OLD}", pair.OLD) for name in ratios} == {
        name for name in sheet.figures if pair.OLD in name and name not in ratios
    }
    assert all(len(figure.values) == 2 for figure in sheet.figures.values())


@with_history
def test_a_commit_that_is_measured_is_the_one_that_runs(tmp_path: Path) -> None:
    """Not the package that is installed beside it."""
    source = pair.unpacked("HEAD", tmp_path)
    (source / "lateron" / "__main__.py").write_text("raise SystemExit('the old one')\n", "utf-8")
    with pytest.raises(RuntimeError, match="the old one"), Server(tmp_path, source=source):
        pass


@pytest.mark.parametrize("name", ["backlog", "storm", "overload", "soak"])
def test_each_scenario_of_endure_ends_and_compares_its_logs(
    name: str, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged is delivered, once; how fast is no matter of a small run on a busy machine."""
    monkeypatch.setattr(endure, "SIZES", {"a thousand": 100_000, "ten million": 10_000_000})
    monkeypatch.setattr(storms, "RETRY_S", 1)
    flags = ["--scale", "0.0002", "--seconds", "2500", "--rate", "60", "--minutes", "0.03", "--period", "0.5"]
    sheet = endure.SCENARIOS[name](tools, endure.parse([name, *flags]))

    for figure in ("acknowledged and lost", "delivered twice", "refused and delivered"):
        assert sheet.figures[figure].values
        assert not any(sheet.figures[figure].values), figure


def test_an_account_of_two_logs_finds_what_is_lost_doubled_and_invented(tools: Path, tmp_path: Path) -> None:
    """The yardstick of great loads: what the publishers were told against what the receiver took."""
    with Receiver(tools) as receiver:
        log = tmp_path / "log"
        generate(tools, receiver.url(), {}, count=6, connections=1, log=log)
        told = log.read_bytes()
        receiver.answer(503)
        generate(tools, receiver.url(), {}, count=2, first=6, connections=1, log=log)
        refused = log.read_bytes()
        receiver.answer(200)
        generate(tools, receiver.url(), {}, count=1, connections=1)
        found = account(told + refused + b"2.0", receiver.log())
        wrong = account(b"4.2222", receiver.log())

    assert (told, refused) == (b"222222", b"55")
    assert (found.acknowledged, found.refused, found.unknown) == (7, 2, 1)
    assert (found.lost, found.twice, found.invented, found.most_refused) == (1, 1, 0, 1)
    assert (wrong.invented, wrong.lost) == (2, 0)


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
