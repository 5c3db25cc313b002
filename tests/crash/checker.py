"""Judges a run by what others saw of it.

The witnesses are those of ``history``; the rules about order, limits, groups and schedules stand in ``lanes``.

What it supposes of the run, so that every rule below can be exact: all times but the server's are those of
one monotonic clock; each publication has a body of its own, and is repeated, if at all, with the same
deduplication id inside its window; the receiver is up all the time and never says 489; a crash has one
instant, before which the last request of the dead process is logged, and after which the first of its
successor; the run ends with all faults healed and enough time to come to rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.crash import lanes
from tests.crash.history import LOST, Arrival, Case, History, Publish, Report, Verdict, Violation

EARLY_S = 0.25  # By how much clocks may differ: the server counts a delay by its own.

FINAL = frozenset({"DELIVERED", "FAILED", "CANCELED"})
FOLLOWERS: Mapping[str, frozenset[str]] = {
    "": frozenset({"CREATED"}),
    "CREATED": frozenset({"ACTIVE", "CANCEL_REQUESTED"}),
    "ACTIVE": frozenset({"DELIVERED", "ERROR", LOST, "CANCEL_REQUESTED"}),
    "ERROR": frozenset({"RETRY", "FAILED", "CANCELED"}),
    LOST: frozenset({"RETRY", "CANCELED"}),
    "RETRY": frozenset({"ACTIVE", "CANCEL_REQUESTED"}),
    "CANCEL_REQUESTED": frozenset({"DELIVERED", "ERROR", LOST, "CANCELED"}),
}

Found = Iterator[tuple[str, str]]  # Promise, and what is wrong.


def check(history: History) -> Report:
    """Compare the witnesses of a run."""
    cases = gather(history)
    found = [
        Violation(promise, case.id, what)
        for case in cases
        for rule in (lost, invented, attempts, story, outcomes, calls_back, cancelled, early)
        for promise, what in rule(case, history)
    ]
    for whole in (refused, multiplied, doubled, *lanes.RULES):
        found += whole(history, cases)
    return Report(tuple(found), sum(len(repeats(case)) for case in cases))


def gather(history: History) -> list[Case]:
    """Bring together what each witness says of each message; callbacks are no cases, but reports on one."""
    reports = {callback.id for callback in history.callbacks}
    reports |= {name for name, life in history.lives.items() if life.source is not None}
    cases: dict[str, Case] = {}
    publishes = defaultdict(list)

    def case(name: str) -> Case:
        return cases.setdefault(name, Case(name))

    for publish in history.publishes:
        publishes[publish.body].append(publish)
        if publish.id is not None:
            case(publish.id).calls.append(publish)
    for arrival in history.arrivals:
        case(arrival.id).arrivals.append(arrival)
    for name, life in history.lives.items():
        if name not in reports:
            case(name).life = life
    for callback in history.callbacks:
        case(callback.source).callbacks.append(callback)
    for cancel in history.cancels:
        case(cancel.id).cancels.append(cancel)
    for one in cases.values():
        one.owners = owners(one, publishes)
    return list(cases.values())


def owners(case: Case, publishes: Mapping[str, Sequence[Publish]]) -> list[Publish]:
    """Return the calls that may have created a message: those told its id, and unanswered ones of its body."""
    bodies = {call.body for call in case.calls}
    if not bodies:
        bodies = {arrival.body for arrival in case.arrivals} | ({case.life.body} if case.life else set())
    unanswered = [p for body in sorted(bodies) for p in publishes.get(body, ()) if p.verdict is Verdict.UNKNOWN]
    return case.calls + unanswered


# Rules about one message.


def lost(case: Case, _: History) -> Found:
    """P-1, and P-4 for a message that nobody was told of: it comes to rest as one that was."""
    asked = any(cancel.verdict is not Verdict.FAIL for cancel in case.cancels)
    promise = "P-1" if case.calls else "P-4"
    if not (case.delivered or case.dead_letters or asked):
        yield promise, "neither delivered, nor a dead letter, nor cancelled"
    elif case.states and case.states[-1] not in FINAL:
        yield promise, f"still {case.states[-1]} after the end"
    if len(case.dead_letters) > 1:
        yield "P-1", f"{len(case.dead_letters)} dead letters"


def invented(case: Case, _: History) -> Found:
    """P-2: each request was published, with this body."""
    if not case.owners:
        yield "P-2", "nobody has published it"
        return
    published = {publish.body for publish in case.owners}
    if any(arrival.body not in published for arrival in case.arrivals):
        yield "P-2", "arrived with another body"
    if case.life is not None and case.life.body not in published:
        yield "P-2", "is stored with another body"


def attempts(case: Case, history: History) -> Found:
    """P-21, P-22, P-23: what may follow which request, and how often."""
    retries = max((publish.retries for publish in case.owners), default=0)
    if case.arrivals and case.arrivals[0].retried != 0:
        yield "P-23", f"its first request says {case.arrivals[0].retried} retries"
    for before, after in pairwise(case.arrivals):
        crashed = any(before.at < crash < after.at for crash in history.crashes)
        step = after.retried - before.retried
        if before.accepted and not (crashed and step == 0):
            yield "P-22", "sent again though it was taken"
        elif step == 0 and not crashed:
            yield "P-21", "an attempt was made twice though nothing crashed in between"
        elif step not in {0, 1}:
            yield "P-23", f"retry {after.retried} came after {before.retried}"
    most = max((arrival.retried for arrival in case.arrivals), default=0)
    if most > retries:
        yield "P-21", f"{most} retries of {retries}"
    if case.states[-1:] == ("FAILED",) and most < retries:
        yield "P-21", f"given up after {most} retries of {retries}"


def repeats(case: Case) -> list[Arrival]:
    """Return the requests that made an attempt again."""
    return [after for before, after in pairwise(case.arrivals) if after.retried == before.retried]


def story(case: Case, history: History) -> Found:
    """P-22, P-120: the engine tells a story that can be, and one that the receiver confirms."""
    for before, after in pairwise(("", *case.states)):
        if before in FINAL:
            yield "P-22", f"{after} after {before}"
        elif after not in FOLLOWERS[before]:
            yield "P-120", f"{after} after {before or 'nothing'}"
    begun, seen = case.states.count("ACTIVE"), len(case.arrivals)
    answered = begun - case.states.count(LOST)
    if seen > begun:
        yield "P-120", f"{seen} requests arrived, {begun} attempts are on record"
    elif seen < answered and case.states[-1:] != ("ACTIVE",):
        yield "P-20", f"{answered} attempts were answered, {seen} requests arrived"
    elif seen > answered and not history.crashes and case.states[-1:] != ("ACTIVE",):
        yield "P-32", "an attempt that was given back had been sent"


def outcomes(case: Case, _: History) -> Found:
    """P-20, P-28: the end is that of the last attempt, and a failed message is a dead letter."""
    end = case.states[-1] if case.states else ""
    taken = bool(case.arrivals) and case.arrivals[-1].accepted
    if end == "DELIVERED" and not taken:
        yield "P-20", "called delivered, but the receiver did not take it"
    if end == "FAILED" and taken:
        yield "P-20", "called failed, but the receiver took it"
    if (end == "FAILED") != bool(case.dead_letters):
        yield "P-28", f"{end or 'unheard of'}, and {len(case.dead_letters)} dead letters"


def calls_back(case: Case, history: History) -> Found:
    """P-40, P-41: one callback for each attempt that was answered, one failure callback for each failure."""
    asked = case.owners[0] if case.owners else None
    failures = {c.id: c.dead_letter for c in case.callbacks if c.dead_letter is not None}
    others = {c.id for c in case.callbacks if c.dead_letter is None}
    # An attempt that ends in a cancellation reports nothing.
    answered = sum(
        (state == "DELIVERED" or (state == "ERROR" and after != "CANCELED"))
        for state, after in pairwise((*case.states, ""))
    )
    if len(others) != (answered if asked and asked.callback else 0):
        yield "P-40", f"{len(others)} callbacks for {answered} attempts"
    wanted = asked is not None and asked.failure_callback and case.states[-1:] == ("FAILED",)
    if len(failures) != wanted:
        yield "P-41", f"{len(failures)} failure callbacks"
    elif set(failures.values()) - set(case.dead_letters):
        yield "P-41", "the failure callback names another dead letter"
    told = {name: life for name, life in history.lives.items() if life.source == case.id}
    if any(life.states[-1] not in FINAL for life in told.values()):
        yield "P-43", "a callback has not come to rest"
    if set(told) - set(failures) - others:
        yield "P-43", "a callback was made and never arrived"


def cancelled(case: Case, _: History) -> Found:
    """P-95: once a cancellation is answered nothing starts; only what was open may still arrive."""
    ended = [cancel.end for cancel in case.cancels if cancel.verdict is Verdict.OK]
    if not ended:
        return
    if "CANCEL_REQUESTED" not in case.states:
        yield "P-95", "a cancellation that was answered is not on record"
        return
    asked = case.states.index("CANCEL_REQUESTED")
    late = [arrival for arrival in case.arrivals if arrival.at > ended[0]]
    if "ACTIVE" in case.states[asked:] or len(late) > (case.states[asked - 1] == "ACTIVE"):
        yield "P-95", "an attempt began after the cancellation"
    if {"DELIVERED", "CANCELED"} <= set(case.states):
        yield "P-95", "both delivered and cancelled"


def early(case: Case, _: History) -> Found:
    """P-30: nothing arrives before its time, counted from the first call that may have created it."""
    if case.arrivals and case.owners:
        due = min(publish.start + publish.delay for publish in case.owners)
        if case.arrivals[0].at < due - EARLY_S:
            yield "P-30", f"arrived {due - case.arrivals[0].at:.3f} s early"


# Rules about a whole run.


def refused(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-3: what was only ever refused is nowhere."""
    possible = {publish.body for publish in history.publishes if publish.verdict is not Verdict.FAIL}
    never = {publish.body for publish in history.publishes} - possible
    for case in cases:
        if any(arrival.body in never for arrival in case.arrivals):
            yield Violation("P-3", case.id, "was refused, and arrived")
        if case.life is not None and case.life.body in never:
            yield Violation("P-3", case.id, "was refused, and is stored")


def multiplied(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-4: one call makes one message, or none."""
    made = messages_by_body(cases)
    calls = by_body(history)
    for body, ids in made.items():
        able = [call for call in calls.get(body, ()) if call.verdict is not Verdict.FAIL]
        if able and able[0].dedup is None and len(ids) > len(able):
            yield Violation("P-4", body, f"{len(ids)} messages of {len(able)} calls")


def doubled(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-50, P-51: equal deduplication ids are one message, and whoever comes second is told so."""
    made = messages_by_body(cases)
    for body, calls in by_body(history).items():
        if calls[0].dedup is None:
            continue
        answered = [call for call in calls if call.verdict is Verdict.OK]
        known = made.get(body, set()) | {call.id for call in answered if call.id is not None}
        if len(known) > 1:
            yield Violation("P-50", body, f"{len(known)} messages under one deduplication id")
        if sum(not call.duplicate for call in answered) > 1:
            yield Violation("P-51", body, "two calls were told that they had created it")
        if answered and all(c.duplicate for c in answered) and all(c.verdict is not Verdict.UNKNOWN for c in calls):
            yield Violation("P-51", body, "a duplicate of nothing")


def messages_by_body(cases: Sequence[Case]) -> dict[str, set[str]]:
    """Return the ids under which a body is known to receiver or engine."""
    made: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        for arrival in case.arrivals:
            made[arrival.body].add(case.id)
        if case.life is not None:
            made[case.life.body].add(case.id)
    return made


def by_body(history: History) -> dict[str, list[Publish]]:
    """Return the calls of each publication, in order."""
    calls: dict[str, list[Publish]] = defaultdict(list)
    for publish in history.publishes:
        calls[publish.body].append(publish)
    return calls
