"""The description of what a server says of itself."""

from __future__ import annotations

from typing import Any, Final

from lateron import __version__
from lateron.api.describe import Json, object_of

_ABOUT: Final = """Whether what is stored from now on is encrypted. With a key only: `key` is the short name of the
first key, never the key; `dataKey` is the number of the data key that encrypts, null if `encrypt` is false."""
_KEYS: Final[Json] = {"key": {"type": "string"}, "dataKey": {"type": ["integer", "null"]}}
_ENCRYPTION: Final[Json] = {**object_of({"on": {"type": "boolean"}, **_KEYS}, ["on"]), "description": _ABOUT}
_EXAMPLE: Final = {
    "name": "lateron",
    "version": __version__,
    "user": "me",
    "scope": "admin",
    "encryption": {"on": True, "key": "6f3c1a90", "dataKey": 1},
}


def info_answers() -> dict[int, tuple[str, Json, Any]]:
    """Return the answer; of its parts, the one whose shape is fixed."""
    return {200: ("The server.", object_of({"encryption": _ENCRYPTION}, ["encryption"]), _EXAMPLE)}
