"""When a schedule ticks: compared with a walk that looks at every minute, and with what strangers may send."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.schedule import (
    COUNTED,
    MAX_TEXT,
    due_ticks,
    jitter,
    latest_until,
    next_after,
    parse_cron,
    zones,
)
from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Millis

YEARS = range(2020, 2041)
# All kinds of changes: whole and half hours, at midnight, both halves of the year, negative daylight saving, Ramadan,
# a change of the zone itself, none at all.
SAMPLE = (
    "America/New_York",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/St_Johns",
    "America/Havana",
    "America/Asuncion",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Juba",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Gaza",
    "Asia/Kolkata",
    "Asia/Amman",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Norfolk",
    "Pacific/Easter",
    "America/Nuuk",
    "UTC",
)
FIXED = (
    ({30}, {1, 2}),
    ({0}, {0}),
    ({15, 45}, {0, 2, 3, 23}),
    (set(range(60)), {2}),
)
ELAPSED = (
    ({0}, set(range(24))),
    ({0, 15, 30, 45}, {1, 2}),
    (set(range(0, 60, 7)), set(range(24))),
)


def texts(minutes: set[int], hours: set[int], *, elapsed: bool) -> str:
    minute = ",".join(map(str, sorted(minutes)))
    hour = ",".join(map(str, sorted(hours)))
    if elapsed and len(hours) == 24:
        return f"{minute} * * * *"
    if elapsed:
        return f"*/15 {hour} * * *"
    return f"{minute} {hour} * * *"


def zone_of(name: str) -> ZoneInfo:
    """From the package we use: the system's may be of another year, with other rules."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def ms(moment: datetime) -> Millis:
    return int(moment.timestamp()) * SECOND


def changes(zone: ZoneInfo) -> Iterator[datetime]:
    """Every hour of these years at whose end the zone has another offset; by looking at all of them."""
    at = datetime(YEARS.start, 1, 1, tzinfo=UTC)
    end = datetime(YEARS.stop, 1, 1, tzinfo=UTC)
    before = at.astimezone(zone).utcoffset()
    while at < end:
        at += timedelta(hours=6)
        offset = at.astimezone(zone).utcoffset()
        if offset != before:
            yield at
        before = offset


def walked(zone: ZoneInfo, start: datetime, end: datetime, minutes: set[int], hours: set[int]) -> set[datetime]:
    """Instants in [start, end) whose wall clock matches, minute by minute."""
    found, at = set(), start
    while at < end:
        local = at.astimezone(zone)
        if local.minute in minutes and local.hour in hours and local.second == 0:
            found.add(at)
        at += timedelta(minutes=1)
    return found


def appointments(zone: ZoneInfo, start: datetime, end: datetime, minutes: set[int], hours: set[int]) -> set[datetime]:
    """The instants of fixed times: for every wall minute, the first instant at which the clock shows it or more."""
    found = set()
    wall = start.astimezone(zone).replace(tzinfo=None) - timedelta(hours=4)
    while wall < end.astimezone(zone).replace(tzinfo=None) + timedelta(hours=4):
        if wall.minute in minutes and wall.hour in hours:
            instant = first_showing(zone, wall)
            if start <= instant < end:
                found.add(instant)
        wall += timedelta(minutes=1)
    return found


def first_showing(zone: ZoneInfo, wall: datetime) -> datetime:
    early = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if early.astimezone(zone).replace(tzinfo=None) == wall:
        return early
    at = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)  # In a gap: this lies before it, so walk.
    while at.astimezone(zone).replace(tzinfo=None) < wall:
        at += timedelta(minutes=1)
    return at


def ticks(text: str, start: datetime, end: datetime) -> set[datetime]:
    timing, found, at = parse_cron(text), set(), ms(start) - 1
    while (following := next_after(timing, at)) is not None and following < ms(end):
        assert following > at
        found.add(datetime.fromtimestamp(following / 1000, UTC))
        at = following
    return found


@pytest.mark.promise("P-80", "P-84", "F-21")
@pytest.mark.parametrize("name", SAMPLE)
def test_ticks_around_every_change_of_a_zone_are_those_of_a_walk(name: str) -> None:
    """The rule is ours, so nothing else can tell; the walk knows neither cronsim nor segments."""
    zone = zone_of(name)
    for change in list(changes(zone)) or [datetime(2030, 6, 1, tzinfo=UTC)]:
        start = (change - timedelta(hours=20)).replace(minute=0)
        end = change + timedelta(hours=14)
        minutes, hours = FIXED[change.year % len(FIXED)]
        text = f"CRON_TZ={name} {texts(minutes, hours, elapsed=False)}"
        assert ticks(text, start, end) == appointments(zone, start, end, minutes, hours), (change, text)
        minutes, hours = ELAPSED[change.year % len(ELAPSED)]
        text = f"CRON_TZ={name} {texts(minutes, hours, elapsed=True)}"
        assert ticks(text, start, end) == walked(zone, start, end, minutes, hours), (change, text)


@pytest.mark.promise("P-84")
def test_the_written_examples_of_daylight_saving() -> None:
    """What a user reads in the documents, for New York in 2026."""

    def days(cron: str, start: str, count: int) -> list[str]:
        timing, at = parse_cron(f"CRON_TZ=America/New_York {cron}"), ms(datetime.fromisoformat(start))
        found = []
        for _ in range(count):
            following = next_after(timing, at)
            assert following is not None
            at = following
            found.append(datetime.fromtimestamp(at / 1000, UTC).strftime("%m-%d %H:%M"))
        return found

    assert days("30 2 * * *", "2026-03-08T00:00Z", 2) == ["03-08 07:00", "03-09 06:30"]
    assert days("0,30 2 * * *", "2026-03-08T00:00Z", 2) == ["03-08 07:00", "03-09 06:00"]
    assert days("30 1 * * *", "2026-11-01T00:00Z", 2) == ["11-01 05:30", "11-02 06:30"]
    assert days("30 * * * *", "2026-11-01T05:00Z", 2) == ["11-01 05:30", "11-01 06:30"]
    assert days("*/30 2 * * *", "2026-03-08T00:00Z", 1) == ["03-09 06:00"]
    assert days("0 4 * * *", "2026-03-07T00:00Z", 2) == ["03-07 09:00", "03-08 08:00"]


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
        ("@monthly", "2026-08-01 00:00:00"),
        ("@weekly", "2026-07-19 00:00:00"),
        ("@daily", "2026-07-16 00:00:00"),
        ("@midnight", "2026-07-16 00:00:00"),
        ("@Hourly", "2026-07-15 13:00:00"),
        ("@every 90m", "2026-07-15 13:30:00"),
        ("0 9 * * MON-FRI", "2026-07-16 09:00:00"),
        ("0 9 * * sat", "2026-07-18 09:00:00"),
        ("0 0 1 JAN *", "2027-01-01 00:00:00"),
        ("0 0 L * *", "2026-07-31 00:00:00"),
        ("0 0 ? * MON#1", "2026-08-03 00:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("15 30 12 * * *", "2026-07-15 12:30:15"),
        ("*/20 * * * * *", "2026-07-15 12:00:20"),
        ("0 0 13 * FRI", "2026-07-17 00:00:00"),  # Either day: both fields are given.
        ("TZ=Asia/Tokyo 0 9 * * *", "2026-07-16 00:00:00"),
        ("CRON_TZ=Asia/Kolkata   0 9 * * *", "2026-07-16 03:30:00"),
    ],
)
def test_each_form_is_understood(cron: str, first: str) -> None:
    """All that the documentation of QStash and of cron users know."""
    now = ms(datetime(2026, 7, 15, 12, tzinfo=UTC))
    found = next_after(parse_cron(cron), now, anchor=now)
    assert found is not None
    assert datetime.fromtimestamp(found / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") == first


@pytest.mark.promise("P-85", "F-45", "D-76")
@pytest.mark.parametrize(
    "cron",
    [
        "",
        " ",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "0-4294967295 * * * *",
        "5-1 * * * *",
        "1,,2 * * * *",
        "1- * * * *",
        "-1 * * * *",
        "1/2/3 * * * *",
        "1-5-9 * * * *",
        "((1)) * * * *",
        "a * * * *",
        "* * * * MONDAY",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 */31 * MON#5",
        "0 0 * * MON#6",
        "0 0 * * MON#0",
        "@reboot",
        "@every",
        "@every 1",
        "@every 0s",
        "@every -1s",
        "@every 500ms",
        "@every 9999d",
        "@daily @daily",
        "CRON_TZ=../../etc/passwd * * * * *",
        "CRON_TZ=/etc/passwd * * * * *",
        "CRON_TZ=Europe/Nowhere * * * * *",
        "CRON_TZ=europe/berlin * * * * *",
        "CRON_TZ= * * * * *",
        "CRON_TZ=UTC",
        "CRON_TZ=UTC CRON_TZ=UTC * * * * *",
        "* * * * *\n",
        "*\0* * * *",
        "\u0661 * * * *",
        "\u00b2L * * * *",
        "0 0 * * \u00b2L",
        "1," * 5000 + "1 * * * *",
        "9" * 200 + " * * * *",
    ],
)
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    """Nothing hostile may cost time, read a file, or be stored."""
    if cron == "@every 1":
        assert parse_cron(cron).every_ms == SECOND  # A bare number is seconds, as everywhere.
        return
    with pytest.raises(ValueError, match=r"\w"):
        parse_cron(cron)


field = st.lists(
    st.one_of(
        st.just("*"),
        st.integers(0, 70).map(str),
        st.tuples(st.integers(0, 40), st.integers(0, 70)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(st.sampled_from(["*", "1", "3-9"]), st.integers(0, 40)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.sampled_from(["L", "LW", "MON", "JAN", "SUN#5", "5L", "?", "FRI-SUN"]),
    ),
    min_size=1,
    max_size=3,
).map(",".join)
expressions = st.tuples(
    st.sampled_from(["", "CRON_TZ=America/New_York ", "CRON_TZ=Australia/Lord_Howe ", "CRON_TZ=Africa/Casablanca "]),
    st.lists(field, min_size=5, max_size=6).map(" ".join),
).map("".join)
instants = st.integers(1_577_836_800_000, 2_208_988_800_000)


@pytest.mark.promise("P-85", "F-45")
@given(expressions, instants)
def test_next_is_later_and_what_halving_finds(cron: str, now: Millis) -> None:
    """Whatever is accepted goes on, one tick after the other, and can be searched backwards."""
    try:
        timing = parse_cron(cron)
    except ValueError:
        return
    first = next_after(timing, now)
    if first is None:
        return
    second = next_after(timing, first)
    assert first > now
    assert first % SECOND == 0
    assert next_after(timing, first - 1) == first
    assert latest_until(timing, first, now) == first
    if second is not None:
        assert second > first
        assert latest_until(timing, second - 1, now) == first


@pytest.mark.promise("P-85", "F-45", "D-76")
@given(st.text(max_size=40) | st.text("0123456789*/,-#LW?@ MONJA", max_size=MAX_TEXT + 10))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    """No other exception can come out of a parser that strangers feed."""
    try:
        timing = parse_cron(text)
    except ValueError:
        return
    assert next_after(timing, 1_800_000_000_000, 1_800_000_000_000) is not None


@pytest.mark.promise("P-85")
def test_the_rarest_schedules_are_computed_in_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 29 February that is a Sunday, from 2060 on, and one in a leap year that is none: a few searches, no walk."""
    from lateron.core import schedule

    searches = 0
    real = schedule._search

    def counting(fields: str, wall: datetime) -> datetime | None:
        nonlocal searches
        searches += 1
        return real(fields, wall)

    timing = parse_cron("CRON_TZ=Europe/Berlin * * 29 2 */7")
    monkeypatch.setattr(schedule, "_search", counting)
    at = next_after(timing, ms(datetime(2088, 3, 1, tzinfo=UTC)))
    assert at == ms(datetime(2128, 2, 28, 23, tzinfo=UTC))
    assert searches <= 3


def test_an_interval_is_counted_from_its_beginning() -> None:
    """A late loop does not shift it."""
    timing = parse_cron("@every 10s")
    assert [next_after(timing, at, 1500) for at in (0, 1500, 11_499, 11_500)] == [11_500, 11_500, 11_500, 21_500]


def test_no_tick_lies_beyond_the_calendar() -> None:
    """A clock of the year 9999 gets no answer instead of an error."""
    timing = parse_cron("@daily")
    assert next_after(timing, ms(datetime(9999, 1, 1, tzinfo=UTC))) is None
    assert next_after(timing, -5) == DAY


def test_every_zone_of_the_list_can_be_read() -> None:
    """The list and the files come from one package."""
    assert "Europe/Berlin" in zones()
    for name in zones():
        assert next_after(parse_cron(f"CRON_TZ={name} 30 2 * * *"), 1_800_000_000_000) is not None


@pytest.mark.promise("P-82")
@given(st.integers(0, 500), st.sampled_from(["latest", "skip", "all"]), st.integers(0, 120))
def test_due_ticks_are_accounted_for(count: int, missed: str, late_s: int) -> None:
    """Each passed tick fires or is counted, never more than the bound, and the next is in the future."""
    timing = parse_cron("* * * * *")
    first = 1_800_000_000_000 // MINUTE * MINUTE
    now = first + count * MINUTE + late_s * SECOND
    passed = count + late_s // 60 + 1

    due = due_ticks(timing, first, now, missed, MINUTE)

    assert due.following == now - now % MINUTE + MINUTE
    assert list(due.fire) == sorted(due.fire)
    assert all(first <= tick <= now for tick in due.fire)
    assert len(due.fire) <= (COUNTED if missed == "all" else 1)
    if due.fire:
        assert due.fire[-1] == now - now % MINUTE
    assert len(due.fire) + due.missed == passed or (due.missed == COUNTED and passed > COUNTED)


def test_jitter_is_the_same_whenever_asked_and_inside_its_bound() -> None:
    """A tick that is decided again after a crash must not move."""
    found = {jitter(b"k", tick, HOUR) for tick in range(1000)}
    assert len(found) > 990
    assert all(0 <= late <= HOUR for late in found)
    assert jitter(b"k", 5, HOUR) == jitter(b"k", 5, HOUR)
    assert jitter(b"k", 5, 0) == 0
