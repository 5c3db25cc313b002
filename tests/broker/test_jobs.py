"""Bulk jobs: each item once whatever happens, at the pace asked for, and nothing that came later."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import Broker
from lateron.broker.job_views import NEWEST
from lateron.broker.views import Limits
from lateron.core.bulk import Job, JobKind, JobState, Order
from lateron.core.values import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    CallbackOptions,
    Filter,
    Flow,
    MessageId,
    Millis,
    Outcome,
    Overrides,
    Publication,
    RetryPolicy,
    State,
)
from lateron.errors import Conflict, NotFound, QuotaExceeded, StorageFull
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

DOWN, OK = Outcome(status=500, body=b"no"), Outcome(status=200)


def start(desk: Desk, order: Order, now: Millis = NOW, tenant: int = 1) -> Job:
    return desk.broker.create_job(tenant, order, "ci", None, now)


def run(desk: Desk, now: Millis = NOW, pieces: int = 100) -> int:
    """Advance until nothing more can go on at ``now``; return how many pieces that took."""
    for count in range(pieces):
        before = [(job.done, job.place, job.state) for job in desk.history.jobs(1, b"\xff" * 17, 100)]
        erased = desk.broker.advance_job(now)
        if erased is not None:
            desk.broker.end_erase(erased.tenant, erased.id, now, emptied=True)
        elif before == [(job.done, job.place, job.state) for job in desk.history.jobs(1, b"\xff" * 17, 100)]:
            return count
    raise AssertionError("it does not end")


def job(desk: Desk, one: Job) -> Job:
    return desk.history.job(one.tenant, one.id)


def dead(desk: Desk, count: int, now: Millis = NOW, **changes: Any) -> None:
    """Let messages fail for good."""
    for start_at in range(0, count, 100):
        items = [item(retry=RetryPolicy(retries=0), **changes) for _ in range(min(100, count - start_at))]
        desk.publish(*items, now=now)
    desk.settle(desk.claim(room=count, now=now), DOWN, now=now)


def states(desk: Desk) -> Counter[State]:
    return Counter(State(row[3]) for row in desk.dump()["message"])  # type: ignore[index]


def waiting(desk: Desk) -> list[tuple[MessageId, Millis]]:
    with desk.store.transaction() as tx:
        return [(m.id, m.due) for m in tx.open_after(1, b"", 10_000)]


@pytest.mark.promise("P-96")
def test_a_job_cancels_in_pieces_what_was_there(desk: Desk) -> None:
    """A thousand messages in pieces, each once; what is published meanwhile is not touched."""
    for _ in range(12):
        desk.publish(*[item(delay_ms=HOUR)] * 100)
    one = start(desk, Order(JobKind.CANCEL))
    desk.broker.advance_job(NOW)
    (late,) = desk.publish(item(delay_ms=HOUR))

    assert job(desk, one).done == 500
    run(desk)

    assert (job(desk, one).state, job(desk, one).done) == (JobState.DONE, 1200)
    assert [message for message, _ in waiting(desk)] == [late.id]
    assert states(desk) == {State.CANCELED: 1200, State.WAITING: 1}


@pytest.mark.promise("P-9")
def test_a_job_makes_nothing_new_while_only_the_reserve_of_the_disk_is_left(desk: Desk) -> None:
    """The reserve is for what is under way; the job goes on where it was once there is room."""
    dead(desk, 3)
    one = start(desk, Order(JobKind.REPLAY))
    desk.broker.tight = True

    with pytest.raises(StorageFull):
        desk.broker.advance_job(NOW)

    assert (job(desk, one).done, states(desk)) == (0, {State.FAILED: 3})
    desk.broker.tight = False
    run(desk)
    assert (job(desk, one).done, job(desk, one).state) == (3, JobState.DONE)


@pytest.mark.promise("P-96", "P-97", "P-135")
def test_a_job_replays_each_dead_letter_once_however_often_it_is_cut_short(desk: Desk) -> None:
    """A crash before a commit leaves place, counts and letters as they were; one behind it goes on behind them."""
    dead(desk, 1200)
    one = start(desk, Order(JobKind.REPLAY, overrides=Overrides(retries=5, body=b"mended")))
    desk.broker.advance_job(NOW)
    with suppress(ZeroDivisionError), desk.store.transaction() as tx:
        known = tx.load_job(1, one.id)
        assert known is not None
        assert known.place is not None
        desk.broker._advance(tx, known, known.place, NOW)
        raise ZeroDivisionError  # It dies before its commit.
    desk.broker = Broker(desk.store, id_maker(), 2, desk.limits)
    desk.broker.open("again", NOW)

    run(desk)

    ended = job(desk, one)
    assert (ended.state, ended.done, ended.failed) == (JobState.DONE, 1200, 0)
    assert ended.order.overrides == Overrides()
    parents = Counter(row[16] for row in desk.dump()["message"] if row[16] is not None)  # type: ignore[index]
    assert len(parents) == 1200
    assert set(parents.values()) == {1}
    assert desk.dump()["dead_letter"] == []
    claimed = desk.claim(room=2000)
    assert {(c.request.body, c.message.retries) for c in claimed} == {(b"mended", 5)}


@pytest.mark.promise("P-96")
def test_what_a_replay_has_made_is_not_replayed_again_by_it(desk: Desk) -> None:
    """Also if it dies at once, and by a clock that was set back: a job must not run in circles."""
    dead(desk, 3)
    one = start(desk, Order(JobKind.REPLAY, limit=None, pace_us=1_000_000))
    desk.broker.advance_job(NOW)
    desk.settle(desk.claim(now=NOW), Outcome(status=489), now=NOW - HOUR)

    for second in range(5):
        run(desk, NOW + (second + 1) * SECOND)

    assert (job(desk, one).state, job(desk, one).done) == (JobState.DONE, 3)


def test_a_pace_is_kept_and_counts_only_what_is_changed(desk: Desk) -> None:
    """Ten a second are ten in each second, the first at once; a process that was away makes up for one second."""
    desk.publish(*[item(delay_ms=DAY, labels=("b",))] * 100)
    desk.publish(*[item(delay_ms=DAY, labels=("a",))] * 100)
    one = start(desk, Order(JobKind.CANCEL, Filter(labels=("a",)), pace_us=100_000))

    done = []
    for tenth in range(21):
        run(desk, NOW + tenth * 100)
        done.append(job(desk, one).done)

    assert done == list(range(1, 22))
    run(desk, NOW + HOUR)
    assert job(desk, one).done <= 21 + 11


def test_a_clock_that_was_set_back_holds_up_no_job(desk: Desk) -> None:
    """The time of its next piece was reckoned by a clock that is gone."""
    desk.publish(*[item(delay_ms=DAY)] * 3)
    one = start(desk, Order(JobKind.CANCEL, pace_us=1_000_000), now=NOW)
    run(desk)

    for second in range(5):
        run(desk, NOW - DAY + second * SECOND)

    assert job(desk, one).state is JobState.DONE


def test_a_clock_that_was_set_back_before_the_start_hides_nothing(desk: Desk) -> None:
    """What is there bears times that have not come yet; and what a job makes then is older than that, yet not meant."""
    later = NOW + HOUR
    dead(desk, 3, later)
    desk.publish(item(delay_ms=DAY), now=later)
    desk.broker = Broker(desk.store, id_maker(), 2, desk.limits)
    desk.broker.open("again", NOW)
    one = start(desk, Order(JobKind.REPLAY, pace_us=1_000_000))
    for second in range(6):
        run(desk, NOW + second * SECOND)
        desk.settle(desk.claim(now=NOW + second * SECOND), Outcome(status=489), now=NOW + second * SECOND)

    assert (job(desk, one).state, job(desk, one).done) == (JobState.DONE, 3)
    cancelling = start(desk, Order(JobKind.CANCEL), now=NOW + MINUTE)
    run(desk, NOW + MINUTE)
    assert job(desk, cancelling).done == 1


def test_a_job_is_kept_as_long_as_the_history(desk: Desk) -> None:
    """Who has changed what is asked for days later."""
    one = start(desk, Order(JobKind.CANCEL))
    run(desk)
    under_way = start(desk, Order(JobKind.CANCEL))

    desk.broker.sweep(NOW + 3 * DAY)
    assert job(desk, one).state is JobState.DONE
    desk.broker.sweep(NOW + 3 * DAY + 1)

    with pytest.raises(NotFound):
        job(desk, one)
    assert job(desk, under_way).state is JobState.RUNNING


def test_a_limit_is_kept_exactly(desk: Desk) -> None:
    """At most so many are changed, the newest."""
    desk.publish(*[item(delay_ms=HOUR)] * 20)
    one = start(desk, Order(JobKind.CANCEL, limit=7))

    run(desk)

    assert (job(desk, one).state, job(desk, one).done) == (JobState.DONE, 7)
    assert states(desk)[State.CANCELED] == 7


def test_a_job_that_is_stopped_goes_no_further(desk: Desk) -> None:
    """What it has done stays done; stopping it again changes nothing."""
    for _ in range(6):
        desk.publish(*[item(delay_ms=HOUR)] * 100)
    one = start(desk, Order(JobKind.CANCEL))
    desk.broker.advance_job(NOW)

    stopped = desk.broker.cancel_job(1, one.id, NOW + 1)
    run(desk, NOW + HOUR)

    assert (stopped.state, stopped.done, stopped.ended) == (JobState.CANCELED, 500, NOW + 1)
    assert desk.broker.cancel_job(1, one.id, NOW + 2) == stopped
    assert states(desk)[State.WAITING] == 100
    with pytest.raises(NotFound):
        desk.broker.cancel_job(2, one.id, NOW)


def test_jobs_take_turns_and_there_are_not_too_many(desk: Desk) -> None:
    """A long job does not keep a short one waiting."""
    for _ in range(15):
        desk.publish(*[item(delay_ms=HOUR)] * 100)
    desk.publish(item(tenant=2, delay_ms=HOUR))
    long = start(desk, Order(JobKind.CANCEL))
    short = start(desk, Order(JobKind.CANCEL), tenant=2)
    for now in (NOW, NOW + 1):
        desk.broker.advance_job(now)

    assert (job(desk, long).done, job(desk, short).done) == (500, 1)
    for _ in range(99):
        start(desk, Order(JobKind.CANCEL))
    with pytest.raises(QuotaExceeded, match="jobs"):
        start(desk, Order(JobKind.CANCEL))


def test_waiting_messages_go_now_or_at_another_time(desk: Desk) -> None:
    """Delays and retries alike; each lane knows when to look."""
    desk.publish(item("http://failed/"))
    desk.settle(desk.claim(), DOWN)
    desk.publish(item("http://later/", delay_ms=DAY), item("http://key/", delay_ms=DAY, flow=Flow("k", 1)))
    start(desk, Order(JobKind.RESCHEDULE, due=NOW + HOUR))
    run(desk)
    assert [due for _, due in waiting(desk)] == [NOW + HOUR] * 3
    assert desk.claim(now=NOW + HOUR - 1) == ()

    one = start(desk, Order(JobKind.RETRY_NOW), now=NOW + MINUTE)
    run(desk, NOW + MINUTE)

    assert job(desk, one).done == 3
    assert sorted(c.request.url for c in desk.claim(now=NOW + MINUTE)) == [
        "http://failed/",
        "http://key/",
        "http://later/",
    ]


def test_one_message_goes_now_and_its_lane_and_queue_hold_as_before(desk: Desk) -> None:
    """Whoever waits for something else than time is refused with what that is; again changes nothing."""
    (first,) = desk.publish(item("http://key/", flow=Flow("k", 1)))
    desk.claim()
    (second,) = desk.publish(item("http://key/", delay_ms=HOUR, flow=Flow("k", 1)))
    (queued, behind) = desk.publish(item(queue_name="q", delay_ms=HOUR), item(queue_name="q"))

    desk.broker.retry_now(1, second.id, NOW)
    desk.broker.retry_now(1, second.id, NOW + 1)
    assert desk.claim(now=NOW + 1) == ()
    desk.broker.retry_now(1, queued.id, NOW + 1)
    assert [c.message.id for c in desk.claim(now=NOW + 1)] == [queued.id]
    with pytest.raises(Conflict, match="its attempt is under way"):
        desk.broker.retry_now(1, first.id, NOW)
    with pytest.raises(Conflict, match="its place in a queue"):
        desk.broker.retry_now(1, behind.id, NOW)
    with pytest.raises(NotFound):
        desk.broker.retry_now(2, second.id, NOW)
    desk.broker.cancel(1, Filter(message_ids=(second.id,)), NOW)
    with pytest.raises(Conflict, match="CANCELED for good"):
        desk.broker.retry_now(1, second.id, NOW)


def test_a_damaged_dead_letter_is_counted_and_stays(desk: Desk) -> None:
    """Bytes that are not those that were published are never sent."""
    dead(desk, 2)
    desk.store._connection.execute("UPDATE request SET body = x'00' WHERE id = (SELECT min(id) FROM request)")
    one = start(desk, Order(JobKind.REPLAY))

    run(desk)

    assert (job(desk, one).done, job(desk, one).failed) == (1, 1)
    assert len(desk.dump()["dead_letter"]) == 1


def test_a_job_that_meets_a_quota_ends_and_leaves_the_letters(desk: Desk) -> None:
    """A queue that was deleted meanwhile would be one too many; tried again for ever, it would hold up all others."""
    dead(desk, 1, queue_name="gone")
    desk.broker.delete_queue(1, "gone", NOW)
    desk.broker = Broker(desk.store, id_maker(), 2, Limits(queues=1))
    desk.broker.open("again", NOW)
    desk.broker.set_queue(1, "other", NOW)
    one = start(desk, Order(JobKind.REPLAY))

    desk.broker.advance_job(NOW)

    assert (job(desk, one).state, job(desk, one).done) == (JobState.FAILED, 0)
    assert len(desk.dump()["dead_letter"]) == 1


def test_a_job_that_fails_by_a_bug_ends_and_holds_up_no_other(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """It would otherwise be tried for ever, first of all."""
    desk.publish(item(delay_ms=HOUR))
    bad = start(desk, Order(JobKind.CANCEL, limit=0))  # Which the API refuses.
    good = start(desk, Order(JobKind.CANCEL), now=NOW + 1)

    for _ in range(3):
        desk.broker.advance_job(NOW + 1)

    assert (job(desk, bad).state, job(desk, good).state) == (JobState.FAILED, JobState.DONE)
    assert states(desk) == {State.CANCELED: 1}
    assert "a bulk job failed" in caplog.text


@pytest.mark.promise("D-63")
def test_an_erase_takes_whole_families_and_nothing_else(desk: Desk) -> None:
    """Callbacks and retries hold the body too; an open attempt may end, and what it makes goes as well."""
    callback = CallbackOptions("http://told/")
    desk.publish(item("http://hers/", labels=("user:1",), callback=callback))
    desk.publish(item("http://his/", labels=("user:2",), callback=callback))
    dead(desk, 2, labels=("user:1", "x"))
    desk.broker.redrive(1, Filter(labels=("user:1",)), Overrides(labels=("retried",)), NOW, limit=1)
    desk.publish(item("http://later/", labels=("user:1",), delay_ms=HOUR))
    desk.settle(desk.claim(), OK)
    desk.publish(item("http://open/", labels=("user:1",), callback=callback))
    claimed = desk.claim()
    held = [c for c in claimed if c.request.url == "http://open/"]
    desk.settle([c for c in claimed if c not in held], OK)
    assert len(held) == 1

    one = start(desk, Order(JobKind.ERASE, Filter(labels=("user:1",))))
    (late,) = desk.publish(item("http://new/", labels=("user:1",), delay_ms=HOUR))
    run(desk)
    assert job(desk, one).state is JobState.RUNNING
    desk.settle(held, OK, now=NOW + 1)
    run(desk, NOW + 2 * SECOND)
    run(desk, NOW + 3 * SECOND)

    assert job(desk, one).state is JobState.DONE
    left = {str(row[2]) for row in desk.dump()["request"]}  # type: ignore[index]
    assert left == {"http://his/", "http://told/", "http://new/"}
    messages = {row[0] for row in desk.dump()["message"]}  # type: ignore[index]
    assert late.id in messages
    assert desk.dump()["dead_letter"] == []
    assert {row[2] for row in desk.dump()["event"]} <= messages  # type: ignore[index]
    assert {row[0] for row in desk.dump()["attempt"]} <= messages  # type: ignore[index]
    depths = desk.broker.boards.of(1)
    assert (depths.letters, depths.open) == (0, len(waiting(desk)))


kinds = st.sampled_from([JobKind.CANCEL, JobKind.DELETE, JobKind.REPLAY, JobKind.RETRY_NOW, JobKind.ERASE])


@settings(max_examples=60, deadline=None)
@given(
    kinds,
    st.lists(st.sampled_from(["dead", "later", "due", "done"]), max_size=12),
    st.sampled_from([(), ("a",), ("b",)]),
    st.integers(0, 3).map(lambda n: n or None),
    st.sampled_from([0, 1_000_000]),
)
def test_a_dry_run_tells_what_is_done(
    kind: JobKind, things: list[str], labels: tuple[str, ...], limit: int | None, pace: int
) -> None:
    """The count is exact, whatever is there and however the job is paced."""
    desk = Desk(open_memory(NOW))
    for place, thing in enumerate(things):
        fields: dict[str, Any] = {"labels": ("a",) if place % 2 else ("b",), "retry": RetryPolicy(retries=0)}
        made: Publication = item(delay_ms=HOUR if thing == "later" else 0, **fields)
        desk.publish(made)
        if thing in {"dead", "done"}:
            claimed = desk.claim()
            desk.settle(claimed, DOWN if thing == "dead" else OK)
    if kind is JobKind.ERASE and not labels:
        labels = ("a",)
    order = Order(kind, Filter(labels=labels), limit=limit, pace_us=pace)
    told, after = desk.history.would_do(1, order, NEWEST, NOW)
    assert after is None

    one = start(desk, order)
    for second in range(15):
        run(desk, NOW + second * SECOND)

    ended = job(desk, one)
    assert ended.state is JobState.DONE
    if kind is not JobKind.ERASE:
        assert ended.done == min(told.count, limit or told.count)
    else:
        assert ended.done >= min(told.count, limit or told.count)
    again, _ = desk.history.would_do(1, order, NEWEST, NOW)
    assert again.count == (0 if limit is None else max(0, told.count - ended.done))
