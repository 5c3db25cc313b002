"""What a receiver does, whatever its framework: verify a request, and say what was delivered.

A request is believed if its ``Upstash-Signature`` was made with one of the two keys, for this body, for this URL, and
lately. The URL is the part that goes wrong: the server signed the one it was told to call, and an application behind
a proxy sees another. So it is chosen openly, in this order::

    url       the URL itself, or a function of the framework's request that returns it
    base_url  scheme, host and perhaps a prefix, as the world sees them; path and query are those of the request
    neither   scheme and host as the framework tells them (which may know its proxy), path and query of the request

Two spellings of one URL are the same one: case of scheme and host, and a port that goes without saying. Path and
query are compared byte for byte where the framework has kept the bytes, else after decoding both.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, unquote

from lateron.core.destination import parse_destination
from lateron.core.signature import Claims, Refused, verify
from lateron.errors import InvalidDestination
from lateron.runtime import SystemClock

CURRENT: Final = "QSTASH_CURRENT_SIGNING_KEY"
NEXT: Final = "QSTASH_NEXT_SIGNING_KEY"
NON_RETRYABLE: Final = 489
NON_RETRYABLE_HEADERS: Final = {"Upstash-NonRetryable-Error": "true"}

R = TypeVar("R")  # The request of a framework.


class Unverified(Exception):
    """Nobody whom we trust sent this request; it is answered 401.

    The reason may be told: it says nothing about the keys, and stands in the log of whoever sent it.
    """

    status: Final = 401


class NoKeys(Exception):
    """No signing key is configured, so nothing can be verified; a mistake of the application, answered 500."""

    def __init__(self) -> None:
        super().__init__(f"no signing key: set {CURRENT} (and {NEXT}), or give `current` and `next`")


class DoNotRetry(Exception):
    """Raised by a route: the message will never work, so it becomes a dead letter at once.

    Args:
        reason: Goes into the answer, so that it is found with the dead letter.
    """

    status: Final = NON_RETRYABLE
    headers: Final = NON_RETRYABLE_HEADERS

    def __init__(self, reason: str = "this message cannot be processed") -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Report:
    """What a callback tells: how an attempt at another message ended."""

    message_id: str  # Of the message that was delivered, or not.
    url: str
    status: int  # Of the destination's answer; 0 if there was none.
    body: bytes  # Of that answer.
    headers: Mapping[str, Sequence[str]]
    sent: bytes  # The body of the message.
    retried: int
    max_retries: int
    schedule_id: str | None
    dead_letter_id: str | None  # In failure callbacks.

    @property
    def ok(self) -> bool:
        """Whether the destination took the message."""
        return 200 <= self.status < 300

    def json(self) -> Any:  # noqa: ANN401 # Whatever the destination answered.
        """Return the body of the answer read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verified request."""

    body: bytes
    url: str  # As it was published and signed.
    message_id: str  # The same for every attempt.
    attempt_id: str  # Unique for each; whoever remembers it knows a replay from a retry.
    retried: int  # Retries before this attempt.
    signed_at: datetime  # In UTC.
    schedule_id: str | None  # If a schedule made the message.
    url_group: str | None  # If it was published to one.
    caller_ip: str | None  # Who published it.
    region: str | None  # Of the server, if it has a name.
    headers: Sequence[tuple[str, str]]  # All of the request.

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401 # Whatever was published.
        """Return the body read as JSON."""
        return json.loads(self.body)

    def header(self, name: str, default: str = "") -> str:
        """Return the first header of that name, in whatever spelling."""
        return _header(self.headers, name) or default

    def report(self) -> Report:
        """Read the body as that of a callback.

        Raises:
            ValueError: It is none.
        """
        told = json.loads(self.body)
        try:
            return Report(
                message_id=told["sourceMessageId"],
                url=told["url"],
                status=told.get("status", 0),
                body=b64decode(told.get("body") or ""),
                headers=told.get("header") or {},
                sent=b64decode(told.get("sourceBody") or ""),
                retried=told.get("retried", 0),
                max_retries=told.get("maxRetries", 0),
                schedule_id=told.get("scheduleId"),
                dead_letter_id=told.get("dlqId"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the body of a callback: {error}") from None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a framework says was requested."""

    scheme: str
    host: str  # With its port.
    target: str  # Path and query.
    exact: bool = True  # Whether the path is as it was sent; else it was decoded and encoded again.


class Verifier(Generic[R]):
    """Verifies the requests of one application; the receivers of all frameworks are built on it.

    Args:
        current: The signing key; None: the variable ``QSTASH_CURRENT_SIGNING_KEY``, read at each request.
        next: The key that comes after it; None: ``QSTASH_NEXT_SIGNING_KEY``.
        base_url: Scheme and host (and prefix) by which the world calls this application.
        url: The URL that is called, or a function that knows it.
        tolerance: Seconds by which the clocks of server and application may differ, beyond what a signature allows
            by itself (five minutes).

    Raises:
        ValueError: ``base_url`` is none, or both ways to say the URL are given.
    """

    def __init__(
        self,
        current: str | None = None,
        next: str | None = None,  # noqa: A002 # So these keys are called everywhere.
        *,
        base_url: str | None = None,
        url: str | Callable[[R], str] | None = None,
        tolerance: float = 0,
    ) -> None:
        if base_url is not None and url is not None:
            raise ValueError("base_url and url: give one of them")
        if base_url is not None:
            try:
                bare = parse_destination(base_url)
            except InvalidDestination as error:
                raise ValueError(f"base_url: {error}") from None
            if "?" in bare.target:
                raise ValueError(f"base_url: expected no query, got {base_url!r}")
        self._current, self._next = current, next
        self._base_url, self._url = base_url and base_url.rstrip("/"), url
        self._tolerance_ms = round(tolerance * 1000)
        self._clock = SystemClock()

    def keys(self) -> Sequence[str]:
        """Return the keys that a signature may be made with.

        Raises:
            NoKeys: There is none.
        """
        current = self._current or os.environ.get(CURRENT, "")
        following = self._next or os.environ.get(NEXT, "")
        found = [key for key in (current, following) if key]
        if not found:
            raise NoKeys
        return found

    def verify(self, request: R, headers: Iterable[tuple[str, str]], body: bytes, asked: Asked) -> Delivery:
        """Believe a request, or not.

        Args:
            request: As the framework has it; for the function that knows the URL.
            headers: All of them.
            body: As it came, every byte.
            asked: What was requested.

        Raises:
            Unverified: It is not to be believed.
            NoKeys: Nobody knows.
        """
        keys, pairs = self.keys(), tuple(headers)
        token = _header(pairs, "Upstash-Signature")
        if token is None:
            raise Unverified("no Upstash-Signature header")
        claims = verify(token, keys, body, None, self._clock.wall(), self._tolerance_ms)
        if isinstance(claims, Refused):
            raise Unverified(claims.reason)
        url, exact = self._called(request, asked)
        if not _same(claims.sub, url, exact=exact):
            raise Unverified(
                f"made for {claims.sub!r}, not for {url!r}; behind a proxy, tell the receiver its base_url"
            )
        return _delivery(claims, pairs, body)

    def _called(self, request: R, asked: Asked) -> tuple[str, bool]:
        """Return the URL that was called, and whether its path is as it was sent."""
        if self._url is not None:
            return (self._url if isinstance(self._url, str) else self._url(request)), True
        base = self._base_url or f"{asked.scheme}://{asked.host}"
        return base + asked.target, asked.exact


def asked_of_asgi(scope: Mapping[str, Any], scheme: str, host: str) -> Asked:
    """Return what was requested; the server says scheme and host, or the framework that knows its proxy."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1").partition("?")[0] if raw else quote(scope["path"])
    query = scope["query_string"].decode("latin-1")
    return Asked(scheme, host, f"{path}?{query}" if query else path, exact=bool(raw))


def asked_of_wsgi(environ: Mapping[str, Any], scheme: str, host: str, path: bytes) -> Asked:
    """Return what was requested; WSGI decodes the path, but most servers tell it as it came as well."""
    for name in ("RAW_URI", "REQUEST_URI"):
        raw = str(environ.get(name) or "")
        if raw.startswith("/"):
            return Asked(scheme, host, raw)
    query = environ.get("QUERY_STRING", "")
    target = quote(path) or "/"
    return Asked(scheme, host, f"{target}?{query}" if query else target, exact=False)


def refusal(error: Unverified | DoNotRetry) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return status, headers and JSON body of the answer."""
    headers = dict(error.headers) if isinstance(error, DoNotRetry) else {}
    return error.status, headers, {"error": str(error)}


def _same(signed: str, called: str, *, exact: bool) -> bool:
    if signed == called:
        return True
    try:
        one, other = parse_destination(signed), parse_destination(called)
    except InvalidDestination:
        return False
    if (one.scheme, one.host, one.port) != (other.scheme, other.host, other.port):
        return False
    return one.target == other.target or (not exact and unquote(one.target) == unquote(other.target))


def _delivery(claims: Claims, headers: tuple[tuple[str, str], ...], body: bytes) -> Delivery:
    retried = _header(headers, "Upstash-Retried") or "0"
    return Delivery(
        body=body,
        url=claims.sub,
        message_id=_header(headers, "Upstash-Message-Id") or "",
        attempt_id=claims.jti,
        retried=int(retried) if retried.isdecimal() and len(retried) < 10 else 0,
        signed_at=datetime.fromtimestamp(claims.iat, UTC),
        schedule_id=_header(headers, "Upstash-Schedule-Id"),
        url_group=_header(headers, "Upstash-Topic-Name"),
        caller_ip=_header(headers, "Upstash-Caller-Ip"),
        region=_header(headers, "Upstash-Region"),
        headers=headers,
    )


def _header(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)
