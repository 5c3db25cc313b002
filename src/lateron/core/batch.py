"""A batch: one body, many publishes, each read as if it had come alone.

The body is a JSON array of ``{"destination", "headers", "body", "queue", "callback", "failureCallback"}``. An
item that cannot be read becomes an ``ItemError`` in its place and does no harm to the others. What makes
the whole request fail is a body that is no such array, and a workflow step, whose sender would take an
error inside the array for success.

The headers of the request around the items configure nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from lateron.core.headers import wire_text
from lateron.core.options import MAX_HEADER_BYTES, MAX_HEADERS, Config, Given, WorkflowNotSupported, read_flag
from lateron.core.publish import GroupPublication, PublishContext, build, forward_plain, is_url, name_queue, to_group
from lateron.core.recurring import NewSchedule, read_schedule
from lateron.core.trace import trace_of
from lateron.core.values import Publication
from lateron.errors import LateronError, RequestError

MAX_ITEMS: Final = 10_000
MAX_DEPTH: Final = 64  # Of the JSON of an item's body.

_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ItemError(Struct, frozen=True):
    """What is wrong with one item of a batch; takes its place in the answer."""

    status: int
    error: str


class _Item(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    destination: str
    headers: dict[str, str | list[str]] | None = None
    body: Raw | UnsetType = UNSET
    queue: str | None = None
    callback: str | None = None
    failure_callback: str | None = None


_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_text = msgspec.json.Decoder(str).decode


def parse_batch(body: bytes, context: PublishContext) -> list[Publication | GroupPublication | NewSchedule | ItemError]:
    """Read a batch, one result per item, in order.

    Args:
        body: Of the request.
        context: As for a publish.

    Raises:
        RequestError: The body as a whole cannot be read.
        WorkflowNotSupported: An item belongs to the workflow protocol.
    """
    try:
        items = _decode_array(body)
    except _UNREADABLE as error:
        raise RequestError(f"body: expected a JSON array of messages ({error})") from None
    if len(items) > MAX_ITEMS:
        raise RequestError(f"body: a batch has at most {MAX_ITEMS} messages, this one {len(items)}")
    results: list[Publication | GroupPublication | NewSchedule | ItemError] = []
    for index, item in enumerate(items):
        try:
            results.append(_publication(item, context))
        except WorkflowNotSupported:
            raise
        except LateronError as error:
            results.append(ItemError(error.status, f"message {index}: {error}"))
    return results


def _publication(raw: Raw, context: PublishContext) -> Publication | GroupPublication | NewSchedule:
    try:
        item = _decode_item(raw)
    except _UNREADABLE as error:
        raise RequestError(str(error) or "JSON nested too deep") from None
    config = Config()
    headers = gather(config, item.headers or {})
    own = trace_of(headers)
    if own is not None:
        context = replace(context, trace=own)
    for option, field, value in (
        ("callback", "callback", item.callback),
        ("failure-callback", "failureCallback", item.failure_callback),
    ):
        if value is not None:
            config.given.setdefault(option, Given(field, _wire(field, value)))
    if item.queue:
        name_queue(config, Given("queue", _wire("queue", item.queue)))
    to_url = is_url(item.destination)
    if to_url and "header-forward" in config.given and read_flag(config, "header-forward"):
        forward_plain(config, headers)
    body = _body(item.body, config)  # Before the configuration is read: it may name the body's type.
    if "cron" in config.given:
        return read_schedule(item.destination, config, headers, body, context)
    if not to_url:
        return to_group(item.destination, config, headers, body, context)
    return build(item.destination, config, body, context)


def gather(config: Config, headers: dict[str, str | list[str]]) -> list[tuple[str, str]]:
    """Put the headers of a JSON object into ``config``; return all of them as on the wire.

    Raises:
        RequestError: They are too many, too long, or one of them cannot be a header.
    """
    pairs: list[tuple[str, str]] = []
    size = 0
    for name, given in headers.items():
        key = _wire("headers", name)
        lower = key.lower()
        for text in (given,) if isinstance(given, str) else given:
            value = _wire(name, text).strip(" \t")
            size += len(key) + len(value)
            pairs.append((key, value))
            if len(pairs) > MAX_HEADERS or size > MAX_HEADER_BYTES:
                raise RequestError(f"headers: at most {MAX_HEADERS}, and {MAX_HEADER_BYTES} bytes")
            if lower == "content-type":
                config.content_type = value
            elif lower.startswith(("upstash-", "lateron-")):
                config.add(lower.removeprefix("upstash-"), name, value)
    return pairs


def _wire(field: str, text: str) -> str:
    try:
        return wire_text(text)
    except ValueError as error:
        raise RequestError(f"{field[:200]!a}: {error}") from None


def _body(raw: Raw | UnsetType, config: Config) -> bytes | None:
    """Return what the destination gets: a text as it is, an object or array as compact JSON."""
    if raw is UNSET:
        return None
    assert isinstance(raw, Raw)
    start = bytes(memoryview(raw)[:1])
    if start == b'"':
        return _encoded(raw)
    if start in {b"{", b"["}:
        try:
            compact = msgspec.json.format(memoryview(raw), indent=-1)
            compact.decode()  # Formatting does not look into texts, and JSON is UTF-8.
            _check_depth(compact)
        except _UNREADABLE as error:
            raise RequestError(f"body: {error}") from None
        config.content_type = config.content_type or "application/json"
        return compact
    if bytes(raw) == b"null":
        return None
    raise RequestError("body: expected text, an object, an array or null")


def _encoded(raw: Raw) -> bytes | None:
    try:
        return _decode_text(raw).encode() or None
    except ValueError as error:  # A lone surrogate has no bytes.
        raise RequestError(f"body: {error}") from None


def _check_depth(compact: bytes) -> None:
    """Refuse JSON that a receiver's parser could not take; brackets inside texts do not count.

    Each round takes away the innermost pairs, so the rounds that are needed are the depth. All of it runs
    at the speed of C: a loop over the bytes of a large batch would hold up every other request.

    Raises:
        RequestError: It is nested deeper than ``MAX_DEPTH``.
    """
    if compact.count(b"{") + compact.count(b"[") <= MAX_DEPTH:
        return
    without_escapes = compact.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_texts = b"".join(without_escapes.split(b'"')[::2])
    brackets = outside_texts.translate(_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise RequestError(f"body: JSON nested deeper than {MAX_DEPTH}")
