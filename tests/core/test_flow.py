"""Lanes: limits hold whatever happens, and nobody sleeps through a start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lateron.core import flow
from lateron.core.flow import Lane
from lateron.core.values import Flow, LaneKind, Millis

limits = st.builds(
    Flow,
    key=st.just("k"),
    parallelism=st.none() | st.integers(1, 4),
    rate=st.none() | st.integers(1, 4),
    period_ms=st.integers(1, 50),
)
# A positive step lets that much time pass and starts what may; zero ends one attempt.
steps = st.lists(st.integers(0, 30), max_size=60)


def lane(**changes: object) -> Lane:
    return replace(Lane(1, 1, LaneKind.FLOW, "k"), **changes)


@given(limits, steps)
def test_no_history_breaks_a_limit(limit: Flow, history: list[int]) -> None:
    """At most ``parallelism`` are open at once, and at most ``rate`` start in any one period."""
    now: Millis = 1
    lanes = flow.limited(lane(), limit, now)
    running, starts = 0, list[tuple[Millis, Millis]]()
    for step in history:
        now += step
        if step == 0 and running:
            lanes, running = flow.released(lanes, now), running - 1
            continue
        if flow.room(lanes, now) == 0:
            shut = flow.closed(lanes, now)
            assert shut is not None
            assert shut.until is None or shut.until > now
            continue
        lanes, running = flow.started(lanes, now, 1), running + 1
        starts.append((lanes.period_start, now))

        assert limit.parallelism is None or running <= limit.parallelism
        in_period = [at for opened, at in starts if opened == lanes.period_start]
        assert limit.rate is None or len(in_period) <= limit.rate
        assert all(0 <= at - lanes.period_start < limit.period_ms for at in in_period)


@given(limits, st.lists(st.tuples(st.sampled_from(["join", "pass", "end"]), st.integers(0, 40)), max_size=60))
def test_a_lane_that_could_start_is_due(limit: Flow, history: list[tuple[str, int]]) -> None:
    """``next_due`` is never later than the first instant at which the head may start."""
    now: Millis = 1
    lanes, heads = flow.limited(lane(), limit, now), list[Millis]()
    for what, number in history:
        if what == "join":
            heads = sorted([*heads, now + number])
            lanes = flow.joined(lanes, now + number)
        elif what == "end" and lanes.active:
            lanes = flow.released(lanes, now)
        else:
            now += number
            ready = [due for due in heads if due <= now][: flow.room(lanes, now)]
            heads = heads[len(ready) :]
            lanes = flow.started(flow.left(lanes, len(ready)), now, len(ready)) if ready else lanes
            lanes = flow.woken(lanes, heads[0] if heads else None, now)
        for at in range(now, now + 60):
            if heads and heads[0] <= at and flow.room(lanes, at) > 0:
                assert lanes.next_due is not None
                assert lanes.next_due <= at
                break


@pytest.mark.promise("P-71", "P-72", "P-83")
@given(
    flow_of=st.builds(
        Flow, key=st.just("k"), rate=st.integers(1, 6), period_ms=st.integers(1000, 50_000), smooth=st.booleans()
    ),
    pauses=st.lists(st.integers(0, 20_000), max_size=20),
    ahead=st.integers(flow.AHEAD + 1, 3_000_000_000),
)
def test_a_clock_that_was_ahead_shuts_a_key_for_a_period_and_opens_it_no_sooner(
    flow_of: Flow, pauses: list[Millis], ahead: Millis
) -> None:
    """What it started by that clock may have been just now: the rate holds, with that, until a period is over."""
    now: Millis = 1_700_000_000_000
    wrong = now + ahead
    busy = flow.joined(flow.limited(lane(), flow_of, now), now)
    for pause in pauses:
        wrong += pause
        busy = flow.started(busy, wrong, min(1, flow.room(busy, wrong)))

    right = flow.righted(busy, now)

    assert flow_of.rate is not None
    share = flow_of.period_ms // flow_of.rate + 2 if flow_of.smooth else 0  # It may have taken one at the very end.
    assert right.next_due is not None
    assert right.next_due <= now + flow_of.period_ms + share
    assert flow.room(right, now + flow_of.period_ms + share) > 0
    assert flow.room(right, now) <= flow_of.rate - busy.rate_count
    assert flow.righted(right, now) is right


@pytest.mark.promise("P-83")
@pytest.mark.parametrize("period_start", [0, 2_015_374_465_302])
def test_a_lane_that_became_smooth_by_a_clock_ahead_starts_again(period_start: Millis) -> None:
    """Nothing needs to have started by that clock: a message that brought other limits is enough."""
    now, wrong = 1_700_000_000_000, 2_015_374_465_302
    plain = replace(flow.limited(lane(), Flow("k", rate=2, period_ms=10_000), now), period_start=period_start)
    smooth = flow.limited(replace(plain, waiting=1), Flow("k", rate=3, period_ms=10_000, smooth=True), wrong)
    assert flow.room(smooth, now) == 0

    right = flow.righted(smooth, now)

    assert right.next_due is not None
    assert right.next_due <= now + 10_000
    assert flow.room(right, now + 10_000) > 0
    assert flow.righted(right, now) is right


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 40))
def test_shares_are_fair_and_lose_nothing(rooms: list[int], capacity: int) -> None:
    """Nobody gets more than he can use, nobody who could use more gets two less than another, nothing is left."""
    granted = flow.shares(rooms, capacity)

    assert sum(granted) == min(capacity, sum(rooms))
    assert all(got <= room for got, room in zip(granted, rooms, strict=True))
    hungry = [got for got, room in zip(granted, rooms, strict=True) if got < room]
    assert not hungry or max(granted) <= min(hungry) + 1


def test_a_period_opens_with_its_first_start() -> None:
    """An idle key saves up no burst: the next period begins when it is used again."""
    busy = flow.started(flow.limited(lane(), Flow("k", rate=2, period_ms=1000), 0), 5000, 2)

    assert (flow.tokens(busy, 5999), flow.tokens(busy, 6000), busy.period_start) == (0, 2, 5000)
    assert flow.started(busy, 7700, 1).period_start == 7700


@pytest.mark.parametrize(
    ("changes", "reason", "until"),
    [
        ({"paused": True}, "flow_paused", None),
        ({"paused": True, "kind": LaneKind.HOST}, "host_paused", None),
        ({"parallelism": 2, "active": 2}, "flow_parallelism", None),
        ({"parallelism": 2, "active": 2, "kind": LaneKind.HOST}, "host_cap", None),
        ({"rate": 1, "rate_count": 1, "period_start": 500, "period_ms": 1000}, "flow_rate", 1500),
    ],
)
def test_a_closed_lane_says_why(changes: dict[str, object], reason: str, until: Millis | None) -> None:
    """The reason is what a waiting message shows."""
    assert flow.closed(lane(**changes), 600) == flow.Closed(reason, until)
    assert flow.closed(lane(), 600) is None


def test_the_last_configuration_wins_unless_pinned() -> None:
    """Pinned parts ignore what messages bring; each part on its own."""
    pinned = lane(parallelism=3, rate=9, period_ms=500, pinned_rate=True)
    changed = flow.limited(pinned, Flow("k", parallelism=7, rate=1, period_ms=60_000), 0)

    assert (changed.parallelism, changed.rate, changed.period_ms) == (7, 9, 500)
    assert flow.limited(changed, Flow("k", parallelism=7), 0) is changed
