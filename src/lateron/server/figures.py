"""What ``GET /metrics`` shows: one table of all figures, and where each comes from.

Everything here is in memory, or asked of the operating system (the sizes of two files, the memory of the process): a
scrape reads no row, waits for no transaction and costs the same whatever the store holds. No label has a value
that a user chose, so there are never more lines than this table has room for.

The text is that of Prometheus, version 0.0.4, which is simple enough to be written here and is checked by ``promtool``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import apsw

from lateron import __version__
from lateron.core.tally import Histogram, Tally
from lateron.core.values import SECOND, EventKind, Kind, Millis
from lateron.runtime import Clock
from lateron.store.sqlite import FILE
from lateron.tracing.reading import Number, Reading, Value

PREFIX: Final = "lateron_"

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Figure(NamedTuple):
    """One line of the table."""

    name: str  # Without the prefix, unless it is one that every program has.
    kind: Literal["counter", "gauge", "histogram"]
    help: str  # One sentence, also for the documentation.
    labels: tuple[str, ...] = ()


FIGURES: Final = (
    Figure("messages_published_total", "counter", "Messages that were stored, by why they exist.", ("kind",)),
    Figure("messages_delivered_total", "counter", "Messages that their destination took."),
    Figure("messages_failed_total", "counter", "Messages whose retries are spent; each is a dead letter."),
    Figure("messages_canceled_total", "counter", "Messages that were cancelled."),
    Figure("messages_retried_total", "counter", "Attempts that failed and will be repeated."),
    Figure(
        "attempts_total",
        "counter",
        "Attempts that ended: by class (answered, or the class of the error) and first digit of the status.",
        ("class", "status_group"),
    ),
    Figure("attempt_seconds", "histogram", "How long attempts took, from the name to the last byte of the answer."),
    Figure("schedule_lag_seconds", "histogram", "From when a message was due until it is sent."),
    Figure("open_messages", "gauge", "Messages that have not come to rest: ready, delayed, queued and in flight."),
    Figure("ready_depth", "gauge", "Messages whose time has come and that are not sent yet, for whatever reason."),
    Figure("oldest_ready_age_seconds", "gauge", "How long the oldest of them has been waiting; 0 without any."),
    Figure("delayed_depth", "gauge", "Messages that wait for their time: a delay or a retry."),
    Figure("queued_depth", "gauge", "Messages that wait in a queue for those before them, or because it is paused."),
    Figure("in_flight", "gauge", "Attempts that are open."),
    Figure("in_flight_max", "gauge", "Attempts that this process opens at once at most (concurrency)."),
    Figure("global_parallelism_max", "gauge", "Attempts that the whole server opens at once at most."),
    Figure("delivery_paused", "gauge", "1 while all deliveries are paused, else 0."),
    Figure("dlq_depth", "gauge", "Dead letters."),
    Figure("depths_exact", "gauge", "1; 0 if the store held more at the start than is counted then."),
    Figure("schedule_runs_total", "counter", "Ticks of schedules that became runs."),
    Figure("schedule_missed_total", "counter", "Ticks of schedules that were missed for good."),
    Figure("results_stale_total", "counter", "Outcomes that came too late and were dropped."),
    Figure("guard_blocked_total", "counter", "Attempts that the guard refused: a private or forbidden address."),
    Figure("lease_lost_total", "counter", "Times that the lock on the data directory was lost; ends the process."),
    Figure("store_write_seconds", "histogram", "A transaction, from its first statement until it is on disk."),
    Figure("store_backlog", "gauge", "Publications and outcomes that wait for their transaction."),
    Figure("store_size_bytes", "gauge", "Size of the file of the store; nothing if it is in memory."),
    Figure("wal_bytes", "gauge", "Size of the log beside it."),
    Figure("store_disk_free_bytes", "gauge", "Room on the disk under the store."),
    Figure("store_reserve_spent", "gauge", "1 while the disk is full and publishes are refused, else 0."),
    Figure("api_answers_total", "counter", "Answers of the API, by the class of their status.", ("code",)),
    Figure("api_clients_gone_total", "counter", "Clients that left before their request was complete."),
    Figure("loop_lag_seconds", "gauge", "How late the loop came to its last beat; each second has one."),
    Figure("ready", "gauge", "1 while work should be sent here, as /readyz says, else 0."),
    Figure("build_info", "gauge", "1, with what runs as labels.", ("version", "python", "sqlite", "mode")),
    Figure("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970."),
    Figure("process_cpu_seconds_total", "counter", "Processor time that the process has used."),
    Figure("process_resident_memory_bytes", "gauge", "Memory of the process."),
    Figure("process_open_fds", "gauge", "File descriptors that are open."),
    Figure("process_max_fds", "gauge", "File descriptors that may be open."),
)

_KINDS: Final = {Kind.PUBLISH: "publish", Kind.CALLBACK: "callback", Kind.FAILURE_CALLBACK: "failure_callback",
                 Kind.REDRIVE: "redrive"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the figures come from."""

    tally: Tally
    clock: Clock
    counts: Callable[[], Mapping[str, int]]  # Of the API.
    in_flight: Callable[[], int]
    backlog: Callable[[], int]
    paused: Callable[[], bool]
    tight: Callable[[], bool]
    lag: Callable[[], float]
    ready: Callable[[], bool]
    directory: Path | None
    concurrency: int
    global_parallelism: int
    mode: str
    started: Millis


def exposition(sources: Sources) -> bytes:
    """Return all figures as of now, as Prometheus reads them."""
    values = {**_messages(sources), **_machine(sources), **_process(sources)}
    assert values.keys() == {figure.name for figure in FIGURES}
    return "".join(line for figure in FIGURES for line in _lines(figure, values[figure.name])).encode()


def readings(sources: Sources) -> Sequence[Reading]:
    """Return all figures as of now, under the names that Prometheus knows."""
    values = {**_messages(sources), **_machine(sources), **_process(sources)}
    return [Reading(full_name(f), f.kind, f.help, f.labels, values[f.name]) for f in FIGURES]


def full_name(figure: Figure) -> str:
    """Return the name under which Prometheus knows a figure."""
    return figure.name if figure.name.startswith("process_") else PREFIX + figure.name


def _messages(sources: Sources) -> dict[str, Value]:
    """Return what was counted of messages, schedules and the store."""
    tally, now = sources.tally, sources.clock.wall()
    ready, oldest = tally.ready(now)
    attempts = dict(tally.attempts)
    return {
        "messages_published_total": {(word,): tally.created[kind] for kind, word in _KINDS.items()},
        "messages_delivered_total": tally.events[EventKind.DELIVERED],
        "messages_failed_total": tally.events[EventKind.FAILED],
        "messages_canceled_total": tally.events[EventKind.CANCELED],
        "messages_retried_total": tally.events[EventKind.RETRY],
        "attempts_total": {(name, f"{group}xx" if group else "none"): n for (name, group), n in attempts.items()},
        "attempt_seconds": tally.attempt_s,
        "schedule_lag_seconds": tally.lag_s,
        "open_messages": max(0, tally.open),
        "ready_depth": ready,
        "oldest_ready_age_seconds": oldest / SECOND,
        "delayed_depth": max(0, tally.waiting - ready),
        "queued_depth": tally.parked(),
        "in_flight": sources.in_flight(),
        "in_flight_max": sources.concurrency,
        "global_parallelism_max": sources.global_parallelism,
        "delivery_paused": int(sources.paused()),
        "dlq_depth": tally.dead_letters,
        "depths_exact": int(tally.exact),
        "schedule_runs_total": tally.ticks,
        "schedule_missed_total": tally.missed,
        "results_stale_total": tally.stale,
        "guard_blocked_total": sum(count for (name, _), count in attempts.items() if name == "blocked"),
        "store_write_seconds": tally.write_s,
    }


def _machine(sources: Sources) -> dict[str, Value]:
    """Return what the API counted, and what the operating system says of the store."""
    counts, directory = sources.counts(), sources.directory
    sqlite, python = apsw.sqlite_lib_version(), ".".join(map(str, sys.version_info[:3]))
    return {
        "lease_lost_total": counts.get("lease_lost", 0),
        "store_backlog": sources.backlog(),
        "store_size_bytes": None if directory is None else _size(directory / FILE),
        "wal_bytes": None if directory is None else _size(directory / f"{FILE}-wal"),
        "store_disk_free_bytes": None if directory is None else _free(directory),
        "store_reserve_spent": int(sources.tight()),
        "api_answers_total": {(f"{n}xx",): counts.get(f"api_answers_{n}xx", 0) for n in (2, 3, 4, 5)},
        "api_clients_gone_total": counts.get("api_clients_gone", 0),
        "loop_lag_seconds": sources.lag(),
        "ready": int(sources.ready()),
        "build_info": {(__version__, python, sqlite, sources.mode): 1},
    }


def _process(sources: Sources) -> dict[str, Value]:
    """Return what every program shows of its process; what the machine does not tell is left out."""
    times = os.times()
    memory, open_fds, max_fds = None, None, None
    with suppress(OSError, ValueError, IndexError):
        memory = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        open_fds = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 # Names, not paths.
    with suppress(ImportError):
        import resource

        max_fds = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {
        "process_start_time_seconds": sources.started / SECOND,
        "process_cpu_seconds_total": times.user + times.system,
        "process_resident_memory_bytes": memory,
        "process_open_fds": open_fds,
        "process_max_fds": max_fds,
    }


def storage(directory: Path | None) -> dict[str, int]:
    """Return the bytes of the store's file, of the log beside it, and of the room on their disk."""
    if directory is None:
        return {}
    sizes = {"store": _size(directory / FILE), "log": _size(directory / f"{FILE}-wal"), "free": _free(directory)}
    return {name: size for name, size in sizes.items() if size is not None}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _lines(figure: Figure, value: Value) -> Iterator[str]:
    """Yield the lines of a figure; without a value there are none."""
    if value is None:
        return
    name = full_name(figure)
    yield f"# HELP {name} {figure.help}\n# TYPE {name} {figure.kind}\n"
    if isinstance(value, Histogram):
        yield from _buckets(name, value)
    elif isinstance(value, Mapping):
        for texts, number in sorted(value.items()):
            yield _line(name, zip(figure.labels, texts, strict=True), number)
    else:
        yield _line(name, (), value)


def _buckets(name: str, histogram: Histogram) -> Iterator[str]:
    # One copy of the counts, so that the lines agree with each other.
    counts, total, so_far = histogram.counts[:], histogram.total, 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), counts, strict=True):
        so_far += count
        yield _line(f"{name}_bucket", (("le", bound),), so_far)
    yield _line(f"{name}_sum", (), total)
    yield _line(f"{name}_count", (), so_far)


def _line(name: str, labels: Iterable[tuple[str, str]], number: Number) -> str:
    written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{written}}} {number}\n" if written else f"{name} {number}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
