"""Smooth lanes, and how calls on flow control are written."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core.publishing import publish

from lateron.core import flow
from lateron.core.flow import Lane
from lateron.core.flow_control import (
    Listing,
    Pin,
    Unpin,
    flow_lane,
    host_lane,
    parse_listing,
    parse_pin,
    parse_unpin,
    pinned,
    rate_reset,
)
from lateron.core.quota import QUOTAS
from lateron.core.values import DAY, MINUTE, SECOND, Flow, LaneKind, Millis
from lateron.errors import QuotaExceeded, RequestError

FREE, NONE = QUOTAS["free"], QUOTAS["none"]
EMPTY = Lane(1, 1, LaneKind.FLOW, "k")


@pytest.mark.promise("P-71", "P-72")
@given(
    rate=st.integers(1, 40),
    period=st.integers(1, 60),
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=60),
)
@example(3, 10, [(0, 1), (30, 1), (8, 1), (1, 1), (1, 1), (1, 1), (1, 1)])  # Idle, then busy across a border.
def test_no_window_of_a_smooth_key_holds_more_than_its_rate(
    rate: int, period: Millis, steps: list[tuple[Millis, int]]
) -> None:
    """Wherever it begins; and the head of an idle key may start at once."""
    now: Millis = 1_700_000_000_000
    lane = flow.limited(EMPTY, Flow("k", rate=rate, period_ms=period, smooth=True), now)
    starts: list[Millis] = []
    for step, wanted in steps:
        now += step
        if starts and now - starts[-1] >= period:
            assert flow.room(lane, now) >= 1
        count = min(wanted, flow.room(lane, now))
        if count == 0:
            shut = flow.closed(lane, now)
            assert shut is not None
            assert shut.until is not None
            assert flow.room(lane, shut.until - 1) == 0
            assert flow.room(lane, shut.until) > 0
            continue
        lane = flow.started(lane, now, count)
        starts += [now] * count

    assert all(sum(at <= other < at + period for other in starts) <= rate for at in starts)


@pytest.mark.promise("P-72")
@pytest.mark.parametrize(("rate", "period"), [(1, SECOND), (7, SECOND), (999, SECOND), (3000, SECOND), (10, MINUTE)])
def test_a_smooth_key_that_is_always_busy_uses_its_whole_rate(rate: int, period: Millis) -> None:
    """Spreading costs next to no throughput: a share is rounded up to a microsecond."""
    lane, now, count = flow.limited(EMPTY, Flow("k", rate=rate, period_ms=period, smooth=True), 0), 0, 0
    while now < 10 * period:
        some = flow.room(lane, now)
        if some:
            lane, count = flow.started(lane, now, some), count + some
        shut = flow.closed(lane, now)
        assert shut is not None
        assert shut.until is not None
        now = shut.until

    assert 9.97 * rate - 2 <= count <= 10 * rate


def test_a_key_that_becomes_smooth_counts_the_starts_of_its_period() -> None:
    """Three of four have started, so one share of the period is left for the next second."""
    limit = Flow("k", rate=4, period_ms=SECOND)
    busy = flow.started(flow.limited(EMPTY, limit, 0), 10_000, 3)
    smooth = flow.limited(busy, replace(limit, smooth=True), 10_000)

    assert flow.closed(smooth, 10_000) == flow.Closed("flow_rate", 10_750)
    assert flow.limited(smooth, limit, 10_000).earliest is None
    assert flow.room(rate_reset(smooth, 10_100), 10_100) == 1


@pytest.mark.promise("P-76")
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 5), st.booleans()), min_size=2, max_size=30))
def test_a_change_of_the_rate_keeps_the_running_period(changes: list[tuple[Millis, int, bool]]) -> None:
    """However often the limits change: a start is admitted only if the rate of that moment has room for it."""
    lane, now = EMPTY, 5_000
    starts: list[tuple[Millis, int]] = []
    for step, rate, smooth in changes:
        now += step
        lane = flow.limited(lane, Flow("k", rate=rate, period_ms=SECOND, smooth=smooth), now)
        if flow.room(lane, now):
            lane = flow.started(lane, now, 1)
            starts.append((now, rate))
            assert lane.rate_count <= rate

    assert all(a <= b for (a, _), (b, _) in pairwise(starts))


def test_smooth_is_an_option_of_a_publish_and_of_its_callback() -> None:
    """In every spelling an SDK can send; it needs a rate, or it would be accepted and useless."""
    value = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "rate=2"}
    wanted = Flow("k", rate=2, smooth=True)
    for name in ("Lateron-Flow-Smooth", "Upstash-Forward-Lateron-Flow-Smooth"):
        assert publish({**value, name: "true"}).request.options.flow == wanted
        assert publish({**value, name: "false"}).request.options.flow == Flow("k", rate=2)
    callback = {f"Upstash-Callback-{name[8:]}": text for name, text in value.items()}
    made = publish(
        {"Upstash-Callback": "https://a/", **callback, "Upstash-Callback-Forward-Lateron-Flow-Smooth": "true"}
    )
    assert made.request.options.callback is not None
    assert made.request.options.callback.flow == wanted
    for headers in (
        {"Lateron-Flow-Smooth": "true"},
        {"Lateron-Flow-Smooth": "true", "Upstash-Flow-Control-Key": "k"},
        {**value, "Lateron-Flow-Smooth": "true", "Upstash-Flow-Control-Value": "parallelism=2"},
        {**value, "Lateron-Flow-Smooth": "yes"},
    ):
        with pytest.raises(RequestError, match=r"(?i)lateron-flow-smooth"):
            publish(headers)


@pytest.mark.parametrize(
    ("given", "pin"),
    [
        ([("parallelism", "3"), ("rate", "20"), ("period", "120")], Pin(3, 20, 120 * SECOND)),
        ([("period", "1h30m")], Pin(period_ms=90 * MINUTE)),
        ([("period", "7d")], Pin(period_ms=7 * DAY)),
        ([("rate", "2"), ("smooth", "TRUE")], Pin(rate=2, smooth=True)),
        ([("smooth", "false")], Pin(smooth=False)),
    ],
)
def test_a_pin_is_read(given: list[tuple[str, str]], pin: Pin) -> None:
    """Seconds as the SDKs send them, or a duration."""
    assert parse_pin(given, NONE) == pin


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("parallelism", "0")],
        [("parallelism", "-1")],
        [("parallelism", "1.5")],
        [("parallelism", "")],
        [("parallelism", "1"), ("parallelism", "2")],
        [("rate", "9" * 30)],
        [("rate", "٣")],
        [("period", "soon")],
        [("period", "0s")],
        [("period", "8d")],
        [("period", "1500ms")],
        [("smooth", "true")],
        [("paralelism", "1")],
    ],
)
def test_a_pin_that_cannot_be_read_is_refused(given: list[tuple[str, str]]) -> None:
    """It must not be answered 200 and do something else."""
    with pytest.raises(RequestError):
        parse_pin(given, NONE)


def test_a_pin_is_held_to_the_quota() -> None:
    """As the same limit on a message is."""
    with pytest.raises(QuotaExceeded):
        parse_pin([("parallelism", "11")], FREE)


def test_a_pin_can_make_a_key_smooth_and_not_smooth() -> None:
    """The new period begins with nothing in it."""
    busy = flow.started(flow.limited(EMPTY, Flow("k", rate=4, period_ms=SECOND), 0), 10_000, 4)
    smooth = pinned(Pin(rate=2, smooth=True), busy, 10_100)

    assert (flow.room(smooth, 10_100), smooth.period_start, smooth.rate_count) == (1, 10_100, 0)
    assert flow.room(pinned(Pin(smooth=False), smooth, 10_200), 10_200) == 2


def test_an_unpin_names_its_parts() -> None:
    """Nothing to unpin is nothing done, as the SDKs may ask for it; a part that is not there is a mistake."""
    assert parse_unpin([]) == Unpin()
    assert parse_unpin([("parallelism", "true")]) == Unpin(parallelism=True)
    assert parse_unpin([("rate", "true"), ("parallelism", "false")]) == Unpin(rate=True)
    for wrong in ([("rate", "1")], [("period", "true")]):
        with pytest.raises(RequestError):
            parse_unpin(wrong)


def test_a_listing_is_read() -> None:
    """A page has at most a thousand."""
    assert parse_listing([]) == Listing()
    assert parse_listing([("search", "a b"), ("after", "x"), ("count", "99999")]) == Listing("a b", "x", 1000)
    for wrong in ([("count", "0")], [("count", "x")], [("cursor", "x")]):
        with pytest.raises(RequestError):
            parse_listing(wrong)


def test_a_host_is_named_with_its_port() -> None:
    """As lists show it; brackets and capitals of an address mean the same."""
    assert host_lane(1, "Example.com:443").name == "example.com:443"
    assert host_lane(1, "[::1]:80").name == "::1:80"
    for host in ("example.com", "example.com:", ":80", "example.com:http", "example.com:080"):
        with pytest.raises(RequestError, match="host:port"):
            host_lane(1, host)


@pytest.mark.parametrize("key", ["", "a\nb", "\u202e", "x" * 257])
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    """The same names as on a message."""
    with pytest.raises(RequestError):
        flow_lane(1, key)
