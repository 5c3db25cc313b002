"""Queues in the description of the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

_ID: Final = "msg_019a8e7d5c0041c2b3d4e5f60718293a"
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_FLAG: Final = {"type": "boolean"}
_QUEUE: Final = {
    "name": "orders",
    "parallelism": 1,
    "createdAt": 1763800000000,
    "updatedAt": 1763800000000,
    "lag": 3,
    "paused": False,
}
QUEUE_SCHEMA: Final[Json] = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "parallelism": _NUMBER,
        "createdAt": _NUMBER,
        "updatedAt": _NUMBER,
        "lag": {**_NUMBER, "description": "Messages that are not at rest."},
        "paused": _FLAG,
    },
    "required": list(_QUEUE),
}
_ONE: Final = {"$ref": "#/components/schemas/Queue"}
_PUBLISHED: Final = {"$ref": "#/components/schemas/Published"}
_ONE_OR_MANY: Final[Json] = {"anyOf": [_PUBLISHED, {"type": "array", "items": _PUBLISHED}]}
_SETTINGS: Final = {
    "type": "object",
    "properties": {"queueName": _TEXT, "parallelism": _NUMBER, "paused": _FLAG},
    "required": ["queueName"],
}
_DONE: Final[dict[int, tuple[str, Json, Json]]] = {200: ("Done; the body says nothing.", {"type": "object"}, {})}
_ERRORS: Final = (401, 403, 404, 429, 503, 507)


def queue_paths(operation: Callable[..., Json], headers: Sequence[Json]) -> Json:
    """Return the paths of queues.

    Args:
        operation: Makes an operation of its tag, id, summary, description, parameters, answers, errors and body.
        headers: The parameters that configure a publish.
    """
    one = [_parameter("queueName", "Name of the queue.", "orders")]
    words = "No message of it starts, until it is resumed."
    again = "It goes on where it was, in the same order."
    pause = operation("Queues", "pauseQueue", "Pause a queue", words, one, _DONE, _ERRORS)
    resume = operation("Queues", "resumeQueue", "Resume a queue", again, one, _DONE, _ERRORS)
    listed = {200: ("All of them.", {"type": "array", "items": _ONE}, [_QUEUE])}
    shown = {200: ("The queue.", _ONE, _QUEUE)}
    body = {"application/json": {"schema": _SETTINGS, "example": {"queueName": "orders", "parallelism": 2}}}
    set_words = "What is left out stays as it is; a new queue has parallelism 1 and is not paused."
    set_errors = (400, 401, 403, 412, 413, 429, 503, 507)
    gone = "Its messages are cancelled; an attempt that is under way may still end."
    lag = "`lag` counts its messages that are not at rest."
    return {
        "/v2/enqueue/{queueName}/{destination}": {"post": _enqueue(operation, [*one, *headers])},
        "/v2/queues": {
            "get": operation("Queues", "listQueues", "List queues", "By name.", [], listed, (401, 429)),
            "post": operation(
                "Queues", "setQueue", "Make or configure a queue", set_words, [], _DONE, set_errors, body=body
            ),
        },
        "/v2/queues/{queueName}": {
            "get": operation("Queues", "getQueue", "Show a queue", lag, one, shown, (401, 404, 429)),
            "delete": operation("Queues", "deleteQueue", "Delete a queue", gone, one, _DONE, _ERRORS),
        },
        "/v2/queues/{queueName}/pause": {"post": pause},
        "/v2/queues/{queueName}/resume": {"post": resume},
    }


def _enqueue(operation: Callable[..., Json], parameters: Sequence[Json]) -> Json:
    return operation(
        "Queues",
        "enqueue",
        "Publish through a queue",
        "As a publish, with all its headers. The queue is made if it is missing, with parallelism 1: its "
        "messages are then delivered one after another, each with its retries and callbacks. For a URL group, one "
        "message for each endpoint stands in the queue, and the answer is an array.",
        [
            *parameters,
            _parameter(
                "destination", "The URL to deliver to, or the name of a URL group.", "https://example.com/orders?x=1"
            ),
        ],
        {
            201: ("Stored.", _ONE_OR_MANY, {"messageId": _ID}),
            202: ("A duplicate.", _ONE_OR_MANY, {"messageId": _ID, "deduplicated": True}),
        },
        (400, 401, 403, 404, 412, 413, 501, 503, 507),
        body={"*/*": {"schema": {}, "example": "any bytes"}},
    )


def _parameter(name: str, about: str, example: str) -> Json:
    shape: Json = {"schema": _TEXT, "example": example}
    return {"name": name, "in": "path", "required": True, "description": about, **shape}
