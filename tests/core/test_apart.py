"""Who is suspected of the death of a process, who is set apart, and who is convicted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core import apart
from lateron.core import message as life
from lateron.core.apart import ALONE_MS, Apart
from lateron.core.values import CallbackOptions, Kind, Message, MessageId, Millis, Options, Outcome, Request, State

NOW: Millis = 1_700_000_000_000
LIMIT = 5


def message(number: int = 1, state: State = State.ACTIVE, **changes: object) -> Message:
    open_one = {"node": 1, "started": NOW, "attempt": 1} if state is State.ACTIVE else {}
    given = {"due": NOW, "created": NOW, "retries": 3, **open_one, **changes}
    return Message(MessageId(bytes([number]) * 16), 1, 1, state, **given)  # type: ignore[arg-type]


def request(**options: object) -> Request:
    return Request("http://one/", "POST", (), b"body", Options(**options))  # type: ignore[arg-type]


@pytest.mark.promise("P-31")
def test_the_fifth_death_makes_a_suspect_and_one_alone_makes_it_guilty() -> None:
    """Until the fifth nobody is held up; nobody is convicted who was not alone, or whom nobody wants any more."""
    deaths = [message(rescues=count) for count in range(7)]

    assert [apart.suspected(one, LIMIT) for one in deaths] == [False] * 5 + [True] * 2
    assert [apart.guilty(one, LIMIT, sole=True) for one in deaths] == [False] * 5 + [True] * 2
    assert not any(apart.guilty(one, LIMIT, sole=False) for one in deaths)
    assert not any(apart.suspected(one, None) or apart.guilty(one, None, sole=True) for one in deaths)
    assert not apart.guilty(message(rescues=9, cancel=NOW), LIMIT, sole=True)


@pytest.mark.promise("P-31")
def test_an_attempt_that_ends_clears_its_message() -> None:
    """Also with a failure: the process has survived it. A death, and an end in order, clear nobody."""
    suspect = message(rescues=LIMIT)

    assert life.settle(suspect, request(), Outcome(status=500), NOW).message.rescues == 0
    assert life.lose(suspect, NOW).message.rescues == LIMIT + 1
    assert life.give_back(suspect, NOW).message.rescues == LIMIT
    assert life.break_off(suspect, NOW).message.rescues == LIMIT


@pytest.mark.promise("P-31")
def test_who_is_convicted_is_a_dead_letter_with_its_callbacks() -> None:
    """Retries are left, but each would cost the whole server a life."""
    asked = request(callback=CallbackOptions("http://cb/"), failure_callback=CallbackOptions("http://failed/"))

    ended = life.convict(message(rescues=LIMIT), asked, NOW)

    assert ended.message.state is State.FAILED
    assert ended.attempt is not None
    assert (ended.attempt.outcome.error, ended.attempt.outcome.detail[:20]) == ("crash-loop", "the process died 6 t")
    assert ended.dead_letter is not None
    assert [one.kind for one in ended.created] == [Kind.CALLBACK, Kind.FAILURE_CALLBACK]


@pytest.mark.promise("P-31")
def test_suspects_that_wait_are_set_apart_in_their_order() -> None:
    """Who is held in a paused queue, or rests, is nobody's hindrance."""
    waiting = [message(n, State.WAITING, rescues=r, due=NOW - n) for n, r in ((1, 5), (2, 4), (3, 6))]
    others = [message(4, State.HELD, rescues=9), message(5, State.CANCELED, rescues=9)]

    assert apart.set_apart([*waiting, *others], LIMIT) == Apart((waiting[2].id, waiting[0].id))
    assert apart.set_apart(others, LIMIT) is None


@pytest.mark.promise("P-31")
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, ALONE_MS // 2), st.booleans()), max_size=40))
def test_suspects_start_one_by_one_and_hold_up_the_others_for_a_minute_at_most(
    count: int, steps: list[tuple[Millis, bool]]
) -> None:
    """Whatever ends when: nobody else may start while a suspect waits or is under way, and then everybody may."""
    state: Apart | None = Apart(tuple(MessageId(bytes([n]) * 16) for n in range(count)))
    now, still_open, first = NOW, 0, None
    for wait, ends in steps:
        now += wait
        still_open = 0 if ends else still_open
        assert state is not None
        state = apart.gone_on(state, still_open, now)
        late = first is not None and now - first >= ALONE_MS
        if state is None:
            assert late or (not still_open and first is not None)
            assert apart.shares(state, 7, still_open) == (7, False)
            return
        assert not late
        others, alone = apart.shares(state, 7, still_open)
        assert (others, alone) == (0, still_open == 0)
        assert apart.shares(state, 0, still_open) == (0, False)
        if alone:
            state, still_open = apart.begun(state, 1, now), 1
            first = now if first is None else first
        assert first is not None
        assert apart.until(state) == first + ALONE_MS
        assert apart.gone_on(state, 1, first - 1) is None, "a clock that was set back keeps everybody waiting"
