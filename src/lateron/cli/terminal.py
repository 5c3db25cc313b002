"""Output: tables and colours on a terminal, plain lines elsewhere.

What comes from messages is hostile: control characters are made visible before they reach a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from lateron.core.values import Millis
from lateron.telemetry import plain

if TYPE_CHECKING:
    from rich.table import Table

_GAP: Final = 2  # Between two columns.
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
    On a terminal too narrow for all columns each row is a block of lines.
    """
    if not is_rich():
        for row in rows:
            echo("\t".join(plain(cell) for cell in row))
        return
    from rich.console import Console
    from rich.text import Text

    console, cells = Console(), [[plain(cell) for cell in row] for row in rows]
    widths = column_widths(head, cells, console.width)
    if widths is not None or not cells:
        console.print(_folded(head, cells, widths))
        return
    for first, *others in cells:
        console.print(Text(first, style="bold"), soft_wrap=True)
        fields = list(zip(head[1:], others, strict=True))
        console.print(_folded(None, fields, column_widths(("", ""), fields, console.width)))


def column_widths(head: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Share the columns of a terminal out: each gets the least it needs, and narrow ones are served first.

    Returns:
        A width for each column; None if there is no room for the least.
    """
    from rich.cells import cell_len

    columns = list(zip(head, *cells, strict=True))
    wanted = [max(map(cell_len, column)) for column in columns]
    words = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    widths = [wanted[0], *(min(word, _WORD) for word in words[1:])]
    room = width - sum(widths) - _GAP * (len(widths) - 1)
    if room < 0:
        return None
    hungry = sorted(range(len(widths)), key=lambda number: wanted[number] - widths[number])
    for served, number in enumerate(hungry):
        more = min(wanted[number] - widths[number], room // (len(hungry) - served))
        widths[number] += more
        room -= more
    return widths


def _folded(head: Sequence[str] | None, cells: Sequence[Sequence[str]], widths: Sequence[int] | None) -> Table:
    """Return a table whose cells go on in the next line of their column; without a head if there is none."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, show_header=head is not None, padding=(0, _GAP, 0, 0))
    for number, name in enumerate(head or ("",) * len(cells[0])):
        table.add_column(name, overflow="fold", width=None if widths is None else widths[number])
    for line in cells:
        table.add_row(*map(Text, line))
    return table


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
