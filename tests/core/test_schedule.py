"""When a schedule ticks: what each form means, and what strangers may send; zones have a file of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import partial

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from lateron.core import schedule
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


def ms(moment: datetime) -> Millis:
    return int(moment.timestamp()) * SECOND


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


class Steps:
    """Counts the work of computing ticks: searches, and days looked at by them; times are another machine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.searches = self.days = 0
        search, match = schedule._search, CronSim.match_day

        def counted_search(fields: str, wall: datetime) -> datetime | None:
            self.searches += 1
            return search(fields, wall)

        def counted_match(simulation: CronSim, day: date) -> bool:
            self.days += 1
            return match(simulation, day)

        monkeypatch.setattr(schedule, "_search", counted_search)
        monkeypatch.setattr(CronSim, "match_day", counted_match)

    def of(self, work: Callable[[], object]) -> tuple[int, int]:
        """Return (searches, days) of some work."""
        self.searches = self.days = 0
        with suppress(ValueError):
            work()
        return self.searches, self.days


RARE = (
    "0 0 29 2 */7",  # Once in 28 years, and not for 40 around 2100.
    "59 59 23 29 2 6",
    "* * 29 2 */7",
    "0 0 */31 * MON#5",  # Never.
    "0 0 LW 2 */7",
    "0 0 31 12 SUN#5",
    "0 0 */30 2 7L",
    "*/59 */59 */23 */31 */12 */7",
)


@pytest.mark.promise("P-85", "F-45")
@pytest.mark.parametrize("zone", ["", "CRON_TZ=Africa/Casablanca ", "CRON_TZ=America/New_York "])
@pytest.mark.parametrize("cron", RARE)
def test_the_rarest_schedules_are_computed_in_bounded_work(
    cron: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at 3,000 days takes a few milliseconds anywhere: no expression that is accepted takes longer."""
    steps = Steps(monkeypatch)
    parse_cron.cache_clear()
    searches, days = steps.of(lambda: parse_cron(zone + cron))
    assert (searches, days <= 3000) == (0, True)
    with suppress(ValueError):
        timing = parse_cron(zone + cron)
        for year in range(2020, 2110, 3):
            searches, days = steps.of(partial(next_after, timing, ms(datetime(year, 3, 1, tzinfo=UTC))))
            assert searches <= 4
            assert days <= 3000


@pytest.mark.promise("P-85", "F-45")
@given(expressions, instants, st.sampled_from(["latest", "skip", "all"]))
def test_no_expression_costs_more(cron: str, now: Millis, missed: str) -> None:
    """Also not after ten years of silence: a tick is looked for backwards, and not walked to."""
    with pytest.MonkeyPatch.context() as patch, suppress(ValueError):
        steps = Steps(patch)
        timing = parse_cron(cron)
        searches, days = steps.of(lambda: next_after(timing, now))
        assert searches <= 4
        assert days <= 3000
        first = next_after(timing, now)
        later = now + 3652 * DAY
        if first is not None and first <= later:
            searches, _ = steps.of(lambda: due_ticks(timing, first, later, missed, MINUTE))
            assert searches <= 4 * (2 * COUNTED + (40 if missed != "all" else 10 * COUNTED))


@pytest.mark.promise("P-85")
def test_a_zone_is_read_for_the_years_of_the_tick_only() -> None:
    """Forty years of a zone's changes would be most of the work of a tick that is forty years away."""
    timing = parse_cron("CRON_TZ=Europe/Berlin 0 0 29 2 */7")
    schedule._segments.cache_clear()
    at = next_after(timing, ms(datetime(2088, 3, 1, tzinfo=UTC)))
    assert at == ms(datetime(2128, 2, 28, 23, tzinfo=UTC))
    assert schedule._segments.cache_info().misses <= 3


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
