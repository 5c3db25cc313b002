"""The composition root: which rooms there are, in which order they open, and in which they close.

Opening goes from the inside out, and what cannot be undone comes after all that could fail: lock of the
directory, sockets, store, certificates; only then are a first token and keys made, is the work of a dead
process rescued, and is a first message claimed.

Closing goes from the outside in, so that nothing accepted is lost and no answer is cut::

    readyz 503 -> no new connection, no new claim -> open requests answered, open attempts ended (at most
    ``drain``) -> outcomes stored -> store closed -> lock released

A store that reports an I/O error ends the process at once and without closing in order: what it would still
write could not be trusted, and the next start recovers from what the disk has.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw
import uvicorn

from lateron.api.app import Api
from lateron.api.auth import Proxies
from lateron.api.heads import Limits as ConnectionLimits
from lateron.api.lane import protocol_class
from lateron.api.openid import OpenId
from lateron.api.overview import follow_ages
from lateron.api.ports import Ports, Streams
from lateron.api.publish import FastLane
from lateron.api.sessions import Sessions
from lateron.api.storage import follow_growth
from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.resources import Resources
from lateron.broker.schedules import next_tick
from lateron.broker.views import KeyPair
from lateron.catcher import Catcher
from lateron.config import InvalidSettings, Settings
from lateron.core.values import SECOND, Claimed, Millis, Outcome, Tenant
from lateron.dispatcher import Dispatcher
from lateron.egress import Egress, GuardPolicy, Resolver
from lateron.errors import StoreFailed, StoreLocked
from lateron.runtime import Clock, SystemClock, id_maker, new_node
from lateron.scheduler import Scheduler
from lateron.server import rooms
from lateron.server.attempts import AttemptLog
from lateron.server.figures import Sources, exposition, readings, storage
from lateron.server.providing import openid
from lateron.server.scrape import Scrape
from lateron.server.sealing import follow_data_keys, unlocked
from lateron.server.seeding import Made, new_key, new_token, seed
from lateron.server.sockets import listen, shown_host
from lateron.server.tokens import follow_tokens, note_uses
from lateron.server.watchdog import Watchdog
from lateron.store import sqlite
from lateron.store.reserve import Reserve
from lateron.store.sealing import Seals
from lateron.store.sqlite import SqliteStore
from lateron.telemetry import Counters, Log
from lateron.tracing import Tracing
from lateron.writer import Writer

log = Log("lateron.server")

_OPTIONAL_HOSTS: Final = frozenset({"::1"})  # Where IPv6 is switched off the default still works.


class Server:
    """A server that is started once and stopped once; also inside a test, on port 0.

    Args:
        settings: What the operator chose.
        directory: Where the store lies, ready to be used; None keeps all in memory.
        clock: Time for everything that is stored, waits or is due. How fast peers are, and when a request was
            signed, is told by the clock of the machine, for those on the other side have no other.
        catching: What makes the catcher, if there is one.
        tracing: Who is told of requests and attempts, and shown the figures; None: nobody.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Path | None,
        clock: Clock | None = None,
        catching: type[Catcher] = Catcher,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.made = Made()  # Secrets of a first start, to be shown once.
        self.counters = Counters()
        self.port = settings.port  # After ``start`` the one it listens on.
        self.failure: BaseException | None = None  # Why the server ended by itself.
        self._directory = directory
        self.catcher: Catcher | None = None
        self._machine = SystemClock()
        self._clock = clock or self._machine
        self._reserve: Reserve | None = None
        self._watchdog = Watchdog(self._machine, settings.stall)
        self._catching = catching
        self._tracing = tracing
        self._request_id = _request_ids()
        self._lease: Callable[[], bool] = lambda: True
        self._ended = asyncio.Event()
        self._not_ready: str | None = "starting"
        self._closing = AsyncExitStack()  # What ``start`` opened, in reverse.
        self._sockets: list[socket.socket] = []
        self._streams = Streams()
        self._scraped: list[socket.socket] = []  # Of the port that serves figures only.
        self._tasks: list[asyncio.Task[None]] = []
        self._web: _Web
        self._scrape: _Web | None = None
        self._dispatcher: Dispatcher
        self._writer: Writer

    @property
    def url(self) -> str:
        """Return the address for a client on this machine."""
        scheme = "https" if self.settings.tls_cert else "http"
        return f"{scheme}://{shown_host(self.settings.host)}:{self.port}"

    @property
    def claimed(self) -> tuple[Claimed, ...]:
        """The messages whose attempts are open."""
        return self._dispatcher.claimed

    @property
    def storing(self) -> bool:
        """Whether something waits to be stored, or is being stored."""
        return self._writer.busy

    async def start(self) -> None:
        """Open everything, and return when requests are accepted.

        Raises:
            StoreLocked: Another process runs on the directory.
            StoreFailed: The store cannot be opened.
            InvalidSettings: Something the operator chose does not work on this machine.
        """
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def ended(self) -> None:
        """Wait until the server has failed; ``failure`` says why."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Close everything in order; open attempts may take as long as ``drain`` says.

        Work that cannot be ended in that time is broken off, and made again by the next start.
        """
        self._not_ready = "shutting down"
        self._streams.close()
        attempts, seconds = self._dispatcher.open_attempts, self.settings.drain / SECOND
        log.info("shutting down", open_attempts=attempts, at_most_s=seconds, note="a second signal ends at once")
        draining = asyncio.create_task(self._dispatcher.drain(seconds))
        if self.settings.catcher:
            await draining  # Why first: attempts to our own catcher need somebody who accepts them.
        await self._web.end()
        if self._scrape is not None:
            await self._scrape.end()
        left = await draining
        if left:
            log.warning("broke off attempts that did not end in time", count=left)
        await self._closing.aclose()
        log.info("stopped")

    async def abandon(self) -> None:
        """End after a failure of the store: tell those who wait, and write nothing more."""
        self._not_ready = "the store has failed"
        self._streams.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._web.end()

    async def _start(self) -> None:
        settings, started = self.settings, self._clock.wall()
        if self._tracing is not None:
            self._closing.push_async_callback(self._tracing.close)  # The last: nothing waits for a collector.
        self._bind()
        store, reader, seals = self._open_store()
        resources = Resources(store, new_key, new_token, self._clock.wall)
        history = History(reader or store, rooms.broker_limits(settings))
        guard = rooms.guard_policy(settings, frozenset(s.getsockname()[:2] for s in (*self._sockets, *self._scraped)))
        resolver = Resolver(rooms.name_overrides(settings), self._clock)
        check = rooms.destination_check(resolver, guard)
        broker = Broker(store, id_maker(), new_node(), rooms.broker_limits(settings), check)
        writer = self._open_writer(broker, history, own_readers=reader is not None)
        egress = Egress(rooms.egress_settings(settings, guard), self._clock, resolver)
        self._closing.push_async_callback(egress.close)
        self._dispatcher = dispatcher = self._deliveries(egress, resources, writer, broker)
        sources = self._sources(broker, writer, started)
        figures = partial(exposition, sources)
        if settings.catcher:
            self.catcher = self._catching(self._clock, rooms.all_keys(settings, resources), signed_by=self._machine)
        ports = Ports(
            writer=writer,
            clock=self._clock,
            quota=rooms.quota_of(settings),
            authenticate=resources.authenticate,
            resources=resources,
            sessions=Sessions(self._clock),
            keys=resources.keys,
            rotate_keys=partial(self._rotate_keys, writer, resources),
            check_destination=check,
            request_id=self._request_id,
            figures=figures,
            info=partial(rooms.self_description, settings, started, seals),
            settings=settings.shown,
            storage=partial(storage, self._directory),
            not_ready=lambda: self._not_ready,
            trusted_proxies=settings.trusted_proxy,
            catcher=self.catcher,
            tracing=None if self._tracing is None else self._tracing.spans,
            boards=broker.boards,
            streams=self._streams,
            examine=egress.examine,
            console=rooms.console_settings(settings),
            openid=self._openid(guard),
            dedup_window_ms=settings.dedup_window,
            rate_limit=settings.rate_limit,
            counters=self.counters,
        )
        self._open_webs(Api(ports), figures)
        scheduler = Scheduler(writer.run, self._clock, store.used_bytes, store.shrink, settings.history_size)

        # From here on things are done that last.
        self.made = seed(settings, broker, resources, started)
        broker.open(socket.gethostname(), started)
        self._closing.push_async_callback(writer.close)
        self._closing.push_async_callback(note_uses, writer, resources)
        writer.attach(dispatcher.room, dispatcher.begin, self._fail, dispatcher.make_ready)
        if self._tracing is not None:
            self._tracing.watch(partial(readings, sources))
        self._beside(scheduler.loop(), "scheduler")
        self._beside(scheduler.ticks(partial(next_tick, broker), settings.catch_up), "ticks of schedules")
        self._beside(follow_data_keys(writer, store, seals), "data keys")
        self._beside(scheduler.jobs(lambda: broker.job_alarm, store.empty_log), "bulk jobs")
        self._beside(follow_tokens(writer, resources, elsewhere=reader is not None), "tokens")
        self._beside(follow_ages(ports), "ages")
        if self._directory is not None:
            self._beside(follow_growth(ports), "growth")
        await self._accept()

    def _open_writer(self, broker: Broker, history: History, *, own_readers: bool) -> Writer:
        self._writer = Writer(broker, history, self._clock, own_readers=own_readers, reserve=self._reserve)
        return self._writer

    def _deliveries(self, egress: Egress, resources: Resources, writer: Writer, broker: Broker) -> Dispatcher:
        """Return the delivery loop."""
        settings = self.settings
        told: Callable[[Claimed, Outcome], None] = AttemptLog(settings.log_attempts, self._machine)
        spans = None if self._tracing is None else self._tracing.spans
        return Dispatcher(
            egress,
            self._machine,
            resources.keys if settings.upstash_signature else lambda _: None,
            writer.settle,
            capacity=settings.concurrency,
            timeout_ms=rooms.quota_of(settings).timeout,
            region=settings.region,
            lease=self._lease,
            lost=self._lease_lost,
            late=broker.tally.lag_s.add,
            told=told if spans is None else spans.also(told),
            traced=None if spans is None else spans.begin,
        )

    def _openid(self, guard: GuardPolicy) -> OpenId | None:
        """Return who logs people in by a provider; None if nobody is to."""
        if self.settings.oidc_issuer is None:
            return None
        made, egress = openid(self.settings, rooms.egress_settings(self.settings, guard), self._machine)
        self._closing.push_async_callback(egress.close)
        return made

    def _beside(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do work beside everything else until the server ends."""
        self._closing.push_async_callback(_cancelled, self._watched(work, name))

    async def _accept(self) -> None:
        """Accept requests, and say where."""
        self._beside(self._watchdog.run(), "watchdog")
        self._watched(self._web.serve(self._sockets), "web server")
        await self._web.accepting.wait()
        if self._scrape is not None:
            self._watched(self._scrape.serve(self._scraped), "port for metrics")
            await self._scrape.accepting.wait()
        self._not_ready = None
        log.info("ready", url=self.url, mode=self.settings.command, store=str(self._directory or "memory"))
        if self._scraped:
            host, port = shown_host(self.settings.metrics_host), self._scraped[0].getsockname()[1]
            log.info("figures", url=f"{self.url.partition(':')[0]}://{host}:{port}/metrics")

    def _bind(self) -> None:
        """Lock the directory and listen, so that a second server ends before it touches anything."""
        settings = self.settings
        if self._directory is not None:
            lock = sqlite.lock_directory(self._directory)
            self._closing.callback(os.close, lock)
            self._lease = partial(sqlite.still_locked, self._directory, lock)
            kind = sqlite.file_system(self._directory)
            if sqlite.is_network(kind) and not settings.allow_network_files:
                raise InvalidSettings(
                    f"data-dir {self._directory} is on a network file system ({kind}), whose locks and fsync may lie; "
                    "--allow-network-files takes that risk"
                )
        for port in (settings.port, settings.log_port):
            if port is not None:
                for bound in listen(settings.host, port, optional=_OPTIONAL_HOSTS):
                    self._sockets.append(bound)
                    self._closing.callback(bound.close)
        if settings.metrics_port is not None:
            for bound in listen(settings.metrics_host, settings.metrics_port, optional=_OPTIONAL_HOSTS):
                self._scraped.append(bound)
                self._closing.callback(bound.close)
        self.port = int(self._sockets[0].getsockname()[1])

    def _open_store(self) -> tuple[SqliteStore, SqliteStore | None, Seals | None]:
        """Return the store, a second connection that only reads (in memory there is none), and their keys if any."""
        now = self._clock.wall()
        try:
            if self._directory is None:
                store = sqlite.open_memory(now)
                self._closing.callback(store.close)
                return store, None, unlocked(self.settings, store, None, now)
            self._reserve = Reserve(self._directory, self.settings.reserve or 0)
            store = sqlite.open_file(self._directory, now)
            self._closing.callback(store.close)
            reader = sqlite.open_reader(self._directory)
        except apsw.Error as error:
            raise StoreFailed(f"the store cannot be opened: {sqlite.reason(error)}") from error
        self._closing.callback(reader.close)
        return store, reader, unlocked(self.settings, store, reader, now)

    def _open_webs(self, api: Api, figures: Callable[[], bytes]) -> None:
        self._web = _Web(self._web_config(api, api.lane))
        if self._scraped:
            self._scrape = _Web(self._web_config(Scrape(figures), None))

    def _web_config(self, app: Any, lane: FastLane | None) -> uvicorn.Config:  # noqa: ANN401 - As uvicorn's.
        settings = self.settings
        proxies = Proxies(settings.trusted_proxy)
        protocol = protocol_class(ConnectionLimits(), self._machine, self._request_id, proxies.trusts, lane)
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, settings.drain // SECOND),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        try:
            config.load()
        except OSError as error:  # An unreadable file, or (as ssl.SSLError) one without what it should hold.
            raise InvalidSettings(f"tls-cert, tls-key: {error.strerror or error}") from None
        return config

    async def _rotate_keys(self, writer: Writer, resources: Resources, tenant: Tenant) -> KeyPair:
        """Rotate on the store's thread; in ``dev`` until the restart only, or SDKs would not find it again."""
        lasting = self.settings.command == "serve"
        return await writer.run(lambda _, now: resources.rotate_keys(tenant, now, lasting=lasting))

    def _watched(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work that should only end when told; anything else is a failure of the whole server."""

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and self._not_ready is None:
                self._fail(task.exception() or RuntimeError(f"the {name} has ended by itself"))

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(done)
        self._tasks.append(task)  # The loop alone would not keep it.
        return task

    def _sources(self, broker: Broker, writer: Writer, started: Millis) -> Sources:
        """Say where the figures of ``/metrics`` come from."""
        settings = self.settings
        return Sources(
            tally=broker.tally,
            clock=self._clock,
            counts=self.counters.snapshot,
            in_flight=lambda: self._dispatcher.open_attempts,
            backlog=lambda: writer.backlog,
            paused=lambda: broker.halted,
            tight=lambda: writer.tight,
            lag=lambda: self._watchdog.lag,
            ready=lambda: self._not_ready is None,
            directory=self._directory,
            concurrency=settings.concurrency,
            global_parallelism=settings.global_parallelism or settings.concurrency,
            mode=settings.command,
            started=started,
        )

    def _lease_lost(self) -> None:
        self.counters.add("lease_lost")
        self._fail(StoreLocked("the lock file of the data directory was removed or replaced"))

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self._ended.set()


class _Web(uvicorn.Server):
    """uvicorn without its signal handlers, which tells when it accepts connections and when it has ended."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()
        self._done = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self._done.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    async def end(self) -> None:
        """Accept no more, answer what is open, and return when all connections are closed."""
        self.should_exit = True
        await self._done.wait()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # Ours are in ``process``.
        return nullcontext()


def _request_ids() -> Callable[[], str]:
    """Return what makes the ids of this server's requests: unique, also after a restart; no secret."""
    prefix, numbers = secrets.token_hex(5), itertools.count()
    return lambda: f"req_{prefix}{next(numbers):010x}"


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
