"""What a test that moves the clock may rely on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qstash import QStash
from qstash.message import FlowControl
from tests.support.clients import connect

from lateron.testing import Answer, Lateron, Request

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
at_new_year = pytest.mark.lateron(start="2030-01-01")


def seconds(requests: list[Request]) -> list[float]:
    """Return when requests came, in seconds after new year."""
    return [(request.time - NEW_YEAR).total_seconds() for request in requests]


@at_new_year
def test_the_clock_stands_until_it_is_moved(lateron: Lateron, client: QStash) -> None:
    """A slow machine must not change what a test sees."""
    client.message.publish(url=lateron.catcher.url("soon"), delay="1s")

    assert lateron.catcher.received("soon") == []
    assert [message["waitingFor"] for message in lateron.pending()] == ["delay"]
    assert lateron.clock() == NEW_YEAR

    lateron.clock.advance("999ms")
    assert lateron.catcher.received("soon") == []
    lateron.clock.advance("1ms")
    assert seconds(lateron.catcher.received("soon")) == [1.0]
    assert lateron.pending() == []


@at_new_year
def test_what_is_due_fires_in_order_whatever_it_is(lateron: Lateron, client: QStash) -> None:
    """A retry, a schedule and two delays in one move: each at its own time, as if the night had really passed."""
    catcher = lateron.catcher
    catcher.answer("flaky", 500, 500, 200)
    client.message.publish(url=catcher.url("late"), delay="3h")
    client.message.publish(url=catcher.url("flaky"), retries=3)
    client.message.publish(url=catcher.url("early"), not_before=int(NEW_YEAR.timestamp()) + 60)
    client.schedule.create(destination=catcher.url("hourly"), cron="0 * * * *")

    lateron.clock.advance("3h")

    came = [
        (request.name, second) for request, second in zip(catcher.received(), seconds(catcher.received()), strict=True)
    ]
    assert sorted(came[-2:]) == [("hourly", 10800.0), ("late", 10800.0)]
    assert came[:-2] == [
        ("flaky", 0.0),
        ("flaky", 12.0),
        ("early", 60.0),
        ("flaky", 160.0),
        ("hourly", 3600.0),
        ("hourly", 7200.0),
    ]


@at_new_year
def test_a_timeout_comes_by_the_clock(lateron: Lateron, client: QStash) -> None:
    """The answer would take ten minutes; the publisher allows five, and one retry 12 seconds later."""
    lateron.catcher.answer("slow", Answer(delay="10m"))
    sent = client.message.publish(url=lateron.catcher.url("slow"), timeout="5m", retries=1)
    assert not isinstance(sent, list)

    lateron.clock.advance("299s")
    assert lateron.states(sent.message_id) == ["CREATED", "ACTIVE"]
    lateron.clock.advance("2m")
    assert lateron.states(sent.message_id) == ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE"]
    lateron.clock.advance("1h")

    assert lateron.states(sent.message_id)[-1] == "FAILED"
    assert seconds(lateron.catcher.received("slow")) == [0.0, 312.0]
    (letter,) = lateron.dead_letters()
    assert letter["messageId"] == sent.message_id


@at_new_year
def test_a_slow_answer_comes_by_the_clock(lateron: Lateron, client: QStash) -> None:
    """Nobody waits for it, and it is not lost."""
    lateron.catcher.answer("slow", Answer(delay="10m"))
    sent = client.message.publish(url=lateron.catcher.url("slow"))
    assert not isinstance(sent, list)

    lateron.clock.advance("599s")
    assert lateron.states(sent.message_id) == ["CREATED", "ACTIVE"]
    lateron.clock.advance(1)

    assert lateron.states(sent.message_id) == ["CREATED", "ACTIVE", "DELIVERED"]


@at_new_year
def test_the_windows_of_a_rate_go_by_the_clock(lateron: Lateron, client: QStash) -> None:
    """Five messages, two in a minute."""
    for _ in range(5):
        client.message.publish(url=lateron.catcher.url("api"), flow_control=FlowControl(key="api", rate=2, period="1m"))
    assert seconds(lateron.catcher.received("api")) == [0.0, 0.0]

    lateron.clock.advance(timedelta(minutes=10))

    assert seconds(lateron.catcher.received("api")) == [0.0, 0.0, 60.0, 60.0, 120.0]


@at_new_year
def test_parallel_deliveries_wait_for_each_other_by_the_clock(lateron: Lateron, client: QStash) -> None:
    """One at a time, each takes a minute."""
    lateron.catcher.answer("one", Answer(delay="1m"))
    for _ in range(3):
        client.message.publish(url=lateron.catcher.url("one"), flow_control=FlowControl(key="one", parallelism=1))
    lateron.settle()

    lateron.clock.advance("1h")

    assert seconds(lateron.catcher.received("one")) == [0.0, 60.0, 120.0]


@at_new_year
def test_retention_goes_by_the_clock(lateron: Lateron, client: QStash) -> None:
    """The history is kept for three days, dead letters for thirty."""
    lateron.catcher.answer("gone", 500)
    sent = client.message.publish(url=lateron.catcher.url("gone"), retries=0)
    assert not isinstance(sent, list)
    assert lateron.states(sent.message_id)[-1] == "FAILED"

    lateron.clock.advance("2d")
    assert lateron.states(sent.message_id)[-1] == "FAILED"
    lateron.clock.advance("29d")

    assert lateron.dead_letters() == []
    assert lateron.states(sent.message_id) == []


@pytest.mark.lateron(start="2030-03-30T12:00:00+00:00")
def test_a_schedule_keeps_its_zone_through_the_night_of_the_change(lateron: Lateron, client: QStash) -> None:
    """The reason to move a clock: the last Sunday of March, in Berlin."""
    client.schedule.create(destination=lateron.catcher.url("daily"), cron="CRON_TZ=Europe/Berlin 30 2 * * *")

    lateron.clock.advance_to(datetime(2030, 4, 1, 12, tzinfo=UTC))

    times = [request.time.strftime("%d %H:%M") for request in lateron.catcher.received("daily")]
    assert times == ["31 01:00", "01 00:30"], "the hour that does not exist fires right after it"
    assert all(request.schedule_id for request in lateron.catcher.received("daily"))


def test_a_hundred_years_without_work_take_no_time(lateron: Lateron) -> None:
    """The clock goes to what is due; it does not count the seconds."""
    lateron.clock.advance("36500d")

    assert lateron.clock() > datetime(2120, 1, 1, tzinfo=UTC)


def test_the_clock_does_not_run_backwards(lateron: Lateron) -> None:
    """What has been sent cannot be called back."""
    with pytest.raises(ValueError, match="backwards"):
        lateron.clock.advance_to("2020-01-01")
    with pytest.raises(ValueError, match="backwards"):
        lateron.clock.advance(-1)


delays = st.lists(st.integers(0, 40), max_size=5)
steps = st.lists(st.integers(0, 30), max_size=5)


def history(delays: list[int], failures: int, steps: list[int]) -> list[tuple[str, float, int]]:
    """Return who received what when, if the clock is moved in such steps, and then to the end."""
    with Lateron(start=NEW_YEAR) as server, connect("sync", server.url, server.token) as client:
        for number, delay in enumerate(delays):
            server.catcher.answer(f"d{number}", *[503] * (failures * (number % 2)), 200)
            client.message.publish(url=server.catcher.url(f"d{number}"), delay=delay, retries=3)
        for step in steps:
            server.clock.advance(step)
        server.clock.advance_to(NEW_YEAR + timedelta(days=1))
        return [(r.name, (r.time - NEW_YEAR).total_seconds(), r.retried) for r in server.catcher.received()]


@settings(max_examples=8)
@given(delays, st.integers(0, 2), steps)
def test_many_small_steps_are_one_large_one(delays: list[int], failures: int, steps: list[int]) -> None:
    """How a test cuts the time must not show; what fires at one instant has no order."""
    whole = history(delays, failures, [])

    assert sorted(history(delays, failures, steps)) == sorted(whole)
    assert all(before[1] <= after[1] for before, after in pairwise(whole))
