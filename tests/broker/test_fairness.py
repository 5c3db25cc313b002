"""Who gets scarce places: users by turns, then their lanes; no user all of them; and no stampede after a start."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import Broker
from lateron.broker.pace import STEPS, Pace
from lateron.broker.views import Limits, Result, Turn, Waiting
from lateron.core import flow
from lateron.core.flow import UNBOUNDED, fair_shares
from lateron.core.values import HOUR, SECOND, Claimed, Filter, Flow, Millis, Outcome, Tenant
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

OK = Outcome(status=200)


def one_place(desk: Desk, turns: int, *held: Claimed) -> list[Claimed]:
    """End the attempt that is open and start the next, with one place in all; return who started."""
    started: list[Claimed] = []
    for n in range(turns):
        results = tuple(Result(c, OK) for c in held)
        held = desk.broker.turn(Turn(results=results, room=1), NOW + n).claimed
        assert len(held) == 1
        started += held
    return started


@pytest.mark.promise("P-115")
def test_users_take_turns_at_a_single_place(desk: Desk) -> None:
    """One with forty keys and one with one host get the same, whoever was there first."""
    for n in range(40):
        desk.publish(*[item(flow=Flow(f"k{n}"))] * 3)
    desk.publish(*[item("http://two/", tenant=2)] * 30)

    tenants = [c.message.tenant for c in one_place(desk, 60)]
    assert Counter(tenants) == {1: 30, 2: 30}
    assert all({a, b} == {1, 2} for a, b in zip(tenants[::2], tenants[1::2], strict=True))


@pytest.mark.promise("P-115")
def test_lanes_of_a_user_take_turns_at_a_single_place(desk: Desk) -> None:
    """A key with a long line and a host with one get no more than those with short ones, but for one turn."""
    desk.publish(*[item(flow=Flow("long"))] * 90)
    desk.publish(*[item("http://long/")] * 90)
    for n in range(8):
        desk.publish(*[item(flow=Flow(f"k{n}"))] * 9)

    lanes = Counter(c.message.lane for c in one_place(desk, 80))
    assert len(lanes) == 10
    assert set(lanes.values()) <= {7, 8, 9}


@pytest.mark.promise("P-114")
def test_a_user_whose_receivers_hang_does_not_take_all_places() -> None:
    """However many hosts hang: another user starts at once, and nobody looks in vain until something ends."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=4, global_parallelism=16, tenant_parallelism=12))
    for n in range(9):
        desk.publish(*[item(f"http://hangs{n}/")] * 20)
        desk.publish(*[item(f"http://hangs{n}/", flow=Flow(f"k{n}"))] * 20)
    stuck: list[Claimed] = []
    for _ in range(9):
        stuck += desk.claim(room=16 - len(stuck))
    assert len(stuck) == 12
    assert desk.broker.turn(Turn(room=4), NOW).next_due is None

    (answer,) = desk.broker.turn(Turn(((item("http://quick/", tenant=2),),), room=4), NOW).claimed
    assert answer.message.tenant == 2
    assert desk.broker.turn(Turn(room=3), NOW).next_due is None
    waiting = desk.history.pending(1, Filter(hosts=("hangs8",)), None, 1, NOW).items[0].waiting
    assert waiting is not None
    assert waiting.reason == "user_parallelism"
    again = desk.broker.turn(Turn(results=(Result(stuck[0], OK),), room=4), NOW).claimed
    assert [c.message.tenant for c in again] == [1]


def test_a_single_user_may_take_all_places() -> None:
    """Nobody else is there to whom it would leave one."""
    desk = Desk(open_memory(NOW), Limits(tenant_parallelism=2))
    desk.broker._tenants = (1,)
    desk.publish(*[item(f"http://h{n}/") for n in range(9)])

    assert len(desk.claim(room=9)) == 9


rooms = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), max_size=12)


@given(rooms, st.integers(0, 40), st.dictionaries(st.integers(1, 4), st.integers(0, 9)))
def test_shares_are_fair_and_nothing_is_left_over(
    rooms: list[tuple[Tenant, int]], capacity: int, free: dict[Tenant, int]
) -> None:
    """No lane over its room, no user over what it may, none short while another has more than one more; all is used."""
    shares = fair_shares(rooms, capacity, free)

    got, wanted = Counter[Tenant](), Counter[Tenant]()
    for (tenant, room), share in zip(rooms, shares, strict=True):
        assert 0 <= share <= room
        got[tenant] += share
        wanted[tenant] += room
    most = {tenant: min(wanted[tenant], free.get(tenant, UNBOUNDED)) for tenant in wanted}
    assert sum(shares) == min(capacity, sum(most.values()))
    for tenant, others in ((t, o) for t in most for o in most if t != o):
        assert got[tenant] <= most[tenant]
        assert got[tenant] >= min(most[tenant], got[others] - 1)


@pytest.mark.promise("P-116")
def test_a_start_with_a_backlog_opens_step_by_step() -> None:
    """At no step are more open to a host than that step allows, keys included; in the end as many as are set."""
    limits = Limits(host_parallelism=64, global_parallelism=256, start_ramp_ms=6 * SECOND)
    desk = Desk(open_memory(NOW), limits)
    desk.publish(*[item("http://one/")] * 90, *[item("http://one/", flow=Flow("k"))] * 90)
    later = NOW + HOUR
    desk.broker = Broker(desk.store, id_maker(), 2, limits)
    desk.broker.open("again", later)

    seen: dict[Millis, int] = {}
    count, now = 0, later
    for _ in range(200):
        turned = desk.broker.turn(Turn(room=500), now)
        count += len(turned.claimed)
        seen[now - later] = count
        if turned.next_due is None:
            break
        now = max(now, turned.next_due)
    assert {at // SECOND: open_ones for at, open_ones in seen.items()} == {0: 1, 1: 2, 2: 4, 3: 8, 4: 16, 5: 32, 6: 64}


@pytest.mark.promise("P-116")
def test_a_start_without_a_backlog_is_not_slowed() -> None:
    """What is published afterwards finds all places open."""
    limits = Limits(host_parallelism=64, start_ramp_ms=6 * SECOND)
    desk = Desk(open_memory(NOW), limits)
    desk.publish(*[item("http://one/")] * 90)
    desk.broker = Broker(desk.store, id_maker(), 2, limits)
    desk.broker.open("again", NOW)

    assert len(desk.claim(room=100)) == 64


def test_why_says_that_a_host_is_full_though_its_cap_is_still_narrow() -> None:
    """The row shows the cap that holds, not the one that is set."""
    limits = Limits(host_parallelism=64, start_ramp_ms=6 * SECOND)
    desk = Desk(open_memory(NOW), limits)
    ids = desk.publish(*[item("http://one/")] * 110)
    desk.broker = Broker(desk.store, id_maker(), 2, limits)
    desk.broker.open("again", NOW + HOUR)
    assert len(desk.claim(room=100, now=NOW + HOUR)) == 1

    assert desk.history.message(1, ids[1].id, NOW + HOUR).waiting == Waiting("host_cap", None, "one:80", 1)


@given(st.integers(1, 5000), st.none() | st.integers(1, 5000), st.lists(st.integers(0, 900), max_size=20))
def test_a_pace_only_widens_and_comes_to_its_end(ramp: Millis, most: int | None, steps: list[int]) -> None:
    """It says when it widens next, and a clock that is set back ends it."""
    pace, now, last = Pace(NOW, ramp), NOW, 0
    for ms in steps:
        now += ms
        cap = pace.cap(most, now)
        following = pace.next_step(now)
        if following is None:
            assert (cap, now >= NOW + ramp) == (most, True)
            return
        assert now < following <= NOW + ramp
        assert cap is not None
        assert last <= cap <= (flow.UNBOUNDED if most is None else most)
        assert Pace(NOW, ramp).cap(most, following - 1) == cap
        last = cap
    assert pace.cap(most, NOW - 1) == most
    assert STEPS > 1
