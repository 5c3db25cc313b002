"""Keys, hosts and whoever waits in them, after a clock that was ahead: for a moment, or over a restart."""

from __future__ import annotations

import pytest
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.schedules import Schedules, next_tick
from lateron.broker.views import Limits
from lateron.core.flow_control import flow_lane
from lateron.core.values import DAY, HOUR, MINUTE, Flow, Millis, Outcome
from lateron.store.sqlite import open_memory

AHEAD: Millis = NOW + 30 * DAY
OK = Outcome(status=200)
KEY = flow_lane(1, "k")


def noticed(desk: Desk, now: Millis) -> None:
    """Let the timer look, as it does each second, until it has nothing to do."""
    due = next_tick(desk.broker, now)
    while due is not None and due <= now:
        Schedules(desk.broker).tick(now)
        due = next_tick(desk.broker, now)


def run_at(desk: Desk, now: Millis, room: int = 100) -> int:
    """Start what may start, and let it be delivered at once."""
    claimed = desk.claim(room, now)
    desk.settle(claimed, OK, now)
    return len(claimed)


@pytest.mark.promise("P-71", "P-72", "P-83", "F-20", "F-22")
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("smooth", [False, True], ids=["by period", "smooth"])
def test_a_key_does_not_wait_for_the_date_of_a_clock_that_was_ahead(desk: Desk, *, smooth: bool, restart: bool) -> None:
    """What it started then may have been just now, so its rate holds for one more period from now; no longer."""
    flow = Flow("k", rate=2, period_ms=HOUR, smooth=smooth)
    desk.publish(*(item(flow=flow) for _ in range(7)))
    assert sum(run_at(desk, AHEAD + minute * MINUTE) for minute in range(31)) == 2
    if restart:
        desk.restart(2)

    noticed(desk, NOW)
    starts = [n for n in range(151) for _ in range(run_at(desk, NOW + n * MINUTE))]

    # A smooth key started its second half an hour ago, by that clock, so its next share is half an hour away.
    assert starts == ([60, 90, 120, 150] if smooth else [60, 60, 120, 120])


@pytest.mark.promise("P-83", "P-117", "F-20")
def test_a_key_is_brought_back_by_whoever_meets_it(desk: Desk) -> None:
    """A message that joins does not have to wait until the timer has noticed anything."""
    flow = Flow("k", rate=2, period_ms=HOUR)
    desk.publish(item(flow=flow), item(flow=flow))
    assert run_at(desk, AHEAD) == 2

    desk.publish(item(flow=flow), room=9)
    lane = desk.history.lane(1, KEY, NOW).lane

    assert (lane.period_start, lane.rate_count, lane.next_due) == (NOW, 2, NOW + HOUR)
    assert run_at(desk, NOW + HOUR - 1) == 0
    assert run_at(desk, NOW + HOUR) == 1


@pytest.mark.promise("P-83", "F-20")
def test_whoever_asks_is_not_told_of_the_date_of_a_clock_that_was_ahead(desk: Desk) -> None:
    """Neither of the message nor of its key, also before anything has met the key."""
    flow = Flow("k", rate=2, period_ms=HOUR)
    _, _, last = desk.publish(*(item(flow=flow) for _ in range(3)))
    assert run_at(desk, AHEAD) == 2

    waiting = desk.history.message(1, last.id, NOW).waiting

    assert waiting is not None
    assert (waiting.reason, waiting.until) == ("flow_rate", NOW + HOUR)
    assert desk.history.lane(1, KEY, NOW).lane.period_start == NOW


@pytest.mark.promise("P-83", "P-117", "F-20", "F-22")
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_who_got_no_share_from_a_clock_that_was_ahead_is_looked_at_again(desk: Desk, *, restart: bool) -> None:
    """It was put behind the others, to a time that does not come; it has no limit, and nothing ever started in it."""
    desk.publish(*(item("http://one/") for _ in range(9)))
    desk.publish(*(item(f"http://host{n}/", tenant=2) for n in range(5)))
    assert run_at(desk, AHEAD, room=6) == 6
    if restart:
        desk.restart(2)

    noticed(desk, NOW)

    assert sum(run_at(desk, NOW) for _ in range(3)) == 8


@pytest.mark.promise("P-83", "P-117", "F-20")
def test_who_came_to_a_full_host_by_a_clock_ahead_is_called_all_the_same() -> None:
    """The place in the crowd is kept by when it came; that must not put it off until then."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=1))
    desk.publish(item(flow=Flow("a")), item(flow=Flow("b")))
    first = desk.claim(now=AHEAD)
    assert len(first) == 1

    desk.settle(first, OK, NOW)

    assert run_at(desk, NOW) == 1


@pytest.mark.promise("P-83", "F-1", "F-20")
def test_many_keys_are_looked_at_in_pieces_and_a_crash_between_is_no_matter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all look again, the mark stays where it was."""
    monkeypatch.setattr("lateron.broker.schedules.LOOKED_AT", 4)
    keys = [f"k{n}" for n in range(10)]
    desk.publish(*(item(flow=Flow(key, rate=1, period_ms=HOUR)) for key in keys for _ in range(2)))
    assert run_at(desk, AHEAD) == 10

    assert Schedules(desk.broker).tick(NOW).more
    desk.restart(2)
    assert next_tick(desk.broker, NOW) == NOW
    noticed(desk, NOW)

    assert run_at(desk, NOW) == 0
    assert run_at(desk, NOW + HOUR) == 10


def test_a_clock_that_is_slewed_moves_no_period(desk: Desk) -> None:
    """Nor do two transactions of which the earlier one waited for the later: a limit would end too soon."""
    flow = Flow("k", rate=2, period_ms=HOUR)
    desk.publish(*(item(flow=flow) for _ in range(4)))
    assert run_at(desk, NOW + 2000) == 2

    noticed(desk, NOW)
    desk.publish(item(flow=flow), now=NOW)

    assert desk.history.lane(1, KEY, NOW).lane.period_start == NOW + 2000
    assert run_at(desk, NOW + HOUR) == 0
