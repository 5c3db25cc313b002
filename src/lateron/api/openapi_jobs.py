"""The description of bulk jobs."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import Json, array, object_of, operation, path, ref
from lateron.core.bulk import WORDS
from lateron.core.bulk_wire import FASTEST, SLOWEST

_TAG: Final = "Bulk jobs"
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_JOB: Final = [path("jobId", "Id of the job.", "job_0196a1b2c3d4e5f60718293a4b5c6d7e")]
_SHOWN: Final[dict[str, Any]] = {
    "jobId": "job_0196a1b2c3d4e5f60718293a4b5c6d7e",
    "kind": "replayDeadLetters",
    "state": "running",
    "filter": {"responseStatus": ["503"]},
    "done": 500,
    "failed": 0,
    "total": 4000,
    "rate": 50,
    "by": "default",
    "createdAt": 1763800000000,
    "endsAt": 1763800070000,
}
_ABOUT: Final = """`cancel`, `retryNow`, `reschedule` and `erase` are about messages, `deleteDeadLetters` and
`replayDeadLetters` about dead letters. The filter has the names of the lists' query parameters; `{}` means everything.
What is published after the job was made is not touched. With `dryRun` nothing is changed, and the answer is the exact
count with three examples."""


def job_schemas() -> Json:
    """Return the schemas of bulk jobs."""
    shown = {
        "jobId": _TEXT,
        "kind": {"enum": list(WORDS)},
        "state": {"enum": ["running", "done", "cancelled", "failed"]},
        "filter": {"type": "object", "additionalProperties": _TEXTS},
        "done": {**_NUMBER, "description": "So many were changed."},
        "failed": {**_NUMBER, "description": "So many could not be changed, and stay as they are."},
        "total": {**_NUMBER, "description": "So many there were when the job was made; left out if not counted."},
        "limit": _NUMBER,
        "rate": {"type": "number", "description": "Changes a second."},
        "options": {**_TEXTS, "description": "Names of the options that were given."},
        "by": {**_TEXT, "description": "Name of the token, or of the user, who asked."},
        "createdAt": _NUMBER,
        "endedAt": _NUMBER,
        "endsAt": {**_NUMBER, "description": "When a paced job will have ended."},
    }
    return {"Job": object_of(shown, ["jobId", "kind", "state", "filter", "done", "failed", "by", "createdAt"])}


def _asked() -> Json:
    """Return the body that asks for a job."""
    value = {"anyOf": [_TEXT, _NUMBER, {"type": "array", "items": {"anyOf": [_TEXT, _NUMBER]}}]}
    asked = {
        "kind": {"enum": list(WORDS)},
        "filter": {"type": "object", "additionalProperties": value},
        "rate": {"type": "number", "minimum": SLOWEST, "maximum": FASTEST},
        "spread": {**_TEXT, "description": "Over so long, such as `10m`; not together with a rate."},
        "limit": {**_NUMBER, "minimum": 1},
        "options": {"type": "object", "additionalProperties": _TEXT},
        "body": {**_TEXT, "description": "Replaces the body of each dead letter that is replayed."},
        "bodyBase64": _TEXT,
        "dryRun": {"type": "boolean"},
    }
    schema = {**object_of(asked, ["kind", "filter"]), "additionalProperties": False}
    example = {"kind": "replayDeadLetters", "filter": {"responseStatus": ["503"]}, "rate": 50}
    return {"application/json": {"schema": schema, "example": example}}


def job_paths() -> Json:
    """Return the paths of bulk jobs."""
    dry = object_of(
        {"count": _NUMBER, "examples": {"type": "array", "items": {"type": "object"}}, "dryRun": {"const": True}},
        ["count", "examples", "dryRun"],
    )
    paging = [
        {"name": "count", "in": "query", "description": "At most so many.", "schema": {**_NUMBER, "minimum": 1}},
        {"name": "cursor", "in": "query", "description": "Of the page before.", "schema": _TEXT},
    ]
    listed = object_of({"jobs": array("Job"), "cursor": _TEXT}, ["jobs"])
    one: dict[int, tuple[str, Json, Any]] = {200: ("The job.", ref("Job"), _SHOWN)}
    message = [path("messageId", "Id of the message.", "msg_0196a1b2c3d4e5f60718293a4b5c6d7e")]
    named = object_of({"messageId": _TEXT}, ["messageId"])
    return {
        "/lateron/v1/jobs": {
            "get": operation(
                _TAG,
                "listJobs",
                "List jobs",
                "Newest first; those that ended stay as long as the history.",
                paging,
                {200: ("A page of jobs.", listed, {"jobs": [_SHOWN]})},
                (400, 401, 429),
            ),
            "post": operation(
                _TAG,
                "createJob",
                "Change many at once",
                _ABOUT,
                [],
                {
                    200: ("What it would change.", dry, {"count": 0, "examples": [], "dryRun": True}),
                    201: ("The job; it begins by itself.", ref("Job"), {**_SHOWN, "done": 0}),
                },
                (400, 401, 403, 412, 413, 429, 503, 507),
                _asked(),
            ),
        },
        "/lateron/v1/jobs/{jobId}": {
            "get": operation(_TAG, "getJob", "Show a job", "", _JOB, one, (401, 404, 429)),
        },
        "/lateron/v1/jobs/{jobId}/cancel": {
            "post": operation(
                _TAG,
                "cancelJob",
                "Stop a job",
                "What it has done stays done. A job at rest stays as it is.",
                _JOB,
                one,
                (401, 403, 404, 429, 503, 507),
            ),
        },
        "/lateron/v1/messages/{messageId}/retry": {
            "post": operation(
                "Messages",
                "retryNow",
                "Let a waiting message go now",
                "It is due at once; its lane, its queue and every pause hold as before. Again changes nothing.",
                message,
                {200: ("It is due.", named, {"messageId": message[0]["example"]})},
                (401, 403, 404, 409, 429, 503, 507),
            ),
        },
    }
