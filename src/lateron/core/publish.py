"""One publish: the raw target, headers and body of a request become a ``Publication``.

The destination stands in the path as it is, ``/v2/publish/https://host/path?x=1``, so its query and ours
share one query string: what is named ``upstash-...``, ``lateron-...`` or ``qstash_token`` is ours and is taken
out, all else stays with the destination, byte for byte and in order.

Nearly every publish has no option at all. That path makes one pass over the headers, asks two questions
of each name, and builds three values.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from lateron.core.destination import parse_destination
from lateron.core.headers import HOPS, forwarded_plain_name, shown_text
from lateron.core.options import (
    MAX_DEDUP_ID,
    OF_SCHEDULES,
    Config,
    Given,
    read,
    read_callback,
    read_delay,
    read_flag,
    read_flow,
    read_labels,
    read_method,
    read_not_before,
    read_order_key,
    read_queue,
    read_redaction,
    read_retry,
    read_timeout,
)
from lateron.core.quota import Quota
from lateron.core.text import NAME_BYTES
from lateron.core.values import (
    MINUTE,
    Headers,
    Millis,
    Options,
    Overrides,
    Publication,
    Request,
    RetryPolicy,
    Tenant,
    Trace,
)
from lateron.errors import InvalidDestination, InvalidValue, NotFound, NotSupported, RequestError

MAX_HOPS: Final = 16  # Of one chain of deliveries; more is a loop.
DEFAULT_RETRY: Final = RetryPolicy()

_HOPS: Final = HOPS.lower()
_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_OURS: Final = (b"upstash-", b"lateron-")
_TOKEN_PARAMETER: Final = b"qstash_token"
_SCHEMES: Final = (b"http:/", b"https:/")


class CronGiven(NotSupported):
    """What was read as a message asks for a schedule: right wherever one publishes, and refused elsewhere."""

    def __init__(self, spelled: str) -> None:
        super().__init__(f"{spelled}: no schedule can be made here")


class PublishContext(Struct, frozen=True, gc=False):
    """What a request is read against, beside its own bytes."""

    tenant: Tenant
    now: Millis
    quota: Quota
    caller_ip: str | None = None
    dedup_window_ms: Millis = 10 * MINUTE
    hops: int = 0  # Those that the request around a batch has behind it.
    trace: Trace | None = None  # Which the request belongs to.


class GroupPublication(Struct, frozen=True):
    """A publish to a URL group. Which endpoints that means is known in the transaction that stores it.

    ``core.groups.expand`` then makes one ``Publication`` for each of them.
    """

    group: str
    config: Headers  # What ``Config.pairs`` returned.
    body: bytes | None
    context: PublishContext
    plain: Headers = ()  # What ``Upstash-Header-Forward`` would forward; a default of the group may ask for it.
    query: str = ""  # Parameters of the request that are not ours, for every endpoint; as given.

    @property
    def tenant(self) -> Tenant:
        """Return whose it is."""
        return self.context.tenant


def parse_publish(
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    context: PublishContext,
    queue: Given | None = None,
) -> Publication | GroupPublication:
    """Read a publish.

    Args:
        target: What follows ``/v2/publish/`` in the request line, query included, undecoded.
        headers: As received, names in any case.
        body: Complete; empty means that there is none.
        context: Who asks, when, and under which limits.
        queue: The queue that the path names.

    Raises:
        RequestError: Something cannot be read, is not allowed, or names no group that could exist.
        NotSupported: It asks for a part of the API that is not built yet.
        CronGiven: It asks for a schedule; ``core.recurring`` reads that.
    """
    destination, config = read_request(target, headers)
    if queue is not None:
        name_queue(config, queue)
    return publication(destination, config, headers, body, context)


def publication(
    destination: str, config: Config, headers: Sequence[tuple[bytes, bytes]], body: bytes, context: PublishContext
) -> Publication | GroupPublication:
    """Make what a publish asks for whose head has been read; neither argument is changed, and errors are the same."""
    if is_url(destination):
        return build(destination, config, body or None, context)
    if "cron" in config.given:
        raise CronGiven(config.given["cron"].spelled)
    return to_group(destination, config, texts(headers), body or None, context)


def without_body(item: Publication, config: Config) -> Publication | None:
    """Return a publication without its body, from which ``with_body`` makes the next one of the same head.

    Args:
        item: As made by ``publication``.
        config: What it was made of.

    Returns:
        None where more is configured than a method: the time or the body may then decide something else.
    """
    return with_body(item, b"") if _is_plain(config) else None


def with_body(item: Publication, body: bytes) -> Publication:
    """Return the publication that the same head asks for with another body.

    Args:
        item: From ``without_body``.
        body: Complete, and not above the quota, which is not asked again; empty means that there is none.
    """
    same = item.request
    return Publication(item.tenant, Request(same.url, same.method, same.headers, body or None, same.options))


def read_request(target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, Config]:
    """Return the destination and all that is configured; arguments and errors are those of ``parse_publish``."""
    destination, parameters = split_target(target)
    config = Config()
    for name, value in headers:
        lower = name.lower()
        if lower == b"content-type":
            config.content_type = value.decode("latin-1")
        elif lower.startswith(_OURS):
            _add(config, lower, name, value)
    if parameters:
        config.under(query_config(parameters))
    if not is_url(destination):
        return destination, config  # A group takes all headers with it, and forwards them per endpoint.
    if "header-forward" in config.given and read_flag(config, "header-forward"):
        forward_plain(config, texts(headers))
    return destination, config


def texts(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return headers as text whose characters are the bytes of the wire."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def name_queue(config: Config, queue: Given) -> None:
    """Take the queue that a path or an item names.

    Raises:
        RequestError: A header names another one.
    """
    header = config.given.setdefault("queue-name", queue)
    if header.value.strip(" \t") != queue.value:
        raise RequestError(f"{header.spelled}: another queue than that of {queue.spelled}")


def _add(config: Config, lower: bytes, name: bytes, value: bytes) -> None:
    option = lower.removeprefix(b"upstash-").decode("latin-1")
    config.add(option, name.decode("latin-1"), value.decode("latin-1"))


def to_group(
    destination: str, config: Config, headers: Sequence[tuple[str, str]], body: bytes | None, context: PublishContext
) -> GroupPublication:
    """Make the publication to a URL group that a destination which is no URL names.

    A query behind the name belongs to the destination as that of a URL does, so every endpoint gets it.

    Raises:
        InvalidDestination: It is empty, or the name of an API that QStash hosts.
        NotFound: No group can have that name.
    """
    name, _, query = destination.partition("?")
    if not is_group_name(name):
        check_destination(name)
    plain = Config()
    forward_plain(plain, headers)
    if body is not None:
        context.quota.check("body", len(body), context.quota.body)
    return GroupPublication(name, config.pairs(), body, context, tuple(plain.forwarded), query)


def build(destination: str, config: Config, body: bytes | None, context: PublishContext) -> Publication:
    """Make the publication that a destination, a configuration and a body ask for."""
    url = check_destination(destination)
    quota = context.quota
    if body is not None:
        quota.check("body", len(body), quota.body)
    headers = config.headers()
    given = config.given
    if _is_plain(config):
        method = read_method(config) or "POST"
        options = Options(caller_ip=context.caller_ip, hops=context.hops, trace=context.trace)
        return Publication(context.tenant, Request(url, method, headers, body, options))
    _refuse_unbuilt(given)
    retry = read_retry(config, quota, DEFAULT_RETRY)
    options = Options(
        retry=retry,
        timeout_ms=read_timeout(config, quota),
        callback=read_callback(config, "callback", quota, retry, context.now),
        failure_callback=read_callback(config, "failure-callback", quota, retry, context.now),
        flow=read_flow(config, quota),
        labels=read_labels(config) or (),
        redact=read_redaction(config),
        caller_ip=context.caller_ip,
        hops=max(context.hops, _hops(given.get(_HOPS))),
        queue_name=read_queue(config),
        order_key=read_order_key(config),
        trace=context.trace,
    )
    request = Request(url, read_method(config) or "POST", headers, body, options)
    return Publication(
        tenant=context.tenant,
        request=request,
        delay_ms=read_delay(config, quota) or 0,
        not_before=read_not_before(config, quota, context.now),
        dedup=_dedup(config, request, context.tenant),
        dedup_window_ms=context.dedup_window_ms,
    )


def _is_plain(config: Config) -> bool:
    """Whether nothing is configured but a method, which the JavaScript SDK always names."""
    given = config.given
    return not given or (len(given) == 1 and "method" in given)


def parse_overrides(
    headers: Sequence[tuple[bytes, bytes]], context: PublishContext, parameters: Sequence[tuple[str, str]] = ()
) -> Overrides:
    """Read what a retry of dead letters changes of the originals.

    Only what is configured as for a publish counts; the request's own ``Content-Type`` is not the message's.

    Args:
        headers: As received.
        context: Who asks, when, and under which limits.
        parameters: Query parameters that begin ``upstash-`` or ``lateron-``, decoded.
    """
    config = Config()
    for name, value in headers:
        lower = name.lower()
        if lower.startswith(_OURS):
            _add(config, lower, name, value)
    config.under(query_config(parameters))
    quota, given = context.quota, config.given
    _refuse_unbuilt(given)
    for option in ("queue-name", "lateron-order-key"):
        if option in given:
            raise RequestError(f"{given[option].spelled}: a dead letter goes back to the queue it came from")
    retry = read_retry(config, quota, DEFAULT_RETRY)
    counted = "retries" in given or retry.delays_ms  # A list without a number is as many retries as it is long.
    return Overrides(
        method=read_method(config),
        headers=config.headers() or None,
        retry=retry if retry.expression or retry.delays_ms else None,
        retries=retry.retries if counted else None,
        timeout_ms=read_timeout(config, quota),
        delay_ms=read_delay(config, quota),
        not_before=read_not_before(config, quota, context.now),
        flow=read_flow(config, quota),
        labels=read_labels(config),
        callback=read_callback(config, "callback", quota, retry, context.now),
        failure_callback=read_callback(config, "failure-callback", quota, retry, context.now),
    )


def incoming_hops(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return how many deliveries of Lateron servers led to this request.

    Raises:
        RequestError: More than ``MAX_HOPS``: it goes in circles.
    """
    name = _HOPS.encode()
    values = [value.decode("latin-1") for key, value in headers if key.lower() == name]
    return _hops(Given(HOPS, ", ".join(values))) if values else 0


def split_target(target: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Part the destination from the parameters that are ours.

    A fragment and an empty query are cut off, because one of the two ways a request reaches us has lost
    them already. A destination may be percent-encoded as a whole; it is then decoded once.

    Returns:
        The destination's text, and our parameters, decoded, ``qstash_token`` left out.

    Raises:
        InvalidDestination: It is too long, or its bytes are no text.
    """
    path, _, query = target.partition(b"#")[0].partition(b"?")
    ours: list[tuple[str, str]] = []
    if query and (b"upstash-" in query or b"lateron-" in query or _TOKEN_PARAMETER in query or b"%" in query):
        query = _take_ours(query, ours)
    if not path.startswith((b"https://", b"http://")):
        path = _repaired(path)
    if query:
        path += (b"&" if b"?" in path else b"?") + query
    try:
        return path.decode("utf-8"), ours
    except UnicodeDecodeError:
        raise InvalidDestination(path.decode("latin-1"), "its bytes are not UTF-8") from None


def _repaired(path: bytes) -> bytes:
    """Decode a destination that came percent-encoded; give back the slash a proxy took from ``https://``."""
    if not path[:7].lower().startswith(_SCHEMES):
        path = unquote_to_bytes(path)
    scheme, separator, rest = path.partition(b":/")
    if separator and scheme.lower() in {b"http", b"https"} and not rest.startswith(b"/"):
        return scheme + b"://" + rest
    return path


def _take_ours(query: bytes, ours: list[tuple[str, str]]) -> bytes:
    """Move the parameters that are ours from a query into ``ours``; return the rest as it was."""
    kept = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        name = unquote_to_bytes(name)
        if name.startswith(_OURS):
            ours.append((name.decode("latin-1"), unquote_to_bytes(value.replace(b"+", b" ")).decode("latin-1")))
        elif name != _TOKEN_PARAMETER:
            kept.append(part)
    return b"&".join(kept)


def query_config(parameters: Sequence[tuple[str, str]]) -> Config:
    """Gather configuration that came as query parameters."""
    config = Config()
    for name, value in parameters:
        config.add(name.lower().removeprefix("upstash-"), name, value)
    return config


def forward_plain(config: Config, headers: Sequence[tuple[str, str]]) -> None:
    """Forward the headers that have no prefix too; one that was also given with prefix is left out."""
    explicit = {name for name, _ in config.forwarded}
    for name, value in headers:
        try:
            canonical = forwarded_plain_name(name)
        except ValueError as error:
            raise InvalidValue("Upstash-Header-Forward", name, str(error)) from None
        if canonical and canonical not in explicit:
            config.forward(canonical, name, value)


def is_url(destination: str) -> bool:
    """Whether a destination is a URL, or is meant to be one; else it names a URL group."""
    return destination[:6].lower().startswith(("http:", "https:"))


def is_group_name(name: str) -> bool:
    """Whether a URL group can have this name.

    ``api`` is the place of the APIs that QStash hosts; a dot or two most clients resolve as a part of a path.
    """
    return 0 < len(name) <= NAME_BYTES and _NAME.issuperset(name) and name not in {"api", ".", ".."}


def check_destination(destination: str) -> str:
    """Return the destination unchanged, if it is a URL that we would request.

    Raises:
        InvalidDestination: It is empty, or no such URL.
        NotFound: It is the name of something else.
    """
    if is_url(destination):
        parse_destination(destination)
        return destination
    if not destination:
        raise InvalidDestination("", "a non-empty destination must be provided")
    if destination == "api" or destination.startswith("api/"):
        raise InvalidDestination(destination, "hosted APIs do not exist here; publish to the URL of the provider")
    shown = destination if len(destination) <= 200 else f"{destination[:200]}..."
    raise NotFound("topic", shown, "" if is_group_name(destination) else "; a URL begins with http:// or https://")


def _refuse_unbuilt(given: dict[str, Given]) -> None:
    if "cron" in given:
        raise CronGiven(given["cron"].spelled)
    for name in OF_SCHEDULES & given.keys():
        raise RequestError(f"{given[name].spelled}: an option of schedules, which need an Upstash-Cron")


def _hops(given: Given | None) -> int:
    if given is None:
        return 0
    hops = read(given, _count, "a whole number")
    if hops > MAX_HOPS:
        raise RequestError(f"{given.spelled}: {hops} deliveries led to this request; it goes in circles")
    return hops


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise ValueError
    return int(text)


def _dedup(config: Config, request: Request, tenant: Tenant) -> bytes | None:
    """Return the key under which equal messages are one; an id wins over the content."""
    by_content = read_flag(config, "content-based-deduplication")
    given = config.given.get("deduplication-id")
    if given is not None:
        value = given.value.strip(" \t")
        if not 0 < len(value) <= MAX_DEDUP_ID:
            raise InvalidValue(given.spelled, shown_text(value), f"1 to {MAX_DEDUP_ID} bytes")
        return id_key(tenant, value)
    return content_key(tenant, request.url, request.headers, request.body) if by_content else None


def id_key(tenant: Tenant, dedup_id: str) -> bytes:
    """Return the deduplication key of an id that a publisher chose."""
    return _key(b"id", b"%d" % tenant, dedup_id.encode("latin-1"))


def group_key(key: bytes, group: str, url: str) -> bytes:
    """Return the deduplication key of one endpoint's message, from the one that the publish has by itself.

    Each endpoint of each group has its own: a repetition makes messages for those endpoints only that have
    none yet, and the same id under two groups, or to a URL, takes nothing from either.
    """
    return _key(b"group", key, group.encode(), url.encode())


def content_key(tenant: Tenant, destination: str, headers: Headers, body: bytes | None) -> bytes:
    """Return the deduplication key of a message's content.

    It is a function of destination, body, ``Content-Type`` and forwarded headers; neither the order of the
    headers nor the case of their names matters. Every part is preceded by its length, so that no two
    different messages run together into the same bytes.
    """
    parts = [b"content", b"%d" % tenant, destination.encode(), body or b""]
    for name, value in sorted((name.lower(), value) for name, value in headers):
        parts += (name.encode("latin-1"), value.encode("latin-1"))
    return _key(*parts)


def _key(*parts: bytes) -> bytes:
    hashed = sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8))
        hashed.update(part)
    return hashed.digest()
