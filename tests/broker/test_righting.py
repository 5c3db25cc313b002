"""Messages that a clock ahead has put off: they wait from when it is right again, and not until its date."""

from __future__ import annotations

import pytest
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.schedules import Schedules, next_tick
from lateron.broker.views import Accepted, Limits
from lateron.core.bulk import JobKind, Order
from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Filter, Flow, MessageId, Millis, Outcome, RetryPolicy, State
from lateron.store.sqlite import open_memory

AHEAD: Millis = NOW + 30 * DAY
DOWN = Outcome(status=503)
OK = Outcome(status=200)
MINUTELY = RetryPolicy(3, expression="60000")


def noticed(desk: Desk, now: Millis) -> int:
    """Let the timer look, as it does each second, until it has nothing to do; return how often."""
    times = 0
    while (due := next_tick(desk.broker, now)) is not None and due <= now:
        Schedules(desk.broker).tick(now)
        times += 1
    return times


def due_of(desk: Desk, message: MessageId) -> Millis:
    """Return when a message is due."""
    return desk.history.message(1, message, NOW).message.due


def fail(desk: Desk, now: Millis) -> None:
    """Start what may start, and let it fail."""
    desk.settle(desk.claim(now=now), DOWN, now)


@pytest.mark.promise("P-24", "P-83", "P-117", "F-20", "F-22")
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_a_retry_waits_as_long_as_it_was_to_wait_from_when_the_clock_is_right(desk: Desk, *, restart: bool) -> None:
    (one,) = desk.publish(item(retry=MINUTELY))
    fail(desk, AHEAD)
    assert due_of(desk, one.id) == AHEAD + MINUTE
    if restart:
        desk.restart(2)

    noticed(desk, NOW)

    assert due_of(desk, one.id) == NOW + MINUTE
    assert not desk.claim(now=NOW + MINUTE - 1)
    assert [claimed.message.id for claimed in desk.claim(now=NOW + MINUTE)] == [one.id]


@pytest.mark.promise("P-117", "F-20")
def test_what_was_to_go_at_once_and_found_no_room_goes_when_the_clock_is_right() -> None:
    """Also behind others of its key, and in a queue."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=2))
    flow = Flow("k", parallelism=1)
    desk.publish(*(item(flow=flow) for _ in range(3)), *(item(queue_name="q") for _ in range(3)), now=AHEAD)

    noticed(desk, NOW)

    done = 0
    while claimed := desk.claim(now=NOW):
        desk.settle(claimed, OK, NOW)
        done += len(claimed)
    assert done == 6


@pytest.mark.promise("P-60", "P-83", "P-117", "F-20")
@pytest.mark.parametrize("named", [None, NOW + HOUR], ids=["at once", "at a time"])
def test_a_queue_does_not_stand_still_because_its_next_was_armed_by_a_clock_ahead(
    desk: Desk, named: Millis | None
) -> None:
    """It was published by the clock that is right, and no line of the log says when it was given its slot."""
    desk.publish(item(queue_name="q"), item(queue_name="q", not_before=named), item(queue_name="q"))
    desk.settle(desk.claim(), OK, AHEAD)

    noticed(desk, NOW)

    starts = []
    for now in (NOW, NOW + 1, NOW + HOUR, NOW + HOUR + 1):
        claimed = desk.claim(now=now)
        desk.settle(claimed, OK, now)
        starts += [now] * len(claimed)
    assert starts == ([NOW, NOW + 1] if named is None else [NOW + HOUR, NOW + HOUR + 1])


@pytest.mark.promise("P-24", "P-65", "F-20")
@pytest.mark.parametrize("purged", [False, True], ids=["with its log", "without"])
@pytest.mark.parametrize("failed", [NOW, AHEAD - HOUR], ids=["right", "ahead"])
def test_a_retry_that_a_resumed_queue_lets_go_by_a_clock_ahead_keeps_its_wait(
    desk: Desk, failed: Millis, *, purged: bool
) -> None:
    """It is due since the resume, by that clock; when it was to be tried again says the line before."""
    (one,) = desk.publish(item(queue_name="q", retry=MINUTELY))
    claimed = desk.claim(now=failed)
    desk.broker.pause_queue(1, "q", failed, paused=True)
    desk.settle(claimed, DOWN, failed)
    desk.broker.pause_queue(1, "q", AHEAD, paused=False)
    assert due_of(desk, one.id) == AHEAD
    if purged:
        desk.store._connection.execute("DELETE FROM event")

    noticed(desk, NOW)

    assert due_of(desk, one.id) == (NOW if purged else NOW + MINUTE)


@pytest.mark.promise("P-30", "F-20")
def test_a_time_that_somebody_has_named_stays(desk: Desk) -> None:
    """By the publisher, or since by an operator; a delay cannot be told from it."""
    named, delayed, put_off = desk.publish(
        item(not_before=AHEAD + HOUR), item(delay_ms=HOUR), item(retry=MINUTELY), now=AHEAD
    )
    fail(desk, AHEAD)
    order = Order(JobKind.RESCHEDULE, Filter(message_ids=(put_off.id,)), due=AHEAD + 2 * DAY)
    desk.broker.create_job(1, order, "me", None, AHEAD)
    while desk.broker.job_alarm is not None:
        desk.broker.advance_job(AHEAD)
    before = desk.dump()["message"]
    assert due_of(desk, put_off.id) == AHEAD + 2 * DAY

    noticed(desk, NOW)

    assert desk.dump()["message"] == before
    assert due_of(desk, named.id) == due_of(desk, delayed.id) == AHEAD + HOUR


@pytest.mark.promise("F-1", "F-20")
def test_many_are_righted_in_pieces_and_a_crash_between_is_no_matter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lateron.broker.righting.LINES", 4)
    made: list[Accepted] = []
    for tenant in (1, 2):
        made += desk.publish(*(item(tenant=tenant, retry=MINUTELY) for _ in range(10)))
    fail(desk, AHEAD)
    for _ in range(3):
        assert Schedules(desk.broker).tick(NOW).more
    desk.restart(2)

    assert noticed(desk, NOW) > 10

    claimed = desk.claim(now=NOW + MINUTE)
    assert {one.message.id for one in claimed} == {one.id for one in made}
    assert noticed(desk, NOW + MINUTE) == 0


@pytest.mark.promise("F-20")
def test_a_clock_that_is_set_back_twice_rights_what_was_written_between(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time in the midst of the first: what lies before its place is read, too."""
    monkeypatch.setattr("lateron.broker.righting.LINES", 2)
    (first,) = desk.publish(item(retry=RetryPolicy(3, expression="7200000")))
    fail(desk, AHEAD - HOUR)
    (second,) = desk.publish(item(retry=MINUTELY), now=AHEAD)
    fail(desk, AHEAD)
    assert Schedules(desk.broker).tick(AHEAD - MINUTE).more

    noticed(desk, NOW)

    assert (due_of(desk, first.id), due_of(desk, second.id)) == (NOW + 2 * HOUR, NOW + MINUTE)


@pytest.mark.promise("F-20")
def test_a_clock_that_is_ahead_again_while_messages_are_righted_is_righted_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes then may lie before the place that was reached."""
    monkeypatch.setattr("lateron.broker.righting.LINES", 2)
    desk.publish(*(item("http://a/") for _ in range(9)), now=AHEAD + DAY)
    (one,) = desk.publish(item(retry=MINUTELY))
    for _ in range(3):
        assert Schedules(desk.broker).tick(NOW).more
    fail(desk, AHEAD)
    assert due_of(desk, one.id) == AHEAD + MINUTE

    noticed(desk, NOW)

    assert due_of(desk, one.id) == NOW + MINUTE


@pytest.mark.promise("P-98", "F-20")
def test_what_rests_or_is_under_way_is_left_alone(desk: Desk) -> None:
    """Its lines are in the future as well."""
    desk.publish(item(), item(), item(retry=RetryPolicy(0)), now=AHEAD)
    delivered, active, failed = desk.claim(now=AHEAD)
    desk.settle([delivered], OK, AHEAD)
    desk.settle([failed], DOWN, AHEAD)
    before = desk.dump()["message"]

    noticed(desk, NOW)

    assert desk.dump()["message"] == before
    assert desk.history.message(1, active.message.id, NOW).message.state is State.ACTIVE
    assert next_tick(desk.broker, NOW + SECOND) is None
