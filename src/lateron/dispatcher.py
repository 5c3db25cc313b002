"""The delivery loop: what the broker has claimed is sent, and how it ended goes back.

The dispatcher does not know why a message is due, nor what becomes of it. It has a fixed number of places
for open attempts, says how many are free, signs and sends, and hands every outcome to the writer. A
claimed message is ACTIVE in the store from before its first byte is sent until its outcome is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from lateron.broker.views import KeyPair, Result
from lateron.core.destination import parse_destination
from lateron.core.digest import body_sha256
from lateron.core.headers import delivery_headers
from lateron.core.ids import message_text
from lateron.core.signature import sign
from lateron.core.values import Claimed, Millis, Outcome, Tenant
from lateron.egress import Delivery, Egress
from lateron.runtime import Clock

log = logging.getLogger("lateron.dispatcher")

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
    ) -> None:
        self._egress = egress
        self._clock = clock
        self._keys = keys
        self._settle = settle
        self._capacity = capacity
        self._timeout_ms = timeout_ms
        self._region = region
        self._open: dict[asyncio.Task[None], Claimed] = {}
        self._draining = False

    def room(self) -> int:
        """Return how many attempts may be opened now."""
        return 0 if self._draining else self._capacity - len(self._open)

    @property
    def open_attempts(self) -> int:
        """How many attempts are open."""
        return len(self._open)

    def begin(self, claimed: Sequence[Claimed]) -> None:
        """Open an attempt for each message; those that come after a drain began go back unsent."""
        if self._draining:
            for item in claimed:
                self._settle(Result(item, None))
            return
        loop = asyncio.get_running_loop()
        for item in claimed:
            task = loop.create_task(self._attempt(item))
            self._open[task] = item
            task.add_done_callback(self._close)

    async def drain(self, seconds: float) -> int:
        """Open no more attempts, and wait until those open have ended, at most so long.

        Returns:
            How many were still open then. They are broken off; the next start calls their destinations again.
        """
        self._draining = True
        if self._open:
            await asyncio.wait(tuple(self._open), timeout=seconds)
        left = len(self._open)
        for task in tuple(self._open):
            task.cancel()
        return left

    async def _attempt(self, claimed: Claimed) -> None:
        outcome = await self._send(claimed)
        self._settle(Result(claimed, outcome))

    async def _send(self, claimed: Claimed) -> Outcome:
        if not claimed.intact:
            log.error("message %s: %s", message_text(claimed.message.id), CORRUPT.detail)
            return CORRUPT
        message, request = claimed.message, claimed.request
        keys = self._keys(message.tenant)
        signature = None
        if keys is not None:
            # The id of the attempt: a receiver that remembers it knows a replay from a retry.
            jti = f"jwt_{message.id.hex()}{message.attempt:x}"
            signature = sign(keys.current, request.url, body_sha256(request.body), self._clock.wall(), jti)
        return await self._egress.send(
            Delivery(
                tenant=message.tenant,
                destination=parse_destination(request.url),
                method=request.method,
                headers=delivery_headers(message, request, signature, self._region),
                body=request.body or b"",
                timeout_ms=request.options.timeout_ms or self._timeout_ms,
            )
        )

    def _close(self, task: asyncio.Task[None]) -> None:
        claimed = self._open.pop(task)
        if not task.cancelled() and task.exception() is not None:
            # A bug of ours: the attempt may have reached its destination. It costs a retry, so that a message
            # that always meets it comes to rest in the dead letter queue.
            log.error(
                "an attempt of message %s failed inside", message_text(claimed.message.id), exc_info=task.exception()
            )
            self._settle(Result(claimed, Outcome(error="internal", detail="the attempt failed inside this server")))
