"""What the store needs of a database driver, and how its SQL files are read.

A statement has a name, positional parameters (``?``), and at most one list: ``@rows(n)`` stands for rows
of ``n`` values, ``@ids`` for single values. Lists are sent in pieces of fixed sizes, because a statement
whose text is the same is prepared once, and because a row for a row costs a hand-over of the
interpreter's lock each in SQLite, and a round trip each in PostgreSQL.

A cold statement that reads rows in order to change them ends in ``{lock}``, or in ``{skip}`` where it must not
wait for another transaction: on PostgreSQL that locks the rows, on SQLite, which has one writer, it is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Final, Protocol

from msgspec import Struct

Value = bytes | str | int | float | None
Row = tuple[Value, ...]

# Up to 72 rows are two pieces at most: each costs 5 to 10 µs, whatever it holds.
SIZES: Final = (128, 96, 64, 56, 48, 40, 32, 24, 16, 8, 7, 6, 5, 4, 3, 2, 1)

ALIKE: Final = "_alike"  # Ends the name of a statement for rows that differ in nothing but their first columns.
GROUP: Final = 8  # Rows of a group, on average, from which on such a statement pays.

_NAME = re.compile(r"^-- ([a-z_]+)(?::.*)?$")
_ROWS = re.compile(r"@rows\((\d+)(?:: ([a-z ]+))?\)")


class Statement(Struct, frozen=True):
    """A named statement as its file has it."""

    name: str
    text: str  # With ``@rows(n)`` or ``@ids``.
    width: int  # Values of a row of its list; 0 without a list.
    expanded: dict[int, str]  # By the number of rows of the piece.


class Connection(Protocol):
    """One connection to a database, as the verbs use it."""

    @property
    def locks(self) -> bool:
        """Whether other transactions write at the same time, so that rows must be locked, and in an order."""
        ...

    def run(self, name: str, values: Sequence[Value] = ()) -> list[Row]:
        """Execute a statement without a list."""
        ...

    def run_rows(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Execute a statement once for all rows of its list, in pieces; return what it returns."""
        ...

    def run_ids(self, name: str, ids: Sequence[Value]) -> list[Row]:
        """Execute a statement for all values of its list."""
        ...

    def sparing(self) -> AbstractContextManager[None]:
        """Read much once inside the block: little of it is kept in memory."""
        ...


def load_statements(*names: str, locks: bool = False) -> dict[str, Statement]:
    """Read the named SQL files of this package; ``locks`` says whether rows are locked, see the module."""
    lock, skip = (" FOR UPDATE", " FOR UPDATE SKIP LOCKED") if locks else ("", "")
    statements: dict[str, Statement] = {}
    for name in names:
        text = files(__package__).joinpath(name).read_text("utf-8")
        for statement in _parse(text.replace(" {lock}", lock).replace(" {skip}", skip)):
            assert statement.name not in statements, f"{statement.name} stands twice"
            statements[statement.name] = statement
    return statements


def _parse(text: str) -> Iterator[Statement]:
    name, lines = "", list[str]()
    for line in text.splitlines():
        head = _NAME.match(line)
        if head and not lines:
            name = head[1]
        elif line.startswith("--") or (not line and not lines):
            continue
        else:
            lines.append(line)
            if line.endswith(";"):
                yield _statement(name, "\n".join(lines).removesuffix(";"))
                name, lines = "", []
    assert not lines, f"{name}: no semicolon at its end"


def _statement(name: str, text: str) -> Statement:
    assert name, f"a statement without a name: {text[:60]}"
    rows = _ROWS.search(text)
    if rows:
        row = _row(int(rows[1]), rows[2])
        expanded = {size: _ROWS.sub(", ".join([row] * size), text, count=1) for size in SIZES}
        return Statement(name, text, int(rows[1]), expanded)
    if "@ids" in text:
        return Statement(name, text, 1, {size: text.replace("@ids", ", ".join("?" * size)) for size in SIZES})
    return Statement(name, text, 0, {1: text})


def _row(width: int, types: str | None) -> str:
    """Return the placeholders of a row, cast where the file names their types."""
    if types is None:
        return f"({', '.join('?' * width)})"
    casts = types.split()
    assert len(casts) == width, f"{width} values, {len(casts)} types"
    return f"({', '.join(f'?::{cast}' for cast in casts)})"


def pieces(count: int) -> Iterator[tuple[int, int]]:
    """Cut ``count`` rows into (start, size) with sizes from ``SIZES``."""
    start = 0
    for size in SIZES:
        while count - start >= size:
            yield start, size
            start += size


def groups_of(rows: Sequence[Row], own: int) -> dict[Row, list[Value]] | None:
    """Put rows together that are alike behind their first ``own`` columns.

    Returns:
        By what is shared, the own columns of one row after the other; None if groups would have fewer than
        ``GROUP`` rows on average.
    """
    most = len(rows) // GROUP
    groups: dict[Row, list[Value]] = {}
    for row in rows:
        shared = row[own:]
        group = groups.get(shared)
        if group is None:
            if len(groups) == most:
                return None
            group = groups[shared] = []
        group += row[:own]
    return groups
