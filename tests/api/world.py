"""The API with everything real behind it but the deliveries: store, broker, writer, protocol, socket.

Attempts are handed to the test, which says how each ended. Two tenants: ``ADMIN``, ``READER``,
``PUBLISHER`` and ``MANAGER`` are tokens of the first, ``OTHER`` is the second one's.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from tests.api.raw import Answer, Front, exchange, serving, until

from lateron.api.app import Api
from lateron.api.heads import Limits as ConnectionLimits
from lateron.api.passwords import Hashing
from lateron.api.ports import Ports
from lateron.api.sessions import Sessions
from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.resources import Resources
from lateron.broker.views import KeyPair, Limits, Result
from lateron.catcher import Catcher
from lateron.core.destination import Destination
from lateron.core.password import Cost
from lateron.core.quota import QUOTAS
from lateron.core.values import Claimed, Millis, Outcome, Tenant
from lateron.errors import InvalidDestination
from lateron.runtime import Nanos, SystemClock, id_maker
from lateron.store.sqlite import open_memory
from lateron.writer import Writer

ADMIN, READER, OTHER = "token-of-the-admin", "token-of-the-reader", "token-of-another"
PUBLISHER, MANAGER = "token-of-the-publisher", "token-of-the-manager"
TOKENS = (
    (ADMIN, 1, "admin"),
    (READER, 1, "read"),
    (PUBLISHER, 1, "publish"),
    (MANAGER, 1, "manage"),
    (OTHER, 2, "admin"),
)
NOW: Millis = 1_800_000_000_000
CHEAP = Cost(4, 8, 1)  # What hashing a password costs in this world: next to nothing.
PRIVATE = "10.6.6.6"  # The address that the guard of this world refuses.


class MovableClock(SystemClock):
    """Time as the test says."""

    def __init__(self) -> None:
        self.now: Millis = NOW

    def wall(self) -> Millis:
        return self.now

    def mono(self) -> Nanos:
        return Nanos(self.now * 1_000_000)


class World:
    """A server of the test."""

    def __init__(self, **changes: Any) -> None:
        self.clock = MovableClock()
        self.begun: list[Claimed] = []
        self.room = 100
        self.paused = 0
        self._numbers = itertools.count(1)
        store = open_memory(NOW)
        broker = Broker(store, id_maker(), 7, Limits(), _check)
        broker.open("test", NOW)
        for tenant in (1, 2):
            broker.add_tenant(tenant, f"user{tenant}", NOW)
        self.resources = Resources(
            store, lambda: f"sig_{next(self._numbers)}", lambda _: f"token-{next(self._numbers)}", self.clock.wall
        )
        for token, tenant, scope in TOKENS:
            self.resources.add_token(token.encode(), tenant, scope, scope, NOW)
        for tenant in (1, 2):
            self.resources.set_keys(tenant, KeyPair(f"sig_current{tenant}", f"sig_next{tenant}"), NOW)
        self.store = store
        self.sessions = Sessions(self.clock)
        self.writer = Writer(broker, History(store, Limits()), self.clock, own_readers=False)
        ports = Ports(
            writer=self.writer,
            clock=self.clock,
            quota=QUOTAS["none"],
            authenticate=self.resources.authenticate,
            resources=self.resources,
            sessions=self.sessions,
            keys=self.resources.keys,
            rotate_keys=self._rotate,
            check_destination=_check,
            request_id=lambda: f"id-{next(self._numbers)}",
            catcher=Catcher(self.clock, self._all_keys),
            pause=self._pause,
            boards=broker.boards,
            hashing=Hashing(CHEAP),
        )
        self.api = Api(replace(ports, **changes))
        self.front: Front

    async def ask(
        self,
        method: str,
        target: str,
        token: str | None = ADMIN,
        body: bytes = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Send one request on a connection of its own."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if token is not None:
            pairs.append(("Authorization", f"Bearer {token}"))
        lines = [f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in pairs)])
        (answer,) = await exchange(self.front.port, head.encode("latin-1") + b"\r\n\r\n" + body)
        return answer

    async def publish(self, destination: str = "https://example.com/", body: bytes = b"hi", **options: str) -> str:
        """Publish a message; ``options`` are headers with underscores for dashes. Return its id."""
        headers = {f"Upstash-{name.replace('_', '-')}": value for name, value in options.items()}
        answer = await self.ask("POST", f"/v2/publish/{destination}", ADMIN, body, headers)
        assert answer.status == 201, answer
        return str(answer.json()["messageId"])

    async def fail(self, status: int = 500, body: bytes = b"down", **options: str) -> str:
        """Publish a message that fails at once; return the id of its dead letter."""
        message = await self.publish("https://example.com/", b"hi", Retries="0", **options)
        await self.end(Outcome(status=status, headers=(("Content-Type", "text/plain"),), body=body))
        letters = (await self.ask("GET", "/v2/dlq")).json()["messages"]
        return next(str(letter["dlqId"]) for letter in letters if letter["messageId"] == message)

    async def end(self, outcome: Outcome) -> None:
        """Wait for an attempt to begin, and end it."""
        await until(lambda: self.begun)
        self.writer.settle(Result(self.begun.pop(0), outcome))
        await self.writer.settled()

    async def state(self) -> dict[str, Any]:
        """Return all that a tenant can see, from messages to tokens."""
        lists = ("messages", "events", "dlq", "schedules", "keys", "topics", "queues", "flowControl")
        ours = ("catcher", "destinations", "delivery", "tokens", "users", "jobs", "sessions")
        paths = [*(f"/v2/{name}" for name in lists), *(f"/lateron/v1/{name}" for name in ours)]
        found = {
            f"{token}{path}": (await self.ask("GET", path, token)).json() for path in paths for token in (ADMIN, OTHER)
        }
        for user in (ADMIN, OTHER):
            for token in found[f"{user}/lateron/v1/tokens"]:
                token.pop("lastUsedAt", None)  # To be asked is to be used.
        return found

    async def _rotate(self, tenant: Tenant) -> KeyPair:
        return await self.writer.run(lambda _, now: self.resources.rotate_keys(tenant, now))

    async def _pause(self) -> None:
        self.paused += 1

    def _all_keys(self) -> dict[Tenant, Sequence[str]]:
        pairs = {tenant: self.resources.keys(tenant) for tenant in (1, 2)}
        return {tenant: (pair.current, pair.next) for tenant, pair in pairs.items() if pair is not None}


FAST = True  # Whether publishes take the fast lane; a test of both ways patches it.


@asynccontextmanager
async def living(limits: ConnectionLimits | None = None, **changes: Any) -> AsyncIterator[World]:
    """Open a world; ``changes`` replace what the API is given."""
    world = World(**changes)
    async with serving(world.api, limits, lane=world.api.lane if FAST else None) as world.front:
        world.writer.attach(lambda: world.room, world.begun.extend, lambda _: None)
        yield world
    await world.writer.close()
    world.store.close()


def _check(destination: Destination) -> None:
    if destination.host == PRIVATE:
        raise InvalidDestination(destination.url, "a private address")


TRUSTED = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))


def as_json(content: Any) -> bytes:
    """Return JSON as a client sends it."""
    return json.dumps(content).encode()
