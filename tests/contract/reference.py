"""What the published OpenAPI file of the QStash API names, as a table: operations, parameters, fields.

The file itself is not ours to copy; names of an interface are. Where it differs from what the SDKs do, the
SDKs win (docs/differences.md). With the file at hand, the table is compared with it by::

    python -m tests.contract.reference path/to/qstash-openapi.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple


class Theirs(NamedTuple):
    """One operation as they publish it."""

    success: int
    query: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()  # Of the answer, or of the items of its list.
    headers: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MESSAGE: Final = _words(
    "messageId url topicName endpointName method header body bodyBase64 maxRetries notBefore createdAt callback "
    "failureCallback queueName scheduleId callerIP label labels flowControlKey rate period parallelism"
)
_DEAD: Final = _MESSAGE | _words("responseStatus responseHeader responseBody responseBodyBase64")
_EVENT: Final = _words(
    "time messageId header body state error nextDeliveryTime url topicName endpointName scheduleId queueName "
    "responseStatus responseBody responseHeaders timeout method callback callbackHeaders failureCallback "
    "failureCallbackHeaders maxRetries retryDelayExpression label labels"
)
_SCHEDULE: Final = _words(
    "scheduleId cron createdAt destination method header body retries delay callback failureCallback callerIp isPaused "
    "label labels flowControlKey parallelism rate period retryDelayExpression lastScheduleTime nextScheduleTime "
    "lastScheduleStates"
)
_PUBLISHED: Final = _words("messageId deduplicated")
_GROUP: Final = _words("name createdAt updatedAt endpoints")
_QUEUE: Final = _words("name parallelism createdAt updatedAt lag paused")
_FLOW: Final = _words(
    "flowControlKey waitListSize parallelismMax parallelismCount rateMax rateCount ratePeriod ratePeriodStart "
    "isPaused isPinnedParallelism isPinnedRate"
)
_SHARED: Final = _words("url topicName queueName scheduleId fromDate toDate label")
_DEAD_FILTERS: Final = _SHARED | _words("messageId responseStatus callerIp")

# Built here.
BUILT: Final[Mapping[str, Theirs]] = {
    "POST /v2/publish/{destination}": Theirs(
        200,
        fields=_PUBLISHED,
        headers=_words(
            "Content-Type Upstash-Forward-* Upstash-Method Upstash-Timeout Upstash-Retries Upstash-Retry-Delay "
            "Upstash-Delay Upstash-Not-Before Upstash-Label Upstash-Flow-Control-Key Upstash-Flow-Control-Value "
            "Upstash-Deduplication-Id Upstash-Content-Based-Deduplication Upstash-Callback "
            "Upstash-Callback-Forward-* Upstash-Callback-* Upstash-Failure-Callback "
            "Upstash-Failure-Callback-Forward-* Upstash-Failure-Callback-* Upstash-Redact-Fields"
        ),
    ),
    "POST /v2/batch": Theirs(200, fields=_PUBLISHED),
    "POST /v2/enqueue/{queueName}/{destination}": Theirs(200, fields=_PUBLISHED),
    "POST /v2/queues": Theirs(200),
    "GET /v2/queues": Theirs(200, fields=_QUEUE),
    "GET /v2/queues/{queueName}": Theirs(200, fields=_QUEUE),
    "DELETE /v2/queues/{queueName}": Theirs(200),
    "POST /v2/queues/{queueName}/pause": Theirs(200),
    "POST /v2/queues/{queueName}/resume": Theirs(200),
    "GET /v2/messages/{messageId}": Theirs(200, fields=_MESSAGE),
    "DELETE /v2/messages/{messageId}": Theirs(200),
    "DELETE /v2/messages": Theirs(
        200, _SHARED | _words("messageIds host path flowControlKey callerIp callerIP count"), _words("cancelled")
    ),
    "GET /v2/dlq": Theirs(200, _DEAD_FILTERS | _words("cursor count"), _DEAD),
    "DELETE /v2/dlq": Theirs(
        200, _DEAD_FILTERS | _words("dlqIds cursor flowControlKey count"), _words("cursor deleted")
    ),
    "GET /v2/dlq/{dlqId}": Theirs(200, fields=_DEAD),
    "DELETE /v2/dlq/{dlqId}": Theirs(200),
    "GET /v2/flowControl": Theirs(200, _words("search"), _FLOW),
    "GET /v2/flowControl/{flowControlKey}": Theirs(200, fields=_FLOW),
    "POST /v2/flowControl/{flowControlKey}/pause": Theirs(200),
    "POST /v2/flowControl/{flowControlKey}/resume": Theirs(200),
    "POST /v2/flowControl/{flowControlKey}/pin": Theirs(200, _words("parallelism rate period")),
    "POST /v2/flowControl/{flowControlKey}/unpin": Theirs(200, _words("parallelism rate")),
    "POST /v2/flowControl/{flowControlKey}/resetRate": Theirs(200),
    "GET /v2/globalParallelism": Theirs(200, fields=_words("parallelismMax parallelismCount")),
    "POST /v2/dlq/retry": Theirs(201, _DEAD_FILTERS | _words("dlqIds flowControlKey"), _PUBLISHED),
    "POST /v2/dlq/retry/{dlqId}": Theirs(201, fields=_PUBLISHED),
    "POST /v2/schedules/{destination}": Theirs(
        200,
        fields=_words("scheduleId"),
        headers=_words(
            "Content-Type Upstash-Cron Upstash-Schedule-Id Upstash-Forward-* Upstash-Method Upstash-Timeout "
            "Upstash-Retries Upstash-Retry-Delay Upstash-Delay Upstash-Label Upstash-Callback "
            "Upstash-Callback-Forward-* Upstash-Callback-* Upstash-Failure-Callback "
            "Upstash-Failure-Callback-Forward-* Upstash-Failure-Callback-* Upstash-Redact-Fields"
        ),
    ),
    "GET /v2/schedules": Theirs(200, fields=_SCHEDULE),
    "GET /v2/schedules/{scheduleId}": Theirs(200, fields=_SCHEDULE),
    "DELETE /v2/schedules/{scheduleId}": Theirs(200),
    "POST /v2/schedules/{scheduleId}/pause": Theirs(200),
    "POST /v2/schedules/{scheduleId}/resume": Theirs(200),
    "GET /v2/keys": Theirs(200, fields=_words("current next")),
    "POST /v2/keys/rotate": Theirs(200, fields=_words("current next")),
    "GET /v2/logs": Theirs(200, _SHARED | _words("cursor messageId state count"), _EVENT),
    "GET /v2/topics": Theirs(200, fields=_GROUP),
    "GET /v2/topics/{urlGroupName}": Theirs(200, fields=_GROUP),
    "DELETE /v2/topics/{urlGroupName}": Theirs(200),
    "POST /v2/topics/{urlGroupName}/endpoints": Theirs(200),
    "DELETE /v2/topics/{urlGroupName}/endpoints": Theirs(200),
}

# Not built yet: answered 501.
UNBUILT: Final[tuple[str, ...]] = ()  # Nothing of their file at present.

# Fields and filters that belong to what is not built: accepted as filters, and in no answer.
UNBUILT_FIELDS: Final = _words("")

# Where our status of success is another one, and why.
OTHER_STATUS: Final = {
    "POST /v2/publish/{destination}": "201 says that something was created, as it does for DLQ retries; SDKs take both",
    "POST /v2/schedules/{destination}": "as for a publish",
    "POST /v2/enqueue/{queueName}/{destination}": "as for a publish",
    "POST /v2/dlq/retry": "200, because a selection may match nothing; SDKs take both",
}


def differences(file: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the table and the published file differ."""
    published = dict(_operations(file))
    for name in sorted(published.keys() ^ {*BUILT, *UNBUILT}):
        yield f"{name}: only in {'the file' if name in published else 'the table'}"
    for name, ours in BUILT.items():
        theirs = published.get(name)
        for field in Theirs._fields if theirs is not None else ():
            if getattr(theirs, field) != getattr(ours, field):
                yield f"{name}: {field}: file {getattr(theirs, field)}, table {getattr(ours, field)}"


def _operations(file: Mapping[str, Any]) -> Iterator[tuple[str, Theirs]]:
    for path, methods in file["paths"].items():
        for method, operation in methods.items():
            if method == "parameters":
                continue
            parameters = [_followed(file, one) for one in operation.get("parameters", ())]
            named = {
                place: frozenset(one["name"] for one in parameters if one["in"] == place)
                for place in ("query", "header")
            }
            status, answer = next((s, a) for s, a in operation["responses"].items() if s.startswith("2"))
            schema = _followed(file, answer).get("content", {}).get("application/json", {}).get("schema", {})
            fields = frozenset(_fields(file, schema))
            yield f"{method.upper()} {path}", Theirs(int(status), named["query"], fields, named["header"])


def _fields(file: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of an object's fields; of a list's items; of the first of alternatives; of a page's items."""
    schema = _followed(file, schema)
    for one in schema.get("allOf", ()):
        yield from _fields(file, one)
    for alternatives in ("oneOf", "anyOf"):
        if alternatives in schema:
            yield from _fields(file, schema[alternatives][0])
    if "items" in schema:
        yield from _fields(file, schema["items"])
    properties = schema.get("properties", {})
    lists = [properties[name] for name in ("messages", "logs", "responses") if name in properties]
    if lists:
        yield from _fields(file, lists[0])
    else:
        yield from properties


def _followed(file: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in part:
        found: Any = file
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


if __name__ == "__main__":
    import yaml

    found = list(differences(yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))))
    print(*found or ["The table is that of the file."], sep="\n")
    sys.exit(bool(found))
