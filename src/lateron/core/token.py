"""What a token may do, for how long, and how a request for one is read.

One table says what the scopes may do; every route has one of its rights, and nothing else decides::

    scope     publish   read   manage   admin
    publish      x
    read                  x
    manage       x        x       x
    admin        x        x       x       x

``publish`` is to store messages, for now or later. ``manage`` is to change what is there: cancel, retry dead letters,
schedules, queues, groups, limits. ``admin`` is to change who may do what, and what holds for everybody: tokens,
signing keys, a pause of the whole server. Who may only publish cannot read, not even what it published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from lateron.core.body import read_body
from lateron.core.durations import parse_duration
from lateron.core.values import SECOND, Millis
from lateron.errors import Forbidden, InvalidValue


def token_hash(token: bytes) -> bytes:
    """Return the 32 bytes that are kept of a token; the token itself never is."""
    return sha256(token).digest()


class Access(Enum):
    """What it takes to use a route."""

    PUBLIC = "public"  # Nothing.
    PUBLISH = "publish"  # To store messages.
    READ = "read"  # To see what is there.
    CHANGE = "manage"  # To change what is there.
    ADMIN = "admin"  # To change who may, and what holds for all.


GRANTS: Final[Mapping[str, frozenset[Access]]] = MappingProxyType(
    {
        "publish": frozenset((Access.PUBLISH,)),
        "read": frozenset((Access.READ,)),
        "manage": frozenset((Access.PUBLISH, Access.READ, Access.CHANGE)),
        "admin": frozenset((Access.PUBLISH, Access.READ, Access.CHANGE, Access.ADMIN)),
    }
)
ADMIN: Final = "admin"
_NONE: Final[frozenset[Access]] = frozenset()
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class NewToken(Struct, frozen=True):
    """A token that somebody asks for."""

    name: str
    scope: str
    lasts: Millis | None = None  # From now on; None: until it is revoked.


class _Asked(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    name: str
    scope: str
    expires_in: str | None = None


_decode: Final = msgspec.json.Decoder(_Asked).decode


def may(scope: str, access: Access) -> bool:
    """Whether a scope grants something; one that nobody knows grants nothing."""
    return access in GRANTS.get(scope, _NONE)


def require(scope: str, access: Access) -> None:
    """Refuse what a scope does not grant.

    Raises:
        Forbidden: It does not.
    """
    if not may(scope, access):
        raise Forbidden(f"forbidden: scope {scope} may not {_VERBS[access]}")


_VERBS: Final = {
    Access.PUBLISH: "publish",
    Access.READ: "read",
    Access.CHANGE: "change this",
    Access.ADMIN: "change this, only admin may",
}


def parse_new_token(body: bytes) -> NewToken:
    """Read ``{"name", "scope", "expiresIn"?}``.

    Raises:
        RequestError: It is something else.
    """
    asked = read_body(body, _decode, '{"name": "ci", "scope": "publish", "expiresIn": "90d"}')
    return new_token(asked.name, asked.scope, asked.expires_in)


def check_scope(scope: str) -> None:
    """Refuse what is no scope.

    Raises:
        InvalidValue: It is none.
    """
    if scope not in GRANTS:
        raise InvalidValue("scope", scope, f"one of {', '.join(GRANTS)}")


def new_token(name: str, scope: str, expires_in: str | None) -> NewToken:
    """Return what is asked for, if there can be such a token.

    Raises:
        InvalidValue: There cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue("name", name, "1 to 100 letters, digits, '-', '_' or '.', the first one no '.'")
    check_scope(scope)
    if expires_in is None:
        return NewToken(name, scope)
    try:
        lasts = parse_duration(expires_in)
    except ValueError:
        lasts = 0
    if lasts < SECOND:
        raise InvalidValue("expiresIn", expires_in, "a span from 1s to 100 years, such as 90d")
    return NewToken(name, scope, lasts)
