"""When a failed attempt is repeated, and whether.

Who decides, in this order (wire contract 3.3 and 21.8):

1. **the answer**: ``Retry-After``, else the largest of ``X-RateLimit-Reset``, ``-Requests``, ``-Tokens``;
2. **the publisher**: the list ``Lateron-Retry-Delays``, or the expression ``Upstash-Retry-Delay``;
3. **the default backoff**: 12 s, 2 min 28 s, 30 min 8 s, 6 h 7 min 6 s, then a day for ever.

Nothing that an answer or an expression says can stop the retries: what cannot be read or computed is left
aside for the next in line, and a note in the log says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from lateron.core.durations import parse_duration
from lateron.core.expression import parse_expression
from lateron.core.values import DAY, SECOND, Headers, Millis, Outcome, RetryPolicy

LONGEST: Millis = DAY  # No retry waits longer.

_RATE_HINTS: Final = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
_HINTS: Final = frozenset(("retry-after", *_RATE_HINTS))
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE_LENGTH: Final = len("Sun, 06 Nov 1994 08:49:37 GMT")


class Delay(Struct, frozen=True):
    """How long to wait before the next attempt, and why not as asked for."""

    ms: Millis  # 0 to ``LONGEST``.
    note: str | None = None


def backoff(retried: int) -> Millis:
    """Return the wait that nobody asked for: e^(2.5 n) seconds, n from one, whole seconds, at most a day.

    Args:
        retried: Retries already made, so 0 after the first attempt failed.

    Source: QStash documentation, "Retry". It prints whole seconds, rounded down.
    """
    assert retried >= 0
    # e^(2.5 * 5) is already above a day, and e^(2.5 * 284) would overflow a float.
    n = min(retried + 1, 5)
    return min(math.floor(math.exp(2.5 * n)) * SECOND, LONGEST)


def retryable(outcome: Outcome) -> bool:
    """Whether another attempt may help: not if the receiver says so with 489, nor if our copy is damaged."""
    if outcome.error == "corrupt":
        return False
    if outcome.status != 489:
        return True
    return not any(
        name.lower() == "upstash-nonretryable-error" and value.strip().lower() == "true"
        for name, value in outcome.headers
    )


def next_delay(policy: RetryPolicy, retried: int, outcome: Outcome, now: Millis) -> Delay:
    """Decide how long to wait after a failed attempt that has a retry left.

    Args:
        policy: What the publisher asked for.
        retried: Retries already made, so 0 after the first attempt failed.
        outcome: The answer, whose headers may name a time.
        now: When the attempt ended; a date in a header is measured from here.
    """
    hinted, note = _hinted(outcome.headers, now)
    if hinted is not None:
        return Delay(hinted, note)
    if policy.delays_ms:
        at = min(retried, len(policy.delays_ms) - 1)
        return Delay(min(policy.delays_ms[at], LONGEST), note)
    if policy.expression is None:
        return Delay(backoff(retried), note)
    computed, problem = _computed(policy.expression, retried)
    notes = "; ".join(text for text in (note, problem) if text)
    return Delay(backoff(retried) if computed is None else computed, notes or None)


def _computed(expression: str, retried: int) -> tuple[Millis | None, str | None]:
    """Return the value of an expression in milliseconds, or None and what is wrong with it."""
    try:
        value = float(parse_expression(expression)(float(retried)))
    except (ArithmeticError, ValueError) as error:
        return None, f"the retry delay expression failed ({error}); default backoff used"
    if not math.isfinite(value) or value < 0:
        return None, f"the retry delay expression gave {value:g}; default backoff used"
    return min(math.ceil(value), LONGEST), None


def _hinted(headers: Headers, now: Millis) -> tuple[Millis | None, str | None]:
    """Return the wait that the answer asks for, or None; and what of it could not be used."""
    hints: list[tuple[str, str]] = []
    for name, value in headers:
        if name[:1] in "rRxX" and name.lower() in _HINTS:
            hints.append((name.lower(), value))
    if not hints:
        return None, None
    notes: list[str] = []
    waits = list(_waits(hints, now, notes))
    after = [wait for name, wait in waits if name == "retry-after"][:1]
    rates = [wait for name, wait in waits if name != "retry-after"]
    for name, found in (("Retry-After", after), ("X-RateLimit-Reset", rates)):
        wait = max(found, default=None)
        if wait is not None and wait <= LONGEST:
            return wait, "; ".join(notes) or None
        if wait is not None:
            notes.append(f"{name} ignored: beyond one day")
    return None, "; ".join(notes) or None


def _waits(hints: list[tuple[str, str]], now: Millis, notes: list[str]) -> Iterator[tuple[str, Millis]]:
    for name, value in hints:
        wait = _read_hint(value.strip(" \t"), now)
        if wait is None:
            notes.append(f"{name} ignored: not seconds, date or duration: {value[:60]!r}")
        else:
            yield name, wait


def _read_hint(value: str, now: Millis) -> Millis | None:
    """Return the wait that a header's value means, 0 for the past, or None if it cannot be read."""
    if len(value) == _DATE_LENGTH and value.endswith(" GMT"):
        until = _read_date(value)
        return None if until is None else max(until - now, 0)
    try:
        return parse_duration(value)
    except ValueError:
        return None


def _read_date(value: str) -> Millis | None:
    """Read an RFC 1123 date (``Sun, 06 Nov 1994 08:49:37 GMT``); the name of the day is not compared."""
    day, month, year, clock = value[5:7], value[8:11], value[12:16], value[17:25]
    digits = day + year + clock[:2] + clock[3:5] + clock[6:]
    if not (digits.isascii() and digits.isdigit()) or month not in _MONTHS or clock[2] + clock[5] != "::":
        return None
    try:
        instant = datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(clock[:2]),
            int(clock[3:5]),
            min(int(clock[6:]), 59),  # A leap second has no other name in Python.
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return int(instant.timestamp()) * SECOND
