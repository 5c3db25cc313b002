"""From a list of addresses, all of them allowed, to one open connection.

The address that was judged is the address that is connected to: sockets are connected to literal
addresses only, and afterwards the kernel is asked whom it connected to. TLS, where it is spoken, is
checked against the *name* of the destination.

Several addresses race, as RFC 8305 describes it: families take turns, an attempt that has not succeeded
after a quarter of a second gets a competitor, one that fails makes room at once, and the first connection
wins. So a name whose first address is dead costs a quarter of a second and not a timeout.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Final

from msgspec import Struct

from lateron.egress.connection import Connection
from lateron.egress.failure import Failure, connect_failure, tls_failure
from lateron.egress.guard import canonical
from lateron.runtime import Nanos

SHUTDOWN_S: Final = 1.0  # How long a TLS peer may take to say goodbye.


class Course(Struct):
    """How far an attempt has come; filled in on the way, and shown however the attempt ends."""

    stage: str = "looking up the name"
    peer: str | None = None
    dns: int | None = None  # Microseconds, as in ``values.Phases``.
    connect: int | None = None
    tls: int | None = None
    reused: bool = False  # The connection was a kept one.


class Dialer:
    """Opens connections."""

    def __init__(self, tls: ssl.SSLContext, mono: Callable[[], Nanos], delay_ms: int) -> None:
        self._tls = tls
        self._mono = mono
        self._delay_s = delay_ms / 1000

    async def connect(
        self,
        addresses: Sequence[str],
        port: int,
        name: str | None,
        course: Course,
        make: Callable[[str, str], Connection],
    ) -> Connection:
        """Open a connection to one of the addresses.

        Args:
            addresses: Canonical ones, allowed by the guard; at least one.
            port: On each of them.
            name: Speak TLS, and expect a certificate for this name; None: plain text.
            course: Where to note stage and times.
            make: Makes the protocol of an address and its text for people.

        Raises:
            Failure: Class "connect", "tls" or "local".
        """
        began = self._mono()
        course.stage = "connecting"
        address, sock = await self._race(addresses, port)
        connected = self._mono()
        course.connect = (connected - began) // 1000
        course.peer = peer = _shown(address, port)
        loop = asyncio.get_running_loop()
        if name is None:
            _, plain = await loop.create_connection(lambda: make(address, peer), sock=sock)
            return plain
        course.stage = "in the TLS handshake"
        try:
            _, secured = await loop.create_connection(
                lambda: make(address, peer),
                sock=sock,
                ssl=self._tls,
                server_hostname=name.removesuffix("."),
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as problem:
            raise tls_failure(problem, peer) from None
        finally:
            course.tls = (self._mono() - connected) // 1000
        return secured

    async def _race(self, addresses: Sequence[str], port: int) -> tuple[str, socket.socket]:
        if len(addresses) == 1:
            return addresses[0], await _open_socket(addresses[0], port)
        waiting = _alternating(addresses)
        running: dict[asyncio.Task[socket.socket], str] = {}
        failures: list[Failure] = []
        try:
            while waiting or running:
                if waiting:
                    address = waiting.pop(0)
                    running[asyncio.create_task(_open_socket(address, port))] = address
                patience = self._delay_s if waiting else None
                done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    problem = task.exception()
                    if problem is None:
                        return running.pop(task), task.result()
                    del running[task]
                    if not isinstance(problem, Failure):
                        raise problem
                    failures.append(problem)
        finally:
            await _forget(running)
        # Why not simply the first: what this machine lacked for one address says nothing about the others.
        first = next((failure for failure in failures if failure.error != "local"), failures[0])
        raise Failure(first.error, f"{first.detail}, and {len(failures) - 1} more addresses failed")


async def _open_socket(address: str, port: int) -> socket.socket:
    """Connect a socket to exactly this address."""
    where = _shown(address, port)
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as problem:
        raise connect_failure(problem, address, where) from None
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
        reached = canonical(sock.getpeername()[0])
    except OSError as problem:
        sock.close()
        raise connect_failure(problem, address, where) from None
    except BaseException:
        sock.close()
        raise
    if reached != address:
        sock.close()
        raise Failure("blocked", f"asked for {address}, the system connected to {reached}")
    return sock


def _alternating(addresses: Sequence[str]) -> list[str]:
    """Let the families take turns, beginning with that of the first address; the system's order otherwise."""
    first_is_six = ":" in addresses[0]
    same = [address for address in addresses if (":" in address) is first_is_six]
    other = [address for address in addresses if (":" in address) is not first_is_six]
    return [address for address in chain.from_iterable(zip_longest(same, other)) if address is not None]


async def _forget(tasks: dict[asyncio.Task[socket.socket], str]) -> None:
    """End the attempts that lost, and close what they opened in the meantime."""
    for task in tasks:
        task.cancel()
    for opened in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(opened, socket.socket):
            opened.close()


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
