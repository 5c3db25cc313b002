"""A schedule: a request that becomes a message again and again.

A tick is one instant of a schedule. What is due is decided by ``decide`` from the schedule and the time alone;
the broker stores the tick, its message and the next instant in one transaction, so that a crash
between two ticks neither repeats nor loses one. A tick's message is an ordinary publication that never asks
for duplicates: two ticks of the same content are two messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.durations import parse_duration
from lateron.core.options import Given, read, read_flag
from lateron.core.publish import PublishContext, build, read_request
from lateron.core.schedule import due_ticks, jitter, next_after, parse_cron
from lateron.core.values import DAY, SECOND, MessageId, Millis, Publication, Request, Tenant
from lateron.errors import InvalidValue, NotSupported, RequestError

PREFIX: Final = "scd_"  # Of ids that we make.
MAX_ID: Final = 128  # Characters.
MAX_JITTER: Millis = DAY
MOST_RUNS: Final = 1_000_000_000
FIRST_YEAR: Millis = 31_536_000 * SECOND  # An instant before 1971 is a mistake.

_ID: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._")


class Rules(Struct, frozen=True, omit_defaults=True):
    """How a schedule ticks, beside its cron."""

    delay_ms: Millis = 0  # Of each message behind its tick; the schedule itself does not move.
    missed: str = "latest"  # What becomes of ticks that passed unnoticed: skip, latest, all.
    overlap: str = "allow"  # What a tick does while messages of the one before do not rest: allow, skip.
    start: Millis | None = None  # No tick is earlier.
    end: Millis | None = None  # No tick is later.
    most_runs: int | None = None
    jitter_ms: Millis = 0


class Last(Struct, frozen=True):
    """The last tick that fired, and its messages."""

    time: Millis
    messages: tuple[MessageId, ...] = ()


class Schedule(Struct, frozen=True):
    """A schedule as it is stored."""

    key: bytes  # 16 bytes; names its ticks, and stays the same when it is overwritten.
    tenant: Tenant
    id: str
    cron: str  # As given, without blanks around it.
    created: Millis
    paused: bool
    due: Millis | None  # Of the next tick; None while it is paused and when it has ended.
    rules: Rules
    request: Request  # Its options name the schedule.
    runs: int = 0  # Ticks that fired.
    missed: int = 0  # Ticks dropped because they were missed; at least so many.
    skipped: int = 0  # Ticks dropped because the last one's message was not at rest.
    last: Last | None = None
    intact: bool = True  # False: the stored bytes do not match their digest; nothing is made of them.


class NewSchedule(Struct, frozen=True):
    """A schedule that a client asks for."""

    tenant: Tenant
    id: str | None  # None: make one.
    cron: str
    rules: Rules
    request: Request


class Decision(Struct, frozen=True):
    """What becomes of a schedule whose time has come."""

    schedule: Schedule  # As it must now be stored, but for ``last``.
    fire: tuple[Millis, ...]  # Ticks that make messages.
    missed: int = 0


def parse_schedule(
    target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes, context: PublishContext
) -> NewSchedule:
    """Read a schedule: a publish with ``Upstash-Cron``.

    Args:
        target: What follows ``/v2/schedules/`` or ``/v2/publish/`` in the request line, undecoded.
        headers: As received.
        body: Complete; empty means that there is none.
        context: Who asks, when, and under which limits.

    Raises:
        RequestError: Something cannot be read, or no date ever matches.
        NotSupported: It asks for a part of the API that is not built yet.
    """
    destination, config = read_request(target, headers)
    given = config.given
    cron = given.pop("cron", None)
    if cron is None:
        raise RequestError("Upstash-Cron: a schedule needs one")
    text = read(cron, _cron, "a cron expression like 0 4 * * MON-FRI, perhaps after CRON_TZ=Europe/Berlin")
    if "not-before" in given:
        raise RequestError(f"{given['not-before'].spelled}: a schedule has Upstash-Delay, and Lateron-Start")
    named = given.pop("schedule-id", None)
    rules = _rules(given, context.now)
    if "deduplication-id" in given or read_flag(config, "content-based-deduplication"):
        raise RequestError("Upstash-Deduplication-Id: each tick of a schedule makes its message; none is a duplicate")
    publication = build(destination, config, body or None, context)
    return NewSchedule(
        tenant=context.tenant,
        id=None if named is None else read(named, check_id, f"1 to {MAX_ID} letters, digits and any of -._"),
        cron=text,
        rules=replace(rules, delay_ms=publication.delay_ms),
        request=publication.request,
    )


def check_id(text: str) -> str:
    """Return the id of a schedule, if it may be one.

    Raises:
        ValueError: It may not.
    """
    if not 0 < len(text) <= MAX_ID or not _ID.issuperset(text) or text in {".", ".."}:
        raise ValueError
    return text


def begin(new: NewSchedule, schedule_id: str, key: bytes, now: Millis, *, paused: bool = False) -> Schedule:
    """Return a schedule as it is stored first.

    Raises:
        RequestError: It would never tick.
    """
    request = replace(new.request, options=replace(new.request.options, schedule=schedule_id))
    schedule = Schedule(key, new.tenant, schedule_id, new.cron, now, paused, None, new.rules, request)
    first = following(schedule, now)
    if first is None:
        raise RequestError("Upstash-Cron: it would never tick between Lateron-Start and Lateron-End")
    return schedule if paused else replace(schedule, due=first)


def following(schedule: Schedule, after: Millis) -> Millis | None:
    """Return the next tick later than an instant, paused or not; None if it has ended."""
    start = schedule.rules.start
    earliest = after if start is None else max(after, start - 1)
    return _unless_over(schedule, next_after(parse_cron(schedule.cron), earliest, schedule.created))


def _unless_over(schedule: Schedule, tick: Millis | None) -> Millis | None:
    """Return a tick, unless the schedule has ended before it."""
    rules = schedule.rules
    if rules.most_runs is not None and schedule.runs >= rules.most_runs:
        return None
    return None if tick is None or (rules.end is not None and tick > rules.end) else tick


def preview(schedule: Schedule, after: Millis, count: int) -> list[Millis]:
    """Return the next ticks, at most ``count``."""
    ticks: list[Millis] = []
    while len(ticks) < count:
        tick = following(replace(schedule, runs=schedule.runs + len(ticks)), ticks[-1] if ticks else after)
        if tick is None:
            break
        ticks.append(tick)
    return ticks


def paused(schedule: Schedule) -> Schedule:
    """Return the schedule at a halt; what would have ticked meanwhile is never made up for."""
    return replace(schedule, paused=True, due=None)


def resumed(schedule: Schedule, now: Millis) -> Schedule:
    """Return the schedule going on with its next tick; one that was not paused is left as it is."""
    return replace(schedule, paused=False, due=following(schedule, now)) if schedule.paused else schedule


def decide(schedule: Schedule, now: Millis, window: Millis, *, busy: bool) -> Decision:
    """Decide about a schedule that is due.

    Args:
        schedule: Its ``due`` is not later than ``now``.
        now: Time of the decision.
        window: How old a missed tick may be that is made up for.
        busy: A message of its last tick does not rest.
    """
    assert schedule.due is not None
    rules = schedule.rules
    until = now if rules.end is None else min(now, rules.end)
    due = due_ticks(parse_cron(schedule.cron), schedule.due, until, rules.missed, window, schedule.created)
    fire, skipped = due.fire if schedule.intact else (), 0
    if rules.overlap == "skip":
        # Of several at once, only one can find the way free.
        kept = fire[-1:] if not busy else ()
        fire, skipped = kept, len(fire) - len(kept)
    if rules.most_runs is not None:
        fire = fire[: rules.most_runs - schedule.runs]
    moved = replace(
        schedule,
        runs=schedule.runs + len(fire),
        missed=schedule.missed + due.missed,
        skipped=schedule.skipped + skipped,
    )
    # What follows ``until`` follows ``now`` too, or is later than the end; it need not be searched again.
    return Decision(replace(moved, due=_unless_over(moved, due.following)), fire, due.missed)


def publication(schedule: Schedule, tick: Millis | None) -> Publication:
    """Return the message of a tick; of none, when it is run by hand."""
    rules = schedule.rules
    if tick is None:
        return Publication(schedule.tenant, schedule.request, delay_ms=rules.delay_ms)
    late = jitter(schedule.key, tick, rules.jitter_ms)
    return Publication(schedule.tenant, schedule.request, not_before=tick + rules.delay_ms + late)


def _cron(text: str) -> str:
    parse_cron(text)
    return text


def _rules(given: dict[str, Given], now: Millis) -> Rules:
    """Take the options that only schedules have out of what is given."""

    def take(name: str, parse: Callable[[str], object], expected: str) -> object:
        found = given.pop(f"lateron-{name}", None)
        return None if found is None else read(found, parse, expected)

    spelled = given.get("lateron-overlap")
    found = {
        "missed": take("missed", _one_of("skip", "latest", "all"), "skip, latest or all"),
        "overlap": take("overlap", _one_of("allow", "skip", "queue"), "allow, skip or queue"),
        "start": take("start", _instant, "a unix time in seconds, or a date and time with its offset"),
        "end": take("end", _instant, "a unix time in seconds, or a date and time with its offset"),
        "most_runs": take("most-runs", _runs, "a whole number above 0"),
        "jitter_ms": take("jitter", _jitter, "a duration of at most a day"),
    }
    if found["overlap"] == "queue":
        assert spelled is not None
        raise NotSupported(
            f"{spelled.spelled}: queue is not supported yet; skip is, and a flow-control key with parallelism=1 "
            "lets the messages of a schedule wait for each other"
        )
    rules = Rules(**{name: value for name, value in found.items() if value is not None})  # type: ignore[arg-type]
    if rules.end is not None and rules.end <= max(now, rules.start or 0):
        raise InvalidValue("Lateron-End", rules.end, "a time in the future and later than Lateron-Start")
    return rules


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return parse


def _instant(text: str) -> Millis:
    if text.isascii() and text.isdigit() and len(text) <= 11:
        instant = int(text) * SECOND
    else:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("its offset is missing")
        instant = int(moment.timestamp() * 1000)
    if instant < FIRST_YEAR:
        raise ValueError("long past")
    return instant


def _runs(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:12]) <= MOST_RUNS:
        raise ValueError
    return int(text)


def _jitter(text: str) -> Millis:
    span = parse_duration(text)
    if span > MAX_JITTER:
        raise ValueError("longer than a day")
    return span
