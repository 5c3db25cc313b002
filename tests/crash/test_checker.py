"""The checker can fail: hand-made histories, each of them broken in one way.

The good history has one message of every kind that the kill loop makes, and is clean. Each case below changes
one thing that a faulty server could have done, and names the promises that the checker must then call
broken, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import pytest
from tests.crash.checker import check
from tests.crash.history import LOST, Arrival, Callback, Cancel, History, Life, Publish, Ticking, Verdict

T = TypeVar("T")

TAKEN = ("CREATED", "ACTIVE", "DELIVERED")
SECOND_TRY = ("CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED")
RESCUED = ("CREATED", "ACTIVE", LOST, "RETRY", "ACTIVE", "DELIVERED")
DEAD = ("CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED")
CANCELED = ("CREATED", "CANCEL_REQUESTED", "CANCELED")

LIVED = History(
    publishes=(
        Publish("once", 0, 1, Verdict.OK, "m-once", retries=3),
        Publish("retried", 0, 1, Verdict.OK, "m-retried", retries=3, callback=True),
        Publish("dead", 1, 2, Verdict.OK, "m-dead", retries=1, failure_callback=True),
        Publish("refused", 2, 3, Verdict.FAIL),
        Publish("crossed", 9, 12, Verdict.UNKNOWN, dedup="d-crossed", retries=1),
        Publish("crossed", 13, 14, Verdict.OK, "m-crossed", duplicate=True, dedup="d-crossed", retries=1),
        Publish("vanished", 9, 12, Verdict.UNKNOWN),
        Publish("unheard", 9, 12, Verdict.UNKNOWN, retries=1),
        Publish("later", 14, 15, Verdict.OK, "m-later", delay=3600),
        Publish("soon", 14, 15, Verdict.OK, "m-soon", delay=2),
    ),
    cancels=(Cancel("m-later", 16, 17, Verdict.OK),),
    arrivals=(
        Arrival("m-once", 0, "once", 1, 200),
        Arrival("m-retried", 0, "retried", 2, 500),
        Arrival("m-dead", 0, "dead", 3, 500),
        Arrival("m-dead", 1, "dead", 4, 500),
        Arrival("m-retried", 1, "retried", 5, 204),
        Arrival("m-crossed", 0, "crossed", 9.5, 200),
        Arrival("m-crossed", 0, "crossed", 12, 200),
        Arrival("m-unheard", 0, "unheard", 12.5, 200),
        Arrival("m-soon", 0, "soon", 16, 200),
    ),
    callbacks=(
        Callback("c-1", "m-retried"),
        Callback("c-2", "m-dead", "letter"),
        Callback("c-3", "m-retried"),
        Callback("c-3", "m-retried"),
    ),
    lives={
        "m-once": Life(TAKEN, "once"),
        "m-retried": Life(SECOND_TRY, "retried"),
        "m-dead": Life(DEAD, "dead", dead_letters=("letter",)),
        "m-crossed": Life(RESCUED, "crossed"),
        "m-unheard": Life(TAKEN, "unheard"),
        "m-later": Life(CANCELED, "later"),
        "m-soon": Life(TAKEN, "soon"),
        "c-1": Life(TAKEN, "report 1", source="m-retried"),
        "c-2": Life(TAKEN, "report 2", source="m-dead"),
        "c-3": Life(RESCUED, "report 3", source="m-retried"),
    },
    crashes=(10,),
)

# Beside it a run with lines, a key, a group and a schedule, after the crash; times of states in milliseconds.
LANES = History(
    publishes=(
        Publish("first", 20, 21, Verdict.OK, "m-first", retries=1, callback=True, line="single"),
        Publish("second", 22, 23, Verdict.OK, "m-second", line="single"),
        Publish("third", 22, 24, Verdict.OK, "m-third", line="single"),
        Publish("wide1", 20, 21, Verdict.OK, "m-wide1", retries=1, line="wide"),
        Publish("wide2", 22, 23, Verdict.OK, "m-wide2", retries=1, line="wide"),
        Publish("wide3", 24, 25, Verdict.OK, "m-wide3", line="wide"),
        Publish("key1", 40, 41, Verdict.OK, "m-key1", key="scarce"),
        Publish("key2", 40, 41, Verdict.OK, "m-key2", key="scarce"),
        Publish("fan/a", 50, 51, Verdict.OK, "m-fan-a", fan="told"),
        Publish("fan/b", 50, 51, Verdict.OK, "m-fan-b", fan="told"),
        Publish("out/a", 50, 51, Verdict.UNKNOWN, fan="unanswered"),
        Publish("out/b", 50, 51, Verdict.UNKNOWN, fan="unanswered"),
        Publish("tick", 0, 0, Verdict.OK, "m-tick1"),
        Publish("tick", 0, 0, Verdict.OK, "m-tick2"),
    ),
    arrivals=(
        Arrival("m-first", 0, "first", 21, 500),
        Arrival("m-first", 1, "first", 23, 200),
        Arrival("m-third", 0, "third", 25, 200),
        Arrival("m-second", 0, "second", 26, 200),
        Arrival("m-wide1", 0, "wide1", 31, 500),
        Arrival("m-wide2", 0, "wide2", 32, 500),
        Arrival("m-wide2", 1, "wide2", 35, 200),
        Arrival("m-wide3", 0, "wide3", 35.5, 200),
        Arrival("m-wide1", 1, "wide1", 36, 200),
        Arrival("m-key1", 0, "key1", 41, 200, until=43),
        Arrival("m-key2", 0, "key2", 43, 200, until=45),
        Arrival("m-fan-a", 0, "fan/a", 51, 200),
        Arrival("m-fan-b", 0, "fan/b", 51, 200),
        Arrival("m-tick1", 0, "tick", 52, 200),
        Arrival("m-tick2", 0, "tick", 53, 200),
    ),
    callbacks=(Callback("c-5", "m-first", at=22), Callback("c-6", "m-first", at=24)),
    lives={
        "m-first": Life(SECOND_TRY, "first", times=(20, 21, 22, 22, 23, 24)),
        "m-second": Life(TAKEN, "second", times=(22, 26, 27)),
        "m-third": Life(TAKEN, "third", times=(22, 25, 26)),
        "m-wide1": Life(SECOND_TRY, "wide1", times=(20, 31, 31, 31, 36, 36)),
        "m-wide2": Life(SECOND_TRY, "wide2", times=(20, 31, 32, 32, 35, 35)),
        "m-wide3": Life(TAKEN, "wide3", times=(20, 35, 36)),
        "m-key1": Life(TAKEN, "key1", times=(40, 41, 43)),
        "m-key2": Life(TAKEN, "key2", times=(40, 43, 45)),
        "m-fan-a": Life(TAKEN, "fan/a", times=(50, 51, 51)),
        "m-fan-b": Life(TAKEN, "fan/b", times=(50, 51, 51)),
        "m-tick1": Life(TAKEN, "tick", times=(1000, 1000, 1001), schedule="s"),
        "m-tick2": Life(TAKEN, "tick", times=(2007, 2007, 2008), schedule="s"),
        "c-5": Life(TAKEN, "report 5", source="m-first"),
        "c-6": Life(TAKEN, "report 6", source="m-first"),
    },
)
GOOD = History(
    publishes=(*LIVED.publishes, *LANES.publishes),
    cancels=LIVED.cancels,
    arrivals=(*LIVED.arrivals, *LANES.arrivals),
    callbacks=(*LIVED.callbacks, *LANES.callbacks),
    lives={**LIVED.lives, **LANES.lives},
    crashes=LIVED.crashes,
    lines={"single": 1, "wide": 2},
    keys={"scarce": 1},
    schedules=(Ticking("s", 0, 1000, 2000),),
)

Breakage = Callable[[History], History]


def changed(items: Iterable[T], index: int, **fields: object) -> tuple[T, ...]:
    """Return a log whose entry at ``index`` differs in some fields."""
    items = list(items)
    items[index] = replace(items[index], **fields)  # type: ignore[type-var]
    return tuple(items)


def life(name: str, states: tuple[str, ...], **fields: object) -> Breakage:
    """Let the engine tell another story of a message."""

    def tell(history: History) -> History:
        told = replace(history.lives[name], states=states, **fields)  # type: ignore[arg-type]
        return replace(history, lives={**history.lives, name: told})

    return tell


def arrival(name: str, retried: int, at: float, status: int, body: str = "") -> Breakage:
    """Let another request of a message arrive."""
    more = Arrival(name, retried, body or name.removeprefix("m-"), at, status)
    return lambda h: replace(h, arrivals=tuple(sorted((*h.arrivals, more), key=lambda a: a.at)))


def no_arrival(*names: str) -> Breakage:
    """Let no request of some messages arrive."""
    return lambda h: replace(h, arrivals=tuple(a for a in h.arrivals if a.id not in names))


def unknown_to_engine(*names: str) -> Breakage:
    """Let the engine know nothing of some messages."""
    return lambda h: replace(h, lives={name: told for name, told in h.lives.items() if name not in names})


def moved(name: str, retried: int, at: float, until: float | None = None) -> Breakage:
    """Let a request of a message arrive at another time."""

    def move(history: History) -> History:
        there = [
            replace(a, at=at, until=until) if (a.id, a.retried) == (name, retried) else a for a in history.arrivals
        ]
        return replace(history, arrivals=tuple(sorted(there, key=lambda a: a.at)))

    return move


def timed(name: str, *times: int) -> Breakage:
    """Let the engine tell other times of a message."""
    return lambda h: replace(h, lives={**h.lives, name: replace(h.lives[name], times=times)})


def published(publish: Publish) -> Breakage:
    """Let there be another call."""
    return lambda h: replace(h, publishes=(*h.publishes, publish))


def callback(one: Callback) -> Breakage:
    """Let another callback arrive."""
    return lambda h: replace(h, callbacks=(*h.callbacks, one))


def both(*breakages: Breakage) -> Breakage:
    """Do several changes, which together are one fault."""

    def change(history: History) -> History:
        for breakage in breakages:
            history = breakage(history)
        return history

    return change


def test_a_history_without_a_fault_is_clean() -> None:
    """Otherwise the cases below would show nothing; the one repeat crossed the crash."""
    report = check(GOOD)

    assert report.violations == (), str(report)
    assert report.repeats == 1


def test_an_empty_history_is_clean() -> None:
    """Nothing was promised."""
    assert check(History()).violations == ()


BROKEN: dict[str, tuple[Breakage, set[str]]] = {
    # Loss.
    "an acknowledged message is nowhere": (both(no_arrival("m-once"), unknown_to_engine("m-once")), {"P-1"}),
    "an acknowledged message waits for ever": (
        both(no_arrival("m-once"), life("m-once", ("CREATED",))),
        {"P-1"},
    ),
    "a message was taken but never comes to rest": (
        life("m-retried", ("CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE")),
        {"P-1", "P-40"},
    ),
    "a failed message left no dead letter": (life("m-dead", DEAD, dead_letters=()), {"P-28", "P-1", "P-41"}),
    "a message has two dead letters": (life("m-dead", DEAD, dead_letters=("letter", "other")), {"P-1"}),
    "a cancellation was refused and the message is gone": (
        both(
            lambda h: replace(h, cancels=(Cancel("m-later", 16, 17, Verdict.FAIL),)),
            unknown_to_engine("m-later"),
        ),
        {"P-1"},
    ),
    # Invention.
    "a message arrives that nobody published": (arrival("m-ghost", 0, 7, 200), {"P-2", "P-120"}),
    "a message is stored that nobody published": (
        lambda h: replace(h, lives={**h.lives, "m-ghost": Life(("CREATED",), "ghost")}),
        {"P-2", "P-4"},
    ),
    "a body was changed on its way": (lambda h: replace(h, arrivals=changed(h.arrivals, 0, body="bit rot")), {"P-2"}),
    "a body was exchanged for that of another message": (
        lambda h: replace(h, arrivals=changed(h.arrivals, 0, body="retried")),
        {"P-2", "P-4"},
    ),
    "a body was changed in the store": (life("m-once", TAKEN, body="bit rot"), {"P-2"}),
    # Refused, and unknown.
    "a refused message arrives": (arrival("m-refused", 0, 7, 200), {"P-2", "P-3", "P-120"}),
    "a refused message is stored": (
        lambda h: replace(h, lives={**h.lives, "m-refused": Life(("CREATED",), "refused")}),
        {"P-2", "P-3", "P-4"},
    ),
    "an unanswered publish left half a message": (
        both(no_arrival("m-unheard"), life("m-unheard", ("CREATED",))),
        {"P-4"},
    ),
    "an unanswered publish made two messages": (
        both(
            arrival("m-again", 0, 13, 200, "unheard"),
            lambda h: replace(h, lives={**h.lives, "m-again": Life(TAKEN, "unheard")}),
        ),
        {"P-4"},
    ),
    # Attempts.
    "an attempt was made twice without a crash": (
        lambda h: replace(h, crashes=(), arrivals=changed(h.arrivals, 5, status=500)),
        {"P-21", "P-32"},
    ),
    "a taken message was sent again without a crash": (lambda h: replace(h, crashes=()), {"P-22", "P-32"}),
    "the crash came before both": (lambda h: replace(h, crashes=(9,)), {"P-22"}),
    "the crash came after both": (lambda h: replace(h, crashes=(13,)), {"P-22"}),
    "one crash caused two repeats": (
        both(
            arrival("m-crossed", 0, 12.5, 200),
            life("m-crossed", (*RESCUED[:4], "ACTIVE", LOST, "RETRY", "ACTIVE", "DELIVERED")),
        ),
        {"P-22"},
    ),
    "more retries than were asked for": (
        lambda h: replace(h, publishes=changed(h.publishes, 1, retries=0)),
        {"P-21"},
    ),
    "given up before the retries were spent": (
        lambda h: replace(h, publishes=changed(h.publishes, 2, retries=2)),
        {"P-21"},
    ),
    "a crash cost a retry": (
        lambda h: replace(h, arrivals=changed(h.arrivals, 6, retried=1)),
        {"P-22"},
    ),
    "the count of retries begins with one": (
        lambda h: replace(h, arrivals=changed(h.arrivals, 0, retried=1)),
        {"P-23"},
    ),
    "the count of retries goes back": (
        both(
            arrival("m-dead", 0, 4.5, 500),
            life("m-dead", (*DEAD[:4], "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED")),
        ),
        {"P-23"},
    ),
    "delivered, and then retried": (
        both(arrival("m-once", 1, 7, 200), life("m-once", (*TAKEN, "ACTIVE", "DELIVERED"))),
        {"P-22"},
    ),
    # What the engine says.
    "an attempt is not on record": (
        both(arrival("m-soon", 0, 16.5, 500), lambda h: replace(h, crashes=(10, 16.2))),
        {"P-20", "P-120"},
    ),
    "an outcome of an attempt that nobody saw": (
        life("m-once", SECOND_TRY),
        {"P-20"},
    ),
    "called delivered after an answer of 500": (
        lambda h: replace(h, arrivals=changed(h.arrivals, 4, status=500)),
        {"P-1", "P-20"},
    ),
    "called failed although it was taken": (
        lambda h: replace(h, arrivals=changed(h.arrivals, 3, status=200)),
        {"P-20"},
    ),
    "a story without a beginning": (life("m-once", TAKEN[1:]), {"P-120"}),
    "a story that jumps": (life("m-retried", ("CREATED", "ACTIVE", "ERROR", "ACTIVE", "DELIVERED")), {"P-120"}),
    "a delivered message has a dead letter": (life("m-once", TAKEN, dead_letters=("x",)), {"P-28"}),
    "two ends": (life("m-once", (*TAKEN, "FAILED"), dead_letters=("x",)), {"P-20", "P-21", "P-22"}),
    # Deduplication.
    "one deduplication id, two messages": (
        both(
            arrival("m-twin", 0, 13, 200, "crossed"),
            lambda h: replace(h, lives={**h.lives, "m-twin": Life(TAKEN, "crossed")}),
        ),
        {"P-50"},
    ),
    "one deduplication id, two answers": (
        published(Publish("crossed", 15, 16, Verdict.OK, "m-once", duplicate=True, dedup="d-crossed")),
        {"P-50"},
    ),
    "a duplicate was not called one": (
        both(
            lambda h: replace(h, publishes=changed(h.publishes, 5, duplicate=False)),
            published(Publish("crossed", 15, 16, Verdict.OK, "m-crossed", dedup="d-crossed", retries=1)),
        ),
        {"P-51"},
    ),
    "a duplicate of nothing": (
        lambda h: replace(h, publishes=changed((*h.publishes[:4], *h.publishes[5:]), 4, start=9)),
        {"P-51"},
    ),
    # Callbacks.
    "a callback is missing": (
        lambda h: replace(h, callbacks=h.callbacks[1:], lives=without(h, "c-1")),
        {"P-40"},
    ),
    "a callback was made twice": (
        both(
            callback(Callback("c-4", "m-retried")),
            lambda h: replace(h, lives={**h.lives, "c-4": Life(TAKEN, "report 4", source="m-retried")}),
        ),
        {"P-40"},
    ),
    "a callback nobody asked for": (callback(Callback("c-4", "m-once")), {"P-40"}),
    "a failure callback is missing": (
        lambda h: replace(h, callbacks=(h.callbacks[0], *h.callbacks[2:]), lives=without(h, "c-2")),
        {"P-41"},
    ),
    "a failure callback of a delivered message": (callback(Callback("c-4", "m-once", "x")), {"P-41"}),
    "a failure callback names another dead letter": (
        lambda h: replace(h, callbacks=changed(h.callbacks, 1, dead_letter="other")),
        {"P-41"},
    ),
    "a callback never arrived": (
        lambda h: replace(h, lives={**h.lives, "c-4": Life(TAKEN, "report 4", source="m-dead")}),
        {"P-43"},
    ),
    "a callback waits for ever": (life("c-3", ("CREATED",)), {"P-43"}),
    # Cancellation and time.
    "an attempt began after a cancellation": (
        both(
            arrival("m-later", 0, 3700, 200),
            life("m-later", ("CREATED", "CANCEL_REQUESTED", "ACTIVE", "DELIVERED")),
        ),
        {"P-95", "P-120"},
    ),
    "a cancellation that was answered did nothing": (
        both(arrival("m-later", 0, 3700, 200), life("m-later", TAKEN)),
        {"P-95"},
    ),
    "both delivered and cancelled": (
        both(
            arrival("m-later", 0, 3700, 200),
            life("m-later", ("CREATED", "ACTIVE", "CANCEL_REQUESTED", "DELIVERED", "CANCELED")),
        ),
        {"P-22", "P-95"},
    ),
    # Order, limits, groups and schedules.
    "a message overtook one that was enqueued before": (
        both(
            moved("m-first", 0, 27),
            moved("m-first", 1, 28),
            timed("m-first", 20, 27, 27, 27, 28, 28),
            lambda h: replace(
                h, callbacks=tuple(replace(c, at=29.0) if c.source == "m-first" else c for c in h.callbacks)
            ),
        ),
        {"P-60"},
    ),
    "one of two places was given to the later message": (timed("m-wide1", 20, 33, 33, 33, 36, 36), {"P-60"}),
    "a message came between another one and its retry": (
        both(moved("m-third", 0, 22), timed("m-third", 20, 22, 23)),
        {"P-61"},
    ),
    "a message came before the callback of the one before": (
        lambda h: replace(h, callbacks=tuple(replace(c, at=25.5) if c.id == "c-6" else c for c in h.callbacks)),
        {"P-61"},
    ),
    "three messages held two places": (moved("m-wide3", 0, 34), {"P-62"}),
    "two attempts of a key were open at the receiver": (moved("m-key2", 0, 42, until=45), {"P-70"}),
    "two attempts of a key were open by the log": (timed("m-key2", 40, 42, 45), {"P-70"}),
    "a lost attempt freed its key before its loss was known": (
        both(
            life("m-key1", RESCUED, times=(40, 41, 44, 44, 45, 46)),
            lambda h: replace(h, crashes=(10, 41.5)),
            arrival("m-key1", 0, 45.5, 200),
        ),
        {"P-70"},
    ),
    "an endpoint of a group was told nothing": (
        both(no_arrival("m-fan-b"), unknown_to_engine("m-fan-b")),
        {"P-1", "P-90"},
    ),
    "an unanswered publish to a group reached one of two": (
        both(
            arrival("m-out", 0, 51, 200, "out/a"),
            lambda h: replace(h, lives={**h.lives, "m-out": Life(TAKEN, "out/a")}),
        ),
        {"P-90"},
    ),
    "a tick made two messages": (
        both(
            arrival("m-tick3", 0, 54, 200, "tick"),
            published(Publish("tick", 0, 0, Verdict.OK, "m-tick3")),
            lambda h: replace(h, lives={**h.lives, "m-tick3": replace(h.lives["m-tick2"])}),
        ),
        {"P-80"},
    ),
    "a tick made two messages and the next one none": (timed("m-tick2", 1999, 2007, 2008), {"P-80"}),
    "a tick made no message": (lambda h: replace(h, schedules=(Ticking("s", 0, 1000, 3000),)), {"P-81"}),
    "a delayed message came early": (lambda h: replace(h, arrivals=changed(h.arrivals, 8, at=15.5)), {"P-30"}),
}


def without(history: History, name: str) -> dict[str, Life]:
    return {known: told for known, told in history.lives.items() if known != name}


@pytest.mark.parametrize(("breakage", "promises"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_history_is_called_by_the_promise_it_breaks(breakage: Breakage, promises: set[str]) -> None:
    """A checker that cannot fail proves nothing; one that names the wrong promise sends people the wrong way."""
    report = check(breakage(GOOD))

    assert {violation.promise for violation in report.violations} == promises, str(report)


def test_an_open_attempt_may_arrive_after_its_cancellation() -> None:
    """The cancellation found it open: its request may be on the wire, and may even succeed."""
    history = both(
        arrival("m-later", 0, 3700, 500),
        life("m-later", ("CREATED", "ACTIVE", "CANCEL_REQUESTED", "ERROR", "CANCELED")),
    )(GOOD)

    assert check(history).violations == ()


def test_an_unanswered_cancellation_may_have_happened_or_not() -> None:
    """Its client must look, and so must the checker."""
    unanswered = replace(GOOD, cancels=(Cancel("m-later", 16, 17, Verdict.UNKNOWN),))

    assert check(unanswered).violations == ()
    assert check(both(arrival("m-later", 0, 3700, 200), life("m-later", TAKEN))(unanswered)).violations == ()


def test_each_rule_about_a_promise_is_broken_by_some_history() -> None:
    """A rule that no case breaks is not tested."""
    named = {promise for _, promises in BROKEN.values() for promise in promises}
    ruled = "P-1 P-2 P-3 P-4 P-20 P-21 P-22 P-23 P-28 P-30 P-32 P-40 P-41 P-43 P-50 P-51 P-95 P-120"
    lanes = "P-60 P-61 P-62 P-70 P-80 P-81 P-90"

    assert named == set(ruled.split()) | set(lanes.split())


def test_what_a_key_holds_back_may_be_overtaken_in_a_wide_queue() -> None:
    """It has its place, in order; but a place is no start while the key has none free."""
    overtaken = timed("m-wide1", 20, 33, 33, 33, 36, 36)
    keyed = [replace(p, key="free") if p.id == "m-wide1" else p for p in GOOD.publishes]

    assert check(overtaken(replace(GOOD, publishes=keyed, keys={"scarce": 1, "free": 9}))).violations == ()


def test_concurrent_calls_have_any_order() -> None:
    """Nobody can say which of two came first that were under way together; the third is sent before the second."""
    assert [a.id for a in GOOD.arrivals if a.id in {"m-second", "m-third"}] == ["m-third", "m-second"]
    assert check(GOOD).violations == ()
