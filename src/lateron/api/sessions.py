"""Who is logged in to the console.

A session is opened with a token or a password, and known by a random number that only its cookie and, as a hash, this
process have. It ends when it was not used for a while, when it is old, when its user logs out, with the process, and
when its token is revoked or its user changed: each use asks anew whose it is. So a session can never do more than what
it was opened with.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from lateron.broker.resources import Identity
from lateron.core.values import HOUR, Millis
from lateron.runtime import Clock

IDLE: Final[Millis] = 2 * HOUR  # Without any use.
OLDEST: Final[Millis] = 12 * HOUR  # However much it is used.
MOST: Final = 1000  # Of all users; beyond it the one unused longest ends.
OF_ONE: Final = 100  # Of one token or user, likewise, so that nobody logs out others.
_BYTES: Final = 32  # 256 bits.


Whose = Callable[[], Identity | None]  # Who a session speaks for now; None once it is nobody any more.


@dataclass(slots=True)
class Session:
    """Somebody who is logged in."""

    whose: Whose = field(repr=False)  # Asked at each use.
    csrf: str = field(repr=False)  # Only our own pages can read it; they show it with every change.
    opened: Millis
    used: Millis
    identity: Identity  # As of the last use.


class Sessions:
    """All that are open.

    Args:
        clock: Ages them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: OrderedDict[bytes, Session] = OrderedDict()  # By the hash of the number, last used last.

    def begin(self, whose: Whose) -> tuple[str, Session] | None:
        """Open a session; return the number for its cookie and the session, or None if it is nobody's."""
        identity = whose()
        if identity is None:
            return None
        number, now = secrets.token_urlsafe(_BYTES), self._clock.wall()
        made = Session(whose, secrets.token_urlsafe(_BYTES), now, now, identity)
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
        key, now = _hash(number), self._clock.wall()
        found = self._open.get(key)
        if found is None:
            return None
        identity = found.whose()
        if identity is None or now - found.used >= IDLE or now - found.opened >= OLDEST:
            del self._open[key]
            return None
        return identity

    def end(self, number: str) -> None:
        """Close a session, if it is open."""
        self._open.pop(_hash(number), None)


def shows(session: Session, csrf: bytes) -> bool:
    """Whether a request carried the second secret of its session."""
    return compare_digest(csrf, session.csrf.encode())


def _hash(number: str) -> bytes:
    # Why: a look-up by hash tells by its time nothing that helps to guess the number.
    return sha256(number.encode("utf-8", "surrogateescape")).digest()
