"""The verbs of queues, a part of ``store.sql.Verbs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lateron.core.queue import Queue
from lateron.core.values import MessageId, QueueKind, Tenant
from lateron.store.interface import Row
from lateron.store.rows import BUCKETS, Statements, integer, octets

_KINDS: Final = {kind.value: kind for kind in QueueKind}


class QueueVerbs(Statements):
    """Rows of queues, and the lines before them."""

    def load_queues(self, ids: Sequence[int]) -> dict[int, Queue]:
        """Read and lock queues."""
        return {queue.id: queue for queue in map(_queue, self._run_ids("load_queues", ids))}

    def read_queues(self, ids: Sequence[int]) -> dict[int, Queue]:
        """Read queues without a lock."""
        return {queue.id: queue for queue in map(_queue, self._run_ids("read_queues", ids))}

    def find_queue(self, tenant: Tenant, kind: QueueKind, name: str) -> Queue | None:
        """Read the queue of a name, without a lock."""
        rows = self._run("find_queue", (tenant, kind, name))
        return _queue(rows[0]) if rows else None

    def list_queues(self, tenant: Tenant) -> list[Queue]:
        """Read the queues of a tenant that have a name, by name."""
        return [_queue(row) for row in self._run("list_queues", (tenant, QueueKind.NAMED))]

    def count_queues(self, tenant: Tenant) -> int:
        """Count the queues of a tenant that have a name."""
        return integer(self._run("count_queues", (tenant, QueueKind.NAMED))[0][0])

    def deleted_queues(self, limit: int) -> list[int]:
        """Name queues that were deleted and are not yet empty."""
        return [integer(row[0]) for row in self._run("deleted_queues", (limit,))]

    def save_queues(self, queues: Sequence[Queue]) -> None:
        """Store queues, new ones too."""
        self._run_rows("save_queues", [_queue_row(queue) for queue in queues])

    def drop_queues(self, ids: Sequence[int]) -> None:
        """Forget queues."""
        self._run_ids("drop_queues", ids)

    def queue_heads(self, queue: int, limit: int) -> list[tuple[MessageId, int, int]]:
        """Read (message, lane, seq) of the first that wait for a slot, in their order."""
        rows = self._run("queue_heads", (queue, limit))
        return [(MessageId(octets(m)), integer(lane), integer(seq)) for m, lane, seq in rows]

    def release_slots(self, ids: Sequence[MessageId]) -> list[int]:
        """Take back the slots of messages whose whole family rests; return the queue of each."""
        return [integer(row[0]) for row in self._run_ids("release_slots", ids)]


def _queue_row(q: Queue) -> Row:
    return (q.id, q.tenant, q.kind, q.name, q.parallelism, int(q.paused), int(q.deleted), q.held, q.lag, q.next_seq,
            q.created, q.updated, q.id & BUCKETS)  # fmt: skip


def _queue(row: Row) -> Queue:
    values: list[object] = list(row)
    values[2] = _KINDS[integer(row[2])]
    values[5], values[6] = bool(row[5]), bool(row[6])
    return Queue(*values)  # type: ignore[arg-type]
