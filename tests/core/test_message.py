"""The life of a message: each decision by example."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lateron.core import message as life
from lateron.core.flow import lane_of
from lateron.core.values import (
    CallbackOptions,
    Claimed,
    EventKind,
    Fence,
    Flow,
    Kind,
    LaneKind,
    Message,
    MessageId,
    Millis,
    Options,
    Outcome,
    Overrides,
    Publication,
    Request,
    RetryPolicy,
    State,
    Transition,
)

NOW: Millis = 1_700_000_000_000
ID = MessageId(bytes(16))
OK, DOWN = Outcome(status=200), Outcome(status=500)


def request(retries: int = 3, **options: object) -> Request:
    return Request(
        "http://one/a",
        "POST",
        (("X", "1"),),
        b"body",
        Options(retry=RetryPolicy(retries=retries), **options),  # type: ignore[arg-type]
    )


def active(retries: int = 3, **options: object) -> tuple[Message, Request]:
    message, asked, _ = life.create(Publication(1, request(retries, **options)), ID, NOW)
    return life.start(message, 7, NOW).message, asked


def kinds(transition: Transition) -> list[str]:
    return [event.kind.name for event in transition.events]


@pytest.mark.promise("P-30")
@pytest.mark.parametrize(
    ("delay", "not_before", "due"),
    [(0, None, NOW), (5000, None, NOW + 5000), (5000, NOW + 9000, NOW + 9000), (5000, NOW - 9000, NOW)],
)
def test_not_before_wins_over_delay_and_the_past_is_now(delay: Millis, not_before: Millis | None, due: Millis) -> None:
    """The due time is stored with the request, because lists show it after retries have moved it."""
    message, asked, created = life.create(Publication(1, request(), delay, not_before), ID, NOW)

    assert (message.due, asked.options.not_before) == (due, due)
    assert (message.state, created.kind, created.time) == (State.WAITING, EventKind.CREATED, NOW)


@pytest.mark.promise("P-30")
def test_messages_of_one_head_have_each_their_own_due_time() -> None:
    """Those of one moment share what they have in common, and only that."""
    same, other = request(), request(labels=("x",))
    delays = [(same, 0), (same, 0), (same, 5), (other, 5), (same, 5), (same, 0)]

    made = [life.create(Publication(1, asked, delay), ID, NOW)[1].options for asked, delay in delays]

    assert [(one.not_before, one.labels) for one in made] == [
        (NOW + delay, asked.options.labels) for asked, delay in delays
    ]
    assert made[0] is made[1]
    assert same.options.not_before is None


def test_a_start_counts_an_attempt_and_raises_the_fence() -> None:
    """The version tells a late result from the one that is awaited."""
    message, _ = active()

    assert (message.state, message.attempt, message.version) == (State.ACTIVE, 1, 1)
    assert (message.node, message.started) == (7, NOW)


@pytest.mark.promise("P-20")
@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_complete_2xx_is_delivered(status: int) -> None:
    """Success is a complete answer of 200 to 299, and nothing else."""
    ended = life.settle(*active(), Outcome(status=status), NOW + 5)

    assert (ended.message.state, ended.message.ended, kinds(ended)) == (State.DELIVERED, NOW + 5, ["DELIVERED"])
    assert ended.attempt is not None
    assert (ended.attempt.number, ended.attempt.started, ended.attempt.ended) == (1, NOW, NOW + 5)


@pytest.mark.promise("P-20")
@pytest.mark.parametrize(
    "outcome",
    [Outcome(status=199), Outcome(status=301), Outcome(status=404), DOWN, Outcome(error="timeout"), Outcome(),
     Outcome(status=200, error="closed"), Outcome(status=200, error="protocol")],
)  # fmt: skip
def test_everything_else_is_tried_again(outcome: Outcome) -> None:
    """A redirect, a cut body, no answer: an error, and a retry with its time in the log."""
    ended = life.settle(*active(), outcome, NOW)

    assert (ended.message.state, ended.message.retried, kinds(ended)) == (State.WAITING, 1, ["ERROR", "RETRY"])
    assert ended.message.due == ended.events[1].next_due == NOW + 12_000


@pytest.mark.promise("P-21", "P-28")
def test_spent_retries_make_a_dead_letter() -> None:
    """With retries 0 a failing message has exactly the events CREATED, ACTIVE, ERROR, FAILED."""
    ended = life.settle(*active(retries=0), DOWN, NOW)

    assert (ended.message.state, kinds(ended)) == (State.FAILED, ["ERROR", "FAILED"])
    assert ended.dead_letter is not None
    assert (ended.dead_letter.time, ended.dead_letter.attempt) == (NOW, 1)


@pytest.mark.promise("P-27")
def test_489_with_its_header_fails_at_once_and_without_it_does_not() -> None:
    """A receiver can say that no retry will help."""
    told = Outcome(status=489, headers=(("upstash-nonretryable-error", "true"),))

    assert life.settle(*active(), told, NOW).message.state is State.FAILED
    assert life.settle(*active(), Outcome(status=489), NOW).message.state is State.WAITING


def test_a_damaged_request_fails_at_once() -> None:
    """Trying again cannot mend what the disk has changed."""
    assert life.settle(*active(), Outcome(error="corrupt"), NOW).message.state is State.FAILED


def test_a_shortage_of_this_machine_costs_no_retry() -> None:
    """No descriptor left is not the receiver's fault."""
    ended = life.settle(*active(retries=0), Outcome(error="local"), NOW)

    assert (ended.message.state, ended.message.retried, ended.message.due) == (State.WAITING, 0, NOW + 1000)


def test_a_shortage_that_does_not_end_is_charged_in_the_end() -> None:
    """What looks like this machine's fault for an hour of tries may be for ever; then the user must hear of it."""
    message, asked = active(retries=2)
    charged: list[int] = []

    for _ in range(3602):
        again = life.settle(message, asked, Outcome(error="local"), NOW).message
        if again.retried > message.retried:
            charged.append(message.attempt)
        message = life.start(again, 7, NOW).message
    ended = life.settle(message, asked, Outcome(error="local"), NOW).message

    assert charged == [3601, 3602]
    assert (ended.state, ended.attempt, ended.retried) == (State.FAILED, 3603, 2)


@pytest.mark.promise("P-32")
@pytest.mark.parametrize("end", [life.lose, life.give_back])
def test_a_lost_or_unsent_attempt_is_made_again_at_once_for_free(end: object) -> None:
    """Neither a dead node nor a drain is the publisher's doing."""
    message, _ = active(retries=0)
    again = end(message, NOW + 9)  # type: ignore[operator]

    assert (again.message.state, again.message.due, again.message.retried) == (State.WAITING, NOW + 9, 0)
    assert (kinds(again), again.attempt.outcome.error) == (["ERROR", "RETRY"], "node-lost")


@pytest.mark.promise("P-95")
def test_a_waiting_message_is_cancelled_at_once() -> None:
    """No attempt, no dead letter, no failure callback."""
    message, _, _ = life.create(Publication(1, request()), ID, NOW)
    ended = life.cancel(message, NOW + 1)

    assert ended is not None
    assert (ended.message.state, kinds(ended)) == (State.CANCELED, ["CANCEL_REQUESTED", "CANCELED"])
    assert (ended.dead_letter, ended.created) == (None, ())


@pytest.mark.promise("P-95")
@pytest.mark.parametrize(("outcome", "state"), [(OK, State.DELIVERED), (DOWN, State.CANCELED)])
def test_an_open_attempt_may_still_win_over_its_cancellation(outcome: Outcome, state: State) -> None:
    """The request may be at its receiver already; a 2xx is a delivery, anything else the end."""
    message, asked = active(failure_callback=CallbackOptions("http://cb/"))
    requested = life.cancel(message, NOW + 1)
    assert requested is not None
    assert (requested.message.state, kinds(requested)) == (State.ACTIVE, ["CANCEL_REQUESTED"])

    ended = life.settle(requested.message, asked, outcome, NOW + 2)

    assert (ended.message.state, ended.created) == (state, ())
    assert life.cancel(requested.message, NOW + 2) is None
    assert life.cancel(ended.message, NOW + 3) is None


@pytest.mark.promise("P-95")
def test_a_cancelled_message_is_not_rescued() -> None:
    """Its node died; nobody wants it any more."""
    message, _ = active()
    requested = life.cancel(message, NOW)
    assert requested is not None

    assert life.lose(requested.message, NOW).message.state is State.CANCELED
    assert life.give_back(requested.message, NOW).message.state is State.CANCELED


def fence(message: Message) -> Fence:
    return Fence(message.state, message.version, message.node, message.cancel)


@pytest.mark.promise("P-22")
def test_a_result_is_stale_once_the_message_has_moved() -> None:
    """Gone, at rest, started again, or held by another node."""
    message, asked = active()
    claimed = Claimed(message, asked)

    assert life.unmoved(claimed, fence(message)) == message
    assert life.unmoved(claimed, None) is None
    assert life.unmoved(claimed, fence(life.settle(message, asked, OK, NOW).message)) is None
    again = life.start(life.lose(message, NOW).message, 7, NOW).message
    assert life.unmoved(claimed, fence(again)) is None
    assert life.unmoved(claimed, fence(replace(message, node=8))) is None


@pytest.mark.promise("P-95")
def test_a_message_that_has_not_moved_may_be_asked_to_cancel() -> None:
    """It is what was claimed, and the wish."""
    message, asked = active()
    requested = life.cancel(message, NOW)
    assert requested is not None

    assert life.unmoved(Claimed(message, asked), fence(requested.message)) == requested.message


@pytest.mark.promise("P-40", "P-41")
def test_a_callback_for_each_attempt_and_a_failure_callback_for_the_last() -> None:
    """Both are created with the outcome, never after it."""
    both: dict[str, Any] = {
        "callback": CallbackOptions("http://cb/"),
        "failure_callback": CallbackOptions("http://failed/"),
    }

    delivered = life.settle(*active(**both), OK, NOW)
    retried = life.settle(*active(**both), DOWN, NOW)
    failed = life.settle(*active(retries=0, **both), DOWN, NOW)

    assert [(p.kind, p.request.url, p.parent) for p in delivered.created] == [(Kind.CALLBACK, "http://cb/", ID)]
    assert [p.kind for p in retried.created] == [Kind.CALLBACK]
    assert [p.kind for p in failed.created] == [Kind.CALLBACK, Kind.FAILURE_CALLBACK]


@pytest.mark.promise("P-43")
def test_a_callback_has_no_callback_of_its_own() -> None:
    """Its own failure callback is all that may follow it; so nothing loops."""
    nested = CallbackOptions("http://cb/", failure_callback=CallbackOptions("http://failed/"))
    (callback,) = life.settle(*active(callback=nested), OK, NOW).created

    assert callback.request.options.callback is None
    assert callback.request.options.failure_callback == CallbackOptions("http://failed/")


@pytest.mark.promise("P-97")
def test_a_redrive_is_the_original_with_overrides() -> None:
    """Without overrides nothing changes but the time; dedup is never asked."""
    message, asked = active(retries=0, labels=("a",), flow=Flow("key", 1))
    dead = life.settle(message, asked, DOWN, NOW).message

    same = life.redrive(dead, asked, Overrides())
    other = life.redrive(dead, asked, Overrides(retries=5, labels=("b",), delay_ms=10, headers=(("x", "2"),)))

    assert same.request == replace(asked, options=replace(asked.options, not_before=None))
    assert (same.kind, same.parent, same.dedup, same.delay_ms) == (Kind.REDRIVE, ID, None, 0)
    assert (other.request.options.retry.retries, other.request.options.labels, other.delay_ms) == (5, ("b",), 10)
    assert other.request.options.flow == Flow("key", 1)
    assert other.request.headers == (("x", "2"),)


@pytest.mark.promise("P-97")
def test_overrides_of_how_often_and_of_when_are_apart() -> None:
    """A new number of retries keeps the formula between them, and a new formula the number."""
    message, asked = active(retries=2)
    formula = replace(asked, options=replace(asked.options, retry=RetryPolicy(retries=2, expression="1000")))
    dead = life.settle(message, asked, Outcome(error="corrupt"), NOW).message

    more = life.redrive(dead, formula, Overrides(retries=5)).request.options.retry
    later = life.redrive(dead, formula, Overrides(retry=RetryPolicy(expression="9"))).request.options.retry

    assert more == RetryPolicy(retries=5, expression="1000")
    assert later == RetryPolicy(retries=2, expression="9")


def test_only_legal_moves_are_made() -> None:
    """What rests never moves again."""
    message, asked = active()
    done = life.settle(message, asked, OK, NOW).message
    with pytest.raises(AssertionError, match="DELIVERED -> ACTIVE"):
        life.start(done, 7, NOW)


def test_the_lane_is_the_key_or_the_host() -> None:
    """Fairness between keys and hosts follows from it."""
    by_host = lane_of(1, request())
    by_key = lane_of(1, request(flow=Flow("one:80")))

    assert (by_host.kind, by_host.name) == (LaneKind.HOST, "one:80")
    assert (by_key.kind, by_key.name) == (LaneKind.FLOW, "one:80")
    assert len({by_host.id, by_key.id, lane_of(2, request()).id}) == 3
