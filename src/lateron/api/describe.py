"""The parts that a description in OpenAPI is put together from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


def operation(
    tag: str,
    operation_id: str,
    summary: str,
    description: str,
    parameters: Sequence[Json],
    answers: Mapping[int, tuple[str, Json, Any]],
    errors: Sequence[int],
    body: Json | None = None,
    *,
    optional: bool = False,
) -> Json:
    """Return an operation; ``answers`` are description, schema and example by status."""
    responses: Json = {
        str(status): {
            "description": about,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
        for status, (about, schema, example) in answers.items()
    }
    # Who has no right token is told 401, and whose token may something else 403.
    told = sorted({*errors, *((403,) if 401 in errors else ()), 500})
    responses.update({str(status): {"$ref": f"#/components/responses/{status}"} for status in told})
    operation: Json = {"tags": [tag], "operationId": operation_id, "summary": summary}
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": False, "content": body} if optional else {"content": body}
    operation["responses"] = responses
    return operation


def public(operation: Json) -> Json:
    """Return an operation for which nobody needs a token."""
    return {**operation, "security": []}


def path(name: str, about: str, example: str) -> Json:
    """Return a parameter of the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string"},
        "example": example,
    }


def ref(name: str) -> Json:
    """Refer to a schema by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(name: str) -> Json:
    """Return a list of what a schema describes."""
    return {"type": "array", "items": ref(name)}


def strings() -> Json:
    """Return a list of texts."""
    return {"type": "array", "items": {"type": "string"}}


def object_of(properties: Json, required: list[str]) -> Json:
    """Return an object."""
    return {"type": "object", "properties": properties, "required": required}


def page(name: str, item: str) -> Json:
    """Return a page of a list; the last one has no cursor."""
    return object_of({name: array(item), "cursor": {"type": "string"}}, [name])
