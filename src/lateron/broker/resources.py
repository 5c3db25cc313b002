"""What is configured rather than sent: tenants, tokens, signing keys, settings.

Read whole at the start and kept in memory; a change is committed first and takes effect then.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest

from msgspec import Struct

from lateron.broker.views import KeyPair
from lateron.core.values import Millis, Tenant
from lateron.store.sql import Store, TokenRow


class Identity(Struct, frozen=True):
    """Who a token speaks for, and what it may do."""

    tenant: Tenant
    user: str
    scope: str = "admin"  # "admin" or "read".


class Resources:
    """Tokens and keys of this server."""

    def __init__(self, store: Store, new_key: Callable[[], str]) -> None:
        self._store = store
        self._new_key = new_key
        with store.transaction() as tx:
            self._tenants = tx.tenants()
            self._tokens = {row.hash: row for row in tx.tokens()}
            self._keys = {tenant: KeyPair(*pair) for tenant, pair in tx.keys().items()}

    def authenticate(self, token: bytes) -> Identity | None:
        """Return who a token belongs to.

        The look-up is by a hash that the caller cannot choose digit by digit, and the hashes are compared
        in constant time, so an answer's time tells nothing about a token.
        """
        presented = sha256(token).digest()
        row = self._tokens.get(presented)
        if not compare_digest(presented, row.hash if row else bytes(32)) or row is None:
            return None
        return Identity(row.tenant, self._tenants.get(row.tenant, ""), row.scope)

    def add_token(self, token: bytes, tenant: Tenant, name: str, scope: str, now: Millis) -> None:
        """Store a token by its hash; the token itself is never stored."""
        row = TokenRow(sha256(token).digest(), tenant, name, scope)
        with self._store.transaction() as tx:
            tx.insert_token(row, now)
            tenants = tx.tenants()
        self._tokens[row.hash] = row
        self._tenants = tenants

    def has_tokens(self) -> bool:
        """Whether any token was ever made here."""
        return bool(self._tokens)

    def knows(self, token: bytes) -> bool:
        """Whether this very token is stored."""
        return sha256(token).digest() in self._tokens

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
