"""Figures that are only added to: true after every transaction, whatever came to nothing, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lateron.core.tally import KNOWN, MOST_SECONDS, Depths, Histogram, Moves, Tally
from lateron.core.values import Attempt, Event, EventKind, Kind, MessageId, Millis, Outcome, Phases

ID = MessageId(bytes(16))


def moves(created: int = 0, joined: tuple[Millis, ...] = (), left: tuple[Millis, ...] = ()) -> Moves:
    events = [Event(1, 0, ID, 0, EventKind.CREATED)] * created
    return Moves([Kind.PUBLISH] * created, list(joined), list(left), events)


def settled(tally: Tally, *transactions: Moves) -> Tally:
    for transaction in transactions:
        tally.begin()
        tally.note(transaction)
        tally.settle()
    return tally


def test_a_bound_belongs_to_its_own_bucket() -> None:
    """Prometheus counts what is at most a bound."""
    histogram = Histogram((1.0, 2.0))

    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.add(value)

    assert (list(histogram.counts), histogram.total) == ([2, 2, 1], 7.5)


def test_a_transaction_that_came_to_nothing_is_not_counted() -> None:
    """A full disk must not make messages appear in a chart that nobody has."""
    tally = Tally()
    tally.begin()
    tally.note(moves(created=5, joined=(0,) * 5))

    settled(tally, moves(created=1, joined=(0,)))

    assert (tally.open, tally.waiting, tally.created[Kind.PUBLISH]) == (1, 1, 1)


def test_delayed_messages_become_ready_by_the_clock_alone() -> None:
    """Nobody touches a message when its time comes; the figure knows it all the same."""
    tally = settled(Tally(), moves(created=2, joined=(10_000, 20_000)))

    assert [tally.ready(now) for now in (9_999, 10_000, 15_500, 20_000)] == [
        (0, 0), (1, 0), (1, 5_500), (2, 10_000),
    ]  # fmt: skip


@given(st.lists(st.integers(0, 90 * 86_400_000), max_size=60))
def test_what_came_and_went_is_forgotten(dues: list[Millis]) -> None:
    """A server that runs for a year has no more in memory than what waits now."""
    gone = dues[: len(dues) // 2]

    tally = settled(Tally(), moves(joined=tuple(dues)), moves(left=tuple(gone)))

    assert tally.ready(1 << 50)[0] == tally.waiting == len(dues) - len(gone)
    assert sum(tally._dues.values()) == tally.waiting
    assert min(tally._dues.values(), default=1) > 0


def test_seconds_are_put_together_where_there_are_too_many() -> None:
    """Ten million messages, each due in a second of its own, must not cost the memory of ten million entries."""
    dues = tuple(second * 1000 for second in range(3 * MOST_SECONDS))

    tally = settled(Tally(), moves(joined=dues))

    assert len(tally._dues) <= MOST_SECONDS
    assert tally.ready(dues[-1])[0] == len(dues)
    half = tally.ready(dues[len(dues) // 2])[0]
    assert abs(half - len(dues) // 2) <= 4
    assert settled(tally, moves(left=dues)).ready(1 << 50) == (0, 0)


def test_a_start_above_the_bound_is_said_to_be_one() -> None:
    """Whoever sees a figure that is too low must be told; it never goes below nothing."""
    tally = Tally()
    tally.start(Depths(parked=1, active=2, dead_letters=3), [(5, KNOWN - 1), (5, 1)])

    assert (tally.exact, tally.parked(), tally.active) == (False, 1, 2)
    settled(tally, moves(left=(7_000_000, 7_000_000)), Moves(letters=-10))

    assert tally.dead_letters == 0
    assert tally.ready(6_000) == (KNOWN, 1_000)


def test_attempts_are_told_apart_by_error_and_status() -> None:
    """A break-down says more than a number: refused connections are not errors of a receiver."""
    outcomes = [Outcome(status=204, phases=Phases(total=2_000_000)), Outcome(status=503), Outcome(error="dns")]
    attempts = [Attempt(ID, 1, 1, 0, 0, outcome) for outcome in outcomes]

    tally = settled(Tally(), Moves(attempts=attempts))

    assert tally.attempts == {("answered", 2): 1, ("answered", 5): 1, ("dns", 0): 1}
    assert (sum(tally.attempt_s.counts), tally.attempt_s.total) == (1, 2.0)
