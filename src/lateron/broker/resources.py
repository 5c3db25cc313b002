"""What is configured rather than sent: tenants, tokens, users, signing keys, settings.

Read whole at the start and kept in memory; a change is committed first and takes effect then. Tokens may be changed
by another process too, which the server looks for every few seconds (``adopt_tokens``). When a token was used is
noted in memory, and stored once a minute (``note_uses``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

from msgspec import Struct
from msgspec.structs import replace

from lateron.broker.users import Users
from lateron.broker.views import KeyPair
from lateron.core.token import ADMIN, NewToken, token_hash
from lateron.core.values import Millis, Tenant
from lateron.errors import InvalidValue, NotFound, RequestError
from lateron.store.sql import Store, TokenRow


class Identity(Struct, frozen=True):
    """Who a token or a user of the console speaks for, and what it may do."""

    tenant: Tenant
    user: str
    scope: str = ADMIN  # A key of ``core.token.GRANTS``.
    name: str = ""  # Of the token, or of the user of the console.
    person: bool = False  # Whether it is somebody at the console, who came with a password or by a provider.


class _Known:
    """The tokens of one moment."""

    __slots__ = ("met", "tokens")

    def __init__(self, tokens: dict[bytes, tuple[TokenRow, Identity]]) -> None:
        self.tokens = tokens  # By their hashes.
        self.met: dict[bytes, tuple[TokenRow, Identity]] = {}  # Those that came, by themselves; no more than there are.


class Resources:
    """Tokens, users and keys of this server.

    Args:
        store: Where they are kept.
        new_key: Makes a signing key.
        new_token: Makes a token for the user of a name.
        wall: The time.
    """

    def __init__(
        self, store: Store, new_key: Callable[[], str], new_token: Callable[[str], str], wall: Callable[[], Millis]
    ) -> None:
        self._store = store
        self._new_key = new_key
        self._new_token = new_token
        self._wall = wall
        self._known = _Known({})
        self._used: dict[bytes, Millis] = {}  # Since the last ``note_uses``: the first use of each token.
        self.changes = 0  # Of tokens, by this process.
        self.users = Users(store, wall)
        with store.transaction() as tx:
            self._tenants = tx.tenants()
            self._keep(tx.tokens())
            self._keys = {tenant: KeyPair(*pair) for tenant, pair in tx.keys().items()}

    def authenticate(self, token: bytes) -> Identity | None:
        """Return who a token belongs to, the same object each time; nobody once it has expired.

        The look-up is by a hash that the caller cannot choose digit by digit, and the hashes are compared
        in constant time, so an answer's time tells nothing about a token. One that was good is met again by all of its
        bytes: by Python's own hash of them, whose key nobody knows, so no guess is ever compared with it byte by byte.
        """
        known = self._known
        found = known.met.get(token)
        if found is None:
            presented = token_hash(token)
            found = known.tokens.get(presented)
            if not compare_digest(presented, found[0].hash if found else bytes(32)) or found is None:
                return None
            known.met[token] = found
        row, identity = found
        if row.hash not in self._used or row.expires is not None:
            now = self._wall()
            if row.expires is not None and row.expires <= now:
                return None
            self._used.setdefault(row.hash, now)
        return identity

    def identify(self, proof: bytes) -> Identity | None:
        """Return whom a login of that proof speaks for; nobody once its user was changed or removed."""
        row = self.users.proven(proof)
        if row is None:
            return None
        return Identity(row.tenant, self._tenants.get(row.tenant, ""), row.scope, row.name, person=True)

    def visitor(self, tenant: Tenant, name: str, scope: str) -> Identity:
        """Return whom somebody speaks for who is no user here, and was let in by what another server says of him."""
        return Identity(tenant, self._tenants.get(tenant, ""), scope, name, person=True)

    def add_token(self, token: bytes, tenant: Tenant, name: str, scope: str, now: Millis) -> None:
        """Store a token by its hash; the token itself is never stored."""
        with self._store.transaction() as tx:
            tx.insert_token(TokenRow(token_hash(token), tenant, name, scope, now))
            self._tenants = tx.tenants()
            rows = tx.tokens()
        self._keep(rows)

    def tokens(self, tenant: Tenant) -> list[TokenRow]:
        """Return the tokens of a tenant, oldest first."""
        used = self._used
        found = [row for row, _ in self._known.tokens.values() if row.tenant == tenant]
        return [replace(row, used=used.get(row.hash, row.used)) for row in found]

    def create_token(self, tenant: Tenant, new: NewToken, now: Millis) -> tuple[str, TokenRow]:
        """Make a token; return it, which nobody can do later, and what is kept of it.

        Raises:
            InvalidValue: There is one of that name.
        """
        with self._store.transaction() as tx:
            rows = tx.tokens()
            if _named(rows, tenant, new.name):
                raise InvalidValue("name", new.name, "a name that no other token has")
            token, row = self._made(tenant, new.name, new.scope, now, None if new.lasts is None else now + new.lasts)
            tx.insert_token(row)
        self._keep([*rows, row])
        return token, row

    def revoke_token(self, tenant: Tenant, name: str, now: Millis) -> None:
        """Delete a token; the next request that brings it is refused.

        Raises:
            NotFound: There is none of that name.
            RequestError: Without it nobody could administer the tenant.
        """
        with self._store.transaction() as tx:
            rows = tx.tokens()
            gone = _named(rows, tenant, name)
            if not gone:
                raise NotFound("token", name)
            left = [row for row in rows if row not in gone]
            if not any(row.tenant == tenant and row.scope == ADMIN and _lasts(row, now) for row in left):
                raise RequestError(f"token {name}: it is the last one with scope admin; make another one first")
            for row in gone:
                tx.delete_token(row.hash)
        self._keep(left)

    def reset_token(self, tenant: Tenant, name: str, now: Millis) -> tuple[str, TokenRow]:
        """Replace a token by a new one of the same name, scope and end; the old one is refused from now on.

        Raises:
            NotFound: There is none of that name.
        """
        with self._store.transaction() as tx:
            rows = tx.tokens()
            gone = _named(rows, tenant, name)
            if not gone:
                raise NotFound("token", name)
            for old in gone:
                tx.delete_token(old.hash)
            token, row = self._made(tenant, name, gone[-1].scope, now, gone[-1].expires)
            tx.insert_token(row)
        self._keep([*(row for row in rows if row not in gone), row])
        return token, row

    def adopt_tokens(self, rows: Sequence[TokenRow], changes: int) -> None:
        """Take up what another process has changed in the store.

        Args:
            rows: All tokens, as they were read.
            changes: What ``changes`` was before they were; if it has moved since, they are old.
        """
        if changes == self.changes and list(rows) != [row for row, _ in self._known.tokens.values()]:
            self._keep(rows)

    def note_uses(self) -> None:
        """Store which tokens were used since the last time."""
        if not self._used:
            return
        used, self._used = self._used, {}
        with self._store.transaction() as tx:
            for hashed, moment in used.items():
                tx.use_token(hashed, moment)
            rows = tx.tokens()
        self._keep(rows)

    def _keep(self, rows: Sequence[TokenRow]) -> None:
        """Let these tokens be the ones that are known: requests see all of the old ones or all of the new."""
        self.changes += 1
        before, tokens = self._known.tokens, dict[bytes, tuple[TokenRow, Identity]]()
        for row in rows:
            identity = Identity(row.tenant, self._tenants.get(row.tenant, ""), row.scope, row.name)
            old = before.get(row.hash)
            tokens[row.hash] = (row, old[1] if old is not None and old[1] == identity else identity)
        self._known = _Known(tokens)

    def _made(self, tenant: Tenant, name: str, scope: str, now: Millis, expires: Millis | None) -> tuple[str, TokenRow]:
        token = self._new_token(self._tenants.get(tenant, ""))
        return token, TokenRow(token_hash(token.encode()), tenant, name, scope, now, expires)

    def has_tokens(self) -> bool:
        """Whether any token was ever made here."""
        return bool(self._known.tokens)

    def knows(self, token: bytes) -> bool:
        """Whether this very token is stored."""
        return token_hash(token) in self._known.tokens

    def keys(self, tenant: Tenant) -> KeyPair | None:
        """Return the signing keys of a tenant."""
        return self._keys.get(tenant)

    def set_keys(self, tenant: Tenant, keys: KeyPair, now: Millis, *, lasting: bool = True) -> None:
        """Set the signing keys of a tenant; those that do not last are forgotten with the process."""
        if lasting:
            with self._store.transaction() as tx:
                tx.save_keys(tenant, keys.current, keys.next, now)
        self._keys[tenant] = keys

    def rotate_keys(self, tenant: Tenant, now: Millis, *, lasting: bool = True) -> KeyPair:
        """Make the next key the current one, and a new key the next; from now on attempts use it."""
        old = self._keys[tenant]
        new = KeyPair(old.next, self._new_key())
        self.set_keys(tenant, new, now, lasting=lasting)
        return new

    def setting(self, name: str) -> str | None:
        """Return a value kept under a name."""
        with self._store.transaction() as tx:
            return tx.setting(name)

    def save_setting(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self._store.transaction() as tx:
            tx.save_setting(name, value)


def _named(rows: Sequence[TokenRow], tenant: Tenant, name: str) -> list[TokenRow]:
    return [row for row in rows if row.tenant == tenant and row.name == name]


def _lasts(row: TokenRow, now: Millis) -> bool:
    return row.expires is None or row.expires > now
