"""A span of time is read exactly, or refused; what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.durations import MAX_DURATION, duration_text, parse_duration
from lateron.core.values import DAY, HOUR, MINUTE, SECOND


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("10s", 10 * SECOND),
        ("2m", 2 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("10d", 10 * DAY),
        ("3d5h12m", 3 * DAY + 5 * HOUR + 12 * MINUTE),
        ("1h30m3s", 5403 * SECOND),
        ("6m5s", 365 * SECOND),
        ("1w", 7 * DAY),
        ("500ms", 500),
        ("30", 30 * SECOND),
        ("0", 0),
        ("0s", 0),
        ("1.5h", 90 * MINUTE),
        (".5s", 500),
        ("5.s", 5 * SECOND),
        ("0.25", 250),
        (" 10s\t", 10 * SECOND),
        ("36525d", MAX_DURATION),
    ],
)
def test_duration_is_read_as_documented(text: str, milliseconds: int) -> None:
    """Each form stands in the documentation of QStash, of an SDK, or of Go."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("1ns", 1), ("999us", 1), ("1000µs", 1), ("1000μs", 1), ("1500us", 2), ("0.1s", 100)]
)
def test_what_is_finer_than_a_millisecond_is_rounded_up(text: str, milliseconds: int) -> None:
    """A wait may end late, never early; and a tenth of a second has no float in it."""
    assert parse_duration(text) == milliseconds


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "-5s",
        "+5s",
        "1e3",
        "1_0s",
        "5 s",
        "1h30",
        "30 1h",
        "1..2s",
        ".",
        ".s",
        "5x",
        "5S",
        "Ⅷ",
        "٣s",
        "36526d",
        "9" * 64,
        "9" * 65,
        "0" * 65,
        "1s" * 33,
        "1h\x00",
        "NaN",
        "inf",
        "1s,2s",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A guess at what was meant would send at a wrong time."""
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)


@given(st.integers(0, MAX_DURATION))
def test_written_duration_is_read_back(span: int) -> None:
    """Errors and pages show spans as text; whoever copies one gets the same span."""
    assert parse_duration(duration_text(span)) == span


@pytest.mark.promise("F-44")
@given(st.text(max_size=80) | st.text("0123456789.hmsdwnuµ -+e", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Header values are a stranger's; no other exception and no other number comes out."""
    try:
        span = parse_duration(text)
    except ValueError:
        return
    assert 0 <= span <= MAX_DURATION
