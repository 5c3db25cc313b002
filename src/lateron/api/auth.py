"""Who is calling, from where, and how often.

A token comes as ``Authorization: Bearer <token>``, or as ``?qstash_token=`` where a webhook cannot send
headers. What it stands for is the business of the function we are given; here it is found, once and
unambiguously: two ``Authorization`` headers are none. Whatever is wrong with it, the answer is the same.

Addresses are those of the peer. A proxy's word about whom it speaks for is taken only from networks that
the operator named, and a client can never say it of himself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from lateron.api.call import Answer, refusal
from lateron.broker.resources import Identity
from lateron.core.values import MINUTE, SECOND, Millis, Tenant
from lateron.errors import Forbidden, Unauthorized
from lateron.runtime import Clock

OPERATOR: Final[Tenant] = 1  # The first user of a server; what concerns all users is theirs.
MAX_TOKEN: Final = 4096
MAX_HOPS: Final = 64  # Of X-Forwarded-For.

Authenticate = Callable[[bytes], Identity | None]


def require_operator(who: Identity, what: str) -> None:
    """Do nothing if a caller is the first user of this server.

    Args:
        who: The caller.
        what: What only that one may do.

    Raises:
        Forbidden: He is another one.
    """
    if who.tenant != OPERATOR:
        raise Forbidden(f"forbidden: only the first user of this server may {what}")


class Token(NamedTuple):
    """What a request says about who sent it."""

    token: bytes | None  # None: none, a bad one, or more than one.
    in_query: bool


def token_of(authorizations: Sequence[bytes], query: bytes) -> Token:
    """Return the token of a request.

    Args:
        authorizations: The ``Authorization`` headers of the request; if there is any, the query does not count.
        query: Of its target, undecoded.
    """
    return Token(_bearer(authorizations), False) if authorizations else Token(_from_query(query), True)


def identify(token: Token, authenticate: Authenticate, query_token: Callable[[Identity], bool]) -> Identity:
    """Return who is calling.

    Args:
        token: As ``token_of`` found it.
        authenticate: Knows tokens.
        query_token: Whether the token of this identity may come in the query string.

    Raises:
        Unauthorized: No token, a bad one, or more than one; always with the same text.
    """
    identity = None if token.token is None else authenticate(token.token)
    if identity is None or (token.in_query and not query_token(identity)):
        raise Unauthorized("unauthorized: send a valid token as Authorization: Bearer <token>")
    return identity


def _bearer(values: Sequence[bytes]) -> bytes | None:
    if len(values) != 1:
        return None
    scheme, _, token = values[0].strip().partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and 0 < len(token) <= MAX_TOKEN else None


def _from_query(query: bytes) -> bytes | None:
    """Return the token in a query string; none if it is there twice."""
    found = None
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if b"%" in name:
            name = unquote_to_bytes(name)
        if name == b"qstash_token":
            if found is not None:
                return None
            found = unquote_to_bytes(value.replace(b"+", b" "))
    return found if found and len(found) <= MAX_TOKEN else None


class Proxies:
    """Which peers are proxies that speak for others."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self.trusts = lru_cache(maxsize=4096)(self._trusts) if networks else _never

    def caller(self, peer: str | None, forwarded_for: Sequence[bytes]) -> str | None:
        """Return the address of the caller.

        The list grows at its right end, so it is read from there, and only as far as trusted proxies wrote it.

        Args:
            peer: Address of the other end of the connection; None for a socket without one.
            forwarded_for: The ``X-Forwarded-For`` headers.
        """
        if peer is None or not forwarded_for or not self.trusts(peer):
            return peer
        caller = peer
        words = b",".join(forwarded_for).split(b",")
        for word in reversed(words[-MAX_HOPS:]):
            try:
                address = str(ip_address(word.strip().decode("ascii")))
            except ValueError:
                return caller
            caller = address
            if not self.trusts(address):
                return caller
        return caller

    def _trusts(self, address: str) -> bool:
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        return any(mapped in network for network in self._networks)


def _never(_: str) -> bool:
    return False


def network_of(address: str | None) -> bytes:
    """Return what failures of an address are counted for; nothing for a socket without one.

    Of IPv6 the first 64 bits: the others are its owner's to choose.
    """
    if address is None:
        return b""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return sha256(address.encode()).digest()
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.packed if ip.version == 4 else ip.packed[:8]


class Failures:
    """Bad tokens by address: guessing is slowed down, and nobody with a good token is kept out."""

    FREE: Final = 20  # A minute; a wrong setting in a client must not be slowed down at once.
    ADDRESSES: Final = 10_000
    NOTED: Final = 100  # Failed logins a minute that are kept in the audit log, whoever they come from.

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[bytes, tuple[Millis, int]] = OrderedDict()
        self._noted: tuple[Millis, int] = (0, 0)

    def slow_down(self, address: str | None) -> bool:
        """Count a failure of ``address``, and say whether its answer should wait."""
        if address is None:
            return False
        minute, network = self._clock.wall() // MINUTE, network_of(address)
        last, count = self._seen.pop(network, (minute, 0))
        count = count + 1 if last == minute else 1
        self._seen[network] = (minute, count)
        if len(self._seen) > self.ADDRESSES:
            self._seen.popitem(last=False)
        return count > self.FREE

    def are_noted(self) -> bool:
        """Count a failed login, and say whether it is still one to be kept: addresses may be many, disks are not."""
        minute = self._clock.wall() // MINUTE
        last, count = self._noted
        count = count + 1 if last == minute else 1
        self._noted = (minute, count)
        return count <= self.NOTED


class RateLimit:
    """How many management calls a second a token may make."""

    def __init__(self, limit: int | None, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._second = 0
        self._used: dict[tuple[int, bool, str], int] = {}

    def take(self, identity: Identity) -> Answer | None:
        """Count a call; return the answer if it is one too many."""
        if self._limit is None:
            return None
        second = self._clock.wall() // SECOND
        if second != self._second:
            self._second = second
            self._used.clear()
        key = (identity.tenant, identity.person, identity.name)
        used = self._used[key] = self._used.get(key, 0) + 1
        if used <= self._limit:
            return None
        headers = (
            (b"burst-ratelimit-limit", str(self._limit).encode()),
            (b"burst-ratelimit-remaining", b"0"),
            (b"burst-ratelimit-reset", str(second + 1).encode()),
            (b"retry-after", b"1"),
        )
        return refusal(429, f"rate limit: at most {self._limit} calls a second", headers)
