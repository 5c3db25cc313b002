"""The description of the test of a destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lateron.api.describe import Json, object_of, operation
from lateron.api.ports import TESTS

_ABOUT: Final = f"""Resolves the name, asks the guard about each address, connects, and sends a HEAD request without a
signature. Only for hosts that messages of yours go to, and at most {TESTS} times a minute."""
_NUMBER: Final[Json] = {"type": "integer"}
_TEXT: Final[Json] = {"type": "string"}
_MAYBE: Final[Json] = {"type": ["string", "null"]}
_EXAMPLE: Final = {
    "url": "https://example.com/",
    "ok": True,
    "responseStatus": 200,
    "errorClass": None,
    "error": None,
    "peer": "192.0.2.7:443",
    "addresses": [{"address": "192.0.2.7", "allowed": True, "reason": None}],
    "tls": {"protocol": "TLSv1.3", "issuer": "An authority", "expiresAt": 1798761600000},
    "phases": {"dns": 900, "connect": 8000, "tls": 21000, "firstByte": 30000, "total": 61000},
}


def examine_operation(tag: str, host: Sequence[Json]) -> Json:
    """Return the operation."""
    url = {
        "name": "url",
        "in": "query",
        "description": "What to request; a URL of this host. Its root if none is given.",
        "schema": _TEXT,
    }
    address = object_of({"address": _TEXT, "allowed": {"type": "boolean"}, "reason": _MAYBE}, ["address", "allowed"])
    tls = object_of({"protocol": _TEXT, "issuer": _TEXT, "expiresAt": _NUMBER}, ["protocol", "issuer", "expiresAt"])
    told = object_of(
        {
            "url": _TEXT,
            "ok": {"type": "boolean"},
            "responseStatus": _NUMBER,
            "errorClass": _MAYBE,
            "error": _MAYBE,
            "peer": _MAYBE,
            "addresses": {"type": "array", "items": address},
            "tls": {"anyOf": [tls, {"type": "null"}]},
            "phases": {"type": "object", "additionalProperties": _NUMBER},
        },
        ["url", "ok", "responseStatus", "addresses", "tls", "phases"],
    )
    return operation(
        tag,
        "testDestination",
        "Test a destination",
        _ABOUT,
        [*host, url],
        {200: ("How a delivery would go.", told, _EXAMPLE)},
        (400, 401, 404, 429, 501),
    )
