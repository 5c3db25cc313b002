"""Passwords at the door: compared beside the loop, one at a time, and not as often as somebody likes.

A comparison is slow and takes memory, on purpose, and anybody who reaches the server can ask for one. So one thread
does them all, few may wait for it, and who has failed too often is told when to come back before anything is computed.
A name that nobody has costs the same work and gets the same answer as a wrong password.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

from lateron.api.auth import network_of
from lateron.broker.resources import Resources
from lateron.broker.users import Secret
from lateron.core import guessing
from lateron.core.guessing import ADDRESS, NAME, NONE, Rule, Tries
from lateron.core.password import COST, SALT_BYTES, Cost, hash_password, is_current, verify
from lateron.core.values import SECOND, Millis
from lateron.errors import Overloaded, StorageFull, TooManyTries
from lateron.runtime import Clock
from lateron.store.users import UserRow
from lateron.writer import Writer

T = TypeVar("T")

MOST_WAITING: Final = 8
MOST_TRIED: Final = 10_000  # Names, and addresses; beyond it the one that failed longest ago is forgotten.
_PROOF_BYTES: Final = 16
_NANOS: Final = 1_000_000


class Hashing:
    """The thread on which passwords are hashed.

    Args:
        cost: Of new ones; None: ``COST``.
    """

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost or COST
        self._waiting = 0
        # Why a pool of its own: a caller who leaves does not end the work, and a second one must not begin meanwhile.
        self._thread = ThreadPoolExecutor(1, "lateron-password")
        self._nobody: str | None = None

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether a password is the stored one; with none stored the same work, for nothing."""
        return await self._do(partial(self._verify, password, stored))

    async def hash(self, password: str) -> str:
        """Return what to keep of a password."""
        return await self._do(partial(self._hash, password))

    def is_current(self, stored: str) -> bool:
        """Whether a password is kept as a new one would be."""
        return is_current(stored, self._cost)

    async def _do(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Overloaded("too many passwords wait to be compared")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1

    def _verify(self, password: str, stored: str | None) -> bool:
        if self._nobody is None:
            self._nobody = self._hash(secrets.token_urlsafe())
        return verify(password, stored or self._nobody) and stored is not None

    def _hash(self, password: str) -> str:
        return hash_password(password, secrets.token_bytes(SALT_BYTES), self._cost)


def new_secret(password: str | None, cost: Cost = COST) -> Secret:
    """Return what to keep of a password, and a new proof; for whoever has no loop to keep free."""
    hashed = "" if password is None else hash_password(password, secrets.token_bytes(SALT_BYTES), cost)
    return secret_of(hashed)


def secret_of(hashed: str) -> Secret:
    """Return what is kept of a user: his password as it was hashed, and a new proof."""
    return Secret(hashed, secrets.token_bytes(_PROOF_BYTES))


class Tried:
    """Who has failed, by a key; bounded."""

    def __init__(self, rule: Rule, most: int = MOST_TRIED) -> None:
        self._rule = rule
        self._most = most
        self._tries: OrderedDict[bytes, Tries] = OrderedDict()  # Who failed last stands last.

    def wait(self, key: bytes, now: Millis) -> Millis:
        """Return how long this one must wait."""
        return guessing.wait(self._rule, self._tries.get(key, NONE), now)

    def count(self, key: bytes, now: Millis) -> None:
        """Count a failure."""
        self._tries[key] = guessing.failed(self._tries.pop(key, NONE), now)
        if len(self._tries) > self._most:
            self._tries.popitem(last=False)

    def take_back(self, key: bytes) -> None:
        """Count a failure less."""
        if key in self._tries:
            self._tries[key] = guessing.taken_back(self._tries[key])

    def forget(self, key: bytes) -> None:
        """Forget all failures."""
        self._tries.pop(key, None)


class Passwords:
    """Finds out who logs in with a name and a password.

    Args:
        hashing: The thread.
        resources: Its users.
        writer: Stores what is kept in a better way.
        clock: Its monotonic time.
    """

    def __init__(self, hashing: Hashing, resources: Resources, writer: Writer, clock: Clock) -> None:
        self._hashing = hashing
        self._users = resources.users
        self._writer = writer
        self._clock = clock
        self._names = Tried(NAME)
        self._addresses = Tried(ADDRESS)

    async def proof(self, name: str, password: str, address: str | None) -> bytes | None:
        """Return the proof of the user who has this password; None if nobody is called so, or has another one.

        Raises:
            TooManyTries: In this name, or from this address.
            Overloaded: Too many are being compared.
        """
        now = Millis(self._clock.mono() // _NANOS)
        named, addressed = sha256(name.encode("utf-8", "surrogatepass")).digest(), network_of(address)
        wait = max(self._names.wait(named, now), self._addresses.wait(addressed, now) if addressed else 0)
        if wait:
            raise TooManyTries(-(-wait // SECOND))
        self._names.count(named, now)
        if addressed:
            self._addresses.count(addressed, now)
        user = self._users.named(name)
        try:
            right = await self._hashing.verify(password, None if user is None else user.password)
        except Overloaded:
            self._names.take_back(named)
            self._addresses.take_back(addressed)
            raise
        if user is None or not right:
            return None
        self._names.forget(named)
        self._addresses.take_back(addressed)
        if not self._hashing.is_current(user.password):
            await self._keep_better(user, password)
        return user.proof

    async def _keep_better(self, user: UserRow, password: str) -> None:
        """Keep a password as new ones are; if that cannot be now, it is tried with the next login."""
        with suppress(Overloaded, StorageFull):
            hashed = await self._hashing.hash(password)
            await self._writer.run(lambda *_: self._users.rehash(user, hashed))
