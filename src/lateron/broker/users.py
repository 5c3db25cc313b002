"""People who log in to the console with a password.

Kept as tokens are: read whole at the start, changed in the store first, taken up from it every few seconds because
another process may have changed them (``adopt``). A login is found by the proof of its user, and each change gives him
another one: what was opened before it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.user import Change, NewUser
from lateron.core.values import Millis, Tenant
from lateron.errors import InvalidValue, NotFound
from lateron.store.sql import Store
from lateron.store.users import UserRow


class Secret(Struct, frozen=True):
    """What is kept for a user that nobody may see."""

    password: str  # What is kept of it; see ``core.password``.
    proof: bytes  # Random.

    def __repr__(self) -> str:
        """Tell nothing."""
        return "Secret()"


class Users:
    """Users of this server.

    Args:
        store: Where they are kept.
        wall: The time.
    """

    def __init__(self, store: Store, wall: Callable[[], Millis]) -> None:
        self._store = store
        self._wall = wall
        self._used: dict[bytes, Millis] = {}  # By proof, since the last ``note_uses``: the first use.
        self.changes = 0  # By this process.
        with store.transaction() as tx:
            self._keep(tx.users())

    def named(self, name: str) -> UserRow | None:
        """Return the user of that name."""
        return self._by_name.get(name)

    def proven(self, proof: bytes) -> UserRow | None:
        """Return whose proof this is; nobody's once he was changed or removed.

        Why nothing is compared in constant time: the proof never leaves this process.
        """
        found = self._by_proof.get(proof)
        if found is not None and proof not in self._used:
            self._used[proof] = self._wall()
        return found

    def of(self, tenant: Tenant) -> list[UserRow]:
        """Return the users of a tenant, by name."""
        used = self._used
        found = [row for row in self._by_name.values() if row.tenant == tenant]
        return [replace(row, used=used.get(row.proof, row.used)) for row in found]

    def expect(self, tenant: Tenant, name: str) -> None:
        """Do nothing if a tenant has a user of that name.

        Raises:
            NotFound: There is none.
        """
        _find(list(self._by_name.values()), tenant, name)

    def add(self, tenant: Tenant, new: NewUser, secret: Secret, now: Millis) -> UserRow:
        """Store a user.

        Raises:
            InvalidValue: There is one of that name.
        """
        with self._store.transaction() as tx:
            rows = tx.users()
            if any(row.name == new.name for row in rows):
                raise InvalidValue("name", new.name, "a name that no other user has")
            made = UserRow(new.name, tenant, new.scope, secret.password, secret.proof, now, now)
            tx.save_user(made)
        self._keep([*rows, made])
        return made

    def change(self, tenant: Tenant, name: str, change: Change, secret: Secret, now: Millis) -> UserRow:
        """Give a user another scope, another password, or both; his logins end.

        Args:
            tenant: Whose user it is.
            name: Of the user.
            change: Checked.
            secret: Its password counts only if the change has one, its proof always.
            now: The time.

        Raises:
            NotFound: There is none of that name.
        """
        with self._store.transaction() as tx:
            rows = tx.users()
            old = _find(rows, tenant, name)
            made = replace(
                old,
                scope=old.scope if change.scope is None else change.scope,
                password=old.password if change.password is None else secret.password,
                proof=secret.proof,
                changed=now,
            )
            tx.save_user(made)
        self._keep([made if row is old else row for row in rows])
        return made

    def remove(self, tenant: Tenant, name: str) -> None:
        """Delete a user; his logins end.

        Raises:
            NotFound: There is none of that name.
        """
        with self._store.transaction() as tx:
            rows = tx.users()
            gone = _find(rows, tenant, name)
            tx.delete_user(name)
        self._keep([row for row in rows if row is not gone])

    def rehash(self, old: UserRow, password: str) -> None:
        """Keep the same password in another way, unless the user was changed meanwhile; his logins go on."""
        with self._store.transaction() as tx:
            rows = tx.users()
            if not any((row.proof, row.password) == (old.proof, old.password) for row in rows):
                return
            made = replace(old, password=password)
            tx.save_user(made)
        self._keep([made if row.proof == old.proof else row for row in rows])

    def adopt(self, rows: Sequence[UserRow], changes: int) -> None:
        """Take up what another process has changed in the store.

        Args:
            rows: All users, as they were read.
            changes: What ``changes`` was before they were; if it has moved since, they are old.
        """
        if changes == self.changes and list(rows) != list(self._by_name.values()):
            self._keep(rows)

    def note_uses(self) -> None:
        """Store which users were there since the last time."""
        if not self._used:
            return
        used, self._used = self._used, {}
        with self._store.transaction() as tx:
            for proof, moment in used.items():
                tx.use_user(proof, moment)
            rows = tx.users()
        self._keep(rows)

    def _keep(self, rows: Sequence[UserRow]) -> None:
        """Let these users be the ones that are known."""
        self.changes += 1
        self._by_name = {row.name: row for row in sorted(rows, key=lambda row: row.name)}
        self._by_proof = {row.proof: row for row in rows}


def _find(rows: Sequence[UserRow], tenant: Tenant, name: str) -> UserRow:
    for row in rows:
        if row.tenant == tenant and row.name == name:
            return row
    raise NotFound("user", name)
