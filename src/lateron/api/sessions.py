"""Who is logged in to the console.

A session is opened with a token or a password, and known by a random number that only its cookie and, as a hash, this
process have. It ends when it was not used for a while, when it is old, when its user logs out, when an administrator
ends it, with the process, and when its token is revoked or its user changed: each use asks anew whose it is. So a
session can never do more than what it was opened with. To others it is known by an id that was drawn beside its number,
so that whoever reads the one learns nothing of the other.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple

from lateron.broker.resources import Identity
from lateron.core.values import HOUR, Millis, Tenant
from lateron.runtime import Clock

IDLE: Final[Millis] = 2 * HOUR  # Without any use.
OLDEST: Final[Millis] = 12 * HOUR  # However much it is used.
MOST: Final = 1000  # Of all users; beyond it the one unused longest ends.
OF_ONE: Final = 100  # Of one token or user, likewise, so that nobody logs out others.
_BYTES: Final = 32  # 256 bits.
_ID_BYTES: Final = 16


Whose = Callable[[], Identity | None]  # Who a session speaks for now; None once it is nobody any more.


class Entry(NamedTuple):
    """How somebody came in."""

    by: str  # "token", "password" or "provider".
    whose: Whose
    key: bytes | None = None  # The hash of his token or the proof of his user; of a provider we keep nothing.

    def __repr__(self) -> str:
        """Tell no key."""
        return f"Entry({self.by!r})"


@dataclass(slots=True)
class Session:
    """Somebody who is logged in."""

    id: str
    entry: Entry
    csrf: str = field(repr=False)  # Only our own pages can read it; they show it with every change.
    opened: Millis
    used: Millis
    identity: Identity  # As of the last use.

    @property
    def ends(self) -> Millis:
        """Return when it will be over if nobody uses it."""
        return min(self.used + IDLE, self.opened + OLDEST)


class Sessions:
    """All that are open.

    Args:
        clock: Ages them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: OrderedDict[bytes, Session] = OrderedDict()  # By the hash of the number, last used last.

    def begin(self, entry: Entry) -> tuple[str, Session] | None:
        """Open a session; return the number for its cookie and the session, or None if it is nobody's."""
        identity = entry.whose()
        if identity is None:
            return None
        number, now = secrets.token_urlsafe(_BYTES), self._clock.wall()
        name = f"ses_{secrets.token_hex(_ID_BYTES)}"
        made = Session(name, entry, secrets.token_urlsafe(_BYTES), now, now, identity)
        self._open[_hash(number)] = made
        of_one = [key for key, session in self._open.items() if session.identity == identity]
        if len(of_one) > OF_ONE:
            del self._open[of_one[0]]
        if len(self._open) > MOST:
            self._open.popitem(last=False)
        return number, made

    def find(self, number: str) -> Session | None:
        """Return a session that is open, and count this as a use."""
        identity, key = self.peek(number), _hash(number)
        if identity is None:
            return None
        found = self._open[key]
        found.identity, found.used = identity, self._clock.wall()
        self._open.move_to_end(key)
        return found

    def peek(self, number: str) -> Identity | None:
        """Return who an open session speaks for now, without using it; one that is over is closed."""
        key = _hash(number)
        found = self._open.get(key)
        if found is None:
            return None
        identity = found.entry.whose()
        if identity is None or self._clock.wall() >= found.ends:
            del self._open[key]
            return None
        return identity

    def end(self, number: str) -> None:
        """Close a session, if it is open."""
        self._open.pop(_hash(number), None)

    def id_of(self, number: str | None) -> str | None:
        """Return the id of an open session."""
        found = None if number is None else self._open.get(_hash(number))
        return None if found is None else found.id

    def of(self, tenant: Tenant, keys: Container[bytes]) -> list[Session]:
        """Return the open sessions of a tenant, the one used last first; nothing is used by that, no token either.

        Args:
            tenant: Whose.
            keys: Those of its tokens and users that are good now. A session that was opened with another is over.
        """
        now = self._clock.wall()
        return [
            session
            for session in reversed(self._open.values())
            if session.identity.tenant == tenant
            and now < session.ends
            and (session.entry.key is None or session.entry.key in keys)
        ]

    def end_all(self, sessions: Iterable[Session]) -> None:
        """Close these sessions; the next request of each is refused."""
        ids = {session.id for session in sessions}
        for key in [key for key, session in self._open.items() if session.id in ids]:
            del self._open[key]


def shows(session: Session, csrf: bytes) -> bool:
    """Whether a request carried the second secret of its session."""
    return compare_digest(csrf, session.csrf.encode())


def _hash(number: str) -> bytes:
    # Why: a look-up by hash tells by its time nothing that helps to guess the number.
    return sha256(number.encode("utf-8", "surrogateescape")).digest()
