"""Output: tables and colours on a terminal, plain lines elsewhere.

What comes from messages is hostile: control characters are made visible before they reach a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from lateron.core.values import Millis
from lateron.telemetry import plain


def echo(line: str = "") -> None:
    """Print a line at once, so that a pipe sees it when it happens."""
    print(line, flush=True)  # noqa: T201 - The door to standard output.


def echo_json(document: object) -> None:
    """Print a document: indented for people, one line for programs."""
    if sys.stdout.isatty():
        echo(json.dumps(document, indent=2))
    else:
        echo(json.dumps(document, separators=(",", ":")))


def echo_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table on a terminal, else columns separated by tabs without a head."""
    if is_rich():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*head, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(Text(plain(cell), overflow="fold") for cell in row))
        Console().print(table)
        return
    for row in rows:
        echo("\t".join(plain(cell) for cell in row))


def is_rich() -> bool:
    """Whether people look at a terminal that may be coloured."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def instant(time: Millis) -> str:
    """Return a time for people: local on a terminal, UTC in a pipe."""
    moment = datetime.fromtimestamp(time / 1000, UTC)
    if sys.stdout.isatty():
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
