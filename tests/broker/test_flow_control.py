"""Flow control by call: a state machine of the verbs beside a small model, and pauses that outlive everything."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Struct
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import Broker
from lateron.broker.views import Accepted, Limits, Result, Turn, Waiting
from lateron.core import flow_control
from lateron.core.flow_control import Listing, Pin, Unpin, flow_lane, flow_object, host_lane
from lateron.core.values import (
    HOUR,
    MINUTE,
    SECOND,
    Claimed,
    Filter,
    Flow,
    LaneKind,
    MessageId,
    Millis,
    Outcome,
)
from lateron.errors import NotFound
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)
KEY = flow_lane(1, "k")
HOST = host_lane(1, "one:80")


class Model(Struct):
    """What a key is meant to be, in the words of the promises; it knows nothing of lanes."""

    parallelism: int | None = None
    rate: int | None = None
    period: Millis = SECOND
    fixed_parallelism: bool = False
    fixed_rate: bool = False
    paused: bool = False
    opened: Millis = 0  # The period.
    starts: int = 0  # In it.

    def configure(self, flow: Flow) -> None:
        """P-76: the last configuration wins; P-75: but for what is pinned."""
        if not self.fixed_parallelism:
            self.parallelism = flow.parallelism
        if not self.fixed_rate:
            self.rate, self.period = flow.rate, flow.period_ms

    def reset(self, now: Millis) -> None:
        """P-75: count 0, and the period begins now."""
        self.opened, self.starts = now, 0

    def start(self, now: Millis) -> None:
        """P-71: a period opens at the first start after the last one ended."""
        if now >= self.opened + self.period:
            self.reset(now)
        self.starts += 1

    def room(self, now: Millis, running: int) -> int:
        """P-70, P-71, P-75: how many may start."""
        used = self.starts if now < self.opened + self.period else 0
        tokens = 1000 if self.rate is None else max(0, self.rate - used)
        places = 1000 if self.parallelism is None else max(0, self.parallelism - running)
        return 0 if self.paused else min(tokens, places)


limits = st.builds(
    Flow,
    key=st.just("k"),
    parallelism=st.none() | st.integers(1, 3),
    rate=st.none() | st.integers(1, 3),
    period_ms=st.sampled_from([SECOND, 2 * SECOND, MINUTE]),
)


class FlowControl(RuleBasedStateMachine):
    """Every verb in any order on one key, with messages that come, end, retry, are cancelled and crash."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(open_memory(NOW))
        self.now = NOW
        self.node = 1
        self.model = Model()
        self.known = False
        self.waiting: list[tuple[Millis, MessageId]] = []
        self.running: dict[MessageId, Claimed] = {}

    @rule(brought=limits, delay=st.sampled_from([0, 0, 0, 700, 5 * SECOND]), room=st.integers(0, 3))
    def publish(self, brought: Flow, delay: Millis, room: int) -> None:
        """A message brings its limits."""
        self.known = True
        self.model.configure(brought)
        (turned,) = [self.desk.broker.turn(Turn(((item(flow=brought, delay_ms=delay),),), room=room), self.now)]
        (accepted,) = turned.accepted
        assert isinstance(accepted, tuple)
        (answer,) = accepted
        assert isinstance(answer, Accepted)
        self.waiting.append((self.now + delay, answer.id))
        self.take(turned.claimed, room)

    @rule(room=st.integers(0, 5))
    def turn(self, room: int) -> None:
        """A node looks for work."""
        self.take(self.desk.claim(room, self.now), room)

    @rule(ms=st.sampled_from([1, 500, 999, SECOND, 2 * SECOND, MINUTE]))
    def pass_time(self, ms: Millis) -> None:
        """Time goes on."""
        self.now += ms

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from([OK, DOWN]), room=st.integers(0, 3))
    def end(self, data: st.DataObject, outcome: Outcome, room: int) -> None:
        """An attempt ends; a failed one waits for its retry."""
        claimed = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        if outcome is DOWN and claimed.message.retried < 3:
            wait = (12, 148, 1808)[claimed.message.retried] * SECOND
            self.waiting.append((self.now + wait, claimed.message.id))
        turned = self.desk.broker.turn(Turn(results=(Result(claimed, outcome),), room=room), self.now)
        self.take(turned.claimed, room)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A waiting message is cancelled."""
        chosen = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.remove(chosen)
        self.desk.broker.cancel(1, Filter(message_ids=(chosen[1],)), self.now)

    @rule()
    def crash(self) -> None:
        """The node dies; what it had in hand is due at once."""
        self.node += 1
        self.waiting += [(self.now, message_id) for message_id in self.running]
        self.running.clear()
        self.desk.broker = Broker(self.desk.store, id_maker(), self.node, Limits())
        self.desk.broker.open("desk", self.now)

    @rule()
    def pause(self) -> None:
        """P-75."""
        self.known = self.model.paused = True
        self.desk.broker.alter_lane(1, KEY, flow_control.paused, self.now, create=True)

    @precondition(lambda self: self.known)
    @rule()
    def resume(self) -> None:
        """P-75."""
        self.model.paused = False
        self.desk.broker.alter_lane(1, KEY, flow_control.resumed, self.now)

    @rule(
        parallelism=st.none() | st.integers(1, 3),
        rate=st.none() | st.integers(1, 3),
        period=st.none() | st.sampled_from([SECOND, 3 * SECOND]),
    )
    def pin(self, parallelism: int | None, rate: int | None, period: Millis | None) -> None:
        """P-75."""
        self.known, model = True, self.model
        if parallelism is not None:
            model.parallelism, model.fixed_parallelism = parallelism, True
        if rate is not None or period is not None:
            model.rate, model.period, model.fixed_rate = rate or model.rate, period or model.period, True
        model.reset(self.now)
        change = partial(flow_control.pinned, Pin(parallelism, rate, period))
        self.desk.broker.alter_lane(1, KEY, change, self.now, create=True)

    @precondition(lambda self: self.known)
    @rule(parallelism=st.booleans(), rate=st.booleans())
    def unpin(self, parallelism: bool, rate: bool) -> None:
        """P-75."""
        self.model.fixed_parallelism &= not parallelism
        self.model.fixed_rate &= not rate
        change = partial(flow_control.unpinned, Unpin(parallelism=parallelism, rate=rate))
        self.desk.broker.alter_lane(1, KEY, change, self.now)

    @precondition(lambda self: self.known)
    @rule()
    def reset_rate(self) -> None:
        """P-75."""
        self.model.reset(self.now)
        self.desk.broker.alter_lane(1, KEY, flow_control.rate_reset, self.now)

    def take(self, claimed: tuple[Claimed, ...], room: int) -> None:
        """What starts is exactly what the model says may: the longest due first, as many as there is room for."""
        due = sorted(entry for entry in self.waiting if entry[0] <= self.now)
        most = min(room, self.model.room(self.now, len(self.running)), len(due))
        assert sorted(c.message.id for c in claimed) == sorted(message_id for _, message_id in due[:most])
        for entry in due[:most]:
            self.waiting.remove(entry)
            self.model.start(self.now)
        self.running |= {c.message.id: c for c in claimed}

    @invariant()
    def figures_are_true(self) -> None:
        """P-77: what is shown is what there is."""
        if not self.known:
            return
        model, view = self.model, self.desk.history.lane(1, KEY, self.now)
        assert flow_object(view.lane, view.due, self.now) == {
            "flowControlKey": "k",
            "waitListSize": sum(due <= self.now for due, _ in self.waiting),
            "parallelismMax": model.parallelism or 0,
            "parallelismCount": len(self.running),
            "rateMax": model.rate or 0,
            "rateCount": model.starts if self.now < model.opened + model.period else 0,
            "ratePeriod": model.period // SECOND,
            "ratePeriodStart": model.opened // SECOND,
            "isPaused": model.paused,
            "isPinnedParallelism": model.fixed_parallelism,
            "isPinnedRate": model.fixed_rate,
            "isSmooth": False,
        }


TestFlowControl = pytest.mark.promise("P-70", "P-71", "P-73", "P-74", "P-75", "P-76", "P-77")(FlowControl.TestCase)


def why(desk: Desk, now: Millis = NOW) -> list[Waiting | None]:
    """Say why pending messages wait, oldest first."""
    return [view.waiting for view in desk.history.pending(1, Filter(), None, 100, now).items][::-1]


@pytest.mark.promise("P-75")
def test_a_paused_host_gets_nothing_under_any_key(desk: Desk) -> None:
    """Messages of a key wait in the key's lane; the host's pause reaches them there, and its resume too."""
    desk.broker.alter_lane(1, HOST, flow_control.paused, NOW, create=True)
    desk.publish(item("http://one/"), item("http://two/"), room=9)
    desk.publish(item("http://one/", flow=Flow("k")), room=9)
    desk.publish(item("http://two/", flow=Flow("k")), room=9)
    claimed = desk.claim()

    assert [c.request.url for c in claimed] == []
    assert desk.broker.turn(Turn(room=9), NOW).next_due is None
    held = Waiting("host_paused", None, "one:80", 1)
    assert why(desk) == [held, None, held, replace(held, place=2)]

    desk.broker.alter_lane(1, HOST, flow_control.resumed, NOW)
    assert [c.request.url for c in desk.claim()] == ["http://one/", "http://one/", "http://two/"]


def test_a_cancelled_head_does_not_hold_its_key_any_more(desk: Desk) -> None:
    """The key slept because of the message that has gone."""
    desk.broker.alter_lane(1, HOST, flow_control.paused, NOW, create=True)
    (first,) = desk.publish(item("http://one/", flow=Flow("k")))
    (second,) = desk.publish(item("http://two/", flow=Flow("k")))
    assert desk.claim() == ()

    desk.broker.cancel(1, Filter(message_ids=(first.id,)), NOW)

    assert [c.message.id for c in desk.claim()] == [second.id]


@pytest.mark.promise("P-75")
def test_pauses_outlive_a_restart_and_retention(desk: Desk) -> None:
    """Of a key, of a host under any key, and of the server."""
    broker = desk.broker
    broker.alter_lane(1, KEY, flow_control.paused, NOW, create=True)
    broker.alter_lane(1, HOST, flow_control.paused, NOW, create=True)
    broker.pause_delivery(paused=True)
    broker.sweep(NOW + 24 * HOUR)
    later = NOW + 25 * HOUR
    desk.broker = broker = Broker(desk.store, id_maker(), 2, desk.limits)
    broker.open("again", later)
    desk.publish(item("http://one/", flow=Flow("k")), item("http://one/", flow=Flow("j")), now=later)
    desk.publish(item("http://one/"), item("http://two/"), now=later)

    assert desk.claim(now=later) == ()
    assert why(desk, later) == [Waiting("server_paused")] * 4
    broker.pause_delivery(paused=False)
    assert [c.request.url for c in desk.claim(now=later)] == ["http://two/"]
    assert why(desk, later)[:3] == [
        Waiting("flow_paused", None, "k", 1),
        Waiting("host_paused", None, "one:80", 1),
        Waiting("host_paused", None, "one:80", 1),
    ]
    broker.alter_lane(1, HOST, flow_control.resumed, later)
    assert len(desk.claim(now=later)) == 2
    broker.alter_lane(1, KEY, flow_control.resumed, later)
    assert len(desk.claim(now=later)) == 1


@pytest.mark.promise("P-70")
def test_the_limit_of_the_server_holds_over_all_keys_and_hosts() -> None:
    """At most so many attempts are open, and an end of any lets the next one start; nothing wakes up in between."""
    desk = Desk(open_memory(NOW), Limits(global_parallelism=2))
    desk.publish(item("http://one/"), item("http://two/", flow=Flow("k")), room=9)
    desk.publish(item("http://one/", tenant=2), room=9)
    turned = desk.broker.turn(Turn(room=9), NOW)

    assert (turned.claimed, turned.next_due) == ((), None)
    assert desk.history.delivery(1).open == 2
    (theirs,) = desk.history.pending(2, Filter(), None, 9, NOW).items
    assert theirs.waiting == Waiting("global_parallelism", place=1)
    with desk.store.transaction() as tx:
        (held, _) = tx.claimed(tx.owned(1, 9))
    (third,) = desk.broker.turn(Turn(results=(Result(held, OK),), room=9), NOW).claimed
    assert third.message.tenant == 2
    assert (desk.history.delivery(1).own, desk.history.delivery(2).own) == (1, 1)


def test_a_pause_of_the_server_lets_open_attempts_end_and_starts_nothing(desk: Desk) -> None:
    """Callbacks and retries of what ends meanwhile wait with all the rest."""
    desk.publish(item(), item())
    first, second = desk.claim()
    desk.broker.pause_delivery(paused=True)
    desk.publish(item(), room=9)

    turned = desk.broker.turn(Turn(results=(Result(first, OK), Result(second, DOWN)), room=9), NOW)
    assert (turned.settled, turned.claimed, turned.next_due) == (2, (), None)
    assert desk.broker.turn(Turn(room=9), NOW + HOUR).claimed == ()

    desk.broker.pause_delivery(paused=False)
    assert len(desk.claim(now=NOW + HOUR)) == 2


@pytest.mark.promise("P-111")
def test_a_pause_is_of_its_tenant_only(desk: Desk) -> None:
    """Another user's key and host of the same name go on."""
    for name in (KEY, HOST):
        desk.broker.alter_lane(1, name, flow_control.paused, NOW, create=True)
    desk.publish(item(tenant=2, flow=Flow("k")), item(tenant=2), item(flow=Flow("k")), item())

    assert [c.message.tenant for c in desk.claim()] == [2, 2]
    with pytest.raises(NotFound):
        desk.history.lane(2, KEY, NOW)


@pytest.mark.promise("P-72")
def test_a_smooth_key_goes_on_smoothly_after_a_restart(desk: Desk) -> None:
    """What is remembered of its starts is in its row."""
    smooth = Flow("k", rate=4, period_ms=SECOND, smooth=True)
    (held,) = desk.broker.turn(Turn((tuple(item(flow=smooth) for _ in range(9)),), room=9), NOW).claimed
    starts, now = [NOW], NOW
    for node in range(2, 10):
        desk.settle([held], OK, now)
        desk.broker = Broker(desk.store, id_maker(), node, desk.limits)
        desk.broker.open("again", now)
        due = desk.broker.turn(Turn(), now).next_due
        assert due is not None
        assert desk.claim(now=due - 1) == ()
        (held,) = desk.claim(now=due)
        now = due
        starts.append(now)

    assert starts == [NOW + 250 * n for n in range(9)]


def test_keys_are_listed_by_name(desk: Desk) -> None:
    """Those that hold a text, in pages."""
    for key in ("user-10", "user-2", "other", "User-3", "user-1", "50%"):
        desk.publish(item(flow=Flow(key), delay_ms=HOUR))
    desk.publish(item(tenant=2, flow=Flow("user-theirs")), item("http://host/"))

    def listed(**what: object) -> list[str]:
        return [v.lane.name for v in desk.history.lanes(1, LaneKind.FLOW, Listing(**what), NOW)]  # type: ignore[arg-type]

    assert listed() == ["50%", "User-3", "other", "user-1", "user-10", "user-2"]
    assert listed(search="user") == ["user-1", "user-10", "user-2"]
    assert listed(search="ser", count=2) == ["User-3", "user-1"]
    assert listed(search="ser", after="user-1") == ["user-10", "user-2"]
    assert listed(search="%") == ["50%"]
    hosts = desk.history.lanes(1, LaneKind.HOST, Listing(), NOW)
    assert [(v.lane.name, v.due) for v in hosts] == [("host:80", 1), ("one:80", 0)]


@pytest.mark.promise("P-114", "P-115")
def test_a_hanging_destination_does_not_slow_another(desk: Desk) -> None:
    """Behind a host's cap any number may wait: another host's message starts at once, and users share by turns."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=5))
    for _ in range(20):
        desk.publish(*(item("http://hangs/") for _ in range(50)))
    assert len(desk.claim(room=8)) == 5

    desk.publish(item("http://quick/"), item("http://quick/", tenant=2), room=3, now=NOW + 1)
    desk.publish(item("http://quick/", tenant=2), room=1, now=NOW + 1)
    with desk.store.transaction() as tx:
        hosts = [c.request.url for c in tx.claimed(tx.owned(1, 99))]
    assert sorted(hosts) == ["http://hangs/"] * 5 + ["http://quick/"] * 3


@pytest.mark.promise("P-115")
def test_tenants_share_scarce_workers_by_turns(desk: Desk) -> None:
    """One with many keys gets no more than one with a few."""
    for n in range(40):
        desk.publish(item(flow=Flow(f"k{n}", parallelism=1)))
    desk.publish(*(item("http://two/", tenant=2) for _ in range(9)), now=NOW + 1)

    tenants = [c.message.tenant for c in desk.claim(room=8, now=NOW + 1)]
    assert tenants.count(2) >= 1
