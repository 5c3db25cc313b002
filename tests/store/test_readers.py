"""Our own readers keep no snapshot, so the log of the store can always be emptied (F-16)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from tests.broker.conftest import NOW, item

from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Limits, Result, Turn
from lateron.core.values import CallbackOptions, Filter, Outcome
from lateron.errors import InvalidValue
from lateron.runtime import id_maker
from lateron.store import sqlite


@pytest.mark.promise("F-16")
def test_no_read_leaves_a_snapshot_open(tmp_path: Path) -> None:
    """Each page of each list is left where it is, as by an export that pauses; then the log is emptied to its end."""
    store, limits = sqlite.open_file(tmp_path, NOW), Limits()
    broker = Broker(store, id_maker(), 1, limits)
    broker.open("one", NOW)
    broker.add_tenant(1, "one", NOW)
    reader = sqlite.open_reader(tmp_path)
    history = History(reader, limits)
    everything = Filter()
    reads: list[Callable[[], object]] = [
        lambda: history.pending(1, everything, None, 1, NOW),
        lambda: history.dead_letters(1, everything, None, 1),
        lambda: history.message(1, first, NOW),
        lambda: history.story(1, first, NOW),
    ]
    turned = broker.turn(Turn(publishes=((item(callback=CallbackOptions("http://cb/")), *[item()] * 9),), room=5), NOW)
    first = turned.claimed[0].message.id
    broker.turn(Turn(results=(Result(turned.claimed[0], Outcome(status=489)),)), NOW)

    for read in reads:
        read()
        _empty(store, tmp_path)
    with pytest.raises(InvalidValue):
        history.pending(1, everything, "no cursor", 1, NOW)
    _empty(store, tmp_path)

    reader.close()
    store.close()


def _empty(store: sqlite.SqliteStore, directory: Path) -> None:
    """Write something, and empty the log; a reader with a snapshot would keep it from that."""
    with store.transaction() as tx:
        tx.save_setting("written", "again")
    store._connection.set_busy_timeout(0)
    store._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert (directory / f"{sqlite.FILE}-wal").stat().st_size == 0
