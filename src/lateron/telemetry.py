"""What the program says about itself: structured lines, and counters.

A line has an event (a few fixed words, so that lines can be counted) and fields. On a developer's terminal it is
one readable line; in production one JSON object, ready for any collector::

    12:00:01.234 info     attempt failed             message=msg_0198... error=connect
    {"time":"2026-11-21T12:00:01.234Z","level":"info","logger":"lateron.dispatcher","event":"attempt failed", ...}

No line ever holds a body or a secret. Bodies are kept out by those who write lines; secrets are also taken out
here, at the one door all lines pass, by their names (``authorization``) and by their looks (``Bearer ...``,
``sig_...``, a base64 token), because an exception's text may hold what nobody meant to log.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_HIDDEN: Final = "[secret]"
_SECRET_NAMES: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "token",
        "qstash-token",
        "password",
        "secret",
        "api-key",
        "x-api-key",
        "signing-key",
        "upstash-signature",
    }
)
# Each alternative is a fixed text and one run of a character class: linear on every input.
_SECRET_LOOKS: Final = re.compile(
    r"(?P<keep>\b[Bb]earer +|\b[Bb]asic +|qstash_token=|QSTASH_TOKEN=)[^\s&\"',;]+"
    r"|\bsig_[A-Za-z0-9]{16,}"
    r"|\bltrn_[A-Za-z0-9_-]{16,}"
    r"|\$scrypt\$[A-Za-z0-9+/=,$]{16,}"
    r"|\beyJ[A-Za-z0-9_+/=-]{16,}(?:\.[A-Za-z0-9_=-]+)*"
)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def hide(text: str) -> str:
    """Return ``text`` without anything that looks like a token, key or credential."""
    return _SECRET_LOOKS.sub(lambda match: f"{match['keep'] or ''}{_HIDDEN}", text)


class Log:
    """Writes the lines of one room.

    A thin layer over ``logging``, so that lines of libraries take the same way.
    """

    def __init__(self, room: str) -> None:
        self._logger = logging.getLogger(room)

    def debug(self, event: str, /, **fields: object) -> None:  # noqa: D102
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:  # noqa: D102
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Say what an operator should look at some day."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Say what an operator must look at; with ``error=exception`` its traceback is kept."""
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            error = fields.get("error")
            trace = error if isinstance(error, BaseException) else None
            self._logger.log(level, "%s", event, extra={"fields": fields}, exc_info=trace)


class Counters:
    """Numbers that only grow, by name; used on the event loop's thread. ``/metrics`` will read them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Raise ``name`` by ``count``, at least 0."""
        assert count >= 0
        self._counts[name] += count

    def snapshot(self) -> Mapping[str, int]:
        """Return all counts as of now."""
        return dict(self._counts)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102
        line: dict[str, Any] = {
            "time": _instant(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": hide(record.getMessage()),
        }
        for name, value in _fields(record).items():
            line[name if name not in line else f"{name}_"] = value
        if record.exc_info:
            line["trace"] = hide(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=True, separators=(",", ":"))


class PrettyLines(logging.Formatter):
    """One short line for people; local time."""

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102
        time = _instant(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        words = [f"{name}={plain(str(value))}" for name, value in _fields(record).items()]
        line = f"{time} {record.levelname.lower():<8} {plain(hide(record.getMessage())):<26} {' '.join(words)}".rstrip()
        if record.exc_info and record.levelno >= logging.ERROR:
            line += "\n" + hide(self.formatException(record.exc_info))
        return line


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all lines of the process to ``stream`` (standard error).

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``json`` or ``pretty``.
        stream: Where to.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else PrettyLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in ("uvicorn", "uvicorn.error", "asyncio"):
        # Their lines about starting and stopping say again what ours say.
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


def _instant(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of a line, secrets hidden, everything but numbers and switches as text."""
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return {name: _field(name, value) for name, value in fields.items()}


def _field(name: str, value: object) -> object:
    if name.lower().replace("_", "-") in _SECRET_NAMES:
        return _HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"  # It may be a body.
    return hide(str(value))


def plain(text: str) -> str:
    """Make control characters visible, so that no field can write a second line or drive the terminal."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
