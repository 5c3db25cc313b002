"""Schedules at every change of every zone from 2020 to 2040.

They are compared with an oracle that knows neither cron nor segments. The changes are found by bisection of
``utcoffset`` itself. Around each, the oracle asks every minute of some hours what a clock on the wall shows; for
appointments, when it first shows that time or a later one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from lateron.core.schedule import next_after, parse_cron, zones

DAY, HOUR, MINUTE = 86_400, 3_600, 60  # All of this file is in seconds.
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2020, 2041))
SHARES = 8
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Wall time of no zone.


class Change(NamedTuple):
    """An instant at which the clocks of a zone are set."""

    instant: int
    before: int  # Offset of the zone.
    after: int


class Zone(NamedTuple):
    """What the zones of one or more names do in these years."""

    names: tuple[str, ...]
    offset: int  # At the beginning.
    changes: tuple[Change, ...]

    def offset_at(self, instant: int) -> int:
        """Return the offset at an instant, by looking through the changes."""
        return next((c.after for c in reversed(self.changes) if c.instant <= instant), self.offset)


@cache
def folded() -> tuple[Zone, ...]:
    """Return all zones that differ in these years, each once."""
    contents: dict[bytes, list[str]] = {}
    for name in sorted(zones()):
        contents.setdefault(files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes(), []).append(name)
    found: dict[tuple[int, tuple[Change, ...]], list[str]] = {}
    for names in contents.values():
        with files("tzdata").joinpath("zoneinfo", *names[0].split("/")).open("rb") as file:
            info = ZoneInfo.from_file(file, names[0])
        found.setdefault((utc_offset(info, FIRST), tuple(changes_of(info))), []).extend(names)
    return tuple(Zone(tuple(names), *key) for key, names in found.items())


def changes_of(info: ZoneInfo) -> Iterator[Change]:
    before = utc_offset(info, FIRST)
    for day in range(FIRST, LAST, DAY):
        after = utc_offset(info, day + DAY)
        if after != before:
            low, high = day, day + DAY  # Another offset at ``high`` than at ``low``.
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if utc_offset(info, middle) == before else (low, middle)
            yield Change(high, before, after)
        before = after


def utc_offset(info: ZoneInfo, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, info).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def shown(wall: int) -> datetime:
    """What a clock shows, as fields."""
    return EPOCH + timedelta(seconds=wall)


def elapsed(zone: Zone, start: int, end: int, minutes: set[int], hours: set[int]) -> set[int]:
    """Instants in [start, end) at which the clock shows such a time: in a repeated hour twice, in a gap never."""
    found = set()
    for instant in range(start - start % MINUTE, end, MINUTE):
        wall = (instant + zone.offset_at(instant)) // MINUTE
        if instant >= start and wall % 60 in minutes and wall // 60 % 24 in hours:
            found.add(instant)
    return found


def appointments(zone: Zone, start: int, end: int, times: set[tuple[int, int]], second: int = 0) -> set[int]:
    """Instants in [start, end) of fixed times (hour, minute): when the clock first shows it, or has jumped it."""
    found = set()
    for wall_day in range(start // DAY * DAY - 2 * DAY, end + 2 * DAY, DAY):
        for hour, minute in times:
            instant = first_showing(zone, wall_day + hour * HOUR + minute * MINUTE + second)
            if start <= instant < end:
                found.add(instant)
    return found


def first_showing(zone: Zone, wall: int) -> int:
    near = [c for c in zone.changes if abs(c.instant - wall) < 3 * DAY]
    offsets = {zone.offset_at(wall - 2 * DAY), *(c.after for c in near)}
    exact = [wall - offset for offset in offsets if zone.offset_at(wall - offset) == offset]
    jumped = [c.instant for c in near if c.instant + c.before <= wall < c.instant + c.after]
    return min(exact + jumped)


def ticks(text: str, start: int, end: int) -> set[int]:
    timing, found, at = parse_cron(text), set(), start * 1000 - 1
    while (following := next_after(timing, at)) is not None and following < end * 1000:
        assert following > at
        assert following % 1000 == 0
        found.add(following // 1000)
        at = following
    return found


def check(zone: Zone, change: Change) -> None:
    """Compare around one change: before, at the edges and inside of what is skipped or repeated, and behind it."""
    name, instant = zone.names[0], change.instant
    low, high = sorted((instant + change.before, instant + change.after))  # Wall times that are skipped or repeated.
    middle = (low + high) // 2
    start, end = instant - 30 * HOUR, instant + 30 * HOUR
    for wall in (low - MINUTE, low, middle, high - MINUTE, high):
        at = shown(wall)
        cron = f"CRON_TZ={name} {at.minute} {at.hour} * * *"
        expected = appointments(zone, start, end, {(at.hour, at.minute)})
        assert ticks(cron, start, end) == expected, (change, cron)
        for asked in (
            instant - 1,
            instant,
            instant + (high - low) // 2,
            instant + high - low,
        ):  # Also in a second pass.
            following = min(tick for tick in expected if tick > asked)
            assert next_after(parse_cron(cron), asked * 1000) == following * 1000, (change, cron, asked)
    first, second = shown(low), shown(middle)
    minutes, hours = {first.minute, second.minute}, {first.hour, second.hour}
    listed = f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))}"
    times = {(hour, minute) for hour in hours for minute in minutes}
    assert ticks(f"CRON_TZ={name} {listed} * * *", start, end) == appointments(zone, start, end, times), change
    with_seconds = ticks(f"CRON_TZ={name} 30 {listed} * * *", start, end)
    assert with_seconds == appointments(zone, start, end, times, 30), change
    dated = f"CRON_TZ={name} {second.minute} {second.hour} {second.day} {second.month} *"
    assert ticks(dated, start, end) == {first_showing(zone, middle - middle % MINUTE)}, (change, dated)

    start, end = instant - 3 * HOUR, instant + 3 * HOUR
    all_hours = set(range(24))
    hourly = f"CRON_TZ={name} {second.minute} * * * *"
    assert ticks(hourly, start, end) == elapsed(zone, start, end, {second.minute}, all_hours), (change, hourly)
    quarters = f"CRON_TZ={name} */15 {','.join(map(str, sorted(hours)))} * * *"
    assert ticks(quarters, start, end) == elapsed(zone, start, end, {0, 15, 30, 45}, hours), (change, quarters)


@pytest.mark.promise("P-80", "P-84", "F-21")
@pytest.mark.parametrize("share", range(SHARES))
def test_every_change_of_every_zone_is_kept(share: int) -> None:
    """A fixed time in a gap once, right behind it; in an overlap once, the first; wildcards as time goes by."""
    for zone in folded()[share::SHARES]:
        for change in zone.changes:
            check(zone, change)


@pytest.mark.promise("P-84", "F-21")
def test_no_zone_is_left_out() -> None:
    """Names of the same content share their check; together they are all there are, with all that clocks do."""
    assert sorted(name for zone in folded() for name in zone.names) == sorted(zones())
    by_name = {name: zone for zone in folded() for name in zone.names}
    assert len(by_name["America/New_York"].changes) == 42
    assert by_name["UTC"].changes == ()
    steps = {change.after - change.before for zone in folded() for change in zone.changes}
    assert {HOUR, -HOUR, HOUR // 2, -HOUR // 2, 2 * HOUR, -2 * HOUR} <= steps
    assert sum(len(zone.changes) for zone in folded()) > 1_400


@pytest.mark.promise("P-84")
def test_zones_without_changes_tick_as_they_always_do() -> None:
    """Also where years meet, at which the table of a zone is cut."""
    for zone in folded():
        if not zone.changes:
            turn = int(datetime(2031, 1, 1, tzinfo=UTC).timestamp())
            start, end = turn - 30 * HOUR, turn + 30 * HOUR
            fixed = ticks(f"CRON_TZ={zone.names[0]} 30 2,23 * * *", start, end)
            assert fixed == appointments(zone, start, end, {(2, 30), (23, 30)})
            assert ticks(f"CRON_TZ={zone.names[0]} 30 * * * *", start, end) == elapsed(
                zone, start, end, {30}, set(range(24))
            )
