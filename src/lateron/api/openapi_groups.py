"""The description of URL groups."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import Json, array, object_of, operation, path, ref, strings

_TAG: Final = "URL groups"
_NOW: Final = 1763800000000
_ENDPOINT: Final = {"url": "https://example.com/orders", "name": "shop"}
_GROUP: Final = {"name": "order-events", "createdAt": _NOW, "updatedAt": _NOW, "endpoints": [_ENDPOINT]}
_AFTER: Final = {200: ("The group as it is now.", ref("UrlGroup"), _GROUP)}
_CHANGE: Final = (401, 403, 429, 503, 507)


def group_schemas() -> Json:
    """Return the schemas that the paths below refer to."""
    text, number = {"type": "string"}, {"type": "integer"}
    endpoints = {"type": "array", "items": object_of({"url": text, "name": text}, ["url"])}
    chosen = {"type": "array", "items": object_of({"url": text, "name": text}, []), "minItems": 1}
    values = {"anyOf": [text, strings()]}
    shown = {"type": "object", "additionalProperties": strings()}
    return {
        "UrlGroup": object_of(
            {"name": text, "createdAt": number, "updatedAt": number, "endpoints": endpoints, "headers": shown},
            ["name", "createdAt", "updatedAt", "endpoints"],
        ),
        "Endpoints": object_of({"endpoints": {**endpoints, "minItems": 1}}, ["endpoints"]),
        "ChosenEndpoints": object_of({"endpoints": chosen}, ["endpoints"]),
        "Defaults": object_of({"headers": {"type": "object", "additionalProperties": values}}, ["headers"]),
    }


def group_paths() -> Json:
    """Return the operations on URL groups."""
    name = [path("urlGroupName", "Name of the group.", "order-events")]
    listed = {200: ("All of them.", array("UrlGroup"), [_GROUP])}
    shown = {200: ("The group.", ref("UrlGroup"), _GROUP)}
    deleted = {200: ("How many.", object_of({"deleted": {"type": "integer"}}, ["deleted"]), {"deleted": 1})}
    return {
        "/v2/topics": {"get": operation(_TAG, "listUrlGroups", "List URL groups", "By name.", [], listed, (401, 429))},
        "/v2/topics/{urlGroupName}": {
            "get": operation(
                _TAG,
                "getUrlGroup",
                "Show a URL group",
                "Its endpoints stand in the order in which they came.",
                name,
                shown,
                (401, 404, 429),
            ),
            "patch": operation(
                _TAG,
                "setUrlGroupDefaults",
                "Set default headers",
                "They configure a publish to the group as far as the publish does not do so itself, and replace the "
                "defaults there were. One that no publish could have is refused.",
                name,
                _AFTER,
                (400, 404, 412, 413, 501, *_CHANGE),
                body=_json("Defaults", {"headers": {"Upstash-Retries": "5"}}),
            ),
            "delete": operation(
                _TAG,
                "deleteUrlGroup",
                "Delete a URL group",
                "Messages that were published to it are delivered all the same. No error if there is none.",
                name,
                deleted,
                _CHANGE,
            ),
        },
        "/v2/topics/{urlGroupName}/endpoints": _endpoint_path(name),
    }


def _endpoint_path(name: list[Json]) -> Json:
    removed = {200: ("The group as it is now; {} if it is gone.", {"type": "object"}, _GROUP)}
    return {
        "post": operation(
            _TAG,
            "saveEndpoints",
            "Add or change endpoints",
            "One whose URL or name is known is changed. The first endpoint makes the group.",
            name,
            _AFTER,
            (400, 412, 413, *_CHANGE),
            body=_json("Endpoints", {"endpoints": [_ENDPOINT]}),
        ),
        "delete": operation(
            _TAG,
            "removeEndpoints",
            "Remove endpoints",
            "Those that have one of the URLs or names. With the last one the group is gone.",
            name,
            removed,
            (400, 404, 413, *_CHANGE),
            body=_json("ChosenEndpoints", {"endpoints": [{"name": "shop"}]}),
        ),
    }


def _json(schema: str, example: Any) -> Json:  # noqa: ANN401 -- Any JSON.
    return {"application/json": {"schema": ref(schema), "example": example}}
