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
from lateron.broker.views import Limits, Result, Turn
from lateron.config.dev_users import DEV_USERS
from lateron.core.values import Millis, Options, Outcome, Publication, Request, RetryPolicy
from lateron.runtime import id_maker
from lateron.store import sqlite
from lateron.store.sqlite import SqliteStore

TENANT = DEV_USERS[0].tenant
BATCH = 1000  # Messages of one transaction.
HEADERS = (("Content-Type", "application/json"),)
DELIVERED = Outcome(status=200, headers=(("Content-Type", "application/json"),), body=b'{"ok":true}')
FAILED = Outcome(status=500, headers=(("Content-Type", "text/plain"),), body=b"out of order")
STEP: Millis = 1 << 16  # Between the copies of a history; the time that a copy may cover.
# Of each table the column with the id of the message, and those that are times.
SHIFTED = {
    "message": ("id", "due", "created", "started", "ended"),
    "request": ("id",),
    "attempt": ("message", "started", "ended"),
    "event": ("message", "time"),
    "dead_letter": ("message", "time"),
}


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
        # Else the server's first syncs would wait for gigabytes that are not its own.
        with (data / sqlite.FILE).open("rb+") as file:
            os.fsync(file.fileno())
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


def run_through(broker: Broker, count: int, now: Millis) -> None:
    """Publish messages and end them: nine in ten delivered, one a dead letter; one each millisecond from ``now`` on."""
    url = "http://127.0.0.1:9/receive"
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        once = Options(retry=RetryPolicy(retries=0))
        batch = tuple((message(number, url, once),) for number in numbers)
        claimed = broker.turn(Turn(publishes=batch, room=BATCH), now + first).claimed
        assert len(claimed) == len(numbers), "its lane has no limit, so each is born ACTIVE"
        results = tuple(Result(each, FAILED if i % 10 == 0 else DELIVERED) for i, each in enumerate(claimed))
        broker.turn(Turn(results=results), now + first + BATCH // 2)


def multiply(store: SqliteStore, copies: int) -> None:
    """Have all that ``run_through`` left behind ``copies`` times, each copy a ``STEP`` later than the one before.

    It is done inside SQLite; message by message through the broker, ten million would take most of an hour. An id
    begins with 48 bits of milliseconds, so a step that leaves the last 16 of them as they are needs no arithmetic.
    """
    execute = store._connection.execute  # noqa: SLF001 # There is no verb for it, and none is wanted.
    for table in SHIFTED:
        execute(f"CREATE TEMP TABLE base_{table} AS SELECT * FROM main.{table}")  # noqa: S608
    ((first,),) = list(execute("SELECT hex(min(id)) FROM base_message"))
    for copy in range(1, copies):
        prefix = f"{int(first[:8], 16) + copy:08X}"
        execute("BEGIN IMMEDIATE")
        for table, shifted in SHIFTED.items():
            columns = [row[1] for row in execute(f"PRAGMA table_info({table})")]
            chosen = ", ".join(
                f"unhex('{prefix}' || substr(hex({name}), 9))"
                if name == shifted[0]
                else f"{name} + {copy * STEP}"
                if name in shifted
                else name
                for name in columns
            )
            execute(f"INSERT INTO main.{table} SELECT {chosen} FROM base_{table}")  # noqa: S608
        execute("COMMIT")
