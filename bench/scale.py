"""How it is when there is much: given rates, backlogs, long histories, starts; and what the machine allows.

    python -m bench.scale open        J at 2, 4 and 8 thousand a second, whatever the answers do
    python -m bench.scale backlog     J beside a million messages that are delayed by an hour
    python -m bench.scale drain       200,000 messages are due when the server starts
    python -m bench.scale lists       pages of lists over ten million finished messages
    python -m bench.scale start       start with a million messages stored, also after kill -9; idle memory
    python -m bench.scale limit       what the disk, the loop and two hops cost without any of our code
    python -m bench.scale all

``--scale 0.01`` makes everything a hundred times smaller.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
from bench.fill import STEP, filling, message, multiply, now_ms, publish_all, run_through
from bench.lanes import drain, sized
from bench.load import Receiver, build, cpu_seconds, generate, get_json
from bench.report import Sheet, publish
from bench.run import Round, measure
from bench.servers import AUTHORIZATION, Server, workplace

from lateron.core.values import DAY, HOUR

MILLION = 1_000_000
PAGE = 100  # Rows of a page, the most that every list gives.


def open_loop(tools: Path, options: argparse.Namespace) -> Sheet:
    """Publish at given rates; a latency counts from when its message was due."""
    seconds = max(1.0, 10 * options.scale)
    sheet = Sheet("Open loop", f"J for {seconds:.0f} seconds at each rate, {options.rounds} rounds in turns.")
    for _ in range(options.rounds):
        for rate in (2000, 4000, 8000):
            round_ = one_round(tools, None, count=int(rate * seconds), rate=rate)
            goal = 10.0 if rate == 4000 else None
            for name in ("publish", "arrival"):
                for percentile in ("p50", "p99"):
                    value = getattr(round_, f"{name}_{percentile}")
                    sheet.add(
                        f"{rate}/s: {name} {percentile}, ms", value, at_most=goal if percentile == "p99" else None
                    )
            sheet.add(f"{rate}/s: messages/s", round_.per_second)
            sheet.add(f"{rate}/s: rel", round_.rel)
    return sheet


def backlog(tools: Path, options: argparse.Namespace) -> Sheet:
    """Run J on an empty store and on one with a million delayed messages, in turns."""
    stored, count = sized(MILLION, options), sized(20_000, options)
    sheet = Sheet(
        "A million delayed", f"J with {count:,} messages, beside {stored:,} that are due in an hour or later."
    )
    with workplace() as full:
        with filling(full) as (broker, _):
            later = now_ms() + HOUR
            publish_all(broker, (message(i, "http://127.0.0.1:9/", not_before=later + i) for i in range(stored)))
        for _ in range(options.rounds):
            for name, directory in (("empty", None), ("a million", full)):
                round_ = one_round(tools, directory, count=count)
                sheet.add(f"messages/s, {name}", round_.per_second)
                sheet.add(f"rel, {name}", round_.rel)
                sheet.add(f"largest RSS, {name}, MB", round_.memory_mb)
    sheet.ratio("messages/s, a million ÷ empty", "messages/s, a million", "messages/s, empty", at_least=0.9)
    sheet.ratio("rel, a million ÷ empty", "rel, a million", "rel, empty")
    sheet.ratio("RSS, a million ÷ empty", "largest RSS, a million, MB", "largest RSS, empty, MB", at_most=1.1)
    return sheet


def one_round(tools: Path, directory: Path | None, *, count: int, rate: float = 0) -> Round:
    """Run the main job once."""
    options = argparse.Namespace(
        count=count, rate=rate, connections=64, size=200, seconds=120, server_argument=[], directory=directory,
        own_heads=False,
    )  # fmt: skip
    return measure(tools, options)


def drained(tools: Path, options: argparse.Namespace) -> Sheet:
    """Deliver what waits."""
    count = sized(200_000, options)
    sheet = Sheet("A backlog that is due", f"{count:,} messages to one host are due when the server starts.")
    for _ in range(options.rounds):
        drain(tools, sheet, "drained", count, lambda url: (message(i, url) for i in range(count)))
    return sheet


def lists(_: Path, options: argparse.Namespace) -> Sheet:
    """Page through lists over a long history, from the newest on."""
    base = 20_000
    copies, waiting = max(1, int(10 * MILLION * options.scale) // base), sized(200_000, options)
    pages = min(1000, sized(1000, options) + 10)
    sheet = Sheet(
        "Lists of a long history",
        f"{base * copies:,} messages that rest, one in ten as a dead letter, and {waiting:,} that wait; pages of "
        f"{PAGE} rows over HTTP, the first and number {pages:,}; of events also the largest page, 1,000. The CPU time "
        "of the server is what a page costs whatever else the machine does.",
    )
    with workplace() as directory:
        with filling(directory) as (broker, store):
            run_through(broker, base, (now_ms() - DAY) // STEP * STEP)
            multiply(store, copies)
            later = now_ms() + HOUR
            publish_all(broker, (message(i, "http://127.0.0.1:9/", not_before=later) for i in range(waiting)))
        size = sum(file.stat().st_size for file in (directory / "data").iterdir())
        sheet.add("size of the store, MB", size / (1 << 20))
        with Server(directory) as server:
            sheet.add("ready, s", server.ready_after)
            for name, path in (("events", "/v2/events"), ("dead letters", "/v2/dlq"), ("messages", "/v2/messages")):
                used = server.cpu_seconds()
                times = list(page_times(server, f"{path}?count={PAGE}", pages))
                used = server.cpu_seconds() - used
                sheet.add(f"{name}, first page, ms", times[0], at_most=100)
                sheet.add(f"{name}, page {pages:,}, ms", times[-1], at_most=100)
                sheet.add(f"{name}, median of all, ms", statistics.median(times))
                sheet.add(f"{name}, longest of all, ms", max(times))
                sheet.add(f"{name}, mean of all, CPU ms of the server", used / len(times) * 1000)
            used = server.cpu_seconds()
            whole = [next(page_times(server, "/v2/events?count=1000", 1)) for _ in range(20)]
            used = server.cpu_seconds() - used
            sheet.add("events, first page of 1,000, ms", *whole, at_most=100)
            sheet.add("events, first page of 1,000, CPU ms of the server", used / len(whole) * 1000)
            sheet.add("RSS, MB", server.memory_mb())
    return sheet


def page_times(server: Server, path: str, pages: int) -> Iterator[float]:
    """Yield the milliseconds of each page, over HTTP, rendering and reading included."""
    cursor = ""
    for _ in range(pages):
        began = time.perf_counter()
        page = get_json(server.port, "GET", f"{path}{cursor}", AUTHORIZATION)
        yield (time.perf_counter() - began) * 1000
        if page.get("cursor") is None:
            return
        cursor = f"&cursor={page['cursor']}"


def start(tools: Path, options: argparse.Namespace) -> Sheet:
    """Start on an empty store, on a full one, and after a kill in the midst of work."""
    stored = sized(MILLION, options)
    what = f"{stored:,} messages stored that are delayed; idle: five seconds after the start."
    sheet = Sheet("Starts and idle memory", what)
    with workplace() as full:
        with filling(full) as (broker, _):
            later = now_ms() + HOUR
            publish_all(broker, (message(i, "http://127.0.0.1:9/", not_before=later) for i in range(stored)))
        for _ in range(options.rounds):
            for name, directory in (("empty", None), ("a million stored", full)):
                with workplace() as fresh, Server(directory or fresh) as server:
                    sheet.add(f"ready, {name}, s", server.ready_after, at_most=5)
                    time.sleep(5 * min(1.0, options.scale))
                    sheet.add(f"idle RSS, {name}, MB", server.memory_mb(), at_most=100)
            with Receiver(tools) as receiver:
                with Server(full) as server:
                    generate(tools, server.publish_url(receiver.url()), AUTHORIZATION, count=5000)
                    server.kill()
                with Server(full) as server:
                    sheet.add("ready, after kill -9, s", server.ready_after, at_most=5)
    return sheet


def limit(tools: Path, options: argparse.Namespace) -> Sheet:
    """Measure what nobody's code could beat here: the disk, the network stack, the loop."""
    count = sized(20_000, options)
    sheet = Sheet(
        "What the machine allows",
        "One write of 4 KB with fdatasync, alone; one row in SQLite as the store has it (WAL, FULL); the load straight "
        "to the receiver, both C, halved because a message makes two hops; the load to a server that only answers, "
        "in Python on the loop that Lateron uses, with its parser.",
    )
    for _ in range(options.rounds):
        with workplace() as directory:
            times = sorted(sync_times(directory, sized(2000, options)))
            sheet.add("fdatasync p50, ms", times[len(times) // 2])
            sheet.add("fdatasync p99, ms", times[len(times) * 99 // 100])
            sheet.add("commit of one row p50, ms", statistics.median(commit_times(directory, sized(2000, options))))
        with Receiver(tools) as receiver:
            before = receiver.cpu_seconds()
            report, cpu = generate(tools, receiver.url(), {}, count=count)
            sheet.add("two hops in C, messages/s", report["per_second"] / 2)
            sheet.add("one hop in C, both sides, CPU µs", (cpu + receiver.cpu_seconds() - before) / count * 1e6)
        with subprocess.Popen([sys.executable, "-m", "bench.floor"], stdout=subprocess.PIPE, text=True) as floor:
            assert floor.stdout is not None
            url = f"http://127.0.0.1:{int(floor.stdout.readline())}/"
            generate(tools, url, {}, count=count)
            used = cpu_seconds(floor.pid)
            report, cpu = generate(tools, url, {}, count=count)
            used = cpu_seconds(floor.pid) - used
            sheet.add("a loop that only answers, requests/s", report["per_second"])
            sheet.add("a loop that only answers, CPU µs/request", used / count * 1e6)
            floor.terminate()
    return sheet


def sync_times(directory: Path, count: int) -> Iterator[float]:
    """Yield the milliseconds of writes that are on disk when they return."""
    descriptor = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(count):
            os.write(descriptor, b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            yield (time.perf_counter() - began) * 1000
    finally:
        os.close(descriptor)


def commit_times(directory: Path, count: int) -> Iterator[float]:
    """Yield the milliseconds of transactions of one row."""
    connection = apsw.Connection(str(directory / "probe.db"))
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE probe (id INTEGER PRIMARY KEY, body TEXT)")
    for number in range(count):
        began = time.perf_counter()
        connection.execute("INSERT INTO probe VALUES (?, ?)", (number, "x" * 200))
        yield (time.perf_counter() - began) * 1000
    connection.close()


SCENARIOS = {
    "open": open_loop, "backlog": backlog, "drain": drained, "lists": lists, "start": start, "limit": limit
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios, print their tables; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Measure much, and what is possible.")
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--scale", type=float, default=1.0, help="make everything so many times as large (1)")
    parser.add_argument("--rounds", type=int, default=3, help="of what is repeated (3)")
    parser.add_argument("--record", action="store_true", help="append the tables to bench/RESULTS.md")
    options = parser.parse_args(arguments)
    tools = build()
    sheets = []
    for name in SCENARIOS if options.scenario == "all" else [options.scenario]:
        print(f"{name} ...", flush=True)
        sheets.append(SCENARIOS[name](tools, options))
        sheets[-1].close()
    return 0 if publish(sheets, record=options.record) else 1


if __name__ == "__main__":
    sys.exit(main())
