"""A message that kills the process is set apart and convicted; those that were in flight with it are not harmed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk, item

from lateron.broker import messages
from lateron.broker.bulk import Broker
from lateron.broker.views import Limits, Turn
from lateron.core.apart import ALONE_MS
from lateron.core.flow_control import flow_lane, host_lane, paused, resumed
from lateron.core.values import CallbackOptions, Claimed, Filter, Flow, Kind, MessageId, Outcome, State
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)
LIMIT = 3


@pytest.fixture
def desk() -> Desk:
    return Desk(open_memory(NOW), Limits(crash_limit=LIMIT))


def kill(desk: Desk, times: int) -> None:
    """Let the process die so often with everything in flight that is due."""
    for _ in range(times):
        desk.claim()
        desk.restart(desk.broker._node + 1)


def ids(claimed: tuple[Claimed, ...]) -> list[MessageId]:
    return [one.message.id for one in claimed]


def state(desk: Desk, message: MessageId) -> State:
    return desk.history.message(1, message, NOW).message.state


def setting(desk: Desk, name: str) -> str | None:
    with desk.store.transaction() as tx:
        return tx.setting(name)


@pytest.mark.promise("P-31")
def test_a_message_that_kills_the_process_is_convicted_and_no_other(desk: Desk) -> None:
    """Three deaths with four in flight; then one at a time, and of the one that kills again there is a dead letter."""
    options: dict[str, Any] = {
        "callback": CallbackOptions("http://cb/"),
        "failure_callback": CallbackOptions("http://failed/"),
    }
    poison, *innocent = (one.id for one in desk.publish(item(**options), *[item("http://two/")] * 3))
    kill(desk, LIMIT)
    later = desk.publish(item("http://three/"))[0].id

    (alone,) = desk.claim()
    assert alone.message.id == poison
    assert desk.claim() == ()
    assert state(desk, later) is State.WAITING
    desk.restart(9)

    letter = desk.history.dead_letters(1, Filter(), None, 10).items[0]
    assert (letter.message.id, letter.attempt.outcome.error) == (poison, "crash-loop")
    for one in innocent:
        (alone,) = desk.claim()
        assert alone.message.id == one
        desk.settle([alone], OK)
    rest = desk.claim()
    assert {one.message.kind for one in rest} == {Kind.CALLBACK, Kind.FAILURE_CALLBACK, Kind.PUBLISH}
    assert later in ids(rest)
    assert {state(desk, one) for one in innocent} == {State.DELIVERED}
    assert (setting(desk, "set-apart"), setting(desk, "rescuing")) == (None, None)


@pytest.mark.promise("P-31")
def test_an_answer_clears_a_suspect_and_an_end_in_order_counts_nothing(desk: Desk) -> None:
    """It fails and is tried again like any other; restarts in order, however many, make no suspect."""
    (message,) = (one.id for one in desk.publish(item()))
    kill(desk, LIMIT)
    claimed = desk.claim()
    assert setting(desk, "set-apart") is not None
    desk.settle(claimed, DOWN)
    assert setting(desk, "set-apart") is None
    due = desk.history.message(1, message, NOW).message.due

    for node in range(20, 30):
        assert ids(desk.claim(now=due)) == [message]
        desk.broker.leave(due)
        desk.restart(node, due)

    assert desk.history.message(1, message, due).message.rescues == 0
    story = desk.history.story(1, message, due)
    assert [attempt.outcome.error for attempt in story.attempts] == ["node-lost"] * LIMIT + [None] + ["node-lost"] * 10
    assert "shut down" in story.attempts[-1].outcome.detail
    with desk.store.transaction() as tx:
        assert len(tx.other_nodes(0)) == 1


@pytest.mark.promise("P-31")
def test_a_slow_suspect_holds_the_others_up_for_a_minute_and_is_no_more_convicted_then(desk: Desk) -> None:
    """Its receiver takes hours: the rest goes out meanwhile, and if the process dies then it was not alone."""
    (slow,) = (one.id for one in desk.publish(item()))
    kill(desk, LIMIT)
    assert ids(desk.claim()) == [slow]
    (other,) = (one.id for one in desk.publish(item("http://two/")))

    turned = desk.broker.turn(Turn(room=9), NOW + 1)
    assert (turned.claimed, turned.next_due) == ((), NOW + ALONE_MS)
    assert ids(desk.claim(now=NOW + ALONE_MS)) == [other]
    desk.restart(9, NOW + ALONE_MS)

    assert {state(desk, one) for one in (slow, other)} == {State.WAITING}
    assert ids(desk.claim(now=NOW + ALONE_MS)) == [slow]


@pytest.mark.promise("P-31")
@pytest.mark.parametrize("shut", ["host", "key", "host of the key"])
def test_a_suspect_that_may_not_start_holds_nobody_up(desk: Desk, shut: str) -> None:
    """Its host or its key is paused: it loses its turn, and waits as everybody does."""
    flow = None if shut == "host" else Flow("k")
    (suspect,) = (one.id for one in desk.publish(item(flow=flow)))
    kill(desk, LIMIT)
    desk.broker.alter_lane(1, flow_lane(1, "k") if shut == "key" else host_lane(1, "one:80"), paused, NOW, create=True)
    (other,) = (one.id for one in desk.publish(item("http://two/")))

    started = [one for _ in range(3) for one in ids(desk.claim())]

    assert started == [other]
    assert desk.history.message(1, suspect, NOW).waiting.reason.endswith("_paused")  # type: ignore[union-attr]


@pytest.mark.promise("P-31")
def test_a_suspect_that_lost_its_turn_waits_as_everybody_does_from_then_on(desk: Desk) -> None:
    """Its host is paused and resumed before the next turn: nobody is said to be set apart any more, and nobody is."""
    (suspect,) = (one.id for one in desk.publish(item()))
    kill(desk, LIMIT)
    desk.broker.alter_lane(1, host_lane(1, "one:80"), paused, NOW, create=True)

    assert desk.claim() == ()
    desk.broker.alter_lane(1, host_lane(1, "one:80"), resumed, NOW)

    assert setting(desk, "set-apart") is None
    assert desk.history.message(1, suspect, NOW).waiting.reason == "node"  # type: ignore[union-attr]
    assert suspect in ids(desk.claim())


@pytest.mark.promise("P-31")
def test_a_death_in_the_midst_of_a_rescue_convicts_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has left over is one message, and the dead process had two: nobody was alone."""
    monkeypatch.setattr(messages, "PAGE", 1)
    first, second = (one.id for one in desk.publish(*[item()] * 2))
    kill(desk, LIMIT - 1)
    desk.claim()
    with desk.store.transaction() as tx:
        tx.save_messages([replace(m, rescues=LIMIT) for m in tx.load_messages([first, second]).values()])

    broker = Broker(desk.store, id_maker(), 8, desk.limits)
    assert broker._rescue_page(desk.broker._node, NOW) == 1
    desk.restart(9)

    assert {state(desk, one) for one in (first, second)} == {State.WAITING}
    assert setting(desk, "rescuing") is None


@pytest.mark.promise("P-31")
def test_a_limit_of_none_sets_nobody_apart() -> None:
    """An operator may prefer a loop to a dead letter."""
    desk = Desk(open_memory(NOW), Limits(crash_limit=None))
    (message,) = (one.id for one in desk.publish(item()))

    kill(desk, 20)

    assert ids(desk.claim()) == [message]
    assert setting(desk, "set-apart") is None
