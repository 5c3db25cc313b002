"""Two names whose lanes have one number: such names can be made up, and must harm nobody."""

from __future__ import annotations

import pytest
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.views import Accepted, Turn
from lateron.core import flow
from lateron.core.flow import LaneName
from lateron.core.flow_control import host_lane, paused
from lateron.core.values import HOUR, MINUTE, CallbackOptions, Flow, LaneKind, Outcome, Publication, Tenant
from lateron.errors import NotFound, RequestError

NUMBER = 12345
TWINS = {(LaneKind.HOST, "a:80"), (LaneKind.HOST, "b:80"), (LaneKind.FLOW, "twin")}


@pytest.fixture(autouse=True)
def twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some names have one number."""
    honest = flow.lane_name

    def lane_name(tenant: Tenant, kind: LaneKind, name: str) -> LaneName:
        return LaneName(NUMBER, kind, name) if (kind, name) in TWINS else honest(tenant, kind, name)

    monkeypatch.setattr(flow, "lane_name", lane_name)
    monkeypatch.setattr("lateron.core.flow_control.lane_name", lane_name)


def urls(desk: Desk, now: int = NOW) -> list[str]:
    """Claim all that is due, and say where it goes."""
    found: list[str] = []
    while claimed := desk.claim(now=now):
        found += [one.request.url for one in claimed]
        desk.settle(claimed, Outcome(status=200), now)
    return sorted(found)


@pytest.mark.parametrize(
    "second", [item("http://b/"), item(flow=Flow("twin")), item("http://b/", flow=Flow("k")), item("http://b/", 2)]
)
def test_a_publish_to_a_lane_with_the_number_of_another_is_refused(desk: Desk, second: Publication) -> None:
    """Nothing of it is stored; who comes with it, and who was there before, notices nothing."""
    desk.publish(item("http://a/"))

    refused, other = desk.broker.turn(Turn(publishes=((second,), (item("http://c/"),))), NOW).accepted

    assert isinstance(refused, RequestError)
    assert "number of another name" in str(refused)
    assert isinstance(other, tuple)
    assert urls(desk) == ["http://a/", "http://c/"]


def test_of_two_that_come_together_the_first_has_the_lane(desk: Desk) -> None:
    """Inside one request both are refused, for it is stored whole or not."""
    a, b = item("http://a/"), item("http://b/")

    both, first, second = desk.broker.turn(Turn(publishes=((b, a), (a,), (b,))), NOW).accepted

    assert [type(answer) is tuple for answer in (both, first, second)] == [False, True, False]
    assert urls(desk) == ["http://a/"]


def test_what_is_stored_already_stops_nobody(desk: Desk) -> None:
    """The lane of its host was idle and is gone, and another name has the number now: all start."""
    desk.publish(item("http://b/", flow=Flow("k", parallelism=1), delay_ms=HOUR))
    assert desk.history.lane(1, host_lane(1, "b:80"), NOW).lane.name == "b:80"
    now = NOW + 20 * MINUTE
    while desk.broker.sweep(now):
        pass
    desk.publish(item("http://a/", delay_ms=HOUR), now=now)
    desk.publish(item("http://c/"), now=now)

    assert urls(desk, now + 2 * HOUR) == ["http://a/", "http://b/", "http://c/"]
    with desk.store.transaction() as tx:
        lane = tx.load_lanes([NUMBER])[NUMBER]
    assert (lane.name, lane.active, lane.waiting) == ("a:80", 0, 0)


@pytest.mark.parametrize("keyed", [None, Flow("twin")])
def test_a_callback_shares_the_lane_for_nobody_is_there_to_be_told(desk: Desk, keyed: Flow | None) -> None:
    """It is delivered, and the outcome that it reports is recorded."""
    callback = CallbackOptions("http://b/" if keyed is None else "http://d/", flow=keyed)
    desk.publish(item("http://a/", delay_ms=HOUR), item("http://c/", callback=callback))

    assert urls(desk) == sorted(["http://c/", callback.url])
    assert urls(desk, NOW + HOUR) == ["http://a/"]
    with desk.store.transaction() as tx:
        lane = tx.load_lanes([NUMBER])[NUMBER]
    assert (lane.name, lane.active, lane.waiting) == ("a:80", 0, 0)


def test_a_call_changes_no_lane_of_another_name(desk: Desk) -> None:
    """Nor does it show one."""
    desk.publish(item("http://a/"))
    other = host_lane(1, "b:80")

    with pytest.raises(RequestError, match="number of another name"):
        desk.broker.alter_lane(1, other, paused, NOW, create=True)
    with pytest.raises(NotFound):
        desk.history.lane(1, other, NOW)

    assert urls(desk) == ["http://a/"]
    assert all(isinstance(answer, Accepted) for answer in desk.publish(item("http://a/")))
