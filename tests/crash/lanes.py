"""Judges what a run promises about order, limits, groups and schedules.

A *line* is a queue or an ordering key. Seen from outside, a message holds its line at least from its first
request to its last one, those of its callbacks included; what the engine held before and after cannot be seen, so a
rule on these spans never accuses a correct server.

Attempts of a flow-control key are counted twice: as the receiver saw them, from request to answer, and as the
engine's own log tells it, where an attempt of a dead node stays open until its loss is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, permutations
from typing import NamedTuple

from tests.crash.history import Case, History, Publish, Verdict, Violation

Rule = Callable[[History, Sequence[Case]], Iterator[Violation]]


class Span(NamedTuple):
    """From when to when something is known to have been so; its end is free for the next."""

    begin: float
    end: float
    id: str


def ordered(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-60: what was enqueued before another call began starts before it.

    The receiver shows it where one place makes requests follow each other; else the log does, to the millisecond,
    but for messages that have a flow-control key: each takes its place in order, and may then wait for its key, or
    pass one that waits for its host, which after a start has only few places.
    """
    for name, line in by(cases, "line").items():
        placed = [(span, case) for case in line if case.arrivals and (span := placing(case)) is not None]
        for (first, before), (second, after) in permutations(placed, 2):
            if first.end >= second.begin:
                continue
            if history.lines[name] == 1 and before.arrivals[0].at > after.arrivals[0].at:
                yield Violation("P-60", after.id, f"was sent before {before.id}, which stood before it in {name}")
            elif before.owners[0].key is after.owners[0].key is None and begun(before) > begun(after):
                yield Violation("P-60", after.id, f"began before {before.id}, which stood before it in {name}")


def begun(case: Case) -> int:
    """Return when a message was first started by the engine's log; 0 if that is not told."""
    if case.life is None or "ACTIVE" not in case.states or not case.life.times:
        return 0
    return case.life.times[case.states.index("ACTIVE")]


def placing(case: Case) -> Span | None:
    """Return when a message took its place: after its first call began, before one that answered ended."""
    calls = [call for call in case.owners if call.start > 0]  # Nobody called for the message of a tick.
    answered = [call.end for call in calls if call.verdict is Verdict.OK]
    return Span(min(call.start for call in calls), min(answered), case.id) if answered else None


def held(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-61, P-62: no more messages than its parallelism hold a line at once."""
    for name, line in by(cases, "line").items():
        most = history.lines[name]
        spans = [holding(case) for case in line if case.arrivals]
        for late, together in crowded(spans, most):
            promise = "P-61" if most == 1 else "P-62"
            yield Violation(promise, late, f"held {name} together with {', '.join(together)}, of {most} places")


def holding(case: Case) -> Span:
    """Return from when to when a message surely held its line."""
    ends = [arrival.at for arrival in case.arrivals] + [callback.at for callback in case.callbacks]
    return Span(case.arrivals[0].at, max(ends), case.id)


def keyed(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-70: no more attempts of a key are open at once than it allows, at the receiver and in the log."""
    for name, mine in by(cases, "key").items():
        most = history.keys[name]
        seen = [Span(a.at, a.until if a.until is not None else a.at, case.id) for case in mine for a in case.arrivals]
        told = [span for case in mine for span in attempts(case)]
        for late, together in crowded(seen, most):
            yield Violation("P-70", late, f"was open at the receiver with {', '.join(together)}; {name} allows {most}")
        for late, together in crowded(told, most):
            yield Violation("P-70", late, f"is on record as open with {', '.join(together)}; {name} allows {most}")


def attempts(case: Case) -> Iterator[Span]:
    """Yield when attempts of a message were open by the engine's log, in milliseconds."""
    if case.life is None or not case.life.times:
        return
    for (state, begin), (_, end) in pairwise(zip(case.life.states, case.life.times, strict=True)):
        if state == "ACTIVE":
            yield Span(begin, end, case.id)


def crowded(spans: Sequence[Span], most: int) -> Iterator[tuple[str, list[str]]]:
    """Yield what began while as many others as may be were there, with these."""
    there: list[Span] = []
    for span in sorted(spans):
        there = [other for other in there if other.end > span.begin]
        if len(there) >= most:
            yield span.id, [other.id for other in there]
        there.append(span)


def grouped(history: History, cases: Sequence[Case]) -> Iterator[Violation]:
    """P-90: a publish to a group makes a message for every endpoint, or none."""
    known = {body for case in cases for body in bodies(case)}
    fans: dict[str, set[str]] = defaultdict(set)
    for publish in history.publishes:
        if publish.fan is not None:
            fans[publish.fan].add(publish.body)
    for fan, made in fans.items():
        if made & known and made - known:
            yield Violation("P-90", fan, f"{len(made & known)} messages for {len(made)} endpoints")


def bodies(case: Case) -> set[str]:
    """Return the bodies under which receiver or engine know a message."""
    return {arrival.body for arrival in case.arrivals} | ({case.life.body} if case.life is not None else set())


def ticked(history: History, _: Sequence[Case]) -> Iterator[Violation]:
    """P-80, P-81: each tick made one message, and none was made before its tick."""
    for schedule in history.schedules:
        made = sorted(life.times[0] for life in history.lives.values() if life.schedule == schedule.id)
        owed = range(schedule.anchor + schedule.every, schedule.last + 1, schedule.every)
        early = [number for number, (at, tick) in enumerate(zip(made, owed, strict=False)) if at < tick]
        if early or len(made) > len(owed):
            number = early[0] if early else len(owed)
            yield Violation("P-80", schedule.id, f"message {number + 1} was made when there had been {number} ticks")
        if len(made) < len(owed):
            yield Violation("P-81", schedule.id, f"{len(owed)} ticks are behind it, {len(made)} messages were made")


def by(cases: Sequence[Case], name: str) -> dict[str, list[Case]]:
    """Return the cases of each line or key."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        owner: Publish | None = case.owners[0] if case.owners else None
        value = getattr(owner, name) if owner is not None else None
        if value is not None:
            found[value].append(case)
    return found


RULES: Sequence[Rule] = (ordered, held, keyed, grouped, ticked)
