"""How a bulk job is asked for: the JSON of ``POST /lateron/v1/jobs``, and what is told of a job.

The filter has the names of the lists' query parameters. It must be there: ``{}`` means everything, and saying nothing
means nothing. Options are those of a publish, by their names.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from lateron.core import bulk
from lateron.core.body import read_body
from lateron.core.bulk import OF_LETTERS, WORDS, Job, JobKind, Order
from lateron.core.durations import parse_duration
from lateron.core.filters import DEAD_LETTER_FILTERS, MESSAGE_FILTERS, parse_filter
from lateron.core.publish import PublishContext, parse_overrides
from lateron.core.values import Filter, Millis, Overrides
from lateron.errors import InvalidValue, RequestError

FASTEST: Final = 100_000  # A second.
SLOWEST: Final = 0.0001
NAMED_MOST: Final = 10_000  # Ids that one job names.
_NOT_OF_JOBS: Final = frozenset(("count", "cursor", "source", "api"))
_SHAPE: Final = '{"kind": "cancel", "filter": {"label": ["a"]}}'
_STATES: Final = ("running", "done", "cancelled", "failed")
_KIND_WORDS: Final = {kind: word for word, kind in WORDS.items()}


class _Asked(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    kind: str
    filter: dict[str, str | int | list[str | int]]
    rate: float | None = None
    spread: str | None = None
    limit: int | None = None
    options: dict[str, str] = {}
    body: str | None = None
    body_base64: str | None = None
    dry_run: bool = False


class Wanted(Struct, frozen=True):
    """A job that somebody asks for."""

    order: Order
    spread: Millis | None = None  # Over so long; the pace follows from their number.
    dry: bool = False  # Only say how many.


_decode: Final = msgspec.json.Decoder(_Asked).decode


def parse_job(body: bytes, context: PublishContext) -> Wanted:
    """Read what a job shall do.

    Args:
        body: Of the request.
        context: Who asks, when, and under which limits; for the options.

    Raises:
        RequestError: It cannot be read, or contradicts itself.
    """
    asked = read_body(body, _decode, _SHAPE)
    if asked.kind not in WORDS:
        raise InvalidValue("kind", asked.kind, f"one of {', '.join(WORDS)}")
    kind = WORDS[asked.kind]
    shown = {name: [str(one) for one in (v if isinstance(v, list) else [v])] for name, v in asked.filter.items()}
    order = Order(
        kind,
        _filter(kind, shown),
        shown,
        _limit(asked.limit),
        _pace(asked.rate),
        options=tuple(asked.options),
    )
    if asked.rate is not None and asked.spread is not None:
        raise RequestError("rate: expected either it or spread, got both")
    return Wanted(_with_options(order, asked, context), _span(asked.spread), asked.dry_run)


def _filter(kind: JobKind, shown: Mapping[str, list[str]]) -> Filter:
    allowed = DEAD_LETTER_FILTERS if kind in OF_LETTERS else MESSAGE_FILTERS
    if kind is JobKind.ERASE:
        if list(shown) != ["label"]:
            raise InvalidValue("filter", dict(shown), 'exactly {"label": [...]} for an erase')
        allowed = frozenset(("label",))
    for name, values in shown.items():
        if not values:
            raise InvalidValue(f"filter.{name}", [], "a value")
    pairs = [(name, value) for name, values in shown.items() for value in values]
    chosen = parse_filter(pairs, allowed - _NOT_OF_JOBS).filter
    if len(chosen.message_ids) + len(chosen.dlq_ids) > NAMED_MOST:
        raise RequestError(f"filter: expected at most {NAMED_MOST} ids; a filter by label or time has no bound")
    return chosen


def _limit(limit: int | None) -> int | None:
    if limit is not None and not 0 < limit < 1 << 53:
        raise InvalidValue("limit", limit, "a whole number above 0")
    return limit


def _pace(rate: float | None) -> int:
    if rate is None:
        return 0
    if not SLOWEST <= rate <= FASTEST:
        raise InvalidValue("rate", rate, f"a number a second, from {SLOWEST} to {FASTEST}")
    return round(1_000_000 / rate)


def _span(text: str | None) -> Millis | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError:
        raise InvalidValue("spread", text, "a span such as 10m") from None


def _with_options(order: Order, asked: _Asked, context: PublishContext) -> Order:
    for name in asked.options:
        if not name.lower().startswith(("upstash-", "lateron-")):
            raise InvalidValue("options", name, "names that begin with Upstash- or Lateron-")
    overrides = parse_overrides((), context, list(asked.options.items()))
    content = _body(asked)
    if content is not None:
        context.quota.check("body", len(content), context.quota.body)
    if order.kind is JobKind.REPLAY:
        return replace(order, overrides=replace(overrides, body=content))
    if content is not None:
        raise RequestError("body: expected it only with replayDeadLetters")
    if order.kind is JobKind.RESCHEDULE:
        return replace(order, due=_due(overrides, context.now))
    if asked.options:
        raise RequestError("options: expected them only with replayDeadLetters and reschedule")
    return order


def _due(overrides: Overrides, now: Millis) -> Millis:
    times = (overrides.delay_ms, overrides.not_before)
    if replace(overrides, delay_ms=None, not_before=None) != Overrides() or times.count(None) != 1:
        raise RequestError("options: expected either Upstash-Delay or Upstash-Not-Before with reschedule")
    return max(now, now + (overrides.delay_ms or 0) if overrides.not_before is None else overrides.not_before)


def _body(asked: _Asked) -> bytes | None:
    if asked.body_base64 is None:
        return None if asked.body is None else asked.body.encode("utf-8", "surrogatepass")
    if asked.body is not None:
        raise RequestError("body: expected either it or bodyBase64, got both")
    try:
        return b64decode(asked.body_base64, validate=True)
    except ValueError:
        raise InvalidValue("bodyBase64", asked.body_base64, "base64") from None


def job_object(job: Job) -> dict[str, Any]:
    """Return what is told of a job; of its options the names only, for their values may be secrets."""
    order = job.order
    told = {
        "jobId": bulk.job_text(job.id),
        "kind": _KIND_WORDS[order.kind],
        "state": _STATES[job.state],
        "filter": order.shown,
        "done": job.done,
        "failed": job.failed,
        "total": job.total,
        "limit": order.limit,
        "rate": round(1_000_000 / order.pace_us, 4) if order.pace_us else None,
        "options": list(order.options) or None,
        "by": job.by,
        "createdAt": job.created,
        "endedAt": job.ended,
        "endsAt": None if job.ended else bulk.ends(job),
    }
    return {name: value for name, value in told.items() if value is not None}
