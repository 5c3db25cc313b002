"""The description of what tells how it goes: the overview and the stream."""

from __future__ import annotations

from typing import Final

from lateron.api.describe import Json, object_of, operation
from lateron.core.board import TOPICS

_NUMBER: Final[Json] = {"type": "integer"}
_MAYBE: Final[Json] = {"type": ["integer", "null"]}
_TEXT: Final[Json] = {"type": "string"}
_LIST: Final[Json] = {"type": "array", "items": {"type": "object"}}
_TOLD: Final = """Events: `counters` each second (totals since the start, what waits, what is open); `message`, a
line of the log as `GET /v2/events` shows it, at most twenty a second; `sampled`, how many lines were left out;
`changed`, a topic of which something has changed. The `id` of an event is where the reader stands: sent as
`Last-Event-ID` it goes on from there."""


def live_paths() -> Json:
    """Return the paths of this room."""
    topics = {
        "name": "topics",
        "in": "query",
        "description": f"Some of {', '.join(TOPICS)}; counters and messages if none is given.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "items": {"enum": list(TOPICS)}},
    }
    seconds = {
        "name": "seconds",
        "in": "query",
        "description": "End after so long.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 86400},
    }
    stream = operation(
        "Server", "stream", "What happens, as it happens", _TOLD, [topics, seconds], {}, (400, 401, 429, 503)
    )
    example = 'id: 5f.17\nevent: changed\ndata: {"topic":"queues"}\n\n'
    stream["responses"]["200"] = {
        "description": "Server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": example}},
    }
    return {
        "/lateron/v1/overview": {
            "get": operation(
                "Server",
                "overview",
                "How it goes",
                "In words, the last hour minute by minute, and what is worth a look. Of the time before the last start "
                "of the server it knows only what is there now.",
                [],
                {200: ("How it goes.", _overview(), {"health": _HEALTHY, "series": [], "top": _NOTHING})},
                (401, 429),
            )
        },
        "/lateron/v1/stream": {"get": stream},
    }


_HEALTHY: Final = {"status": "ok", "text": "Delivering. 0 messages wait."}
_NOTHING: Final[Json] = {"failingHosts": [], "busyKeys": [], "nextSchedules": [], "errors": []}


def _overview() -> Json:
    counts = ("time", "published", "delivered", "failed", "waiting", "active")
    parts = ("p50", "p95", "p99")
    line = object_of(
        {
            **dict.fromkeys(counts, _NUMBER),
            "attemptMs": object_of(dict.fromkeys(parts, _MAYBE), list(parts)),
            "oldestDueMs": _MAYBE,
        },
        [*counts, "attemptMs", "oldestDueMs"],
    )
    health = object_of({"status": {"enum": ["ok", "late", "failing", "paused"]}, "text": _TEXT}, ["status", "text"])
    top = object_of(dict.fromkeys(_NOTHING, _LIST), list(_NOTHING))
    return object_of(
        {"health": health, "series": {"type": "array", "items": line}, "top": top}, ["health", "series", "top"]
    )
