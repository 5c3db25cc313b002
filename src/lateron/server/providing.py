"""Logins by a provider of OpenID Connect: the rooms they need, and the library that must be there."""

from __future__ import annotations

from msgspec.structs import replace

from lateron.api.issuer import MOST_BYTES, Client, Issuer
from lateron.api.openid import OpenId
from lateron.config import InvalidSettings, Settings
from lateron.egress import Egress, EgressSettings, Limits
from lateron.runtime import Clock


def openid(settings: Settings, egress: EgressSettings, clock: Clock) -> tuple[OpenId, Egress]:
    """Return who logs people in, and the way out that he has of his own.

    The operator names the provider, no publisher can. So it may lie where messages may not go, on a private address or
    beside this server; what is special stays so.

    Raises:
        InvalidSettings: The library that knows signatures is not installed.
    """
    try:
        from lateron.api.idtoken import Keys
    except ImportError as error:
        raise InvalidSettings(
            f"oidc-issuer: logging in by OpenID Connect needs a library ({error.name}); install it: "
            "pip install 'lateron[oidc]'"
        ) from None
    assert settings.oidc_issuer is not None
    assert settings.oidc_client_id is not None
    client = Client(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret,
        settings.oidc_scopes,
        settings.oidc_allow,
    )
    guard = replace(egress.guard, allow_private=True, listeners=frozenset())
    limits = Limits(stored=MOST_BYTES, read=MOST_BYTES)
    way = Egress(replace(egress, guard=guard, limits=limits, max_connections=64), clock)
    return OpenId(settings.oidc_name, Issuer(client, way.send, Keys, clock), clock), way
