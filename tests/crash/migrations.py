"""Faults while a store is brought to a newer schema (F-19, F-64): ``python -m tests.crash.migrations``.

A run lets publishers fill a server with all that waits: delays, retries, attempts that are open, queues, keys,
schedules, dead letters. Then it is killed, its store becomes one of an older schema, and starts of the present
program are struck, by a subset of the faults that the seed draws. After each the rows are compared. In the end the
faults are healed, the server starts, everything comes to rest, and the checker compares the logs.

How to ask for runs::

    python -m tests.crash.migrations --seeds 100   a hundred seeds
    python -m tests.crash.migrations --seed 17     one of them
    python -m tests.crash.migrations --every            a server is killed at every point of all steps
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw
from tests.crash.checker import check
from tests.crash.history import Report, Verdict
from tests.crash.older import (
    GROUPS_SINCE,
    QUEUES_SINCE,
    SCHEDULES_SINCE,
    Migration,
    Older,
    Point,
    Strikable,
    make_older,
    points_of,
    schema_of,
)
from tests.crash.traffic import GROUP, KINDS, SCHEDULES, Kind, Traffic, pages
from tests.serving import ended
from tests.support.poll import until
from tests.support.server import Server

from lateron.store.backup import copy
from lateron.store.sqlite import FILE, SCHEMA

PUBLISHERS = 3
MOST_STRIKES = 4
WAIT_LONG = (Kind(share=2, delay=3.0), Kind("/once", share=2, delay=4.0, callback=True))  # Due after the migration.


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    seed: int
    reached: Sequence[int]  # The schemas that it was struck at; the first is where it began.
    injected: Counter[str]
    filled: set[str]  # Tables of the older store that had rows.
    report: Report
    acknowledged: int

    def __str__(self) -> str:
        steps = " > ".join(map(str, self.reached))
        return f"seed {self.seed}: schema {steps}; {dict(self.injected)}; {self.acknowledged} answered, {self.report}"


def kinds_of(schema: int) -> tuple[Sequence[Kind], Sequence[str]]:
    """Return what could be published to a program of a schema, and which schedules it could have."""
    kinds: Sequence[Kind] = (*KINDS, *WAIT_LONG)
    if schema < QUEUES_SINCE:
        kinds = [kind for kind in kinds if kind.queue is None and kind.order is None]
    if schema < GROUPS_SINCE:
        kinds = [kind for kind in kinds if kind.path != GROUP]
    names = [name for name, (_, queue) in SCHEDULES.items() if schema >= (QUEUES_SINCE if queue else SCHEDULES_SINCE)]
    return kinds, names


def run(seed: int, directory: Path) -> Result:
    """Run a seed and judge it."""
    chance = random.Random(seed)
    schema = chance.randrange(1, SCHEMA)
    server = Strikable(directory / "data", "--drain", "1s")
    with server, Traffic(server, seed, PUBLISHERS, *kinds_of(schema)) as traffic:
        fill(server, traffic)
        before = {one.id for one in list(traffic._publishes) if one.verdict is Verdict.OK and one.id}
        traffic.going_down()
        server.kill()
        traffic.crashed()
        make_older(server.data_dir, schema, killed=chance.random() < 0.5)
        saved = directory / "saved"
        saved.mkdir(mode=0o700)
        copy(server.data_dir / FILE, saved / FILE)

        migration, injected = Migration(server, chance), Counter[str]()
        subset = chance.sample(sorted(migration.kinds), chance.randint(1, 3))
        for name in chance.choices(subset, k=chance.randint(1, MOST_STRIKES)):
            injected[name] += migration.strike(name)

        server.start()
        assert present_schema(server) == SCHEMA
        traffic.refusing = False
        traffic.back()
        answers = traffic.acknowledged
        traffic.wait(lambda: traffic.acknowledged >= answers + 5, "more answers")
        report = check(traffic.finish())
        server.stop()
        look_at_saved(saved, before)
        return Result(seed, migration.reached, injected, migration.older.filled, report, len(before))


def fill(server: Server, traffic: Traffic) -> None:
    """Let everything wait that can wait."""
    traffic.wait(lambda: traffic.acknowledged >= 40, "answers")
    until(lambda: server.call("GET", "/v2/dlq?count=1").json["messages"], "a dead letter")
    traffic.wait(lambda: traffic.holding > 0, "an open attempt")
    traffic.refusing = True
    answers, requests = traffic.acknowledged, traffic.arrived
    traffic.wait(lambda: traffic.acknowledged >= answers + 20 and traffic.arrived >= requests + 5, "more that waits")


def present_schema(server: Server) -> int:
    """Return the schema of the store of a running server."""
    path = str(server.data_dir / FILE)
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return schema_of(connection)


def look_at_saved(saved: Path, before: set[str]) -> None:
    """See that a server on the copy that was made before the migration knows all that was acknowledged then."""
    with Server(saved, "--drain", "1s") as restored:
        known = {event["messageId"] for event in pages(restored, "/v2/events", "events", 1000)}
        assert before <= known, sorted(before - known)
        restored.kill()


def every_point(schema: int, directory: Path) -> Counter[str]:
    """Kill a real server at every point of a migration, and look at what is there; return how many of each kind."""
    server = Strikable(directory / "data")
    with server, Traffic(server, schema, PUBLISHERS, *kinds_of(schema)) as traffic:
        fill(server, traffic)
        server.kill()
        traffic.crashed()
    make_older(server.data_dir, schema, killed=True)
    older, kept = Older(server.data_dir), directory / "kept"
    shutil.copytree(server.data_dir, kept)
    made = Counter[str]()
    for kind, number in points_of(kept).items():
        for at in range(1, number + 1):
            shutil.rmtree(server.data_dir)
            shutil.copytree(kept, server.data_dir)
            server.strike(Point(kind, at), signal.SIGKILL)
            server.launch()
            try:
                assert ended(server) == -signal.SIGKILL, f"it was not killed at {kind} {at}"
            finally:
                server.kill()
            older.check(server.data_dir)
            made[kind] += 1
    return made


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.migrations")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many to run (default: 20)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (default: 0)")
    parser.add_argument("--seed", type=int, action="append", default=[], metavar="S", help="run this one")
    parser.add_argument("--every", action="store_true", help="kill a server at each point of all steps")
    given = parser.parse_args()
    failed, injected, answered = 0, Counter[str](), 0
    if given.every:
        for schema in (1, QUEUES_SINCE):
            with tempfile.TemporaryDirectory(prefix="lateron-migrations-") as directory:
                print(f"from schema {schema}: killed at {dict(every_point(schema, Path(directory)))}", flush=True)
        return 0
    for seed in given.seed or range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory(prefix="lateron-migrations-") as directory:
            try:
                result = run(seed, Path(directory))
            except Exception as failure:  # noqa: BLE001 # Whatever it is, the seed is what matters.
                failed += 1
                print(f"seed {seed} fails: {type(failure).__name__}: {failure}", flush=True)
                continue
        injected += result.injected
        answered += result.acknowledged
        failed += bool(result.report.violations)
        print(result, flush=True)
    print(f"{failed} failed; {answered:,} answered before;", ", ".join(f"{n} {c}" for n, c in injected.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
