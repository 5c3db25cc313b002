"""A destination looked at without a message: its addresses, what the guard says of them, TLS, the answer.

The addresses are judged by the guard's own function and connected to as a delivery is; nothing here is allowed that a
delivery is not. What is sent is a HEAD request without a signature.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, cast

from msgspec import Struct

from lateron.core.destination import Destination
from lateron.core.values import Millis, Outcome
from lateron.egress.guard import GuardPolicy, verdict

TIMEOUT_MS: Final[Millis] = 10_000


class Judged(Struct, frozen=True):
    """An address of a name, and why the guard refuses it; None: it may be called."""

    address: str
    refused: str | None


class TlsFacts(Struct, frozen=True):
    """What a handshake agreed, and the certificate that was verified in it."""

    protocol: str
    issuer: str
    expires: Millis


class Probe(Struct, frozen=True):
    """What was found; without an address the outcome says why there is none."""

    addresses: tuple[Judged, ...]
    tls: TlsFacts | None
    outcome: Outcome  # Of the HEAD request.


def judged(addresses: Iterable[str], destination: Destination, policy: GuardPolicy) -> tuple[Judged, ...]:
    """Ask the guard about each address of a destination."""
    return tuple(Judged(one, verdict(one, destination.port, destination.target, policy)) for one in addresses)


def tls_facts(agreed: ssl.SSLObject | ssl.SSLSocket) -> TlsFacts:
    """Return the facts of a handshake that has succeeded."""
    certificate = cast("dict[str, Any]", agreed.getpeercert() or {})
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    issuer = names.get("organizationName") or names.get("commonName") or "unknown"
    expires = round(ssl.cert_time_to_seconds(certificate["notAfter"]) * 1000)
    return TlsFacts(agreed.version() or "TLS", issuer, expires)


async def handshake(destination: Destination, address: str, context: ssl.SSLContext) -> TlsFacts | None:
    """Shake hands with an address the guard has allowed; None if that fails, as a delivery's handshake will tell."""
    try:
        _, writer = await asyncio.open_connection(
            address, destination.port, ssl=context, server_hostname=destination.host.removesuffix(".")
        )
    except OSError:
        return None
    try:
        return tls_facts(writer.get_extra_info("ssl_object"))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
