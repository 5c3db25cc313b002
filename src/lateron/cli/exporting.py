"""Lists as files: a line of JSON for each item, as the API shows it, or a table with commas.

Items are written as they come, page by page, so that a file may be larger than memory. A cell that a spreadsheet would
take for a formula gets an apostrophe before it: what comes from messages is hostile.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

import typer

from lateron.cli.exits import REFUSED, USAGE, Failed
from lateron.cli.remote import Item, Remote

Format = Literal["ndjson", "csv"]
FormatOption = Annotated[Format | None, typer.Option("--format", help="ndjson or csv; as the file's name ends.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="Where to write; - is standard output.")]

LOG_COLUMNS: Final = ("time", "state", "messageId", "method", "url", "attempt", "responseStatus", "error", "labels",
                      "queueName", "flowControlKey", "scheduleId", "topicName", "callerIP")  # fmt: skip
DEAD_COLUMNS: Final = ("dlqId", "messageId", "createdAt", "method", "url", "responseStatus", "error", "maxRetries",
                       "labels", "queueName", "flowControlKey", "scheduleId", "topicName", "callerIP", "body",
                       "bodyBase64", "responseBody")  # fmt: skip
_ENDINGS: Final[Mapping[str, Format]] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def export(remote: Remote, items: Iterable[Item], file: str, wanted: Format | None, columns: Sequence[str]) -> None:
    """Write items to a new file, or to standard output.

    Raises:
        Failed: The file is there already, or cannot be written.
    """
    chosen = wanted or _format_of(file)
    try:
        with _opened(file) as out:
            write = _write_csv if chosen == "csv" else _write_lines
            count = write(out, items, columns)
    except FileExistsError:
        raise Failed(f"{file} exists; nothing was written", REFUSED) from None
    except OSError as error:
        raise Failed(f"cannot write {file}: {error.strerror}", REFUSED) from None
    if file != "-":
        remote.done({"exported": count}, f"exported {count}")


def _format_of(file: str) -> Format:
    """Return the format that the end of a file's name says; standard output is lines of JSON."""
    ending = Path(file).suffix.lower()
    if file != "-" and ending not in _ENDINGS:
        raise Failed(f"FILE: expected a name that ends .ndjson, .jsonl or .csv, or --format; got {file!r}", USAGE)
    return _ENDINGS.get(ending, "ndjson")


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdout
        return
    with Path(file).open("x", encoding="utf-8", newline="") as out:
        Path(file).chmod(0o600)  # It holds bodies.
        yield out


def _write_lines(out: TextIO, items: Iterable[Item], _columns: Sequence[str]) -> int:
    count = 0
    for item in items:
        out.write(json.dumps(item, separators=(",", ":")) + "\n")
        count += 1
    return count


def _write_csv(out: TextIO, items: Iterable[Item], columns: Sequence[str]) -> int:
    table, count = csv.writer(out), 0
    table.writerow(columns)
    for item in items:
        table.writerow([_cell(item.get(name)) for name in columns])
        count += 1
    return count


def _cell(value: Any) -> str:  # noqa: ANN401 - Any JSON.
    if value is None:
        return ""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
