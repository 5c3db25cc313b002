"""What a publisher may rely on: batches, dedup, claims, rescue."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.alone import Undecided
from lateron.broker.bulk import Broker
from lateron.broker.ledger import Ledger
from lateron.broker.views import Accepted, Limits, Result, Turn
from lateron.core.flow import host_of, lane_name
from lateron.core.values import (
    CallbackOptions,
    Flow,
    LaneKind,
    Millis,
    Outcome,
    Publication,
    RetryPolicy,
    State,
)
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)

items = st.builds(
    item,
    url=st.sampled_from(["http://one/", "http://two/"]),
    delay_ms=st.sampled_from([0, 0, 1000]),
    dedup=st.none() | st.sampled_from([bytes(32), b"\1" * 32]),
    flow=st.none() | st.sampled_from([Flow("k", 1), Flow("k", 2), Flow("k", rate=1)]),
    retry=st.builds(RetryPolicy, retries=st.integers(0, 2)),
    callback=st.none() | st.just(CallbackOptions("http://cb/")),
)


@given(st.lists(st.lists(items, min_size=1, max_size=3), min_size=1, max_size=6), st.integers(0, 5))
def test_a_batch_behaves_as_its_items_one_after_another(requests: list[list[Publication]], room: int) -> None:
    """Group commit is invisible: the same answers and the same messages, but for who was admitted first."""
    together, alone = (Desk(open_memory(NOW)) for _ in range(2))
    for desk in (together, alone):
        desk.broker._new_id = id_maker(random.Random(1).randbytes)
    everything = tuple(tuple(request) for request in requests)

    answers = together.broker.turn(Turn(publishes=everything, room=room), NOW).accepted
    one_by_one = [alone.broker.turn(Turn(publishes=(request,), room=room), NOW).accepted[0] for request in everything]

    def shape(given: object) -> list[bool]:
        assert isinstance(given, tuple)
        return [answer.duplicate for answer in given]

    assert [shape(a) for a in answers] == [shape(a) for a in one_by_one]
    assert len(together.dump()["message"]) == len(alone.dump()["message"])
    assert len(together.dump()["dedup"]) == len(alone.dump()["dedup"])
    for desk in (together, alone):
        check_limits(desk)


def check_limits(desk: Desk) -> None:
    """Whatever the batch brought, no lane is over the limits it ended with, and all counts are true."""
    with desk.store.transaction() as tx:
        messages = tx.open_after(1, b"", 1000)
        lanes = tx.read_lanes(sorted({m.lane for m in messages})).values()
        open_at = [
            lane_name(1, LaneKind.HOST, host_of(url)).id
            for url in tx.urls([m.id for m in messages if m.state is State.ACTIVE]).values()
        ]
    for lane in lanes:
        active = sum(m.lane == lane.id and m.state is State.ACTIVE for m in messages)
        if lane.kind is LaneKind.HOST:
            active = open_at.count(lane.id)  # Whatever lane they come from.
        waiting = sum(m.lane == lane.id and m.state is State.WAITING for m in messages)
        assert (lane.active, lane.waiting) == (active, waiting)


def test_limits_of_a_batch_hold_from_its_first_item(desk: Desk) -> None:
    """The last item lowers the limit; the first must not have started under the old one."""
    flows = [Flow("k"), Flow("k"), Flow("k", parallelism=1)]

    claimed = desk.broker.turn(Turn(publishes=tuple((item(flow=f),) for f in flows), room=10), NOW).claimed

    assert len(claimed) == 1


def test_a_guilty_item_harms_nobody_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One publication that cannot be decided is answered with an error; the others of its batch commit."""
    honest = Ledger.enter

    def enter(self: Ledger, made: object, *, room: bool) -> object:
        if made[1].url == "http://guilty/":  # type: ignore[index]
            raise RuntimeError("a bug")
        return honest(self, made, room=room)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "enter", enter)
    batch = tuple((item(url),) for url in ("http://one/", "http://guilty/", "http://two/"))

    first, second, third = desk.broker.turn(Turn(publishes=batch, room=5), NOW).accepted

    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert isinstance(second, Undecided)
    assert len(desk.dump()["message"]) == 2


@pytest.mark.promise("P-50", "P-51")
def test_equal_keys_are_one_message(desk: Desk) -> None:
    """In one batch, in one request, and later: the answer is the first message's id."""
    key = bytes(32)
    (first, again), (third,) = (
        desk.publish(item(dedup=key), item(dedup=key)),
        desk.publish(item(dedup=key), now=NOW + 599_999),
    )

    assert not first.duplicate
    assert again == third == Accepted(first.id, duplicate=True)
    assert len(desk.dump()["message"]) == 1


@pytest.mark.promise("P-53", "P-55")
def test_after_its_window_a_key_is_free_and_forgotten(desk: Desk) -> None:
    """The window is ten minutes; a sweep leaves nothing of a key behind."""
    (first,) = desk.publish(item(dedup=bytes(32)))
    (second,) = desk.publish(item(dedup=bytes(32)), now=NOW + 600_000)
    assert first.id != second.id

    desk.broker.sweep(NOW + 1_200_000)
    assert desk.dump()["dedup"] == []


@pytest.mark.promise("P-50")
def test_keys_of_tenants_are_apart(desk: Desk) -> None:
    """The same key of another tenant is another message."""
    (mine,), (yours,) = desk.publish(item(dedup=bytes(32))), desk.publish(item(dedup=bytes(32), tenant=2))

    assert not yours.duplicate
    assert mine.id != yours.id


def test_a_message_due_now_is_born_active(desk: Desk) -> None:
    """With room and nobody before it, publish and claim are one transaction."""
    turned = desk.broker.turn(Turn(publishes=((item(),),), room=1), NOW)

    assert [c.message.state for c in turned.claimed] == [State.ACTIVE]
    assert turned.next_due is None


def test_nobody_is_born_before_those_who_wait(desk: Desk) -> None:
    """A backlog that is due goes first; the newcomer stands in line."""
    desk.publish(item(), now=NOW)

    turned = desk.broker.turn(Turn(publishes=((item("http://two/"),),), room=1), NOW + 1)

    assert [c.request.url for c in turned.claimed] == ["http://one/"]


def test_a_noisy_host_leaves_room_for_others(desk: Desk) -> None:
    """Lanes take turns, whoever came first."""
    for _ in range(50):
        desk.publish(item("http://noisy/"))
    desk.publish(item("http://quiet/"))

    first = desk.claim(room=4)

    assert sorted(c.request.url for c in first) == ["http://noisy/"] * 3 + ["http://quiet/"]


def test_tenants_take_turns(desk: Desk) -> None:
    """A tenant with many lanes gets no more than one with a single lane."""
    for n in range(20):
        desk.publish(item(f"http://host{n}/"))
    desk.publish(*[item("http://one/", tenant=2)] * 20)

    claimed = desk.claim(room=10)

    assert sum(c.message.tenant == 2 for c in claimed) >= 1
    assert len(claimed) == 10


@pytest.mark.promise("D-33")
def test_a_host_has_a_cap_of_the_operator() -> None:
    """Messages over it wait in their lane, and an end lets the next one start."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=2))
    desk.publish(*[item()] * 5)

    first = desk.claim()
    assert len(first) == 2
    assert desk.claim() == ()
    turned = desk.broker.turn(Turn(results=(Result(first[0], OK),), room=10), NOW)
    assert len(turned.claimed) == 1


@pytest.mark.promise("P-117")
def test_a_turn_says_when_to_look_again(desk: Desk) -> None:
    """A delayed message, a retry and the end of a period are all alarms; nothing else is needed to start them."""
    turned = desk.broker.turn(Turn(publishes=((item(delay_ms=7000),),), room=1), NOW)
    assert turned.next_due == NOW + 7000

    (claimed,) = desk.claim(now=NOW + 7000)
    turned = desk.broker.turn(Turn(results=(Result(claimed, DOWN),), room=1), NOW + 7001)
    assert turned.next_due == NOW + 7001 + 12_000

    limit = Flow("k", rate=1, period_ms=60_000)
    turned = desk.broker.turn(Turn(publishes=((item(flow=limit), item(flow=limit)),), room=9), NOW + 8000)
    assert len(turned.claimed) == 1
    assert desk.claim(now=NOW + 8000 + 59_999)[0].request.options.flow is None
    assert len(desk.claim(now=NOW + 8000 + 60_000)) == 1


@pytest.mark.promise("P-30")
def test_a_delay_outlives_the_process() -> None:
    """A year of delay, a restart in between: not a millisecond early."""
    store, year = open_memory(NOW), 365 * 24 * 3_600_000
    Desk(store).publish(item(delay_ms=year))
    restarted = Broker(store, id_maker(), 2, Limits())
    restarted.open("again", NOW + 1)

    assert restarted.turn(Turn(room=1), NOW + year - 1).claimed == ()
    assert len(restarted.turn(Turn(room=1), NOW + year).claimed) == 1


@pytest.mark.promise("P-1", "P-22")
def test_a_new_incarnation_rescues_at_once(desk: Desk) -> None:
    """What the dead process held is retried before anything else, and its late answers are refused."""
    desk.publish(*[item()] * 700)
    held = desk.claim(room=700)
    assert len(held) == 700

    successor = Broker(desk.store, id_maker(), 2, Limits())
    successor.open("next", NOW + 5)
    again = successor.turn(Turn(room=700), NOW + 5).claimed

    assert {c.message.id for c in again} == {c.message.id for c in held}
    assert {(c.message.retried, c.message.rescues, c.message.attempt) for c in again} == {(0, 1, 2)}
    late = successor.turn(Turn(results=tuple(Result(c, OK) for c in held)), NOW + 6)
    assert (late.settled, late.stale) == (0, 700)


def test_a_result_counts_once(desk: Desk) -> None:
    """The same result twice in one turn, and again later: the second is stale."""
    desk.publish(item())
    (claimed,) = desk.claim()
    twice = desk.broker.turn(Turn(results=(Result(claimed, OK), Result(claimed, DOWN))), NOW)
    later = desk.broker.turn(Turn(results=(Result(claimed, DOWN),)), NOW)

    assert (twice.settled, twice.stale, later.settled) == (1, 1, 0)


@pytest.mark.promise("P-134")
def test_ids_ascend_and_differ(desk: Desk) -> None:
    """Also while the clock stands still, runs backwards, or is far off."""
    make = id_maker()
    times: list[Millis] = [NOW, NOW, NOW - 5000, 0, NOW + 1, 4_102_444_800_000, -1]
    ids = [make(now) for now in times for _ in range(50)]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {len(i) for i in ids} == {16}
    assert len({id_maker()(NOW) for _ in range(100)}) == 100
    assert desk is not None


@pytest.mark.promise("P-12")
@given(st.none() | st.binary(max_size=300), st.text(st.characters(max_codepoint=255), max_size=50))
def test_bytes_are_opaque(body: bytes | None, value: str) -> None:
    """What was published is what is sent, byte for byte."""
    desk = Desk(open_memory(NOW))
    plain = item()
    desk.publish(replace(plain, request=replace(plain.request, body=body, headers=(("X", value),))))

    (claimed,) = desk.claim()

    assert claimed.intact
    assert (claimed.request.body, claimed.request.headers) == (body, (("X", value),))
