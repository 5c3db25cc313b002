"""When a failed attempt is repeated: the answer's wish, then the publisher's, then the default."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.retry import LONGEST, Delay, backoff, next_delay, retryable
from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Headers, Outcome, RetryPolicy

NOW = 1_719_490_000_000  # Thu, 27 Jun 2024 12:06:40 GMT
DEFAULT = RetryPolicy()


def answered(*headers: tuple[str, str], status: int = 500) -> Outcome:
    return Outcome(status=status, headers=headers)


@pytest.mark.promise("P-24")
def test_backoff_gives_the_documented_delays() -> None:
    """The delays are those of the table in the QStash documentation."""
    assert [backoff(retried) // SECOND for retried in range(6)] == [12, 148, 1808, 22026, 86400, 86400]
    assert backoff(1_000_000) == DAY


@pytest.mark.promise("P-25")
def test_expression_counts_retries_from_zero() -> None:
    """The first retry sees ``retried`` as 0, as documented."""
    policy = RetryPolicy(5, "1000 * (1 + retried)")
    assert [next_delay(policy, retried, answered(), NOW).ms for retried in range(3)] == [1000, 2000, 3000]


@pytest.mark.promise("P-25", "F-46")
@pytest.mark.parametrize("expression", ["0-1", "0/0", "1e309", "0-1e309", "sqrt(0-1)", "pow(9,pow(9,7))", "nonsense"])
def test_broken_expression_falls_back_and_says_so(expression: str) -> None:
    """Whatever a text computes to, the message is tried again; the last one can only come from an old store."""
    delay = next_delay(RetryPolicy(5, expression), 1, answered(), NOW)
    assert delay.ms == backoff(1)
    assert delay.note is not None
    assert "default backoff used" in delay.note


@pytest.mark.promise("P-25")
def test_expression_is_clamped_to_a_day_and_rounded_up() -> None:
    """Nobody waits longer than the default's longest wait, nor a fraction too short."""
    assert next_delay(RetryPolicy(5, "1e300"), 0, answered(), NOW) == Delay(DAY)
    assert next_delay(RetryPolicy(5, "0.2"), 0, answered(), NOW) == Delay(1)
    assert next_delay(RetryPolicy(5, "0"), 0, answered(), NOW) == Delay(0)


def test_listed_delays_are_taken_in_turn_and_the_last_repeats() -> None:
    """With the first delivery at once this is the retry table of the usage the project came from."""
    policy = RetryPolicy(6, None, (10 * SECOND, MINUTE, 10 * MINUTE, HOUR))
    assert [next_delay(policy, retried, answered(), NOW).ms for retried in range(6)] == [
        10 * SECOND,
        MINUTE,
        10 * MINUTE,
        HOUR,
        HOUR,
        HOUR,
    ]


@pytest.mark.promise("P-26")
@pytest.mark.parametrize(
    "name", ["Retry-After", "X-RateLimit-Reset", "x-ratelimit-reset-requests", "X-RATELIMIT-RESET-TOKENS"]
)
@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("0", 0),
        ("10", 10 * SECOND),
        ("1.5", 1500),
        ("6m5s", 365 * SECOND),
        ("20ms", 20),
        ("24h", DAY),
        ("86400", DAY),
        (" 10 ", 10 * SECOND),
        ("Thu, 27 Jun 2024 12:16:24 GMT", 584 * SECOND),
        ("Sun, 27 Jun 2024 12:16:24 GMT", 584 * SECOND),
        ("Thu, 27 Jun 2024 12:16:60 GMT", 619 * SECOND),
        ("Thu, 27 Jun 2024 12:06:40 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_hint_is_understood_in_each_documented_form(name: str, value: str, milliseconds: int) -> None:
    """Seconds, a date, a duration; zero and the past mean now. The documentation's own date has the wrong weekday."""
    policy = RetryPolicy(3, "123456")
    assert next_delay(policy, 0, answered((name, value), status=429), NOW) == Delay(milliseconds)


HOSTILE = [
    "-1", "1e308", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 10_240, "Ⅷ", "", "soon", "10 s", "NaN", "\x00", "0x10",
    "Thu, 27 Xxx 2024 12:16:24 GMT", "Thu, 32 Jun 2024 12:16:24 GMT", "Thu, 27 Jun 2024 25:16:24 GMT", "86401", "25h",
    "Thu, 27 Jun 0000 12:16:24 GMT", "Thu, 2٣ Jun 2024 12:16:24 GMT", "Thu, 27 Jun 2024 12-16-24 GMT",
]  # fmt: skip


@pytest.mark.promise("P-26", "F-38")
@pytest.mark.parametrize("value", HOSTILE)
def test_absurd_hint_is_left_aside_with_a_note(value: str) -> None:
    """A receiver must not be able to park a message for years, nor to break the retry."""
    delay = next_delay(DEFAULT, 1, answered(("Retry-After", value)), NOW)
    assert delay.ms == backoff(1)
    assert delay.note is not None
    assert delay.note.lower().startswith("retry-after ignored")
    assert len(delay.note) < 300


@pytest.mark.promise("P-26")
def test_retry_after_goes_before_the_rate_limit_headers() -> None:
    """It is the standard one; of the others the largest wins, for all of them must have passed."""
    limits: Headers = (("X-RateLimit-Reset-Requests", "2s"), ("X-RateLimit-Reset-Tokens", "6m0s"))
    assert next_delay(DEFAULT, 0, answered(*limits, ("Retry-After", "1")), NOW).ms == SECOND
    assert next_delay(DEFAULT, 0, answered(*limits), NOW).ms == 6 * MINUTE


@pytest.mark.promise("P-26")
def test_useless_retry_after_leaves_the_word_to_the_others() -> None:
    """A hint that cannot be used is as if it were absent; the log says why."""
    delay = next_delay(DEFAULT, 0, answered(("Retry-After", "soon"), ("X-RateLimit-Reset", "7")), NOW)
    assert delay.ms == 7 * SECOND
    assert delay.note == "retry-after ignored: not seconds, date or duration: 'soon'"


def test_note_names_the_hint_and_the_expression_that_failed() -> None:
    """Both are why the wait is not the one somebody asked for."""
    delay = next_delay(RetryPolicy(3, "0/0"), 0, answered(("Retry-After", "2d")), NOW)
    assert delay.note == (
        "Retry-After ignored: beyond one day; "
        "the retry delay expression failed (float division by zero); default backoff used"
    )


@pytest.mark.promise("P-27")
@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (answered(("Upstash-NonRetryable-Error", "true"), status=489), False),
        (answered(("upstash-nonretryable-error", " True "), status=489), False),
        (answered(("Upstash-NonRetryable-Error", "false"), status=489), True),
        (answered(status=489), True),
        (answered(("Upstash-NonRetryable-Error", "true"), status=500), True),
        (Outcome(error="timeout"), True),
        (Outcome(error="corrupt"), False),
    ],
)
def test_only_489_with_its_header_and_damage_end_the_retries(outcome: Outcome, *, again: bool) -> None:
    """489 alone is an ordinary failure; a request whose bytes are damaged must never be sent."""
    assert retryable(outcome) is again


hints = st.sampled_from(["Retry-After", "X-RateLimit-Reset", "X-RateLimit-Reset-Requests", "X-RateLimit-Reset-Tokens"])

values = st.text(max_size=40) | st.text("0123456789.hms", max_size=12)


@pytest.mark.promise("P-25", "P-26", "F-38")
@given(
    st.lists(
        st.tuples(hints | st.text(max_size=10), st.text(max_size=40) | st.text("0123456789.hms", max_size=12)),
        max_size=4,
    ),
    st.text("()+-*/ 0123456789retid", max_size=30) | st.none(),
    st.integers(0, 1_000_000),
)
def test_no_answer_and_no_expression_stops_the_retries(
    headers: list[tuple[str, str]], expression: str | None, retried: int
) -> None:
    """The delay is always a number between now and a day."""
    delay = next_delay(RetryPolicy(3, expression), retried, answered(*headers), NOW)
    assert 0 <= delay.ms <= LONGEST
