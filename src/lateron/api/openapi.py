"""The description of the API in OpenAPI 3.1, as served by ``GET /openapi.json``.

It is written by hand, because it is documentation: summaries, reasons, examples. A test compares it with
the table of routes in both directions, and with real answers, so it cannot say less or more than there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from lateron import __version__
from lateron.api.describe import Json
from lateron.api.describe import array as _array
from lateron.api.describe import object_of as _object
from lateron.api.describe import operation as _operation
from lateron.api.describe import page as _page
from lateron.api.describe import path as _path
from lateron.api.describe import public as _public
from lateron.api.describe import ref as _ref
from lateron.api.describe import strings as _strings
from lateron.api.openapi_audit import audit_paths, audit_schemas
from lateron.api.openapi_flow import flow_paths, flow_schemas
from lateron.api.openapi_groups import group_paths, group_schemas
from lateron.api.openapi_info import info_answers
from lateron.api.openapi_jobs import job_paths, job_schemas
from lateron.api.openapi_live import live_paths
from lateron.api.openapi_options import PUBLISH_OPTIONS, publish_headers
from lateron.api.openapi_queues import QUEUE_SCHEMA, queue_paths
from lateron.api.openapi_sessions import session_paths, session_schemas
from lateron.api.openapi_tokens import token_paths, token_schemas
from lateron.api.openapi_users import user_paths, user_schemas

_ID: Final = "msg_019a8e7d5c0041c2b3d4e5f60718293a"
_DLQ_ID: Final = "1763800000000-019a8e7d5c0041c2b3d4e5f60718293a"
_NOW: Final = 1763800000000

_ABOUT: Final = """A self-hosted HTTP message queue that speaks the QStash API. POST a message with its
destination in the path; it is on disk before it is answered 2xx, and is then delivered over HTTP with retries,
callbacks and a dead letter queue.

Not built yet, and answered 501: the workflow protocol."""

_ERRORS: Final = {
    400: (
        "Something in the request cannot be read; the text names it.",
        "Upstash-Delay: expected a duration, got 'soon'",
    ),
    401: ("No valid token.", "unauthorized: send a valid token as Authorization: Bearer <token>"),
    403: ("The token may not do this.", "forbidden: scope read may not change this"),
    404: ("It does not exist, or not any more.", f"message {_ID} not found"),
    409: ("It is in no state for this.", f"message {_ID} waits for no time: its attempt is under way"),
    412: ("The quota of this server does not allow it.", "Upstash-Retries: the quota allows at most 5, got 1000"),
    413: ("The body is too large to be read.", "body: at most 104857600 bytes"),
    429: ("Too many management calls; see Burst-RateLimit-*.", "rate limit: at most 100 calls a second"),
    500: ("A bug of ours; the log has it under requestId.", "internal error"),
    501: ("A part of the API that is not built yet.", "schedules are not supported yet: POST /v2/schedules"),
    503: ("Overloaded or not ready; see Retry-After.", "too much is under way; try again soon"),
    507: ("The disk is full; nothing was stored.", "the storage is full; nothing was stored"),
}


_FILTERS: Final = {
    "messageIds": "Ids of messages.",
    "dlqIds": "Ids of dead letters.",
    "url": "Exact destination.",
    "host": "Host name of the destination.",
    "path": "Exact path of the destination.",
    "label": "A label.",
    "topicName": "A URL group it was published to.",
    "queueName": "Name of a queue.",
    "flowControlKey": "A flow-control key.",
    "callerIp": "Address of the publisher.",
    "jobId": "Id of the bulk job that published it anew.",
    "scheduleId": "Id of the schedule that made it.",
    "state": "State of the log's line; IN_PROGRESS is ACTIVE, RETRY and ERROR.",
    "responseStatus": "Status of the last answer, 0 if there was none.",
    "fromDate": "Not before this time, in milliseconds.",
    "toDate": "Not after this time, in milliseconds.",
    "count": "At most so many.",
    "cursor": "The cursor of the page before.",
    "order": "latestFirst or earliestFirst.",
    "dryRun": "true: change nothing; say how many match, with three examples.",
}
_TAGS: Final = (
    "Publish",
    "Queues",
    "Messages",
    "Log",
    "Dead letters",
    "Bulk jobs",
    "Schedules",
    "URL groups",
    "Flow control",
    "Keys",
    "Tokens",
    "Users",
    "Sessions",
    "Audit",
    "Server",
    "Catcher",
)
_OF_MESSAGE: Final = ("url", "topicName", "label", "queueName", "flowControlKey", "scheduleId", "callerIp", "jobId")
_COMMON: Final = (*_OF_MESSAGE, "fromDate", "toDate", "count")
_OF_DEAD_LETTERS: Final = ("dlqIds", "messageIds", "responseStatus", *_COMMON, "cursor")
_NUMBERS: Final = frozenset(("fromDate", "toDate", "count", "responseStatus"))
_LISTS: Final = frozenset(("messageIds", "dlqIds", "host", "path", "state", *_OF_MESSAGE))


@lru_cache(maxsize=1)
def document() -> Json:
    """Return the whole document; do not change it."""
    # Why here: that module is written in the words of this one.
    from lateron.api.openapi_schedules import schedule_paths, schedule_schema

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lateron",
            "version": __version__,
            "summary": "HTTP message queue, compatible with the QStash API",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"query": []}],
        "tags": [{"name": name} for name in _TAGS],
        "paths": {
            **_publish_paths(),
            **queue_paths(_operation, publish_headers(("Upstash-Queue-Name", "Lateron-Order-Key"))),
            **_message_paths(),
            **_dead_letter_paths(),
            **schedule_paths(),
            **group_paths(),
            **flow_paths(),
            **token_paths(),
            **user_paths(),
            **session_paths(),
            **audit_paths(),
            **live_paths(),
            **job_paths(),
            **_other_paths(),
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "qstash_token"},
            },
            "schemas": {**_schemas(), "Schedule": schedule_schema()},
            "responses": {str(status): _error(status) for status in _ERRORS},
        },
    }


def _publish_paths() -> Json:
    headers = publish_headers()
    told = "\n".join(f"* `{name}`: {about}" for name, about, _ in PUBLISH_OPTIONS)
    return {
        "/v2/publish/{destination}": {
            "post": _operation(
                "Publish",
                "publish",
                "Publish a message",
                "The destination is a URL, as it is or percent-encoded; its query stays with it. Or it is the name of "
                "a URL group: each of its endpoints gets a message of its own. Each header below may "
                f"also be a query parameter in lower case.\n\n{told}",
                [
                    _path("destination", "The URL to deliver to, or a URL group.", "https://example.com/orders?x=1"),
                    *headers,
                ],
                {
                    201: (
                        "Stored. An array for a URL group.",
                        {"anyOf": [_ref("Published"), _array("Published"), _ref("Scheduled")]},
                        {"messageId": _ID},
                    ),
                    202: (
                        "A duplicate; the id is that of the first message. An array for a URL group.",
                        {"anyOf": [_ref("Published"), _array("Published")]},
                        {"messageId": _ID, "deduplicated": True},
                    ),
                },
                (400, 401, 403, 404, 412, 413, 501, 503, 507),
                body={"*/*": {"schema": {}, "example": "any bytes"}},
            )
        },
        "/v2/batch": {
            "post": _operation(
                "Publish",
                "batch",
                "Publish many messages",
                "One transaction, one answer per message in order. An item that cannot be read is answered in its "
                "place and does no harm to the others.",
                [],
                {
                    200: ("No item was stored.", _array("BatchItem"), [{"error": "message 0: ...", "status": 400}]),
                    201: ("At least one item was stored.", _array("BatchItem"), [{"messageId": _ID}]),
                },
                (400, 401, 403, 413, 501, 503, 507),
                body={
                    "application/json": {
                        "schema": _array("BatchMessage"),
                        "example": [
                            {"destination": "https://example.com", "headers": {"Upstash-Delay": "5s"}, "body": "hi"}
                        ],
                    }
                },
            )
        },
    }


def _message_paths() -> Json:
    one = [_path("messageId", "Id of the message.", _ID)]
    ids = {
        "application/json": {
            "schema": _object({"messageIds": _strings()}, ["messageIds"]),
            "example": {"messageIds": [_ID]},
        }
    }
    cancelled = _object({"cancelled": {"type": "integer"}}, ["cancelled"])
    return {
        "/v2/messages": {
            "get": _operation(
                "Messages",
                "listMessages",
                "List messages that are not at rest",
                "Newest first. With each message comes what it waits for. An extension of ours.",
                _filters(("messageIds", "host", "path", *_COMMON, "cursor")),
                {200: ("A page.", _page("messages", "Message"), {"messages": []})},
                (400, 401, 429),
            ),
            "delete": _operation(
                "Messages",
                "cancelMessages",
                "Cancel messages",
                "Selected by a body or by the query, not both; without either, all that are not at rest.",
                _filters(("messageIds", "host", "path", *_COMMON, "dryRun")),
                {200: ("How many were cancelled.", {"anyOf": [cancelled, _ref("DryRun")]}, {"cancelled": 2})},
                (400, 401, 403, 413, 429, 503, 507),
                body=ids,
                optional=True,
            ),
        },
        "/v2/messages/{messageId}": {
            "get": _operation(
                "Messages",
                "getMessage",
                "Show a message",
                "Until ten minutes after its end.",
                one,
                {200: ("The message.", _ref("Message"), {**_MESSAGE, "state": "CREATED"})},
                (401, 404, 429),
            ),
            "delete": _operation(
                "Messages",
                "cancelMessage",
                "Cancel a message",
                "An attempt that is under way may still deliver it.",
                one,
                {200: ("Cancelled.", cancelled, {"cancelled": 1})},
                (401, 403, 404, 429, 503, 507),
            ),
        },
        "/lateron/v1/messages/{messageId}": {
            "get": _operation(
                "Messages",
                "getStory",
                "Show all that is kept of a message",
                "Every attempt with its answer and the microseconds of each phase, and every line of its log, as "
                "long as the history is kept.",
                one,
                {200: ("The story.", _ref("Story"), {**_MESSAGE, "state": "CREATED", "attempts": [], "events": []})},
                (401, 404, 429),
            )
        },
        "/v2/events": {"get": _log("events", "getEvents")},
        "/v2/logs": {"get": _log("logs", "getLogs")},
    }


def _log(name: str, operation_id: str) -> Json:
    return _operation(
        "Log",
        operation_id,
        "List the log",
        "Values of one filter are alternatives, different filters all apply. Bodies over 64 KB are left out.",
        _filters(("messageIds", "host", "path", "state", *_COMMON, "order", "cursor")),
        {200: ("A page; the last has no cursor.", _page(name, "Event"), {name: [_EVENT]})},
        (400, 401, 429, 501),
    )


def _dead_letter_paths() -> Json:
    one = [_path("dlqId", "Id of the dead letter.", _DLQ_ID)]
    text = {"type": "string"}
    deleted = _object({"deleted": {"type": "integer"}, "cursor": text}, ["deleted"])
    responses = _object({"responses": _array("Published"), "cursor": text}, ["responses"])
    tag = "Dead letters"
    anew = (
        "It becomes a new message and leaves the queue, in one transaction. Headers that configure a publish replace "
        "those of the original."
    )
    return {
        "/v2/dlq": {
            "get": _operation(
                tag,
                "listDeadLetters",
                "List dead letters",
                "Newest first, at most 100 on a page; where few match it may hold fewer, or none, and have a cursor.",
                _filters(_OF_DEAD_LETTERS),
                {200: ("A page; the last has no cursor.", _page("messages", "DeadLetter"), {"messages": []})},
                (400, 401, 429, 501),
            ),
            "delete": _many_dead_letters(
                "deleteDeadLetters",
                "Delete dead letters",
                "Selected by a body or by the query; without either, the newest up to the count (100).",
                {
                    200: (
                        "How many; with a cursor there may be more.",
                        {"anyOf": [deleted, _ref("DryRun")]},
                        {"deleted": 1},
                    )
                },
            ),
        },
        "/v2/dlq/{dlqId}": _one_dead_letter(one, deleted),
        "/v2/dlq/retry": {
            "post": _many_dead_letters(
                "retryDeadLetters",
                "Publish dead letters anew",
                f"Selected by a body or by the query. Of each: {anew}",
                {
                    200: (
                        "The new messages; with a cursor there may be more.",
                        {"anyOf": [responses, _ref("DryRun")]},
                        {"responses": [{"messageId": _ID}]},
                    )
                },
                (412,),
            )
        },
        "/v2/dlq/retry/{dlqId}": {
            "post": _operation(
                tag,
                "retryDeadLetter",
                "Publish a dead letter anew",
                anew,
                one,
                {201: ("The new message.", _ref("Published"), {"messageId": _ID})},
                (400, 401, 403, 404, 412, 429, 501, 503, 507),
            )
        },
    }


def _one_dead_letter(one: list[Json], deleted: Json) -> Json:
    return {
        "get": _operation(
            "Dead letters",
            "getDeadLetter",
            "Show a dead letter",
            "With the answer that made it one.",
            one,
            {200: ("The dead letter.", _ref("DeadLetter"), {**_MESSAGE, "dlqId": _DLQ_ID, "responseStatus": 500})},
            (401, 404, 429),
        ),
        "delete": _operation(
            "Dead letters",
            "deleteDeadLetter",
            "Delete a dead letter",
            "Its history stays until its own retention.",
            one,
            {200: ("Deleted.", deleted, {"deleted": 1})},
            (401, 403, 404, 429, 503, 507),
        ),
    }


def _many_dead_letters(
    operation_id: str,
    summary: str,
    description: str,
    answers: Mapping[int, tuple[str, Json, Any]],
    more: Sequence[int] = (),
) -> Json:
    ids = {
        "application/json": {
            "schema": _object({"dlqIds": _strings()}, ["dlqIds"]),
            "example": {"dlqIds": [_DLQ_ID]},
        }
    }
    errors = (400, 401, 403, *more, 413, 429, 501, 503, 507)
    names = _filters((*_OF_DEAD_LETTERS, "dryRun"))
    return _operation(
        "Dead letters", operation_id, summary, description, names, answers, errors, body=ids, optional=True
    )


def _other_paths() -> Json:
    keys = {200: ("The keys.", _ref("Keys"), {"current": "sig_...", "next": "sig_..."})}
    rotated = "New attempts are signed with the old next key. Receivers that try both keys notice nothing."
    status = {200: ("Yes.", _object({"status": {"type": "string"}}, ["status"]), {"status": "ok"})}
    free = {"type": "object"}
    name = [_path("name", "Name of the catcher.", "orders")]
    names = _object({"names": {"type": "array", "items": free}}, ["names"])
    caught = _object({"requests": {"type": "array", "items": free}}, ["requests"])
    deleted = {200: ("How many.", _object({"deleted": {"type": "integer"}}, ["deleted"]), {"deleted": 3})}
    listed = {200: ("The names.", names, {"names": [{"name": "orders", "requests": 1, "bytes": 2, "last": _NOW}]})}
    shown = {200: ("The requests.", caught, {"requests": [{"number": 1, "time": _NOW, "method": "POST"}]})}
    ready = _operation("Server", "readiness", "Whether work may be sent here", "503 says why not.", [], status, (503,))
    openapi = {200: ("OpenAPI 3.1.", free, {"openapi": "3.1.0"})}
    forget = (401, 403, 404, 429)
    return {
        "/v2/keys": {"get": _operation("Keys", "getKeys", "Show the signing keys", "", [], keys, (401, 429))},
        "/v2/keys/rotate": {
            "post": _operation("Keys", "rotateKeys", "Rotate the keys", rotated, [], keys, (401, 403, 429, 503, 507))
        },
        "/v2/rotate": {
            "post": _operation(
                "Keys", "rotateKeysToo", "Rotate the keys (other path)", rotated, [], keys, (401, 403, 429, 503, 507)
            )
        },
        "/lateron/v1/info": {
            "get": _operation(
                "Server", "info", "What this server is, and who you are", "", [], info_answers(), (401, 429)
            )
        },
        "/metrics": {"get": _metrics()},
        "/healthz": {
            "get": _public(_operation("Server", "health", "Whether the process is alive", "", [], status, ()))
        },
        "/readyz": {"get": _public(ready)},
        "/openapi.json": {"get": _public(_operation("Server", "openapi", "This document", "", [], openapi, ()))},
        "/lateron/v1/catcher": {
            "get": _operation("Catcher", "listCatchers", "Names with caught requests", "", [], listed, (401, 404, 429)),
            "delete": _operation("Catcher", "clearCatchers", "Forget all caught requests", "", [], deleted, forget),
        },
        "/lateron/v1/catcher/{name}": {
            "get": _operation(
                "Catcher",
                "listCaught",
                "Show what was sent to /_catch/{name}",
                "Newest first, with a verdict on each signature. The query of the caught request chooses its answer: "
                "`status`, `body`, `delay`, `retry-after`, `nonretryable`.",
                name,
                shown,
                (401, 404, 429),
            ),
            "delete": _operation("Catcher", "clearCaught", "Forget what was caught", "", name, deleted, forget),
        },
    }


def _metrics() -> Json:
    text = {"text/plain": {"schema": {"type": "string"}, "example": "lateron_ready 1\n"}}
    about = "For the first user of a server only: sums over all users. A scrape reads no row of the store."
    shown = _operation("Server", "metrics", "All figures, as Prometheus reads them", about, [], {}, (401, 403))
    shown["responses"]["200"] = {"description": "The figures.", "content": text}
    return shown


def _schemas() -> Json:
    text, number, flag = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    headers = {"type": "object", "additionalProperties": _strings()}
    texts = "messageId url method body bodyBase64 callback failureCallback callerIP retryDelayExpression label"
    about = {
        **_fields(text, f"{texts} flowControlKey topicName endpointName scheduleId jobId parentMessageId"),
        **_fields(number, "maxRetries notBefore createdAt timeout parallelism rate period"),
        **_fields(headers, "header callbackHeader failureCallbackHeader"),
        "labels": _strings(),
        **_fields(text, "queueName orderKey"),
        "kind": {"enum": ["callback", "failureCallback", "redrive"]},
    }
    answer = {
        **_fields(text, "responseBody responseBodyBase64 error"),
        "responseStatus": number,
        "responseHeader": headers,
        "responseTruncated": flag,
    }
    always = ["messageId", "url", "method", "maxRetries", "notBefore"]
    message = {
        **about,
        **_fields(text, "state heldBy"),
        **_fields(number, "retried waitingUntil nextDeliveryTime"),
        "waitingFor": {**text, "description": "Why it has not gone out yet."},
        "placeInLine": {**number, "description": "In its queue, key or host; exact up to 1,000."},
        "placeInLineIsAtLeast": flag,
    }
    line = {**_fields(text, "state note"), **_fields(number, "time attempt nextDeliveryTime")}
    event = {
        **about,
        **answer,
        **line,
        "attemptMs": {"type": "number", "description": "How long the attempt took, in milliseconds."},
        "retryDelayExpr": text,
        **_fields(headers, "responseHeaders callbackHeaders failureCallbackHeaders"),
    }
    attempt = {
        **answer,
        **_fields(text, "errorClass peer"),
        **_fields(number, "attempt retried startedAt endedAt"),
        "reusedConnection": flag,
        "phases": _object(_fields(number, "dns connect tls firstByte body total"), []),
        "request": _object({**_fields(text, "head"), "claims": {"type": "object"}}, []),
    }
    story = {"attempts": _array("Attempt"), "events": _array("Line"), "retryDelays": {"type": "array", "items": number}}
    return {
        "Error": _object({"error": text, "requestId": text}, ["error"]),
        "DryRun": _object(
            {"count": number, "examples": {"type": "array", "items": {"type": "object"}}, "dryRun": flag},
            ["count", "examples", "dryRun"],
        ),
        "Scheduled": _object({"scheduleId": text}, ["scheduleId"]),
        "Published": _object({"messageId": text, "url": text, "deduplicated": flag}, ["messageId"]),
        **_batch_schemas(text, number),
        "Queue": QUEUE_SCHEMA,
        "Message": _object(message, [*always, "createdAt", "state"]),
        "Story": _object({**message, **story}, [*always, "createdAt", "state", "attempts", "events"]),
        "Attempt": _object(attempt, ["attempt", "retried", "startedAt", "endedAt", "phases"]),
        "Line": _object(line, ["time", "state"]),
        "Event": _object(event, [*always, "time", "state"]),
        "DeadLetter": _object({**about, **answer, "dlqId": text}, [*always, "createdAt", "dlqId", "responseStatus"]),
        **group_schemas(),
        **flow_schemas(),
        **token_schemas(),
        **user_schemas(),
        **session_schemas(),
        **audit_schemas(),
        **job_schemas(),
        "Keys": _object({"current": text, "next": text}, ["current", "next"]),
    }


def _batch_schemas(text: Json, number: Json) -> Json:
    batch = {
        "destination": text,
        "headers": {"type": "object", "additionalProperties": {"anyOf": [text, _strings()]}},
        "body": {"description": "Text, or JSON that is sent as such."},
        "callback": {"type": ["string", "null"]},
        "failureCallback": {"type": ["string", "null"]},
        "queue": {"type": ["string", "null"], "description": "The queue to go through."},
    }
    refused = _object({"error": text, "status": number}, ["error"])
    return {
        "BatchItem": {"anyOf": [_ref("Published"), _array("Published"), _ref("Scheduled"), refused]},
        "BatchMessage": _object(batch, ["destination"]),
    }


def _fields(schema: Json, names: str) -> Json:
    """Return many fields of one kind."""
    return dict.fromkeys(names.split(), schema)


def _error(status: int) -> Json:
    about, example = _ERRORS[status]
    content = {"error": example} | ({"requestId": "4f0c-1a"} if status == 500 else {})
    return {"description": about, "content": {"application/json": {"schema": _ref("Error"), "example": content}}}


def _filters(names: Sequence[str]) -> list[Json]:
    found = []
    for name in names:
        schema: Json = (
            {"type": "integer", "minimum": 1 if name == "count" else 0} if name in _NUMBERS else {"type": "string"}
        )
        if name == "dryRun":
            schema = {"type": "boolean"}
        if name in _LISTS:
            schema = {"type": "array", "items": schema}
        found.append({"name": name, "in": "query", "description": _FILTERS[name], "schema": schema})
    return found


_MESSAGE: Final = {
    "messageId": _ID,
    "url": "https://example.com/orders",
    "method": "POST",
    "maxRetries": 3,
    "notBefore": _NOW,
    "createdAt": _NOW,
}
_EVENT: Final = {
    "time": _NOW,
    "state": "DELIVERED",
    "messageId": _ID,
    "url": "https://example.com/orders",
    "method": "POST",
    "maxRetries": 3,
    "notBefore": _NOW,
}
