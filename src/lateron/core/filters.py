"""Which messages, events or dead letters a list shows or a bulk change touches.

A filter comes as query parameters. Values of one name mean *or*, whether the name is repeated or its
values are joined by commas; different names mean *and* (wire contract 5.2, 9, 10).

The danger of filters is that one which was not understood selects everything. So an unknown name or an
empty value is refused; and an id that can name nothing of ours, like an empty list of ids, is a filter
that matches nothing, never the absence of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct
from msgspec.json import Decoder

from lateron.core.body import read_body
from lateron.core.destination import parse_destination
from lateron.core.ids import NO_MESSAGE, parse_dlq_id, parse_message_id
from lateron.core.options import WorkflowNotSupported
from lateron.core.values import EventKind, Filter, Message, MessageId, Millis, Request
from lateron.errors import InvalidValue, RequestError

MAX_PARAMETERS: Final = 10_000

_SHARED: Final = frozenset(
    (
        "url",
        "topicName",
        "queueName",
        "scheduleId",
        "label",
        "flowControlKey",
        "callerIp",
        "jobId",
        "fromDate",
        "toDate",
        "count",
    )
)
MESSAGE_FILTERS: Final = _SHARED | {"messageIds", "host", "path", "cursor"}
EVENT_FILTERS: Final = _SHARED | {
    "messageIds",
    "host",
    "path",
    "state",
    "cursor",
    "order",
    "groupBy",
    "trimBody",
    "source",
}
DEAD_LETTER_FILTERS: Final = _SHARED | {"messageIds", "dlqIds", "responseStatus", "cursor", "source", "api"}

# Other spellings that clients send, and the one this room uses.
_ALIASES: Final = {"callerIP": "callerIp", "messageId": "messageIds", "dlqId": "dlqIds"}
_TEXTS: Final = {
    "host": "hosts",
    "label": "labels",
    "topicName": "topics",
    "queueName": "queues",
    "scheduleId": "schedules",
    "callerIp": "caller_ips",
    "jobId": "jobs",
}
_IGNORED: Final = frozenset(("groupBy", "trimBody", "source", "api"))
_ORDERS: Final = {"latestfirst": True, "desc": True, "earliestfirst": False, "asc": False}
_IN_PROGRESS: Final = (EventKind.ACTIVE, EventKind.RETRY, EventKind.ERROR)
_NO_DEAD_LETTER: Final = (0, NO_MESSAGE)


class Selection(Struct, frozen=True):
    """What a list or a bulk change was asked for."""

    filter: Filter = Filter()
    cursor: str | None = None
    count: int | None = None  # At least 1; the caller knows the default and the maximum.
    newest_first: bool = True


class _Ids(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    message_ids: list[str] | None = None
    dlq_ids: list[str] | None = None


_decode_ids = Decoder(_Ids).decode


def parse_query(query: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a query string, decoded, in order; ``qstash_token`` is left out.

    Raises:
        RequestError: They are too many, or not UTF-8.
    """
    parts = query.split(b"&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        raise RequestError(f"query: at most {MAX_PARAMETERS} parameters")
    pairs = []
    for part in parts:
        name, _, value = part.partition(b"=")
        if name and name != b"qstash_token":
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: bytes) -> str:
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError("query: expected percent-encoded UTF-8") from None


def parse_filter(pairs: Sequence[tuple[str, str]], allowed: frozenset[str]) -> Selection:
    """Read a filter.

    Args:
        pairs: The parameters, decoded.
        allowed: Those that this list knows: one of the sets above.

    Raises:
        RequestError: A name is unknown here, or a value cannot be read.
        WorkflowNotSupported: It asks for entries of workflows.
    """
    given: dict[str, list[tuple[str, str]]] = {}
    for spelled, value in pairs:
        name = _ALIASES.get(spelled, spelled)
        if name == "source" and value == "workflow":
            raise WorkflowNotSupported("source=workflow")
        if name not in allowed:
            known = ", ".join(sorted(allowed - _IGNORED))
            raise RequestError(f"{spelled[:200]}: unknown filter; known are {known}")
        if not value.strip():
            raise InvalidValue(spelled, value, "a value")
        given.setdefault(name, []).append((spelled, value))
    fields: dict[str, Any] = {}
    for name, values in given.items():
        if name in _READERS:
            field, read = _READERS[name]
            fields[field] = tuple(dict.fromkeys(one for spelled, value in values for one in read(spelled, value)))
            if not fields[field]:  # Nothing but commas: would be no restriction at all.
                raise InvalidValue(*values[0], "a value")
    for name, field in (("fromDate", "from_time"), ("toDate", "to_time")):
        if name in given:
            fields[field] = _number(*_only(given[name]))
    return Selection(
        filter=Filter(**fields),
        cursor=_only(given["cursor"])[1] if "cursor" in given else None,
        count=_count(*_only(given["count"])) if "count" in given else None,
        newest_first=_order(*_only(given["order"])) if "order" in given else True,
    )


def parse_selection(body: bytes, field: str) -> Filter | None:
    """Read the ids that a JSON body selects; None for an empty body, which selects nothing by itself.

    Args:
        body: Of a DELETE or POST; ``{"messageIds": [...]}`` or ``{"dlqIds": [...]}``.
        field: Which of the two this call takes.

    Raises:
        RequestError: The body is something else.
    """
    if not body.strip():
        return None
    ids = read_body(body, _decode_ids, f'{{"{field}": [...]}}')
    chosen, other = (ids.message_ids, ids.dlq_ids) if field == "messageIds" else (ids.dlq_ids, ids.message_ids)
    if chosen is None or other is not None:
        raise RequestError(f'body: expected {{"{field}": [...]}}')
    if field == "messageIds":
        return Filter(message_ids=tuple(dict.fromkeys(map(_message_id, chosen))) or (NO_MESSAGE,))
    return Filter(dlq_ids=tuple(dict.fromkeys(map(_dlq_id, chosen))) or (_NO_DEAD_LETTER,))


def matches(
    wanted: Filter,
    message: Message,
    request: Request,
    *,
    time: Millis | None = None,
    kind: EventKind | None = None,
    status: int | None = None,
    dlq_id: tuple[Millis, MessageId] | None = None,
) -> bool:
    """Whether a filter means this message, event or dead letter.

    Args:
        wanted: The filter.
        message: The message itself, or the one that the event or dead letter is about.
        request: Of that message.
        time: Of the event or dead letter; None takes the message's creation.
        kind: Of the event.
        status: Of the last answer of a dead letter, 0 if there was none.
        dlq_id: Of the dead letter.
    """
    at = message.created if time is None else time
    if wanted.from_time is not None and at < wanted.from_time:
        return False
    if wanted.to_time is not None and at > wanted.to_time:
        return False
    options = request.options
    key = None if options.flow is None else options.flow.key
    return (
        _among(message.id, wanted.message_ids)
        and _among(dlq_id, wanted.dlq_ids)
        and _among(kind, wanted.kinds)
        and _among(status, wanted.statuses)
        and _among(request.url, wanted.urls)
        and _among(key, wanted.flow_keys)
        and _among(options.topic, wanted.topics)
        and _among(options.caller_ip, wanted.caller_ips)
        and _among(options.job, wanted.jobs)
        and _among(options.schedule, wanted.schedules)
        and _among(options.queue_name, wanted.queues)
        and (not wanted.labels or not set(wanted.labels).isdisjoint(options.labels))
        and _goes_to(request.url, wanted)
    )


def _among(value: object, wanted: tuple[object, ...]) -> bool:
    return not wanted or value in wanted


def _goes_to(url: str, wanted: Filter) -> bool:
    if not wanted.hosts and not wanted.paths:
        return True
    destination = parse_destination(url)
    path = destination.target.partition("?")[0]
    return _among(destination.host, wanted.hosts) and _among(path, wanted.paths)


def _texts(_: str, value: str) -> list[str]:
    return [part for part in (part.strip() for part in value.split(",")) if part]


def _hosts(spelled: str, value: str) -> list[str]:
    return [host.lower().removeprefix("[").removesuffix("]") for host in _texts(spelled, value)]


def _keys(spelled: str, value: str) -> list[str]:
    """Read flow-control keys, which may have commas themselves."""
    return [value, *_texts(spelled, value)] if "," in value else [value]


def _beginning(*starts: str) -> Callable[[str, str], list[str]]:
    """Return a reader of values that may have commas, but each begin in a known way."""

    def read(_: str, value: str) -> list[str]:
        found: list[str] = []
        for part in value.split(","):
            if found and not part.startswith(starts):
                found[-1] += f",{part}"
            else:
                found.append(part)
        return found

    return read


def _message_id(text: str) -> MessageId:
    try:
        return parse_message_id(text)
    except ValueError:
        return NO_MESSAGE


def _dlq_id(text: str) -> tuple[Millis, MessageId]:
    try:
        return parse_dlq_id(text)
    except ValueError:
        return _NO_DEAD_LETTER


def _statuses(spelled: str, value: str) -> list[int]:
    return [_number(spelled, part) for part in _texts(spelled, value)]


def _states(spelled: str, value: str) -> list[EventKind]:
    kinds: list[EventKind] = []
    for part in _texts(spelled, value):
        word = part.upper()
        if word == "IN_PROGRESS":
            kinds += _IN_PROGRESS
        elif word == "CANCELLED":
            kinds.append(EventKind.CANCELED)
        elif word in EventKind.__members__:
            kinds.append(EventKind[word])
        else:
            raise InvalidValue(spelled, part, f"IN_PROGRESS or one of {', '.join(EventKind.__members__)}")
    return kinds


def _number(spelled: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 15:
        raise InvalidValue(spelled, value, "a whole number")
    return int(value)


def _count(spelled: str, value: str) -> int:
    count = _number(spelled, value)
    if count == 0:
        raise InvalidValue(spelled, value, "a whole number above 0")
    return count


def _order(spelled: str, value: str) -> bool:
    newest_first = _ORDERS.get(value.lower())
    if newest_first is None:
        raise InvalidValue(spelled, value, "latestFirst or earliestFirst")
    return newest_first


def _only(values: list[tuple[str, str]]) -> tuple[str, str]:
    if len(values) > 1:
        raise RequestError(f"{values[0][0]}: given more than once")
    return values[0]


# Name of a parameter: the field of ``Filter`` it fills, and how its values are read.
_READERS: Final[dict[str, tuple[str, Callable[[str, str], Sequence[object]]]]] = {
    **{name: (field, _texts) for name, field in _TEXTS.items()},
    "host": ("hosts", _hosts),
    "flowControlKey": ("flow_keys", _keys),
    "url": ("urls", _beginning("http://", "https://")),
    "path": ("paths", _beginning("/")),
    "messageIds": ("message_ids", lambda spelled, value: [_message_id(part) for part in _texts(spelled, value)]),
    "dlqIds": ("dlq_ids", lambda spelled, value: [_dlq_id(part) for part in _texts(spelled, value)]),
    "responseStatus": ("statuses", _statuses),
    "state": ("kinds", _states),
}
