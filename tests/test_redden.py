"""Every promise has a bug under which its test goes red; ten of them are planted here, all by ``tests.redden``."""

from __future__ import annotations

import pytest
from tests.promises import SHOWN, Shown
from tests.promises import load as load_promises
from tests.redden import ROOT, Patch, load, redden_all

SAMPLE = 10
SLOW = ("tests/crash/", "tests/simulation/")


def sample() -> list[Patch]:
    """Return some of the bugs, spread over all promises, whose tests take a moment."""
    quick = [patch for patch in load().values() if not patch.test.startswith(SLOW)]
    return quick[:: len(quick) // SAMPLE][:SAMPLE]


def test_every_promise_has_a_bug() -> None:
    """A promise whose test was never seen to fail is a promise of nothing."""
    assert sorted(load()) == sorted(load_promises().texts)


def test_every_bug_fits_the_program() -> None:
    """Code that has changed takes its bug along: what a bug changes stands in its file, exactly once."""
    assert {promise: patch.places(ROOT) for promise, patch in load().items() if patch.places(ROOT) != 1} == {}
    assert [promise for promise, patch in load().items() if patch.old == patch.new] == []


def test_every_bug_names_a_test_of_its_promise(request: pytest.FixtureRequest) -> None:
    """Another test that goes red says nothing about this promise."""
    shown: Shown = request.config.stash[SHOWN]
    if not shown.full:
        pytest.skip("only a full run sees every test")
    wrong = {promise: patch.test for promise, patch in load().items() if patch.test not in shown.tests[promise]}
    assert wrong == {}


def test_planted_bugs_turn_tests_red() -> None:
    """A sample; the whole table takes minutes."""
    ran = list(redden_all(sample()))

    assert len(ran) == SAMPLE
    assert [(one.patch.promise, one.output[-500:]) for one in ran if not one.red] == []
