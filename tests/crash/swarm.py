"""Several faults at once, and faults while a fault is recovered from (F-64): ``python -m tests.crash.swarm``.

A run draws a *subset* of the kinds of fault from its seed: what is left out finds more than all at once, because
one fault can hide another. Some faults last a while and the sudden ones strike while they do: the server is killed
while the disk is slow, or started while another program holds its file. Some strike while it brings a file that an
older program has left to its own schema (``older``). In the end all faults are healed, everything comes to rest, and
the checker compares the logs.

What is drawn follows from the seed; how the processes interleave does not. A seed that fails is repeated by
``--seed S``, which may need a few tries.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import resource
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw
from tests.crash.checker import check
from tests.crash.clock import SWEEP_OFTEN, libraries, preloaded, set_clock
from tests.crash.disk import Calls, library
from tests.crash.history import History, Report, Violation
from tests.crash.older import QUEUES_SINCE, Migration, Strikable, make_older
from tests.crash.traffic import KINDS, Kind, Traffic
from tests.serving import ended, standing
from tests.support.poll import until

from lateron.cli import exits
from lateron.store.sqlite import SCHEMA

ROUNDS = 4
PUBLISHERS = 3
CLOCK = ("-1h", "+1h", "-3h", "+2h", "+30m")
PATIENT = 100  # Retries where there must be no dead letter: only the server tells of those, by its clock.
FURTHEST = "+20h"  # What a message was told by a clock that was ahead is due then.
# By a clock that is set, delays, windows of deduplication and the order of events are not what they seem.
UNSTEADY = frozenset({"P-30", "P-50", "P-51", "P-80", "P-81", "P-120"})
BREAKS = (  # Which calls fail with which error, after how many, and how many: each ends the server.
    (Calls.SYNCS, errno.EIO, 0, 1),
    (Calls.WRITES, errno.EIO, 2, -1),
    (Calls.SYNCS, errno.ENOSPC, 5, 1),
    (Calls.WRITES, errno.EROFS, 9, 1),
)


class Tormented(Strikable):
    """A server on a faulty disk, by a clock that may be set."""

    code = SWEEP_OFTEN + Strikable.code
    clock = False  # Whether its clock may be set.

    @property
    def offset(self) -> Path:
        """Return the file that says how far its clock is from the true time."""
        return self.data_dir.with_name("offset")

    def step(self, offset: str) -> None:
        """Set its clock."""
        set_clock(self.offset, offset)

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        if self.clock:
            environment |= preloaded(self.offset, str(library()))
        return environment


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    seed: int
    injected: Counter[str]
    history: History
    report: Report
    refusals: int  # Calls that were answered 5xx.
    subset: Sequence[str] = field(default=())


class Swarm:
    """One run: a server, its traffic, and what strikes them."""

    def __init__(self, seed: int, directory: Path, rounds: int = ROUNDS) -> None:
        self._chance = random.Random(seed)
        self._rounds = rounds
        self._lasting: dict[str, Callable[[ExitStack], None]] = {
            "slow disk": self._slow_disk,
            "few descriptors": self._few_descriptors,
            "file held by another program": self._file_held,
            "receivers out": self._receivers_out,
        }
        self._sudden: dict[str, Callable[[], None]] = {
            "killed": self._killed,
            "killed in recovery": self._killed_in_recovery,
            "killed in drain": self._killed_in_drain,
            "ended in order": self._ended_in_order,
            "stood still": self._stood_still,
            "disk hung": self._disk_hung,
            "disk error": self._disk_error,
            "disk error in recovery": self._disk_error_in_recovery,
            "struck in migration": self._struck_in_migration,
        }
        if libraries():
            self._lasting["clock set"] = self._clock_set
        kinds = [*self._lasting, *self._sudden]
        self.subset = tuple(self._chance.sample(kinds, self._chance.randint(2, len(kinds) // 2)))
        self.injected: Counter[str] = Counter()
        self._held: apsw.Connection | None = None
        self._server = Tormented(directory / "data", "--drain", "1s")
        self._server.clock = "clock set" in self.subset
        self._server.step("+0")
        self._traffic = Traffic(self._server, seed, PUBLISHERS, self._kinds())

    def _kinds(self) -> Sequence[Kind]:
        """Return what is published: what a run with these faults can promise."""
        kinds: Sequence[Kind] = (*KINDS, Kind("/cut", share=2), Kind("/cut", share=1, callback=True))
        if "few descriptors" in self.subset:
            kinds = tuple(kind for kind in kinds if kind.path != "/slow")
        if not self._server.clock:
            return kinds
        ends_well = [k for k in kinds if k.path != "/dead" and not (k.delay or k.callback or k.failure_callback)]
        return tuple(replace(kind, dedup=False, retries=PATIENT if kind.valid else 0) for kind in ends_well)

    def run(self) -> tuple[History, int]:
        """Let the faults strike, heal them all, and wait for everything to come to rest."""
        with self._server, self._traffic:
            self._more_answers(5)
            for _ in range(self._rounds):
                self._round()
            if self._server.clock:
                self._server.step(FURTHEST)
            self._more_answers(5)
            return self._traffic.finish(), self._traffic.refusals.total()

    def _round(self) -> None:
        """Let a sudden fault strike, mostly while another one lasts."""
        lasting = [name for name in self._lasting if name in self.subset]
        sudden = [name for name in self._sudden if name in self.subset]
        with ExitStack() as healing:
            for name in self._chance.sample(lasting, min(len(lasting), self._chance.choice((0, 1, 1, 2)))):
                self.injected[name] += 1
                self._lasting[name](healing)
            if self._held is None:
                self._more_answers(self._chance.randint(1, 8))
            for name in self._chance.choices(sudden, k=self._chance.choice((1, 1, 2))) if sudden else ():
                self.injected[name] += 1
                self._sudden[name]()
        self._more_answers(self._chance.randint(1, 8))

    def _more_answers(self, number: int) -> None:
        answers = self._traffic.acknowledged
        self._traffic.wait(lambda: self._traffic.acknowledged >= answers + number, "more answers")

    # What lasts.

    def _slow_disk(self, healing: ExitStack) -> None:
        self._server.faults.slow(Calls.SYNCS, self._chance.randint(2_000, 20_000))
        healing.callback(self._server.faults.heal)

    def _few_descriptors(self, healing: ExitStack) -> None:
        """Leave it no descriptor but those that it has."""
        pid, (soft, hard) = self._server.pid, resource.prlimit(self._server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())), hard))

        def enough() -> None:
            if self._server.pid == pid:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

        healing.callback(enough)

    def _file_held(self, healing: ExitStack) -> None:
        """Write into its file as a tool would that forgets to commit."""
        self._held = apsw.Connection(str(self._server.data_dir / "lateron.db"))
        self._held.set_busy_timeout(10_000)
        self._held.execute("BEGIN IMMEDIATE")
        healing.callback(self._let_go_of_file)
        refusals = self._traffic.refusals.total()
        until(lambda: self._traffic.refusals.total() > refusals, "a refusal")

    def _let_go_of_file(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _receivers_out(self, healing: ExitStack) -> None:
        self._traffic.refusing = True
        healing.callback(setattr, self._traffic, "refusing", False)

    def _clock_set(self, _: ExitStack) -> None:
        self._server.step(self._chance.choice(CLOCK))

    # What strikes.

    def _killed(self) -> None:
        self._dies()
        self._begin_again()

    def _killed_in_recovery(self) -> None:
        """Kill it twice: the second time as it writes down what the first one has left behind."""
        self._dies()
        self._let_go_of_file()
        self._server.faults.hold(Calls.WRITES)
        starting = threading.Thread(target=self._tries_to_start)
        starting.start()
        until(lambda: self._server.faults.waiting, "a write")
        self._server.kill()
        self._server.faults.heal()
        starting.join()
        self._begin_again()

    def _killed_in_drain(self) -> None:
        self._traffic.going_down()
        os.kill(self._server.pid, signal.SIGTERM)
        until(lambda: "shutting down" in self._server.log, "the drain")
        self._dies()
        self._begin_again()

    def _ended_in_order(self) -> None:
        """End it in order; an attempt that does not end in time is made again, as after a crash."""
        self._let_go_of_file()
        self._traffic.going_down()
        assert self._server.stop() == 0, self._server.log
        self._traffic.crashed()
        self._begin_again()

    def _stood_still(self) -> None:
        with standing(self._server):
            self._traffic.answer_all()

    def _disk_hung(self) -> None:
        self._let_go_of_file()
        self._server.faults.hold(Calls.SYNCS)
        until(lambda: self._server.faults.waiting, "a sync")
        self._server.faults.heal()

    def _disk_error(self) -> None:
        self._let_go_of_file()
        calls, error, skip, times = self._chance.choice(BREAKS)
        self._server.faults.fail(calls, error, skip=skip, times=times)
        assert ended(self._server) == exits.STORE, self._server.log
        self._server.faults.heal()
        self._dies()
        self._begin_again()

    def _disk_error_in_recovery(self) -> None:
        self._dies()
        self._let_go_of_file()
        self._server.faults.fail(self._chance.choice((Calls.WRITES, Calls.SYNCS)))
        self._tries_to_start()
        assert ended(self._server) == exits.STORE, self._server.log
        self._server.faults.heal()
        self._begin_again()

    def _struck_in_migration(self) -> None:
        """Let an older program have written the file, and fail some of the starts that migrate it."""
        self._dies()
        self._let_go_of_file()
        schema = self._chance.randrange(QUEUES_SINCE, SCHEMA)
        make_older(self._server.data_dir, schema, killed=self._chance.random() < 0.5)
        migration = Migration(self._server, self._chance)
        for name in self._chance.choices(sorted(migration.kinds), k=self._chance.randint(1, 2)):
            self.injected[name] += migration.strike(name)
        self._begin_again()

    def _dies(self) -> None:
        """Kill it, unless it is dead, and note that."""
        self._traffic.going_down()
        self._server.kill()
        self._traffic.crashed()

    def _tries_to_start(self) -> bool:
        with suppress(AssertionError):
            self._server.start()
            return True
        return False

    def _begin_again(self) -> None:
        """Start it; where another program holds the file it may not start before that has let go."""
        if self._held is None:
            self._server.start()
        elif not self._tries_to_start():
            self._let_go_of_file()
            self._server.start()
        self._traffic.back()


def run(seed: int, directory: Path, rounds: int = ROUNDS) -> Result:
    """Run a seed and judge it."""
    swarm = Swarm(seed, directory, rounds)
    history, refusals = swarm.run()
    return Result(seed, swarm.injected, history, judge(history, swarm.injected), refusals, swarm.subset)


def judge(history: History, injected: Counter[str]) -> Report:
    """Compare the logs; where the clock was set, leave out what it makes untrue."""
    if not injected["clock set"]:
        report = check(history)
    else:
        seen = check(replace(history, lives={}))
        report = Report(tuple(v for v in seen.violations if v.promise not in UNSTEADY), seen.repeats)
    if report.repeats and not history.crashes:
        return Report((*report.violations, Violation("P-21", "run", "attempts were repeated without a crash")), 1)
    return report


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.swarm")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many to run (default: 20)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (default: 0)")
    parser.add_argument("--seed", type=int, action="append", default=[], metavar="S", help="run this one")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of faults in each ({ROUNDS})")
    given = parser.parse_args()
    failed, injected, published = 0, Counter[str](), 0
    for seed in given.seed or range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory(prefix="lateron-swarm-") as directory:
            try:
                result = run(seed, Path(directory), given.rounds)
            except Exception as failure:  # noqa: BLE001 # Whatever it is, the seed is what matters.
                failed += 1
                print(f"seed {seed} fails: {type(failure).__name__}: {failure}", flush=True)
                continue
        injected += result.injected
        published += len(result.history.publishes)
        print(
            f"seed {seed}: {dict(result.injected)}; {len(result.history.publishes)} calls, {result.report}", flush=True
        )
        failed += bool(result.report.violations)
    print(f"{failed} failed; {published:,} calls; injected:", ", ".join(f"{n} {c}" for n, c in injected.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
