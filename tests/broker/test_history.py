"""What readers see: lists that page exactly, filters, and why a message waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from tests.broker.conftest import NOW, Desk, item

from lateron.broker import bulk
from lateron.broker import history as room
from lateron.broker.views import EventView, Limits, Page, Waiting
from lateron.core.values import (
    HOUR,
    MINUTE,
    Event,
    EventKind,
    Filter,
    Flow,
    MessageId,
    Millis,
    Outcome,
    RetryPolicy,
    State,
)
from lateron.errors import InvalidValue, NotFound
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=503, body=b"busy")

T = TypeVar("T")


def all_items(read: Callable[[str | None], Page[T]]) -> list[T]:
    """Follow the cursors to the end."""
    found, cursor = list[T](), None
    while True:
        page = read(cursor)
        found += page.items
        if page.cursor is None:
            return found
        cursor = page.cursor


def all_pages(read: Callable[[str | None], Page[EventView]]) -> list[Event]:
    """Return all events."""
    return [view.event for view in all_items(read)]


@pytest.mark.promise("P-98")
@pytest.mark.parametrize("newest_first", [True, False])
def test_paging_returns_each_event_once_while_others_are_written(desk: Desk, newest_first: bool) -> None:
    """What was there throughout is returned exactly once, in order, whatever is written between two pages."""
    for n in range(10):
        desk.publish(item(), now=NOW + n)
        desk.settle(desk.claim(now=NOW + n), OK, now=NOW + n)
    before = set(all_pages(lambda cursor: desk.history.events(1, Filter(), cursor, 1000)))

    def read(cursor: str | None) -> Page[EventView]:
        page = desk.history.events(1, Filter(), cursor, 7, newest_first=newest_first)
        desk.publish(item("http://two/"), now=NOW + 5)
        desk.settle(desk.claim(now=NOW + 5), DOWN, now=NOW + 5)
        return page

    found = all_pages(read)[:200]

    assert len(found) == len(set(found))
    assert before <= set(found)
    keys = [(e.time, e.message, e.attempt, e.kind) for e in found]
    assert keys == sorted(keys, reverse=newest_first)


@pytest.mark.promise("P-98")
def test_paging_pending_messages_is_exact_while_they_come_and_go(desk: Desk) -> None:
    """Newest first; those that end meanwhile may be missing, none is there twice."""
    ids = [desk.publish(item(delay_ms=HOUR))[0].id for _ in range(20)]
    seen, cursor = list[MessageId](), None
    while True:
        page = desk.history.pending(1, Filter(), cursor, 3, NOW)
        seen += [view.message.id for view in page.items]
        desk.publish(item(delay_ms=HOUR))
        desk.broker.cancel(1, Filter(message_ids=(seen[0],)), NOW)
        cursor = page.cursor
        if cursor is None:
            break

    assert seen == sorted(set(seen), reverse=True)
    assert set(ids) <= set(seen)


def test_events_are_filtered(desk: Desk) -> None:
    """By message, state, host, label and time; OR inside a field, AND between fields."""
    (one,) = desk.publish(item("http://one/", labels=("a", "b")))
    desk.publish(item("http://two/", labels=("b",)), now=NOW + 10)
    desk.settle(desk.claim(now=NOW + 10), OK, now=NOW + 20)

    def kinds(**wanted: object) -> list[str]:
        selection = Filter(**wanted)  # type: ignore[arg-type]
        return [view.event.kind.name for view in desk.history.events(1, selection, None, 100).items]

    assert kinds(message_ids=(one.id,)) == ["DELIVERED", "ACTIVE", "CREATED"]
    assert kinds(kinds=(EventKind.CREATED, EventKind.DELIVERED)).count("CREATED") == 2
    assert len(kinds(hosts=("two",))) == 3
    assert len(kinds(labels=("b",))) == 6
    assert len(kinds(labels=("a",), hosts=("two",))) == 0
    assert kinds(to_time=NOW) == ["CREATED"]
    assert kinds(from_time=NOW + 20, to_time=NOW + 20) == ["DELIVERED", "DELIVERED"]
    assert desk.history.events(2, Filter(), None, 100).items == ()


def test_a_line_that_ends_an_attempt_shows_it(desk: Desk) -> None:
    """Status and body of the answer stand on ERROR, RETRY, FAILED and DELIVERED."""
    desk.publish(item(retry=RetryPolicy(retries=1)))
    desk.settle(desk.claim(), DOWN)
    desk.settle(desk.claim(now=NOW + MINUTE), DOWN, now=NOW + MINUTE)

    views = desk.history.events(1, Filter(), None, 100, newest_first=False).items
    shown = [(v.event.kind.name, v.attempt and v.attempt.outcome.status) for v in views]

    assert shown == [("CREATED", None), ("ACTIVE", None), ("ERROR", 503), ("RETRY", 503), ("ACTIVE", None),
                     ("ERROR", 503), ("FAILED", 503)]  # fmt: skip


def test_a_rare_match_costs_pages_and_not_one_long_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends after so many rows read, perhaps empty, and has a cursor; none is lost."""
    monkeypatch.setattr(room, "SCANNED", 10)
    desk.publish(item("http://rare/"))
    desk.publish(*[item()] * 30)

    first = desk.history.events(1, Filter(hosts=("rare",)), None, 5)
    found = all_pages(lambda cursor: desk.history.events(1, Filter(hosts=("rare",)), cursor, 5))

    assert (first.items, first.cursor is None) == ((), False)
    assert [event.kind for event in found] == [EventKind.CREATED]


@pytest.mark.promise("P-98")
def test_a_rare_message_or_dead_letter_costs_several_pages_not_one_long_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is not held up by a filter that means little: such a page is empty, and says where to go on."""
    for name, value in {"SCANNED": 8, "PAGE": 4}.items():
        monkeypatch.setattr(room, name, value)
    monkeypatch.setattr(bulk, "PAGE", 4)
    never = RetryPolicy(retries=0)
    desk.publish(item("http://rare/", retry=never), *[item(retry=never)] * 30)
    desk.settle(desk.claim(), DOWN)
    desk.publish(item("http://rare/", delay_ms=HOUR), *[item(delay_ms=HOUR)] * 30)
    rare = Filter(hosts=("rare",))

    letters = desk.history.dead_letters(1, rare, None, 5)
    open_ones = desk.history.pending(1, rare, None, 5, NOW)

    assert (letters.items, letters.cursor is None) == ((), False)
    assert (open_ones.items, open_ones.cursor is None) == ((), False)
    assert len(all_items(lambda cursor: desk.history.dead_letters(1, rare, cursor, 5))) == 1
    assert len(all_items(lambda cursor: desk.history.pending(1, rare, cursor, 5, NOW))) == 1
    assert len(all_items(lambda cursor: desk.history.pending(1, Filter(), cursor, 5, NOW))) == 31


def test_a_page_ends_early_when_it_would_be_large(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megabytes of bodies are enough for one answer."""
    monkeypatch.setattr(room, "PAGE_BYTES", 2000)
    desk.publish(*[item()] * 9)

    assert len(desk.history.events(1, Filter(), None, 100).items) < 9
    assert len(all_pages(lambda cursor: desk.history.events(1, Filter(), cursor, 100))) == 9


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "....", "gqdh", "\u00e9"])
def test_a_cursor_that_we_did_not_give_is_refused(desk: Desk, cursor: str) -> None:
    """It is the client's mistake, and the error says so."""
    for read in (
        lambda: desk.history.events(1, Filter(), cursor, 5),
        lambda: desk.history.dead_letters(1, Filter(), cursor, 5),
        lambda: desk.history.pending(1, Filter(), cursor, 5, NOW),
    ):
        with pytest.raises(InvalidValue, match="cursor"):
            read()


def test_a_message_can_be_read_until_shortly_after_its_end(desk: Desk) -> None:
    """Ten minutes; its history stays longer; another tenant never sees it."""
    (published,) = desk.publish(item())
    desk.settle(desk.claim(), OK)

    assert desk.history.message(1, published.id, NOW + 10 * MINUTE).message.state is State.DELIVERED
    with pytest.raises(NotFound):
        desk.history.message(1, published.id, NOW + 10 * MINUTE + 1)
    assert len(desk.history.story(1, published.id, NOW + HOUR).attempts) == 1
    for read in (desk.history.message, desk.history.story):
        with pytest.raises(NotFound):
            read(2, published.id, NOW)


def why(desk: Desk, now: Millis = NOW) -> list[Waiting | None]:
    """Say why pending messages wait, oldest first."""
    return [view.waiting for view in desk.history.pending(1, Filter(), None, 100, now).items][::-1]


def test_every_waiting_message_says_what_it_waits_for() -> None:
    """Its time, a retry, its key, its host's cap, or a node with room."""
    desk = Desk(open_memory(NOW), Limits(host_parallelism=1))
    desk.publish(item("http://later/", delay_ms=HOUR))
    desk.publish(item("http://retry/"))
    desk.settle(desk.claim(), DOWN)
    one, rate = Flow("one", parallelism=1), Flow("rate", rate=1, period_ms=MINUTE)
    desk.publish(item("http://key/", flow=one), item("http://key/", flow=one), room=1)
    desk.publish(item("http://rate/", flow=rate), item("http://rate/", flow=rate), room=1)
    desk.publish(item("http://cap/"), item("http://cap/"), room=1)
    desk.publish(item("http://nobody/"))

    assert why(desk) == [
        Waiting("delay", NOW + HOUR),
        Waiting("retry", NOW + 12_000),
        None,
        Waiting("flow_parallelism", None, "one", 1),
        None,
        Waiting("flow_rate", NOW + MINUTE, "rate", 1),
        None,
        Waiting("host_cap", None, "cap:80", 1),
        Waiting("node", place=1),
    ]


def test_what_is_under_way_or_rests_waits_for_nothing(desk: Desk) -> None:
    """The field is absent then."""
    desk.publish(item())
    (claimed,) = desk.claim()
    assert why(desk) == [None]
    desk.settle([claimed], Outcome(status=200))
    assert desk.history.message(1, claimed.message.id, NOW).waiting is None


@pytest.mark.promise("P-120", "F-20")
def test_the_story_of_a_message_stays_in_order_when_the_clock_steps(desk: Desk) -> None:
    """Whoever reads why a message failed must not read its end first, because an operator set the clock."""
    (accepted,) = desk.publish(item(retry=RetryPolicy(retries=1, expression="0")))
    for started, ended in ((NOW + HOUR, NOW), (NOW, NOW - HOUR)):  # It is set back during both attempts.
        desk.settle(desk.claim(now=started), DOWN, now=ended)

    story = desk.history.story(1, accepted.id, NOW)
    assert [event.kind.name for event in story.events] == [
        "CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED",
    ]  # fmt: skip
