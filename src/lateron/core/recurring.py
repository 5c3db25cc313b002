"""A schedule: a request that becomes a message again and again.

A tick is one instant of a schedule; one that fires is a run. What is due is decided by ``decide`` from the
schedule and the time alone; the broker stores the ticks, their messages and the next instant in one
transaction, so that a crash between two ticks neither repeats nor loses one. A run's messages are ordinary
publications that never ask for duplicates: two runs of the same content are two messages.

A schedule to a URL group keeps the request as it came, and each run publishes it to the group as that then is:
a message for every endpoint, or none, and then the schedule says why.

Of a run that must not overlap another, each message stands in the line of its URL: see ``core.queue.line_of``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.audit import Note
from lateron.core.durations import parse_duration
from lateron.core.groups import Group, expand, merged
from lateron.core.options import Config, Given, read, read_flag, read_redaction
from lateron.core.publish import (
    GroupPublication,
    PublishContext,
    build,
    is_url,
    name_queue,
    read_request,
    texts,
    to_group,
)
from lateron.core.queue import line_of
from lateron.core.quota import ANYTHING
from lateron.core.reach import anywhere
from lateron.core.redact import both
from lateron.core.schedule import due_ticks, jitter, next_after, parse_cron
from lateron.core.values import DAY, SECOND, Headers, MessageId, Millis, Publication, Redaction, Request, Tenant
from lateron.errors import InvalidValue, RequestError

PREFIX: Final = "scd_"  # Of ids that we make.
MAX_ID: Final = 128  # Characters.
MAX_JITTER: Millis = DAY
MOST_RUNS: Final = 1_000_000_000
FIRST_YEAR: Millis = 31_536_000 * SECOND  # An instant before 1971 is a mistake.

_SAMPLE: Final = "https://example.com/"  # Stands for an endpoint that is not known yet.
_ID: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._")


class Rules(Struct, frozen=True, omit_defaults=True):
    """How a schedule ticks, beside its cron."""

    delay_ms: Millis = 0  # Of each message behind its tick; the schedule itself does not move.
    missed: str = "latest"  # What becomes of ticks that passed unnoticed: skip, latest, all.
    overlap: str = "allow"  # What a tick does while messages of the one before do not rest: allow, skip, queue.
    start: Millis | None = None  # No tick is earlier.
    end: Millis | None = None  # No tick is later.
    most_runs: int | None = None
    jitter_ms: Millis = 0


class Last(Struct, frozen=True):
    """The last run."""

    time: Millis  # Of its tick.
    messages: tuple[MessageId, ...] = ()
    error: str | None = None  # Why it made no message.
    failed: int = 0  # Runs that made no message, of all.


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
    request: Request  # Its options name the schedule. To a group: its name for the URL, and all headers as they came.
    runs: int = 0  # Ticks that fired.
    missed: int = 0  # Ticks dropped because they were missed; at least so many.
    skipped: int = 0  # Ticks dropped because the last one's message was not at rest.
    last: Last | None = None
    intact: bool = True  # False: the stored bytes do not match their digest; nothing is made of them.

    @property
    def group(self) -> str | None:
        """The URL group it publishes to; None if it calls a URL."""
        return None if is_url(self.request.url) else self.request.url


class NewSchedule(Struct, frozen=True):
    """A schedule that a client asks for."""

    tenant: Tenant
    id: str | None  # None: make one.
    cron: str
    rules: Rules
    request: Request
    most: int | None = None  # Schedules that its tenant may have.
    note: Note | None = None  # Who asks for it, for the audit log.


class Decision(Struct, frozen=True):
    """What becomes of a schedule whose time has come."""

    schedule: Schedule  # As it was.
    first: Millis | None  # The first tick that has not been handled; None if it has ended.
    fire: tuple[Millis, ...] = ()  # Ticks that make a run each, if nobody has taken them.
    missed: int = 0
    following: Millis | None = None  # The tick behind those; whether the schedule lives so long is another question.


def parse_schedule(
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    context: PublishContext,
    queue: Given | None = None,
) -> NewSchedule:
    """Read a schedule: a publish with ``Upstash-Cron``.

    Args:
        target: What follows ``/v2/schedules/`` or ``/v2/publish/`` in the request line, undecoded.
        headers: As received.
        body: Complete; empty means that there is none.
        context: Who asks, when, and under which limits.
        queue: The queue that the path names.

    Raises:
        RequestError: Something cannot be read, or no date ever matches.
    """
    destination, config = read_request(target, headers)
    if queue is not None:
        name_queue(config, queue)
    return read_schedule(destination, config, texts(headers), body or None, context)


def read_schedule(
    destination: str, config: Config, headers: Sequence[tuple[str, str]], body: bytes | None, context: PublishContext
) -> NewSchedule:
    """Make the schedule that a destination, a configuration and a body ask for; ``headers`` are those as received.

    Raises:
        RequestError: Something cannot be read, or no date ever matches.
    """
    context = replace(context, trace=None)  # That of who makes a schedule is not that of its runs.
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
    if is_url(destination):
        publication = build(destination, config, body, context)
        request = publication.request
    else:
        given_to = to_group(destination, config, headers, body, context)
        publication = build(_SAMPLE, config, body, context)
        options = replace(publication.request.options, topic=destination)
        request = replace(
            publication.request, url=destination, headers=given_to.config + given_to.plain, options=options
        )
    return NewSchedule(
        tenant=context.tenant,
        id=None if named is None else read(named, check_id, f"1 to {MAX_ID} letters, digits and any of -._"),
        cron=text,
        rules=replace(rules, delay_ms=publication.delay_ms),
        request=request,
        most=context.quota.schedules,
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
    """Return the next tick later than an instant and than its creation, paused or not; None if it has ended."""
    start = schedule.rules.start
    earliest = max(after, schedule.created, 0 if start is None else start - 1)
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
    if not schedule.paused:
        return schedule
    schedule = _made_by(schedule, now)
    return replace(schedule, paused=False, due=following(schedule, now))


def decide(schedule: Schedule, now: Millis, window: Millis) -> Decision:
    """Decide about a schedule that is due.

    ``due`` may be earlier than its next tick: where the clock was set back, all schedules are looked at anew.

    Args:
        schedule: Its ``due`` is not later than ``now``.
        now: Time of the decision.
        window: How old a missed tick may be that is made up for.
    """
    assert schedule.due is not None, f"schedule {schedule.id}: not due"
    due, schedule = schedule.due, _made_by(schedule, now)
    first = following(schedule, due - 1)
    if first is None or first > now:
        return Decision(schedule, first, following=first)
    rules = schedule.rules
    until = now if rules.end is None else min(now, rules.end)
    passed = due_ticks(parse_cron(schedule.cron), first, until, rules.missed, window, schedule.created)
    return Decision(schedule, first, passed.fire, passed.missed, passed.following)


def _made_by(schedule: Schedule, now: Millis) -> Schedule:
    """Return a schedule that was not made days after ``now``: a clock that ran ahead said so, and it would wait."""
    return replace(schedule, created=now) if schedule.created > now + DAY else schedule


def shortened(decision: Decision, count: int) -> Decision:
    """Leave all but the first ticks for another transaction."""
    if count >= len(decision.fire):
        return decision
    return replace(decision, fire=decision.fire[:count], following=decision.fire[count])


def runs_of(decision: Decision, ours: Sequence[Millis], *, busy: bool) -> Sequence[Millis]:
    """Return which of the ticks that we have taken become runs.

    Args:
        decision: As decided.
        ours: Those of its ticks that nobody had taken before.
        busy: A message of its last run does not rest.
    """
    rules = decision.schedule.rules
    if rules.overlap == "skip":
        ours = [] if busy else ours[-1:]  # Of several at once, only one can find the way free.
    return ours if rules.most_runs is None else ours[: rules.most_runs - decision.schedule.runs]


def ticked(decision: Decision, fired: int, missed: int, skipped: int, last: Last | None) -> Schedule:
    """Return a schedule as it must be stored after its ticks.

    Args:
        decision: As decided.
        fired: How many of its ticks became runs.
        missed: How many were dropped because they were missed.
        skipped: How many were dropped because the last run was not over.
        last: Its last run now.
    """
    schedule = replace(
        decision.schedule,
        runs=decision.schedule.runs + fired,
        missed=decision.schedule.missed + missed,
        skipped=decision.schedule.skipped + skipped,
        last=last,
    )
    return replace(schedule, due=_unless_over(schedule, decision.following))


def requested(schedule: Schedule, group: Group | None, now: Millis) -> tuple[Publication, ...]:
    """Return what a run publishes: one message, or one for each endpoint of a group, in its order.

    Args:
        schedule: Whose run it is.
        group: The group that it publishes to, as the transaction sees it; None if it calls a URL, or there is none.
        now: Time of the run.

    Raises:
        RequestError: There is no such group, or with its defaults no publish could be accepted.
    """
    if not schedule.intact:
        raise RequestError("the stored request is damaged")
    rules = schedule.rules
    if schedule.group is None:
        made: tuple[Publication, ...] = (Publication(schedule.tenant, schedule.request, delay_ms=rules.delay_ms),)
    else:
        # Why anywhere: at a tick nobody reads a refusal; the delivery asks the guard, and leaves a dead letter.
        made = expand(wanted(schedule, now), group, anywhere)
    return tuple([_of_schedule(publication, schedule) for publication in made])


def wanted(schedule: Schedule, now: Millis) -> GroupPublication:
    """Return the publish to a group that a run of a schedule is."""
    request, options = schedule.request, schedule.request.options
    context = PublishContext(schedule.tenant, now, ANYTHING, caller_ip=options.caller_ip, hops=options.hops)
    config = _config(request.headers)
    return GroupPublication(request.url, config, request.body, context, request.headers[len(config) :])


def at(publication: Publication, schedule: Schedule, tick: Millis) -> Publication:
    """Return the message of a run at its tick, however late the run is made."""
    late = jitter(schedule.key, tick, schedule.rules.jitter_ms)
    date = publication.not_before  # Of a group's defaults.
    return replace(publication, not_before=(tick + publication.delay_ms if date is None else date) + late)


def forwarded(schedule: Schedule) -> Headers:
    """Return the headers that a schedule's messages carry by its own request."""
    if schedule.group is None:
        return schedule.request.headers
    return Config.of(_config(schedule.request.headers)).headers()


def redaction(schedule: Schedule, group: Group | None) -> Redaction | None:
    """Return what of a schedule is hidden: what its messages hide, by itself or by the defaults of its group."""
    own = schedule.request.options.redact
    if schedule.group is None or group is None:
        return own
    return both(own, read_redaction(merged(wanted(schedule, 0), group.headers)))


def _config(headers: Headers) -> Headers:
    """Return those of the headers to a group that configure; ``Config.pairs`` names them so, and no others."""
    return tuple([pair for pair in headers if pair[0] == "Content-Type" or pair[0].startswith("Upstash-")])


def _of_schedule(publication: Publication, schedule: Schedule) -> Publication:
    """Return a message that names its schedule, and stands in its line if it has one; it is no duplicate."""
    options = replace(publication.request.options, schedule=schedule.id)
    if schedule.rules.overlap == "queue":
        line = line_of(schedule.id, publication.request.url)
        options = replace(options, order_key=line, queue_name=None)
    return replace(publication, request=replace(publication.request, options=options), dedup=None)


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
    other = given.get("queue-name") or given.get("lateron-order-key")
    if found["overlap"] == "queue" and spelled is not None and other is not None:
        raise RequestError(f"{spelled.spelled}: queue gives the runs a line of their own, and so does {other.spelled}")
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
