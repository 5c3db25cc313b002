"""What one user may ask for: the limits of a plan, as values.

The numbers are those of the wire contract, 21.10, where some are QStash's and some are ours. ``none`` is
the plan of a server that belongs to its user; where it has a number, a setting can change it with
``overridden``. Asking for more is answered 412 and stores nothing.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.durations import duration_text
from lateron.core.values import DAY, HOUR, MINUTE, Millis
from lateron.errors import QuotaExceeded

MEGABYTE: Final = 1 << 20
BATCH_BYTES: Final = 100 * MEGABYTE  # The body of one batch request, under every quota.


class Quota(Struct, frozen=True):
    """The limits of a plan; ``None`` means no bound."""

    name: str
    body: int  # Bytes of a message's body.
    delay: Millis | None  # From now to the first attempt.
    timeout: Millis  # Default and maximum of an attempt's time, wall to wall.
    retries: int
    queues: int | None
    url_groups: int | None
    endpoints: int | None  # In one URL group.
    schedules: int | None
    parallelism: int | None  # Of one flow-control key or queue.
    dlq_retention: Millis

    def check(self, name: str, value: int, limit: int | None) -> None:
        """Refuse a value above a limit of this quota; ``name`` is spelled as the client did.

        Raises:
            QuotaExceeded: ``value`` is above ``limit``.
        """
        if limit is not None and value > limit:
            raise QuotaExceeded(name, value, limit)

    def check_span(self, name: str, value: Millis, limit: Millis | None) -> None:
        """Refuse a span of time above a limit, as ``check`` does."""
        if limit is not None and value > limit:
            raise QuotaExceeded(name, duration_text(value), duration_text(limit))


QUOTAS: Final = {
    quota.name: quota
    for quota in (
        Quota("free", 1 * MEGABYTE, 7 * DAY, 15 * MINUTE, 5, 10, 1, 100, 10, 10, 3 * DAY),
        Quota("payg", 10 * MEGABYTE, 365 * DAY, 2 * HOUR, 100, 100, 100, 100, 1_000, 100, 7 * DAY),
        Quota("pro", 50 * MEGABYTE, None, 12 * HOUR, 1_000, 1_000, 1_000, 1_000, 10_000, 1_000, 30 * DAY),
        Quota("none", 50 * MEGABYTE, None, 2 * HOUR, 1_000_000, None, None, None, None, None, 30 * DAY),
    )
}

# What has been judged before is not judged again: a schedule goes on when the quota shrinks.
ANYTHING: Final = Quota("anything", 1 << 62, None, 1 << 62, 1 << 62, None, None, None, None, None, 1 << 62)


def overridden(
    quota: Quota, *, body: int | None = None, timeout: Millis | None = None, dlq_retention: Millis | None = None
) -> Quota:
    """Return the quota with those limits that the operator set; ``None`` keeps the plan's."""
    return replace(
        quota,
        body=quota.body if body is None else body,
        timeout=quota.timeout if timeout is None else timeout,
        dlq_retention=quota.dlq_retention if dlq_retention is None else dlq_retention,
    )
