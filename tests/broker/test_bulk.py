"""Cancel, redrive, delete, retention: each item once, nothing that is alive."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.broker.conftest import NOW, Desk, item

from lateron.broker import bulk
from lateron.broker.bulk import NEWEST, Deleted, Redriven
from lateron.broker.rehearsal import NEWEST_LETTER
from lateron.broker.views import Limits
from lateron.core.values import (
    DAY,
    HOUR,
    MINUTE,
    CallbackOptions,
    Filter,
    Outcome,
    Overrides,
    Redaction,
    RetryPolicy,
    State,
)
from lateron.store.sqlite import open_memory

DOWN, OK = Outcome(status=500, body=b"no"), Outcome(status=200)


def dead(desk: Desk, *urls: str) -> None:
    """Let messages fail for good."""
    desk.publish(*[item(url, retry=RetryPolicy(retries=0)) for url in urls])
    desk.settle(desk.claim(), DOWN)


@pytest.mark.promise("P-95", "P-96")
def test_cancel_takes_what_matches_and_counts_it(desk: Desk) -> None:
    """Waiting, retrying and open messages all count; those at rest do not."""
    desk.publish(item("http://done/"))
    desk.settle(desk.claim(), OK)
    desk.publish(item("http://retrying/"))
    desk.settle(desk.claim(), DOWN)
    desk.publish(item("http://open/"))
    held = desk.claim()
    desk.publish(item("http://later/", delay_ms=HOUR))

    assert desk.broker.cancel(1, Filter(hosts=("later",)), NOW).count == 1
    assert desk.broker.cancel(1, Filter(), NOW).count == 2
    assert desk.broker.cancel(1, Filter(), NOW).count == 0
    desk.settle(held, DOWN)
    assert desk.history.pending(1, Filter(), None, 10, NOW).items == ()
    assert desk.history.dead_letters(1, Filter(), None, 10).items == ()


@pytest.mark.promise("P-96")
def test_cancel_goes_on_where_it_stopped(desk: Desk) -> None:
    """A thousand messages in pieces, each once; a limit is kept exactly."""
    for _ in range(12):
        desk.publish(*[item(delay_ms=HOUR)] * 100)

    assert desk.broker.cancel(1, Filter(), NOW, limit=7).count == 7
    counts, before = [], NEWEST
    while True:
        piece = desk.broker.cancel(1, Filter(), NOW, before=before)
        counts.append(piece.count)
        if piece.before is None:
            break
        before = piece.before

    assert sum(counts) == 1193
    assert max(counts) <= 500


@pytest.mark.promise("P-96")
def test_cancel_by_ids_skips_unknown_and_foreign_ones(desk: Desk) -> None:
    """An id of another tenant is unknown here."""
    (mine,), (yours,) = desk.publish(item(delay_ms=1)), desk.publish(item(delay_ms=1, tenant=2))

    assert desk.broker.cancel(1, Filter(message_ids=(mine.id, yours.id, mine.id)), NOW).count == 1


@pytest.mark.promise("P-97")
def test_a_dead_letter_is_retried_once(desk: Desk) -> None:
    """The record goes and the message comes in one transaction; body and headers are the originals."""
    dead(desk, "http://one/", "http://two/")

    both = desk.broker.redrive(1, Filter(), Overrides(retries=1), NOW)

    assert len(both.messages) == 2
    assert desk.broker.redrive(1, Filter(), Overrides(), NOW) == Redriven(())
    assert [(c.request.body, c.message.retries) for c in desk.claim()] == [(b"body", 1)] * 2


@pytest.mark.promise("P-97", "P-110")
def test_a_redrive_of_a_redacted_message_sends_the_original(desk: Desk) -> None:
    """Redaction is for readers; the destination gets what was published."""
    desk.publish(item(redact=Redaction(body=True), retry=RetryPolicy(retries=0)))
    desk.settle(desk.claim(), DOWN)
    desk.broker.redrive(1, Filter(), Overrides(), NOW)

    assert desk.claim()[0].request.body == b"body"


@pytest.mark.promise("P-96", "P-98")
def test_dead_letters_are_paged_deleted_and_filtered(desk: Desk) -> None:
    """Each record once, newest first; a status that nobody answered matches nothing."""
    dead(desk, *["http://one/"] * 7, *["http://two/"] * 3)

    seen, cursor = list[bytes](), None
    while True:
        page = desk.history.dead_letters(1, Filter(), cursor, 4)
        seen += [view.dead.message for view in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 10
    assert len(desk.history.dead_letters(1, Filter(statuses=(500,)), None, 100).items) == 10
    assert desk.history.dead_letters(1, Filter(statuses=(404,)), None, 100).items == ()
    assert desk.broker.delete_dead(1, Filter(hosts=("two",))).count == 3
    first = desk.broker.delete_dead(1, Filter(), limit=5)
    assert (first.count, first.before is None) == (5, False)
    assert desk.broker.delete_dead(1, Filter(), limit=5).count == 2
    assert desk.broker.delete_dead(2, Filter()).count == 0


@pytest.mark.promise("P-96", "P-97")
@pytest.mark.parametrize("what", ["delete", "retry"])
def test_where_few_dead_letters_are_meant_a_call_still_looks_at_a_few_pages_only(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Nobody else can write meanwhile. It says how far it has looked, not what it has found last."""
    monkeypatch.setattr(bulk, "PAGE", 2)
    dead(desk, "http://old/")
    dead(desk, *["http://other/"] * (5 * bulk.PAGES))
    dead(desk, "http://new/")
    letters = desk.history.dead_letters(1, Filter(), None, 100).items
    keys = [(view.dead.time, view.dead.message) for view in letters]

    def piece(before: tuple[int, bytes]) -> tuple[int, tuple[int, bytes] | None]:
        if what == "delete":
            deleted = desk.broker.delete_dead(1, Filter(hosts=("new", "old")), before=before)
            return deleted.count, deleted.before
        redriven = desk.broker.redrive(1, Filter(hosts=("new", "old")), Overrides(), NOW, before=before)
        return len(redriven.messages), redriven.before

    looked_at = 2 * bulk.PAGES
    first = piece(NEWEST_LETTER)
    assert first == (1, keys[looked_at - 1])
    second = piece(keys[looked_at - 1])
    assert second == (0, keys[2 * looked_at - 1])
    assert piece(keys[2 * looked_at - 1]) == (1, None)
    assert len(desk.history.dead_letters(1, Filter(), None, 100).items) == 5 * bulk.PAGES


@pytest.mark.promise("P-96")
def test_dead_letters_are_named_by_their_messages_without_looking_for_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for one message gets it, or nothing, in one answer, however many there are; and only his own."""
    monkeypatch.setattr(bulk, "PAGE", 2)
    (old,) = desk.publish(item(retry=RetryPolicy(retries=0)))
    (theirs,) = desk.publish(item(tenant=2, retry=RetryPolicy(retries=0)))
    desk.settle(desk.claim(), DOWN)
    (waiting,) = desk.publish(item(delay_ms=HOUR))
    dead(desk, *["http://other/"] * (3 * bulk.PAGES))
    named = Filter(message_ids=(old.id, theirs.id, waiting.id, old.id))

    page = desk.history.dead_letters(1, named, None, 100)

    assert ([view.message.id for view in page.items], page.cursor) == ([old.id], None)
    assert desk.broker.delete_dead(1, replace(named, statuses=(404,))) == Deleted(0)
    assert desk.broker.delete_dead(1, named) == Deleted(1)
    assert desk.broker.delete_dead(1, named) == Deleted(0)


@pytest.mark.promise("P-98")
def test_retention_takes_what_rests_and_is_old(desk: Desk) -> None:
    """A message that waits for a year stays; so does a dead letter, and what it shows, for its own time."""
    dead(desk, "http://dead/")
    desk.publish(item("http://done/"))
    desk.settle(desk.claim(), OK)
    desk.publish(item("http://waits/", delay_ms=365 * DAY))

    desk.broker.sweep(NOW + 3 * DAY)
    assert len(desk.dump()["message"]) == 3
    desk.broker.sweep(NOW + 3 * DAY + 1)
    assert sorted(str(row[2]) for row in desk.dump()["request"]) == ["http://dead/", "http://waits/"]  # type: ignore[index]
    assert desk.dump()["event"] == []
    assert len(desk.history.dead_letters(1, Filter(), None, 10).items) == 1

    desk.broker.sweep(NOW + 30 * DAY + 1)
    assert [str(row[2]) for row in desk.dump()["request"]] == ["http://waits/"]  # type: ignore[index]
    assert desk.dump()["dead_letter"] == []
    assert len(desk.claim(now=NOW + 365 * DAY)) == 1


def test_a_full_store_gives_up_its_oldest_history_but_nothing_readable(desk: Desk) -> None:
    """Over the size limit age does not count, but a message stays readable shortly after its end."""
    desk.publish(item())
    desk.settle(desk.claim(), OK)

    desk.broker.sweep(NOW + MINUTE, over_size=True)
    assert len(desk.dump()["message"]) == 1
    desk.broker.sweep(NOW + 10 * MINUTE + 1, over_size=True)
    assert desk.dump()["message"] == []


@pytest.mark.promise("P-78")
def test_idle_lanes_are_collected(desk: Desk) -> None:
    """A host that nobody calls any more costs nothing, once its last message cannot be read either."""
    desk.publish(item())
    desk.settle(desk.claim(), OK)
    desk.publish(item("http://waits/", delay_ms=HOUR))

    desk.broker.sweep(NOW + 9 * MINUTE)
    assert len(desk.dump()["lane"]) == 2
    desk.broker.sweep(NOW + 11 * MINUTE)

    assert [row[3] for row in desk.dump()["lane"]] == ["waits:80"]  # type: ignore[index]


@pytest.mark.promise("P-78")
def test_idle_lanes_are_collected_in_pieces(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million idle keys are looked at bit by bit, so that no transaction waits for all of them; none is forgotten."""
    monkeypatch.setattr("lateron.broker.bulk.LANES", 2)
    desk.publish(*[item(f"http://host-{i}/") for i in range(5)])
    desk.settle(desk.claim(), OK)

    left = []
    while desk.broker.sweep(NOW + 11 * MINUTE):
        left.append(len(desk.dump()["lane"]))

    assert left == [3, 1]
    assert desk.dump()["lane"] == []
    assert not desk.broker.sweep(NOW + 11 * MINUTE)


@pytest.mark.promise("P-41", "P-42")
def test_a_failure_callback_names_a_dead_letter_that_resolves(desk: Desk) -> None:
    """Its ``dlqId`` is the record's."""
    options = CallbackOptions("http://failed/")
    desk.publish(item(retry=RetryPolicy(retries=0), failure_callback=options))
    desk.settle(desk.claim(), DOWN)

    (callback,) = desk.claim()
    (letter,) = desk.history.dead_letters(1, Filter(), None, 10).items
    assert f"{letter.dead.time}-{letter.dead.message.hex()}".encode() in (callback.request.body or b"")
    assert desk.history.dead_letter(1, letter.dead.time, letter.dead.message).message.state is State.FAILED


def test_limits_have_defaults() -> None:
    """The contract's retention: 10 minutes, 3 days, 30 days."""
    limits = Limits()
    assert Desk(open_memory(NOW), limits).limits is limits
    assert (limits.message_retention_ms, limits.history_retention_ms) == (10 * MINUTE, 3 * DAY)
    assert limits.dead_letter_retention_ms == 30 * DAY
