"""URL groups on the wire: the bodies that change one, and the object that shows it."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from lateron.core.batch import gather
from lateron.core.body import read_body
from lateron.core.destination import parse_destination
from lateron.core.groups import Endpoint, Group, Target
from lateron.core.headers import grouped
from lateron.core.options import Config, Given, read_flag, read_redaction
from lateron.core.publish import PublishContext, build, is_group_name
from lateron.core.reach import Check, guard
from lateron.core.redact import both, redact_headers
from lateron.core.text import check_name
from lateron.core.values import Headers, Redaction
from lateron.errors import InvalidValue, RequestError

T = TypeVar("T")

# Options of a publish that can be a group's default. A date in a schedule is not one: publishing to the
# group would then create schedules. Options of ours, ``lateron-...``, are judged by ``Config`` itself.
_DEFAULTS: Final = frozenset(
    (
        "method",
        "retries",
        "retry-delay",
        "timeout",
        "delay",
        "not-before",
        "callback",
        "failure-callback",
        "flow-control-key",
        "flow-control-value",
        "label",
        "redact-fields",
        "deduplication-id",
        "content-based-deduplication",
        "header-forward",
        "queue-name",
        "feature-set",
    )
)
_SAMPLE: Final = "https://example.com"  # A destination to try defaults with; nothing is sent to it.


class _Given(Struct, frozen=True, forbid_unknown_fields=True):
    url: str | None = None
    name: str | None = None


class _Endpoints(Struct, frozen=True, forbid_unknown_fields=True):
    endpoints: list[_Given]


class _Patch(Struct, frozen=True, forbid_unknown_fields=True):
    headers: dict[str, str | list[str]]


_decode_endpoints = msgspec.json.Decoder(_Endpoints).decode
_decode_patch = msgspec.json.Decoder(_Patch).decode


def check_group_name(name: str) -> str:
    """Return the name unchanged, if a URL group can have it.

    Raises:
        InvalidValue: It cannot.
    """
    if not is_group_name(name):
        raise InvalidValue("name", name, "1 to 256 letters, digits, '-', '.' or '_', and not 'api', '.' or '..'")
    return name


def parse_endpoints(body: bytes, check: Check) -> tuple[Endpoint, ...]:
    """Read the endpoints to add: ``{"endpoints": [{"url", "name"?}]}``.

    Args:
        body: Of the request.
        check: Judges every URL.

    Raises:
        RequestError: It is something else, or a URL cannot be called.
    """
    endpoints = []
    for given in _listed(body):
        if not given.url:
            raise RequestError("body: each endpoint needs a url")
        check(parse_destination(given.url))
        endpoints.append(Endpoint(given.url, check_name("name", given.name) if given.name else None))
    return tuple(endpoints)


def parse_targets(body: bytes) -> tuple[Target, ...]:
    """Read the endpoints to remove: ``{"endpoints": [{"url"?, "name"?}]}``.

    Raises:
        RequestError: It is something else.
    """
    targets = []
    for given in _listed(body):
        if not given.url and not given.name:
            raise RequestError("body: each endpoint needs a url or a name")
        targets.append(Target(given.url or None, given.name or None))
    return tuple(targets)


def _listed(body: bytes) -> list[_Given]:
    listed = read_body(body, _decode_endpoints, '{"endpoints": [{"url": "https://...", "name": "..."}]}').endpoints
    if not listed:
        raise RequestError("body: at least one endpoint")
    return listed


def parse_defaults(body: bytes, context: PublishContext, check: Check) -> Headers:
    """Read the default headers of a group: ``{"headers": {name: text or texts}}``.

    They are tried on a publish, so that a bad one is refused here and not to each publisher.

    Args:
        body: Of the request.
        context: Of the request; its quota bounds the defaults as it does a publish.
        check: Judges every URL.

    Raises:
        RequestError: It is something else, or one of them does not configure a publish.
        NotSupported: One of them belongs to a part of the API that is not built yet.
    """
    config = Config()
    given = read_body(body, _decode_patch, '{"headers": {"Upstash-Retries": "5"}}').headers
    for name, _ in gather(config, given):
        if name.lower() != "content-type" and not name.lower().startswith(("upstash-", "lateron-")):
            raise RequestError(f"{name}: configures no publish; to forward it, name it Upstash-Forward-{name}")
    for option, value in config.given.items():
        if option not in _DEFAULTS and (option == "lateron-hops" or not option.startswith("lateron-")):
            raise RequestError(f"{value.spelled}: cannot be a default of a URL group")
    headers = config.pairs()
    guard(check, build(_SAMPLE, _trial(headers), None, context).request)
    read_flag(config, "header-forward")
    return headers


def _trial(headers: Headers) -> Config:
    """Return a configuration in which every option is used, also those of a callback that a request must name."""
    config = Config.of(headers)
    for part in (config, config.callback, config.failure):
        if part is not None and part.callback is not None:
            part.given.setdefault("callback", Given("Upstash-Callback", _SAMPLE))
        if part is not None and part.failure is not None:
            part.given.setdefault("failure-callback", Given("Upstash-Failure-Callback", _SAMPLE))
    return config


def group_object(group: Group) -> dict[str, Any]:
    """Return a group as ``GET /v2/topics/{name}`` shows it; the defaults are ours to show, if there are any."""
    shown: dict[str, Any] = {
        "name": group.name,
        "createdAt": group.created,
        "updatedAt": group.updated,
        "endpoints": [
            {"url": endpoint.url} if endpoint.name is None else {"url": endpoint.url, "name": endpoint.name}
            for endpoint in group.endpoints
        ],
    }
    if group.headers:
        shown["headers"] = grouped(_redacted(group.headers))
    return shown


def _redacted(headers: Headers) -> Headers:
    """Hide the values that the defaults themselves hide of the messages, or of their callbacks."""
    config = Config.of(headers)
    hidden: Redaction | None = None
    for part in (config, config.callback, config.failure):
        if part is not None:
            hidden = both(hidden, read_redaction(part))
    return tuple((name, _hidden(name, value, hidden)) for name, value in headers)


def _hidden(name: str, value: str, redaction: Redaction | None) -> str:
    lower = name.lower()
    sent = lower if lower == "content-type" else lower.partition("forward-")[2]
    return redact_headers(((sent, value),), redaction)[0][1] if sent else value
