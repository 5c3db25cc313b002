"""The limits of each plan are the documented ones, and what exceeds them is refused by name."""

from __future__ import annotations

import pytest

from lateron.core.quota import MEGABYTE, QUOTAS, overridden
from lateron.core.values import DAY, HOUR, MINUTE
from lateron.errors import QuotaExceeded


@pytest.mark.parametrize(
    ("name", "body", "delay", "timeout", "retries", "schedules", "dlq_retention"),
    [
        ("free", MEGABYTE, 7 * DAY, 15 * MINUTE, 5, 10, 3 * DAY),
        ("payg", 10 * MEGABYTE, 365 * DAY, 2 * HOUR, 100, 1_000, 7 * DAY),
        ("pro", 50 * MEGABYTE, None, 12 * HOUR, 1_000, 10_000, 30 * DAY),
        ("none", 50 * MEGABYTE, None, 2 * HOUR, 1_000_000, None, 30 * DAY),
    ],
)
def test_plans_have_the_documented_limits(
    name: str, body: int, delay: int | None, timeout: int, retries: int, schedules: int | None, dlq_retention: int
) -> None:
    """They are read as a table in the documentation, wire contract 21.10."""
    quota = QUOTAS[name]
    shown = (quota.body, quota.delay, quota.timeout, quota.retries, quota.schedules, quota.dlq_retention)
    assert shown == (body, delay, timeout, retries, schedules, dlq_retention)


def test_a_million_retries_are_refused_under_every_named_plan() -> None:
    """A test of the official suite asks for them to see 412."""
    for name in ("free", "payg", "pro"):
        with pytest.raises(QuotaExceeded, match="Upstash-Retries"):
            QUOTAS[name].check("Upstash-Retries", 1_000_000, QUOTAS[name].retries)
    QUOTAS["none"].check("Upstash-Retries", 1_000_000, QUOTAS["none"].retries)


def test_refused_span_is_shown_as_text() -> None:
    """Nobody reads days in milliseconds."""
    with pytest.raises(QuotaExceeded, match=r"Upstash-Delay: the quota allows at most 7d, got 8d1s"):
        QUOTAS["free"].check_span("Upstash-Delay", 8 * DAY + 1000, QUOTAS["free"].delay)


def test_settings_replace_limits_one_by_one() -> None:
    """What the operator did not set stays the plan's."""
    changed = overridden(QUOTAS["none"], body=10, timeout=20)
    assert (changed.body, changed.timeout, changed.dlq_retention) == (10, 20, 30 * DAY)
    assert overridden(QUOTAS["none"], dlq_retention=DAY).dlq_retention == DAY
