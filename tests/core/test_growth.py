"""How fast something grows, and when what it grows into is full."""

from __future__ import annotations

from lateron.core.growth import SOONEST, Forecast, Growth
from lateron.core.values import DAY, HOUR, MINUTE, Millis

START: Millis = 1_700_000_000_000


def grown(*seen: tuple[Millis, int]) -> Growth:
    """Return one that saw these sizes, at so long after its start."""
    growth = Growth()
    for after, size in seen:
        growth.note(START + after, size)
    return growth


def test_it_says_nothing_before_it_has_looked_for_a_while() -> None:
    """A burst in the first minute is no trend."""
    assert Growth().forecast(100) is None
    assert grown((0, 100)).forecast(100) is None
    assert grown((0, 100), (SOONEST - 1, 10_000)).forecast(100) is None
    assert grown((0, 100), (SOONEST, 100)).forecast(100) == Forecast(0, SOONEST, None)


def test_what_grows_evenly_is_full_when_the_room_is_used_up() -> None:
    """A thousand bytes an hour, and room for 5,000: five hours."""
    seen = grown(*((minute * MINUTE, minute * MINUTE * 1000 // HOUR) for minute in range(121)))
    assert seen.forecast(5000) == Forecast(24_000, 2 * HOUR, 5 * HOUR)
    assert seen.forecast(0) == Forecast(24_000, 2 * HOUR, 0)
    assert seen.forecast(-1) == Forecast(24_000, 2 * HOUR, 0)


def test_what_shrinks_or_rests_is_never_full() -> None:
    """Retention took more than came."""
    assert grown((0, 5000), (HOUR, 4000)).forecast(1) == Forecast(-24_000, HOUR, None)


def test_only_the_last_day_counts() -> None:
    """What was a day ago is not what is to be expected."""
    seen = grown((0, 0), (HOUR, 1_000_000), (DAY + HOUR, 1_000_000))
    assert seen.forecast(1) == Forecast(0, DAY, None)


def test_a_step_back_of_the_clock_begins_anew() -> None:
    """Else a size would seem to have grown in no time, or in less than none."""
    seen = grown((DAY, 0), (DAY + HOUR, 1000))
    seen.note(START, 1100)
    assert seen.forecast(1) is None
    seen.note(START + HOUR, 1100)
    assert seen.forecast(1) == Forecast(0, HOUR, None)
