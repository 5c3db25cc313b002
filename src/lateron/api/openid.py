"""Logins by OpenID Connect that are under way: begun here, away at the provider, expected back.

The authorization code flow with PKCE (RFC 6749, 7636). A browser that leaves takes along a ``state``, which it must
bring back, and a cookie, which shows that it is the browser that left. What only we know stays here::

    POST  console/api/oidc            -> the provider's address, and the cookie
          (the browser is away)          state -> nonce, verifier, hash of the cookie
    GET   console/api/oidc/callback   -> state is forgotten, cookie compared, code given for claims, a rule found

A state is good once and for ten minutes, and only so many are kept, of one address fewer still, so that nobody can push
out others or fill the memory.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct

from lateron.api.auth import network_of
from lateron.api.issuer import Issuer
from lateron.api.passwords import Tried
from lateron.core.guessing import ADDRESS
from lateron.core.oidc import person_of, scope_for
from lateron.core.values import MINUTE, SECOND, Millis
from lateron.errors import LoginRefused, TooManyTries
from lateron.runtime import Clock

LASTS: Final[Millis] = 10 * MINUTE  # A login may be away.
MOST: Final = 1000  # Logins away; beyond it the oldest one is forgotten.
OF_ONE: Final = 50  # From one address, likewise.
MOST_ASKED: Final = 8  # Codes that are given to the provider at once.
# Why nobody was let in, as the page says it; by the words of ``LoginRefused``.
WORDS: Final[Mapping[str, str]] = {
    "busy": "Too much is under way. Sign in again in a moment.",
    "denied": "The provider did not sign you in.",
    "issuer": "The provider did not answer as it should. Sign in again; the log of this server says more.",
    "late": "This sign-in was begun too long ago, was used already, or was begun in another browser or window. "
    "Sign in again.",
    "nobody": "The provider knows you, and no rule of this server lets you in. Ask who runs it.",
    "token": "What the provider said of you could not be believed. The log of this server says why.",
    "unverified": "The provider has not verified your address. Have it verified there, and sign in again.",
}
_BYTES: Final = 32
_NANOS: Final = 1_000_000


class Begun(Struct, frozen=True):
    """A login that begins."""

    place: str  # Where the browser goes.
    cookie: str  # What it takes along beside.

    def __repr__(self) -> str:
        """Tell neither."""
        return "Begun()"


class Visitor(Struct, frozen=True):
    """Who has come in."""

    person: str
    scope: str
    left: str | None  # The session that was open when the login began.

    def __repr__(self) -> str:
        """Tell no session."""
        return f"Visitor({self.person!r}, {self.scope!r})"


@dataclass(frozen=True, slots=True)
class _Away:
    """A login that has begun."""

    browser: bytes = field(repr=False)  # Hash of its cookie.
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect: str
    left: str | None = field(repr=False)
    network: bytes
    since: Millis  # Monotonic.


class OpenId:
    """Logs people in by a provider.

    Args:
        name: What people call the provider.
        issuer: The provider.
        clock: Its monotonic time.
    """

    def __init__(self, name: str, issuer: Issuer, clock: Clock) -> None:
        self.name = name
        self._issuer = issuer
        self._clock = clock
        self._away: OrderedDict[bytes, _Away] = OrderedDict()  # By the hash of the state, the oldest first.
        self._tried = Tried(ADDRESS)
        self._asked = 0

    async def begin(self, redirect: str, left: str | None, address: str | None) -> Begun:
        """Begin a login.

        Args:
            redirect: Where the provider sends the browser back to.
            left: The session that is open in it.
            address: Where it is.

        Raises:
            TooManyTries: From this address.
            LoginRefused: The provider cannot be used now.
        """
        now, network = self._now(), network_of(address)
        wait = self._tried.wait(network, now) if network else 0
        if wait:
            raise TooManyTries(-(-wait // SECOND))
        provider = await self._issuer.provider()
        state, nonce, verifier, cookie = (secrets.token_urlsafe(_BYTES) for _ in range(4))
        self._away[_hash(state)] = _Away(_hash(cookie), nonce, verifier, redirect, left, network, now)
        self._make_room(network)
        client = self._issuer.client
        query = urlencode(
            {
                "response_type": "code",
                "client_id": client.id,
                "redirect_uri": redirect,
                "scope": " ".join(dict.fromkeys(("openid", *client.scopes))),
                "state": state,
                "nonce": nonce,
                "code_challenge": urlsafe_b64encode(_hash(verifier)).decode().rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        place = provider.authorization_endpoint
        return Begun(f"{place}{'&' if '?' in place else '?'}{query}", cookie)

    async def finish(self, query: bytes, cookie: str | None) -> Visitor:
        """End a login that has come back.

        Args:
            query: With which it came.
            cookie: What the browser had taken along.

        Raises:
            LoginRefused: It is none.
        """
        if self._asked >= MOST_ASKED:
            raise LoginRefused("busy", "too many come back at once")
        given = _fields(query)
        away = self._away.pop(_hash(given.get("state", "")), None)
        if away is None or self._now() - away.since >= LASTS:
            raise LoginRefused("late", "state is not known, any more or at all")
        if cookie is None or not compare_digest(_hash(cookie), away.browser):
            raise LoginRefused("late", "another browser has begun it")
        self._asked += 1
        try:
            if away.network:
                self._tried.count(away.network, self._now())
            visitor = await self._visitor(given, away)
        finally:
            self._asked -= 1
        self._tried.take_back(away.network)
        return visitor

    async def _visitor(self, given: dict[str, str], away: _Away) -> Visitor:
        """Return who has come, once the provider has said it."""
        provider, client = await self._issuer.provider(), self._issuer.client
        named = given.get("iss", client.issuer if not provider.authorization_response_iss_parameter_supported else "")
        if named != client.issuer:
            raise LoginRefused("token", "iss of the answer is another issuer")
        if "error" in given or not given.get("code"):
            raise LoginRefused("denied", "the provider has sent the browser back without a code")
        claims = await self._issuer.claims(given["code"], away.verifier, away.redirect, away.nonce)
        return Visitor(person_of(claims), scope_for(claims, client.rules), away.left)

    def _make_room(self, network: bytes) -> None:
        """Forget the oldest of one address, and of all, if there are too many."""
        of_one = [key for key, away in self._away.items() if away.network == network]
        if len(of_one) > OF_ONE:
            del self._away[of_one[0]]
        if len(self._away) > MOST:
            self._away.popitem(last=False)

    def _now(self) -> Millis:
        return Millis(self._clock.mono() // _NANOS)


def _fields(query: bytes) -> dict[str, str]:
    """Return what a query says; of what it says twice, nothing."""
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=20)
    except ValueError:
        return {}
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
