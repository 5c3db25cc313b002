"""What users do with queues: configure, pause, resume, delete.

Each change is one transaction with all that follows from it: after a pause no message of the queue starts,
after more slots the next messages stand armed. Only a deletion may take several, for a queue can be a
million messages long: the first takes the name away and everything that could still start, so to every
reader the queue is gone at once; the rest is emptied piece by piece, by the caller or by the next sweep.
"""

from __future__ import annotations

from msgspec.structs import replace

from lateron.broker.ledger import Ledger
from lateron.broker.messages import PAGE, MessageBroker
from lateron.core import flow
from lateron.core import message as life
from lateron.core.queue import Queue, QueueName
from lateron.core.values import AT_REST, Message, Millis, QueueKind, State, Tenant
from lateron.errors import NotFound
from lateron.store.sql import Verbs


class QueueBroker(MessageBroker):
    """The hot verbs of ``MessageBroker``, and those of queues."""

    def set_queue(
        self, tenant: Tenant, name: str, now: Millis, *, parallelism: int | None = None, paused: bool | None = None
    ) -> Queue:
        """Make a queue, or configure one; None leaves a setting as it is.

        Raises:
            QuotaExceeded: It would be one too many.
        """
        with self._store.transaction() as tx:
            ledger = self._ledger(tx, now)
            found = self._open_queue(tx, ledger, QueueName(tenant, QueueKind.NAMED, name))
            self._configure(tx, ledger, found, parallelism, paused)
            done = self._finish(ledger, found.id)
        self._settle()
        return done

    def pause_queue(self, tenant: Tenant, name: str, now: Millis, *, paused: bool) -> Queue:
        """Pause a queue, or let it go on.

        Raises:
            NotFound: There is no such queue.
        """
        with self._store.transaction() as tx:
            ledger = self._ledger(tx, now)
            found = ledger.find_queue(QueueName(tenant, QueueKind.NAMED, name))
            if found is None:
                raise NotFound("queue", name)
            self._configure(tx, ledger, found, None, paused)
            done = self._finish(ledger, found.id)
        self._settle()
        return done

    def delete_queue(self, tenant: Tenant, name: str, now: Millis) -> int | None:
        """Delete a queue with its messages; an attempt that is open may still end.

        Returns:
            The number to call ``empty_queue`` with until it says that nothing is left; None if there was no queue.
        """
        with self._store.transaction() as tx:
            ledger = self._ledger(tx, now)
            found = ledger.find_queue(QueueName(tenant, QueueKind.NAMED, name))
            if found is None:
                return None
            ledger.set_queue(replace(found, deleted=True, paused=False, updated=now))
            self._cancel(tx, ledger, [m for m in tx.slot_holders(found.id) if m.state < AT_REST])
            self._cancel_heads(tx, ledger, found.id)
            self._finish(ledger, found.id)
        self._settle()
        return found.id

    def empty_queue(self, queue_id: int, now: Millis) -> bool:
        """Cancel a piece of what stands in a deleted queue; say whether there may be more."""
        with self._store.transaction() as tx:
            ledger = self._ledger(tx, now)
            ledger.hold_queues([queue_id])
            count = self._cancel_heads(tx, ledger, queue_id)
            ledger.write()
        self._settle()
        return count == PAGE

    def _finish(self, ledger: Ledger, queue_id: int) -> Queue:
        ledger.write()
        self._alarm = flow.earlier(self._alarm, ledger.next_due())  # If the commit fails, a look too many.
        return ledger.queue(queue_id)

    def _configure(self, tx: Verbs, ledger: Ledger, found: Queue, parallelism: int | None, paused: bool | None) -> None:
        """Change settings, and move the messages that have a slot to where they now belong."""
        changed = replace(
            found,
            parallelism=found.parallelism if parallelism is None else parallelism,
            paused=found.paused if paused is None else paused,
            updated=ledger.now,
        )
        ledger.set_queue(changed)
        if changed.paused == found.paused and changed.held <= changed.parallelism:
            return
        seen = tx.slot_holders(found.id)
        ledger.hold_known(message.lane for message in seen)
        ledger.foresee()
        stored = tx.load_messages([message.id for message in seen])
        holders = [stored[m.id] for m in seen if stored[m.id].state in {State.WAITING, State.HELD}]
        excess = changed.held - changed.parallelism
        for message in reversed(holders):  # The last ones give up their slots first.
            if excess > 0 and message.attempt == 0:
                ledger.move(message, life.unarm(message))
                excess -= 1
            elif changed.paused and message.state is State.WAITING:
                ledger.move(message, life.hold(message))
            elif not changed.paused and message.state is State.HELD:
                ledger.move(message, life.let_go(message, ledger.now))

    def _cancel_heads(self, tx: Verbs, ledger: Ledger, queue_id: int) -> int:
        """Cancel the first messages that wait for a slot; return how many."""
        heads = [message_id for message_id, _, _ in tx.queue_heads(queue_id, PAGE)]
        self._cancel(tx, ledger, list(tx.read_messages(heads).values()) if heads else [])
        return len(heads)

    def _cancel(self, tx: Verbs, ledger: Ledger, messages: list[Message]) -> None:
        ledger.hold_known(message.lane for message in messages)
        for message in tx.load_messages([message.id for message in messages]).values():
            transition = life.cancel(message, ledger.now)
            if transition is None:
                continue
            if transition.message.state is State.ACTIVE:
                ledger.record(transition)
            else:
                ledger.leave(message, transition)
