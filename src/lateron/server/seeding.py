"""Tokens and signing keys of a new store.

``dev`` has the four users that everybody knows. They are set anew at every start, and their keys are kept in
memory only: a rotation lasts until the restart, because the JavaScript SDK recognises the server by them.

``serve`` has one user at first. Token and keys come from the operator, or are made here; they are stored once,
the token as its hash, and from then on the store is right: what the environment says later is compared, and a
difference is a warning, never a change.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Final

import msgspec

from lateron.broker.bulk import Broker
from lateron.broker.resources import Resources
from lateron.broker.views import KeyPair
from lateron.config import InvalidSettings, Settings
from lateron.config.dev_users import DEV_USERS, PUBLIC_SECRETS
from lateron.core.values import Millis, Tenant
from lateron.telemetry import Log

log = Log("lateron.server")

TENANT: Final[Tenant] = 1  # Of `serve`.
USER: Final = "lateron"
PASSWORD_PREFIX: Final = "ltrn_"  # So that scanners for leaked secrets can tell what it is.  # noqa: S105
_PASSWORD_BYTES: Final = 24  # 192 bits.
_SHORTEST_TOKEN: Final = 20
_KEY_LENGTH: Final = 28
_KEY_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MADE_BY: Final = "made-by"  # Which command made the store.


@dataclass(frozen=True, slots=True)
class Made:
    """What this start has made, to be shown once; None was there before, or came from the operator."""

    token: str | None = None
    keys: KeyPair | None = None


def new_token(user: str) -> str:
    """Return a token of the form that clients expect: base64 of a user's id and a password."""
    return _token(user or USER, PASSWORD_PREFIX + secrets.token_urlsafe(_PASSWORD_BYTES))


def new_key() -> str:
    """Return a signing key: 166 bits, in the form of QStash's."""
    return "sig_" + "".join(secrets.choice(_KEY_LETTERS) for _ in range(_KEY_LENGTH))


def seed(settings: Settings, broker: Broker, resources: Resources, now: Millis) -> Made:
    """Make the store of this command usable, or refuse one that belongs to the other command.

    Raises:
        InvalidSettings: The store is the other command's, or the token given cannot be one.
    """
    made_by = resources.setting(_MADE_BY)
    if made_by not in {None, settings.command} or _is_public(settings, resources):
        raise InvalidSettings(
            f"data-dir {settings.data_dir}: it belongs to `lateron {made_by}`, and `lateron {settings.command}` "
            "does not use it: the tokens of `dev` are public, those of `serve` are not"
        )
    if settings.command == "dev":
        _seed_dev(broker, resources, now)
        made = Made()
    else:
        _compare(settings, resources)
        _check_token(settings.token, settings.sources["token"].name)
        keys = _seed_keys(settings, broker, resources, now) if resources.keys(TENANT) is None else None
        made = Made(None if resources.has_tokens() else _seed_token(settings, resources, now), keys)
    if made_by is None:
        resources.save_setting(_MADE_BY, settings.command)
    return made


def _seed_dev(broker: Broker, resources: Resources, now: Millis) -> None:
    for user in DEV_USERS:
        broker.add_tenant(user.tenant, user.name, now)
        resources.add_token(user.token.encode(), user.tenant, "development", "admin", now)
        resources.set_keys(user.tenant, KeyPair(user.current, user.next), now, lasting=False)


def _seed_keys(settings: Settings, broker: Broker, resources: Resources, now: Millis) -> KeyPair | None:
    """Store the user and his keys; return keys that were made here."""
    user = _user_of(settings.token) if settings.token else USER
    broker.add_tenant(TENANT, user or USER, now)
    keys = KeyPair(settings.current_signing_key or new_key(), settings.next_signing_key or new_key())
    resources.set_keys(TENANT, keys, now)
    return keys if settings.current_signing_key is None else None


def _seed_token(settings: Settings, resources: Resources, now: Millis) -> str | None:
    """Store the first token; return one that was made here."""
    token = settings.token or new_token(USER)
    if _user_of(token) is None:
        log.warning("the token is not base64 of {'UserID', 'Password'}; some SDK calls need that form")
    resources.add_token(token.encode(), TENANT, "first", "admin", now)
    return token if settings.token is None else None


def _compare(settings: Settings, resources: Resources) -> None:
    """Say where the environment and a store that was seeded before differ; the store is right."""
    given_token = settings.token is not None and resources.has_tokens()
    if given_token and not resources.knows((settings.token or "").encode()):
        name = settings.sources["token"].name
        log.warning("a setting differs from the store, which wins", given=name, stored="the tokens of the store")
    stored = resources.keys(TENANT)
    if stored is None:
        return
    for name, given, kept in (
        ("current-signing-key", settings.current_signing_key, stored.current),
        ("next-signing-key", settings.next_signing_key, stored.next),
    ):
        if given is not None and given != kept:
            log.warning(
                "a setting differs from the store, which wins",
                given=settings.sources[name].name,
                stored=f"the {name} of the store; GET /v2/keys shows it",
            )


def _is_public(settings: Settings, resources: Resources) -> bool:
    """Whether ``serve`` was given a store that knows a public token, however that came there."""
    return settings.command == "serve" and any(resources.knows(secret.encode()) for secret in PUBLIC_SECRETS)


def _check_token(token: str | None, name: str) -> None:
    """Refuse a token that cannot stand in a header, or that could be guessed, before anything is stored."""
    if token is None:
        return
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidSettings(f"{name}: expected printable ASCII without blanks")
    if len(token) < _SHORTEST_TOKEN:
        raise InvalidSettings(f"{name}: too short to be a secret; expected at least {_SHORTEST_TOKEN} characters")


def _token(user: str, password: str) -> str:
    return b64encode(msgspec.json.encode({"UserID": user, "Password": password})).decode()


def _user_of(token: str) -> str | None:
    """Return the user's id inside a token; None if it has another form."""
    try:
        content = msgspec.json.decode(b64decode(token, validate=True), type=dict[str, str])
    except (Base64Error, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None
    return content.get("UserID") or None
