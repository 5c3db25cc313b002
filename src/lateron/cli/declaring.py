"""What a file of ``lateron apply`` says: each object as a server would show it, or the field that cannot be.

Fields have the names that the API shows, and more than one way to say a value: a text for a list of one, ``5m`` for
300 seconds, a date for its milliseconds. The whole file is read before anything is asked of a server. What the fields
say together is judged by the code that the server has (``judging``), and told in the words of the file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, ValidationError, convert

from lateron.cli.estate import NAMES, Thing
from lateron.cli.exits import USAGE, Failed
from lateron.cli.judging import shown
from lateron.cli.outgoing import read_input
from lateron.core.durations import MAX_DURATION, parse_duration
from lateron.core.options import LONGEST_PERIOD, MAX_RATE
from lateron.core.queue import MOST
from lateron.core.recurring import FIRST_YEAR, MOST_RUNS
from lateron.core.values import SECOND, Millis
from lateron.errors import InvalidValue, LateronError, NotFound

TABLES: Final = {"groups": "group", "queues": "queue", "pins": "pin", "schedules": "schedule"}

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_LAST: Final = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_SHOWN: Final = 200  # Characters of a value in an error.


class Field(NamedTuple):
    """What a field may be."""

    type: Any  # As TOML has it.
    expected: str
    read: Callable[[Any], Any] | None = None  # To what the API shows; raises ValueError.


def _seconds(value: float | str) -> float:
    span = parse_duration(value if isinstance(value, str) else f"{Decimal(str(value)):f}")
    return span // SECOND if span % SECOND == 0 else span / SECOND


def _period(value: int | str) -> int:
    period = parse_duration(str(value))
    if not SECOND <= period <= LONGEST_PERIOD or period % SECOND:
        raise ValueError
    return period // SECOND


def _instant(value: object) -> Millis:
    moment = value if isinstance(value, datetime) else convert(value, int | str)
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError from None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError("its offset is missing")
        moment = (moment - _EPOCH) // timedelta(milliseconds=1)
    if moment > _LAST:
        raise ValueError
    if moment < FIRST_YEAR:
        raise ValueError("that is long past; is it in seconds?")
    return int(moment)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _headers(value: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    return {name: _listed(texts) for name, texts in value.items()}


def _endpoints(value: list[str | dict[str, str]]) -> list[dict[str, str]]:
    endpoints = [{"url": one} if isinstance(one, str) else one for one in value]
    if not endpoints or not all(one.get("url") and one.keys() <= {"url", "name"} for one in endpoints):
        raise ValueError
    return endpoints


_TEXT: Final = Field(str, "text")
_NAME: Final = Field(Annotated[str, Meta(min_length=1)], "text that is not empty")
_FLAG: Final = Field(bool, "true or false")
_SPAN: Final = Field(
    Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0, le=MAX_DURATION / SECOND)] | str,
    "seconds, or a duration such as '5m'",
    _seconds,
)
_INSTANT: Final = Field(
    object, "a date and time with its offset such as 2027-01-01T00:00:00Z, or milliseconds since 1970", _instant
)
_TEXTS: Final = Field(str | list[str], "text or a list of texts", _listed)
_HEADERS: Final = Field(dict[str, str | list[str]], "a table of texts, or of lists of texts", _headers)
_ENDPOINTS: Final = Field(
    list[str | dict[str, str]], "a list of URLs, or of tables with a url and perhaps a name", _endpoints
)


def _whole(least: int, most: int | None = None) -> Field:
    return Field(
        Annotated[int, Meta(ge=least, le=most)],
        f"a whole number from {least}" + ("" if most is None else f" to {most}"),
    )


_LIMITS: Final = {
    "parallelism": _whole(1, MAX_RATE),
    "rate": _whole(1, MAX_RATE),
    "period": Field(int | str, "whole seconds from 1 to 604800, or a duration such as '5m'", _period),
}
FIELDS: Final[Mapping[str, Mapping[str, Field]]] = {
    "group": {"endpoints": _ENDPOINTS, "headers": _HEADERS},
    "queue": {"parallelism": _whole(1, MOST), "paused": _FLAG},
    "pin": {**_LIMITS, "isPaused": _FLAG},
    "schedule": {
        **dict.fromkeys(("cron", "destination", "method", "body"), _TEXT),
        **dict.fromkeys(("callback", "failureCallback", "queueName", "flowControlKey"), _NAME),
        **dict.fromkeys(("retryDelayExpression", "missed", "overlap"), _NAME),
        **dict.fromkeys(("delay", "timeout", "jitter"), _SPAN),
        **dict.fromkeys(("start", "end"), _INSTANT),
        **_LIMITS,
        "retries": _whole(0),
        "mostRuns": _whole(1, MOST_RUNS),
        "isPaused": _FLAG,
        "header": _HEADERS,
        "labels": _TEXTS,
    },
}
# The headers that a schedule is sent with, and the fields that they are made of.
_SENT_AS: Final = {
    **{f"Upstash-{name.title()}": name for name in ("cron", "method", "retries", "delay", "timeout", "callback")},
    **{f"Lateron-{name.title()}": name for name in ("missed", "overlap", "start", "end", "jitter")},
    "Upstash-Schedule-Id": "name",
    "Upstash-Failure-Callback": "failureCallback",
    "Upstash-Queue-Name": "queueName",
    "Upstash-Retry-Delay": "retryDelayExpression",
    "Upstash-Label": "labels",
    "Upstash-Flow-Control-Key": "flowControlKey",
    "Lateron-Most-Runs": "mostRuns",
}
_OPTION: Final = re.compile(r"(?:Upstash|Lateron)(?:-[A-Z][a-z]*)+")
_FORWARDED: Final = "Upstash-Forward-"


class Declared(NamedTuple):
    """One object of a file."""

    thing: Thing  # As a server would show it.
    where: str  # It stands: file, table and name.
    given: Mapping[str, Any]  # Its fields as they stand there.

    def check(self, now: Millis) -> None:
        """Look whether it can be made at a time.

        Raises:
            Failed: A server would refuse it.
        """
        _judged(self, now)


def read_file(file: str) -> dict[tuple[str, str], Declared]:
    """Return what a file says, by kind and name.

    Raises:
        Failed: It cannot be read, or no server would take what it says.
    """
    try:
        content = tomllib.loads(read_input("--file", file).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"{file}: {error}", USAGE) from None
    found: dict[tuple[str, str], Declared] = {}
    for table, things in content.items():
        kind = TABLES.get(table)
        if kind is None or not isinstance(things, dict):
            raise Failed(f"{file}: expected tables {', '.join(TABLES)}; got {table}", USAGE)
        for name, given in things.items():
            found[kind, name] = _declared(kind, name, given, f"{file}: {table}.{name}")
    return found


def _declared(kind: str, name: str, given: object, where: str) -> Declared:
    if not isinstance(given, dict):
        raise Failed(f"{where}: expected a table, got {_written(given)}", USAGE)
    unknown = given.keys() - FIELDS[kind].keys()
    if unknown:
        raise Failed(f"{where}: {min(unknown)}: expected {', '.join(sorted(FIELDS[kind]))}", USAGE)
    fields = {field: _field(FIELDS[kind][field], value, f"{where}: {field}") for field, value in given.items()}
    lacking = _lacking(kind, fields)
    if lacking:
        raise Failed(f"{where}: expected {lacking}", USAGE)
    return _judged(Declared(_thing(kind, name, fields), where, given), 0)


def _field(field: Field, value: object, where: str) -> object:
    try:
        typed = convert(value, field.type)
        return typed if field.read is None else field.read(typed)
    except ValidationError:
        said = ""
    except ValueError as error:
        said = f" ({error})" if str(error) else ""
    raise Failed(f"{where}: expected {field.expected}{said}, got {_written(value)}", USAGE)


def _lacking(kind: str, fields: Mapping[str, Any]) -> str | None:
    """Return what an object needs beside the fields that it has."""
    if kind == "group" and "endpoints" not in fields:
        return "endpoints"
    if kind == "schedule" and not {"cron", "destination"} <= fields.keys():
        return "a cron and a destination"
    if kind == "schedule" and "flowControlKey" not in fields and not fields.keys().isdisjoint(_LIMITS):
        return f"a flowControlKey beside {min(fields.keys() & _LIMITS.keys())}"
    if kind == "pin" and "period" in fields and "rate" not in fields:
        return "a rate beside period"
    # Why: a key without any is as good as none, so no server shows it.
    if kind == "pin" and not ("rate" in fields or "parallelism" in fields or fields.get("isPaused")):
        return "a parallelism, a rate, or isPaused = true"
    return None


def _thing(kind: str, name: str, fields: Mapping[str, Any]) -> Thing:
    if kind != "pin":
        return Thing(kind, {**fields, NAMES[kind]: name})
    key = {"flowControlKey": name, "isPaused": fields.get("isPaused", False)}
    if "parallelism" in fields:
        key |= {"isPinnedParallelism": True, "parallelismMax": fields["parallelism"]}
    if "rate" in fields:
        key |= {"isPinnedRate": True, "rateMax": fields["rate"], "ratePeriod": fields.get("period", 1)}
    return Thing(kind, key)


def _judged(declared: Declared, now: Millis) -> Declared:
    """Return an object as a server shows it.

    Raises:
        Failed: A server would refuse it.
    """
    try:
        return declared._replace(thing=shown(declared.thing, now))
    except LateronError as error:
        raise Failed(f"{declared.where}: {_reworded(error, declared)}", USAGE) from None


def _reworded(error: LateronError, declared: Declared) -> str:
    """Return what an error says of the request, said of the file: its fields and its values."""
    said, given = str(error), declared.given
    if declared.thing.kind == "group":
        return f"headers: {said}" if _OPTION.match(said) else said
    if isinstance(error, NotFound):
        return f"destination: expected a URL or the name of a URL group, got {_written(given['destination'])}"
    header, _, rest = said.partition(": ")
    field = _SENT_AS.get(header)
    if field is not None and field in given and isinstance(error, InvalidValue):
        rest = f"{rest.rpartition(', got ')[0]}, got {_written(given[field])}"
    elif header.startswith(_FORWARDED):
        field = f"header.{header.removeprefix(_FORWARDED)}"
    return _OPTION.sub(lambda found: _SENT_AS.get(found[0], found[0]), f"{field or header}: {rest}")


def _written(value: object) -> str:
    """Return a value as it may stand in the file."""
    if isinstance(value, str):
        text = repr(value)
    elif hasattr(value, "isoformat"):
        text = value.isoformat()
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
