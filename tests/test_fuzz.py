"""What fuzzing has found to be of interest is read again at every run, and some changes of it; see ``tests.fuzz``."""

from __future__ import annotations

import random

import pytest
from tests.fuzz import CORPUS, TARGETS, Guide, Target, corpus, mutated, problem

CHANGES = 400


@pytest.mark.promise("P-25", "D-10", "D-20", "F-43", "F-44", "F-45", "F-46")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_bytes_of_strangers_are_read_or_refused(target: Target) -> None:
    """No other exception, no hang, and what is accepted holds what is said of it."""
    chance, pool = random.Random(1), corpus(target)
    for data in pool:
        assert problem(target, data) is None, data
    for _ in range(CHANGES):
        data = mutated(chance.choice(pool), chance, target, pool)
        assert problem(target, data) is None, data


def test_corpus_belongs_to_targets() -> None:
    """A corpus of a reader that is gone guards nothing."""
    assert {path.stem for path in CORPUS.iterdir()} == {target.name for target in TARGETS}


def test_the_guide_sees_a_new_way() -> None:
    """Without it the fuzzer would be blind, and nobody would notice."""
    guide = Guide()
    (cron,) = [target for target in TARGETS if target.name == "cron"]

    assert guide.reaches_more(cron.run, b"* * * * *")
    assert not guide.reaches_more(cron.run, b"* * * * *")
    assert guide.reaches_more(cron.run, b"@every 1s")


def test_a_reader_that_fails_is_told_with_the_least_of_its_input() -> None:
    """A finding of two thousand bytes helps nobody."""
    from tests.fuzz import smaller

    def fails(data: bytes) -> None:
        assert b"!" not in data

    target = Target("fails", fails, [b""], [b"!"])
    assert smaller(target, b"a long text with ! in it") == b"!"
