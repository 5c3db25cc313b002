"""The part of the description that is about schedules; see ``openapi``."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import operation, ref
from lateron.api.describe import path as path_parameter
from lateron.api.openapi_options import TRACE, publish_headers

Json = dict[str, Any]

_ID: Final = "scd_019a8e7d5c0041c2b3d4e5f60718293a"
_NOW: Final = 1763800000000
_SCHEDULE: Final = {
    "scheduleId": _ID,
    "cron": "CRON_TZ=Europe/Berlin 0 4 * * MON-FRI",
    "createdAt": _NOW,
    "destination": "https://example.com/report",
    "method": "POST",
    "retries": 3,
    "isPaused": False,
    "nextScheduleTime": _NOW,
}
_NAMED: Final = {"type": "object", "properties": {"scheduleId": {"type": "string"}}, "required": ["scheduleId"]}
_OPTIONS: Final = (
    ("Upstash-Cron", "Five fields, six with seconds first, @daily or @every 10s; CRON_TZ=Area/City before.", "@daily"),
    ("Upstash-Schedule-Id", "Its id; a schedule that has it is replaced as a whole.", "daily-report"),
    ("Lateron-Missed", "What becomes of missed ticks: latest (inside the catch-up window), skip or all.", "latest"),
    ("Lateron-Overlap", "A tick while the last run is not over: allow, skip, or queue, one after another.", "allow"),
    ("Lateron-Start", "No tick is earlier: unix seconds, or a date and time with offset.", "2026-01-01T00:00:00Z"),
    ("Lateron-End", "No tick is later.", "2036-12-31T00:00:00Z"),
    ("Lateron-Most-Runs", "It ends after so many ticks.", "10"),
    ("Lateron-Jitter", "Each message is later than its tick by a chance of at most this.", "5m"),
)  # fmt: skip


def schedule_paths() -> Json:
    """Return the paths of schedules."""
    one = [path_parameter("scheduleId", "Id of the schedule.", _ID)]
    ours = [
        {"name": name, "in": "header", "description": about, "schema": {"type": "string"}, "example": example}
        for name, about, example in _OPTIONS
    ]
    destination = path_parameter("destination", "A URL, or the name of a URL group.", "https://example.com/report")
    created = {201: ("Stored.", _NAMED, {"scheduleId": _ID})}

    return {
        "/v2/schedules/{destination}": {
            "post": operation(
                "Schedules",
                "createSchedule",
                "Create or replace a schedule",
                "Takes what a publish takes, but for deduplication and Upstash-Not-Before; a publish with Upstash-Cron "
                "does the same.",
                [destination, *ours, *publish_headers(TRACE)],
                created,
                (400, 401, 403, 404, 412, 413, 429, 501, 503, 507),
                body={"*/*": {"schema": {}, "example": "any bytes"}},
            )
        },
        "/v2/schedules": {
            "get": operation(
                "Schedules",
                "listSchedules",
                "List schedules",
                "",
                [],
                {200: ("All of them.", {"type": "array", "items": ref("Schedule")}, [_SCHEDULE])},
                (401, 429),
            )
        },
        **_named_paths(one),
        **_previews(one),
    }


def _named_paths(one: list[Json]) -> Json:
    changed = {200: ("Done.", _NAMED, {"scheduleId": _ID})}
    change = (401, 403, 404, 429, 503, 507)
    about_pause = "Its ticks are not made up for later."

    def put(operation_id: str, summary: str, description: str) -> Json:
        return operation("Schedules", operation_id, summary, description, one, changed, change)

    return {
        "/v2/schedules/{scheduleId}": {
            "get": operation(
                "Schedules",
                "getSchedule",
                "Show a schedule",
                "",
                one,
                {200: ("The schedule.", ref("Schedule"), _SCHEDULE)},
                (401, 404, 429),
            ),
            "delete": put("deleteSchedule", "Delete a schedule", "Messages that it has made are delivered."),
        },
        "/v2/schedules/{scheduleId}/pause": {
            "patch": put("pauseSchedule", "Pause a schedule", about_pause),
            "post": put("pauseScheduleToo", "Pause a schedule (other method)", about_pause),
        },
        "/v2/schedules/{scheduleId}/resume": {
            "patch": put("resumeSchedule", "Resume a schedule", "It goes on with its next tick."),
            "post": put("resumeScheduleToo", "Resume a schedule (other method)", "It goes on with its next tick."),
        },
        "/v2/schedules/{scheduleId}/run": {
            "post": operation(
                "Schedules",
                "runSchedule",
                "Run a schedule now",
                "Its ticks stay as they are. Of a URL group, an array of messages. An extension of ours.",
                one,
                {
                    201: (
                        "The message.",
                        {"anyOf": [ref("Published"), {"type": "array", "items": ref("Published")}]},
                        {"messageId": "msg_019a8e7d5c0041c2b3d4e5f60718293a"},
                    )
                },
                (400, *change),
            )
        },
    }


def _previews(one: list[Json]) -> Json:
    times: Json = {"type": "object", "required": ["times"], "properties": {
        "times": {"type": "array", "items": {"type": "integer"}}}}  # fmt: skip
    shown = {200: ("In milliseconds.", times, {"times": [_NOW]})}
    count = {"name": "count", "in": "query", "description": "How many, at most 100; 10 by default.",
             "schema": {"type": "integer", "minimum": 1, "maximum": 100}}  # fmt: skip
    cron = {"name": "cron", "in": "query", "required": True, "description": "As Upstash-Cron.",
            "schema": {"type": "string"}, "example": "@daily"}  # fmt: skip
    return {
        "/lateron/v1/schedules/{scheduleId}/next": {
            "get": operation(
                "Schedules",
                "previewSchedule",
                "Say when a schedule will tick",
                "",
                [*one, count],
                shown,
                (400, 401, 404, 429),
            )
        },
        "/lateron/v1/cron": {
            "get": operation(
                "Schedules",
                "previewCron",
                "Say when a cron expression would tick",
                "",
                [cron, count],
                shown,
                (400, 401, 429),
            )
        },
    }


def schedule_schema() -> Json:
    """Return the schema of a schedule."""
    text, number, flag = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    headers = {"type": "object", "additionalProperties": {"type": "array", "items": text}}
    states = {"type": "object", "additionalProperties": {"enum": ["IN_PROGRESS", "SUCCESS", "FAIL"]}}
    texts = ("scheduleId", "cron", "destination", "method", "body", "bodyBase64", "callback", "failureCallback",
             "callerIP", "callerIp", "retryDelayExpression", "label", "flowControlKey", "missed", "overlap", "error",
             "queueName")  # fmt: skip
    numbers = ("createdAt", "retries", "parallelism", "rate", "period", "lastScheduleTime", "nextScheduleTime",
               "start", "end", "mostRuns", "runs", "missedRuns", "skippedRuns", "failedRuns")  # fmt: skip
    return {
        "type": "object",
        "properties": {
            **dict.fromkeys(texts, text),
            **dict.fromkeys(numbers, number),
            **{name: {"type": "number"} for name in ("delay", "timeout", "jitter")},
            **dict.fromkeys(("header", "callbackHeader", "failureCallbackHeader"), headers),
            "isPaused": flag,
            "labels": {"type": "array", "items": text},
            "lastScheduleStates": states,
        },
        "required": ["scheduleId", "cron", "createdAt", "destination", "method", "retries", "isPaused"],
    }
