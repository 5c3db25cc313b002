"""What is asked of a provider of OpenID Connect: what it is, its keys, and who came with a code.

Every question is one request of the client that makes deliveries, with bounds of its own: of time, of size, no redirect
followed. What does not change is kept for an hour. A provider that is in trouble is not asked again for some seconds,
and one that signs with a new key is asked for its keys once, and not twice in a minute.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from msgspec import Struct

from lateron.core.destination import parse_destination
from lateron.core.headers import USER_AGENT
from lateron.core.oidc import (
    Expected,
    Provider,
    Rule,
    Tokens,
    basic,
    check_claims,
    discovery_url,
    lacks,
    merged,
    parse_claims,
    parse_provider,
    parse_tokens,
)
from lateron.core.values import HOUR, MINUTE, SECOND, Headers, Millis, Outcome
from lateron.egress import Delivery
from lateron.errors import LoginRefused
from lateron.runtime import Clock
from lateron.telemetry import Log

log = Log("lateron.api")

T = TypeVar("T")

TIMEOUT_MS: Final[Millis] = 10 * SECOND  # Of one request.
MOST_BYTES: Final = 512 * 1024  # Of one answer.
KEPT: Final[Millis] = HOUR
REST: Final[Millis] = 5 * SECOND  # After a failure.
KEYS_REST: Final[Millis] = MINUTE  # Between two looks for a new key.
_NANOS: Final = 1_000_000
_ERROR: Final = re.compile(rb'"error"\s*:\s*"([a-z_]{1,50})"')
_ASKS: Final = (("User-Agent", USER_AGENT), ("Accept", "application/json"))
_FORM: Final = (*_ASKS, ("Content-Type", "application/x-www-form-urlencoded"))


class UnknownKey(LoginRefused):
    """A token names a key that is not among those we know."""


class Keys(Protocol):
    """Keys of a provider; see ``api.idtoken``."""

    def payload(self, token: str, algorithms: Sequence[str]) -> bytes:
        """Return what a token says, if it is signed by one of these keys in one of these ways."""


class Client(Struct, frozen=True):
    """What this server is to a provider."""

    issuer: str
    id: str
    secret: str | None
    scopes: tuple[str, ...]
    rules: tuple[Rule, ...]

    def __repr__(self) -> str:
        """Tell no secret."""
        return f"Client({self.issuer!r}, {self.id!r})"


class Kept(Generic[T]):
    """What was asked once and is kept for a while; several who want it wait for one answer.

    Args:
        ask: Asks for it.
        clock: Ages it, by its monotonic time.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._found: tuple[T, Millis] | None = None
        self._failed: tuple[LoginRefused, Millis] | None = None

    async def get(self, age: Millis = KEPT) -> T:
        """Return it, not older than that.

        Raises:
            LoginRefused: It cannot be had, or could not a moment ago.
        """
        async with self._asking:
            now = Millis(self._clock.mono() // _NANOS)
            if self._found is not None and now - self._found[1] < age:
                return self._found[0]
            if self._failed is not None and now - self._failed[1] < REST:
                raise LoginRefused(self._failed[0].word, str(self._failed[0]))
            try:
                found = await self._ask()
            except LoginRefused as error:
                self._failed = (error, now)
                log.warning("the provider of OpenID Connect cannot be used", reason=str(error))
                raise
            self._found = (found, now)
            return found


class Issuer:
    """A provider, as this server asks it.

    Args:
        client: What we are to it.
        send: Makes a request.
        keys: Reads its keys.
        clock: Of the machine: the provider has no other.
    """

    def __init__(
        self,
        client: Client,
        send: Callable[[Delivery], Awaitable[Outcome]],
        keys: Callable[[bytes], Keys],
        clock: Clock,
    ) -> None:
        self.client = client
        self._send = send
        self._clock = clock
        self._read_keys = keys
        self._provider = Kept(self._describe, clock)
        self._keys = Kept(self._fetch_keys, clock)

    async def provider(self) -> Provider:
        """Return what it says of itself.

        Raises:
            LoginRefused: It says nothing, or nothing that we can use.
        """
        return await self._provider.get()

    async def claims(self, code: str, verifier: str, redirect: str, nonce: str) -> Mapping[str, Any]:
        """Return what it says of whoever came with a code.

        Args:
            code: What the browser brought.
            verifier: What only who began the login knows (RFC 7636).
            redirect: Where the browser was sent back to.
            nonce: Which must be in the token.

        Raises:
            LoginRefused: It takes no such code, or what it says cannot be believed.
        """
        provider = await self.provider()
        tokens = await self._exchanged(provider, code, verifier, redirect)
        claims = parse_claims(await self._verified(provider, tokens.id_token))
        expected = Expected(self.client.issuer, self.client.id, nonce)
        check_claims(claims, expected, self._clock.wall())
        if provider.userinfo_endpoint is not None and tokens.access_token and lacks(claims, self.client.rules):
            own = (("Authorization", f"Bearer {tokens.access_token}"),)
            told = await self._asked("userinfo", provider.userinfo_endpoint, own)
            return merged(claims, parse_claims(told))
        return claims

    async def _describe(self) -> Provider:
        issuer = self.client.issuer
        return parse_provider(await self._asked("description", discovery_url(issuer)), issuer)

    async def _fetch_keys(self) -> Keys:
        provider = await self.provider()
        return self._read_keys(await self._asked("keys", provider.jwks_uri))

    async def _verified(self, provider: Provider, token: str) -> bytes:
        try:
            return (await self._keys.get()).payload(token, provider.algorithms)
        except UnknownKey:
            return (await self._keys.get(KEYS_REST)).payload(token, provider.algorithms)

    async def _exchanged(self, provider: Provider, code: str, verifier: str, redirect: str) -> Tokens:
        """Give a code, and return the tokens for it."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        own: Headers = ()
        client = self.client
        if client.secret is None:
            form["client_id"] = client.id
        elif provider.takes_secret_in_body:
            form |= {"client_id": client.id, "client_secret": client.secret}
        else:
            # Why in ``own``: the other headers of a request are remembered.
            own = (("Authorization", f"Basic {b64encode(basic(client.id, client.secret).encode()).decode()}"),)
        return parse_tokens(await self._asked("token", provider.token_endpoint, own, urlencode(form).encode()))

    async def _asked(self, what: str, url: str, own: Headers = (), form: bytes = b"") -> bytes:
        """Ask something, and return the answer if it is one."""
        method, headers = ("POST", _FORM) if form else ("GET", _ASKS)
        outcome = await self._send(Delivery(0, parse_destination(url), method, headers, form, TIMEOUT_MS, own))
        if outcome.error is not None:
            raise LoginRefused("issuer", f"{what}: {outcome.error}: {outcome.detail}")
        if outcome.truncated:
            raise LoginRefused("issuer", f"{what}: the answer is larger than {MOST_BYTES} bytes")
        if outcome.status != 200:
            named = _ERROR.search(outcome.body)
            why = f" {named[1].decode()}" if named else f" {outcome.detail}" if outcome.detail else ""
            raise LoginRefused("issuer", f"{what}: status {outcome.status}{why}")
        return outcome.body
