"""Verifiers that users wrote by hand from the documentation, as rules in our own code.

The official receivers forgive more than these do: each guide checks the token in its own way, and a
signature must satisfy all of them. They share no code with ``lateron.core.signature`` on purpose. The
rules come from QStash's quick starts for AWS Lambda (Python) and fly.io (Go); that of AWS Lambda (Node) is
``tests/node/lambda-verifier.mjs``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any


class NotGenuineError(Exception):
    """The request was not signed with that key, or not for this receiver, body or time."""


def verify_as_lambda_in_python(token: str, key: str, body: str | None, url: str) -> None:
    """Apply the rules of the AWS Lambda quick start in Python.

    The signature may lack one ``=``; URLs are compared without slashes at their end; ``nbf`` and ``exp`` are
    required; the hash may be padded or not; a request without a body is not hashed.
    """
    claims, _ = _opened(token, key, padded_too=True)
    _insist(claims["iss"] == "Upstash", "issuer")
    _insist(claims["sub"].rstrip("/") == url.rstrip("/"), "subject")
    _insist(claims["nbf"] <= time.time() <= claims["exp"], "time")
    if body is not None:
        digest = base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()).decode()
        _insist(digest in {claims["body"].rstrip("="), claims["body"].rstrip("=") + "="}, "body")


def verify_as_go_service(token: str, key: str, body: bytes) -> None:
    """Apply the rules of the Go quick start, with those its JWT library adds.

    The algorithm is of the HMAC family; ``exp`` and ``nbf`` must be there, and zero counts as absent;
    ``iat`` is not in the future; the hash is compared with its padding, byte for byte.
    """
    claims, header = _opened(token, key, padded_too=False)
    _insist(header["alg"] in {"HS256", "HS384", "HS512"}, "algorithm")
    _insist(claims.get("iss") == "Upstash", "issuer")
    now = int(time.time())
    _insist(claims.get("exp") and now <= claims["exp"], "expiry")
    _insist(claims.get("nbf") and now >= claims["nbf"], "not before")
    _insist("iat" not in claims or now >= claims["iat"], "issued at")
    _insist(claims.get("body") == base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(), "body")


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, unchecked."""
    return _json(token.split(".")[1])


def _opened(token: str, key: str, *, padded_too: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return claims and header of a token that ``key`` signed; its signature may be padded if so told."""
    parts = token.split(".")
    _insist(len(parts) == 3, "form")
    header, payload, signature = parts
    mac = hmac.new(key.encode(), f"{header}.{payload}".encode(), hashlib.sha256).digest()
    padded = base64.urlsafe_b64encode(mac).decode()
    _insist(signature == padded.rstrip("=") or (padded_too and signature == padded), "signature")
    return _json(payload), _json(header)


def _json(part: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(value, dict)
    return value


def _insist(condition: object, what: str) -> None:
    if not condition:
        raise NotGenuineError(what)
