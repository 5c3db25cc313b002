"""Fills a store before a server is started on it, through the broker itself.

What lies there then is what would lie there if it had been published; only nobody waited for a network or a
disk. Message i carries the number i in its body, as the tools' own load does, so that the receiver can tell
them apart.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from lateron.broker.bulk import Broker
from lateron.broker.views import Limits, Turn
from lateron.config.dev_users import DEV_USERS
from lateron.core.values import Millis, Options, Publication, Request
from lateron.runtime import id_maker
from lateron.store import sqlite
from lateron.store.sqlite import SqliteStore

TENANT = DEV_USERS[0].tenant
BATCH = 1000  # Messages of one transaction.
HEADERS = (("Content-Type", "application/json"),)


def now_ms() -> Millis:
    """Return the time of this machine."""
    return time.time_ns() // 1_000_000


@contextmanager
def filling(directory: Path) -> Iterator[tuple[Broker, SqliteStore]]:
    """Open a server's data directory to fill it; no server may run on it."""
    data = directory / "data"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = sqlite.lock_directory(data)
    # Nothing here has been promised to anybody, so that no write need wait for the disk.
    store = sqlite.open_file(data, now_ms(), synchronous="OFF")
    broker = Broker(store, id_maker(), secrets.randbits(62), Limits())
    for user in DEV_USERS:
        broker.add_tenant(user.tenant, user.name, now_ms())
    try:
        yield broker, store
    finally:
        store.close()
        os.close(lock)


def publish_all(broker: Broker, publications: Iterable[Publication]) -> None:
    """Publish, and start nothing."""
    waiting = iter(publications)
    while batch := tuple((each,) for each in islice(waiting, BATCH)):
        broker.turn(Turn(publishes=batch), now_ms())


def message(number: int, url: str, options: Options | None = None, *, not_before: Millis | None = None) -> Publication:
    """Return a message as the tools' load makes it: 200 bytes of JSON."""
    return Publication(TENANT, Request(url, "POST", HEADERS, body(number), options or Options()), not_before=not_before)


def body(number: int, due: Millis | None = None) -> bytes:
    """Return the body of a message: its number, and from when its lateness counts."""
    sent = (now_ms() if due is None else due) * 1000
    return f'{{"qid":{number},"qts":{sent},"pad":"'.encode().ljust(198, b"x") + b'"}'
