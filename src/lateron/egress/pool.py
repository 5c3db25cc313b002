"""Connections kept for the next delivery, and the count of all that are open.

A connection is kept under everything that made it what it is: tenant, scheme, address, port and name. So
a delivery never travels on a connection that another tenant opened, that was verified for another name, or
that leads to an address the guard has not just judged. The newest is taken first: it is the least likely
to have been closed by the other side, and the old ones run into their time limit.
"""

from __future__ import annotations

import asyncio

from lateron.egress.connection import NEVER, Connection, Key
from lateron.runtime import Nanos


class Pool:
    """What is open, and what of it is idle."""

    def __init__(self, per_key: int, idle_ns: int) -> None:
        self._per_key = per_key
        self._idle_ns = idle_ns
        self._idle: dict[Key, list[Connection]] = {}  # Oldest first, also within a key.
        self.open: set[Connection] = set()
        self.empty = asyncio.Event()  # Set when the last one has gone.

    def take(self, key: Key, now: Nanos) -> Connection | None:
        """Return an idle connection to use, or None."""
        stack = self._idle.get(key)
        while stack:
            connection = stack.pop()
            if not stack:
                del self._idle[key]
            if connection.reusable and now - connection.ended_at <= self._idle_ns:
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep a reusable connection under its key."""
        key = connection.key
        stack = self._idle.get(key)
        if stack is None:
            stack = self._idle[key] = []
        if len(stack) >= self._per_key:
            connection.close()
            return
        stack.append(connection)

    def forget(self, connection: Connection) -> None:
        """Take note that a connection is closed."""
        self.open.discard(connection)
        if not self.open:
            self.empty.set()
        key = connection.key
        stack = self._idle.get(key)
        if stack is not None and connection in stack:
            stack.remove(connection)
            if not stack:
                del self._idle[key]

    def evict(self) -> bool:
        """Close one idle connection to make room; False if all are in use."""
        for key, stack in self._idle.items():
            stack.pop(0).close()
            if not stack:
                del self._idle[key]
            return True
        return False

    def deadline(self) -> Nanos | None:
        """Return when the first exchange must end; None if none is under way."""
        first = min((connection.deadline for connection in self.open), default=NEVER)
        return None if first == NEVER else first

    def sweep(self, now: Nanos) -> None:
        """End exchanges whose time is up, and close what has been idle for too long."""
        for connection in [one for one in self.open if one.deadline <= now]:
            connection.expire()
        for key in list(self._idle):
            stack = self._idle[key]
            while stack and now - stack[0].ended_at > self._idle_ns:
                stack.pop(0).close()
            if not stack:
                del self._idle[key]
