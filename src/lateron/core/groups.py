"""URL groups: one publish becomes a message for every endpoint of a group.

A group is a name, its endpoints in the order in which they came, and headers that configure a publish to
it as far as the publish does not do so itself. Which endpoints a publish means is decided in the
transaction that stores it: ``expand`` is given the group as that transaction sees it, and makes all
publications or raises. What comes later about one endpoint (a retry, a dead letter) touches no other.

Defaults and request are merged header by header, and the request wins. Some headers say one thing together,
and then the request's one displaces all of the default's: a delay a date, a list of retry delays a formula and
a number, a flow-control key the limits of another, the URL of a callback the options of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.options import Config, read_flag
from lateron.core.publish import GroupPublication, build, group_key
from lateron.core.quota import Quota
from lateron.core.reach import Check, guard
from lateron.core.values import Headers, Millis, Publication, Tenant
from lateron.errors import NotFound, RequestError, TooLarge

MAX_FAN_OUT: Final = 10_000  # Messages that one request may become.
FAN_OUT_BYTES: Final = 256 << 20  # Of their bodies.

# What the request says: what it displaces of the defaults, beside the same option.
_DISPLACES: Final = (
    ("delay", ("not-before",)),
    ("retry-delay", ("lateron-retry-delays",)),
    ("lateron-retry-delays", ("retry-delay", "retries")),
    ("flow-control-key", ("flow-control-value",)),
    ("content-based-deduplication", ("deduplication-id",)),
)


class Endpoint(Struct, frozen=True, omit_defaults=True):
    """One destination of a group; its URL is unique in the group, and so is its name."""

    url: str
    name: str | None = None


class Group(Struct, frozen=True):
    """A URL group; it has at least one endpoint."""

    tenant: Tenant
    name: str
    created: Millis
    updated: Millis
    endpoints: tuple[Endpoint, ...]
    headers: Headers = ()  # The defaults, as ``Config.pairs`` returns them.


class Target(Struct, frozen=True):
    """Which endpoints to remove: those of this URL, and those of this name."""

    url: str | None = None
    name: str | None = None


def with_endpoints(
    group: Group | None, tenant: Tenant, name: str, new: Sequence[Endpoint], quota: Quota, now: Millis
) -> Group:
    """Return a group with endpoints added, or brought up to date where their URL or name is known.

    Args:
        group: As it is; None makes it.
        tenant: Whose.
        name: Of the group.
        new: At least one; the last one wins where they contradict each other.
        quota: The limits.
        now: Time of the change.

    Raises:
        QuotaExceeded: It would have too many endpoints.
    """
    endpoints = list(group.endpoints) if group is not None else []
    for endpoint in new:
        _put(endpoints, endpoint)
    quota.check("endpoints", len(endpoints), quota.endpoints)
    # Rounded up: a client that looks at its clock, calls, and compares finds the change later, never at once.
    at = now + 1
    if group is None:
        return Group(tenant, name, at, at, tuple(endpoints))
    return replace(group, endpoints=tuple(endpoints), updated=max(at, group.updated))


def _put(endpoints: list[Endpoint], new: Endpoint) -> None:
    """Add one endpoint, or change the one it names; where name and URL belong to two, these become one."""
    named = [i for i, old in enumerate(endpoints) if new.name is not None and old.name == new.name]
    same = [i for i, old in enumerate(endpoints) if old.url == new.url]
    if not named and not same:
        endpoints.append(new)
        return
    place = (named or same)[0]
    name = endpoints[place].name if new.name is None else new.name
    endpoints[place] = Endpoint(new.url, name)
    endpoints[:] = [old for i, old in enumerate(endpoints) if i == place or i not in same]


def without_endpoints(group: Group, targets: Sequence[Target], now: Millis) -> Group | None:
    """Return a group without some endpoints; None if none is left, for then the group is gone too."""
    urls = {target.url for target in targets if target.url is not None}
    names = {target.name for target in targets if target.name is not None}
    left = tuple(e for e in group.endpoints if e.url not in urls and e.name not in names)
    if not left:
        return None
    return replace(group, endpoints=left, updated=max(now + 1, group.updated))


def with_headers(group: Group, headers: Headers, now: Millis) -> Group:
    """Return a group with other defaults."""
    return replace(group, headers=headers, updated=max(now + 1, group.updated))


def expand(wanted: GroupPublication, group: Group | None, check: Check) -> tuple[Publication, ...]:
    """Return one publication per endpoint, in the order of the group.

    Args:
        wanted: As it was read.
        group: As the transaction sees it that will store the messages.
        check: Judges every URL.

    Raises:
        NotFound: There is no such group.
        RequestError: With the group's defaults it is no publish that could be accepted.
        TooLarge: Its body would be stored too often.
    """
    if group is None:
        raise NotFound("topic", wanted.group)
    check_size(len(group.endpoints), len(group.endpoints) * len(wanted.body or b""))
    config = merged(wanted, group.headers)
    made = []
    for endpoint in group.endpoints:
        publication = build(with_query(endpoint.url, wanted.query), config, wanted.body, wanted.context)
        guard(check, publication.request)
        options = replace(publication.request.options, topic=group.name, endpoint=endpoint.name)
        made.append(
            replace(
                publication,
                request=replace(publication.request, options=options),
                dedup=None if publication.dedup is None else group_key(publication.dedup, group.name, endpoint.url),
            )
        )
    return tuple(made)


def with_query(url: str, query: str) -> str:
    """Return a URL with a query behind the one it has."""
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def check_size(messages: int, size: int) -> None:
    """Refuse what would hold the store for too long.

    Args:
        messages: That one request would become.
        size: Bytes of their bodies.

    Raises:
        RequestError: They are too many, or too large together.
    """
    if messages > MAX_FAN_OUT:
        raise RequestError(f"a request can become at most {MAX_FAN_OUT} messages, this one {messages}")
    if size > FAN_OUT_BYTES:
        raise TooLarge(f"body: with one for each endpoint {size} bytes, at most {FAN_OUT_BYTES}")


def merged(wanted: GroupPublication, headers: Headers) -> Config:
    """Return the configuration of a publish with the defaults of its group under it."""
    config, defaults = Config.of(wanted.config), Config.of(headers)
    flagged = config if "header-forward" in config.given else defaults
    if read_flag(flagged, "header-forward"):
        explicit = {name for name, _ in config.forwarded}
        config.forwarded += [pair for pair in wanted.plain if pair[0] not in explicit]
    _yield(defaults, config)
    config.under(defaults)
    return config


def _yield(defaults: Config, config: Config) -> None:
    """Take out of the defaults what the request displaces, though it does not name it."""
    for option, displaced in _DISPLACES:
        if option in config.given:
            for name in displaced:
                defaults.given.pop(name, None)
    if "callback" in config.given and "callback" in defaults.given:
        defaults.callback = None
    elif defaults.callback is not None and config.callback is not None:
        _yield(defaults.callback, config.callback)
    if "failure-callback" in config.given and "failure-callback" in defaults.given:
        defaults.failure = None
    elif defaults.failure is not None and config.failure is not None:
        _yield(defaults.failure, config.failure)
