"""Publishes by the fast lane and by the long way, in worlds that are otherwise the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from tests.api import world as world_room
from tests.api.raw import Client, run_on
from tests.api.world import ADMIN, World, living

from lateron.api.heads import Limits
from lateron.api.publish import Entry, Reply

AUTH = f"Authorization: Bearer {ADMIN}\r\n".encode()
DATE = (b"date", b"Sun, 22 Nov 2026 05:00:00 GMT")
MESSAGE = re.compile(rb"msg_[0-9a-f]{32}|'cursor': '[^']*'")  # Of what is different in each world.
MASK = b"msg_" + b"x" * 32  # As long as what it hides, so that answers can still be parsed.
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def post(target: bytes, *lines: bytes, body: bytes = b"hi", auth: bytes = AUTH) -> bytes:
    """Return a publish as a client sends it."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n" % (target, auth, len(body))
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


GOOD = post(b"/v2/publish/https://h/")


class Way(NamedTuple):
    """A world that serves publishes in one way, and how many of them its lane has served."""

    world: World
    served: list[bytes]

    async def tell(self, data: bytes) -> bytes:
        """Send ``data`` and return what comes back until the server closes, ids of messages masked."""
        client = await Client.connect(self.world.front.port)
        await client.send(data)
        received = await client.rest()
        await client.close()
        return MESSAGE.sub(MASK, received)

    async def kept(self) -> Any:
        """Return what is stored and counted, ids of messages masked."""
        await self.world.writer.settled()
        begun = [(claimed.request, claimed.message.due, claimed.message.state) for claimed in self.world.begun]
        state = MESSAGE.sub(MASK, repr(await self.world.state()).encode())
        ports = self.world.api._ports
        return begun, state, ports.counters.snapshot(), self.world.api._in_flight.taken, self.world.paused


@asynccontextmanager
async def way(fast: bool, limits: Limits | None = None, **changes: Any) -> AsyncIterator[Way]:
    """Open a world whose publishes take the lane, or do not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_room, "FAST", fast)
        async with living(limits, **changes) as world:
            served: list[bytes] = []
            honest = world.api.lane.publish

            def publish(entry: Entry, body: bytes, reply: Reply) -> None:
                served.append(entry.rest)
                honest(entry, body, reply)

            patch.setattr(world.api.lane, "publish", publish)
            world.front.state.default_headers = [DATE]
            yield Way(world, served)


class Ways:
    """The lane and the long way side by side, given the same bytes."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self._contexts: list[Any] = []
        self.lane = self._open(fast=True)
        self.long = self._open(fast=False)

    def _open(self, *, fast: bool) -> Way:
        context = way(fast)
        opened: Way = self.runner.run(context.__aenter__())
        self._contexts.append(context)
        return opened

    def tell(self, data: bytes) -> bytes:
        """Send bytes to both, hold them to the same answer, and return it."""
        short = self.runner.run(self.lane.tell(data))
        assert short == self.runner.run(self.long.tell(data))
        return short

    def check_kept(self) -> None:
        assert self.runner.run(self.lane.kept()) == self.runner.run(self.long.kept())
        assert self.long.served == []

    def close(self) -> None:
        for context in reversed(self._contexts):
            self.runner.run(context.__aexit__(None, None, None))


def on_the_lane(test: Callable[[Way], Awaitable[None]], loop: str = "asyncio", **changes: Any) -> None:
    """Run a test in a world with a lane."""

    async def run() -> None:
        async with way(True, **changes) as opened:
            await test(opened)

    run_on(loop, run())
