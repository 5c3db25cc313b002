"""The one door to the store's writing connection, for the asynchronous rooms.

What arrives while a transaction is under way is gathered and becomes the next one: group commit. A turn
under load carries dozens of publications and results at the price of one fsync; alone, one of them waits
for nobody. No ``await`` stands inside a transaction. The statements of a turn run on the loop's own thread:
they are short, and handing the interpreter's lock to and fro for each costs more than they do. Its commit,
which waits for the disk, and all cold work run on the store's thread. Reads have a second thread with a
connection that cannot write.

An error is told apart by what is known: after ``StorageFull`` and ``StoreBusy`` nothing was stored, and results
are kept and settled again; after ``StoreFailed`` the outcome is unknown, nothing more is acknowledged, and the
process must end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from lateron.broker.bulk import NEWEST, Broker, Cancelled
from lateron.broker.history import History
from lateron.broker.publishing import FULL
from lateron.broker.views import Accepted, Answered, Item, Prepared, Result, Turn
from lateron.core.audit import Note
from lateron.core.publish import GroupPublication
from lateron.core.values import Claimed, Filter, Millis, Overrides, Publication, Tenant
from lateron.core.values import MessageId as MessageId  # noqa: PLC0414 # Part of the signatures below.
from lateron.errors import Overloaded, StorageFull, StoreBusy, StoreFailed
from lateron.runtime import Alarm, Clock, Nanos
from lateron.store.reserve import Reserve
from lateron.worker import Ended, Work, Worker

log = logging.getLogger("lateron.writer")

T = TypeVar("T")

_note: ContextVar[Note | None] = ContextVar("note", default=None)

Done: TypeAlias = Callable[[tuple[Answered, ...] | BaseException], None]
Publishes: TypeAlias = list[tuple[tuple[Item, ...], int, Done]]  # The number: bytes of the bodies.

PENDING_BYTES = 256 << 20  # Bodies that may wait for their transaction; above it publishes are refused.
PENDING_ITEMS = 20_000
TURN_ITEMS = 250  # Of each kind in one transaction; more would hold the loop too long.
AHEAD_ITEMS = 8  # Attempts that are worth making ready; for fewer, to let the commit begin first takes longer.
BEHIND_ITEMS = 32  # Of publishes, while messages that are due wait for their turn.
TURN_FAN_OUTS = 4  # Requests with URL groups or schedules in one transaction: each may become thousands of rows.
FULL_PAUSE = 1.0  # Seconds between tries to settle while the disk is full.
FAILED_PAUSE = 1.0  # Seconds until the next turn after one that met a bug, unless somebody waits for one.
BUSY_PAUSE = 0.02  # Seconds between tries while another program holds the file.
BUSY_PATIENCE_NS = 5_000_000_000  # How long publishers are kept waiting for it.
LONGEST_SLEEP = 1.0  # Seconds; a stepped wall clock is noticed after so long at the latest.


class Writer:
    """Gathers publications, results and cold work into transactions; see the module.

    Args:
        broker: The verbs; called on the store's thread only.
        history: Reads; called on the readers' thread, or on the store's thread where it has no other connection.
        clock: Gives each turn its time.
        own_readers: Whether reads have a connection of their own.
        reserve: Room on the disk for when it is full; None if there is no disk.
    """

    def __init__(
        self,
        broker: Broker,
        history: History,
        clock: Clock,
        *,
        own_readers: bool = True,
        reserve: Reserve | None = None,
    ) -> None:
        self._reserve = reserve
        self._broker = broker
        self._history = history
        self._clock = clock
        self._worker = Worker("lateron-store")
        self._readers = ThreadPoolExecutor(1, "lateron-read") if own_readers else None
        self._publishes: Publishes = []
        self._results: list[Result] = []
        self._cold: list[tuple[Callable[[Broker, Millis], Any], asyncio.Future[Any]]] = []
        self._pending_bytes = 0
        self._busy = False
        self._cold_last = False  # Cold work had the last turn; the next is for the others.
        self._behind = False  # What was claimed last had waited: deliveries do not keep up with publishes.
        self._scheduled = False
        self._alarm: Alarm | None = None
        self._next_due: Millis | None = 0
        self._failure: StoreFailed | None = None
        self._held: Nanos | None = None  # Since when another program has held the file.
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._room: Callable[[], int] = lambda: 0
        self._make_ready: Callable[[Sequence[Claimed]], None] = lambda _: None
        self._begin: Callable[[Sequence[Claimed]], None] = lambda _: None
        self._fail: Callable[[StoreFailed], None] = lambda _: None

    def attach(
        self,
        room: Callable[[], int],
        begin: Callable[[Sequence[Claimed]], None],
        fail: Callable[[StoreFailed], None],
        make_ready: Callable[[Sequence[Claimed]], None] = lambda _: None,
    ) -> None:
        """Connect the delivery loop.

        Args:
            room: How many attempts it could begin.
            begin: Begins attempts, once they are durable.
            fail: Ends a failed process.
            make_ready: Told of attempts that begin if the commit under way succeeds; nothing of them may leave
                the process.
        """
        self._room, self._begin, self._fail, self._make_ready = room, begin, fail, make_ready
        if self._reserve is not None and self._reserve.spent:
            self._tighten()
        self._kick()

    async def publish(self, items: Sequence[Publication]) -> tuple[Accepted, ...]:
        """Store messages to URLs; see ``publish_any``."""
        return cast("tuple[Accepted, ...]", await self.publish_any(items))

    async def publish_any(self, items: Sequence[Item]) -> tuple[Answered, ...]:
        """Store messages, to URLs or to groups, and schedules, in one transaction; return once they are durable.

        Returns:
            One answer per item. That to a group or a schedule may be an error; the others are stored all the same.

        Raises:
            Overloaded: Too much waits already, or another program holds the file; nothing was stored.
            StorageFull: Nothing was stored.
            StoreFailed: Unknown whether they are stored.
        """
        answer: asyncio.Future[tuple[Answered, ...]] = asyncio.get_running_loop().create_future()
        self.publish_nowait(items, partial(_resolve, answer))
        return await answer

    def publish_nowait(self, items: Sequence[Item], done: Done) -> None:
        """Store messages as ``publish`` does; for a caller that is no coroutine.

        Args:
            items: What to store, all in one transaction.
            done: Is called on the loop once they are durable, or with what ``publish`` would have raised then.

        Raises:
            Overloaded: As in ``publish``; ``done`` is not called.
            StorageFull: Likewise; the reserve of the disk is in use, and is not for new messages.
            StoreFailed: Likewise.
        """
        if self._failure is not None:
            raise self._failure
        if self._broker.tight:
            raise StorageFull(FULL)
        size = 0
        for item in items:
            size += len(_body(item) or b"")
        if len(self._publishes) >= PENDING_ITEMS or self._pending_bytes + size > PENDING_BYTES:
            raise Overloaded("too many publications wait to be stored")
        self._pending_bytes += size
        self._publishes.append((tuple(items), size, done))
        if not (self._busy or self._scheduled):  # Why not only there: with each message it would be a call for nothing.
            self._kick()

    def settle(self, result: Result) -> None:
        """Record how an attempt ended, in the next transaction."""
        self._results.append(result)
        if not (self._busy or self._scheduled):  # As above.
            self._kick()

    async def run(self, work: Callable[[Broker, Millis], T]) -> T:
        """Run cold work on the store's thread, between turns; it makes its own transaction.

        Inside ``noting`` that transaction writes the note, too.
        """
        return await self._run(work, _note.get())

    async def _run(self, work: Callable[[Broker, Millis], T], note: Note | None) -> T:
        if self._failure is not None:
            raise self._failure
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._cold.append((work if note is None else partial(_noted, note, work), answer))
        self._kick()
        return await answer

    async def read(self, work: Callable[[History], T]) -> T:
        """Run a read on the readers' thread, or between turns where it has no connection of its own."""
        if self._readers is None:
            return await self._run(lambda *_: work(self._history), None)  # A look is no change.
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, self._history)

    async def cancel(self, tenant: Tenant, selection: Filter, limit: int | None = None) -> int:
        """Cancel what matches, piece by piece; messages published meanwhile are not touched."""
        done, before = 0, NEWEST
        while True:
            left = None if limit is None else limit - done
            piece = await self.run(partial(_cancel, tenant, selection, left, before))
            done += piece.count
            if piece.before is None:
                return done
            before = piece.before

    async def delete_queue(self, tenant: Tenant, name: str) -> bool:
        """Delete a queue with its messages, piece by piece; say whether there was one."""
        queue_id = await self.run(lambda broker, now: broker.delete_queue(tenant, name, now))
        if queue_id is None:
            return False
        while await self.run(lambda broker, now: broker.empty_queue(queue_id, now)):
            pass
        return True

    async def redrive(
        self, tenant: Tenant, selection: Filter, overrides: Overrides, limit: int
    ) -> tuple[MessageId, ...]:
        """Publish dead letters anew, at most ``limit``."""
        redriven = await self.run(lambda broker, now: broker.redrive(tenant, selection, overrides, now, limit))
        return redriven.messages

    @property
    def backlog(self) -> int:
        """How many publications and outcomes wait for their transaction."""
        return len(self._publishes) + len(self._results)

    @property
    def busy(self) -> bool:
        """Whether something waits to be stored, or is being stored."""
        return not self._idle.is_set()

    async def settled(self) -> None:
        """Return once nothing waits to be stored."""
        await self._idle.wait()

    async def close(self) -> None:
        """Store what waits, give back what is open, then end the threads. Nothing may be handed in any more.

        Results for which there is no room, or no turn, are given up: their attempts are made again by the next start.
        """
        if self._closing:
            return
        self._closing = True
        self._kick()  # Whoever waits for a better time has waited long enough.
        await self._idle.wait()
        self._room = lambda: 0  # No turn may claim again what is given back.
        with suppress(StorageFull, StoreBusy, StoreFailed):  # Else the next start takes it back, as after a death.
            await self.run(lambda broker, now: broker.leave(now))
            await self._idle.wait()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._worker.close)
        if self._readers is not None:
            await loop.run_in_executor(None, self._readers.shutdown)

    def wake(self) -> None:
        """Look for due messages now: there is room again, or time has passed."""
        self._next_due = 0
        self._kick()

    def _kick(self) -> None:
        """Begin a transaction once this round of the loop has handed in all it has."""
        if not self._busy and not self._scheduled and self._failure is None:
            self._scheduled = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Begin the next piece of work, if there is any."""
        self._scheduled = False
        if self._busy or self._failure is not None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        room = self._room()
        due = room > 0 and self._next_due is not None and self._next_due <= self._clock.wall()
        hot = bool(self._publishes or self._results or due)
        # Bulk work is handed in piece by piece, each as the last is done: without turns between them it would
        # keep everybody else waiting until its end.
        if self._cold and not (hot and self._cold_last):
            self._cold_last = True
            work, answer = self._cold.pop(0)
            self._submit(partial(self._cold_work, work), partial(self._answered, work, answer))
            return
        if hot:
            self._cold_last = False
            length = _turn_length(self._publishes, self._most_publishes())
            publishes, self._publishes = self._publishes[:length], self._publishes[length:]
            results, self._results = self._results[:TURN_ITEMS], self._results[TURN_ITEMS:]
            turn = Turn(tuple([items for items, _, _ in publishes]), tuple(results), room)
            self._turn(turn, publishes)
            return
        self._idle.set()
        if room > 0 and self._next_due is not None:
            seconds = (self._next_due - self._clock.wall()) / 1000
            self._alarm = self._clock.wake(self._kick, after=seconds, recheck=LONGEST_SLEEP)

    def _most_publishes(self) -> int:
        """Return how many requests the next transaction may take.

        A message that was published while others wait costs half as much again as one that starts at once. Were
        publishes taken as they come, a backlog that too much load has left behind would grow under a load that the
        server bears easily without it. So deliveries go first until nothing waits that could have started.
        """
        return max(BEHIND_ITEMS, len(self._results) // 2) if self._behind else TURN_ITEMS

    def _turn(self, turn: Turn, publishes: Publishes) -> None:
        """Run the statements of a turn here, and its commit on the store's thread."""
        now, began = self._clock.wall(), self._clock.mono()
        try:
            prepared = self._broker.prepare(turn, now)
        except Exception as error:  # noqa: BLE001 # Told to those who wait; the loop goes on.
            self._turn_failed(turn, publishes, error)
            return
        self._submit(partial(self._broker.commit, prepared), partial(self._turned, turn, publishes, now, began))
        claimed = prepared.turned.claimed
        if len(claimed) >= AHEAD_ITEMS:  # The disk writes; under full load there is nothing else to do meanwhile.
            self._worker.let_begin()
            self._make_ready(claimed)

    def _submit(self, work: Work, ended: Ended) -> None:
        self._busy = True
        self._worker.submit(work, ended)

    def _cold_work(self, work: Callable[[Broker, Millis], T]) -> T:
        """Run on the store's thread; the time is read when the work begins."""
        return work(self._broker, self._clock.wall())

    def _answered(
        self,
        work: Callable[[Broker, Millis], Any],
        answer: asyncio.Future[Any],
        result: object,
        error: BaseException | None,
    ) -> None:
        self._busy = False
        if isinstance(error, StorageFull) and self._spend():
            self._cold.insert(0, (work, answer))
            self._kick()
            return
        if isinstance(error, StoreFailed):
            self._broken(error)
        if not answer.done():
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)
        self._next_due = 0  # Cold work may have made something due.
        self._kick()

    def _turned(
        self,
        turn: Turn,
        publishes: Publishes,
        now: Millis,
        began: Nanos,
        prepared: Prepared | None,
        error: BaseException | None,
    ) -> None:
        self._busy = False
        if prepared is None:
            assert error is not None
            self._turn_failed(turn, publishes, error)
            return
        # Here and not beside the commit: two threads that both run Python slow each other down.
        turned = self._broker.conclude(prepared)
        if turned.left:
            self._results = [*turned.left, *self._results]
        self._held = None
        self._broker.tally.write_s.add((self._clock.mono() - began) / 1e9)
        self._next_due = turned.next_due
        if turned.claimed:
            self._behind = turned.claimed[-1].message.created < now
        elif not turn.results:
            self._behind = False
        # Before the answers, so that it comes before all else that they ask for. Why not at once: transactions would be
        # half as large, and cost nearly as much each (docs/performance.md).
        if self._publishes or self._results or self._cold:
            self._kick()
        for (_, size, done), accepted in zip(publishes, turned.accepted, strict=True):
            self._tell(size, done, accepted)
        if turned.claimed:
            self._begin(turned.claimed)
        self._kick()

    def _tell(self, size: int, done: Done, result: tuple[Answered, ...] | BaseException) -> None:
        """Tell a publisher; whatever is wrong with him must not keep the others from being told."""
        self._pending_bytes -= size
        try:
            done(result)
        except Exception:
            log.exception("a publisher could not be told")

    def _turn_failed(
        self,
        turn: Turn,
        publishes: Publishes,
        error: BaseException,
    ) -> None:
        if isinstance(error, StoreBusy) and self._patient():
            self._publishes, self._results = [*publishes, *self._publishes], [*turn.results, *self._results]
            self._later(BUSY_PAUSE)
            return
        if isinstance(error, StoreFailed):
            self._broken(error)
        elif not isinstance(error, StorageFull | StoreBusy):
            log.error("a turn failed", exc_info=error)
        spent = isinstance(error, StorageFull) and self._spend()
        for _, size, done in publishes:
            self._tell(size, done, error)
        if self._failure is not None:
            return
        if spent:
            self._results = [*turn.results, *self._results]
        elif isinstance(error, StorageFull | StoreBusy):
            self._keep(turn.results)
            return
        else:
            # A bug of ours, which the next turn may meet again: it must not become all that the loop does.
            self._later(FAILED_PAUSE)
            if not (self._publishes or self._results or self._cold):
                return
        self._kick()

    def _patient(self) -> bool:
        """Whether who waits for another program may wait on."""
        now = self._clock.mono()
        if self._held is None:
            self._held = now
        return now - self._held < BUSY_PATIENCE_NS and not self._closing

    def _keep(self, results: tuple[Result, ...]) -> None:
        """Keep results that could not be stored, and try again later; at the end there is no later."""
        if self._closing:
            if results:
                log.warning("%d results could not be stored; their attempts are made again", len(results))
            self._kick()
            return
        self._results = [*results, *self._results]
        self._later(FULL_PAUSE)
        if self._publishes or self._cold:
            self._kick()

    @property
    def tight(self) -> bool:
        """Whether the disk was full, and only its reserve is left: nothing new is accepted."""
        return self._broker.tight

    def _spend(self) -> bool:
        """Give the reserve to the store, whose disk is full; False if there is none."""
        if self._reserve is None or not self._reserve.release():
            return False
        self._tighten()
        return True

    def _tighten(self) -> None:
        """Refuse what waits to be published, and look for room from now on."""
        if self._broker.tight:
            return  # Somebody looks for room already.
        log.error("the disk is full; its reserve is in use, and publishes are refused until there is room")
        self._broker.tight = True
        publishes, self._publishes = self._publishes, []
        for _, size, done in publishes:
            self._tell(size, done, StorageFull(FULL))
        asyncio.get_running_loop().call_later(FULL_PAUSE, self._regain)

    def _regain(self) -> None:
        """Make the reserve again if there is room; else look again later."""
        if self._closing or self._failure is not None:
            return
        assert self._reserve is not None
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._reserve.restore).add_done_callback(self._regained)

    def _regained(self, restored: asyncio.Future[bool]) -> None:
        if restored.cancelled():
            return
        assert self._reserve is not None
        if not restored.result() or self._reserve.spent:  # It may have been needed again at once.
            asyncio.get_running_loop().call_later(FULL_PAUSE, self._regain)
            return
        self._broker.tight = False
        log.warning("the disk has room again, and its reserve is back; publishes are accepted")

    def _later(self, seconds: float) -> None:
        # Why not by the clock: the disk and other programs live in the machine's time, whatever ours shows.
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._kick)

    def _broken(self, error: StoreFailed) -> None:
        """Acknowledge nothing more: the process must end."""
        if self._failure is not None:
            return
        self._failure = error
        publishes, self._publishes = self._publishes, []
        for _, size, done in publishes:
            self._tell(size, done, error)
        for _, cold in self._cold:
            if not cold.done():
                cold.set_exception(error)
        self._cold = []
        self._idle.set()
        self._fail(error)


def _turn_length(publishes: Publishes, most: int) -> int:
    """Return how many of the waiting requests the next transaction takes, in their order; ``most`` at most."""
    fan_outs = 0
    for place, (items, _, _) in enumerate(publishes[:most]):
        fan_outs += any([type(item) is not Publication for item in items])  # noqa: C419 # A list is faster.
        if fan_outs > TURN_FAN_OUTS:
            return place
    return most


@contextmanager
def noting(note: Note) -> Iterator[None]:
    """Let what this task does inside the block be noted in the audit log, in the transactions that do it.

    Why of the task and not of each call: a verb that is forgotten would leave no record, and nobody would miss it.
    """
    token = _note.set(note)
    try:
        yield
    finally:
        _note.reset(token)


def _noted(note: Note, work: Callable[[Broker, Millis], T], broker: Broker, now: Millis) -> T:
    with broker.noting(note):
        return work(broker, now)


def _body(item: Item) -> bytes | None:
    return item.body if isinstance(item, GroupPublication) else item.request.body


def _resolve(answer: asyncio.Future[tuple[Answered, ...]], result: tuple[Answered, ...] | BaseException) -> None:
    if answer.done():
        return  # Its client has gone; the message is stored all the same.
    if isinstance(result, tuple):
        answer.set_result(result)
    else:
        answer.set_exception(result)


def _cancel(
    tenant: Tenant, selection: Filter, limit: int | None, before: bytes, broker: Broker, now: Millis
) -> Cancelled:
    return broker.cancel(tenant, selection, now, limit, before)
