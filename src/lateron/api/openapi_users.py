"""The description of users of the console."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import Json, array, object_of, operation, path, ref
from lateron.core.password import LONGEST, SHORTEST
from lateron.core.token import GRANTS

_TAG: Final = "Users"
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_SCOPE: Final = {"enum": list(GRANTS)}
_PASSWORD: Final = {**_TEXT, "format": "password", "minLength": SHORTEST, "maxLength": LONGEST}
_NAME: Final = [path("userName", "Name of the user.", "anna")]
_SHOWN: Final[Json] = {
    "name": "anna",
    "scope": "read",
    "createdAt": 1763800000000,
    "changedAt": 1763800000000,
    "lastUsedAt": 1763800060000,
}
_ERRORS: Final = (400, 401, 403, 413, 429, 503, 507)


def user_schemas() -> Json:
    """Return the schema of a user."""
    shown = {
        "name": _TEXT,
        "scope": _SCOPE,
        "createdAt": _NUMBER,
        "changedAt": {**_NUMBER, "description": "When scope or password was set last."},
        "lastUsedAt": {**_NUMBER, "description": "To the minute; left out if he was never there."},
    }
    return {"User": object_of(shown, ["name", "scope", "createdAt", "changedAt"])}


def user_paths() -> Json:
    """Return the paths of users."""
    listed = {200: ("The users, by name.", array("User"), [_SHOWN])}
    asked = {"name": _TEXT, "scope": _SCOPE, "password": _PASSWORD}
    made = {201: ("The user.", ref("User"), {name: _SHOWN[name] for name in _SHOWN if name != "lastUsedAt"})}
    changed = {200: ("The user as he is now.", ref("User"), _SHOWN)}
    gone: dict[int, tuple[str, Json, Any]] = {200: ("The user is gone.", {"type": "object"}, {})}
    about = "Who logs in to the console with a name and a password. The scopes are those of tokens."
    ends = "What he is logged in with ends with this answer."
    return {
        "/lateron/v1/users": {
            "get": operation(_TAG, "listUsers", "List users of the console", about, [], listed, (401, 403, 429)),
            "post": operation(
                _TAG, "createUser", "Make a user", "", [], made, _ERRORS, _body(asked, list(asked), {"name": "anna"})
            ),
        },
        "/lateron/v1/users/{userName}": {
            "patch": operation(
                _TAG,
                "changeUser",
                "Change scope or password",
                ends,
                _NAME,
                changed,
                (404, *_ERRORS),
                _body({"scope": _SCOPE, "password": _PASSWORD}, [], {}),
            ),
            "delete": operation(
                _TAG, "removeUser", "Remove a user", ends, _NAME, gone, (400, 401, 403, 404, 429, 503, 507)
            ),
        },
    }


def _body(fields: Json, required: list[str], more: Json) -> Json:
    schema = {**object_of(fields, required), "additionalProperties": False, "minProperties": 1}
    example = {**more, "scope": "read", "password": "four words are enough"}
    return {"application/json": {"schema": schema, "example": example}}
