"""A real server inside a test: real HTTP on a free port, a store in memory, and a clock that only the test moves.

It runs on a thread and an event loop of its own, so that blocking tests and asynchronous ones use it alike: what
waits has a twin with an ``a`` before its name, to be awaited.

**At rest** is what every answer here is about: nothing is being stored, nobody who was woken is still at work, and
each open attempt waits for the clock. From one rest to the next nothing happens by itself, so a test that
publishes, moves the clock and looks sees the same in every run. The clock is moved from one instant at which something
is due to the next, with a rest at each: what is due later sees what came before.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

from lateron.config import load
from lateron.config.dev_users import DEV_USERS
from lateron.core.durations import parse_duration
from lateron.core.ids import message_text
from lateron.core.values import Claimed, Millis
from lateron.runtime import SystemClock
from lateron.server import Server
from lateron.testing.apps import App, Application
from lateron.testing.catching import Attempt, Catching, Request, Script, path_of
from lateron.testing.clock import MovableClock
from lateron.testing.errors import NotAtRest, NotReceived, Refused

T = TypeVar("T")

PATIENCE: Final = 30.0  # Seconds of real time for what should take milliseconds.
_PAUSE: Final = 0.0005  # Between two looks whether all is at rest; nobody tells when a destination begins to wait.
_TRIES: Final = 400  # To see the end of what is told to end.
_DEFAULTS: Final = {"port": "0", "host": "127.0.0.1", "catcher": "true", "drain": "0", "quota": "none"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered."""

    status: int
    text: str

    def json(self) -> Any:  # noqa: ANN401 # Whatever the API says.
        """Return the body read as JSON."""
        return json.loads(self.text)


class Lateron:
    """A running server; a context manager.

    Args:
        start: What the clock shows at first: a time (without a zone: UTC), or such a text; None for the present.
        settings: Settings of ``lateron dev`` by their names, such as ``{"quota": "free"}``.
        data_dir: Where the store lies; None keeps it in memory.
        patience: Seconds of real time after which waiting for destinations ends with an error; may be set later, too.
    """

    def __init__(
        self,
        start: datetime | str | None = None,
        settings: Mapping[str, object] | None = None,
        data_dir: Path | None = None,
        patience: float = PATIENCE,
    ) -> None:
        flags = _DEFAULTS | {name.replace("_", "-"): _text(value) for name, value in (settings or {}).items()}
        if data_dir is None:
            flags["ephemeral"] = "true"
        else:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Nothing of the machine's: a test is the same everywhere.
        self._settings = load("dev", {"stall": "0"} | flags, {}, Path(os.devnull))  # A debugger may stop it.
        self._data_dir = data_dir
        self.patience = patience
        self._time = MovableClock(SystemClock().wall() if start is None else _millis(start))
        self._server = Server(self._settings, data_dir, self._time, Catching)
        self._thread = threading.Thread(target=self._run, name="lateron", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._moving: asyncio.Lock
        self._stopping: asyncio.Event
        self._started: Future[None] = Future()
        self._apps: list[App] = []
        self._hanging: list[str] = []
        self.clock = Clock(self)
        self.catcher = Catcher(self)

    # Where it is and who may use it.

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return self._server.url

    @property
    def token(self) -> str:
        """The token of its user."""
        return DEV_USERS[0].token

    @property
    def current_signing_key(self) -> str:
        """The key that deliveries are signed with, until it is rotated."""
        return DEV_USERS[0].current

    @property
    def next_signing_key(self) -> str:
        """The key that comes after it."""
        return DEV_USERS[0].next

    @property
    def env(self) -> dict[str, str]:
        """The variables that an application reads."""
        return {
            "QSTASH_URL": self.url,
            "QSTASH_TOKEN": self.token,
            "QSTASH_CURRENT_SIGNING_KEY": self.current_signing_key,
            "QSTASH_NEXT_SIGNING_KEY": self.next_signing_key,
        }

    # Its life.

    def start(self) -> Self:
        """Start it, and return when it accepts requests."""
        self._thread.start()
        self._started.result(PATIENCE)  # However little patience a test has with its own work.
        return self

    def stop(self) -> None:
        """End it, and the applications it serves; what waits is lost with its store."""
        for app in self._apps:
            app.stop()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(PATIENCE)

    def __enter__(self) -> Self:  # noqa: D105
        return self.start()

    def __exit__(  # noqa: D105
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def serve(self, application: Application) -> str:
        """Run an application, ASGI or WSGI, on a thread of its own; return its address, without a slash at the end."""
        return self.serve_made(lambda _: application)

    def serve_made(self, make: Callable[[str], Application]) -> str:
        """Run the application that ``make`` returns, for one that must know its address before it starts."""
        app = App(make).start(PATIENCE)
        self._apps.append(app)
        return app.url

    def expect_no_answer(self, url: str) -> None:
        """Wait no more for destinations that begin like this: an attempt there ends when its time is up."""
        self._hanging.append(url)

    # What came of it.

    def settle(self) -> None:
        """Wait until all is at rest that is due by now.

        Raises:
            NotAtRest: A destination does not answer.
        """
        self._wait(self._rest())

    async def asettle(self) -> None:
        """Wait as ``settle`` does."""
        await self._await(self._rest())

    def dead_letters(self, **selection: str) -> list[dict[str, Any]]:
        """Settle, and return the dead letters, newest first, as ``GET /v2/dlq`` lists them.

        Args:
            selection: Filters of that list, such as ``label="orders"``.
        """
        self.settle()
        return self._list("/v2/dlq", "messages", selection)

    async def adead_letters(self, **selection: str) -> list[dict[str, Any]]:
        """Return what ``dead_letters`` does."""
        await self.asettle()
        return await asyncio.to_thread(self._list, "/v2/dlq", "messages", selection)

    def pending(self, **selection: str) -> list[dict[str, Any]]:
        """Settle, and return the messages that wait, each with the reason (``waitingFor``)."""
        self.settle()
        return self._list("/v2/messages", "messages", selection)

    async def apending(self, **selection: str) -> list[dict[str, Any]]:
        """Return what ``pending`` does."""
        await self.asettle()
        return await asyncio.to_thread(self._list, "/v2/messages", "messages", selection)

    def states(self, message_id: str) -> list[str]:
        """Settle, and return the states that a message has gone through, first to last."""
        self.settle()
        return self._states(message_id)

    async def astates(self, message_id: str) -> list[str]:
        """Return what ``states`` does."""
        await self.asettle()
        return await asyncio.to_thread(self._states, message_id)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Call the API as its user, for what a client library has no call."""
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.token}", **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, answer.read().decode())
        finally:
            connection.close()

    def _states(self, message_id: str) -> list[str]:
        events = self._list("/v2/events", "events", {"messageId": message_id})
        return [event["state"] for event in reversed(events)]

    def _list(self, path: str, field: str, selection: Mapping[str, str]) -> list[dict[str, Any]]:
        """Read a list to its end."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            query = urlencode({**selection, **cursor})
            reply = self.call("GET", f"{path}?{query}")
            if reply.status != 200:
                raise Refused("GET", path, reply.status, reply.text)
            page = reply.json()
            found += page[field]
            if not page.get("cursor"):
                return found
            cursor = {"cursor": page["cursor"]}

    # On the server's loop.

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 # Told to whoever starts it.
            if not self._started.done():
                self._started.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moving, self._stopping = asyncio.Lock(), asyncio.Event()
        await self._server.start()
        self._started.set_result(None)
        await self._stopping.wait()
        held = set(self._room.held)
        self._room.release()
        for _ in range(_TRIES):  # Those that were held are answered now; whatever else is open is broken off.
            if held.isdisjoint(map(_attempt, self._server.claimed)):
                break
            await asyncio.sleep(_PAUSE)
        await self._server.stop()

    @property
    def _room(self) -> Catching:
        room = self._server.catcher
        assert isinstance(room, Catching), "the setting `catcher` belongs to the test"
        return room

    def _resting(self) -> bool:
        return not self._server.storing and not self._time.awake and not self._under_way()

    def _under_way(self) -> list[str]:
        """List the attempts that go on while the clock stands."""
        held, hanging = self._room.held, tuple(self._hanging)
        return [
            f"attempt {claimed.message.attempt} of {message_text(claimed.message.id)} at {claimed.request.url}"
            for claimed in self._server.claimed
            if _attempt(claimed) not in held and not claimed.request.url.startswith(hanging)
        ]

    async def _rest(self) -> None:
        clock = SystemClock()
        deadline = clock.mono() + int(self.patience * 1e9)
        while not self._resting():
            if self._server.failure is not None:
                raise self._server.failure
            if clock.mono() > deadline:
                raise NotAtRest(self.patience, self._under_way())
            await asyncio.sleep(_PAUSE)

    async def _move(self, to: Millis) -> None:
        """Go from one instant to the next until ``to``."""
        time = self._time
        async with self._moving:
            if to < time.wall():
                raise ValueError("the clock does not run backwards")
            await self._rest()
            time.move(time.wall())  # Who looks again says exactly when he must be woken.
            while True:
                await self._rest()
                due = time.next()
                if due is None or due > to:
                    break
                time.move(due)
            time.move(to)
            await self._rest()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the server does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._submit(work).result()

    async def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._submit(work))


class Clock:
    """The time of the server. It stands until it is moved, and does not run backwards."""

    def __init__(self, server: Lateron) -> None:
        self._server = server

    def __call__(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self.millis / 1000, UTC)

    @property
    def millis(self) -> Millis:
        """Milliseconds since 1970."""
        return self._server._time.wall()  # noqa: SLF001 # One thing in two parts.

    def advance(self, by: str | float | timedelta) -> None:
        """Let time pass: everything that comes due fires, in order, at once; return when all is at rest.

        Args:
            by: How long: ``1h30m``, ``10d``, seconds, or a ``timedelta``.

        Raises:
            NotAtRest: A destination does not answer.
        """
        self._server._wait(self._server._move(self.millis + _span(by)))  # noqa: SLF001

    async def aadvance(self, by: str | float | timedelta) -> None:
        """Let time pass as ``advance`` does."""
        await self._server._await(self._server._move(self.millis + _span(by)))  # noqa: SLF001

    def advance_to(self, time: datetime | str) -> None:
        """Let time pass until then (without a zone: UTC); see ``advance``."""
        self._server._wait(self._server._move(_millis(time)))  # noqa: SLF001

    async def aadvance_to(self, time: datetime | str) -> None:
        """Let time pass as ``advance_to`` does."""
        await self._server._await(self._server._move(_millis(time)))  # noqa: SLF001


class Catcher:
    """Destinations that need no setting up: they keep what they receive, and answer 200 or as the test says."""

    def __init__(self, server: Lateron) -> None:
        self._server = server

    def url(self, name: str) -> str:
        """Return the URL of a destination; a path and a query may be put behind it."""
        return self._server.url + path_of(name)

    def answer(self, name: str, *answers: Script) -> None:
        """Say what a destination answers from now on.

        Args:
            name: Of the destination.
            answers: In turn, and then the last one again and again: an ``Answer``, a status, or a function of the
                ``Request`` that returns one of these. None: 200, or what the query of the URL asks for.
        """

        async def script() -> None:
            self._server._room.scripts[name] = list(answers)  # noqa: SLF001 # One thing in two parts.

        self._server._wait(script())  # noqa: SLF001

    def received(self, name: str | None = None) -> list[Request]:
        """Settle, and return what a destination has received, or all of them, first to last."""
        return self._server._wait(self._received(name))  # noqa: SLF001

    async def areceived(self, name: str | None = None) -> list[Request]:
        """Return what ``received`` does."""
        return await self._server._await(self._received(name))  # noqa: SLF001

    def wait_for(self, name: str, count: int = 1) -> list[Request]:
        """Wait until a destination has received so many requests, and return all it has received.

        For what is published by somebody the test cannot wait for; the clock stands meanwhile.

        Raises:
            NotReceived: They have not come; the message says what waits for what.
        """
        got = self._server._wait(self._collect(name, count))  # noqa: SLF001
        if len(got) < count:
            raise self._missing(name, len(got), count)
        return got

    async def await_for(self, name: str, count: int = 1) -> list[Request]:
        """Wait as ``wait_for`` does."""
        got = await self._server._await(self._collect(name, count))  # noqa: SLF001
        if len(got) < count:
            raise await asyncio.to_thread(self._missing, name, len(got), count)
        return got

    def clear(self, name: str | None = None) -> None:
        """Forget what a destination has received, or all of them; what they answer stays."""

        async def forget() -> None:
            self._server._room.forget(name)  # noqa: SLF001

        self._server._wait(forget())  # noqa: SLF001

    async def _received(self, name: str | None) -> list[Request]:
        await self._server._rest()  # noqa: SLF001
        return self._caught(name)

    async def _collect(self, name: str, count: int) -> list[Request]:
        room = self._server._room  # noqa: SLF001
        try:
            async with asyncio.timeout(self._server.patience):
                while len(self._caught(name)) < count:
                    await room.news.wait()
        except TimeoutError:
            pass
        return self._caught(name)

    def _caught(self, name: str | None) -> list[Request]:
        return [request for request in self._server._room.caught if name in {None, request.name}]  # noqa: SLF001

    def _missing(self, name: str, count: int, wanted: int) -> NotReceived:
        waiting = [
            f"{message['messageId']} to {message['url']}: {message.get('waitingFor', 'being delivered')}"
            for message in self._server._list("/v2/messages", "messages", {})  # noqa: SLF001
        ]
        return NotReceived(self._server.patience, name, count, wanted, waiting)


def _attempt(claimed: Claimed) -> Attempt:
    return message_text(claimed.message.id), str(claimed.message.retried)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _span(by: str | float | timedelta) -> Millis:
    if isinstance(by, str):
        return parse_duration(by)
    seconds = by.total_seconds() if isinstance(by, timedelta) else by
    return round(seconds * 1000)


def _millis(time: datetime | str) -> Millis:
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return round(time.timestamp() * 1000)
