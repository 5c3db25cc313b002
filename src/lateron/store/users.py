"""The verbs of users, a part of ``store.sql.Verbs``."""

from __future__ import annotations

from msgspec import Struct

from lateron.core.values import Millis, Tenant
from lateron.store.interface import Row
from lateron.store.rows import Statements, integer, octets


class UserRow(Struct, frozen=True):
    """A user as he is kept."""

    name: str  # Nobody else's in the whole store.
    tenant: Tenant
    scope: str
    password: str  # What is kept of it; see ``core.password``.
    proof: bytes  # What his logins are found by: random, and another one after each change.
    created: Millis
    changed: Millis  # Scope or password.
    used: Millis | None = None  # Last time, to the minute.

    def __repr__(self) -> str:
        """Tell neither password nor proof."""
        return f"UserRow({self.name!r}, {self.tenant}, {self.scope!r})"


class UserVerbs(Statements):
    """People who log in with a password."""

    def save_user(self, user: UserRow) -> None:
        """Store a user, new or changed."""
        row = (user.name, user.tenant, user.scope, user.password, user.proof, user.created, user.changed)
        self._run("save_user", row)

    def users(self) -> list[UserRow]:
        """Return all users, by name."""
        return [_user(row) for row in self._run("users")]

    def delete_user(self, name: str) -> None:
        """Forget a user."""
        self._run("delete_user", (name,))

    def use_user(self, proof: bytes, used: Millis) -> None:
        """Note when a user was last there; one who was changed since has another proof."""
        self._run("use_user", (used, proof))


def _user(row: Row) -> UserRow:
    name, tenant, scope, password, proof, created, changed, used = row
    return UserRow(str(name), integer(tenant), str(scope), str(password), octets(proof), integer(created),
                   integer(changed), None if used is None else integer(used))  # fmt: skip
