"""Listening: the same port on every address."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from errno import EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT
from typing import Final

from lateron.config import InvalidSettings

_TRIES: Final = 20  # To find a port that is free on all addresses.
_NO_SUCH_ADDRESS: Final = {EADDRNOTAVAIL, EAFNOSUPPORT}


def listen(hosts: Sequence[str], port: int, *, optional: frozenset[str] = frozenset()) -> list[socket.socket]:
    """Bind one socket for each address, all with one port, ready for ``loop.create_server``.

    Args:
        hosts: Addresses or names; a name stands for all its addresses.
        port: 0 takes one that is free on all of them.
        optional: Hosts to leave out if this machine does not have them, as ``::1`` without IPv6.

    Raises:
        InvalidSettings: An address is not ours, or the port is taken.
    """
    for attempt in range(_TRIES):
        try:
            return _bind_all(hosts, port, optional)
        except OSError as error:
            # A port that the system chose on the first address may be taken on the second.
            if port == 0 and error.errno == EADDRINUSE and attempt < _TRIES - 1:
                continue
            hint = "; is another server running?" if error.errno == EADDRINUSE else ""
            raise InvalidSettings(f"cannot listen on {error.filename or hosts}: {error.strerror}{hint}") from None
    raise AssertionError("the last try returns or raises")


def shown_host(hosts: Sequence[str]) -> str:
    """Return the host to print in a URL: one that a client on this machine can use."""
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")):
        if host in hosts:
            return shown
    return f"[{hosts[0]}]" if ":" in hosts[0] else hosts[0]


def _bind_all(hosts: Sequence[str], port: int, optional: frozenset[str]) -> list[socket.socket]:
    with ExitStack() as undo:
        bound: list[socket.socket] = []
        for host in hosts:
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            except socket.gaierror as error:
                raise OSError(error.errno, error.strerror, host) from None
            for family, address in dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found):
                chosen = bound[0].getsockname()[1] if bound and port == 0 else port
                try:
                    bound.append(_bind(family, address, chosen))
                except OSError as error:
                    if host in optional and error.errno in _NO_SUCH_ADDRESS:
                        continue
                    raise OSError(error.errno, error.strerror, f"{address} port {chosen}") from None
                undo.callback(bound[-1].close)
        if not bound:
            raise OSError(EADDRNOTAVAIL, "no such address on this machine", ", ".join(hosts))
        undo.pop_all()
        return bound


def _bind(family: int, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own.
        made.bind((address, port))
        # Listening at once, so that a second process meets EADDRINUSE here and not after its store was opened.
        made.listen(2048)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
