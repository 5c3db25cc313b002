"""The configuration of a publish: from names and values to ``Options``, in two steps.

``Config`` gathers. Every way to say a thing ends there under one name, without its prefix, with what the
client called it, so that an error can repeat that::

    Upstash-Retries: 3                             retries
    ?upstash-retries=3                             retries
    Upstash-Forward-X: v                           forwarded X
    Upstash-Callback-Retries: 3                    callback: retries
    Upstash-Callback-Forward-X: v                  callback: forwarded X
    Upstash-Callback-Failure-Callback-Retries: 3   callback: failure callback: retries
    Lateron-Retry-Delays, Upstash-Forward-Lateron-Retry-Delays, ?lateron-retry-delays
                                                   lateron-retry-delays

``read_options`` understands. What would fail at delivery (an unreadable callback URL, an option that a
callback does not have) is refused here, before anything is stored: a promise that nobody can keep must not
be answered with 201.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from lateron.core.destination import parse_destination
from lateron.core.durations import MAX_DURATION, parse_duration
from lateron.core.expression import parse_expression
from lateron.core.headers import canonical_name, forwarded_name, has_control, shown_text
from lateron.core.queue import check_queue_name
from lateron.core.quota import Quota
from lateron.core.text import check_name
from lateron.core.values import (
    DAY,
    SECOND,
    CallbackOptions,
    Flow,
    Headers,
    Millis,
    Redaction,
    RetryPolicy,
)
from lateron.errors import InvalidDestination, InvalidValue, NotSupported, RequestError

T = TypeVar("T")

METHODS: Final = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))
MAX_HEADERS: Final = 200
MAX_HEADER_BYTES: Final = 32_768
MAX_LABELS: Final = 32
MAX_DELAYS: Final = 100
MAX_DEDUP_ID: Final = 1_024
MAX_RATE: Final = 1_000_000_000
LONGEST_PERIOD: Millis = 7 * DAY

_RETRY: Final = frozenset(("retries", "retry-delay", "lateron-retry-delays"))
# What a callback has, beside its own failure callback and forwarded headers.
_CALLBACK: Final = _RETRY | {
    "method",
    "timeout",
    "delay",
    "not-before",
    "flow-control-key",
    "flow-control-value",
    "lateron-flow-smooth",
    "label",
    "redact-fields",
}
_IGNORED: Final = frozenset(("feature-set", "lateron-hops"))  # Harmless where they come with a callback.
# What only a schedule has; ``core.recurring`` reads it.
OF_SCHEDULES: Final = frozenset(
    f"lateron-{name}" for name in ("missed", "overlap", "start", "end", "most-runs", "jitter")
)
_NAMED: Final = ", ".join(sorted(name.title() for name in OF_SCHEDULES))
_LATERON: Final = OF_SCHEDULES | frozenset(
    ("lateron-retry-delays", "lateron-order-key", "lateron-flow-smooth", "lateron-hops")
)

# Of a message, without ``upstash-``, beside those that begin ``lateron-``. Checklist: a new option needs its name here.
NAMES: Final = frozenset(name for name in _CALLBACK if not name.startswith("lateron-")) | {
    "callback",
    "content-based-deduplication",
    "cron",
    "deduplication-id",
    "failure-callback",
    "queue-name",
    "schedule-id",
}


def is_option(name: str) -> bool:
    """Whether something may read an option, as ``Config.add`` takes it; what it does not know it keeps, unread."""
    for start in ("failure-callback-", "callback-"):
        if name.startswith(start):
            return is_option(name.removeprefix(start))
    # What else begins with one of these is refused by name, or is for others.
    return name in NAMES or name in _IGNORED or name.startswith(("forward-", "lateron-", "workflow-", "telemetry-"))


class WorkflowNotSupported(NotSupported):
    """The request is one of the workflow protocol; a batch that has one is refused as a whole."""

    def __init__(self, spelled: str) -> None:
        super().__init__(f"the workflow protocol is not supported yet: {spelled}")


class Given(NamedTuple):
    """The value of an option, and the name the client gave it."""

    spelled: str
    value: str  # As on the wire; see ``core.headers``.


class Config:
    """What a client configured, gathered from headers and query, not yet understood."""

    __slots__ = ("callback", "content_type", "failure", "forwarded", "given")

    def __init__(self) -> None:
        self.given: dict[str, Given] = {}
        self.forwarded: list[tuple[str, str]] = []
        self.content_type: str | None = None  # The plain one; it wins over a forwarded one.
        self.callback: Config | None = None
        self.failure: Config | None = None

    def add(self, name: str, spelled: str, value: str) -> None:
        """Take one option.

        Args:
            name: Lower-case, without ``upstash-`` (with ``lateron-``, where it begins so).
            spelled: The whole name as the client wrote it.
            value: As on the wire.

        Raises:
            WorkflowNotSupported: It belongs to the workflow protocol.
            RequestError: The name or the value cannot be a header's, or the option is unknown.
        """
        if name.startswith("forward-"):
            self._forward(name[8:], spelled, value)
        elif name.startswith("callback-"):
            self.callback = self.callback or Config()
            self.callback.add(name[9:], spelled, value)
        elif name.startswith("failure-callback-"):
            self.failure = self.failure or Config()
            self.failure.add(name[17:], spelled, value)
        elif name.startswith("workflow-"):
            raise WorkflowNotSupported(spelled)
        elif name.startswith("lateron-") and name not in _LATERON:
            raise RequestError(
                f"{spelled}: unknown option; known are Lateron-Retry-Delays, Lateron-Order-Key, Lateron-Flow-Smooth, "
                f"and for schedules {_NAMED}"
            )
        elif not name.startswith("telemetry-"):
            before = self.given.get(name)
            joined = value if before is None else f"{before.value}, {value}"
            self.given[name] = Given(spelled, joined)

    def _forward(self, name: str, spelled: str, value: str) -> None:
        if name.startswith("lateron-"):  # The SDKs prefix every header they do not know.
            self.add(name, spelled, value)
            return
        try:
            canonical = forwarded_name(name)
        except ValueError as error:
            raise InvalidValue(spelled, name, str(error)) from None
        if canonical:
            self.forward(canonical, spelled, value)

    def forward(self, canonical: str, spelled: str, value: str) -> None:
        """Take a header to forward, whose name has been found to be one."""
        if has_control(value):
            raise RequestError(f"{spelled}: expected no control characters")  # The value may be a secret.
        self.forwarded.append((canonical, value))

    def under(self, other: Config) -> None:
        """Fill what is missing from ``other``: what is said here wins."""
        self.given = {**other.given, **self.given}
        names = {name for name, _ in self.forwarded}
        self.forwarded += [pair for pair in other.forwarded if pair[0] not in names]
        self.content_type = self.content_type or other.content_type
        self.callback = _under(self.callback, other.callback)
        self.failure = _under(self.failure, other.failure)

    def pairs(self, prefix: str = "Upstash-") -> Headers:
        """Return the headers that say the same; ``Config.of`` reads them."""
        kept = [(f"{prefix}{name.title()}", given.value) for name, given in self.given.items()]
        kept += [(f"{prefix}Forward-{name}", value) for name, value in self.forwarded]
        if self.content_type:
            kept.append(("Content-Type", self.content_type))
        for name, config in (("Callback", self.callback), ("Failure-Callback", self.failure)):
            if config is not None:
                kept += config.pairs(f"{prefix}{name}-")
        return tuple(kept)

    @classmethod
    def of(cls, pairs: Headers) -> Config:
        """Gather the configuration that headers say."""
        config = cls()
        for name, value in pairs:
            option = name.lower()
            if option == "content-type":
                config.content_type = value
            else:
                config.add(option.removeprefix("upstash-"), name, value)
        return config

    def headers(self) -> Headers:
        """Return what is forwarded: ``Content-Type`` once, the rest as gathered, duplicates kept.

        Raises:
            RequestError: They are more, or longer, than a receiver can be expected to take.
        """
        forwarded, content_type = self.forwarded, self.content_type
        if content_type:
            if has_control(content_type):
                raise RequestError("Content-Type: expected no control characters")
            if not forwarded:
                return (("Content-Type", content_type),)
            forwarded = [pair for pair in forwarded if pair[0] != "Content-Type"]
            forwarded.append(("Content-Type", content_type))
        if not forwarded:
            return ()
        if len(forwarded) > MAX_HEADERS:
            raise RequestError(f"headers: at most {MAX_HEADERS} can be forwarded, got {len(forwarded)}")
        size = sum([len(name) + len(value) for name, value in forwarded])
        if size > MAX_HEADER_BYTES:
            raise RequestError(f"headers: at most {MAX_HEADER_BYTES} bytes can be forwarded, got {size}")
        return tuple(forwarded)


def _under(mine: Config | None, other: Config | None) -> Config | None:
    if mine is None or other is None:
        return mine or other
    mine.under(other)
    return mine


def read_callback(config: Config, name: str, quota: Quota, retry: RetryPolicy, now: Millis) -> CallbackOptions | None:
    """Return the callback that a publish asks for, if it does.

    Args:
        config: The publish, or (for its failure callback) the callback.
        name: ``callback`` or ``failure-callback``.
        quota: The limits for the callback's own message.
        retry: The policy of the message it reports on: what the callback does not set is as there.
        now: Time of the request.

    Raises:
        RequestError: The URL or an option could not be used.
    """
    url = config.given.get(name)
    if url is None:
        return None
    destination = read(url, _callback_url, "a URL to call")
    own = (config.callback if name == "callback" else config.failure) or Config()
    for option, given in own.given.items():
        _check_callback_option(option, given, nested=own is config.failure)
    policy = read_retry(own, quota, retry) if _RETRY & own.given.keys() else None
    return CallbackOptions(
        url=destination,
        method=read_method(own) or "POST",
        headers=own.headers(),
        retry=policy,
        timeout_ms=read_timeout(own, quota),
        delay_ms=read_delay(own, quota) or 0,
        not_before=read_not_before(own, quota, now),
        flow=read_flow(own, quota),
        labels=read_labels(own) or (),
        redact=read_redaction(own),
        failure_callback=read_callback(own, "failure-callback", quota, policy or retry, now),
    )


def _check_callback_option(option: str, given: Given, *, nested: bool) -> None:
    if option in {"callback", "failure-callback"}:
        if nested or option == "callback":
            raise RequestError(f"{given.spelled}: a callback can have a failure callback, and nothing nests deeper")
    elif option not in _CALLBACK and option not in _IGNORED:
        start = given.spelled.lower().rfind(option)
        if start < 0:  # Beyond ASCII it is spelled otherwise than it came; no header can have such a name.
            raise RequestError(f"{given.spelled}: not an option of a callback")
        hint = f"{given.spelled[:start]}Forward-{given.spelled[start:]}"
        raise RequestError(f"{given.spelled}: not an option of a callback; to send it as a header, name it {hint}")


def _callback_url(text: str) -> str:
    try:
        return parse_destination(text).url
    except InvalidDestination as error:
        raise ValueError(str(error)) from None


def read(given: Given, parse: Callable[[str], T], expected: str) -> T:
    """Return what a value means.

    Raises:
        InvalidValue: ``parse`` raised a ``ValueError``; what it said is part of the message.
    """
    value = shown_text(given.value.strip(" \t"))
    try:
        return parse(value)
    except ValueError as error:
        said = str(error)
        raise InvalidValue(given.spelled, value, f"{expected} ({said})" if said else expected) from None


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError
    return int(text)


def _positive(text: str) -> int:
    number = _whole(text)
    if number == 0:
        raise ValueError
    return number


def _one_day_at_most(text: str) -> Millis:
    span = parse_duration(text)
    if span > DAY:
        raise ValueError("longer than a day")
    return span


def read_method(config: Config) -> str | None:
    """Return the method in capitals, or None."""
    given = config.given.get("method")
    if given is None:
        return None
    method = given.value.strip(" \t").upper()
    if method not in METHODS:
        raise InvalidValue(given.spelled, shown_text(given.value), "one of GET, POST, PUT, PATCH, DELETE")
    return method


def read_retry(config: Config, quota: Quota, base: RetryPolicy) -> RetryPolicy:
    """Return the retry policy; what is not configured is as in ``base``."""
    given = config.given
    if not _RETRY & given.keys():
        return base
    retries, expression, delays = base.retries, base.expression, base.delays_ms
    if (listed := given.get("lateron-retry-delays")) is not None:
        if (other := given.get("retry-delay")) is not None:
            raise RequestError(f"{listed.spelled}: cannot be combined with {other.spelled}")
        delays, expression = read(listed, _delays, "durations of at most a day, separated by commas"), None
        retries = len(delays)
        quota.check(listed.spelled, retries, quota.retries)
    elif (formula := given.get("retry-delay")) is not None:
        expression, delays = read(formula, _expression, "arithmetic with the variable 'retried'"), ()
    if (count := given.get("retries")) is not None:
        retries = read(count, _whole, "a whole number")
        quota.check(count.spelled, retries, quota.retries)
    return RetryPolicy(retries, expression, delays)


def _expression(text: str) -> str:
    parse_expression(text)
    return text


def _delays(text: str) -> tuple[Millis, ...]:
    delays = tuple(_one_day_at_most(part) for part in text.split(",", MAX_DELAYS))
    if len(delays) > MAX_DELAYS:
        raise ValueError(f"at most {MAX_DELAYS}")
    return delays


def read_timeout(config: Config, quota: Quota) -> Millis | None:
    """Return how long an attempt may take, at least a millisecond."""
    given = config.given.get("timeout")
    if given is None:
        return None
    timeout = read(given, parse_duration, "a duration like 30s or 5m")
    if timeout == 0:
        raise InvalidValue(given.spelled, given.value, "a duration above zero")
    quota.check_span(given.spelled, timeout, quota.timeout)
    return timeout


def read_delay(config: Config, quota: Quota) -> Millis | None:
    """Return the wait before the first attempt."""
    given = config.given.get("delay")
    if given is None:
        return None
    delay = read(given, parse_duration, "a duration like 10s, 1h30m or 7d")
    quota.check_span(given.spelled, delay, quota.delay)
    return delay


def read_not_before(config: Config, quota: Quota, now: Millis) -> Millis | None:
    """Return the instant before which the message must not be sent; it may lie in the past."""
    given = config.given.get("not-before")
    if given is None:
        return None
    instant = read(given, _unix_time, "a unix time in seconds")
    quota.check_span(given.spelled, max(instant - now, 0), quota.delay)
    return instant


def _unix_time(text: str) -> Millis:
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()) or len(text) > 32:
        raise ValueError
    milliseconds = int(whole or "0") * SECOND + int((fraction + "000")[:3])
    if milliseconds > 2 * MAX_DURATION:
        raise ValueError("far in the future; is it in milliseconds?")
    return milliseconds


def read_flow(config: Config, quota: Quota) -> Flow | None:
    """Return the flow-control key with its limits."""
    key, limits = config.given.get("flow-control-key"), config.given.get("flow-control-value")
    smooth = read_flag(config, "lateron-flow-smooth")
    if key is None:
        if limits is not None:
            raise RequestError(f"{limits.spelled}: a flow-control value needs an Upstash-Flow-Control-Key")
        if smooth:
            raise RequestError("Lateron-Flow-Smooth: needs an Upstash-Flow-Control-Key with a rate")
        return None
    name = check_name(key.spelled, shown_text(key.value.strip(" \t")))
    if name in {".", ".."}:
        raise InvalidValue(key.spelled, name, "another key: clients resolve dots in a path, so nobody could pause it")
    flow = Flow(name) if limits is None else _limits(limits, name, quota)
    if smooth and flow.rate is None:
        raise RequestError("Lateron-Flow-Smooth: needs a rate in the Upstash-Flow-Control-Value")
    return replace(flow, smooth=True) if smooth else flow


def _limits(limits: Given, name: str, quota: Quota) -> Flow:
    flow = read(limits, lambda text: _flow(name, text), "a list like parallelism=5, rate=10, period=1m")
    quota.check(f"{limits.spelled} (parallelism)", flow.parallelism or 0, quota.parallelism)
    return flow


def _flow(key: str, text: str) -> Flow:
    found: dict[str, int] = {}
    for part in text.split(",", 4):
        name, equals, value = (piece.strip(" \t") for piece in part.partition("="))
        name = name.lower()
        if not name:
            continue
        if not equals or name not in {"parallelism", "rate", "period"} or name in found:
            raise ValueError(f"{name[:20]!r} is unknown, without value, or repeated")
        try:
            found[name] = parse_duration(value) if name == "period" else _positive(value)
        except ValueError:
            raise ValueError(f"{name}={value[:20]!r}") from None
    period = found.get("period", SECOND)
    if not SECOND <= period <= LONGEST_PERIOD or period % SECOND:
        raise ValueError("a period has whole seconds, from 1s to 7d")
    if max(found.get("rate", 0), found.get("parallelism", 0)) > MAX_RATE:
        raise ValueError(f"at most {MAX_RATE}")
    return Flow(key, found.get("parallelism"), found.get("rate"), period)


def read_queue(config: Config) -> str | None:
    """Return the name of the queue that a publish goes through."""
    given = config.given.get("queue-name")
    return None if given is None else check_queue_name(given.spelled, shown_text(given.value.strip(" \t")))


def read_order_key(config: Config) -> str | None:
    """Return the key whose messages are delivered one after another."""
    given = config.given.get("lateron-order-key")
    if given is None:
        return None
    if "queue-name" in config.given:
        raise RequestError(f"{given.spelled}: a queue has its own order; use one of the two")
    return check_name(given.spelled, shown_text(given.value.strip(" \t")))


def read_labels(config: Config) -> tuple[str, ...] | None:
    """Return the labels in the order given, without repetitions."""
    given = config.given.get("label")
    if given is None:
        return None
    parts = [part.strip(" \t") for part in shown_text(given.value).split(",")]
    labels = tuple(dict.fromkeys(check_name(given.spelled, part) for part in parts if part))
    if len(labels) > MAX_LABELS:
        raise InvalidValue(given.spelled, shown_text(given.value), f"at most {MAX_LABELS} labels")
    return labels


def read_redaction(config: Config) -> Redaction | None:
    """Return which fields are shown only as their hash."""
    given = config.given.get("redact-fields")
    if given is None:
        return None
    return read(given, _redaction, "a list of body, header, header[Name]")


def _redaction(text: str) -> Redaction | None:
    body = all_headers = False
    names: list[str] = []
    for part in text.split(","):
        field = part.strip(" \t").lower()
        word, bracket, name = field.partition("[")
        if field == "body":
            body = True
        elif field in {"header", "headers"}:
            all_headers = True
        elif bracket and word in {"header", "headers"} and name.endswith("]"):
            # A name that no header can have would hide nothing, and nobody would be told.
            names.append(canonical_name(name[:-1].strip(" \t")).lower())
        elif field:
            raise ValueError(f"{field[:40]!r}")
    if not (body or all_headers or names):
        return None
    return Redaction(body, all_headers, tuple(dict.fromkeys(names)))


def read_flag(config: Config, name: str) -> bool:
    """Return a switch; absent is off."""
    given = config.given.get(name)
    if given is None:
        return False
    value = given.value.strip(" \t").lower()
    if value not in {"true", "false"}:
        raise InvalidValue(given.spelled, shown_text(given.value), "true or false")
    return value == "true"
