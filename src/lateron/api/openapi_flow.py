"""The description of flow control: keys, destinations, the deliveries of the whole server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lateron.api.describe import Json, array, object_of, operation, path, ref
from lateron.api.openapi_examine import examine_operation

_TAG: Final = "Flow control"
_CHANGE: Final = (401, 403, 429, 503, 507)
_KEY: Final = {
    "flowControlKey": "user-1",
    "waitListSize": 4,
    "parallelismMax": 5,
    "parallelismCount": 5,
    "rateMax": 10,
    "rateCount": 7,
    "ratePeriod": 60,
    "ratePeriodStart": 1763800000,
    "isPaused": False,
    "isPinnedParallelism": False,
    "isPinnedRate": False,
    "isSmooth": False,
}
_HOST: Final = {
    "host": "example.com:443",
    "waitListSize": 4,
    "parallelismMax": 128,
    "parallelismCount": 5,
    "isPaused": False,
}
_DELIVERY: Final = {"isPaused": False, "parallelismMax": 256, "parallelismCount": 5}
_GLOBAL: Final = {"parallelismMax": 256, "parallelismCount": 5}


def flow_schemas() -> Json:
    """Return the schemas that the paths below refer to."""
    return {
        "FlowControl": _like(_KEY),
        "Destination": _like(_HOST),
        "Delivery": _like(_DELIVERY),
        "GlobalParallelism": _like(_GLOBAL),
    }


def flow_paths() -> Json:
    """Return the operations."""
    text = {"type": "string"}
    listing = [
        _query("search", "Only names that hold this text.", text),
        _query("after", "Only names behind this one: the last of the page before. An extension of ours.", text),
        _query("count", "At most so many, and at most 1,000. An extension of ours.", {"type": "integer", "minimum": 1}),
    ]
    shown = {200: ("The keys by name.", array("FlowControl"), [_KEY])}
    key = [path("flowControlKey", "The key, percent-encoded.", "user-1")]
    one = {200: ("The key.", ref("FlowControl"), _KEY)}
    limit = {"type": "integer", "minimum": 1, "maximum": 1_000_000_000}
    pins = [
        _query("parallelism", "Attempts open at once.", limit),
        _query("rate", "Attempts started per period.", limit),
        _query("period", "Seconds, or a duration; 1s to 7d.", {"type": "string"}),
        _query("smooth", "Spread the starts evenly; needs a rate. An extension of ours.", {"type": "boolean"}),
    ]
    unpins = [
        _query("parallelism", "true unpins the parallelism.", {"type": "boolean"}),
        _query("rate", "true unpins rate and period.", {"type": "boolean"}),
    ]
    everything = {200: ("Of the server, and of you.", ref("GlobalParallelism"), _GLOBAL)}
    return {
        "/v2/flowControl": {
            "get": operation(_TAG, "listFlowControl", "List flow-control keys", "", listing, shown, (400, 401, 429))
        },
        "/v2/flowControl/{flowControlKey}": {
            "get": operation(_TAG, "getFlowControl", "Show a key", _FIGURES, key, one, (400, 401, 404, 429))
        },
        **_verb("pause", "Let no message of a key start", "The running period goes on and keeps its count.", key),
        **_verb("resume", "Let messages of a key start again", "", key),
        **_verb("pin", "Fix limits of a key", "What messages bring is ignored for these.", [*key, *pins], (412,)),
        **_verb(
            "unpin",
            "Let messages bring limits again",
            "Until one does, the old ones stay.",
            [*key, *unpins],
        ),
        **_verb("resetRate", "Begin a new rate period", "Its count is 0.", key),
        **_verb("reset", "Begin a new rate period (older name)", "Its count is 0.", key),
        "/v2/globalParallelism": {
            "get": operation(_TAG, "getGlobalParallelism", "Show the server's limit", "", [], everything, (401, 429))
        },
        **_destination_paths(listing),
        **_delivery_paths(),
    }


_FIGURES: Final = "A limit that is not set is 0. A key is known from its first message until it has long been idle."


def _destination_paths(listing: Sequence[Json]) -> Json:
    shown = {
        200: (
            "By name.",
            object_of({"destinations": array("Destination")}, ["destinations"]),
            {"destinations": [_HOST]},
        )
    }
    host = [path("host", "host:port, as the list shows it.", "example.com:443")]
    one = {200: ("The destination.", ref("Destination"), _HOST)}
    told = "For messages of this user, whatever key they have. An attempt that is open goes on."
    errors = (400, *_CHANGE)
    return {
        "/lateron/v1/destinations": {
            "get": operation(_TAG, "listDestinations", "List destination hosts", "", listing, shown, (400, 401, 429))
        },
        "/lateron/v1/destinations/{host}/pause": {
            "post": operation(_TAG, "pauseDestination", "Let nothing start to a host", told, host, one, errors)
        },
        "/lateron/v1/destinations/{host}/resume": {
            "post": operation(_TAG, "resumeDestination", "Let messages to a host start again", "", host, one, errors)
        },
        "/lateron/v1/destinations/{host}/test": {"post": examine_operation(_TAG, host)},
    }


def _delivery_paths() -> Json:
    state = {200: ("The state.", ref("Delivery"), _DELIVERY)}
    told = "For all users, also after a restart. Publishing goes on. Only the first user of the server may do it."
    return {
        "/lateron/v1/delivery": {
            "get": operation(_TAG, "getDelivery", "Whether the server delivers", "", [], state, (401, 429))
        },
        "/lateron/v1/delivery/pause": {
            "post": operation(_TAG, "pauseDelivery", "Let no attempt start", told, [], state, _CHANGE)
        },
        "/lateron/v1/delivery/resume": {
            "post": operation(_TAG, "resumeDelivery", "Let attempts start again", told, [], state, _CHANGE)
        },
    }


def _verb(name: str, summary: str, about: str, parameters: Sequence[Json], more: Sequence[int] = ()) -> Json:
    answers = {200: ("The key as it is now.", ref("FlowControl"), _KEY)}
    described = operation(_TAG, f"{name}FlowControl", summary, about, parameters, answers, (400, *more, *_CHANGE))
    return {f"/v2/flowControl/{{flowControlKey}}/{name}": {"post": described}}


def _query(name: str, about: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _like(example: dict[str, Any]) -> Json:
    """Return the schema of an object that always has all its fields."""
    kinds = {bool: "boolean", int: "integer", str: "string"}
    return object_of({name: {"type": kinds[type(value)]} for name, value in example.items()}, list(example))
