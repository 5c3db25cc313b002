"""How cold work makes messages: in a transaction of its own, as a publish does in a turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lateron.broker.ledger import Ledger
from lateron.core import message as life
from lateron.core.flow import lane_of
from lateron.core.queue import Queue, QueueName, queue_of
from lateron.core.values import MessageId, Millis, Publication
from lateron.errors import StorageFull
from lateron.store.sql import Verbs

FULL = "the disk under the store was full; what is left is kept for what is under way"


class Publishing:
    """One transaction in which cold work makes messages; they enter as those of a publish do."""

    def __init__(
        self,
        tx: Verbs,
        ledger: Ledger,
        new_id: Callable[[Millis], MessageId],
        open_queue: Callable[[Verbs, Ledger, QueueName], Queue],
        *,
        tight: bool,
    ) -> None:
        self._tight = tight
        self.tx = tx
        self._new_id = new_id
        self._now = ledger.now
        self.ledger = ledger
        self._open_queue = open_queue

    def create(self, publications: Sequence[Publication]) -> list[MessageId]:
        """Make messages of publications, in order; whether they are duplicates is not asked.

        Raises:
            StorageFull: The disk was full, and takes nothing new.
        """
        if self._tight and publications:
            raise StorageFull(FULL)
        ledger = self.ledger
        names = [queue_of(publication.tenant, publication.request.options) for publication in publications]
        ledger.find_queues(name for name in names if name is not None)
        for name in names:
            if name is not None:
                self._open_queue(self.tx, ledger, name)
        made = [(p, life.create(p, self._new_id(self._now), self._now)) for p in publications]
        ledger.hold((m.tenant, lane_of(m.tenant, request)) for _, (m, request, _) in made)
        ledger.limit((new[0].lane, publication) for publication, new in made)
        for _, new in made:
            ledger.enter(new, room=False)
        return [new[0].id for _, new in made]

    def write(self) -> Millis | None:
        """Store what was made; return when the first lane it went through is due."""
        self.ledger.write()
        return self.ledger.next_due()
