"""Some of everything that a store is asked to do, drawn from a seed, for runs whose power is cut.

A run is one history: the same seed gives the same operations on the disk. ``Watched`` counts commits from outside
of the broker, so that a verb of several transactions is several acknowledgements.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from tests.crash.power import Disk, Files, Operation

from lateron.broker.bulk import Broker
from lateron.broker.resources import Resources
from lateron.broker.schedules import Schedules
from lateron.broker.views import KeyPair, Limits, Result, Turn
from lateron.core import flow_control
from lateron.core.bulk import JobKind, Order
from lateron.core.groups import Endpoint
from lateron.core.publish import GroupPublication, PublishContext
from lateron.core.quota import QUOTAS
from lateron.core.recurring import NewSchedule, Rules
from lateron.core.values import (
    CallbackOptions,
    Claimed,
    Filter,
    Flow,
    Millis,
    Options,
    Outcome,
    Overrides,
    Publication,
    Request,
    RetryPolicy,
)
from lateron.errors import LateronError
from lateron.runtime import id_maker
from lateron.store.sqlite import SqliteStore, open_file

DIRECTORY = Path("/disk")
CHECKPOINT_PAGES = 40  # So that the log is copied into the file, and begun anew, while the work goes on.
OUTCOMES = (Outcome(status=200), Outcome(status=500), Outcome(error="timeout"), Outcome(status=404, body=b"no"))
LIMITS = Limits(host_parallelism=4, message_retention_ms=2000, history_retention_ms=4000, dead_letter_retention_ms=6000)
LATER: Millis = 10_000_000  # When everything is due.
QUOTA = QUOTAS["none"]

OPEN: list[apsw.Connection] = []

Dump = dict[str, list[tuple[Any, ...]]]
Sent = tuple[bytes, str, bytes | None]  # Id, url and body.


@contextmanager
def one_process() -> Iterator[None]:
    """SQLite keeps its index of the log on its heap: a disk in memory has no shared memory."""
    apsw.connection_hooks.append(_exclusive)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(_exclusive)


def _exclusive(connection: apsw.Connection) -> None:
    """Hold the file for good, and remember the connection so that it is closed in good time."""
    OPEN.append(connection)
    connection.pragma("locking_mode", "EXCLUSIVE")


def close_all() -> None:
    """Close what a cut has left open; closing writes, and the power may be gone."""
    while OPEN:
        with suppress(apsw.Error):
            OPEN.pop().close()


def dump(connection: apsw.Connection) -> Dump:
    """Return every row of every table, in a fixed order."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    tables = sorted(name for name in names if not name.startswith("sqlite_"))
    return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}


class Watched(SqliteStore):
    """A store that tells of each commit."""

    told: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[Any]:
        with super().transaction(commit=commit) as verbs:
            yield verbs
        if commit:
            self.told()

    def commit(self) -> None:
        super().commit()
        self.told()


class Recorded:
    """A run on a disk: its operations, and what the store held after each commit.

    Attributes:
        log: What was done to the disk.
        history: What the store held: when it had been made, and after each commit.
        places: How long the log was at each commit; acknowledged before operation ``n`` are those below it.
    """

    def __init__(self, synchronous: str = "FULL", initial: Files = {}) -> None:  # noqa: B006 # Never changed.
        self.disk = Disk("recorded", initial)
        self.synchronous = synchronous
        self.history: list[Dump] = []
        self.places: list[int] = []

    @property
    def log(self) -> list[Operation]:
        """Return what was done to the disk."""
        return self.disk.log

    def open(self) -> SqliteStore:
        """Open the store; the first time it is made."""
        opened = open_file(DIRECTORY, 0, vfs=self.disk.name, synchronous=self.synchronous)
        opened._connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        store = Watched(opened._connection)
        if not self.history:
            self.history.append(dump(store._connection))

        def told() -> None:
            self.history.append(dump(store._connection))
            self.places.append(len(self.log))

        store.told = told
        return store

    def acknowledged(self, cut_at: int) -> int:
        """Return how many commits were acknowledged when operation ``cut_at`` was not done any more."""
        return sum(place <= cut_at for place in self.places)

    def lost(self, cut_at: int, found: Dump) -> bool:
        """Whether a store is neither as acknowledged nor as the transaction under way would have left it."""
        done = self.acknowledged(cut_at)
        return found not in self.history[done : done + 2]

    @property
    def requests(self) -> set[Sent]:
        """Return id, url and body of every request that was ever stored."""
        return {(row[0], row[2], row[-1]) for held in self.history for row in held["request"]}


class Work:
    """The work of one seed; ``run`` does it on one store after the other, as a server that is restarted."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now: Millis = 1_000_000
        self.new_id = id_maker(self.chance.randbytes)
        self.numbers = iter(range(1_000_000))
        self.held: list[Claimed] = []
        self.node = 0
        self.broker: Broker
        self.resources: Resources
        self.verbs: list[tuple[Callable[[], object], int]] = [
            (self.turn, 14), (self.queue, 2), (self.schedule, 2), (self.tick, 3), (self.group, 2), (self.lane, 2),
            (self.cancel, 1), (self.redrive, 1), (self.delete_dead, 1), (self.sweep, 2), (self.keys, 1),
        ]  # fmt: skip

    def run(self, store: SqliteStore, steps: int) -> None:
        """Begin a node, which rescues what the last one held, and let it work."""
        self.node += 1
        self.held = []
        self.broker = Broker(store, self.new_id, self.node, LIMITS)
        self.resources = Resources(store, lambda: f"sig_{next(self.numbers)}", lambda user: user, lambda: self.now)
        self.broker.open("cut", self.now)
        for tenant in (1, 2):
            self.broker.add_tenant(tenant, f"tenant {tenant}", self.now)
        if self.node == 1:
            self.resources.set_keys(1, KeyPair("sig_a", "sig_b"), self.now)
        for _ in range(steps):
            self.now += self.chance.choice([0, 50, 500])
            (verb,) = self.chance.choices([v for v, _ in self.verbs], [share for _, share in self.verbs])
            with suppress(LateronError):  # A queue or a schedule that is not there.
                verb()

    def turn(self) -> None:
        """Publish, settle and claim, in one transaction."""
        requests = tuple(
            tuple(self.publication() for _ in range(self.chance.randint(1, 3)))
            for _ in range(self.chance.randint(0, 2))
        )
        ended = [self.held.pop(0) for _ in range(min(len(self.held), self.chance.randint(0, 3)))]
        results = tuple(Result(c, self.chance.choice([None, *OUTCOMES])) for c in ended)
        self.held += self.broker.turn(Turn(requests, results, room=self.chance.randint(0, 4)), self.now).claimed

    def publication(self) -> Publication | GroupPublication:
        draw, number = self.chance.random, next(self.numbers)
        callback = CallbackOptions("http://callback/")
        if draw() < 0.15:
            return GroupPublication("all", (), b"g" * 900, PublishContext(1, self.now, QUOTA))
        options = Options(
            retry=RetryPolicy(retries=self.chance.randint(0, 2), expression="100"),
            callback=callback if draw() < 0.3 else None,
            failure_callback=callback if draw() < 0.5 else None,
            queue_name="q" if draw() < 0.3 else None,
            flow=Flow("key", parallelism=2, rate=3, period_ms=1000) if draw() < 0.3 else None,
        )
        size = self.chance.choice([0, 60, 3000, 9000])
        request = Request(f"http://{self.chance.choice(['one', 'two'])}/{number}", "POST", (), b"x" * size, options)
        dedup = self.chance.choice([b"a", b"b"]) * 32 if draw() < 0.2 else None
        return Publication(1, request, delay_ms=self.chance.choice([0, 0, 200]), dedup=dedup)

    def queue(self) -> None:
        """Configure, pause or delete a queue."""
        choice = self.chance.randrange(4)
        if choice == 0:
            queue = self.broker.delete_queue(1, "q", self.now)
            while queue is not None and self.broker.empty_queue(queue, self.now):
                pass
        elif choice == 1:
            self.broker.pause_queue(1, "q", self.now, paused=self.chance.random() < 0.5)
        else:
            self.broker.set_queue(1, "q", self.now, parallelism=self.chance.randint(1, 3), paused=False)

    def schedule(self) -> None:
        """Make, replace, pause, resume, run or delete a schedule."""
        schedules, name = Schedules(self.broker), self.chance.choice(["s1", "s2"])
        request = Request("http://one/", "POST", (), b"tick", Options(queue_name=self.chance.choice([None, "q"])))
        new = NewSchedule(1, name, "@every 1s", Rules(missed="all"), request)
        verbs: list[Callable[[], object]] = [
            lambda: schedules.create(new, self.now),
            lambda: schedules.create(new, self.now),
            lambda: schedules.pause(1, name, self.now),
            lambda: schedules.resume(1, name, self.now),
            lambda: schedules.run(1, name, self.now),
            lambda: schedules.delete(1, name, self.now),
        ]
        self.chance.choice(verbs)()

    def tick(self) -> None:
        Schedules(self.broker).tick(self.now)

    def group(self) -> None:
        """Give a group its endpoints, or delete it."""
        if self.chance.random() < 0.25:
            self.broker.delete_group(1, "all")
        else:
            names = self.chance.sample(["one", "two", "three"], self.chance.randint(1, 3))
            self.broker.save_endpoints(1, "all", [Endpoint(f"http://{name}/") for name in names], QUOTA, self.now)

    def lane(self) -> None:
        """Pause, resume or reset a key or a host; stop all deliveries, or let them go on."""
        name = self.chance.choice([flow_control.flow_lane(1, "key"), flow_control.host_lane(1, "one")])
        change = self.chance.choice([flow_control.paused, flow_control.resumed, flow_control.resumed])
        if self.chance.random() < 0.3:
            self.broker.pause_delivery(paused=self.chance.random() < 0.3)
        else:
            self.broker.alter_lane(1, name, change, self.now, create=True)

    def cancel(self) -> None:
        self.broker.cancel(1, Filter(hosts=(self.chance.choice(["one", "two"]),)), self.now, limit=3)

    def redrive(self) -> None:
        self.broker.redrive(1, Filter(), Overrides(), self.now, limit=2)
        self.broker.create_job(1, Order(JobKind.REPLAY, limit=2), "user", None, self.now)
        self.broker.advance_job(self.now)

    def delete_dead(self) -> None:
        self.broker.delete_dead(1, Filter(), limit=1)

    def sweep(self) -> None:
        """Let retention delete what it may, down to the last."""
        self.now += self.chance.choice([0, 1500])
        self.broker.sweep(self.now, over_size=self.chance.random() < 0.2)

    def keys(self) -> None:
        """Change keys, tokens and settings."""
        number = next(self.numbers)
        verbs: list[Callable[[], object]] = [
            lambda: self.resources.rotate_keys(1, self.now),
            lambda: self.resources.add_token(f"token {number}".encode(), 1, "t", "full", self.now),
            lambda: self.resources.save_setting("name", str(number)),
        ]
        self.chance.choice(verbs)()


def record(seed: int, steps: int, synchronous: str = "FULL", starts: int = 3) -> Recorded:
    """Do the work of a seed on a disk: in several processes, of which some end in order and some do not."""
    run, work = Recorded(synchronous), Work(seed)
    for start in range(starts):
        work.run(run.open(), steps)
        if start % 2 == 0:
            close_all()  # In order: the log is copied into the file and deleted.
        else:
            run.disk = _crashed(run.disk)
    close_all()
    return run


def _crashed(disk: Disk) -> Disk:
    """Return the disk as the next process finds it, when the last one was killed: all is there, and no more comes."""
    after = Disk("recorded", {path: bytes(content) for path, content in disk.files.items()})
    after.log, disk.log, disk.cut_at = disk.log, [], 0
    close_all()  # Whose writes reach no disk any more.
    return after


def recovered(files: Files) -> tuple[Dump, Disk]:
    """Start on what was found: open the store, copy its log into the file, and close it."""
    disk = Disk("recover", files)
    try:
        store = open_file(DIRECTORY, 0, vfs=disk.name)
        assert store._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = dump(store._connection)
        store.close()
        return found, disk
    finally:
        close_all()


class Begun(NamedTuple):
    """What a start on a damaged disk came to."""

    seen: bool  # The store refused, an assertion ended the program, or a message was found damaged.
    sent: set[Sent]  # What would have been sent.


def found_on(image: Files) -> Begun:
    """Start on what was found, and claim what is due."""
    disk = Disk("recover", image)
    try:
        broker = Broker(open_file(DIRECTORY, 0, vfs=disk.name), id_maker(), 99, Limits())
        broker.open("after", LATER)
        claimed = broker.turn(Turn(room=250), LATER).claimed
    except Exception:  # noqa: BLE001 # An error of the store, or an assertion of the program: both end it.
        return Begun(seen=True, sent=set())
    finally:
        close_all()
    intact: set[Sent] = {(one.message.id, one.request.url, one.request.body) for one in claimed if one.intact}
    return Begun(seen=not all(one.intact for one in claimed), sent=intact)
