"""Clocks that are wrong: by an hour or by years, for a moment or over a restart."""

from __future__ import annotations

import random
from typing import cast

import pytest
from tests.broker.conftest import NOW, Desk

from lateron.broker.bulk import Broker
from lateron.broker.enrol import MARK_EVERY, SET_BACK
from lateron.broker.schedules import Schedules, next_tick
from lateron.core import recurring
from lateron.core.quota import QUOTAS
from lateron.core.recurring import NewSchedule, Rules, Schedule
from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Millis, Options, Request
from lateron.errors import StorageFull
from lateron.runtime import id_maker

START: Millis = NOW - NOW % DAY  # Midnight, UTC.
YEAR: Millis = 365 * DAY
TEN_YEARS: Millis = 3652 * DAY


def create(desk: Desk, cron: str = "* * * * *", now: Millis = START, name: str = "s", **rules: object) -> None:
    request = Request("http://one/", "POST", (), b"body", Options())
    new = NewSchedule(1, name, cron, Rules(**rules), request, QUOTAS["none"].schedules)  # type: ignore[arg-type]
    Schedules(desk.broker).create(new, now)


def all_ticks(broker: Broker, now: Millis) -> int:
    """Tick as the loop does: when something is due, until nothing is left."""
    fired, due = 0, next_tick(broker, now)
    while due is not None and due <= now:
        fired += Schedules(broker).tick(now).fired
        due = next_tick(broker, now)
    return fired


def restarted(desk: Desk, now: Millis, node: int = 2) -> Broker:
    broker = Broker(desk.store, id_maker(), node, desk.limits)
    broker.open("again", now)
    return broker


def fired(desk: Desk) -> list[Millis]:
    rows = cast("list[tuple[bytes, Millis, int]]", desk.dump()["tick"])
    return sorted(time for _, time, _ in rows)


def stored(desk: Desk, name: str = "s") -> Schedule:
    return desk.history.schedule(1, name).schedule


@pytest.mark.promise("P-83", "F-20")
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
@pytest.mark.parametrize("cron", ["* * * * *", "0 4 * * *", "@every 10m", "0 0 1 1 *"])
def test_ten_years_ahead_and_back_leave_no_schedule_waiting(
    desk: Desk, cron: str, missed: str, *, restart: bool
) -> None:
    """Each goes on with its next tick of the true time; only what ``all`` has made up for has been."""
    create(desk, cron, missed=missed)
    now = START + 5 * MINUTE
    all_ticks(desk.broker, now)
    before = stored(desk).due
    assert before is not None

    assert all_ticks(desk.broker, now + TEN_YEARS) <= 100
    far = stored(desk).due
    assert far is not None
    assert far > now + TEN_YEARS
    broker = restarted(desk, now) if restart else desk.broker
    assert all_ticks(broker, now + MINUTE - SECOND) == 0

    schedule = stored(desk)
    assert schedule.due == before
    made_up = cron == "0 0 1 1 *" and missed == "all"
    assert all_ticks(broker, before) == (0 if made_up else 1)
    if cron == "* * * * *":
        assert schedule.created == START


@pytest.mark.promise("P-83", "F-20")
def test_what_a_wrong_clock_has_passed_over_runs_at_its_time(desk: Desk) -> None:
    """The report of four o'clock is not lost because at half past three the clock said half past four."""
    create(desk, "0 4 * * *")
    half_past = START + 3 * HOUR + 30 * MINUTE
    assert all_ticks(desk.broker, half_past + HOUR) == 0
    assert stored(desk).missed == 1
    assert all_ticks(desk.broker, half_past + MINUTE) == 0
    assert stored(desk).due == START + 4 * HOUR
    assert all_ticks(desk.broker, START + 4 * HOUR) == 1


@pytest.mark.promise("P-83", "F-20")
def test_an_hour_that_is_repeated_is_silent(desk: Desk) -> None:
    """Every instant of it has run; the first that has not, does."""
    create(desk)
    assert [all_ticks(desk.broker, START + n * MINUTE) for n in range(1, 121)] == [1] * 120
    assert [all_ticks(desk.broker, START + n * MINUTE) for n in range(60, 121)] == [0] * 61
    assert all_ticks(desk.broker, START + 121 * MINUTE) == 1
    assert (stored(desk).runs, stored(desk).missed) == (121, 0)


@pytest.mark.promise("P-83", "F-20")
def test_an_hour_back_and_forth_counts_nothing_as_missed(desk: Desk) -> None:
    """The way forward looks like an outage, and what ran before it has not been missed."""
    create(desk)
    for n in range(1, 121):
        all_ticks(desk.broker, START + n * MINUTE)
    all_ticks(desk.broker, START + 60 * MINUTE)
    assert all_ticks(desk.broker, START + 121 * MINUTE) == 1
    assert (stored(desk).runs, stored(desk).missed) == (121, 0)


@pytest.mark.promise("P-83", "F-20")
@pytest.mark.parametrize("cron", ["@every 1h", "0 4 * * *"])
def test_a_schedule_made_by_a_clock_ahead_does_not_wait_for_that_day(desk: Desk, cron: str) -> None:
    """Its creation lies in the future; it counts from now, paused and resumed or not."""
    create(desk, cron, now=START + TEN_YEARS)
    create(desk, cron, now=START + TEN_YEARS, name="paused")
    Schedules(desk.broker).pause(1, "paused", START + TEN_YEARS)
    all_ticks(desk.broker, START)
    Schedules(desk.broker).resume(1, "paused", START)
    for name in ("s", "paused"):
        schedule = stored(desk, name)
        assert schedule.due is not None
        assert START < schedule.due <= START + DAY
        assert schedule.created == START


@pytest.mark.promise("P-83", "F-20", "F-22")
def test_the_mark_is_kept_and_not_written_at_each_tick(desk: Desk) -> None:
    """A restart knows by which time schedules were reckoned, give or take what the mark may lag."""
    create(desk, "@every 1s")

    written = set()
    for n in range(1, 31):
        all_ticks(desk.broker, START + n * SECOND)
        mark = restarted(desk, START, node=n + 1).tick_mark
        written.add(mark)
        assert START + n * SECOND - MARK_EVERY < mark <= START + n * SECOND
    assert len(written) <= 7
    assert next_tick(desk.broker, START + 30 * SECOND - SET_BACK) != START + 30 * SECOND - SET_BACK


@pytest.mark.promise("P-83", "F-20", "F-22")
def test_the_mark_does_not_believe_a_transaction_that_came_to_nothing(desk: Desk) -> None:
    """Else it would not be written by the next one, and a crash would forget by which time that one has reckoned."""
    wrong = START + TEN_YEARS
    with pytest.raises(StorageFull), desk.broker.publishing(wrong):
        raise StorageFull("no room")
    with desk.broker.publishing(wrong + 1):
        pass

    assert desk.broker.tick_mark == wrong + 1
    assert restarted(desk, START).tick_mark == wrong + 1


@pytest.mark.promise("P-83", "F-11", "F-20")
def test_retention_takes_no_mark_of_a_transaction_that_was_rolled_back(desk: Desk) -> None:
    """The next start would know an earlier one, and take what that clock has dated for what somebody has named."""
    before = desk.broker.tick_mark
    with pytest.raises(StorageFull), desk.broker.publishing(START + TEN_YEARS):
        raise StorageFull("no room")

    desk.broker.sweep(START)

    assert desk.broker.tick_mark == before


@pytest.mark.promise("P-83", "F-20")
def test_many_schedules_are_looked_at_in_pieces_and_a_crash_between_is_no_matter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all have been made due, the mark stays where it was."""
    monkeypatch.setattr("lateron.broker.schedules.LOOKED_AT", 4)
    for n in range(10):
        create(desk, "0 4 * * *", name=f"s{n}")
    all_ticks(desk.broker, START + TEN_YEARS)
    assert Schedules(desk.broker).tick(START).more
    broker = restarted(desk, START)
    assert broker.tick_mark > START + YEAR
    all_ticks(broker, START)
    assert {stored(desk, f"s{n}").due for n in range(10)} == {START + 4 * HOUR}
    assert broker.tick_mark == START


@pytest.mark.promise("P-80", "P-81", "P-82", "P-83", "F-1", "F-20")
@pytest.mark.parametrize("seed", range(40))
def test_no_history_of_wrong_clocks_doubles_a_tick_or_stops_a_schedule(seed: int, desk: Desk) -> None:
    """True time goes on; the clock is off by hours or years for a while, and processes come and go."""
    chance, true, offset = random.Random(seed), START, 0
    policies = {"latest": "* * * * *", "skip": "@every 7m", "all": "*/20 * * * *"}
    for missed, cron in policies.items():
        create(desk, cron, name=missed, missed=missed)
    broker, longest = desk.broker, 0
    for step in range(60):
        true += chance.choice([SECOND, 20 * SECOND, MINUTE, 5 * MINUTE, HOUR])
        if chance.random() < 0.3:
            offset = chance.choice([0, 0, HOUR, -HOUR, TEN_YEARS, -TEN_YEARS, YEAR, -DAY])
        if chance.random() < 0.2:
            broker = restarted(desk, true + offset, step + 2)
        runs = {name: stored(desk, name).runs for name in policies}
        all_ticks(broker, true + offset)
        longest = max(longest, *(stored(desk, name).runs - runs[name] for name in policies))

    all_ticks(broker, true)
    for name in policies:
        schedule = stored(desk, name)
        assert schedule.due is not None
        following = recurring.following(schedule, true)
        assert following is not None
        assert schedule.due <= following, "no schedule waits for a date far off"
        assert schedule.created <= max(true, START)
    assert longest <= 100
    rows = cast("list[tuple[bytes, Millis, int]]", desk.dump()["tick"])
    assert len(rows) == len({row[:2] for row in rows}) == sum(stored(desk, name).runs for name in policies)
