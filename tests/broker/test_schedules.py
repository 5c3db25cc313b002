"""Schedules in the store: each instant once, all or nothing, and what becomes of missed ones."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import cast

import pytest
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk

from lateron.broker.bulk import Broker
from lateron.broker.schedules import Schedules
from lateron.broker.views import Accepted
from lateron.core import recurring
from lateron.core.recurring import Last, NewSchedule, Rules, Schedule
from lateron.core.values import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    CallbackOptions,
    Filter,
    Flow,
    Message,
    Millis,
    Options,
    Outcome,
    Redaction,
    Request,
    State,
)
from lateron.errors import NotFound, QuotaExceeded, RequestError
from lateron.runtime import id_maker
from lateron.store.sql import FIRST

START: Millis = NOW - NOW % DAY  # Midnight, UTC.
OK = Outcome(status=200)


def new(
    cron: str = "* * * * *", name: str = "s", tenant: int = 1, body: bytes = b"body", **rules: object
) -> NewSchedule:
    request = Request("http://one/", "POST", (("Content-Type", "text/plain"),), body, Options(labels=("l",)))
    return NewSchedule(tenant, name, cron, Rules(**rules), request)  # type: ignore[arg-type]


def create(desk: Desk, schedule: NewSchedule, now: Millis = START) -> str:
    return Schedules(desk.broker).create(schedule, now)


def tick(desk: Desk, now: Millis, window: Millis = MINUTE) -> int:
    return Schedules(desk.broker, window).tick(now).fired


def made(desk: Desk, tenant: int = 1) -> list[Message]:
    with desk.store.transaction() as tx:
        return tx.open_after(tenant, FIRST, 10_000)


def stored(desk: Desk, name: str = "s") -> Schedule:
    return desk.history.schedule(1, name).schedule


@pytest.mark.promise("P-80", "P-81")
def test_each_tick_makes_one_message_as_configured(desk: Desk) -> None:
    """A schedule's message is that of a publish, and says which schedule made it."""
    create(desk, new())

    assert tick(desk, START + 59 * SECOND) == 0
    assert tick(desk, START + MINUTE + 1) == 1
    assert tick(desk, START + MINUTE + 2) == 0

    (message,) = made(desk)
    view = desk.history.message(1, message.id, START + MINUTE)
    assert message.due == message.created == START + MINUTE + 1
    assert (view.request.url, view.request.body, view.request.options.labels) == ("http://one/", b"body", ("l",))
    assert view.request.options.schedule == "s"
    assert stored(desk).due == START + 2 * MINUTE
    assert desk.history.pending(1, Filter(schedules=("s",)), None, 10, START).items
    assert not desk.history.pending(1, Filter(schedules=("t",)), None, 10, START).items


@pytest.mark.promise("P-80", "P-81", "F-1")
@pytest.mark.parametrize("dies_after", ["insert_ticks", "insert_messages", "save_schedules", "next_schedule"])
def test_a_crash_anywhere_in_a_tick_leaves_all_of_it_or_nothing(
    desk: Desk, dies_after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tick, message and next instant are one transaction: the next try makes what the crash undid, once."""
    for number in range(3):
        create(desk, new(name=f"s{number}"))
    before = desk.dump()

    class Crash(BaseException):
        """The end of the process."""

    def dies(name: str) -> None:
        verbs = type(desk.store._verbs)
        real = getattr(verbs, name)

        def dying(*arguments: object) -> object:
            real(*arguments)
            raise Crash

        monkeypatch.setattr(verbs, name, dying)

    dies(dies_after)
    with pytest.raises(Crash):
        tick(desk, START + MINUTE)
    monkeypatch.undo()
    assert desk.dump() == before

    again = Broker(desk.store, id_maker(), 2, desk.limits)
    again.open("again", START + MINUTE)
    assert Schedules(again).tick(START + MINUTE).fired == 3
    assert Schedules(again).tick(START + MINUTE).fired == 0
    assert len(made(desk)) == 3


@pytest.mark.promise("P-82")
@pytest.mark.parametrize(
    ("missed", "late", "fired", "dropped"),
    [
        ("latest", 3 * HOUR + 30 * SECOND, 1, 180),
        ("latest", HOUR + 30 * SECOND, 1, 60),
        ("skip", HOUR + 30 * SECOND, 0, 61),
        ("skip", HOUR + 5 * SECOND, 1, 60),
        ("all", HOUR + 30 * SECOND, 61, 0),
        ("all", 2 * HOUR, 100, 21),
    ],
)
def test_what_was_missed_follows_the_policy(desk: Desk, missed: str, late: Millis, fired: int, dropped: int) -> None:
    """After an outage nobody wants a hundred reports at once, unless he said so."""
    create(desk, new(missed=missed))

    assert tick(desk, START + MINUTE + late) == fired

    schedule = stored(desk)
    assert schedule.missed == min(dropped, 100)
    assert schedule.due == START + MINUTE + late - late % MINUTE + MINUTE
    assert tick(desk, schedule.due) == 1


@pytest.mark.promise("P-82")
def test_a_missed_tick_older_than_the_window_does_not_fire(desk: Desk) -> None:
    """A daily report is not sent in the evening because the server was down in the morning."""
    create(desk, new("0 4 * * *"))
    assert tick(desk, START + 4 * HOUR + MINUTE + SECOND) == 0
    create(desk, new("0 4 * * *"))
    assert tick(desk, START + 4 * HOUR + MINUTE + SECOND, window=HOUR) == 1


def test_a_little_late_is_not_missed(desk: Desk) -> None:
    """Under load a loop comes round late; no tick of every second may be lost by that."""
    create(desk, new("@every 1s"))
    assert tick(desk, START + 7 * SECOND) == 7
    assert stored(desk).missed == 0


@pytest.mark.promise("P-83", "F-20")
def test_steps_of_the_clock_never_fire_twice(desk: Desk) -> None:
    """A clock set back repeats no tick; one set forward by years is an outage, not years of ticks."""
    create(desk, new())
    assert tick(desk, START + MINUTE) == 1
    for step in (-HOUR, -DAY, 0, 59 * SECOND):
        assert tick(desk, START + MINUTE + step) == 0
    assert tick(desk, START + 3650 * DAY) == 1
    assert len(made(desk)) == 2
    assert stored(desk).missed == 100


@pytest.mark.promise("P-83", "F-20")
def test_an_instant_that_has_fired_never_fires_again_even_if_asked(desk: Desk) -> None:
    """The row of the tick is the last guard: of two nodes, or after a resume with the clock set back."""
    create(desk, new())
    assert tick(desk, START + MINUTE) == 1
    Schedules(desk.broker).pause(1, "s", START)
    Schedules(desk.broker).resume(1, "s", START)  # The clock was set back before.
    assert stored(desk).due == START + MINUTE
    assert tick(desk, START + MINUTE) == 0
    assert tick(desk, START + 2 * MINUTE) == 1


@pytest.mark.promise("P-86")
def test_a_paused_schedule_stays_so_and_makes_up_for_nothing(desk: Desk) -> None:
    """A pause that a restart ends, or that bursts at its end, is none."""
    create(desk, new())
    Schedules(desk.broker).pause(1, "s", START)
    again = Broker(desk.store, id_maker(), 2, desk.limits)
    again.open("again", START)
    assert Schedules(again).tick(START + HOUR).fired == 0
    assert stored(desk).paused

    Schedules(again).resume(1, "s", START + HOUR + SECOND)

    assert Schedules(again).tick(START + HOUR + 59 * SECOND).fired == 0
    assert Schedules(again).tick(START + HOUR + MINUTE).fired == 1
    assert stored(desk).missed == 0


@pytest.mark.promise("P-87")
def test_delete_keeps_messages_and_overwrite_replaces_everything(desk: Desk) -> None:
    """What was made is the receiver's; what is new has nothing of the old."""
    create(desk, new(body=b"old", delay_ms=HOUR, missed="all"))
    tick(desk, START + MINUTE)
    create(desk, new("0 4 * * *", body=b"new"), START + MINUTE)

    schedule = stored(desk)
    assert (schedule.cron, schedule.request.body, schedule.rules) == ("0 4 * * *", b"new", Rules())
    assert (schedule.runs, schedule.last, schedule.due) == (0, None, START + 4 * HOUR)
    (message,) = made(desk)
    assert desk.history.message(1, message.id, START).request.body == b"old"

    Schedules(desk.broker).delete(1, "s", START + MINUTE)
    with pytest.raises(NotFound, match="schedule s not found"):
        stored(desk)
    assert tick(desk, START + 4 * HOUR) == 0
    assert len(made(desk)) == 1
    assert desk.dump()["schedule_request"] == []


@pytest.mark.promise("P-87")
def test_a_delay_shifts_messages_and_not_the_schedule(desk: Desk) -> None:
    """The delay is counted from the tick, however late the loop was."""
    create(desk, new(delay_ms=10 * MINUTE))
    tick(desk, START + MINUTE + 5 * SECOND)
    assert [message.due for message in made(desk)] == [START + 11 * MINUTE]
    assert stored(desk).due == START + 2 * MINUTE


def test_jitter_spreads_messages_inside_its_bound(desk: Desk) -> None:
    """A thousand schedules at midnight must not call at one instant, and none goes out early."""
    for number in range(50):
        create(desk, new("0 4 * * *", name=f"s{number}", jitter_ms=MINUTE))
    tick(desk, START + 4 * HOUR)
    late = [message.due - START - 4 * HOUR for message in made(desk)]
    assert len(set(late)) > 40
    assert 0 <= min(late) < max(late) <= MINUTE


def test_start_end_and_most_runs_bound_a_schedule(desk: Desk) -> None:
    """It begins, ends and counts as told, and then is still there to be read."""
    create(desk, new(start=START + HOUR, end=START + HOUR + 5 * MINUTE, most_runs=3))
    fired = [tick(desk, START + minute * MINUTE) for minute in range(1, 120)]
    assert [minute for minute, count in enumerate(fired, 1) if count] == [60, 61, 62]
    assert (stored(desk).runs, stored(desk).due) == (3, None)
    with pytest.raises(RequestError, match="would never tick"):
        create(desk, new("0 4 * * *", end=START + HOUR))


def test_overlap_skip_waits_for_the_last_message(desk: Desk) -> None:
    """Two reports at once were the reason for the option."""
    create(desk, new(overlap="skip"))
    assert tick(desk, START + MINUTE) == 1
    assert tick(desk, START + 2 * MINUTE) == 0
    (claimed,) = desk.claim(now=START + 2 * MINUTE)
    assert tick(desk, START + 3 * MINUTE) == 0
    desk.settle([claimed], OK, START + 3 * MINUTE)
    assert tick(desk, START + 4 * MINUTE) == 1
    assert stored(desk).skipped == 2


def test_states_of_the_last_tick_are_those_of_its_messages(desk: Desk) -> None:
    """A list of schedules says which are in trouble."""
    create(desk, new())
    assert desk.history.schedule(1, "s").states == {}
    tick(desk, START + MINUTE)
    (message,) = made(desk)
    assert desk.history.schedule(1, "s").states == {message.id: State.WAITING}
    desk.settle(desk.claim(now=START + MINUTE), OK, START + MINUTE)
    (view,) = desk.history.schedules(1)
    assert view.states == {message.id: State.DELIVERED}
    assert view.schedule.last is not None
    assert view.schedule.last.time == START + MINUTE


def test_everything_of_a_publish_applies_to_a_tick(desk: Desk) -> None:
    """Flow limits, callbacks and redaction are not lost on the way through the schedule."""
    options = Options(
        flow=Flow("k", parallelism=1),
        callback=CallbackOptions("http://cb/"),
        redact=Redaction(body=True),
        labels=("l",),
    )
    schedule = new()
    create(desk, replace(schedule, request=replace(schedule.request, options=options)))
    for minute in (1, 2):
        tick(desk, START + minute * MINUTE)
    (claimed,) = desk.claim(now=START + 2 * MINUTE)
    assert claimed.request.options.redact == Redaction(body=True)
    desk.settle([claimed], OK, START + 2 * MINUTE)
    urls = sorted(desk.history.message(1, m.id, START).request.url for m in made(desk))
    assert urls == ["http://cb/", "http://one/"]


def test_schedules_belong_to_their_tenant(desk: Desk) -> None:
    """The same id is another schedule for somebody else."""
    create(desk, new(body=b"one"))
    create(desk, new(tenant=2, body=b"two"))
    assert stored(desk).request.body == b"one"
    assert [view.schedule.request.body for view in desk.history.schedules(2)] == [b"two"]
    Schedules(desk.broker).delete(2, "s", START)
    assert stored(desk).request.body == b"one"
    with pytest.raises(NotFound):
        Schedules(desk.broker).run(2, "s", START)


def test_the_quota_counts_new_schedules_only(desk: Desk) -> None:
    """To change the last one that fits must stay possible."""

    def make(schedule: NewSchedule) -> str:
        return Schedules(desk.broker).create(replace(schedule, most=1), START)

    make(new())
    make(new(body=b"changed"))
    with pytest.raises(QuotaExceeded, match="schedules: the quota allows at most 1, got 2"):
        make(new(name="other"))
    make(new(tenant=2))


def test_run_now_changes_nothing_else(desk: Desk) -> None:
    """A button that is pressed twice makes two messages, and the schedule does not notice."""
    create(desk, new())
    before = desk.dump()["schedule"]
    ran = [Schedules(desk.broker).run(1, "s", START) for _ in range(2)]
    assert [Accepted(message.id) for message in made(desk)] == ran
    assert ran[0] != ran[1]
    assert desk.dump()["schedule"] == before


def test_a_schedule_that_cannot_be_decided_holds_up_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one costs that one."""
    for name in ("a", "bad", "c"):
        create(desk, new(name=name))
    real = recurring.decide

    def failing(schedule: Schedule, now: Millis, window: Millis) -> recurring.Decision:
        if schedule.id == "bad":
            raise ZeroDivisionError
        return real(schedule, now, window)

    monkeypatch.setattr(recurring, "decide", failing)
    assert Schedules(desk.broker).tick(START + MINUTE).fired == 2
    assert stored(desk, "bad").due == START + 2 * MINUTE


def test_a_damaged_request_makes_no_message(desk: Desk) -> None:
    """Bytes that are not those that were accepted are never sent."""
    create(desk, new())
    desk.store._connection.execute("UPDATE schedule_request SET body = x'00'")
    assert tick(desk, START + MINUTE) == 1
    assert made(desk) == []
    assert stored(desk).due == START + 2 * MINUTE
    assert stored(desk).last == Last(START + MINUTE, (), "the stored request is damaged", failed=1)


@pytest.mark.promise("P-88")
def test_many_schedules_of_one_instant_tick_in_pieces(desk: Desk) -> None:
    """No transaction may hold the store for all of them, and none is forgotten."""
    for number in range(40):
        create(desk, new("0 4 * * *", name=f"s{number}"))
    schedules, fired = Schedules(desk.broker), list[int]()
    while (piece := schedules.tick(START + 4 * HOUR, limit=15)).more:
        fired.append(piece.fired)
    assert [*fired, piece.fired] == [15, 15, 10]
    assert len(made(desk)) == 40
    assert desk.broker.tick_alarm == START + DAY + 4 * HOUR


def test_old_ticks_are_swept(desk: Desk) -> None:
    """Their guard is needed while a clock might be set back, not for ever."""
    create(desk, new())
    for minute in range(1, 5):
        tick(desk, START + minute * MINUTE)
    desk.broker.sweep(START + desk.limits.history_retention_ms + 3 * MINUTE)
    assert len(desk.dump()["tick"]) == 2


@pytest.mark.promise("P-80", "P-81", "P-83", "P-86", "F-1", "F-20")
@pytest.mark.parametrize("seed", range(25))
def test_any_history_of_a_schedule_keeps_to_the_count(seed: int, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the clock, crashes, restarts and pauses: each minute at most once, and none lost but those counted."""
    chance, now = random.Random(seed), START
    broker = desk.broker
    create(desk, new(missed="all", body=b"all"))
    paused: list[tuple[Millis, Millis]] = []
    highest = START

    class Crash(BaseException):
        """The end of the process."""

    for number in range(60):
        now += chance.choice([SECOND, 20 * SECOND, MINUTE, 5 * MINUTE, HOUR, -MINUTE, -HOUR])
        what = chance.random()
        if what < 0.1:
            began, now = now, max(now, highest)
            Schedules(broker).pause(1, "s", began)
            now += chance.choice([MINUTE, HOUR])
            Schedules(broker).tick(now)
            Schedules(broker).resume(1, "s", now)
            paused.append((min(began, highest), now))
        elif what < 0.3:
            verb, at = chance.choice(["insert_ticks", "insert_messages", "save_schedules"]), now

            def dies(*_: object) -> None:
                raise Crash

            with monkeypatch.context() as patch, suppress(Crash):
                patch.setattr(type(desk.store._verbs), verb, dies)
                Schedules(broker).tick(at)
            broker = Broker(desk.store, id_maker(), number + 10, desk.limits)
            broker.open("again", now)
        while Schedules(broker).tick(now, limit=1).more:
            pass
        highest = max(highest, now)

    fired = [time for _, time, _ in cast("list[tuple[bytes, Millis, int]]", desk.dump()["tick"])]
    assert len(made(desk)) == len(fired) == len(set(fired)) == stored(desk).runs
    expected = set(range(START + MINUTE, highest + 1, MINUTE))
    assert set(fired) <= expected
    lost = {at for at in expected - set(fired) if not any(low < at <= high for low, high in paused)}
    assert len(lost) == 0 == stored(desk).missed


@pytest.mark.promise("P-60", "P-81")
def test_ticks_of_a_schedule_with_a_queue_stand_in_line(desk: Desk) -> None:
    """The queue is made with the first tick, and each message waits for the one before."""
    plain = new()
    queued = replace(plain, request=replace(plain.request, options=Options(queue_name="q")))
    create(desk, queued)

    fired = [tick(desk, START + n * MINUTE) for n in (1, 2, 3)]

    assert sum(fired) >= 2
    assert [m.state for m in made(desk)].count(State.WAITING) == 1
    assert {m.state for m in made(desk)} == {State.WAITING, State.QUEUED}
    (first,) = desk.claim(now=START + 3 * MINUTE)
    desk.settle([first], OK, now=START + 3 * MINUTE)
    (second,) = desk.claim(now=START + 3 * MINUTE)
    assert (first.message.seq, second.message.seq) == (1, 2)
