"""More than a server can do: a million messages that fail and come again together, and too much load.

Both ask the same: does it come back by itself? A server that answers too much load with more work (it retries, it
rescues, it reads a backlog dearly) can stay down when the load is long gone.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.fill import BATCH, filling, message, now_ms
from bench.lanes import asked, sized
from bench.ledger import account
from bench.load import Receiver, generate
from bench.report import Sheet
from bench.servers import AUTHORIZATION, Server, wait_until_arrived, wait_until_delivered, workplace

from lateron.broker.bulk import Broker
from lateron.broker.views import Result, Turn
from lateron.core.values import SECOND, Options, Outcome, RetryPolicy

MILLION = 1_000_000
OUT = Outcome(status=503, headers=(("Content-Type", "text/plain"),), body=b"come back later")
RETRIES = 20
RETRY_S = 10  # After each failure.
OUTAGE_S = 60.0  # How long the receiver is still out when all are due again.
RAMP_S = 10  # See --start-ramp.

CLIENTS = 1000  # Connections of an overload: enough that the server is asked more than it can answer.
PIECE_S = 5.0  # Of a load whose latency is watched.
CALM = 3  # Pieces in a row that must be as before.


def storm(tools: Path, options: argparse.Namespace) -> Sheet:
    """Let a million messages that have failed be due at one instant, while their receiver is still out."""
    count, outage = sized(MILLION, options), max(1.0, OUTAGE_S * min(1.0, options.scale))
    sheet = Sheet(
        "A storm of retries",
        f"{count:,} messages to one host have failed and are all due again at one instant. Their receiver says 503 for "
        f"{outage:.0f} seconds more, each failure is retried after {RETRY_S} seconds, then it takes everything. "
        "Meanwhile 20 publishes to another receiver and 20 lists of queues a second.",
    )
    with workplace() as directory, Receiver(tools) as receiver, Receiver(tools) as other:
        with filling(directory) as (broker, _):
            fill_failed(broker, count, receiver.url())
        receiver.answer(503)
        with Server(directory) as server:
            sheet.add("ready, s", server.ready_after)
            with asked(tools, server, other) as answers, watched(receiver) as seen:
                time.sleep(outage)
                receiver.answer(200)
                began = time.monotonic()
                ended = wait_until_delivered(server, receiver, count, seconds=120 + count / 500)
            sheet.add("drained after the outage, s", ended - began)
            sheet.add("largest RSS, MB", server.peak_memory_mb())
        found = account(b"2" * count, receiver.log())
    rates(sheet, seen, began, ended)
    for name, report in answers.items():
        sheet.add(f"{name} p99 of the worst 5 s meanwhile, ms", report["p99_ms"], at_most=1000)
        sheet.add(f"{name} refused or lost meanwhile", float(report["refused"] + report["lost"]), at_most=0)
    found.write(sheet)
    # One retry when the receiver came back, and as many as an outage has room for.
    sheet.add("failures of one message, most", float(found.most_refused), at_most=2 + outage // RETRY_S)
    return sheet


def fill_failed(broker: Broker, count: int, url: str) -> None:
    """Publish, and let every attempt fail at one instant, so that all retries are due at one."""
    now = now_ms() - RETRY_S * SECOND
    policy = Options(retry=RetryPolicy(retries=RETRIES, expression=str(RETRY_S * SECOND)))
    for first in range(0, count, BATCH):
        batch = tuple((message(number, url, policy),) for number in range(first, min(first + BATCH, count)))
        claimed = broker.turn(Turn(publishes=batch, room=BATCH), now).claimed
        broker.turn(Turn(results=tuple(Result(each, OUT) for each in claimed)), now)


@contextmanager
def watched(receiver: Receiver) -> Iterator[list[tuple[float, int, int]]]:
    """Note each half second when it was, and how many messages the receiver has taken and refused so far."""
    seen: list[tuple[float, int, int]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            seen.append((time.monotonic(), *receiver.counts()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def rates(sheet: Sheet, seen: Sequence[tuple[float, int, int]], began: float, ended: float) -> None:
    """Add how fast the receiver was asked, and how steadily it was drained from ``began`` to ``ended``."""
    asked_ = [(now, (b[1] + b[2] - a[1] - a[2]) / (b[0] - a[0])) for a, b in pairwise(seen) for now in [b[0]]]
    taken = [(b[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in pairwise(seen)]
    start = seen[0][0] if seen else began
    sheet.add("requests/s in the first two seconds", *[rate for now, rate in asked_ if now < start + 2] or [0.0])
    outage = [rate for now, rate in asked_ if start + RAMP_S < now < began] or [0.0]
    sheet.add("requests/s refused, behind the ramp", *outage)
    drain = [rate for now, rate in taken if began + 1 < now < ended - 1]
    if len(drain) < 6:  # Of a small run there is nothing to compare.
        return
    third = len(drain) // 3
    sheet.add("drain, messages/s", *drain)
    sheet.add(
        "drain, last third ÷ first",
        statistics.median(drain[-third:]) / max(1.0, statistics.median(drain[:third])),
        at_least=0.8,
    )
    sheet.add("drain, slowest half second ÷ median", min(drain) / max(1.0, statistics.median(drain)))


def overload(tools: Path, options: argparse.Namespace) -> Sheet:
    """Publish half as much again as the server can deliver, then less than it can, and wait for peace."""
    seconds = max(1.0, options.seconds * min(1.0, options.scale))
    sheet = Sheet(
        "Too much, and back",
        "Capacity is that of J in a closed loop, the best of three. Then an open loop of 0.7 of it, 1.5 times as much "
        f"as it for {seconds:.0f} seconds over {CLIENTS:,} connections, and 0.7 until {CALM} pieces of {PIECE_S:.0f} s "
        "in a row have a median latency to arrival at most twice as long as before, and 5 ms.",
    )
    with workplace() as directory, Receiver(tools) as receiver, Server(directory) as server:
        load = Load(tools, server, receiver, directory, sheet)
        measured = [load.capacity(sized(20_000, options)) for _ in range(3)]
        sheet.add("capacity, messages/s", *measured)
        capacity = max(measured)  # Of a shared machine the others take a part.
        piece = min(PIECE_S, seconds)
        quiet = [load.piece(0.7 * capacity, piece) for _ in range(CALM)]
        before = statistics.median(window["p50_ms"] for window in quiet)
        sheet.add("before: p50 to arrival, ms", before)
        sheet.add("before: p99 to arrival, ms", *[window["p99_ms"] for window in quiet])
        load.overload(1.5 * capacity, seconds)
        sheet.add("largest RSS, MB", server.peak_memory_mb())
        calm, after, began = 0, [], time.monotonic()
        while calm < CALM and time.monotonic() < began + 3 * seconds + CALM * piece:
            after.append(load.piece(0.7 * capacity, piece))
            calm = calm + 1 if after[-1]["p50_ms"] <= 2 * before + 5 else 0
            print(f"{time.monotonic() - began:.0f} s after: {after[-1]}", flush=True)
        took = time.monotonic() - began - CALM * piece if calm == CALM else float("inf")
        sheet.add("back to normal after, s", took, at_most=2 * seconds)
        sheet.add("after: p50 to arrival, ms", *[window["p50_ms"] for window in after[-CALM:]])
        sheet.add("after: p99 to arrival, ms", *[window["p99_ms"] for window in after[-CALM:]])
        load.judge()
    return sheet


class Load:
    """What is published to a server, piece by piece, and what became of it."""

    def __init__(self, tools: Path, server: Server, receiver: Receiver, directory: Path, sheet: Sheet) -> None:
        self._tools, self._server, self._receiver, self._sheet = tools, server, receiver, sheet
        self._log = directory / "publishes.log"
        self._fates = b""
        self._bare = 0

    def capacity(self, count: int) -> float:
        """Return how many messages a second the server stores and delivers, when the next follows the answer."""
        self._publish(count=max(1, count // 10))  # Warm up.
        wait_until_arrived(self._receiver, len(self._fates), 60)
        began = time.monotonic()
        self._publish(count=count)
        ended = wait_until_delivered(self._server, self._receiver, len(self._fates), 120)
        self._receiver.window()
        return count / (ended - began)

    def piece(self, rate: float, seconds: float) -> dict[str, Any]:
        """Publish for a while, and return the latencies of what arrived meanwhile, old and new."""
        count = max(1, int(rate * seconds))
        report = self._publish(count=count, rate=rate, connections=256, stop=seconds + 5, seconds=seconds + 60)
        return {**self._receiver.window(), "publish p99": report["p99_ms"], "accepted": report["accepted"] / count}

    def overload(self, rate: float, seconds: float) -> None:
        """Publish too much, and add how that went."""
        count = max(1, int(rate * seconds))
        report = self._publish(count=count, rate=rate, connections=CLIENTS, stop=seconds, seconds=seconds + 120)
        self._sheet.add("overload: asked for, messages/s", rate)
        self._sheet.add("overload: accepted, messages/s", report["accepted"] / report["seconds"])
        self._sheet.add("overload: refused with 429 or 503, share", report["refused"] / max(1, report["sent"]))
        self._sheet.add("overload: publish p99, ms", report["p99_ms"])
        window = self._receiver.window()
        self._sheet.add("overload: p50 to arrival, ms", window["p50_ms"])
        self._sheet.add("overload: p99 to arrival, ms", window["p99_ms"])
        waits = len(self._fates) - self._fates.count(b".") - self._receiver.count()
        self._sheet.add("overload: stored and not delivered at its end", float(max(0, waits)))

    def judge(self) -> None:
        """Wait until everything is delivered, and compare the logs."""
        known = self._fates.count(b"2")
        wait_until_delivered(self._server, self._receiver, known, seconds=600)
        account(self._fates, self._receiver.log()).write(self._sheet)
        self._sheet.add("refused without Retry-After", float(self._bare), at_most=0)

    def _publish(self, **more: object) -> dict[str, Any]:
        report, _ = generate(
            self._tools, self._server.publish_url(self._receiver.url()), AUTHORIZATION, first=len(self._fates),
            log=self._log, **more,
        )  # fmt: skip
        self._fates += self._log.read_bytes()
        self._bare += report["bare"]
        return report
