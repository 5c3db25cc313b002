"""Why a message waits: every reason, who holds it, its place and its time, compared with what then happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.views import Limits, Turn, Waiting
from lateron.cli.show import _REASONS
from lateron.core import flow_control
from lateron.core.flow_control import flow_lane, host_lane
from lateron.core.ids import message_text
from lateron.core.values import (
    MINUTE,
    SECOND,
    CallbackOptions,
    Claimed,
    Filter,
    Flow,
    MessageId,
    Millis,
    Outcome,
    RetryPolicy,
)
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)
TIGHT = Limits(host_parallelism=3, global_parallelism=6, crash_limit=2)
KEY, HOST = flow_lane(1, "k"), host_lane(1, "one:80")

Scene = Callable[[Desk], tuple[MessageId, Waiting, Callable[[], Millis | None]]]


def last(desk: Desk, *publications: object, now: Millis = NOW) -> MessageId:
    """Publish, and return the last one's id."""
    return desk.publish(*publications, now=now)[-1].id  # type: ignore[arg-type]


def delayed(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    return last(desk, item(delay_ms=MINUTE)), Waiting("delay", NOW + MINUTE), lambda: NOW + MINUTE


def retried(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    message = last(desk, item())
    desk.settle(desk.claim(), DOWN)
    return message, Waiting("retry", NOW + 12 * SECOND), lambda: NOW + 12 * SECOND


def behind_a_head(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    head, _, message = (answer.id for answer in desk.publish(*[item(queue_name="q")] * 3))
    claimed = desk.claim()

    def go() -> Millis:
        desk.settle(claimed, OK)
        desk.settle(desk.claim(), OK)
        return NOW

    return message, Waiting("queue_head", None, message_text(head), 2), go


def behind_a_callback(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    reports = CallbackOptions("http://callback/", retry=RetryPolicy(retries=0))
    head, message = (a.id for a in desk.publish(item(queue_name="q", callback=reports), item(queue_name="q")))
    desk.settle(desk.claim(), OK)
    report = desk.claim()

    def go() -> Millis:
        desk.settle(report, OK)
        return NOW

    return message, Waiting("callback_of", None, message_text(head), 1), go


def in_a_paused_queue(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    desk.broker.set_queue(1, "q", NOW, paused=True)
    message = last(desk, item(queue_name="q"))

    def go() -> Millis:
        desk.broker.pause_queue(1, "q", NOW, paused=False)
        return NOW

    return message, Waiting("queue_paused", None, "q", 1), go


def of_a_full_key(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    message = last(desk, *[item(flow=Flow("k", parallelism=1))] * 3)
    first = desk.claim()

    def go() -> Millis:
        desk.settle(first, OK)
        desk.settle(desk.claim(), OK)
        return NOW

    return message, Waiting("flow_parallelism", None, "k", 2), go


def of_a_spent_rate(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    message = last(desk, *[item(flow=Flow("k", rate=1, period_ms=MINUTE))] * 3)
    desk.settle(desk.claim(), OK)

    def go() -> Millis:
        desk.settle(desk.claim(now=NOW + MINUTE), OK, now=NOW + MINUTE)
        return NOW + 2 * MINUTE

    return message, Waiting("flow_rate", NOW + 2 * MINUTE, "k", 2), go


def of_a_paused_key(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    desk.broker.alter_lane(1, KEY, flow_control.paused, NOW, create=True)
    message = last(desk, item(flow=Flow("k")))

    def go() -> Millis:
        desk.broker.alter_lane(1, KEY, flow_control.resumed, NOW)
        return NOW

    return message, Waiting("flow_paused", None, "k", 1), go


def to_a_full_host(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    desk.publish(*[item("http://one/")] * 3)
    open_ones = desk.claim()
    message = last(desk, item("http://one/", flow=Flow("k")))
    desk.claim()

    def go() -> Millis:
        desk.settle(open_ones, OK)
        return NOW

    return message, Waiting("host_cap", None, "one:80", 1), go


def to_a_paused_host(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    desk.broker.alter_lane(1, HOST, flow_control.paused, NOW, create=True)
    message = last(desk, item("http://one/"), item("http://one/"))

    def go() -> Millis:
        desk.broker.alter_lane(1, HOST, flow_control.resumed, NOW)
        return NOW

    return message, Waiting("host_paused", None, "one:80", 2), go


def of_a_full_server(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    desk.publish(*[item(f"http://{host}/") for host in ("a", "b") for _ in range(3)])
    open_ones = desk.claim()
    message = last(desk, item("http://c/"))

    def go() -> Millis:
        desk.settle(open_ones, OK)
        return NOW

    return message, Waiting("global_parallelism", place=1), go


def of_a_paused_server(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    desk.broker.pause_delivery(paused=True)
    message = last(desk, item())

    def go() -> Millis:
        desk.broker.pause_delivery(paused=False)
        return NOW

    return message, Waiting("server_paused"), go


def for_a_place(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    message = last(desk, item())
    desk.broker.turn(Turn(room=0), NOW)
    return message, Waiting("node", place=1), lambda: NOW


def set_apart(desk: Desk) -> tuple[MessageId, Waiting, Callable[[], Millis]]:
    """Two have seen as many deaths as may be; the second one waits for its turn to be attempted alone."""
    first, message = (answer.id for answer in desk.publish(*[item()] * 2))
    for node in (2, 3):
        desk.claim()
        desk.restart(node)
    (alone,) = desk.claim()
    assert alone.message.id == first

    def go() -> Millis:
        desk.settle([alone], OK)
        return NOW

    return message, Waiting("set_apart", place=1), go


SCENES: list[Scene] = [
    delayed, retried, behind_a_head, behind_a_callback, in_a_paused_queue, of_a_full_key, of_a_spent_rate,
    of_a_paused_key, to_a_full_host, to_a_paused_host, of_a_full_server, of_a_paused_server, for_a_place,
    set_apart,
]  # fmt: skip


def started(desk: Desk, now: Millis) -> set[MessageId]:
    """Take all that starts until nothing is due."""
    found: list[Claimed] = []
    for _ in range(9):
        found += desk.claim(now=now)
    return {one.message.id for one in found}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_reason_that_is_told_is_the_one_that_holds(scene: Scene) -> None:
    """While it is there the message does not start; once it is gone, and not before the time told, it does."""
    desk = Desk(open_memory(NOW), TIGHT)
    message, told, remove = scene(desk)

    assert desk.history.message(1, message, NOW).waiting == told
    if told.reason != "node":
        assert message not in started(desk, NOW)
        assert desk.history.message(1, message, NOW).waiting == told
    due = remove()
    assert due is not None
    if due > NOW:
        assert told.until == due
        assert message not in started(desk, due - 1)
    assert message in started(desk, due)


def test_every_reason_has_a_sentence_for_people() -> None:
    """`lateron why` knows all that the server tells, and no more."""
    told = {waiting.reason for scene in SCENES for _, waiting, _ in [scene(Desk(open_memory(NOW), TIGHT))]}
    assert told | {"user_parallelism"} == set(_REASONS)  # That one is in test_fairness.


@given(
    st.integers(1, 4),
    st.sampled_from([SECOND, 7 * SECOND]),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 9),
    st.integers(0, 900),
)
def test_the_time_told_for_a_rate_is_the_time_it_starts(
    rate: int,
    period: Millis,
    smooth: bool,
    early: int,
    count: int,
    wait: Millis,  # Drawn.
) -> None:
    """For everybody in line, as long as nothing else holds them and nobody comes in between."""
    desk = Desk(open_memory(NOW))
    flow = Flow("k", rate=rate, period_ms=period, smooth=smooth)
    desk.publish(*[item(flow=flow)] * early)
    desk.settle(desk.claim(), OK)
    now = NOW + wait
    desk.claim(now=now)
    desk.publish(*[item(flow=flow)] * count, now=now)
    desk.claim(now=now)
    views = desk.history.pending(1, Filter(), None, 50, now).items
    told = {v.message.id: v.waiting.until for v in views if v.waiting is not None}

    starts: dict[MessageId, Millis | None] = {}
    for _ in range(40):
        turned = desk.broker.turn(Turn(room=50), now)
        starts |= {c.message.id: now for c in turned.claimed}
        if turned.next_due is None:
            break
        now = max(now, turned.next_due)
    assert starts == told


def test_the_place_in_a_line_is_exact_up_to_a_thousand(desk: Desk) -> None:
    """Beyond that it costs no more to say that there are at least so many."""
    desk.broker.alter_lane(1, KEY, flow_control.paused, NOW, create=True)
    answers = [desk.publish(*[item(flow=Flow("k"))] * 100) for _ in range(11)]
    ids = [answer.id for page in answers for answer in page]

    places = [desk.history.message(1, ids[n], NOW).waiting for n in (0, 998, 999, 1000, 1099)]
    assert [w and w.place for w in places] == [1, 999, 1000, 1001, 1001]
    assert replace(places[0] or Waiting(""), place=None) == Waiting("flow_paused", None, "k")
