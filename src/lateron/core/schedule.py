"""When a schedule is due: cron, in a time zone, with written rules for what clocks do twice or not at all.

A text is five fields (minute, hour, day of month, month, day of week), six with seconds first, a word such
as ``@daily``, or ``@every 10s``; before it may stand ``CRON_TZ=Area/City ``. Names (``MON-FRI``, ``JAN``), ``L``
and ``#`` are those of ``cronsim``, which searches plain wall time; what a zone makes of wall time is decided
here. A zone is a row of segments with one offset each, and the rule is this:

* Minute or hour begins with ``*``: the schedule follows elapsed time. It fires whenever a clock on the wall
  shows a matching time: in a repeated hour twice, in a skipped one not at all.
* Else its times are appointments. One that the clock skips fires once, at the first instant behind the gap
  (together with all others of the gap); one that comes twice fires the first time.

Every computation is bounded: texts are short, zones come from a list, years are counted, and the next
tick is always later than the instant it was asked for.
"""

from __future__ import annotations

from calendar import monthrange
from copy import copy
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

from lateron.core.durations import parse_duration
from lateron.core.values import DAY, MINUTE, SECOND, Millis

MAX_TEXT: Final = 256  # Characters.
LONGEST_EVERY: Millis = 366 * DAY
COUNTED: Final = 100  # Missed ticks are counted up to here, and made up for up to here.
PUNCTUAL: Millis = 10 * SECOND  # A tick that is no later than this was not missed.
LAST_INSTANT: Millis = 32_503_680_000 * SECOND  # The year 3000; no tick is behind it.

_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_CHARACTERS: Final = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*,-/#? ")
_DAY: Final = 86_400  # Seconds.
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - Wall time of no zone: what cronsim searches.


class Timing(Struct, frozen=True):
    """What a schedule's text means."""

    fields: str = ""  # Five or six cron fields in capitals; empty for an interval.
    zone: str = "UTC"
    every_ms: Millis = 0

    @property
    def elapsed(self) -> bool:
        """Whether it follows elapsed time, so that it fires in both passes of a repeated hour."""
        parts = self.fields.split()
        return parts[-5].startswith("*") or parts[-4].startswith("*")


class Segment(Struct, frozen=True):
    """A stretch of time in which a zone keeps one offset; in seconds since 1970."""

    begin: int
    end: int  # Not included.
    offset: int
    before: int  # The offset that ended at ``begin``.


@lru_cache(maxsize=4096)
def parse_cron(text: str) -> Timing:
    """Return what a text means.

    Args:
        text: Without blanks around it.

    Raises:
        ValueError: It is no schedule, its zone is unknown, or no date ever matches it; the message says which.
    """
    if not text.isascii() or len(text) > MAX_TEXT:
        raise ValueError(f"at most {MAX_TEXT} ASCII characters")
    zone, rest = _zone_of(text)
    if rest.lower().startswith("@every "):
        every = parse_duration(rest[7:])
        if not SECOND <= every <= LONGEST_EVERY:
            raise ValueError("an interval is at least 1s and at most a year")
        return Timing(zone=zone, every_ms=every)
    fields = _WORDS.get(rest.lower(), rest).upper()
    if fields.startswith("@"):
        raise ValueError(f"unknown word; known are {', '.join(_WORDS)} and @every")
    if not _CHARACTERS.issuperset(fields):
        raise ValueError("an unknown character")
    parts = ["*" if part == "?" else part for part in fields.split()]
    if len(parts) not in {5, 6}:
        raise ValueError(f"5 fields, or 6 with seconds first; there are {len(parts)}")
    timing = Timing(" ".join(parts), zone)
    try:
        possible = _possible(_simulation(timing.fields))
    except CronSimError as error:
        raise ValueError(str(error)) from None
    if not possible:
        raise ValueError("no date ever matches")
    return timing


def next_after(timing: Timing, instant: Millis, anchor: Millis = 0) -> Millis | None:
    """Return the first tick later than an instant; None if there is none in the next fifty years.

    Args:
        timing: What to search.
        instant: Any time.
        anchor: Where an interval is counted from.
    """
    if not 0 <= instant < LAST_INSTANT:
        return None if instant >= LAST_INSTANT else next_after(timing, 0, anchor)
    if timing.every_ms:
        return anchor + max((instant - anchor) // timing.every_ms + 1, 1) * timing.every_ms
    seconds = _next_second(timing, instant // SECOND)
    return None if seconds is None else seconds * SECOND


def latest_until(timing: Timing, now: Millis, floor: Millis, anchor: Millis = 0, guess: Millis = MINUTE) -> Millis:
    """Return the last tick that is not later than ``now``; there is one after ``floor``.

    Looks back ever further until it meets a tick, then halves what lies between; the first look, ``guess`` ago, is the
    last one where ticks are regular.
    """
    if timing.every_ms:
        return anchor + (now - anchor) // timing.every_ms * timing.every_ms
    found, low = None, now
    while found is None or found > now:
        assert low > floor, "no tick to be found"
        low, guess = max(now - guess, floor), 4 * guess
        found = next_after(timing, low)
    following = next_after(timing, found)
    high = now  # No tick is in (high, now]; ``found`` is one, and ``following`` the next.
    while following is not None and following <= high:
        found = following
        middle = next_after(timing, (found + high) // 2)
        if middle is not None and middle <= now:
            found = middle
        else:
            high = (found + high) // 2
        following = next_after(timing, found)
    return found


class Due(Struct, frozen=True):
    """What to do about the ticks that have passed."""

    fire: tuple[Millis, ...]
    missed: int  # Dropped, at least so many; exact below ``COUNTED``.
    following: Millis | None


def due_ticks(timing: Timing, first: Millis, now: Millis, missed: str, window: Millis, anchor: Millis = 0) -> Due:
    """Decide which of the ticks since ``first`` fire.

    Args:
        timing: Of the schedule.
        first: The first tick that has not been handled; not later than ``now``.
        now: Time of the decision.
        missed: Policy for what was missed: ``skip``, ``latest`` or ``all``.
        window: With ``latest``, how old the one that fires may be.
        anchor: Where an interval is counted from.
    """
    most = 2 * COUNTED
    ticks, following = _ticks(timing, first, now, anchor, most)
    complete = len(ticks) < most
    if not complete:
        following = next_after(timing, now, anchor)
    if complete and now - first <= PUNCTUAL:
        return Due(tuple(ticks), 0, following)  # Nothing was missed, we are only a little late.
    if missed == "all":
        kept = ticks[-COUNTED:] if complete else _latest_ticks(timing, first, now, anchor)
        return Due(tuple(kept), min(len(ticks) - len(kept), COUNTED), following)
    latest = ticks[-1] if complete else latest_until(timing, now, ticks[-1] - 1, anchor)
    fires = now - latest <= (PUNCTUAL if missed == "skip" else max(window, PUNCTUAL))
    return Due((latest,) if fires else (), min(len(ticks) - fires, COUNTED), following)


def jitter(schedule: bytes, tick: Millis, most: Millis) -> Millis:
    """Return how much later than its tick a message goes out: as if by chance, the same whenever it is asked."""
    if most == 0:
        return 0
    digest = sha256(schedule + tick.to_bytes(8)).digest()
    return int.from_bytes(digest[:8]) % (most + 1)


def _ticks(timing: Timing, first: Millis, now: Millis, anchor: Millis, most: int) -> tuple[list[Millis], Millis | None]:
    """Return the ticks from ``first`` until ``now``, at most so many, and the one behind them."""
    ticks = [first]
    following = next_after(timing, first, anchor)
    while len(ticks) < most and following is not None and following <= now:
        ticks.append(following)
        following = next_after(timing, following, anchor)
    return ticks, following


def _latest_ticks(timing: Timing, first: Millis, now: Millis, anchor: Millis) -> list[Millis]:
    """Return the last ticks until ``now``, at most ``COUNTED``; ``first`` is one."""
    found = [latest_until(timing, now, first - 1, anchor)]
    gap = MINUTE
    while len(found) < COUNTED and found[-1] > first:
        found.append(latest_until(timing, found[-1] - 1, first - 1, anchor, gap))
        gap = found[-2] - found[-1]
    return found[::-1]


def _zone_of(text: str) -> tuple[str, str]:
    prefix, equals, _ = text.partition("=")
    if not equals or prefix not in {"CRON_TZ", "TZ"}:
        return "UTC", text
    name, _, rest = text[len(prefix) + 1 :].partition(" ")
    if name not in zones():
        raise ValueError("a time zone like Europe/Berlin, as the tz database names it")
    return name, rest.strip(" ")


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """Return the names of all time zones; nothing else is ever looked up."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    assert name in zones()
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


@lru_cache(maxsize=4096)  # Many schedules have one cron, and are due at the same instant.
def _next_second(timing: Timing, after: int) -> int | None:
    """Walk the segments of the zone from an instant on, until a matching wall time or a gap with one is met."""
    elapsed = timing.elapsed
    segment = _segment(timing.zone, after)
    wall = after + segment.offset
    if not elapsed and segment.begin <= after:
        # In the second pass of a repeated time, all appointments of the first have been kept.
        wall = max(wall, segment.begin + segment.before - 1)
    found = _search_seconds(timing.fields, wall)
    while found is not None:
        if found - segment.offset < segment.end:
            return found - segment.offset
        near = found - 2 * _DAY
        if near > max(segment.end, after + 2 * _DAY):
            segment = _segment(timing.zone, near)  # No wall time matches before, whatever its clock did meanwhile.
            continue
        following = _segment(timing.zone, segment.end)
        if not elapsed and found < segment.end + following.offset:
            return segment.end  # It lies in the gap.
        if elapsed and segment.end + following.offset <= wall:
            wall = segment.end + following.offset - 1  # The clock has been turned back to before our start.
            found = _search_seconds(timing.fields, wall)
        elif found < segment.end + following.offset:
            wall = segment.end + following.offset - 1
            found = _search_seconds(timing.fields, wall)
        segment = following
    return None


def _segment(zone: str, second: int) -> Segment:
    """Return the segment that holds an instant; cut at the turn of the year, where nothing changes."""
    year = (_EPOCH + timedelta(seconds=second)).year
    for segment in _segments(zone, year):
        if second < segment.end:
            return segment
    raise AssertionError("unreachable")


@lru_cache(maxsize=4096)
def _segments(zone: str, year: int) -> tuple[Segment, ...]:
    """Return the segments of a year (of UTC)."""
    start, end = (int((datetime(y, 1, 1, tzinfo=UTC) - _EPOCH_UTC).total_seconds()) for y in (year, year + 1))
    info = _zone(zone)
    found: list[Segment] = []
    begin, before, offset = start, _offset(info, start - 1), _offset(info, start)
    step = _DAY  # No zone changes twice in a day; the tests compare all of them with another way to count.
    for at in range(start, end, step):
        until = min(at + step, end)
        if _offset(info, until) != offset and until < end:
            change = _change(info, at, until, offset)
            found.append(Segment(begin, change, offset, before))
            begin, before, offset = change, offset, _offset(info, change)
    last = _offset(info, end - 1)
    if last != offset:
        change = _change(info, end - step, end - 1, offset)
        found.append(Segment(begin, change, offset, before))
        begin, before, offset = change, offset, last
    found.append(Segment(begin, end, offset, before))
    return tuple(found)


def _change(info: ZoneInfo, low: int, high: int, offset: int) -> int:
    """Return the first instant in (low, high] at which the offset is another one."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(info, middle) == offset:
            low = middle
        else:
            high = middle
    return high


_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _offset(info: ZoneInfo, second: int) -> int:
    """Return the offset of a zone at an instant, in seconds."""
    difference = datetime.fromtimestamp(second, info).utcoffset()
    assert difference is not None
    return int(difference.total_seconds())


def _search_seconds(fields: str, wall: int) -> int | None:
    found = _search(fields, _EPOCH + timedelta(seconds=wall))
    return None if found is None else int((found - _EPOCH).total_seconds())


def _search(fields: str, wall: datetime) -> datetime | None:
    """Return the first matching wall time later than ``wall``."""
    simulation = copy(_simulation(fields))
    simulation.dt = wall
    try:
        found: datetime = next(simulation)
    except StopIteration:
        return None
    assert found > wall
    return found


def _possible(simulation: CronSim) -> bool:
    """Whether a date ever matches, asked of each kind of month that there is: its length, and how its weeks lie."""
    return any(
        simulation.match_day(first.replace(day=day))
        for first, length in _months()
        if first.month in simulation.months
        for day in range(1, length + 1)
    )


@lru_cache(maxsize=1)
def _months() -> tuple[tuple[date, int], ...]:
    """Return the first day and the length of one month of each kind; a leap year begins on each weekday in 28 years."""
    kinds: dict[tuple[int, int, int], tuple[date, int]] = {}
    for year in range(2000, 2028):
        for month in range(1, 13):
            weekday, length = monthrange(year, month)
            kinds[month, weekday, length] = date(year, month, 1), length
    return tuple(kinds.values())


@lru_cache(maxsize=4096)
def _simulation(fields: str) -> CronSim:
    return CronSim(fields, _EPOCH)
