"""Queues: order, slots, pauses, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import NEWEST, Broker
from lateron.broker.messages import PAGE
from lateron.broker.views import Limits, Result, Turn
from lateron.core.queue import PLACES
from lateron.core.values import (
    HOUR,
    MINUTE,
    SECOND,
    CallbackOptions,
    Claimed,
    Filter,
    Flow,
    MessageId,
    Outcome,
    Overrides,
    Publication,
    RetryPolicy,
    State,
)
from lateron.errors import NotFound, QuotaExceeded, StorageFull
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)
NO_RETRY, AT_ONCE = RetryPolicy(retries=0), RetryPolicy(retries=3, expression="0")


def queued(url: str = "http://one/", queue: str = "q", **changes: Any) -> Publication:
    """A publication that goes through a queue."""
    return item(url, queue_name=queue, **changes)


def urls(claimed: Sequence[Claimed]) -> list[str]:
    return [c.request.url.removeprefix("http://one/") for c in claimed]


def line(*names: str, **changes: Any) -> tuple[Publication, ...]:
    """Publications of one queue, told apart by their path."""
    return tuple(queued(f"http://one/{name}", **changes) for name in names)


def lag(desk: Desk, name: str = "q") -> int:
    return desk.history.queue(1, name).lag


def truth(desk: Desk) -> None:
    """Counters agree with the rows, and nobody waits for a slot that is free."""
    execute = desk.store._connection.execute
    for number, parallelism, paused, deleted, held, counted in execute(
        "SELECT id, parallelism, paused, deleted, held, lag FROM queue"
    ):
        ((slots,),) = execute("SELECT count(*) FROM message WHERE queue = ? AND slot = 1", (number,))
        ((waits,),) = execute("SELECT count(*) FROM message WHERE queue = ? AND state = 2", (number,))
        ((alive,),) = execute(
            "SELECT count(*) FROM message WHERE queue = ? AND state < 5 AND seq IS NOT NULL", (number,)
        )
        assert (held, counted) == (slots, alive)
        assert paused or deleted or not waits or held >= parallelism


@pytest.fixture(autouse=True)
def _always_true(desk: Desk) -> Iterator[None]:
    yield
    truth(desk)


@pytest.mark.promise("P-60", "P-61")
def test_one_after_another_in_the_order_of_their_enqueueing(desk: Desk) -> None:
    """Also inside a batch, whose ids need not be in order, and across requests."""
    desk.publish(*line("a", "b", "c"))
    desk.publish(*line("d"))

    order = []
    for _ in range(4):
        claimed = desk.claim()
        order += urls(claimed)
        desk.settle(claimed, OK)

    assert order == ["a", "b", "c", "d"]
    assert lag(desk) == 0


@pytest.mark.promise("P-61")
def test_one_turn_ends_a_message_and_starts_the_next(desk: Desk) -> None:
    """A busy queue costs one transaction a message."""
    desk.publish(*line("a", "b"))
    first = desk.claim()

    turned = desk.broker.turn(Turn(results=(Result(first[0], OK),), room=5), NOW)

    assert urls(turned.claimed) == ["b"]


def test_an_idle_queue_starts_its_message_in_the_transaction_of_its_enqueueing(desk: Desk) -> None:
    """No slower than without a queue."""
    turned = desk.broker.turn(Turn(publishes=(line("a", "b"),), room=5), NOW + 1)
    again = desk.broker.turn(Turn(publishes=(line("x", queue="other"),), room=5), NOW + 2)

    assert urls(turned.claimed) == ["a"]
    assert urls(again.claimed) == ["x"]


@pytest.mark.promise("P-61", "P-63")
def test_a_retry_of_the_head_blocks_its_queue_and_no_other(desk: Desk) -> None:
    """Order is kept through failures, and the node is free meanwhile."""
    desk.publish(*line("a", "b", retry=RetryPolicy(retries=1, expression="5000")))
    desk.settle(desk.claim(), DOWN)
    desk.publish(queued("http://one/x", "other"))

    assert urls(desk.claim(now=NOW + 4999)) == ["x"]
    again = desk.claim(now=NOW + 5 * SECOND)
    assert urls(again) == ["a"]
    desk.settle(again, OK, NOW + 5 * SECOND)
    assert urls(desk.claim(now=NOW + 5 * SECOND)) == ["b"]


@pytest.mark.promise("P-61")
def test_a_delayed_head_takes_its_place_when_it_is_enqueued(desk: Desk) -> None:
    """Later ones without a delay stay behind it."""
    desk.publish(*line("later", delay_ms=MINUTE), *line("now"))

    assert desk.claim() == ()
    claimed = desk.claim(now=NOW + MINUTE)
    assert urls(claimed) == ["later"]
    desk.settle(claimed, OK, NOW + MINUTE)
    assert urls(desk.claim(now=NOW + MINUTE)) == ["now"]


@pytest.mark.promise("P-61")
def test_the_next_waits_for_callbacks_and_for_theirs(desk: Desk) -> None:
    """A callback of a callback belongs to the same family."""
    nested = CallbackOptions("http://one/nested", retry=NO_RETRY)
    callback = CallbackOptions("http://one/callback", retry=NO_RETRY, failure_callback=nested)
    desk.publish(*line("a", callback=callback), *line("b"))
    desk.settle(desk.claim(), OK)

    reports = desk.claim()
    assert urls(reports) == ["callback"]
    desk.settle(reports, DOWN)
    nested_ones = desk.claim()
    assert urls(nested_ones) == ["nested"]
    assert nested_ones[0].message.root == reports[0].message.root
    desk.settle(nested_ones, OK)
    assert urls(desk.claim()) == ["b"]
    assert lag(desk) == 1


@pytest.mark.promise("P-67", "P-98")
def test_retention_keeps_a_message_that_its_queue_still_needs(desk: Desk) -> None:
    """A callback may wait for days; if its source went meanwhile, nobody would give the slot back."""
    callback = CallbackOptions("http://one/callback", delay_ms=8 * HOUR)
    desk.publish(*line("a", callback=callback), *line("b"))
    desk.settle(desk.claim(), OK)

    desk.broker.sweep(NOW + 8 * HOUR - 1, over_size=True)
    truth(desk)

    reports = desk.claim(now=NOW + 8 * HOUR)
    assert urls(reports) == ["callback"]
    desk.settle(reports, OK, now=NOW + 8 * HOUR)
    assert urls(desk.claim(now=NOW + 8 * HOUR)) == ["b"]


@pytest.mark.promise("P-62")
def test_no_more_families_than_slots(desk: Desk) -> None:
    """A message that only waits for its callback still counts."""
    desk.broker.set_queue(1, "q", NOW, parallelism=2)
    callback = CallbackOptions("http://one/callback", delay_ms=MINUTE)
    desk.publish(*line("a", callback=callback), *line("b", "c", "d"))
    first = desk.claim()
    assert urls(first) == ["a", "b"]

    desk.settle(first, OK)
    assert urls(desk.claim()) == ["c"]


@pytest.mark.promise("P-66")
def test_an_enqueue_does_not_change_a_queue(desk: Desk) -> None:
    """Neither its parallelism nor its pause."""
    desk.broker.set_queue(1, "q", NOW, parallelism=3)
    desk.broker.pause_queue(1, "q", NOW, paused=True)
    desk.publish(*line("a", "b"))
    desk.publish(*line("c"))

    found = desk.history.queue(1, "q")
    assert (found.parallelism, found.paused, found.lag) == (3, True, 3)
    assert desk.claim() == ()


@pytest.mark.promise("P-66")
def test_more_slots_start_more_and_fewer_send_those_back_that_have_not_started(desk: Desk) -> None:
    """What has started goes on; the last in line give way first."""
    desk.publish(*line("a", "b", "c", "d"))
    first = desk.claim()
    desk.broker.set_queue(1, "q", NOW, parallelism=4)
    desk.broker.set_queue(1, "q", NOW, parallelism=2)
    second = desk.claim()
    assert (urls(first), urls(second)) == (["a"], ["b"])

    desk.broker.set_queue(1, "q", NOW, parallelism=1)
    truth(desk)
    desk.settle(first, OK)
    assert desk.claim() == ()
    desk.settle(second, OK)
    assert urls(desk.claim()) == ["c"]


@pytest.mark.promise("P-65")
def test_a_paused_queue_starts_nothing_and_resumes_in_order(desk: Desk) -> None:
    """Neither those that had a slot, nor a retry, nor what comes meanwhile; callbacks go out."""
    desk.broker.set_queue(1, "q", NOW, parallelism=2)
    callback = CallbackOptions("http://one/callback")
    desk.publish(*line("a", retry=AT_ONCE, callback=callback), *line("b", "c"))
    (first,) = desk.claim(room=1)

    desk.broker.pause_queue(1, "q", NOW, paused=True)
    desk.publish(*line("d"))
    desk.settle([first], DOWN)
    reports = desk.claim()
    assert urls(reports) == ["callback"]
    desk.settle(reports, OK)
    assert desk.claim() == ()
    states = {view.message.state for view in desk.history.pending(1, Filter(), None, 10, NOW).items}
    assert states == {State.HELD, State.QUEUED}

    desk.broker.pause_queue(1, "q", NOW, paused=False)
    claimed = desk.claim()
    assert sorted(urls(claimed)) == ["a", "b"]
    desk.settle([c for c in claimed if urls([c]) == ["b"]], OK)
    assert urls(desk.claim()) == ["c"]


@pytest.mark.promise("P-65")
def test_setting_a_queue_to_not_paused_resumes_it(desk: Desk) -> None:
    """As the SDKs do it, who always send both settings."""
    desk.broker.set_queue(1, "q", NOW, paused=True)
    desk.publish(*line("a", "b"))
    assert desk.claim() == ()

    desk.broker.set_queue(1, "q", NOW, parallelism=1, paused=False)

    assert urls(desk.claim()) == ["a"]


def test_a_message_given_back_or_lost_in_a_paused_queue_is_held(desk: Desk) -> None:
    """It keeps its slot, and does not start before the resume."""
    desk.broker.set_queue(1, "q", NOW, parallelism=2)
    desk.publish(*line("a", "b"))
    claimed = desk.claim()
    desk.broker.pause_queue(1, "q", NOW, paused=True)
    desk.broker.turn(Turn(results=(Result(claimed[0], None),)), NOW)
    desk.broker = Broker(desk.store, id_maker(), 2, Limits())
    desk.broker.open("again", NOW)
    truth(desk)

    assert desk.claim() == ()
    desk.broker.pause_queue(1, "q", NOW, paused=False)
    assert sorted(urls(desk.claim())) == ["a", "b"]


@pytest.mark.promise("P-95")
@pytest.mark.parametrize("paused", [False, True])
def test_a_cancelled_head_makes_way(desk: Desk, *, paused: bool) -> None:
    """Whether it waits for a slot, has one, or is held."""
    accepted = desk.publish(*line("a", "b", "c", "d"))
    desk.broker.pause_queue(1, "q", NOW, paused=paused)
    cancelled = tuple(accepted[i].id for i in (0, 1, 3))

    assert desk.broker.cancel(1, Filter(message_ids=cancelled), NOW).count == 3
    truth(desk)
    desk.broker.pause_queue(1, "q", NOW, paused=False)
    claimed = desk.claim()
    assert urls(claimed) == ["c"]
    desk.settle(claimed, OK)
    assert (desk.claim(), lag(desk)) == ((), 0)


@pytest.mark.promise("P-95")
def test_a_cancelled_open_message_keeps_its_slot_until_its_end(desk: Desk) -> None:
    """Its request may still be under way."""
    desk.publish(*line("a", "b"))
    claimed = desk.claim()
    desk.broker.cancel(1, Filter(message_ids=(claimed[0].message.id,)), NOW)

    assert desk.claim() == ()
    desk.settle(claimed, DOWN)
    assert urls(desk.claim()) == ["b"]


@pytest.mark.promise("P-61", "P-95")
def test_a_cancelled_callback_makes_way(desk: Desk) -> None:
    """The queue waits for it no longer."""
    desk.publish(*line("a", callback=CallbackOptions("http://two/", delay_ms=MINUTE)), *line("b"))
    desk.settle(desk.claim(), OK)
    assert desk.claim() == ()

    desk.broker.cancel(1, Filter(hosts=("two",)), NOW)

    assert urls(desk.claim()) == ["b"]


def test_cancelling_a_long_queue_in_pieces_leaves_no_slot(desk: Desk) -> None:
    """The newest go first, so nothing is armed in between, and nothing starts that is to be cancelled."""
    for _ in range(12):
        desk.publish(*[queued()] * 100)
    (first,) = desk.claim()
    before, total = NEWEST, 0
    while True:
        done = desk.broker.cancel(1, Filter(queues=("q",)), NOW, before=before)
        desk.settle([first], DOWN)
        assert desk.claim() == ()
        truth(desk)
        total += done.count
        if done.before is None:
            break
        before = done.before

    assert (total, lag(desk), desk.claim()) == (1200, 0, ())


@pytest.mark.promise("P-65")
def test_a_deleted_queue_takes_its_messages_along(desk: Desk) -> None:
    """All at once for every reader; an open attempt may end; the name is free again."""
    callback = CallbackOptions("http://one/callback")
    desk.broker.set_queue(1, "q", NOW, parallelism=2)
    desk.publish(*line("a", callback=callback), *line("b"), *[queued()] * (PAGE + 3))
    (first,) = desk.claim(room=1)

    number = desk.broker.delete_queue(1, "q", NOW)

    assert number is not None
    assert desk.history.queues(1) == []
    assert desk.claim() == ()
    with pytest.raises(NotFound):
        desk.history.queue(1, "q")
    new = desk.publish(*line("new"))
    assert desk.broker.empty_queue(number, NOW) is False
    left = desk.history.pending(1, Filter(), None, PAGE, NOW).items
    assert {view.message.id for view in left} == {first.message.id, new[0].id}
    claimed = desk.claim()
    assert urls(claimed) == ["new"]
    desk.settle([first], OK)
    desk.settle(desk.claim(), OK)
    assert len(desk.dump()["queue"]) == 1
    assert desk.history.dead_letters(1, Filter(), None, 10).items == ()
    assert desk.broker.delete_queue(1, "no such", NOW) is None


def test_a_deletion_that_was_cut_short_is_finished_by_the_sweep(desk: Desk) -> None:
    """A crash between two pieces leaves no message behind for ever."""
    for _ in range(4):
        desk.publish(*[queued()] * PAGE)
    desk.broker.delete_queue(1, "q", NOW)

    while desk.broker.sweep(NOW):
        pass

    assert desk.history.pending(1, Filter(), None, 10, NOW).items == ()
    assert desk.dump()["queue"] == []


def test_a_dead_letter_goes_back_to_the_end_of_its_queue(desk: Desk) -> None:
    """Its place of old is long passed."""
    desk.publish(*line("a", "b", retry=NO_RETRY))
    desk.settle(desk.claim(), DOWN)

    assert len(desk.broker.redrive(1, Filter(), Overrides(), NOW).messages) == 1

    claimed = desk.claim()
    assert urls(claimed) == ["b"]
    desk.settle(claimed, OK)
    assert urls(desk.claim()) == ["a"]


@pytest.mark.promise("P-67")
def test_a_queue_goes_on_after_the_store_was_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered of a transaction that was not stored: not a slot, not a place, not a queue."""
    desk.publish(*line("a", "b"))
    claimed = desk.claim()
    commit = desk.store.commit

    def full() -> None:
        desk.store._roll_back()
        raise StorageFull("full")

    for turn in (
        Turn(publishes=(line("lost"), line("x", queue="new")), room=5),
        Turn(results=(Result(claimed[0], OK),), room=5),
    ):
        monkeypatch.setattr(desk.store, "commit", full)
        with pytest.raises(StorageFull):
            desk.broker.turn(turn, NOW)
        monkeypatch.setattr(desk.store, "commit", commit)
        truth(desk)

    turned = desk.broker.turn(Turn(results=(Result(claimed[0], OK),), room=5), NOW)
    assert urls(turned.claimed) == ["b"]
    desk.publish(queued("http://one/x", "new"))
    assert urls(desk.claim()) == ["x"]


@pytest.mark.promise("P-68")
def test_lag_counts_what_does_not_rest(desk: Desk) -> None:
    """Waiting, open and retrying messages; not their callbacks, not duplicates."""
    dedup = bytes(32)
    desk.publish(*line("a", callback=CallbackOptions("http://two/"), dedup=dedup), *line("a", dedup=dedup), *line("b"))
    assert lag(desk) == 2
    desk.settle(desk.claim(), OK)
    assert lag(desk) == 1


def test_queues_are_counted_and_refused_above_the_quota() -> None:
    """Configured or made by an enqueue, also two in one transaction; a request that is refused stores nothing."""
    desk = Desk(open_memory(NOW), Limits(queues=2))
    desk.broker.set_queue(1, "one", NOW)
    turned = desk.broker.turn(
        Turn(publishes=((queued(queue="two"),), (queued(queue="three", dedup=bytes(32)),), (item(),))), NOW
    )

    assert [isinstance(answer[0], QuotaExceeded) for answer in turned.accepted] == [False, True, False]  # type: ignore[index]
    with pytest.raises(QuotaExceeded):
        desk.broker.set_queue(1, "three", NOW)
    desk.broker.set_queue(2, "three", NOW)
    desk.publish(queued(queue="one"), item(order_key="any"))
    desk.broker.delete_queue(1, "one", NOW)
    desk.publish(queued(queue="three", dedup=bytes(32)))
    assert [queue.name for queue in desk.history.queues(1)] == ["three", "two"]


def test_a_queue_and_a_flow_key_both_hold(desk: Desk) -> None:
    """A slot first, then room in the lane; the lane is not forgotten while its message waits for a slot."""
    flow = Flow("key", parallelism=1)
    desk.publish(*line("a"), *line("b", flow=flow))
    desk.broker.sweep(NOW + MINUTE)
    desk.publish(item("http://one/other", flow=flow))
    claimed = desk.claim()
    assert sorted(urls(claimed)) == ["a", "other"]
    desk.settle([c for c in claimed if urls([c]) == ["a"]], OK)

    assert desk.claim() == ()
    desk.settle([c for c in claimed if urls([c]) == ["other"]], OK)
    assert urls(desk.claim()) == ["b"]


@pytest.mark.promise("P-60", "P-61")
def test_an_ordering_key_is_a_queue_while_it_has_work(desk: Desk) -> None:
    """First come, first served, one at a time, and nothing of it stays."""
    desk.publish(*[item(f"http://one/{name}", order_key="k", retry=AT_ONCE) for name in "ab"])
    desk.publish(queued("http://one/named", "k"))
    claimed = desk.claim()
    assert sorted(urls(claimed)) == ["a", "named"]
    desk.settle(claimed, DOWN)
    claimed = desk.claim()
    assert "b" not in urls(claimed)
    desk.settle(claimed, OK)
    claimed = desk.claim()
    assert urls(claimed) == ["b"]
    desk.settle(claimed, OK)

    assert [queue.name for queue in desk.history.queues(1)] == ["k"]
    assert len(desk.dump()["queue"]) == 1


def test_a_queued_message_says_what_it_waits_for(desk: Desk) -> None:
    """Who holds the slot, the place in line, a callback, a pause."""
    callback = CallbackOptions("http://two/", delay_ms=MINUTE)
    a, b, c = desk.publish(*line("a", callback=callback), *line("b", "c"))

    def why(message: MessageId) -> tuple[str | None, str | None, int | None]:
        waiting = desk.history.message(1, message, NOW).waiting
        return (None, None, None) if waiting is None else (waiting.reason, waiting.held_by, waiting.place)

    holder = f"msg_{a.id.hex()}"
    assert why(a.id)[0] == "node"
    assert [why(b.id), why(c.id)] == [("queue_head", holder, 1), ("queue_head", holder, 2)]
    desk.settle(desk.claim(), OK)
    assert why(b.id) == ("callback_of", holder, 1)
    desk.broker.pause_queue(1, "q", NOW, paused=True)
    assert why(b.id) == ("queue_paused", "q", 1)
    desk.broker.cancel(1, Filter(hosts=("two",)), NOW)
    assert why(b.id) == ("queue_paused", "q", 1)
    listed = desk.history.pending(1, Filter(queues=("q",)), None, 10, NOW).items
    assert [view.waiting and view.waiting.place for view in listed] == [2, 1]


def test_a_place_in_line_is_exact_up_to_a_thousand(desk: Desk) -> None:
    """Behind that, it is enough to know that it is long."""
    desk.broker.set_queue(1, "q", NOW, paused=True)
    accepted = desk.publish(*[queued()] * (PLACES + 1))

    views = [desk.history.message(1, accepted[i].id, NOW).waiting for i in (0, PLACES - 1, PLACES)]
    assert [view and view.place for view in views] == [1, PLACES, PLACES + 1]


def test_queues_of_tenants_are_strangers(desk: Desk) -> None:
    """One name, two queues."""
    desk.publish(queued(), queued())
    desk.broker.pause_queue(1, "q", NOW, paused=True)
    desk.publish(queued(tenant=2))

    assert len(desk.claim()) == 1
    with pytest.raises(NotFound):
        desk.broker.pause_queue(2, "other", NOW, paused=True)
    assert (lag(desk), desk.history.queue(2, "q").lag) == (2, 1)


def test_a_message_without_a_queue_costs_no_statement_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path knows nothing of queues."""
    ran: list[str] = []
    verbs = desk.store._verbs
    for name in ("_run", "_run_rows", "_run_ids"):
        honest = getattr(verbs, name)

        def spy(statement: str, *rest: object, honest: object = honest) -> object:
            ran.append(statement)
            return honest(statement, *rest)  # type: ignore[operator]

        monkeypatch.setattr(verbs, name, spy)
    claimed = desk.broker.turn(Turn(publishes=((item(),),), room=5), NOW).claimed
    desk.settle(claimed or desk.claim(), OK)

    assert not [name for name in ran if "queue" in name or "slot" in name]
