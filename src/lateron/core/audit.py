"""What the audit log keeps of a change: who, from where, what, how many, how it ended.

Never what was sent: no body, no header, no token. Of a query only the names that select or set something are kept,
and of a URL neither its user nor its query, for both may hold secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from lateron.core.filters import MESSAGE_FILTERS
from lateron.core.values import Filter, Millis, Tenant
from lateron.errors import InvalidValue

MOST: Final = 1000  # Records on a page.
LONGEST: Final = 500  # Characters of a text that is kept.
TOLD: Final = MESSAGE_FILTERS - {"cursor"} | {"dlqIds", "responseStatus", "parallelism", "rate", "period"}
LATEST: Final[Millis] = 1 << 62

AuditKey = tuple[Millis, str]  # (time, request) of the last record seen.


class Note(Struct):
    """One change. It is made before the change, and completed while that goes on.

    ``kept`` says that a transaction with it was committed. Several transactions of one call share its record, and
    what they touch is added up.
    """

    tenant: Tenant
    time: Millis
    request: str
    kind: str  # What showed who it was: token, session, user, operator, or nobody.
    who: str
    address: str
    action: str
    object: str = ""
    filter: str = ""
    count: int | None = None  # Of what was touched, where more than one thing can be.
    status: int = 200
    kept: bool = False


class Search(Struct, frozen=True):
    """Which records are wanted; an empty text means any."""

    who: str = ""
    action: str = ""
    since: Millis = 0
    before: AuditKey = (LATEST, "")
    count: int = 100


def clipped(text: str) -> str:
    """Return a text as it is kept: printable, and not endless."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:LONGEST])


def told(pairs: Sequence[tuple[str, str]]) -> str:
    """Return what may be kept of a query."""
    shown = ((name, _bare(value) if name == "url" else value) for name, value in pairs if name in TOLD)
    return clipped(" ".join(f"{name}={value}" for name, value in shown))


def named(selection: Filter | None) -> str:
    """Return what may be kept of a selection that came in a body: how many ids it names."""
    if selection is None:
        return ""
    return f"ids={len(selection.message_ids) + len(selection.dlq_ids)}"


def _bare(url: str) -> str:
    """Return a URL without its user, its query and its fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "?"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path


def parse_search(pairs: Sequence[tuple[str, str]]) -> Search:
    """Read the query of a list of records.

    Raises:
        InvalidValue: A name or a value of it is none.
    """
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given or name not in {"who", "action", "since", "count", "cursor", "qstash_token"}:
            raise InvalidValue(name[:100], value[:100], "who, action, since, count and cursor, each once")
        given[name] = value
    count = _whole("count", given.get("count", "100"), 1, MOST)
    since = _whole("since", given.get("since", "0"), 0, LATEST)
    cursor = given.get("cursor")
    before = (LATEST, "") if cursor is None else _key(cursor)
    return Search(given.get("who", ""), given.get("action", ""), since, before, count)


def cursor_of(note: Note) -> str:
    """Return where a page goes on behind this record."""
    return f"{note.time}-{note.request}"


def _key(cursor: str) -> AuditKey:
    time, dash, request = cursor.partition("-")
    if not dash or not request or not _is_number(time):
        raise InvalidValue("cursor", cursor[:100], "the cursor of an earlier answer")
    return int(time), request


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not _is_number(text) or not least <= int(text) <= most:
        raise InvalidValue(name, text[:100], f"a whole number from {least} to {most}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
