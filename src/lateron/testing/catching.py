"""The catcher of a test: it keeps what every destination received, and answers as the test says.

It is the request catcher of the server itself, without its bounds; a destination is a name, and needs no setting up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from lateron import catcher as room
from lateron.catcher import PREFIX, Bounds, Caught, Receive
from lateron.core.durations import parse_duration
from lateron.core.values import DAY, Millis, Tenant
from lateron.runtime import Clock

_PLENTY: Final = 1 << 40
_BOUNDS: Final = Bounds(_PLENTY, _PLENTY, _PLENTY, _PLENTY, _PLENTY, _PLENTY, delay_ms=3650 * DAY)
Headers: TypeAlias = Sequence[tuple[str, str]]
Attempt: TypeAlias = tuple[str, str]  # Message and retries, as its headers say.


@dataclass(frozen=True, slots=True)
class Request:
    """What a destination received."""

    name: str
    time: datetime  # By the clock of the test, in UTC.
    method: str
    path: str  # With its query, byte for byte.
    headers: Headers  # In their order; ``header`` finds one.
    body: bytes
    signature: str  # "valid", or why not.

    def header(self, name: str, default: str = "") -> str:
        """Return the first header of that name, in whatever spelling."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401 # Whatever was sent.
        """Return the body read as JSON."""
        return json.loads(self.body)

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; of equal names the last one."""
        return dict(parse_qsl(self.path.partition("?")[2], keep_blank_values=True))

    @property
    def signed(self) -> bool:
        """Whether the server's key signed this very request."""
        return self.signature == "valid"

    @property
    def message_id(self) -> str:
        """The id of the message, the same for every attempt."""
        return self.header("Upstash-Message-Id")

    @property
    def retried(self) -> int:
        """How many retries came before this attempt."""
        return int(self.header("Upstash-Retried", "0"))

    @property
    def schedule_id(self) -> str | None:
        """The schedule that made the message, if one did."""
        return self.header("Upstash-Schedule-Id") or None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination answers."""

    status: int = 200
    body: bytes | str | Mapping[str, Any] | Sequence[Any] = b""  # An object or a list is sent as JSON.
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: str = "0"  # How long it takes, by the clock of the test: ``30s``, ``10m``.

    @classmethod
    def not_retryable(cls, reason: str = "") -> Answer:
        """Return the answer after which a message is not tried again."""
        return cls(room.NON_RETRYABLE, reason, {"Upstash-NonRetryable-Error": "true"})


Reply: TypeAlias = Answer | int  # A number is a status.
Script: TypeAlias = Reply | Callable[[Request], Reply]


class Catching(room.Catcher):
    """The room inside the server; its methods belong to the server's loop.

    Args are those of the server's own catcher, but that nothing is forgotten.
    """

    def __init__(
        self,
        clock: Clock,
        keys: Callable[[], Mapping[Tenant, Sequence[str]]],
        bounds: Bounds | None = None,
        signed_by: Clock | None = None,
    ) -> None:
        super().__init__(clock, keys, bounds or _BOUNDS, signed_by)
        self.caught: list[Request] = []
        self.scripts: dict[str, list[Script]] = {}
        self.held: set[Attempt] = set()  # Whose answers wait for the clock.
        self.news = asyncio.Event()  # Replaced when it is set.
        self._closing: asyncio.Future[None] | None = None

    async def answer(self, name: str, caught: Caught) -> room.Answer:
        """Note a request, and choose what it is answered."""
        request = Request(
            name,
            datetime.fromtimestamp(caught.time / 1000, UTC),
            caught.method,
            caught.target,
            caught.headers,
            caught.body,
            caught.signature,
        )
        self.caught.append(request)
        news, self.news = self.news, asyncio.Event()
        news.set()
        script = self.scripts.get(name)
        if not script:
            return await super().answer(name, caught)
        reply = script.pop(0) if len(script) > 1 else script[0]
        if callable(reply):
            reply = await asyncio.to_thread(reply, request)  # It may call the server, which must not wait for itself.
        return _sent(reply if isinstance(reply, Answer) else Answer(reply))

    async def hold(self, caught: Caught, receive: Receive, wait_ms: Millis) -> bool:
        """Let the time pass that the answer is to take, as the clock is moved."""
        attempt = _attempt(caught)
        over = asyncio.get_running_loop().create_future()

        def ring() -> None:
            self.held.discard(attempt)
            if not over.done():
                over.set_result(None)

        self.held.add(attempt)
        alarm = self._clock.wake(ring, after=wait_ms / 1000)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((over, gone, self._end()), return_when=asyncio.FIRST_COMPLETED)
            return not gone.done()
        finally:
            alarm.cancel()
            gone.cancel()
            self.held.discard(attempt)

    def release(self) -> None:
        """Answer at once whatever waits, now and from now on: the server is to end."""
        self.held.clear()
        end = self._end()
        if not end.done():
            end.set_result(None)

    def clear(self, tenant: Tenant, name: str | None = None) -> int:
        """Forget what was caught, here too."""
        self.forget(name)
        return super().clear(tenant, name)

    def forget(self, name: str | None = None) -> None:
        """Forget requests of a name, or all."""
        self.caught = [] if name is None else [request for request in self.caught if request.name != name]

    def _end(self) -> asyncio.Future[None]:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        return self._closing


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _attempt(caught: Caught) -> Attempt:
    headers = {name.lower(): value for name, value in caught.headers}
    return headers.get("upstash-message-id", ""), headers.get("upstash-retried", "")


def _sent(answer: Answer) -> room.Answer:
    """Return an answer as the server's catcher sends it."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    body = answer.body
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
    pairs = tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items())
    return room.Answer(answer.status, body, parse_duration(answer.delay), pairs)


def path_of(name: str) -> str:
    """Return the path of a destination."""
    return f"{PREFIX}{name}"
