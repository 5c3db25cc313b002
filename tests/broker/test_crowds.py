"""Two gates at once: a message of a key also needs room at its host, and nobody waits longer than his turn."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.broker.conftest import NOW, Desk, item

from lateron.broker import crowds
from lateron.broker.bulk import Broker
from lateron.broker.views import Accepted, Limits, Result, Turn
from lateron.core import flow_control
from lateron.core.flow_control import host_lane
from lateron.core.values import (
    HOUR,
    SECOND,
    Claimed,
    Filter,
    Flow,
    LaneKind,
    Message,
    MessageId,
    Millis,
    Outcome,
    Publication,
    RetryPolicy,
)
from lateron.errors import StorageFull
from lateron.runtime import id_maker
from lateron.store.sqlite import SqliteStore, open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)
CAP = 2
HOST = host_lane(1, "one:80")


def keyed(key: str, host: str = "one", **changes: object) -> Publication:
    """A publication under a key that has no limit of its own."""
    return item(f"http://{host}/", flow=Flow(key), **changes)  # type: ignore[arg-type] # As in item.


def crowded(most: int = CAP) -> Desk:
    """A desk whose destinations take so many attempts at once."""
    return Desk(open_memory(NOW), Limits(host_parallelism=most))


def all_due(desk: Desk, now: Millis = NOW, room: int = 100) -> list[Claimed]:
    """Take what is due until the broker says that nothing is; the number of turns is bounded, so none is idle."""
    claimed: list[Claimed] = []
    for _ in range(60):
        turned = desk.broker.turn(Turn(room=room - len(claimed)), now)
        claimed += turned.claimed
        if turned.next_due is None or turned.next_due > now or room == len(claimed):
            return claimed
    raise AssertionError("the broker looks again and again, and nothing starts")


@pytest.mark.promise("P-117")
def test_a_retry_that_comes_to_the_front_does_not_wait_for_the_host_of_another(desk: Desk) -> None:
    """Its key sleeps before a paused host because of the message that is now behind it."""
    desk.publish(keyed("k", "two", retry=RetryPolicy(retries=1, expression="0")), keyed("k", "one"))
    desk.broker.alter_lane(1, HOST, flow_control.paused, NOW, create=True)
    (first,) = all_due(desk)
    assert first.request.url == "http://two/"

    desk.settle([first], DOWN)

    (again,) = all_due(desk)
    assert (again.request.url, again.message.retried) == ("http://two/", 1)


@pytest.mark.promise("P-114")
def test_the_cap_of_a_host_holds_for_keys_and_queues() -> None:
    """Whatever lane they come from, no more are open to a host than the operator allows."""
    desk = crowded()
    desk.publish(keyed("a"), keyed("b"), item("http://one/"), item("http://one/", queue_name="q"), room=9)
    desk.publish(keyed("a", "two"), keyed("c", queue_name="r"), room=9)
    with desk.store.transaction() as tx:
        born = [c.request.url for c in tx.claimed(tx.owned(1, 99))]

    started = Counter([*born, *(c.request.url for c in all_due(desk))])
    assert started == {"http://one/": CAP, "http://two/": 1}
    reasons = [v.waiting for v in desk.history.pending(1, Filter(), None, 9, NOW).items if v.waiting]
    assert {(w.reason, w.held_by) for w in reasons} == {("host_cap", "one:80")}
    assert desk.history.lane(1, HOST, NOW).lane.active == CAP


def test_whoever_ends_lets_the_next_in_and_all_take_turns() -> None:
    """One place at a host, three keys and plain messages with a backlog each: they start in turns, nobody twice."""
    desk = crowded(1)
    for key in ("a", "b", "c"):
        desk.publish(*[keyed(key)] * 10)
    desk.publish(*[item("http://one/")] * 10)
    starts: list[str] = []
    (held,) = all_due(desk)
    for _ in range(39):
        flow = held.request.options.flow
        starts.append("" if flow is None else flow.key)
        claimed = desk.broker.turn(Turn(results=(Result(held, OK),), room=9), NOW).claimed
        (held,) = claimed or all_due(desk)

    rounds = [starts[n : n + 4] for n in range(1, 33, 4)]  # The first found an empty host.
    assert all(sorted(one) == ["", "a", "b", "c"] for one in rounds)
    assert max(len(list(same)) for _, same in groupby(starts[1:33])) == 1


def test_a_key_with_more_destinations_waits_only_for_the_full_one() -> None:
    """The order of a key is kept: what is behind a message to a full host waits with it, another key does not."""
    desk = crowded(1)
    desk.publish(item("http://one/"), room=1)
    desk.publish(keyed("a", "two"), keyed("a"), keyed("a", "three"), keyed("b", "three"))

    assert [c.request.url for c in all_due(desk)] == ["http://two/", "http://three/"]
    waiting = [v.waiting for v in desk.history.pending(1, Filter(flow_keys=("a",)), None, 9, NOW).items]
    assert [w and (w.reason, w.held_by) for w in waiting] == [("host_cap", "one:80"), ("host_cap", "one:80"), None]


def test_a_sleeping_key_is_not_read_again() -> None:
    """A thousand keys before a full host cost a claim of another's message nothing."""
    desk = crowded(1)
    desk.publish(item("http://one/"), room=1)
    desk.publish(*[keyed(f"k{n}") for n in range(1000)])
    for _ in range(20):
        desk.claim(room=100)
    assert desk.broker.turn(Turn(room=100), NOW).next_due is None
    desk.publish(item("http://two/"))
    with desk.store.transaction() as tx:
        assert [lane.name for lane in tx.due_lanes(1, NOW, 2000)] == ["two:80"]


@pytest.mark.promise("P-117")
def test_who_slept_before_a_host_wakes_after_a_restart() -> None:
    """Nobody remembers the crowd; it is found again, and plain messages are in it too."""
    desk = crowded(1)
    desk.publish(item("http://one/"), room=1)
    desk.publish(*[keyed(f"k{n}") for n in range(5)], item("http://one/"))
    assert all_due(desk) == []
    desk.broker = Broker(desk.store, id_maker(), 2, desk.limits)
    desk.broker.open("again", NOW)

    names = set[str]()
    for _ in range(7):
        (held,) = all_due(desk)
        names.add(str(held.request.options.flow))
        desk.settle([held], OK)
    assert all_due(desk) == []
    assert len(names) == 6


@pytest.mark.promise("P-117")
def test_a_delayed_message_puts_no_key_off_that_slept_before_a_restart(desk: Desk) -> None:
    """Its own time is an hour away; those before it have waited for a host that may have room now."""
    desk.broker.alter_lane(1, HOST, flow_control.paused, NOW, create=True)
    desk.publish(keyed("k"))
    assert all_due(desk) == []
    desk.broker = Broker(desk.store, id_maker(), 2, desk.limits)
    desk.broker.open("again", NOW)

    desk.publish(keyed("k", delay_ms=HOUR))
    desk.broker.alter_lane(1, HOST, flow_control.resumed, NOW)

    assert len(all_due(desk)) == 1


@pytest.mark.promise("P-117")
def test_who_slept_before_a_host_wakes_after_the_disk_was_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that called the next one was rolled back; he is called again."""
    desk = crowded(1)
    desk.publish(item("http://one/"), room=1)
    desk.publish(keyed("a"), keyed("b"))
    assert all_due(desk) == []
    with desk.store.transaction() as tx:
        (held,) = tx.claimed(tx.owned(1, 9))

    def full(_: SqliteStore) -> None:
        desk.store._connection.execute("ROLLBACK")
        raise StorageFull("no space")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", full)
        with pytest.raises(StorageFull):
            desk.broker.turn(Turn(results=(Result(held, OK),), room=9), NOW)

    (second,) = desk.broker.turn(Turn(results=(Result(held, OK),), room=9), NOW).claimed or all_due(desk)
    desk.settle([second], OK)
    assert len(all_due(desk)) == 1


@pytest.mark.promise("P-117")
def test_more_keys_than_are_remembered_all_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the bound are found by search, in pieces."""
    monkeypatch.setattr(crowds, "MOST", 8)
    desk = crowded(1)
    desk.publish(item("http://one/"), room=1)
    desk.publish(*[keyed(f"k{n}") for n in range(50)])
    assert all_due(desk) == []
    with desk.store.transaction() as tx:
        (held,) = tx.claimed(tx.owned(1, 9))

    started = set[MessageId]()
    for _ in range(50):
        (held,) = desk.broker.turn(Turn(results=(Result(held, OK),), room=5), NOW).claimed or all_due(desk)
        started.add(held.message.id)
    assert len(started) == 50


def test_a_cancelled_head_lets_its_key_look_elsewhere() -> None:
    """The key slept because of the message that has gone."""
    desk = crowded(1)
    desk.publish(item("http://one/"), room=1)
    (first,) = desk.publish(keyed("a"))
    desk.publish(keyed("a", "two"))
    assert all_due(desk) == []

    desk.broker.cancel(1, Filter(message_ids=(first.id,)), NOW)

    assert [c.request.url for c in all_due(desk)] == ["http://two/"]


class Model:
    """Messages of keys and hosts in the words of the promises: order in a key, room at a host."""

    def __init__(self) -> None:
        self.waiting: dict[MessageId, tuple[Millis, str, str]] = {}  # Due, lane, host.
        self.open: dict[MessageId, tuple[str, str]] = {}
        self.paused: set[str] = set()

    def free(self, host: str) -> int:
        return 0 if host in self.paused else CAP - sum(h == host for _, h in self.open.values())

    def room(self, lane: str) -> int:
        """A key ``p...`` takes one at a time, every other lane what the host takes."""
        return 1 - sum(name == lane for name, _ in self.open.values()) if lane.startswith("p") else 100

    def heads(self, now: Millis) -> list[tuple[MessageId, str, str]]:
        """Return the first waiting message of each lane, if it is due."""
        first: dict[str, tuple[Millis, MessageId, str]] = {}
        for message, (due, lane, host) in self.waiting.items():
            first[lane] = min(first.get(lane, (due, message, host)), (due, message, host))
        return [(message, lane, host) for lane, (due, message, host) in first.items() if due <= now]

    def startable(self, now: Millis) -> list[MessageId]:
        """Return the heads that nothing keeps from starting."""
        return [m for m, lane, host in self.heads(now) if self.free(host) > 0 and self.room(lane) > 0]


class Hosts(RuleBasedStateMachine):
    """Keys and plain messages to two small hosts, with all that can happen to them."""

    @initialize()
    def begin(self) -> None:
        self.desk, self.now, self.node = crowded(), NOW, 1
        self.desk.broker._new_id = id_maker(Random(1).randbytes)
        self.model = Model()
        self.held: dict[MessageId, Claimed] = {}

    @rule(
        lanes=st.lists(st.sampled_from(["", "a", "b", "p"]), min_size=1, max_size=4),
        host=st.sampled_from(["one", "one", "two"]),
        delay=st.sampled_from([0, 0, 0, 700]),
        room=st.sampled_from([0, 0, 1, 5]),
    )
    def publish(self, lanes: list[str], host: str, delay: Millis, room: int) -> None:
        url = f"http://{host}/"
        flows = [Flow(key, parallelism=1 if key == "p" else None) if key else None for key in lanes]
        items = tuple(item(url, flow=flow, delay_ms=delay) for flow in flows)
        turned = self.desk.broker.turn(Turn((items,), room=room), self.now)
        (answers,) = turned.accepted
        assert isinstance(answers, tuple)
        for answer, lane in zip(answers, lanes, strict=True):
            assert isinstance(answer, Accepted)
            self.model.waiting[answer.id] = (self.now + delay, lane or host, host)
        self.take(list(turned.claimed))

    @rule(ms=st.sampled_from([1, 700, 13 * SECOND]))
    def pass_time(self, ms: Millis) -> None:
        self.now += ms

    @rule(room=st.sampled_from([1, 2, 100]))
    def claim(self, room: int) -> None:
        """Once the broker has nothing due, nothing that could start is left behind."""
        claimed = all_due(self.desk, self.now, room)
        self.take(claimed)
        assert len(claimed) == room or not self.model.startable(self.now)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=st.sampled_from([OK, OK, DOWN, None]), room=st.sampled_from([0, 1, 5]))
    def end(self, data: st.DataObject, outcome: Outcome | None, room: int) -> None:
        chosen = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        self.ended(chosen.message, outcome)
        turned = self.desk.broker.turn(Turn(results=(Result(chosen, outcome),), room=room), self.now)
        self.take(list(turned.claimed))

    def ended(self, message: Message, outcome: Outcome | None) -> None:
        lane, host = self.model.open.pop(message.id)
        if outcome is None:
            self.model.waiting[message.id] = (self.now, lane, host)
        elif outcome is DOWN and message.retried < 1:
            self.model.waiting[message.id] = (self.now + 12 * SECOND, lane, host)
        elif outcome is DOWN and message.retried < 3:
            self.model.waiting[message.id] = (self.now + (148, 1808)[message.retried - 1] * SECOND, lane, host)

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.model.waiting)))
        del self.model.waiting[chosen]
        self.desk.broker.cancel(1, Filter(message_ids=(chosen,)), self.now)

    @rule(host=st.sampled_from(["one", "two"]), paused=st.booleans())
    def switch(self, host: str, *, paused: bool) -> None:
        change = flow_control.paused if paused else flow_control.resumed
        self.desk.broker.alter_lane(1, host_lane(1, f"{host}:80"), change, self.now, create=True)
        (self.model.paused.add if paused else self.model.paused.discard)(host)

    @rule()
    def crash(self) -> None:
        self.node += 1
        self.desk.broker = Broker(self.desk.store, id_maker(Random(self.node).randbytes), self.node, self.desk.limits)
        self.desk.broker.open("again", self.now)
        for claimed in self.held.values():
            self.ended(claimed.message, None)
        self.held.clear()

    def take(self, claimed: list[Claimed]) -> None:
        """Each was the first of its lane, and there was room for it at both gates."""
        for one in claimed:
            heads = {m: (lane, host) for m, lane, host in self.model.heads(self.now)}
            lane, host = heads[one.message.id]
            assert self.model.free(host) > 0
            assert self.model.room(lane) > 0
            del self.model.waiting[one.message.id]
            self.model.open[one.message.id] = (lane, host)
            self.held[one.message.id] = one

    @invariant()
    def figures_are_true(self) -> None:
        """P-77: a host shows all that are open to it, a key what is open of it."""
        with self.desk.store.transaction() as tx:
            rows = {lane.name: lane for kind in (0, 1) for lane in tx.lanes_named(1, LaneKind(kind), "", "", 9)}
        for host in ("one", "two"):
            if f"{host}:80" in rows:
                assert rows[f"{host}:80"].active == sum(h == host for _, h in self.model.open.values())
        for key in ("a", "b", "p"):
            if key in rows:
                assert rows[key].active == sum(lane == key for lane, _ in self.model.open.values())
                assert rows[key].waiting == sum(lane == key for _, lane, _ in self.model.waiting.values())


TestHosts = pytest.mark.promise("P-70", "P-74", "P-77", "P-114", "P-117")(Hosts.TestCase)
TestHosts.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
