"""A healthy run of an hour: nothing goes wrong, so nothing may be lost, come twice, or grow.

Publishes of every kind at a moderate rate, schedules that tick every second, lists that are read, and a retention
of a few minutes, so that what is stored settles. Each kind has a receiver of its own, whose log is compared with
what its publisher was told. Every minute the server is looked at from outside.

Drift is judged by thirds: the first is left out, it fills the store. The median of the last third may stand above
that of the second by 5 % and a little (of memory 2 MB, of files 4 MB, of descriptors 3, of rows 50).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import apsw
from bench.ledger import NOTHING, account
from bench.load import Receiver, generate, get_bytes, get_json
from bench.report import Sheet
from bench.servers import AUTHORIZATION, Server, workplace

from lateron.store.sqlite import FILE, READING

RETENTION = "3m"
SCHEDULES = 10
SPENT = "CPU since its start, s"
SLACK = 1.05  # How much higher the last third may stand.
LISTS = (
    "/v2/events?count=100",
    "/v2/messages?count=100",
    "/v2/dlq?count=100",
    "/v2/queues",
    "/v2/schedules",
    "/v2/topics",
)
TROUBLE = re.compile(r"^\S+ (?:warning|error|critical) .*$", re.MULTILINE)


@dataclass(slots=True)
class Kind:
    """One way to publish, at its share of the rate, to receivers of its own."""

    name: str
    share: float
    path: str  # Behind the server's address; {url} is the receiver's.
    headers: Mapping[str, str] = field(default_factory=dict)
    receivers: list[Receiver] = field(default_factory=list)
    fates: bytes = b""  # Of each number what its publisher was told.


def kinds(period: float) -> list[Kind]:
    """Return the ways to publish; long delays are two periods."""
    retries = {"Upstash-Retries": "0"}
    key = {"Upstash-Flow-Control-Key": "soak", "Upstash-Flow-Control-Value": "parallelism=20"}
    return [
        Kind("plain", 0.40, "/v2/publish/{url}", retries),
        Kind(
            "delayed a little", 0.15, "/v2/publish/{url}", {**retries, "Upstash-Delay": f"{max(1, period / 12):.0f}s"}
        ),
        Kind("delayed", 0.08, "/v2/publish/{url}", {**retries, "Upstash-Delay": f"{max(1, 2 * period):.0f}s"}),
        Kind("queue", 0.12, "/v2/enqueue/soak/{url}", retries),
        Kind("key", 0.15, "/v2/publish/{url}", {**retries, **key}),
        Kind("group", 0.10, "/v2/publish/soak", retries),
    ]


class Soak:
    """One run; see the module.

    Args:
        sheet: Takes the figures.
        tools: Folder of the tools.
        directory: To work in.
        options: ``rate`` of messages a second, ``minutes``, and ``period``, the seconds of a sample.
    """

    def __init__(self, sheet: Sheet, tools: Path, directory: Path, options: argparse.Namespace) -> None:
        self._sheet = sheet
        self._tools = tools
        self._directory = directory
        self._options = options
        self._kinds = kinds(options.period)
        self._samples: list[dict[str, float]] = []
        self._list_ms: list[float] = []
        self._over = threading.Event()

    def run(self) -> None:
        """Run it, and fill the sheet."""
        flags = ["--message-retention", "1m", "--history-retention", RETENTION, "--dlq-retention", RETENTION]
        with ExitStack() as stack:
            for kind in self._kinds:
                kind.receivers = [stack.enter_context(Receiver(self._tools)) for _ in range(1 + (kind.name == "group"))]
            ticked = stack.enter_context(Receiver(self._tools))
            server = stack.enter_context(Server(self._directory, flags))
            self._arrange(server, ticked)
            with ThreadPoolExecutor(len(self._kinds) + 1) as pool:
                reading = pool.submit(self._read_lists, server)
                try:
                    for number in range(max(3, round(self._options.minutes * 60 / self._options.period))):
                        list(pool.map(lambda kind: self._load(server, kind), self._kinds))
                        self._samples.append(self._look(server))
                        print(f"{number + 1}: {line(self._samples[-1])}", flush=True)
                finally:
                    self._over.set()
                reading.result()
            owed = self._come_to_rest(server)
            self._judge(server, ticked, owed)
        self._compare()

    def _arrange(self, server: Server, ticked: Receiver) -> None:
        """Make the queue, the group and the schedules."""
        group = next(kind for kind in self._kinds if kind.name == "group")
        endpoints = [{"url": receiver.url()} for receiver in group.receivers]
        asked(server, "POST", "/v2/topics/soak/endpoints", {"endpoints": endpoints})
        asked(server, "POST", "/v2/queues", {"queueName": "soak", "parallelism": 5})
        for number in range(SCHEDULES):
            headers = {"Upstash-Cron": "@every 1s", "Upstash-Schedule-Id": f"soak-{number}", "Upstash-Retries": "0"}
            asked(server, "POST", f"/v2/schedules/{ticked.url()}", {"tick": number}, headers)

    def _load(self, server: Server, kind: Kind) -> None:
        """Publish for one period."""
        seconds, rate = self._options.period, self._options.rate * kind.share
        url = f"http://127.0.0.1:{server.port}{kind.path.format(url=kind.receivers[0].url())}"
        log = self._directory / f"{kind.name}.log"
        report, _ = generate(
            self._tools, url, {**AUTHORIZATION, **kind.headers},
            count=max(1, int(seconds * rate)), rate=rate, first=len(kind.fates), connections=8, seconds=seconds + 30,
            log=log,
        )  # fmt: skip
        kind.fates += log.read_bytes()
        self._sheet.add("publish p99 of a period, ms", report["p99_ms"])

    def _read_lists(self, server: Server) -> None:
        """Read one list a second, as a console or a script would."""
        for path in cycle(LISTS):
            if self._over.wait(min(1.0, self._options.period / 10)):
                return
            began = time.perf_counter()
            answer = get_json(server.port, "GET", path, AUTHORIZATION)
            self._list_ms.append((time.perf_counter() - began) * 1000)
            assert not path.startswith("/v2/dlq") or not answer["messages"], f"a dead letter: {answer}"

    def _look(self, server: Server) -> dict[str, float]:
        """Look at the server's process and files, and count what is stored."""
        files = {file.name: file.stat().st_size / (1 << 20) for file in (self._directory / "data").iterdir()}
        rows = {table: float(counted(self._directory, table)) for table in ("message", "event", "request")}
        return {
            "RSS, MB": server.memory_mb(),
            "descriptors": float(server.descriptors()),
            "file, MB": files[FILE],
            "log of the file, MB": files.get(f"{FILE}-wal", 0.0),
            "messages stored": rows["message"],
            "events stored": rows["event"],
            SPENT: server.cpu_seconds(),
        }  # fmt: skip

    def _come_to_rest(self, server: Server) -> int:
        """End the schedules and wait until nothing is left; return how often they should have ticked."""
        owed = 0
        for number in range(SCHEDULES):
            asked(server, "POST", f"/v2/schedules/soak-{number}/pause")
            shown = get_json(server.port, "GET", f"/v2/schedules/soak-{number}", AUTHORIZATION)
            owed += (shown.get("lastScheduleTime", shown["createdAt"]) - shown["createdAt"]) // 1000
        deadline = time.monotonic() + 60 + 4 * self._options.period
        while get_json(server.port, "GET", "/v2/messages?count=1", AUTHORIZATION)["messages"] or server.pending():
            assert time.monotonic() < deadline, "messages do not come to rest"
            time.sleep(0.1)
        return owed

    def _judge(self, server: Server, ticked: Receiver, owed: int) -> None:
        """Compare the logs of publishers and receivers."""
        whole = NOTHING
        for kind in self._kinds:
            for receiver in kind.receivers:
                whole += account(kind.fates, receiver.log())
                self._sheet.add("late at the receiver, p99 of each kind, ms", receiver.stats()["p99_ms"] - later(kind))
        trouble = TROUBLE.findall(server.log())
        print(*trouble[:20], sep="\n")
        self._sheet.add("messages", float(whole.acknowledged + owed))
        whole.write(self._sheet)
        self._sheet.add("publishes refused or without an answer", float(whole.refused + whole.unknown), at_most=0)
        self._sheet.add("requests refused by receivers", float(whole.most_refused), at_most=0)
        self._sheet.add("ticks, arrived ÷ owed", ticked.stats()["unreadable"] / max(1, owed), at_least=1, at_most=1)
        self._sheet.add("warnings and errors logged", float(len(trouble)), at_most=0)
        self._sheet.add("lists, ms", *self._list_ms)

    def _compare(self) -> None:
        """Add each figure, and how the last third stands to the second."""
        slack = {"RSS, MB": 2, "descriptors": 3, "file, MB": 4, "log of the file, MB": 4}
        third = len(self._samples) // 3
        for name in self._samples[0]:
            values = [sample[name] for sample in self._samples]
            if name == SPENT:
                self._sheet.add("CPU of the server, share of a core", values[-1] / len(values) / self._options.period)
                continue
            self._sheet.add(name, *values[third:])
            second, last = statistics.median(values[third:-third]), statistics.median(values[-third:])
            most = SLACK + slack.get(name, 50) / max(second, 1)
            self._sheet.add(f"{name}: last third ÷ second", last / max(second, 1), at_most=most)


def later(kind: Kind) -> float:
    """Return by how much a kind asks to be late, in milliseconds."""
    return float(kind.headers.get("Upstash-Delay", "0s").removesuffix("s")) * 1000


def counted(directory: Path, table: str) -> int:
    """Return how many rows a table has, while a server works on it."""
    with closing(apsw.Connection(str(directory / "data" / FILE), flags=READING)) as connection:
        connection.set_busy_timeout(5000)
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 # One of ours.
    return int(str(rows))


def asked(server: Server, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
    """Ask a server for a change."""
    content = None if body is None else json.dumps(body).encode()
    get_bytes(server.port, method, path, {**AUTHORIZATION, **(headers or {})}, content)


def line(sample: Mapping[str, float]) -> str:
    """Return a sample for people who wait."""
    return ", ".join(f"{name} {value:,.4g}" for name, value in sample.items())


def soak(tools: Path, options: argparse.Namespace) -> Sheet:
    """Run healthy for an hour."""
    sheet = Sheet(
        "Healthy for a while",
        f"{options.minutes:g} minutes at {options.rate:g} messages a second: plain, delayed, queued, with a key, to a "
        f"group, and {SCHEDULES} schedules that tick every second; lists are read; retention {RETENTION}. Looked at "
        f"every {options.period:g} seconds; the rows show the last two thirds.",
    )
    with workplace() as directory:
        Soak(sheet, tools, directory, options).run()
    return sheet
