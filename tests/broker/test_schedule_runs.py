"""Runs of schedules: to URL groups as they are at the tick, in a batch, and one after another."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import Broker
from lateron.broker.schedules import Schedules
from lateron.broker.views import Accepted, Enrolled, FannedOut, Item, Turn
from lateron.core import recurring
from lateron.core.destination import Destination
from lateron.core.groups import MAX_FAN_OUT, Endpoint
from lateron.core.options import Config
from lateron.core.publish import PublishContext
from lateron.core.quota import QUOTAS
from lateron.core.recurring import Last, NewSchedule, Schedule, parse_schedule
from lateron.core.render import schedule_object
from lateron.core.values import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Filter,
    Message,
    MessageId,
    Millis,
    Outcome,
    Overrides,
    Request,
    State,
)
from lateron.errors import InvalidDestination, LateronError, NotFound, QuotaExceeded
from lateron.runtime import id_maker
from lateron.store.sql import FIRST

START: Millis = NOW - NOW % DAY  # Midnight, UTC.
OK, DOWN = Outcome(status=200), Outcome(status=500)
NONE = QUOTAS["none"]


def asked(target: str = "orders", *, cron: str = "* * * * *", body: bytes = b"body", **headers: str) -> NewSchedule:
    """A schedule as a client asks for it; headers have underscores for dashes."""
    given = {"upstash-cron": cron, "upstash-schedule-id": "s"}
    given |= {name.replace("_", "-").lower(): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    return parse_schedule(target.encode(), pairs, body, PublishContext(1, START, NONE, caller_ip="192.0.2.1"))


def group(desk: Desk, *urls: str, name: str = "orders", **headers: str) -> None:
    """Make a group of these URLs, the first of them named, with default headers."""
    endpoints = [Endpoint(url, None if place else "first") for place, url in enumerate(urls)]
    desk.broker.save_endpoints(1, name, endpoints, NONE, NOW)
    if headers:
        pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        desk.broker.set_defaults(1, name, Config.of(pairs).pairs(), NOW)


def create(desk: Desk, schedule: NewSchedule, now: Millis = START) -> str:
    return Schedules(desk.broker).create(schedule, now)


def tick(desk: Desk, now: Millis) -> int:
    return Schedules(desk.broker).tick(now).fired


def made(desk: Desk) -> list[tuple[Message, Request]]:
    """Messages that do not rest, with their requests, oldest first."""
    with desk.store.transaction() as tx:
        messages = tx.open_after(1, FIRST, 20_000)
        requests = tx.load_requests([message.id for message in messages])
    return [(message, requests[message.id].request) for message in messages]


def stored(desk: Desk, name: str = "s") -> Schedule:
    return desk.history.schedule(1, name).schedule


def ask(desk: Desk, *items: Item, now: Millis = START) -> tuple[object, ...]:
    """Store the items of one batch."""
    (answers,) = desk.broker.turn(Turn(publishes=(items,)), now).accepted
    assert not isinstance(answers, LateronError)
    return answers


@pytest.mark.promise("P-80", "P-81", "P-90")
def test_a_run_goes_to_the_endpoints_of_its_instant(desk: Desk) -> None:
    """Who is added gets the next run, who is removed gets no more; defaults are those of then, and the request wins."""
    group(desk, "http://a/", "http://b/", Upstash_Retries="1", Upstash_Forward_X="default")
    create(desk, asked(Upstash_Label="mine", Upstash_Retries="7"))

    assert tick(desk, START + MINUTE) == 1
    group(desk, "http://a/", "http://b/", "http://c/", Upstash_Retries="1", Upstash_Forward_X="changed")
    assert tick(desk, START + 2 * MINUTE) == 1

    found = made(desk)
    assert [request.url for _, request in found] == ["http://a/", "http://b/", "http://a/", "http://b/", "http://c/"]
    assert [request.headers for _, request in found] == [(("X", "default"),)] * 2 + [(("X", "changed"),)] * 3
    for message, request in found:
        options = request.options
        assert (options.schedule, options.topic, options.labels, message.retries) == ("s", "orders", ("mine",), 7)
        assert (request.body, options.caller_ip) == (b"body", "192.0.2.1")
    assert [request.options.endpoint for _, request in found] == ["first", None, "first", None, None]
    assert stored(desk).last == Last(START + 2 * MINUTE, tuple(message.id for message, _ in found[2:]))
    states = desk.history.schedule(1, "s").states
    assert states == {message.id: State.WAITING for message, _ in found[2:]}


@pytest.mark.promise("P-80", "P-90")
def test_a_run_without_its_group_fails_and_the_schedule_goes_on(desk: Desk) -> None:
    """The reason stands at the schedule until a run succeeds; nothing is made up for later."""
    group(desk, "http://a/")
    create(desk, asked())
    desk.broker.delete_group(1, "orders")

    assert [tick(desk, START + n * MINUTE) for n in (1, 2)] == [1, 1]
    assert made(desk) == []
    schedule = stored(desk)
    assert schedule.last == Last(START + 2 * MINUTE, (), "topic orders not found", failed=2)
    assert (schedule.runs, schedule.missed, schedule.due) == (2, 0, START + 3 * MINUTE)
    shown = schedule_object(schedule, {}, None)
    assert (shown["error"], shown["failedRuns"], shown["lastScheduleStates"]) == ("topic orders not found", 2, {})
    assert shown["lastScheduleTime"] == START + 2 * MINUTE

    group(desk, "http://a/")
    assert tick(desk, START + 3 * MINUTE) == 1
    assert len(made(desk)) == 1
    last = stored(desk).last
    assert last is not None
    assert (last.error, last.failed) == (None, 2)


@pytest.mark.promise("P-90")
def test_defaults_that_do_not_fit_fail_the_run_as_a_whole(desk: Desk) -> None:
    """All endpoints or none: what a publish would be refused for, a run fails with."""
    group(desk, "http://a/", "http://b/")
    create(desk, asked(Lateron_Order_Key="k"))
    desk.broker.set_defaults(1, "orders", Config.of((("Upstash-Queue-Name", "q"),)).pairs(), NOW)

    assert tick(desk, START + MINUTE) == 1
    assert made(desk) == []
    last = stored(desk).last
    assert last is not None
    assert "use one of the two" in (last.error or "")


def test_creating_is_refused_where_a_publish_would_be(desk: Desk) -> None:
    """To a group that is not there, or with an endpoint that must not be called: and nothing is stored."""

    def check(destination: Destination) -> None:
        if destination.host == "bad":
            raise InvalidDestination(destination.url, "is refused")

    broker = Broker(desk.store, id_maker(), 2, desk.limits, check)
    broker.open("strict", START)
    with pytest.raises(NotFound, match="topic orders not found"):
        Schedules(broker).create(asked(), START)
    group(desk, "http://a/", "http://bad/")
    with pytest.raises(InvalidDestination):
        Schedules(broker).create(asked(), START)
    assert desk.history.schedules(1) == []
    assert desk.dump()["schedule_request"] == []


def test_an_endpoint_that_may_not_be_called_any_more_costs_only_its_own_message(desk: Desk) -> None:
    """At a tick nobody reads a refusal: the delivery asks the guard, and one dead letter says so."""
    group(desk, "http://a/", "http://bad/")
    create(desk, asked())

    def check(destination: Destination) -> None:
        raise InvalidDestination(destination.url, "is refused")

    strict = Broker(desk.store, id_maker(), 2, desk.limits, check)
    strict.open("strict", START)
    assert Schedules(strict).tick(START + MINUTE).fired == 1
    assert len(made(desk)) == 2


def test_a_group_may_say_what_the_request_does_not(desk: Desk) -> None:
    """Plain headers that its defaults ask for, its delay and its date; a deduplication id of it is not asked."""
    group(desk, "http://a/", Upstash_Header_Forward="true", Upstash_Delay="5m", Upstash_Deduplication_Id="once")
    create(desk, asked(X_Plain="value"))
    assert [tick(desk, START + n * MINUTE + SECOND) for n in (1, 2)] == [1, 1]
    assert [(m.due, r.headers) for m, r in made(desk)] == [
        (START + n * MINUTE + 5 * MINUTE, (("X-Plain", "value"),)) for n in (1, 2)
    ]
    date = str((START + HOUR) // 1000)
    desk.broker.set_defaults(1, "orders", Config.of((("Upstash-Not-Before", date),)).pairs(), NOW)
    tick(desk, START + 3 * MINUTE)
    assert made(desk)[-1][0].due == START + HOUR


def test_what_a_group_hides_its_schedules_hide(desk: Desk) -> None:
    """Else the list of schedules would show what no list of messages does."""
    group(desk, "http://a/", Upstash_Redact_Fields="body")
    create(desk, asked(Upstash_Forward_X="shown", body=b"secret"))
    view = desk.history.schedule(1, "s")
    shown = schedule_object(view.schedule, view.states, view.redact)
    assert shown["body"].startswith("REDACTED:")
    assert (shown["destination"], shown["header"]) == ("orders", {"X": ["shown"]})


def test_run_now_answers_as_a_publish_to_the_group(desk: Desk) -> None:
    """One id for each endpoint; of a group that is gone, nothing."""
    group(desk, "http://a/", "http://b/")
    create(desk, asked())
    ran = Schedules(desk.broker).run(1, "s", START)
    assert isinstance(ran, FannedOut)
    assert ran.endpoints == tuple((request.url, Accepted(message.id)) for message, request in made(desk))
    desk.broker.delete_group(1, "orders")
    with pytest.raises(NotFound, match="topic orders not found"):
        Schedules(desk.broker).run(1, "s", START)


@pytest.mark.promise("P-60", "P-90")
def test_runs_to_a_group_through_a_queue_stand_in_line(desk: Desk) -> None:
    """Queue and group together: the endpoints of a run in their order, behind those of the run before."""
    group(desk, "http://a/", "http://b/")
    create(desk, asked(Upstash_Queue_Name="q"))
    assert [tick(desk, START + n * MINUTE) for n in (1, 2)] == [1, 1]
    found = [request.url for _, request in sorted(made(desk), key=lambda pair: cast("int", pair[0].seq))]
    assert found == ["http://a/", "http://b/"] * 2
    assert [message.state for message, _ in made(desk)].count(State.WAITING) == 1
    assert all(message.queue is not None for message, _ in made(desk))


@pytest.mark.promise("P-81", "P-88", "P-90")
def test_large_groups_share_out_their_transactions(desk: Desk) -> None:
    """No transaction makes more messages than one publish may, and no run is split or lost."""
    urls = [f"http://e{n}/" for n in range(MAX_FAN_OUT // 3)]
    group(desk, *urls)
    create(desk, asked(Lateron_Missed="all"))
    create(desk, replace(asked(), id="other"))
    schedules, pieces = Schedules(desk.broker), list[int]()
    now = START + 4 * MINUTE
    while (piece := schedules.tick(now)).more:
        pieces.append(piece.fired)
    assert [*pieces, piece.fired] == [3, 2]
    assert sum(len(schedule.last.messages) for name in ("s", "other") if (schedule := stored(desk, name)).last) == 6666
    with desk.store.transaction() as tx:
        assert len(tx.open_after(1, FIRST, 40_000)) == 5 * len(urls)
    assert (stored(desk).runs, stored(desk, "other").runs) == (4, 1)


@pytest.mark.promise("P-91")
def test_a_batch_makes_schedules_in_its_transaction(desk: Desk) -> None:
    """Between messages and publishes to groups, each answered in its place; one that cannot be harms no other."""
    group(desk, "http://a/", "http://b/")
    limited = replace(asked(), id="third", most=2)
    answers = ask(desk, item(), asked(), asked("missing"), replace(asked("http://one/"), id=None), limited)
    assert isinstance(answers[0], Accepted)
    assert answers[1] == Enrolled("s")
    assert isinstance(answers[2], NotFound)
    assert isinstance(answers[3], Enrolled)
    assert isinstance(answers[4], QuotaExceeded)
    assert answers[3].id.startswith("scd_")
    assert {view.schedule.id for view in desk.history.schedules(1)} == {"s", answers[3].id}
    assert desk.broker.tick_alarm is not None
    assert desk.broker.tick_alarm <= START + MINUTE
    assert tick(desk, START + MINUTE) == 2
    assert len(made(desk)) == 1 + 2 + 1


@pytest.mark.promise("P-91", "P-81")
def test_a_batch_that_crashes_leaves_no_schedule(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and schedules of a batch are one transaction."""
    before = desk.dump()

    class Crash(BaseException):
        """The end of the process."""

    def dies(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(type(desk.store._verbs), "insert_events", dies)
    with pytest.raises(Crash):
        ask(desk, asked("http://one/"), item())
    assert desk.dump() == before


@pytest.mark.promise("P-80", "P-61")
def test_overlap_queue_lets_no_two_runs_go_at_once(desk: Desk) -> None:
    """Each run waits for the one before with all its retries, and a failure of that does not stop the line."""
    create(desk, asked("http://one/", Lateron_Overlap="queue", Upstash_Retries="1"))
    assert [tick(desk, START + n * MINUTE) for n in (1, 2, 3)] == [1, 1, 1]
    now, order = START + 3 * MINUTE, list[MessageId]()
    ids = [message.id for message, _ in made(desk)]

    (first,) = desk.claim(now=now)
    assert desk.claim(now=now) == ()
    desk.settle([first], DOWN, now)
    assert desk.claim(now=now) == ()  # Its retry is not due, and the line waits for it.
    order.append(first.message.id)
    for end in (DOWN, OK, OK):
        now += DAY
        (claimed,) = desk.claim(now=now)
        order.append(claimed.message.id)
        desk.settle([claimed], end, now)

    assert order == [ids[0], ids[0], ids[1], ids[2]]
    assert stored(desk).skipped == 0


@pytest.mark.promise("P-80", "P-61")
def test_overlap_queue_waits_for_callbacks_and_by_endpoint(desk: Desk) -> None:
    """To a group, each endpoint has a line of its own: one that hangs holds up no other."""
    group(desk, "http://a/", "http://b/", Upstash_Callback="http://cb/")
    create(desk, asked(Lateron_Overlap="queue"))
    assert [tick(desk, START + n * MINUTE) for n in (1, 2)] == [1, 1]
    now = START + 2 * MINUTE

    a, b = sorted(desk.claim(now=now), key=lambda claimed: claimed.request.url)
    assert [claimed.request.url for claimed in (a, b)] == ["http://a/", "http://b/"]
    desk.settle([b], OK, now)
    (callback,) = desk.claim(now=now)  # The next run to b waits for it; a still runs.
    assert callback.request.url == "http://cb/"
    desk.settle([callback], OK, now)
    (again,) = desk.claim(now=now)
    assert again.request.url == "http://b/"


def test_a_line_of_a_schedule_is_nobodys_ordering_key(desk: Desk) -> None:
    """Neither shown as one, nor to be named by a publisher; a retried dead letter goes back into it."""
    create(desk, asked("http://one/", Lateron_Overlap="queue", Upstash_Retries="0"))
    tick(desk, START + MINUTE)
    ((_, request),) = made(desk)
    key = request.options.order_key
    assert key is not None
    assert asked("http://one/", Lateron_Order_Key=key).request.options.order_key == key.strip()

    desk.settle(desk.claim(now=START + MINUTE), DOWN, START + MINUTE)
    tick(desk, START + 2 * MINUTE)
    desk.broker.redrive(1, Filter(), Overrides(), START + 2 * MINUTE, 10)
    assert [(m.state, r.options.order_key) for m, r in made(desk)] == [(State.WAITING, key), (State.QUEUED, key)]


def test_a_run_by_hand_keeps_to_the_line(desk: Desk) -> None:
    """Two runs at once are what the option is against, whoever asked for them."""
    create(desk, asked("http://one/", Lateron_Overlap="queue"))
    for _ in range(2):
        Schedules(desk.broker).run(1, "s", START)
    assert [message.state for message, _ in made(desk)] == [State.WAITING, State.QUEUED]


def test_the_trial_of_a_group_schedule_shows_what_its_own_request_says(desk: Desk) -> None:
    """Delay, timeout, callbacks and labels are readable before the first run."""
    group(desk, "http://a/")
    create(desk, asked(Upstash_Delay="2m", Upstash_Timeout="60s", Upstash_Callback="http://cb/", Upstash_Label="l"))
    shown = schedule_object(stored(desk), {}, None)
    assert (shown["delay"], shown["timeout"], shown["callback"], shown["label"]) == (120, 60, "http://cb/", "l")
    assert recurring.forwarded(stored(desk)) == ()
