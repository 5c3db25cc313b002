"""The only door to the outside network: one call makes one attempt and says how it went.

    resolve -> guard -> a kept connection, or connect (and TLS) -> write -> read -> ``Outcome``

* The guard judges every address on every delivery, also those of kept connections.
* Redirects are not followed, bodies not decompressed, cookies not kept; proxies and ``.netrc`` of the
  environment are not read.
* The timeout runs from the call to the end of the answer, on the monotonic clock, whatever happens in
  between, and ends everything that belongs to the attempt.
* What goes wrong is a value. Only a cancellation is raised.

One thing is tried twice inside one attempt. A kept connection may have been closed by the other side while
our request was on its way; a request that went out on a *kept* connection, and to which *not one byte* came
back before the connection ended, is sent once more on a fresh one. If the receiver had taken the first
copy all the same, it sees the message twice with the same id, which at-least-once delivery allows anyway;
without this, every receiver with a short keep-alive would cost its publishers retries.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from msgspec import Struct

from lateron.core.destination import Destination
from lateron.core.familiar import Familiar
from lateron.core.headers import USER_AGENT
from lateron.core.values import Millis, Outcome, Phases
from lateron.egress.connection import Answer, Connection, Head, Key, Limits
from lateron.egress.dial import Course, Dialer
from lateron.egress.failure import Failure
from lateron.egress.guard import GuardPolicy, verdict
from lateron.egress.pool import Pool
from lateron.egress.probe import TIMEOUT_MS, Judged, Probe, TlsFacts, handshake, judged
from lateron.egress.request import Delivery, encode_head
from lateron.egress.resolve import Resolver, parse_overrides
from lateron.egress.tls import tls_context
from lateron.runtime import Alarm, Clock, Nanos, timeout

_REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 307, 308})
_TICK_S: Final = 0.1  # How late a timeout may be noticed.
_REUSED: Final = Course(reused=True)  # Of an attempt that needs neither name nor connection; never changed.


class EgressSettings(Struct, frozen=True):
    """What an operator decides about deliveries."""

    guard: GuardPolicy = GuardPolicy()
    limits: Limits = Limits()
    resolve: tuple[str, ...] = ()  # ``HOST:PORT:ADDRESS[,ADDRESS]...`` as in curl.
    tls: ssl.SSLContext | None = None  # None: ``tls_context()``.
    idle_per_key: int = 256  # Connections kept for one tenant, address and name.
    idle_ms: Millis = 4_000  # How long; common servers close after five seconds.
    race_delay_ms: Millis = 250  # Head start of an address before the next one is tried too.
    max_connections: int = 4096  # Open at once, idle ones included.


class Egress:
    """Makes deliveries; belongs to one event loop."""

    def __init__(self, settings: EgressSettings, clock: Clock, resolver: Resolver | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._mono: Callable[[], Nanos] = clock.mono
        self._resolver = resolver or Resolver(parse_overrides(settings.resolve), clock)
        self._tls = settings.tls or tls_context()
        self._dialer = Dialer(self._tls, clock.mono, settings.race_delay_ms)
        self._pool = Pool(settings.idle_per_key, settings.idle_ms * 1_000_000)
        self._familiar: Familiar[Head] = Familiar()
        self._opening = 0
        self._closed = False
        self._ticker: Alarm | None = None
        self._cleared: set[tuple[str, int]] = set()  # Allowed whatever the path.

    async def send(self, delivery: Delivery) -> Outcome:
        """Make one attempt. Never raises, but for ``CancelledError``: then the attempt is dropped."""
        began = self._mono()
        deadline = Nanos(began + delivery.timeout_ms * 1_000_000)
        return await self._send(delivery, began, deadline, fresh=False)

    def send_kept(self, delivery: Delivery, done: Callable[[Outcome], None], head: bytes | None = None) -> bool:
        """Make one attempt on a kept connection, if there is one for it: the short way, without a task.

        Args:
            delivery: What to send.
            done: Called once with the outcome, later, unless False is returned.
            head: What ``encode_head`` made of the delivery, if that was done before.

        Returns:
            Whether the attempt is under way; if not, nothing was sent, and ``send`` is the way.
        """
        began = self._mono()
        connection = self._kept(delivery, began)
        if connection is None:
            return False
        if head is None:
            try:
                head = encode_head(delivery)
            except Failure:
                self._pool.put(connection)
                return False
        if self._ticker is None:
            self._tick()
        deadline = Nanos(began + delivery.timeout_ms * 1_000_000)

        def answered(answer: Answer) -> None:
            if connection.reusable:
                self._pool.put(connection)
            if answer.error == "closed" and not answer.began:
                # Why fresh: another kept one may end like this one, and the receiver may have taken every copy.
                rest = self._send(delivery, began, deadline, fresh=True)
                again = asyncio.get_running_loop().create_task(rest)
                again.add_done_callback(lambda task: None if task.cancelled() else done(task.result()))
                return
            done(self._outcome(answer, connection, _REUSED, began))

        connection.begin(head, delivery, deadline, answered)
        return True

    async def examine(self, destination: Destination) -> Probe:
        """Look at a destination with a HEAD request that is of no tenant; how that went is in the answer."""
        judgements: tuple[Judged, ...] = ()
        with suppress(Failure):  # The request fails by it as well, and tells.
            judgements = judged(await self._resolver.resolve(destination), destination, self._settings.guard)
        head = (("User-Agent", USER_AGENT),)
        outcome = await self.send(Delivery(0, destination, "HEAD", head, b"", TIMEOUT_MS))
        allowed = [one.address for one in judgements if one.refused is None]
        facts: TlsFacts | None = None
        if destination.scheme == "https" and outcome.error is None and allowed:
            with suppress(TimeoutError):
                async with timeout(self._clock, TIMEOUT_MS / 1000):
                    facts = await handshake(destination, allowed[0], self._tls)
        return Probe(judgements, facts, outcome)

    async def close(self) -> None:
        """Close all connections; deliveries still open end as "local": it is not the receiver that failed."""
        self._closed = True
        self._resolver.close()
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in list(self._pool.open):
            connection.stop()
        if self._pool.open:
            self._pool.empty.clear()
            await self._pool.empty.wait()

    # Connections

    def _kept(self, delivery: Delivery, now: Nanos) -> Connection | None:
        """Return a kept connection, if one may be used without asking anybody."""
        addresses = self._resolver.known(delivery.destination)
        if addresses is None:
            return None
        for address in addresses:
            if self._refused(address, delivery.destination) is None:
                connection = self._pool.take(_key(delivery, address), now)
                if connection is not None:
                    return connection
        return None

    async def _connection(self, delivery: Delivery, course: Course, deadline: Nanos, *, anew: bool) -> Connection:
        """Return a connection for a delivery.

        Args:
            delivery: What will be sent on it.
            course: Where to note stage and times, and whether the connection was a kept one.
            deadline: When the attempt must end.
            anew: Take none that was kept.

        Raises:
            Failure: There is none.
        """
        destination = delivery.destination
        course.stage, course.reused = "looking up the name", False
        self._cleared.clear()
        began = self._mono()
        try:
            async with timeout(self._clock, (deadline - began) / 1e9) as limit:
                addresses = await self._resolver.resolve(destination)
                now = self._mono()
                if not destination.literal:
                    course.dns = (now - began) // 1000
                kept = None if anew else self._kept(delivery, now)
                if kept is not None:
                    course.reused = True
                    return kept
                return await self._open(delivery, self._allowed(addresses, destination), course)
        except TimeoutError:
            assert limit.expired(), "others are Failures by now"
            raise Failure("timeout", f"no end within {delivery.timeout_ms} ms: {course.stage}") from None

    async def _open(self, delivery: Delivery, addresses: list[str], course: Course) -> Connection:
        destination = delivery.destination
        pool = self._pool
        if len(pool.open) + self._opening >= self._settings.max_connections and not pool.evict():
            raise Failure("local", f"all {self._settings.max_connections} connections of this server are in use")

        def make(address: str, peer: str) -> Connection:
            key = _key(delivery, address)
            return Connection(self._settings.limits, self._mono, pool.forget, peer, key, self._familiar)

        name = destination.host if destination.scheme == "https" else None
        self._opening += 1
        try:
            connection = await self._dialer.connect(addresses, destination.port, name, course, make)
        finally:
            self._opening -= 1
        if self._closed:
            connection.abort()
            raise Failure("local", "this server is stopping")
        pool.open.add(connection)
        return connection

    def _allowed(self, addresses: tuple[str, ...], destination: Destination) -> list[str]:
        """Return the addresses the guard lets us call, or fail with its reason for the first."""
        allowed: list[str] = []
        reason = "no address"
        for address in reversed(addresses):
            refused = self._refused(address, destination)
            if refused is None:
                allowed.insert(0, address)
            else:
                reason = refused
        if not allowed:
            raise Failure("blocked", reason if destination.literal else f"{destination.host}: {reason}")
        return allowed

    def _refused(self, address: str, destination: Destination) -> str | None:
        """Ask the guard; what it allows whatever the path is need not be asked again within a tick."""
        place = (address, destination.port)
        if place in self._cleared:
            return None
        policy = self._settings.guard
        if verdict(address, destination.port, "/", policy) is None:
            self._cleared.add(place)
            return None
        return verdict(address, destination.port, destination.target, policy)

    # Exchanges

    async def _send(self, delivery: Delivery, began: Nanos, deadline: Nanos, *, fresh: bool) -> Outcome:
        """Make an attempt, or what is left of one; raises as ``send`` does.

        Args:
            delivery: What to send.
            began: When the attempt did.
            deadline: When it must end.
            fresh: The request went out on a kept connection already, and may not on another.
        """
        course = _REUSED
        try:
            head = encode_head(delivery)
            connection = None if fresh else self._kept(delivery, began)
            if connection is not None:
                answer = await self._exchange(connection, head, delivery, deadline)
                if answer.error != "closed" or answer.began:
                    return self._outcome(answer, connection, _REUSED, began)
            course = Course()
            anew = fresh or connection is not None
            return await self._send_anew(head, delivery, began, deadline, course, anew=anew)
        except Failure as failure:
            return self._failed(failure.error, failure.detail, course, began)
        except Exception as bug:  # noqa: BLE001  # A promise to the dispatcher: it must get its outcome back.
            asyncio.get_running_loop().call_exception_handler({"message": "egress failed", "exception": bug})
            return self._failed("protocol", f"not sent: {type(bug).__name__} in the delivery client", course, began)

    async def _exchange(self, connection: Connection, head: bytes, delivery: Delivery, deadline: Nanos) -> Answer:
        """Send the request on a connection and await its answer, or the end of the time."""
        if self._ticker is None:
            self._tick()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        connection.begin(head, delivery, deadline, partial(_resolve, answered))
        try:
            answer = await answered
        except asyncio.CancelledError:
            connection.abort()
            raise
        if connection.reusable:
            self._pool.put(connection)
        return answer

    async def _send_anew(
        self, head: bytes, delivery: Delivery, began: Nanos, deadline: Nanos, course: Course, *, anew: bool
    ) -> Outcome:
        """Make an attempt for which the name must be resolved, or a connection opened."""
        connection = await self._connection(delivery, course, deadline, anew=anew)
        answer = await self._exchange(connection, head, delivery, deadline)
        if course.reused and answer.error == "closed" and not answer.began:
            connection = await self._connection(delivery, course, deadline, anew=True)
            answer = await self._exchange(connection, head, delivery, deadline)
        return self._outcome(answer, connection, course, began)

    def _tick(self) -> None:
        """Look after deadlines and idle connections, again and again while there are connections."""
        # Why not a timer for each exchange: starting and stopping one costs as much as parsing its answer.
        self._cleared.clear()
        now = self._mono()
        self._pool.sweep(now)
        self._ticker = None
        if self._pool.open and not self._closed:
            first = self._pool.deadline()
            left = None if first is None else (first - now) / 1e9
            self._ticker = self._clock.wake(self._tick, after=left, recheck=_TICK_S)

    # Outcomes

    def _outcome(self, answer: Answer, connection: Connection, course: Course, began: Nanos) -> Outcome:
        detail = answer.detail
        if answer.error is None and answer.status in _REDIRECTS:
            detail = _redirect(answer)
        return Outcome(
            answer.status,
            answer.error,
            detail,
            answer.headers,
            answer.body,
            answer.truncated,
            Phases(
                course.dns,
                course.connect,
                course.tls,
                answer.first_byte,
                answer.body_time,
                (connection.ended_at - began) // 1000,
            ),
            connection.peer,
            course.reused,
        )

    def _failed(self, error: str, detail: str, course: Course, began: Nanos) -> Outcome:
        phases = Phases(course.dns, course.connect, course.tls, total=(self._mono() - began) // 1000)
        return Outcome(error=error, detail=_line(detail, 500), phases=phases, peer=course.peer)


def _resolve(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():  # A cancelled attempt is not told.
        future.set_result(answer)


def _key(delivery: Delivery, address: str) -> Key:
    destination = delivery.destination
    return (delivery.tenant, destination.scheme, address, destination.port, destination.host)


def _redirect(answer: Answer) -> str:
    """Say where we were sent and did not go; without what could be a secret in it."""
    for name, value in answer.headers:
        if name.lower() == "location":
            path, mark, _ = value.partition("?")
            scheme, slashes, rest = path.partition("//")
            authority, slash, tail = rest.partition("/")
            where = f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{tail}{'?...' if mark else ''}"
            return f"redirect to {_line(where, 200)} not followed"
    return "redirect without a location not followed"


def _line(text: str, length: int) -> str:
    """Return text fit for one line of a log: visible ASCII, cut."""
    shown = "".join(character if " " <= character <= "~" else "?" for character in text[:length])
    return shown if len(text) <= length else f"{shown}..."
