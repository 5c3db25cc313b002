"""The description of tokens."""

from __future__ import annotations

from typing import Any, Final

from lateron.api.describe import Json, array, object_of, operation, path, ref
from lateron.core.token import GRANTS

_TAG: Final = "Tokens"
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_NAME: Final = [path("tokenName", "Name of the token.", "ci")]
_SHOWN: Final[Json] = {
    "name": "ci",
    "scope": "publish",
    "createdAt": 1763800000000,
    "expiresAt": 1771576000000,
    "lastUsedAt": 1763800060000,
}
_MADE: Final[dict[str, Any]] = {**_SHOWN, "token": "eyJVc2VySUQiOiJsYXRlcm9uIiwiUGFzc3dvcmQiOiIuLi4ifQ=="}
_ERRORS: Final = (401, 403, 404, 429, 503, 507)


def token_schemas() -> Json:
    """Return the schemas of tokens."""
    shown = {
        "name": _TEXT,
        "scope": {"enum": list(GRANTS)},
        "createdAt": _NUMBER,
        "expiresAt": {**_NUMBER, "description": "From then on it is refused; never, if it is left out."},
        "lastUsedAt": {**_NUMBER, "description": "To the minute; left out if it never was."},
    }
    always = ["name", "scope", "createdAt"]
    secret = {**_TEXT, "description": "Shown only here."}
    return {
        "Token": object_of(shown, always),
        "NewToken": object_of({**shown, "token": secret}, [*always, "token"]),
    }


def token_paths() -> Json:
    """Return the paths of tokens."""
    about = "`publish` stores messages, `read` sees what is there, `manage` does both and changes it, `admin` all."
    span = {**_TEXT, "description": "How long it lasts, such as `90d`."}
    asked = {"name": _TEXT, "scope": {"enum": list(GRANTS)}, "expiresIn": span}
    schema = {**object_of(asked, ["name", "scope"]), "additionalProperties": False}
    body = {"application/json": {"schema": schema, "example": {"name": "ci", "scope": "publish", "expiresIn": "90d"}}}
    listed = {200: ("The tokens, oldest first.", array("Token"), [_SHOWN])}
    gone: dict[int, tuple[str, Json, Any]] = {200: ("It is refused from now on.", {"type": "object"}, {})}
    again = "The old one is refused from this answer on; name, scope and end stay."
    return {
        "/lateron/v1/tokens": {
            "get": operation(_TAG, "listTokens", "List tokens", "", [], listed, (401, 403, 429)),
            "post": operation(
                _TAG,
                "createToken",
                "Make a token",
                about,
                [],
                {201: ("The token, shown only now.", ref("NewToken"), _MADE)},
                (400, 401, 403, 413, 429, 503, 507),
                body,
            ),
        },
        "/lateron/v1/tokens/{tokenName}": {
            "delete": operation(_TAG, "revokeToken", "Revoke a token", "", _NAME, gone, (400, *_ERRORS)),
        },
        "/lateron/v1/tokens/{tokenName}/reset": {
            "post": operation(
                _TAG,
                "resetToken",
                "Replace a token by a new one",
                again,
                _NAME,
                {200: ("The new token, shown only now.", ref("NewToken"), _MADE)},
                _ERRORS,
            ),
        },
    }
