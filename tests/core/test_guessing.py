"""How long whoever failed to log in waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.guessing import ADDRESS, FORGOTTEN, NAME, NONE, Rule, Tries, failed, taken_back, wait
from lateron.core.values import MINUTE, SECOND

rules = st.builds(Rule, free=st.integers(0, 5), first=st.integers(1, 100), longest=st.integers(100, 10_000))
# Whoever guesses waits so long beyond what he must.
pauses = st.lists(st.integers(0, 200), max_size=60)


def history(rule: Rule, waited: list[int]) -> tuple[list[int], Tries, int]:
    """Fail again and again, as soon as it may be and a little more; return the waits, the state and the time."""
    tries, now, waits = NONE, 1_000, []
    for more in waited:
        must = wait(rule, tries, now)
        waits.append(must)
        now += must + more
        assert wait(rule, tries, now) == 0, "what was told is enough"
        tries = failed(tries, now)
    return waits, tries, now


@given(rules, pauses)
def test_waits_grow_and_have_an_end(rule: Rule, waited: list[int]) -> None:
    """Nobody is kept out for ever; and who goes on guessing waits as long as before, or longer."""
    _, tries, now = history(rule, waited)
    must = wait(rule, tries, now)
    assert 0 <= must <= rule.longest
    assert (must == 0) == (len(waited) <= rule.free)
    assert wait(rule, failed(tries, now), now) >= must
    assert wait(rule, tries, now + rule.longest) == 0


@given(rules, pauses)
def test_a_wait_runs_off_as_time_does(rule: Rule, waited: list[int]) -> None:
    """What is told beforehand is what it is."""
    _, tries, now = history(rule, waited)
    must = wait(rule, tries, now)
    assert [wait(rule, tries, now + step) for step in range(0, must, max(1, must // 5))] == [
        must - step for step in range(0, must, max(1, must // 5))
    ]


@given(rules, pauses)
def test_guesses_in_a_given_time_are_few(rule: Rule, waited: list[int]) -> None:
    """However somebody spreads them: beyond the free ones no two are nearer than the waits say."""
    waits, _, _ = history(rule, waited)
    expected = [0] * (rule.free + 1) + [min(rule.longest, rule.first << n) for n in range(60)]
    assert waits == expected[: len(waits)]


@given(rules, pauses)
def test_what_is_taken_back_never_happened_but_for_its_moment(rule: Rule, waited: list[int]) -> None:
    """A right password is counted before it is compared."""
    _, tries, now = history(rule, waited)
    assert taken_back(failed(tries, now)).failures == tries.failures
    assert taken_back(NONE).failures == 0


@pytest.mark.promise("D-54")
def test_the_waits_are_those_of_the_documents() -> None:
    """A name: five free, then a second, doubled up to a minute. An address: ten free, up to a quarter of an hour."""
    waits, tries, now = history(NAME, [0] * 14)
    assert [w // SECOND for w in waits] == [0] * 6 + [1, 2, 4, 8, 16, 32, 60, 60]
    waits, _, _ = history(ADDRESS, [0] * 24)
    assert waits[:11] == [0] * 11
    assert waits[-1] == 15 * MINUTE

    assert wait(NAME, failed(tries, now + FORGOTTEN), now + FORGOTTEN) == 0, "an hour later all is forgotten"
