"""The description of the console's sessions."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import Json, array, object_of, operation, path
from lateron.core.token import GRANTS

_TAG: Final = "Sessions"
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_ID: Final = "ses_9f86d081884c7d659a2feaa0c55ad015"
_SHOWN: Final[Json] = {
    "sessionId": _ID,
    "name": "oidc:ops@example.org",
    "by": "provider",
    "scope": "manage",
    "createdAt": 1763800000000,
    "lastUsedAt": 1763800060000,
    "expiresAt": 1763807260000,
    "isOwn": False,
}
_ERRORS: Final = (400, 401, 403, 429, 503, 507)


def session_schemas() -> Json:
    """Return the schema of a session."""
    shown = {
        "sessionId": {**_TEXT, "description": "Opens nothing; what does is in the browser's cookie only."},
        "name": {**_TEXT, "description": "Of the token or the user, or `oidc:` and what the provider says."},
        "by": {"enum": ["token", "password", "provider"]},
        "scope": {"enum": list(GRANTS)},
        "createdAt": _NUMBER,
        "lastUsedAt": _NUMBER,
        "expiresAt": {**_NUMBER, "description": "If it is not used until then."},
        "isOwn": {"type": "boolean", "description": "Whether it is the one that asks."},
    }
    return {"Session": object_of(shown, list(shown))}


def session_paths() -> Json:
    """Return the paths of sessions."""
    listed = {200: ("The sessions, the one used last first.", array("Session"), [_SHOWN])}
    ended = object_of({"ended": _NUMBER}, ["ended"])
    gone: dict[int, tuple[str, Json, Any]] = {200: ("It is refused from now on.", {"type": "object"}, {})}
    many: dict[int, tuple[str, Json, Any]] = {200: ("How many are refused from now on.", ended, {"ended": 2})}
    about = "Who is logged in to the console. The server keeps that in memory: a restart logs out everybody."
    again = "Whoever may still log in can do so again: revoke the token, or remove the person, first."
    name = {"name": "name", "in": "query", "required": True, "description": "As it is listed, letter by letter.",
            "schema": {**_TEXT, "minLength": 1}, "example": "oidc:ops@example.org"}  # fmt: skip
    one = [path("sessionId", "Id of the session.", _ID)]
    return {
        "/lateron/v1/sessions": {
            "get": operation(_TAG, "listSessions", "List open sessions", about, [], listed, (401, 403, 429)),
            "delete": operation(_TAG, "endSessions", "End all sessions of one name", again, [name], many, _ERRORS),
        },
        "/lateron/v1/sessions/{sessionId}": {
            "delete": operation(_TAG, "endSession", "End a session", again, one, gone, (404, *_ERRORS)),
        },
    }
