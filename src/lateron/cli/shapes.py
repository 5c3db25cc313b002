"""The types of the objects that the API shows, as far as they are needed to make them elsewhere."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Annotated, Final

from msgspec import Meta, Struct, ValidationError, convert

from lateron.cli.estate import Thing

_PATH: Final = re.compile(r"(.*) - at `\$\.?(.*)`")
_Instant = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]  # The last one of the year 9999.
_Headers = dict[str, list[str]]


class _Endpoint(Struct):
    url: str
    name: str | None = None


class _Group(Struct):
    name: str
    endpoints: list[_Endpoint]
    headers: dict[str, str | list[str]] = {}


class _Queue(Struct):
    name: str
    parallelism: int = 1
    paused: bool = False


class _Pin(Struct, rename="camel"):
    flow_control_key: str
    is_pinned_parallelism: bool = False
    is_pinned_rate: bool = False
    is_paused: bool = False
    parallelism_max: int = 0
    rate_max: int = 0
    rate_period: int = 0


class _Delivery(Struct, rename="camel", kw_only=True):
    method: str = "POST"
    header: _Headers = {}
    body: str = ""
    body_base64: str = ""
    callback: str = ""
    callback_header: _Headers = {}
    failure_callback: str = ""
    failure_callback_header: _Headers = {}
    retry_delay_expression: str = ""
    label: str = ""
    labels: list[str] = []
    queue_name: str = ""
    flow_control_key: str = ""
    parallelism: int = 0
    rate: int = 0
    period: int = 0


class _Schedule(_Delivery, kw_only=True):
    schedule_id: str
    cron: str
    destination: str
    retries: int = 3
    is_paused: bool = False
    delay: int | float = 0
    timeout: int | float = 0
    jitter: int | float = 0
    missed: str = ""
    overlap: str = ""
    start: _Instant = 0
    end: _Instant = 0
    most_runs: int = 0


class _Message(_Delivery, kw_only=True):
    message_id: str
    url: str
    max_retries: int
    retried: int = 0
    not_before: _Instant = 0
    next_delivery_time: _Instant = 0
    timeout: int = 0
    order_key: str = ""


_SHAPES: Final = {"group": _Group, "queue": _Queue, "pin": _Pin, "schedule": _Schedule, "message": _Message}


def checked(thing: Thing) -> Thing:
    """Return an object without the fields that are null, if it has the types of its kind.

    Raises:
        ValueError: It has not; the message says which field.
    """
    content = {name: value for name, value in thing.content.items() if value is not None}
    try:
        convert(content, _SHAPES[thing.kind])
    except ValidationError as error:
        found = _PATH.fullmatch(str(error))
        said = str(error) if found is None else f"{found[2]}: {found[1]}"
        raise ValueError(said.replace("`", "")) from None
    json.dumps(content, ensure_ascii=False).encode()  # Half a character has no bytes that could be sent.
    try:
        b64decode(content.get("bodyBase64", ""), validate=True)
    except ValueError as error:
        raise ValueError(f"bodyBase64: {error}") from None
    return Thing(thing.kind, content)
