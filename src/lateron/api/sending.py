"""What an attempt has sent, made anew from what is kept: the head to the byte, and the claims of its signature.

It is not stored, for all of it follows from the message and the attempt, save the second in which it was signed: told
is the one in which the attempt began. What the publisher redacts is redacted here; the signature itself is left out,
since whoever has it could pass for us for five minutes.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any, Final

from msgspec import json
from msgspec.structs import replace

from lateron.core.destination import parse_destination
from lateron.core.digest import body_sha256
from lateron.core.headers import attempt_headers, lasting_headers
from lateron.core.redact import redact_headers
from lateron.core.signature import sign
from lateron.core.values import Attempt, Message, Request
from lateron.egress.failure import Failure
from lateron.egress.request import Delivery, encode_head
from lateron.errors import InvalidDestination

_STAND_IN: Final = "(a token; its claims are below)"


def sent(
    message: Message, request: Request, attempt: Attempt, region: str | None, *, signed: bool
) -> dict[str, Any] | None:
    """Return the head and the claims of an attempt; None if its request could not be sent, or is damaged now.

    Args:
        message: Of it.
        request: As published.
        attempt: Any of the message's.
        region: Name of this installation, if it has one.
        signed: Whether this server signs.
    """
    if attempt.outcome.error == "corrupt":
        return None
    try:
        return _sent(message, request, attempt, region, signed=signed)
    except (Failure, InvalidDestination):
        return None


def _sent(message: Message, request: Request, attempt: Attempt, region: str | None, *, signed: bool) -> dict[str, Any]:
    shown = replace(request, headers=redact_headers(request.headers, request.options.redact))
    as_then = replace(message, retried=attempt.retried)
    delivery = Delivery(
        message.tenant,
        parse_destination(request.url),
        request.method,
        lasting_headers(shown, region),
        request.body or b"",
        0,
        attempt_headers(as_then, shown, _STAND_IN if signed else None),
    )
    told: dict[str, Any] = {"head": encode_head(delivery).decode("latin-1")}
    if signed:
        jti = f"jwt_{message.id.hex()}{attempt.number:x}"
        token = sign("", request.url, body_sha256(request.body), attempt.started, jti)
        told["claims"] = json.decode(urlsafe_b64decode(token.split(".")[1] + "=="))
    return told
