"""What of a login by OpenID Connect is believed, and whom the operator lets in by it.

A provider is a server that says who somebody is. What it says comes as claims in a signed token; that the signature is
good was seen before (``api.idtoken``). Here is what else must hold (OpenID Connect Core, 3.1.3.7), and what it is
worth: nobody comes in unless a rule of the operator names a claim he has::

    email=ops@example.org:manage      an address, which the provider must have verified
    groups=viewers:read               one text of several

The first rule that fits decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec
from msgspec import Struct

from lateron.core.destination import is_loopback, parse_destination
from lateron.core.token import GRANTS
from lateron.core.values import MINUTE, Millis
from lateron.errors import InvalidDestination, LoginRefused

# Each is verified with a public key. Nothing else is ever taken, whatever a provider announces: with HS256 that key
# would be the secret, and it is public.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
LEEWAY: Final[Millis] = MINUTE  # By how much the clock of a provider may differ from ours.
NAMED: Final = 100  # Characters of a name.

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # What bytes that are no JSON raise.

_LATEST: Final = 1e12  # Seconds since 1970.
_SUBJECT: Final = 255  # The longest that the standard allows.
_CLAIM: Final = re.compile(r"[!-<>-~]{1,200}")
_PATH: Final = "/.well-known/openid-configuration"


class Rule(Struct, frozen=True):
    """Whom the operator lets in, and what they may do."""

    claim: str
    value: str  # The claim is this text, or a list in which it is.
    scope: str

    def __str__(self) -> str:
        """Return it as it was written."""
        return f"{self.claim}={self.value}:{self.scope}"


class Provider(Struct, frozen=True):
    """What a provider says of itself (OpenID Connect Discovery); lists that it may leave out are then empty."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Return how it signs, as far as we take it."""
        return tuple(name for name in ALGORITHMS if name in self.id_token_signing_alg_values_supported)

    @property
    def takes_secret_in_body(self) -> bool:
        """Whether the secret of a client goes into the form; by default it goes into a header."""
        methods = self.token_endpoint_auth_methods_supported
        return "client_secret_post" in methods and "client_secret_basic" not in methods


class Tokens(Struct, frozen=True):
    """What a provider gives for a code."""

    id_token: str
    access_token: str = ""

    def __repr__(self) -> str:
        """Tell neither."""
        return "Tokens()"


class Expected(Struct, frozen=True):
    """What the claims of one login must be."""

    issuer: str
    client: str
    nonce: str

    def __repr__(self) -> str:
        """Tell no nonce."""
        return f"Expected({self.issuer!r}, {self.client!r})"


def parse_rule(text: str) -> Rule:
    """Read ``claim=value:scope``.

    Raises:
        ValueError: It is something else.
    """
    claim, _, rest = text.partition("=")
    value, _, scope = rest.rpartition(":")
    if not _CLAIM.fullmatch(claim) or not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError
    if scope not in GRANTS:
        raise ValueError
    return Rule(claim, value, scope)


def parse_issuer(text: str) -> str:
    """Read the address of a provider.

    Raises:
        ValueError: It is none, or would be asked in a way that anybody on the way can read and change.
    """
    if "?" in text or not is_safe(text):
        raise ValueError
    return text


def is_safe(url: str) -> bool:
    """Whether nobody on the way can read or change what goes to an address: HTTPS, or this machine itself."""
    try:
        place = parse_destination(url)
    except InvalidDestination:
        return False
    return place.scheme == "https" or is_loopback(place.host)


def discovery_url(issuer: str) -> str:
    """Return where a provider says what it is."""
    return issuer.removesuffix("/") + _PATH


def parse_provider(body: bytes, issuer: str) -> Provider:
    """Read what a provider says of itself.

    Raises:
        LoginRefused: It is another one, or one that cannot be used.
    """
    try:
        found = msgspec.json.decode(body, type=Provider)
    except UNREADABLE as error:
        raise LoginRefused("issuer", f"its description cannot be read: {error}") from None
    if found.issuer != issuer:
        raise LoginRefused("issuer", f"it calls itself {found.issuer[:200]!r}, and oidc-issuer is {issuer!r}")
    places = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint)
    if not all(is_safe(place) for place in places if place is not None):
        raise LoginRefused("issuer", "one of its addresses is no HTTPS")
    if not found.algorithms:
        raise LoginRefused("issuer", f"it signs by none of {', '.join(ALGORITHMS)}")
    return found


def parse_tokens(body: bytes) -> Tokens:
    """Read what a provider gives for a code.

    Raises:
        LoginRefused: There is no ID token in it.
    """
    try:
        return msgspec.json.decode(body, type=Tokens)
    except UNREADABLE:
        raise LoginRefused("issuer", "its answer to a code holds no ID token") from None


def parse_claims(body: bytes) -> dict[str, Any]:
    """Read claims.

    Raises:
        LoginRefused: They are no object of JSON.
    """
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        raise LoginRefused("token", "its claims cannot be read") from None


def basic(client: str, secret: str) -> str:
    """Return name and password of a client as they stand in a header, before base64 (RFC 6749, 2.3.1)."""
    return f"{quote_plus(client)}:{quote_plus(secret)}"


def check_claims(claims: Mapping[str, Any], expected: Expected, now: Millis) -> None:
    """Refuse the claims of an ID token that are not about this login.

    Raises:
        LoginRefused: What is wrong; no value of a claim is told.
    """
    if claims.get("iss") != expected.issuer:
        raise LoginRefused("token", "iss is another issuer")
    _check_audience(claims, expected.client)
    ends, made, begins = _time_of(claims, "exp"), _time_of(claims, "iat"), _time_of({"nbf": 0, **claims}, "nbf")
    if now >= ends + LEEWAY:
        raise LoginRefused("token", "exp has passed; compare the clocks")
    if max(made, begins) > now + LEEWAY:
        raise LoginRefused("token", "iat or nbf is in the future; compare the clocks")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not compare_digest(nonce.encode("utf-8", "replace"), expected.nonce.encode()):
        raise LoginRefused("token", "nonce is another one")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT:
        raise LoginRefused("token", "sub is missing")


def _check_audience(claims: Mapping[str, Any], client: str) -> None:
    """Refuse a token that was made for another client, or for several if it is another one's."""
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if client not in several:
        raise LoginRefused("token", "aud is another client")
    if ("azp" in claims or len(several) > 1) and claims.get("azp") != client:
        raise LoginRefused("token", "azp is another client")


def _time_of(claims: Mapping[str, Any], name: str) -> Millis:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LATEST:
        raise LoginRefused("token", f"{name} is no time")
    return Millis(value * 1000)


def merged(claims: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of an ID token with those that its provider told beside it; the token's go first.

    An address and whether it was verified come from the same place: the word of one says nothing about the other.

    Raises:
        LoginRefused: They are about somebody else.
    """
    if told.get("sub") != claims["sub"]:
        raise LoginRefused("token", "userinfo is about another sub")
    pair = claims if "email" in claims else told
    both = {**told, **claims}
    for name in ("email", "email_verified"):
        both.pop(name, None)
        if name in pair:
            both[name] = pair[name]
    return both


def lacks(claims: Mapping[str, Any], rules: Iterable[Rule]) -> bool:
    """Whether a rule asks for a claim that is not among these."""
    return any(rule.claim not in claims for rule in rules)


def scope_for(claims: Mapping[str, Any], rules: Sequence[Rule]) -> str:
    """Return what somebody with these claims may do: the scope of the first rule that fits.

    Raises:
        LoginRefused: None does.
    """
    unverified = False
    for rule in rules:
        if _fits(rule, claims.get(rule.claim)):
            if rule.claim != "email" or claims.get("email_verified") is True:
                return rule.scope
            unverified = True
    if unverified:
        raise LoginRefused("unverified", "the provider has not verified the address", person_of(claims))
    raise LoginRefused("nobody", "no rule of oidc-allow fits", person_of(claims))


def _fits(rule: Rule, value: object) -> bool:
    if rule.claim == "email":
        # Why ASCII alone: beyond it letters of several alphabets have the same small one.
        return isinstance(value, str) and value.isascii() and value.lower() == rule.value.lower()
    return rule.value in (value if isinstance(value, list) else [value])


def person_of(claims: Mapping[str, Any]) -> str:
    """Return what somebody is called here: the address, if it was verified, else what the provider calls him.

    The names of users with a password have no colon, so nobody can be called as one of them.
    """
    address = claims.get("email")
    told = address if isinstance(address, str) and claims.get("email_verified") is True else str(claims["sub"])
    return "oidc:" + "".join(letter if "!" <= letter <= "~" else "?" for letter in told[:NAMED])
