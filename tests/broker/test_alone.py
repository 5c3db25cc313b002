"""A turn that cannot be decided is taken apart: who is guilty harms nobody else, and keeps the loop free."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.alone import GUILTY_PAUSE, Undecided
from lateron.broker.ledger import Ledger
from lateron.broker.views import Limits, Result, Turn
from lateron.core.values import MINUTE, SECOND, Flow, Message, Millis, Outcome
from lateron.errors import StorageFull
from lateron.store.sql import Verbs
from lateron.store.sqlite import open_memory

OK = Outcome(status=200)


def full_after(desk: Desk, commits: int, patch: pytest.MonkeyPatch) -> None:
    """Let the disk be full once so many transactions are stored."""
    honest, left = desk.store.commit, commits

    def commit() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            desk.store._roll_back()
            raise StorageFull
        honest()

    patch.setattr(desk.store, "commit", commit)


def guilty_of(patch: pytest.MonkeyPatch, url: str) -> None:
    """Let a publication to a URL meet a bug."""
    honest = Ledger.enter

    def enter(self: Ledger, made: Any, *, room: bool) -> object:
        assert made[1].url != url, "a bug"
        return honest(self, made, room=room)

    patch.setattr(Ledger, "enter", enter)


def test_a_lane_that_cannot_be_claimed_from_rests_and_holds_up_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for once, and tried again after a minute; others start, and who publishes notices nothing."""
    tried: list[str] = []
    honest = Ledger.admit

    def admit(self: Ledger, lane_id: int, ready: list[Message]) -> list[Message]:
        name = self.lane(lane_id).name
        tried.append(name)
        if name == "guilty:80":
            raise AssertionError("a bug")
        return honest(self, lane_id, ready)

    desk.publish(item("http://guilty/"), item("http://one/"))
    monkeypatch.setattr(Ledger, "admit", admit)

    turned = desk.broker.turn(Turn(publishes=((item("http://two/"),),), room=5), NOW)

    assert [type(answer) for answer in turned.accepted] == [tuple]
    assert sorted(one.request.url for one in turned.claimed) == ["http://one/", "http://two/"]
    tried.clear()
    desk.publish(item("http://guilty/"), item("http://three/"))
    turned = desk.broker.turn(Turn(room=5), NOW + 1)
    assert [one.request.url for one in turned.claimed] == ["http://three/"]
    assert (tried, turned.next_due) == (["three:80"], NOW + GUILTY_PAUSE)
    monkeypatch.undo()
    assert len(desk.claim(now=NOW + GUILTY_PAUSE)) == 2


def test_a_key_that_cannot_be_claimed_from_when_it_is_called_rests_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood before its host, where no time wakes it; who stands behind it goes first."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=1))
    desk.publish(item())
    first = desk.claim()
    for key in ("guilty", "k"):
        desk.publish(item(flow=Flow(key)))
        assert desk.claim() == (), "its host is full"
    honest = Ledger.start

    def start(self: Ledger, lane_id: int, heads: list[Message], following: Millis | None) -> list[Message]:
        if self.lane(lane_id).name == "guilty":
            raise AssertionError("a bug")
        return honest(self, lane_id, heads, following)

    monkeypatch.setattr(Ledger, "start", start)
    desk.settle(first, OK)

    (second,) = desk.claim(now=NOW + SECOND)

    assert second.request.options.flow == Flow("k")
    monkeypatch.undo()
    desk.settle([second], OK)
    (third,) = desk.claim(now=NOW + MINUTE + SECOND)
    assert third.request.options.flow == Flow("guilty")


def test_a_claim_that_fails_for_no_lane_is_not_tried_again_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the loop would do nothing else; who publishes is answered meanwhile."""

    def search(*_: object) -> None:
        raise AssertionError("a bug")

    desk.publish(item())
    with monkeypatch.context() as during:
        during.setattr(Ledger, "search", search)
        turned = desk.broker.turn(Turn(publishes=((item("http://two/"),),), room=1), NOW)

    assert [type(answer) for answer in turned.accepted] == [tuple]
    assert len(turned.claimed) == 1, "lanes are claimed from alone"
    assert turned.next_due == NOW + SECOND
    assert len(desk.claim(now=NOW + SECOND)) == 1


def test_who_publishes_is_answered_though_nobody_can_say_who_could_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is stored, whatever fails behind it."""

    def sleeping_lanes(*_: object) -> None:
        raise AssertionError("a bug")

    with monkeypatch.context() as during:
        during.setattr(Verbs, "sleeping_lanes", sleeping_lanes)
        desk.broker._crowds.forget()
        turned = desk.broker.turn(Turn(publishes=((item(),),), room=1), NOW)

    assert ([type(answer) for answer in turned.accepted], turned.claimed) == ([tuple], ())
    assert turned.next_due == NOW + SECOND
    assert len(desk.claim(now=NOW + SECOND)) == 1


@pytest.mark.promise("P-119")
def test_publications_that_are_stored_are_answered_though_the_disk_is_full_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of a turn that is taken apart is told so, and is not stored."""
    guilty_of(monkeypatch, "http://guilty/")
    full_after(desk, 2, monkeypatch)
    batch = tuple((item(f"http://{name}/"),) for name in ("one", "guilty", "two", "three", "four"))

    turned = desk.broker.turn(Turn(publishes=batch, room=5), NOW)

    assert [type(answer) for answer in turned.accepted] == [tuple, Undecided, tuple, StorageFull, StorageFull]
    assert len(desk.dump()["message"]) == 2
    monkeypatch.undo()
    assert len(desk.claim()) == 2


@pytest.mark.promise("P-119")
def test_results_that_are_not_recorded_when_the_disk_is_full_are_given_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it are recorded, and whoever publishes with them is refused."""
    desk.publish(*[item()] * 3)
    results = tuple(Result(one, OK) for one in desk.claim())
    guilty_of(monkeypatch, "http://guilty/")
    full_after(desk, 1, monkeypatch)

    turned = desk.broker.turn(Turn(publishes=((item("http://guilty/"),),), results=results, room=5), NOW)

    assert (turned.settled, turned.left) == (1, results[1:])
    assert [type(answer) for answer in turned.accepted] == [StorageFull]
    monkeypatch.undo()
    assert desk.broker.turn(Turn(results=turned.left), NOW).settled == 2


@pytest.mark.promise("P-119")
def test_what_has_started_begins_though_the_disk_is_full_then(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ACTIVE in the store, so it must be attempted."""
    desk.publish(item(), item("http://two/"))

    def search(*_: object) -> None:
        raise AssertionError("a bug")

    with monkeypatch.context() as during:
        during.setattr(Ledger, "search", search)
        full_after(desk, 2, during)  # The first is the look at who could start.
        claimed = desk.claim()

    assert len(claimed) == 1
    assert len(desk.claim(now=NOW + SECOND)) == 1


@pytest.mark.promise("P-119")
def test_a_turn_of_which_nothing_could_be_stored_fails_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the reserve of the disk is spent on it."""
    guilty_of(monkeypatch, "http://guilty/")
    full_after(desk, 0, monkeypatch)

    with pytest.raises(StorageFull):
        desk.broker.turn(Turn(publishes=((item("http://guilty/"),), (item(),))), NOW)
