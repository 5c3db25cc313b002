"""People who log in to the console with a name and a password, and how a request for one is read."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Struct

from lateron.core.body import read_body
from lateron.core.password import check_password
from lateron.core.token import check_scope
from lateron.errors import InvalidValue, RequestError

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@+-]{0,99}")  # An address of mail may be one.


class NewUser(Struct, frozen=True):
    """A user that somebody asks for; the password is checked and in no text of it."""

    name: str
    scope: str
    password: str

    def __repr__(self) -> str:
        """Tell no password."""
        return f"NewUser({self.name!r}, {self.scope!r})"


class Change(Struct, frozen=True):
    """What shall be other about a user; None: as it is."""

    scope: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Tell no password."""
        return f"Change({self.scope!r}, password={'...' if self.password is not None else None})"


class _Asked(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    scope: str
    password: str


class _Changed(Struct, frozen=True, forbid_unknown_fields=True):
    scope: str | None = None
    password: str | None = None


_asked: Final = msgspec.json.Decoder(_Asked).decode
_changed: Final = msgspec.json.Decoder(_Changed).decode


def parse_new_user(body: bytes) -> NewUser:
    """Read ``{"name", "scope", "password"}``.

    Raises:
        RequestError: It is something else.
    """
    asked = read_body(body, _asked, '{"name": "anna", "scope": "read", "password": "..."}')
    return new_user(asked.name, asked.scope, asked.password)


def check_name(name: str) -> None:
    """Refuse what is no name.

    Raises:
        InvalidValue: It is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue("name", name, "1 to 100 letters, digits, '-', '_', '.', '@' or '+', beginning with no '.@+'")


def new_user(name: str, scope: str, password: str) -> NewUser:
    """Return what is asked for, if there can be such a user.

    Raises:
        RequestError: There cannot.
    """
    check_name(name)
    check_scope(scope)
    check_password(password, name)
    return NewUser(name, scope, password)


def parse_change(body: bytes, name: str) -> Change:
    """Read ``{"scope"?, "password"?}``, at least one of them, for the user of that name.

    Raises:
        RequestError: It is something else.
    """
    asked = read_body(body, _changed, '{"scope": "read"} or {"password": "..."}')
    return change(asked.scope, asked.password, name)


def change(scope: str | None, password: str | None, name: str) -> Change:
    """Return the change, if there can be such a one.

    Raises:
        RequestError: There cannot.
    """
    if scope is None and password is None:
        raise RequestError("body: expected a scope or a password, got neither")
    if scope is not None:
        check_scope(scope)
    if password is not None:
        check_password(password, name)
    return Change(scope, password)
