"""The delivery loop: what the broker has claimed is sent, and how it ended goes back.

The dispatcher does not know why a message is due, nor what becomes of it. It has a fixed number of places
for open attempts, says how many are free, signs and sends, and hands every outcome to the writer. A
claimed message is ACTIVE in the store from before its first byte is sent until its outcome is committed.

Nothing is sent without the lease: right before attempts begin the store is asked whether it is still ours alone.
If not, another process may have taken these messages over; they are not sent, and this process must end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from lateron.broker.views import KeyPair, Result
from lateron.core.destination import parse_destination
from lateron.core.digest import body_sha256
from lateron.core.headers import attempt_headers, lasting_headers
from lateron.core.ids import message_text
from lateron.core.signature import sign
from lateron.core.values import SECOND, Claimed, MessageId, Millis, Outcome, Tenant
from lateron.egress import Delivery, Egress, encode_head
from lateron.runtime import Clock

log = logging.getLogger("lateron.dispatcher")

READY_MS = SECOND  # How long what was made ready is good: a signature is dated.

INTERNAL = Outcome(error="internal", detail="the attempt failed inside this server")
CORRUPT = Outcome(error="corrupt", detail="the stored request does not match its digest; nothing was sent")


class Dispatcher:
    """Sends claimed messages, at most ``capacity`` at a time.

    Args:
        egress: Sends one attempt.
        clock: Dates signatures.
        keys: Gives a tenant's signing keys; None leaves its requests unsigned.
        settle: Takes each outcome.
        capacity: Open attempts of this node.
        timeout_ms: Of an attempt whose publisher named none.
        region: Value of ``upstash-region``; None sends none.
        lease: Says whether this process still is the one that may send.
        lost: Is told when it is not.
        late: Is told of each message how many seconds after its time it is sent.
        told: Is told how each attempt ended; None if nobody wants to know.
        traced: Begins to follow an attempt, and returns the message as it is to be sent; None if nobody follows.
    """

    def __init__(
        self,
        egress: Egress,
        clock: Clock,
        keys: Callable[[Tenant], KeyPair | None],
        settle: Callable[[Result], None],
        *,
        capacity: int,
        timeout_ms: Millis,
        region: str | None = None,
        lease: Callable[[], bool] = lambda: True,
        lost: Callable[[], None] = lambda: None,
        late: Callable[[float], None] = lambda _: None,
        told: Callable[[Claimed, Outcome], None] | None = None,
        traced: Callable[[Claimed], Claimed] | None = None,
    ) -> None:
        self._egress = egress
        self._clock = clock
        self._keys = keys
        self._settle = settle
        self._capacity = capacity
        self._timeout_ms = timeout_ms
        self._region = region
        self._lease = lease
        self._lost = lost
        self._late = late
        self._told = told
        self._traced = traced
        self._open: dict[MessageId, Claimed] = {}
        self._ready: dict[MessageId, tuple[Claimed, Delivery, bytes]] = {}  # What begins if a commit succeeds, encoded.
        self._ready_at: Millis = 0  # Since when.
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._draining = False
        self._cut = False  # Too late: outcomes are no longer taken.

    def room(self) -> int:
        """Return how many attempts may be opened now."""
        return 0 if self._draining else self._capacity - len(self._open)

    @property
    def open_attempts(self) -> int:
        """How many attempts are open."""
        return len(self._open)

    @property
    def claimed(self) -> tuple[Claimed, ...]:
        """The messages whose attempts are open."""
        return tuple(self._open.values())

    def make_ready(self, claimed: Sequence[Claimed]) -> None:
        """Sign and encode, ahead of ``begin``, what begins if the commit under way succeeds; send nothing.

        The first that fails ends this: it fails again where its attempt begins, and is told there.
        """
        ready = self._ready = {}
        if self._traced is not None:
            return  # A trace is in what is sent, and begins with the attempt.
        self._ready_at = self._clock.wall()
        with suppress(Exception):
            for item in claimed:
                if item.intact:
                    delivery = self._delivery(item)
                    ready[item.message.id] = (item, delivery, encode_head(delivery))

    def begin(self, claimed: Sequence[Claimed]) -> None:
        """Open an attempt for each message; those that come after a drain began go back unsent."""
        unsent = self._draining
        if not self._lease():
            log.critical("the lock on the data directory is gone; nothing is sent any more")
            unsent = True
            self._lost()
        now, late = self._clock.wall(), self._late
        if not 0 <= now - self._ready_at <= READY_MS:
            self._ready = {}
        for item in claimed:
            if unsent:
                self._settle(Result(item, None))
            elif not item.intact:
                log.error("message %s: %s", message_text(item.message.id), CORRUPT.detail)
                self._settle(Result(item, CORRUPT))
            else:
                late(max(0, now - item.message.due) / SECOND)
                sent = item if self._traced is None else self._followed(item, self._traced)
                self._open[item.message.id] = sent
                self._begin(sent)
        self._ready = {}  # Of what does not begin, no body is kept.

    async def drain(self, seconds: float) -> int:
        """Open no more attempts, and wait until those open have ended, at most so long.

        Returns:
            How many were still open then. They are broken off; the next start calls their destinations again.
        """
        self._draining = True
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        self._cut = True
        for task in self._tasks:
            task.cancel()
        return len(self._open)

    def _followed(self, item: Claimed, traced: Callable[[Claimed], Claimed]) -> Claimed:
        """Return a message as it is to be sent by who follows it, or as it is."""
        try:
            return traced(item)
        except Exception:
            log.exception("an attempt of message %s could not be followed", message_text(item.message.id))
            return item

    def _begin(self, claimed: Claimed) -> None:
        """Send on a kept connection if there is one, else in a task that may wait for a name and a handshake."""
        try:
            ready = self._ready.pop(claimed.message.id, None)
            if ready is not None and ready[0] is claimed:  # A turn that came to nothing may have claimed it, too.
                _, delivery, head = ready
            else:
                delivery, head = self._delivery(claimed), None
            if self._egress.send_kept(delivery, partial(self._end, claimed), head):
                return
        except Exception:
            # A bug of ours. It costs a retry, so that a message that always meets it comes to rest.
            log.exception("an attempt of message %s failed inside", message_text(claimed.message.id))
            asyncio.get_running_loop().call_soon(self._end, claimed, INTERNAL)
            return
        task = asyncio.get_running_loop().create_task(self._send(claimed, delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, claimed: Claimed, delivery: Delivery) -> None:
        self._end(claimed, await self._egress.send(delivery))

    def _end(self, claimed: Claimed, outcome: Outcome) -> None:
        """Hand on how an attempt ended."""
        if self._cut:
            return
        del self._open[claimed.message.id]
        if self._draining and not self._open:
            self._empty.set()
        self._settle(Result(claimed, outcome))
        if self._told is not None:
            try:
                self._told(claimed, outcome)
            except Exception:  # Whoever looks on loses no outcome.
                log.exception("the end of an attempt of message %s could not be told", message_text(claimed.message.id))

    def _delivery(self, claimed: Claimed) -> Delivery:
        """Sign a message and say how to send it."""
        message, request = claimed.message, claimed.request
        keys = self._keys(message.tenant)
        signature = None
        if keys is not None:
            # The id of the attempt: a receiver that remembers it knows a replay from a retry.
            jti = f"jwt_{message.id.hex()}{message.attempt:x}"
            signature = sign(keys.current, request.url, body_sha256(request.body), self._clock.wall(), jti)
        return Delivery(
            tenant=message.tenant,
            destination=parse_destination(request.url),
            method=request.method,
            headers=lasting_headers(request, self._region),
            body=request.body or b"",
            timeout_ms=request.options.timeout_ms or self._timeout_ms,
            own=attempt_headers(message, request, signature),
        )
