"""Every exception this package raises on purpose.

The tree has one branch per person who must act:

* ``RequestError``  the caller must change the request. It becomes a 4xx answer.
* ``ServiceError``  an operator must look, or time must pass. It becomes a 5xx answer.

A third kind has no class here: a broken invariant is a bug, is written as ``assert``, and is
never caught. A delivery that fails is not an error either; it is an ``Outcome``, a value which
``core.message`` turns into a retry or a dead letter.
"""

from __future__ import annotations

from typing import ClassVar


class LateronError(Exception):
    """Base of all exceptions raised on purpose; never raised itself."""

    status: ClassVar[int]  # HTTP status the API answers with.


class RequestError(LateronError):
    """The request cannot be served as it stands."""

    status = 400


class InvalidValue(RequestError):
    """A header, query parameter or field of the request has a value we cannot read."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        shown = repr(value)
        if len(shown) > 200:
            shown = f"{shown[:200]}... ({len(shown)} characters)"
        super().__init__(f"{name}: expected {expected}, got {shown}")
        self.name = name


class InvalidDestination(RequestError):
    """The destination is not a URL that we would request."""

    def __init__(self, url: str, reason: str) -> None:
        shown = url if len(url) <= 200 else f"{url[:200]}..."
        super().__init__(f"destination {shown!r}: {reason}")


class Unauthorized(RequestError):
    """No token, or none that we know."""

    status = 401


class Forbidden(RequestError):
    """The token is known and may not do this."""

    status = 403


class NotFound(RequestError):
    """No resource of that kind has that name."""

    status = 404

    def __init__(self, kind: str, name: str, hint: str = "") -> None:
        super().__init__(f"{kind} {name} not found{hint}")


class Conflict(RequestError):
    """The request can be served in another state of the thing, not in this one."""

    status = 409


class QuotaExceeded(RequestError):
    """The request asks for more than the quota of this server allows."""

    status = 412

    def __init__(self, name: str, value: object, limit: object) -> None:
        super().__init__(f"{name}: the quota allows at most {limit}, got {value}")
        self.name = name


class TooLarge(RequestError):
    """The body is larger than the quota allows."""

    status = 413


class TooManyTries(RequestError):
    """Somebody has failed to log in too often; he may try again in ``retry_after`` seconds."""

    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many failed logins; try again in {retry_after} s")
        self.retry_after = retry_after


class LoginRefused(RequestError):
    """A login by OpenID Connect is none; the text is for the log, and holds nothing secret."""

    status = 401

    def __init__(self, word: str, reason: str, person: str = "") -> None:
        super().__init__(reason)
        self.word = word  # What the page for logging in explains: a key of ``api.openid.WORDS``.
        self.person = person  # Who it is, if the provider has said so.


class ServiceError(LateronError):
    """The service cannot serve a correct request now."""

    status = 503


class NotSupported(ServiceError):
    """A part of the API that is not built yet: refused, never accepted and then useless."""

    status = 501


class Overloaded(ServiceError):
    """Too much is waiting to be stored; the caller should come back in ``retry_after`` seconds."""

    status = 503
    retry_after = 1


class StoreBusy(Overloaded):
    """Another program holds the file of the store; nothing was stored, and a later try may succeed."""


class StorageFull(ServiceError):
    """The disk under the store is full; nothing was stored."""

    status = 507


class StoreFailed(ServiceError):
    """The store reported an I/O error: what was in flight is unknown, and the process must end."""


class StoreLocked(ServiceError):
    """Another process already runs on this data directory."""
