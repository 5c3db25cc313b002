"""A place to send messages to, and to look at what arrived.

Whatever is requested under ``/_catch/<name>`` is recorded in memory and answered as its query asks::

    /_catch/orders                              200
    /_catch/orders/any/path?status=503          503
    ?delay=2s            answers after two seconds
    ?retry-after=10      a Retry-After header; without a status the answer is 429
    ?nonretryable=true   489 with Upstash-NonRetryable-Error: true, which ends all retries
    ?body=text           answers with this text

So a newcomer sees a delivery in the first minute, with its headers and with a verdict on its signature,
and a test needs no receiver of its own. The path takes no token, as a receiver takes none; what was
caught is only shown to those who have one. A request that is signed with a user's key belongs to him
alone; one without a good signature belongs to nobody and is shown to all.

Memory is bounded: so many names, so many requests and bytes under each; the oldest go first.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.durations import parse_duration
from lateron.core.signature import Refused, verify
from lateron.core.values import HOUR, Headers, Millis, Tenant
from lateron.runtime import Clock, timeout

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX: Final = "/_catch/"
NON_RETRYABLE: Final = 489
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPTIONS: Final = ("status", "delay", "retry-after", "nonretryable", "body")


class Bounds(Struct, frozen=True):
    """How much is kept, and how much is taken at once."""

    names: int = 100
    requests: int = 200  # Under one name.
    bytes: int = 4 << 20  # Of bodies and heads, under one name.
    body: int = 256 << 10  # Of one request that is kept; the rest is cut.
    read: int = 16 << 20  # Of one request; more is answered 413.
    reading: int = 64 << 20  # Of all requests being read; more is answered 503.
    delay_ms: Millis = HOUR


class Caught(Struct, frozen=True):
    """One request as it came."""

    number: int  # Counts the requests under a name from 1; gaps are requests of others.
    time: Millis
    method: str
    target: str  # Path and query, byte for byte.
    headers: Headers
    body: bytes
    truncated: bool
    answered: int  # Status of our answer.
    signature: str  # "valid", or why not.
    tenant: Tenant | None  # Whose key signed it; None: nobody's.
    client: str | None


class Answer(Struct, frozen=True):
    """What a caught request is answered."""

    status: int = 200
    body: bytes = b"caught\n"
    delay_ms: Millis = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()


_HEADER: Final = 160  # Bytes of the two texts and the pair that hold a header.


class _Name:
    """What was caught under one name."""

    def __init__(self) -> None:
        self.kept: deque[Caught] = deque()
        self.bytes = 0
        self.count = 0

    def add(self, caught: Caught, bounds: Bounds) -> None:
        self.kept.append(caught)
        self.bytes += _size(caught)
        while len(self.kept) > bounds.requests or self.bytes > bounds.bytes:
            self.bytes -= _size(self.kept.popleft())

    def clear(self, tenant: Tenant) -> int:
        gone = [caught for caught in self.kept if _visible(caught, tenant)]
        self.kept = deque(caught for caught in self.kept if not _visible(caught, tenant))
        self.bytes = sum(map(_size, self.kept))
        return len(gone)


class Catcher:
    """An ASGI application that records; used from the event loop only.

    Args:
        clock: Dates what is caught, and lets the time pass that an answer is to take.
        keys: Gives the signing keys of each tenant as of now, current one first.
        bounds: How much is kept.
        signed_by: Judges the age of signatures; None: ``clock``.
    """

    def __init__(
        self,
        clock: Clock,
        keys: Callable[[], Mapping[Tenant, Sequence[str]]],
        bounds: Bounds | None = None,
        signed_by: Clock | None = None,
    ) -> None:
        self._clock = clock
        self._signed_by = signed_by or clock
        self._keys = keys
        self._bounds = bounds or Bounds()
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record the request and answer it."""
        target = _target(scope)
        name = target.removeprefix(PREFIX).partition("?")[0].partition("/")[0]
        if not target.startswith(PREFIX) or not _NAME.fullmatch(name):
            await _send(
                send, _refusal(404, "a catcher is /_catch/<name>; a name has letters, digits, '.', '_' and '-'")
            )
            return
        body = await self._read(receive)
        if body is None:
            return
        if isinstance(body, Answer):
            await _send(send, body)
            return
        caught = self._caught(name, scope, target, body)
        answer = await self.answer(name, caught)
        self._records(name).add(replace(caught, answered=answer.status), self._bounds)
        if answer.delay_ms and not await self.hold(caught, receive, answer.delay_ms):
            return
        await _send(send, answer, head=scope["method"] == "HEAD")

    async def answer(self, name: str, caught: Caught) -> Answer:  # noqa: ARG002 # For those who know better.
        """Choose what a request is answered: what its query asks for."""
        return _chosen_answer(caught.target, self._bounds)

    async def hold(self, caught: Caught, receive: Receive, wait_ms: Millis) -> bool:  # noqa: ARG002 # Likewise.
        """Let the time pass that the answer is to take; return early with False when the sender hangs up."""
        try:
            async with timeout(self._clock, wait_ms / 1000):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return True
        return False

    def names(self, tenant: Tenant) -> list[dict[str, Any]]:
        """List names under which the tenant can see something, the one used last first."""
        found = []
        for name, records in reversed(self._names.items()):
            seen = [caught for caught in records.kept if _visible(caught, tenant)]
            if seen:
                size = sum(len(caught.body) for caught in seen)
                found.append({"name": name, "requests": len(seen), "bytes": size, "last": seen[-1].time})
        return found

    def requests(self, tenant: Tenant, name: str) -> list[dict[str, Any]]:
        """List what was caught under a name, newest first; empty for a name that is not known."""
        records = self._names.get(name)
        kept = [] if records is None else [caught for caught in records.kept if _visible(caught, tenant)]
        return [_shown(caught) for caught in reversed(kept)]

    def clear(self, tenant: Tenant, name: str | None = None) -> int:
        """Forget what the tenant can see under a name, or under all; return how many requests that were."""
        if name is not None:
            records = self._names.get(name)
            return 0 if records is None else records.clear(tenant)
        return sum(records.clear(tenant) for records in self._names.values())

    async def _read(self, receive: Receive) -> bytes | Answer | None:
        """Return the body; None if the sender went away; an answer if it is too much."""
        body = bytearray()
        counted = 0
        try:
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    return None
                piece = event.get("body", b"")
                counted += len(piece)
                self._reading += len(piece)
                if counted > self._bounds.read:
                    return _refusal(413, f"the catcher takes bodies of at most {self._bounds.read} bytes")
                if self._reading > self._bounds.reading:
                    return _refusal(503, "the catcher is reading too much at once; try again")
                body += piece
                if not event.get("more_body", False):
                    return bytes(body)
        finally:
            self._reading -= counted

    def _records(self, name: str) -> _Name:
        """Return where requests of a name are kept."""
        records = self._names.get(name)
        if records is None:
            while len(self._names) >= self._bounds.names:
                self._names.popitem(last=False)
            records = self._names[name] = _Name()
        self._names.move_to_end(name)
        return records

    def _caught(self, name: str, scope: Scope, target: str, body: bytes) -> Caught:
        """Return a request as it is to be kept, still without its answer."""
        headers = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"])
        signature, tenant = self._judge(headers, f"{scope['scheme']}://{_first(headers, 'host')}{target}", body)
        records = self._records(name)
        records.count += 1
        client = scope.get("client")
        return Caught(
            number=records.count,
            time=self._clock.wall(),
            method=scope["method"],
            target=target,
            headers=headers,
            body=body[: self._bounds.body],
            truncated=len(body) > self._bounds.body,
            answered=0,
            signature=signature,
            tenant=tenant,
            client=client[0] if client else None,
        )

    def _judge(self, headers: Headers, url: str, body: bytes) -> tuple[str, Tenant | None]:
        """Say whether one of our keys signed this request, whose, and if not, why we do not believe it."""
        now = self._signed_by.wall()
        token = _first(headers, "upstash-signature")
        if token is None:
            return "no Upstash-Signature header", None
        keys = self._keys()
        made = verify(token, [key for pair in keys.values() for key in pair], body, url, now)
        owners = (t for t, pair in keys.items() if not isinstance(verify(token, pair, body, None, now), Refused))
        return made.reason if isinstance(made, Refused) else "valid", next(owners, None)


def _visible(caught: Caught, tenant: Tenant) -> bool:
    return caught.tenant is None or caught.tenant == tenant


def _target(scope: Scope) -> str:
    """Return path and query as they stood in the request line."""
    target: bytes | None = scope.get("lateron.target")  # Ours; another server gives the two parts only.
    if target is None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return target.decode("latin-1")


def _first(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)


def _chosen_answer(target: str, bounds: Bounds) -> Answer:
    """Read the answer out of the query; a value that cannot be read is answered 400."""
    query = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True, errors="replace", max_num_fields=100))
    wanted = {name: query[name] for name in _OPTIONS if name in query}
    headers = []
    status = 200
    if wanted.get("nonretryable", "").lower() == "true":
        status = NON_RETRYABLE
        headers.append((b"upstash-nonretryable-error", b"true"))
    if "retry-after" in wanted:
        status = 429 if status == 200 else status
        if not re.fullmatch(r"[!-~ ]{1,64}", wanted["retry-after"]):
            return _refusal(400, "retry-after: expected seconds, a date or a duration")
        headers.append((b"retry-after", wanted["retry-after"].encode()))
    if "status" in wanted:
        if not re.fullmatch(r"[2-5][0-9][0-9]", wanted["status"], re.ASCII):
            return _refusal(400, "status: expected a number in 200..599")
        status = int(wanted["status"])
    try:
        delay = parse_duration(wanted.get("delay", "0"))
    except ValueError:
        return _refusal(400, "delay: expected a duration such as 2s")
    if delay > bounds.delay_ms:
        return _refusal(400, f"delay: expected at most {bounds.delay_ms // 1000}s")
    body = wanted["body"].encode() if "body" in wanted else Answer().body
    return Answer(status, body, delay, tuple(headers))


def _refusal(status: int, reason: str) -> Answer:
    return Answer(status, json.dumps({"error": reason}).encode(), 0, ((b"content-type", b"application/json"),))


async def _send(send: Send, answer: Answer, *, head: bool = False) -> None:
    bodiless = answer.status in {204, 304}
    body = b"" if bodiless else answer.body
    headers = [(b"x-content-type-options", b"nosniff"), *answer.headers]
    if not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    if not bodiless:
        headers.append((b"content-length", str(len(body)).encode()))
    if answer.status in {413, 503}:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})


def _shown(caught: Caught) -> dict[str, Any]:
    """Return a caught request as the API shows it."""
    grouped: dict[str, list[str]] = {}
    for name, value in caught.headers:
        grouped.setdefault(name, []).append(value)
    shown: dict[str, Any] = {
        "number": caught.number,
        "time": caught.time,
        "method": caught.method,
        "url": caught.target,
        "header": grouped,
        "signature": {"valid": caught.signature == "valid"},
        "answered": caught.answered,
    }
    if caught.signature != "valid":
        shown["signature"]["reason"] = caught.signature
    try:
        shown["body"] = caught.body.decode()
    except UnicodeDecodeError:
        shown["bodyBase64"] = b64encode(caught.body).decode()
    if caught.truncated:
        shown["truncated"] = True
    for field, name in (("messageId", "upstash-message-id"), ("retried", "upstash-retried")):
        sent = _first(caught.headers, name)
        if sent is not None:
            shown[field] = sent
    if caught.client is not None:
        shown["client"] = caught.client
    return shown


def _size(caught: Caught) -> int:
    """Return the bytes of a request: body, target, and headers with what keeping each of them takes."""
    return (
        len(caught.body) + len(caught.target) + sum(_HEADER + len(name) + len(value) for name, value in caught.headers)
    )
