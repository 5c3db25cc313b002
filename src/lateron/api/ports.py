"""What the API is given: everything outside of it, so that it can be composed and tested."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Protocol

from lateron.api.call import Receive, Scope, Send
from lateron.api.openid import OpenId
from lateron.api.pages import Page
from lateron.api.passwords import Hashing
from lateron.api.sessions import Sessions
from lateron.broker.resources import Identity, Resources
from lateron.broker.views import Answered, Item, KeyPair
from lateron.core.board import Boards
from lateron.core.destination import Destination
from lateron.core.growth import Growth
from lateron.core.quota import Quota
from lateron.core.values import MINUTE, Millis, Tenant, Trace
from lateron.egress.probe import Probe
from lateron.runtime import Clock
from lateron.telemetry import Counters
from lateron.writer import Writer

TESTS: Final = 10  # Of destinations, a minute and user.
IN_FLIGHT_BYTES: Final = 512 << 20  # Of request bodies, all calls together.


async def a_second() -> None:
    """Let a second pass."""
    await asyncio.sleep(1.0)


class Streams:
    """The streams that are open; ``close`` ends them, for the server stops."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.open: Counter[Identity] = Counter()

    def leave(self, who: Identity) -> None:
        """Count a stream less."""
        self.open[who] -= 1
        if not self.open[who]:
            del self.open[who]

    def close(self) -> None:
        """End every stream, and let no other begin."""
        self.closing.set()


class Tests:
    """Counts the tests of destinations that each user makes."""

    def __init__(self) -> None:
        self._made: dict[Tenant, deque[Millis]] = {}

    def wait(self, tenant: Tenant, now: Millis) -> Millis:
        """Count a test; return for how long it must wait instead, 0 if it need not."""
        made = self._made.setdefault(tenant, deque(maxlen=TESTS))
        if len(made) == TESTS and now - made[0] < MINUTE:
            return MINUTE - (now - made[0])
        made.append(now)
        return 0


class CatchingRoom(Protocol):
    """The request catcher; see ``lateron.catcher``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a request and answer it."""

    def names(self, tenant: Tenant) -> list[dict[str, Any]]:
        """List names under which something was caught."""

    def requests(self, tenant: Tenant, name: str) -> list[dict[str, Any]]:
        """List what was caught under a name."""

    def clear(self, tenant: Tenant, name: str | None = None) -> int:
        """Forget what was caught."""


class TracedPublish(Protocol):
    """A request that publishes, as somebody follows it."""

    @property
    def items(self) -> tuple[Item, ...]:
        """Return what to store."""

    def ended(self, result: tuple[Answered, ...] | BaseException) -> None:
        """Take note of what the store answered, or of why it did not."""


class TracingRoom(Protocol):
    """Who follows requests; see ``lateron.tracing``."""

    def publish(self, route: str, items: Sequence[Item], incoming: Trace | None) -> TracedPublish:
        """Follow a request whose items are about to be stored, ``incoming`` being the trace that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """What the console is told of the settings."""

    environment: str  # "dev" or "serve".
    guest: bytes | None = field(default=None, repr=False)  # The token of who need not log in on this machine.
    hosts: Sequence[str] = ()  # Names by which browsers may come; none: any in `serve`, only localhost in `dev`.
    pages: Mapping[str, Page] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside, as functions and rooms."""

    writer: Writer
    clock: Clock
    quota: Quota
    authenticate: Callable[[bytes], Identity | None]  # The bytes of a token -> whose it is.
    resources: Resources  # Its tokens and users; changed on the store's thread only.
    sessions: Sessions  # Of the console.
    keys: Callable[[Tenant], KeyPair | None]
    rotate_keys: Callable[[Tenant], Awaitable[KeyPair]]  # Returns once the new keys are stored.
    check_destination: Callable[[Destination], None]  # Raises InvalidDestination for an address that we refuse.
    request_id: Callable[[], str]
    figures: Callable[[], bytes] = bytes  # All that is counted, as Prometheus reads it.
    info: Callable[[], Mapping[str, Any]] = dict  # What the server says of itself; no secrets.
    settings: Callable[[], Iterable[tuple[str, str, str]]] = tuple  # Name, value and source of each, secrets masked.
    storage: Callable[[], Mapping[str, int]] = dict  # Bytes on the disk; nothing of a store in memory.
    growth: Growth = field(default_factory=Growth)  # Of the store.
    not_ready: Callable[[], str | None] = lambda: None  # Why work should go elsewhere now; None: it should not.
    query_token: Callable[[Identity], bool] = lambda _: True  # Whether a token may come as ?qstash_token=.
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
    catcher: CatchingRoom | None = None
    tracing: TracingRoom | None = None  # None: nobody follows.
    boards: Boards = field(default_factory=Boards)
    streams: Streams = field(default_factory=Streams)
    examine: Callable[[Destination], Awaitable[Probe]] | None = None  # Tests a destination.
    tests: Tests = field(default_factory=Tests)
    console: ConsoleSettings | None = None  # None: there is no console.
    hashing: Hashing = field(default_factory=Hashing)
    openid: OpenId | None = None  # None: nobody logs in by a provider.
    dedup_window_ms: Millis = 10 * MINUTE
    rate_limit: int | None = None  # Management calls a second and token.
    in_flight_bytes: int = IN_FLIGHT_BYTES
    counters: Counters = field(default_factory=Counters)
    pause: Callable[[], Awaitable[object]] = a_second  # Before an answer to who guesses tokens.
