"""The description of the audit log."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import Json, object_of, operation, page

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_SHOWN: Final[Json] = {
    "time": 1763800000000,
    "action": "messages.cancel",
    "by": "token",
    "who": "ops",
    "address": "203.0.113.7",
    "filter": "label=old",
    "count": 812,
    "status": 200,
    "requestId": "req_000000000000000000001",
}


def audit_schemas() -> Json:
    """Return the schema of a record."""
    shown = {
        "time": _NUMBER,
        "action": {**_TEXT, "description": "Such as `token.revoke`; docs/audit.md lists them."},
        "by": {"enum": ["token", "session", "user", "operator", "nobody"]},
        "who": {**_TEXT, "description": "Name of the token or user."},
        "address": _TEXT,
        "object": _TEXT,
        "filter": {**_TEXT, "description": "What was selected or set by the query."},
        "count": {**_NUMBER, "description": "How many things were touched, where there can be many."},
        "status": _NUMBER,
        "requestId": _TEXT,
    }
    return {"AuditRecord": object_of(shown, ["time", "action", "by", "status", "requestId"])}


def audit_paths() -> Json:
    """Return the path of the audit log."""
    answers: dict[int, tuple[str, Json, Any]] = {
        200: ("A page, newest first.", page("records", "AuditRecord"), {"records": [_SHOWN]})
    }
    parameters = [
        _query("who", "Only of this token or user.", _TEXT),
        _query("action", "Only this action.", _TEXT),
        _query("since", "Not before this time, in milliseconds.", {**_NUMBER, "minimum": 0}),
        _query("count", "At most so many.", {**_NUMBER, "minimum": 1, "maximum": 1000, "default": 100}),
        _query("cursor", "Of the page before.", _TEXT),
    ]
    about = "One record for each call that changed something, written in the transaction that changed it."
    listed = operation("Audit", "listAudit", "List changes", about, parameters, answers, (400, 401, 403, 429))
    return {"/lateron/v1/audit": {"get": listed}, "/lateron/v1/config": {"get": _configuration()}}


def _configuration() -> Json:
    setting = object_of({"name": _TEXT, "value": _TEXT, "source": _TEXT}, ["name", "value", "source"])
    growth = object_of({"bytesPerDay": _NUMBER, "overMs": _NUMBER, "fullInMs": _NUMBER}, ["bytesPerDay", "overMs"])
    tables = {"type": "object", "additionalProperties": _NUMBER}
    bytes_of = dict.fromkeys(("store", "log", "free", "used", "unused"), _NUMBER)
    sizes = object_of({**bytes_of, "tables": tables, "growth": growth}, [])
    schema = object_of({"settings": {"type": "array", "items": setting}, "storage": sizes}, ["settings", "storage"])
    example = {
        "settings": [{"name": "concurrency", "value": "512", "source": "environment LATERON_CONCURRENCY"}],
        "storage": {
            "store": 48_201_728,
            "log": 4_152_992,
            "free": 91_268_055_040,
            "used": 47_108_096,
            "unused": 1_093_632,
            "tables": {"event": 11_419_648, "message": 9_805_824, "request": 25_882_624},
            "growth": {"bytesPerDay": 61_865_984, "overMs": 86_400_000, "fullInMs": 127_463_000_000},
        },
    }
    answers: dict[int, tuple[str, Json, Any]] = {200: ("Secrets are masked.", schema, example)}
    about = (
        "Every setting with its value and where that came from, and what the store takes: its file, its log, the "
        "room on their disk, what of the file is in use and what is free inside it, each table with its indexes "
        "(of a large file estimated from a sample of its pages), and, ten minutes after a start, how it has grown "
        "since then, in the last day at most, with the time until its disk is full if it goes on like that. A "
        "store in memory takes none."
    )
    return operation("Server", "configuration", "Show the settings", about, [], answers, (401, 403, 429))


def _query(name: str, about: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": about, "schema": schema}
