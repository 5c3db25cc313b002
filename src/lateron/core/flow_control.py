"""What a user does to a lane by call: pause, resume, pin, unpin, reset; and how such a call is written.

All verbs return a new ``Lane`` that is looked at again at once: each of them may have opened it. None of
them ends an attempt that is open, so a lane whose limit was lowered shrinks by waiting (P-76)::

    pause      nobody starts; the running period goes on and keeps its count
    resume     the head may start again, as far as the limits let it
    pin        what is given holds until it is unpinned, whatever messages bring; a new, empty period begins now
    unpin      messages may bring other limits again; those that were pinned stay until one does
    reset      a new, empty period begins now
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.durations import parse_duration
from lateron.core.flow import Lane, LaneName, lane_name, poke, smoothed
from lateron.core.options import LONGEST_PERIOD, MAX_RATE
from lateron.core.quota import Quota
from lateron.core.text import check_name
from lateron.core.values import SECOND, LaneKind, Millis, Tenant
from lateron.errors import InvalidValue, RequestError

LISTED: Final = 1000  # Lanes on one page of a list.
_HOST_BYTES: Final = 300


class Pin(Struct, frozen=True):
    """The limits to pin; None leaves that one as it is, and pinned or not as before."""

    parallelism: int | None = None
    rate: int | None = None
    period_ms: Millis | None = None
    smooth: bool | None = None


class Unpin(Struct, frozen=True):
    """Which parts to unpin; the rate, its period and whether it is smooth are one part."""

    parallelism: bool = False
    rate: bool = False


class Listing(Struct, frozen=True):
    """Which lanes a list shows, in the order of their names."""

    search: str = ""
    after: str = ""
    count: int = LISTED


def paused(lane: Lane, _now: Millis) -> Lane:
    """Let nobody start any more."""
    return replace(lane, paused=True, next_due=None)


def resumed(lane: Lane, now: Millis) -> Lane:
    """Let the head start again."""
    return _open(replace(lane, paused=False), now)


def pinned(pin: Pin, lane: Lane, now: Millis) -> Lane:
    """Fix limits; a part that is not given stays as it is."""
    if pin.parallelism is not None:
        lane = replace(lane, parallelism=pin.parallelism, pinned_parallelism=True)
    if (pin.rate, pin.period_ms, pin.smooth) != (None, None, None):
        lane = replace(
            lane,
            rate=lane.rate if pin.rate is None else pin.rate,
            period_ms=lane.period_ms if pin.period_ms is None else pin.period_ms,
            pinned_rate=True,
        )
        smooth = lane.earliest is not None if pin.smooth is None else pin.smooth
        lane = smoothed(lane, now, smooth=smooth)
    return rate_reset(lane, now)


def unpinned(unpin: Unpin, lane: Lane, now: Millis) -> Lane:
    """Let messages bring limits again."""
    return _open(
        replace(
            lane,
            pinned_parallelism=lane.pinned_parallelism and not unpin.parallelism,
            pinned_rate=lane.pinned_rate and not unpin.rate,
        ),
        now,
    )


def rate_reset(lane: Lane, now: Millis) -> Lane:
    """Begin a new period in which nothing has started."""
    earliest = None if lane.earliest is None else now * 1000
    return _open(replace(lane, period_start=now, rate_count=0, earliest=earliest), now)


def _open(lane: Lane, now: Millis) -> Lane:
    return poke(replace(lane, next_due=None), now)


def flow_object(lane: Lane, due: int, now: Millis) -> dict[str, Any]:
    """Return a flow-control key as the API shows it (wire contract 11); a limit that is not set is 0.

    Args:
        lane: The lane of the key.
        due: How many messages of it wait although their time has come.
        now: A period that is over by then has no starts.
    """
    return {
        "flowControlKey": lane.name,
        "waitListSize": due,
        **_limits(lane),
        "rateMax": lane.rate or 0,
        "rateCount": lane.rate_count if now < lane.period_start + lane.period_ms else 0,
        "ratePeriod": lane.period_ms // SECOND,
        "ratePeriodStart": lane.period_start // SECOND,
        "isPaused": lane.paused,
        "isPinnedParallelism": lane.pinned_parallelism,
        "isPinnedRate": lane.pinned_rate,
        "isSmooth": lane.earliest is not None,
    }


def host_object(lane: Lane, due: int) -> dict[str, Any]:
    """Return a destination host as our API shows it."""
    return {"host": lane.name, "waitListSize": due, **_limits(lane), "isPaused": lane.paused}


def _limits(lane: Lane) -> dict[str, Any]:
    return {"parallelismMax": lane.parallelism or 0, "parallelismCount": lane.active}


def flow_lane(tenant: Tenant, key: str) -> LaneName:
    """Return the lane of a flow-control key.

    Raises:
        InvalidValue: No key can look so.
    """
    return lane_name(tenant, LaneKind.FLOW, check_name("flow-control key", key))


def host_lane(tenant: Tenant, host: str) -> LaneName:
    """Return the lane of a destination host, named ``host:port`` as lists show it.

    Raises:
        InvalidValue: It has no port, and which one is meant must not be guessed.
    """
    check_name("host", host, _HOST_BYTES)
    name, colon, port = host.rpartition(":")
    if not colon or not name or not port.isascii() or not port.isdigit() or str(int(port[:6])) != port:
        raise InvalidValue("host", host, "host:port, such as example.com:443")
    return lane_name(tenant, LaneKind.HOST, f"{name.strip('[]').lower()}:{port}")


def parse_pin(pairs: Sequence[tuple[str, str]], quota: Quota) -> Pin:
    """Read what a call wants to pin.

    Raises:
        RequestError: It names nothing to pin, or what it names cannot be read.
        QuotaExceeded: The parallelism is more than the quota has.
    """
    given = _once(pairs, frozenset(("parallelism", "rate", "period", "smooth")))
    if not given:
        raise RequestError("pin: expected at least one of parallelism, rate, period")
    parallelism = _limit(given, "parallelism")
    quota.check("parallelism", parallelism or 0, quota.parallelism)
    rate, smooth = _limit(given, "rate"), _switch(given, "smooth")
    if smooth and rate is None:
        raise RequestError("smooth: needs a rate to be pinned with it")
    return Pin(parallelism, rate, _period(given.get("period")), smooth)


def parse_unpin(pairs: Sequence[tuple[str, str]]) -> Unpin:
    """Read what a call wants to unpin.

    Raises:
        RequestError: It names something else, or not with true or false.
    """
    given = _once(pairs, frozenset(("parallelism", "rate")))
    return Unpin(bool(_switch(given, "parallelism")), bool(_switch(given, "rate")))


def parse_listing(pairs: Sequence[tuple[str, str]]) -> Listing:
    """Read which lanes a call wants to see.

    Raises:
        RequestError: A parameter is unknown or cannot be read.
    """
    given = _once(pairs, frozenset(("search", "after", "count")))
    count = given.get("count")
    if count is None:
        number = LISTED
    elif count.isascii() and count.isdigit() and len(count) < 10 and int(count) > 0:
        number = min(int(count), LISTED)
    else:
        raise InvalidValue("count", count, "a whole number above zero")
    return Listing(given.get("search", ""), given.get("after", ""), number)


def _once(pairs: Sequence[tuple[str, str]], known: frozenset[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in known or name in given:
            raise RequestError(f"{name[:200]}: unknown or repeated; known are {', '.join(sorted(known))}")
        given[name] = value
    return given


def _limit(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
    if not 0 < number <= MAX_RATE:
        raise InvalidValue(name, text, f"a whole number from 1 to {MAX_RATE}")
    return number


def _period(text: str | None) -> Millis | None:
    if text is None:
        return None
    try:
        period = parse_duration(text)
    except ValueError as error:
        raise InvalidValue("period", text, f"seconds or a duration like 5m ({error})") from None
    if not SECOND <= period <= LONGEST_PERIOD or period % SECOND:
        raise InvalidValue("period", text, "whole seconds, from 1s to 7d")
    return period


def _switch(given: dict[str, str], name: str) -> bool | None:
    text = given.get(name)
    if text is None:
        return None
    if text.lower() not in {"true", "false"}:
        raise InvalidValue(name, text, "true or false")
    return text.lower() == "true"
