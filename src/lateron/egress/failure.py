"""Why an attempt could not be made or finished: the error class of an ``Outcome`` and a sentence.

It is raised inside this package only, where a path of several awaits has to be left; ``Egress.send``
turns it into the value everybody else sees.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

# The machine, not the receiver, is short of something: the attempt says nothing about the destination.
_LOCAL: Final = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN,
})  # fmt: skip
_NO_IPV6: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection aborted",
    errno.EPIPE: "connection closed",
    errno.ETIMEDOUT: "no reaction from the other side",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
}


class Failure(Exception):
    """An attempt ends here."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error  # One of ``values.ERROR_CLASSES``.
        self.detail = detail


def os_failure(problem: OSError, where: str, error: str) -> Failure:
    """Say what the operating system reported, in words that do not differ between loops and systems.

    Args:
        problem: What was raised.
        where: The address and port, or another place.
        error: The class, unless this machine itself is the reason.
    """
    number = problem.errno
    if number in _LOCAL:
        return Failure("local", f"this machine could not open a connection: {os.strerror(number)}")
    words = _WORDS.get(number) if number is not None else None
    if words is None:
        words = os.strerror(number) if number else "connection failed"
    return Failure(error, f"{words} ({where})")


def connect_failure(problem: OSError, address: str, where: str) -> Failure:
    """Say why an address could not be connected to.

    Args:
        problem: What was raised.
        address: A canonical one.
        where: The address and port, for people.
    """
    # Why by family: of IPv4 it says that all local ports are taken, which passes; of IPv6, nearly always, that this
    # machine has no address of that kind. To wait for one would be to wait for ever.
    if ":" in address and problem.errno in _NO_IPV6:
        return Failure("connect", f"this machine has no IPv6 to reach it by ({where})")
    return os_failure(problem, where, "connect")


def name_failure(problem: OSError, host: str) -> Failure:
    """Say why a name did not resolve."""
    if isinstance(problem, socket.gaierror):
        if problem.errno == socket.EAI_MEMORY:
            return Failure("local", "this machine could not look up a name: out of memory")
        if problem.errno == socket.EAI_AGAIN:
            return Failure("dns", f"the name server did not answer for {host}")
        return Failure("dns", f"{host} does not resolve")
    failure = os_failure(problem, host, "dns")
    return failure if failure.error == "local" else Failure("dns", f"{host} does not resolve: {failure.detail}")


def tls_failure(problem: OSError, where: str) -> Failure:
    """Say why the handshake failed."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Failure("tls", f"certificate of {where} refused: {problem.verify_message}")
    if isinstance(problem, ssl.SSLError):
        return Failure("tls", f"TLS handshake failed ({where}): {(problem.reason or 'unknown').lower()}")
    if problem.errno in _LOCAL:
        return os_failure(problem, where, "tls")
    return Failure("tls", f"connection closed during the TLS handshake ({where})")
