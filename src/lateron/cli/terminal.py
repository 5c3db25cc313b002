"""Output: tables and colours on a terminal, plain lines elsewhere.

What comes from messages is hostile: control characters are made visible before they reach a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from lateron.core.values import Millis
from lateron.telemetry import plain

_WORD: Final = 10  # Characters; a word up to this long is not broken. A date is one.

# Fields of the API that are instants in milliseconds.
_MILLISECONDS: Final = frozenset(
    (
        "createdAt",
        "end",
        "lastScheduleTime",
        "nextDeliveryTime",
        "nextScheduleTime",
        "notBefore",
        "start",
        "time",
        "updatedAt",
        "waitingUntil",
    )
)


def echo(line: str = "") -> None:
    """Print a line at once, so that a pipe sees it when it happens."""
    print(line, flush=True)  # noqa: T201 - The door to standard output.


def echo_json(document: object) -> None:
    """Print a document: indented for people, one line for programs."""
    if sys.stdout.isatty():
        echo(json.dumps(document, indent=2))
    else:
        echo(json.dumps(document, separators=(",", ":")))


def echo_line(document: object) -> None:
    """Print a document as one line of JSON lines."""
    echo(json.dumps(document, separators=(",", ":")))


def echo_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: a table on a terminal, else columns separated by tabs without a head.

    The first column holds what is copied, so it is never broken; the others fold, between words where that is enough.
    """
    if is_rich():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        cells = [[plain(cell) for cell in row] for row in rows]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for number, name in enumerate(head):
            words = (len(word) for line in cells for word in line[number].split())
            least = min(max(words, default=0), _WORD)
            table.add_column(name, overflow="fold", no_wrap=number == 0, min_width=least)
        for line in cells:
            table.add_row(*map(Text, line))
        Console().print(table)
        return
    for row in rows:
        echo("\t".join(plain(cell) for cell in row))


def is_rich() -> bool:
    """Whether people look at a terminal that may be coloured."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def instant(time: Millis, *, utc: bool = False, brief: bool = False) -> str:
    """Return a time for people: local on a terminal unless UTC is wanted, UTC in a pipe.

    Args:
        time: The instant.
        utc: Never in local time.
        brief: Local times without milliseconds, for a column.
    """
    moment = datetime.fromtimestamp(time / 1000, UTC)
    if sys.stdout.isatty() and not utc:
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[: -7 if brief else -3]
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fields_of(item: Mapping[str, Any], *, utc: bool) -> list[tuple[str, str]]:
    """Return the fields of an object as rows: times for people, what is nested as JSON."""
    return [(name, _shown(name, value, utc=utc)) for name, value in item.items()]


def _shown(name: str, value: object, *, utc: bool) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if name in _MILLISECONDS:
            return instant(value, utc=utc)
        if name == "ratePeriodStart" and value:
            return instant(value * 1000, utc=utc)
    return json.dumps(value, ensure_ascii=False)
