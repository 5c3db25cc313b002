"""Order, limits and time under load: what keys, queues and schedules cost, and whom they hold up.

    python -m bench.lanes keys        10,000 keys with 100 messages each
    python -m bench.lanes queues      1,000 queues with 100 messages each
    python -m bench.lanes waiting     a million messages wait for one key; how late is another key's?
    python -m bench.lanes schedules   100,000 schedules are due at the same minute
    python -m bench.lanes idle        a million idle keys; what does a claim cost, and how much memory?
    python -m bench.lanes all

``--scale 0.01`` makes everything a hundred times smaller. Figures that are compared are taken in turns (A B
A B), each from a server of its own, on a store that was filled before it was started.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import combinations, product
from pathlib import Path
from typing import Any

import apsw
from bench.fill import HEADERS, TENANT, body, filling, message, now_ms, publish_all
from bench.load import Receiver, build, generate
from bench.report import Sheet, publish
from bench.servers import AUTHORIZATION, Server, wait_until_arrived, wait_until_delivered, workplace

from lateron.broker.bulk import Broker
from lateron.broker.views import Result, Turn
from lateron.core.flow import Lane, lane_name
from lateron.core.recurring import NewSchedule, Rules
from lateron.core.values import SECOND, Flow, LaneKind, Millis, Options, Outcome, Publication, Request
from lateron.store.sqlite import FILE, READING, SqliteStore

MILLION = 1_000_000
DONE = Outcome(status=200)


def keys(tools: Path, options: argparse.Namespace) -> Sheet:
    """Drain keys, each with its own limit, and as many messages that have none."""
    count, each = sized(10_000, options), 100
    plain = min(count * each, sized(200_000, options))
    sheet = Sheet(
        "Many keys",
        f"{count:,} flow-control keys with {each} messages each, parallelism 2, all due when the server starts; "
        f"beside it {plain:,} messages without a key to the same host.",
    )
    flows = [Options(flow=Flow(f"key-{i}", parallelism=2)) for i in range(count)]
    for _ in range(options.rounds):
        drain(tools, sheet, "without a key", plain, lambda url: (message(i, url) for i in range(plain)))
        drain(
            tools, sheet, "with keys", count * each,
            lambda url: (message(i, url, flows[i % count]) for i in range(count * each)),
        )  # fmt: skip
    sheet.ratio("CPU, with keys ÷ without", cpu_of("with keys"), cpu_of("without a key"))
    return sheet


def queues(tools: Path, options: argparse.Namespace) -> Sheet:
    """Drain queues, each strictly in order, and as many messages that have none."""
    count, each = sized(1_000, options), 100
    sheet = Sheet(
        "Many queues",
        f"{count:,} queues of parallelism 1 with {each} messages each, all due when the server starts; beside it "
        f"{count * each:,} messages without a queue.",
    )
    named = [Options(queue_name=f"queue-{i}") for i in range(count)]
    for _ in range(options.rounds):
        drain(tools, sheet, "without a queue", count * each, lambda url: (message(i, url) for i in range(count * each)))
        drain(
            tools, sheet, "in queues", count * each,
            lambda url: (message(i, url, named[i % count]) for i in range(count * each)),
        )  # fmt: skip
    sheet.ratio("CPU, in queues ÷ without", cpu_of("in queues"), cpu_of("without a queue"))
    return sheet


def drain(
    tools: Path, sheet: Sheet, name: str, count: int, publications: Callable[[str], Iterable[Publication]]
) -> None:
    """Fill a store, start a server on it, and measure until the last message is delivered and recorded."""
    with workplace() as directory, Receiver(tools) as receiver:
        with filling(directory) as (broker, _):
            publish_all(broker, publications(receiver.url()))
        began = time.monotonic()
        with Server(directory) as server:
            ended = wait_until_delivered(server, receiver, count, seconds=60 + count / 500)
            sheet.add(f"messages/s, {name}", count / (ended - began))
            sheet.add(cpu_of(name), server.cpu_seconds() / count * 1e6)
            sheet.add(f"largest RSS, {name}, MB", server.peak_memory_mb())
        sheet.add("delivered twice", float(receiver.stats()["duplicates"]), at_most=0)


def waiting(tools: Path, options: argparse.Namespace) -> Sheet:
    """Publish to one key while a million messages wait for another, and while none do."""
    count, rate, load = sized(MILLION, options), 200, int(options.load_seconds * 200)
    sheet = Sheet(
        "One key with a million waiting",
        f"{count:,} messages wait for a key that may start 10 a second, and does; meanwhile {rate} messages a second "
        f"of another key, one half due at once, one half delayed by a second. Quiet: the same, nothing else stored.",
    )
    with workplace() as full, Receiver(tools) as receiver, Receiver(tools) as sink:
        with filling(full) as (broker, _):
            slow = Options(flow=Flow("the-million", rate=10))
            publish_all(broker, (message(i, sink.url(), slow) for i in range(count)))
        for _ in range(options.rounds):
            with workplace() as empty, Server(empty) as server:
                start_latency(tools, sheet, "quiet", server, receiver, load, rate)
            with Server(full) as server:
                sheet.add("ready with a million stored, s", server.ready_after)
                start_latency(tools, sheet, "beside the million", server, receiver, load, rate)
    for kind in ("due at once", "delayed"):
        above, below = (f"{kind}, p99 to arrival, {name}, ms" for name in ("beside the million", "quiet"))
        sheet.ratio(f"{kind}, p99, beside the million ÷ quiet", above, below, at_most=2)
    return sheet


def start_latency(
    tools: Path, sheet: Sheet, name: str, server: Server, receiver: Receiver, load: int, rate: int
) -> None:
    """Publish for a while, and add how long after its time each message arrived."""
    url, key = server.publish_url(receiver.url()), {**AUTHORIZATION, "Upstash-Flow-Control-Key": "other"}
    key["Upstash-Flow-Control-Value"] = "parallelism=50"
    for kind, headers, late in (("due at once", {}, 0), ("delayed", {"Upstash-Delay": "1s"}, SECOND)):
        generate(tools, url, {**key, **headers}, count=rate, rate=rate)  # Warm up.
        wait_until_arrived(receiver, rate, 30)
        receiver.reset(rate)
        generate(tools, url, {**key, **headers}, count=load, first=rate, rate=rate)
        wait_until_delivered_to(receiver, load)
        arrived = receiver.stats()
        for percentile in ("p50", "p99"):
            sheet.add(f"{kind}, {percentile} to arrival, {name}, ms", arrived[f"{percentile}_ms"] - late)
        receiver.reset(0)


def wait_until_delivered_to(receiver: Receiver, count: int) -> None:
    """Wait for a load that ends soon."""
    wait_until_arrived(receiver, count, 60)


def schedules(tools: Path, options: argparse.Namespace) -> Sheet:
    """Let a great many schedules be due at one instant, and ask the server other things meanwhile."""
    count = sized(100_000, options)
    sheet = Sheet(
        "Schedules due at the same minute",
        f"{count:,} schedules, each with another cron expression, due at one instant, each to make a message that is "
        "delivered at once; meanwhile 20 publishes and 20 lists of queues a second.",
    )
    for _ in range(options.rounds):
        with workplace() as directory, Receiver(tools) as receiver, Receiver(tools) as other:
            due = fill_schedules(directory, receiver.url(), count)
            with Server(directory) as server:
                time.sleep(max(0.0, (due - now_ms()) / 1000 - 1))
                with asked(tools, server, other) as answers:
                    wait_until_delivered(server, receiver, count, seconds=240)
                    arrived = receiver.stats()
                    sheet.add(
                        "last message delivered after its tick, s", arrived["last_us"] / 1e6 - due / 1000, at_most=30
                    )
                    sheet.add("median message after its tick, s", arrived["p50_ms"] / 1000)
                    sheet.add("lost", float(count - arrived["unique"]), at_most=0)
                    sheet.add("delivered twice", float(arrived["duplicates"]), at_most=0)
                    sheet.add("server CPU, µs/message", server.cpu_seconds() / count * 1e6)
            made = last_created(directory, receiver.url())
            sheet.add("last message stored after its tick, s", (made - due) / 1000, at_most=30)
            for name, report in answers.items():
                sheet.add(f"{name} p99 meanwhile, ms", report["p99_ms"], at_most=1000)
                sheet.add(f"{name} longest, ms", report["max_ms"])
                sheet.add(f"{name} not answered well", float(report["refused"] + report["lost"]), at_most=0)
    return sheet


def last_created(directory: Path, url: str) -> Millis:
    """Return when the last message to a URL was stored; the server has ended."""
    question = "SELECT max(created) FROM message JOIN request USING (id) WHERE url = ?"
    with closing(apsw.Connection(str(directory / "data" / FILE), flags=READING)) as connection:
        ((created,),) = connection.execute(question, (url,))
    return int(str(created))


def fill_schedules(directory: Path, url: str, count: int) -> Millis:
    """Store schedules that are all due at one instant which is not here yet; return it."""
    # A server needs a few seconds to start, and storing takes at most a millisecond each.
    due = (now_ms() + 5 * SECOND + count) // SECOND * SECOND
    crons = expressions(datetime.fromtimestamp(due / 1000, UTC))
    with filling(directory) as (broker, _):
        for first in range(0, count, 1000):
            with broker.publishing(now_ms()) as desk:
                for number in range(first, min(first + 1000, count)):
                    request = Request(url, "POST", HEADERS, body(number, due), Options())
                    new = NewSchedule(TENANT, f"schedule-{number}", next(crons), Rules(), request)
                    broker.enrol(desk.tx, now_ms(), new)
    if due - now_ms() < 2 * SECOND:
        raise TimeoutError("storing the schedules took longer than planned")
    return due


def expressions(moment: datetime) -> Iterator[str]:
    """Yield cron expressions that are all different, and all due at one moment and not again within two hours."""
    hours = combinations([hour for hour in range(24) if hour != moment.hour and hour != (moment.hour + 1) % 24], 2)
    months = combinations([month for month in range(1, 13) if month != moment.month], 2)
    days = combinations([day for day in range(7) if day != moment.isoweekday() % 7], 2)
    for hour, month, day in product(hours, months, days):
        lists = [",".join(map(str, (*others, own))) for others, own in (
            (hour, moment.hour), (month, moment.month), (day, moment.isoweekday() % 7)
        )]  # fmt: skip
        yield f"{moment.second} {moment.minute} {lists[0]} * {lists[1]} {lists[2]}"


@contextmanager
def asked(tools: Path, server: Server, receiver: Receiver) -> Iterator[dict[str, dict[str, Any]]]:
    """Ask a server for things while the block runs; the reports are there behind it."""
    reports: dict[str, dict[str, Any]] = {}
    ended = threading.Event()

    def ask(name: str, url: str, **more: object) -> None:
        worst: dict[str, Any] = {"p99_ms": 0.0, "max_ms": 0.0, "refused": 0, "lost": 0}
        number = 0
        while not ended.is_set():
            report, _ = generate(tools, url, AUTHORIZATION, count=100, first=number, rate=20, connections=20, **more)
            number += 100
            # The worst stretch of five seconds counts, not the quiet ones before and after.
            for figure in ("p99_ms", "max_ms"):
                worst[figure] = max(worst[figure], report[figure])
            for figure in ("refused", "lost"):
                worst[figure] += report[figure]
        reports[name] = worst

    lists = f"http://127.0.0.1:{server.port}/v2/queues"
    threads = [
        threading.Thread(target=ask, args=("publish", server.publish_url(receiver.url()))),
        threading.Thread(target=ask, args=("list", lists), kwargs={"method": "GET"}),
    ]
    for thread in threads:
        thread.start()
    try:
        yield reports
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def idle(tools: Path, options: argparse.Namespace) -> Sheet:
    """Claim, and run the main job, on a store with a million keys that nobody uses, and on one without."""
    count = sized(MILLION, options)
    sheet = Sheet(
        "A million idle keys",
        f"{count:,} keys that were used and have nothing waiting now. A claim is measured in the broker, in turns on "
        "both stores; memory is that of a server after 10,000 messages.",
    )
    with workplace() as full, workplace() as empty, Receiver(tools) as receiver:
        with filling(full) as (full_broker, full_store), filling(empty) as (empty_broker, empty_store):
            fill_idle(full_store, count)
            brokers = {"none": empty_broker, "a million": full_broker}
            for _ in range(max(3, options.rounds)):
                for name, times in claim_times(brokers, options.claims).items():
                    sheet.add(f"claim p50, {name}, µs", statistics.median(times) / 1000)
            del full_store, empty_store
        sheet.ratio(
            "claim p50, a million ÷ none", *(f"claim p50, {n}, µs" for n in ("a million", "none")), at_most=1.05
        )
        for _ in range(options.rounds):
            for name, directory in (("none", empty), ("a million", full)):
                with Server(directory) as server:
                    server_memory(tools, sheet, name, server, receiver)
    sheet.ratio("RSS, a million ÷ none", *(f"RSS, {n}, MB" for n in ("a million", "none")), at_most=1.1)
    return sheet


def fill_idle(store: SqliteStore, count: int) -> None:
    """Store lanes of keys that were used just now."""
    now = now_ms()
    names = (lane_name(TENANT, LaneKind.FLOW, f"idle-{i}") for i in range(count))
    lanes = [Lane(n.id, TENANT, n.kind, n.name, parallelism=5, rate=100, period_start=now, rate_count=1) for n in names]
    lanes.sort(key=lambda lane: lane.id)
    for first in range(0, count, 10_000):
        with store.transaction() as tx:
            tx.save_lanes(lanes[first : first + 10_000])


def claim_times(brokers: dict[str, Broker], count: int) -> dict[str, list[int]]:
    """Claim one due message of a key at a time, in turns on every broker; return the nanoseconds of each claim."""
    flow = Options(flow=Flow("in-use", parallelism=5))
    times: dict[str, list[int]] = {name: [] for name in brokers}
    for number in range(count):
        for name, broker in brokers.items():
            one = ((message(number, "http://127.0.0.1:9/", flow),),)
            broker.turn(Turn(publishes=one), now_ms())
            began = time.perf_counter_ns()
            turned = broker.turn(Turn(room=100), now_ms())
            times[name].append(time.perf_counter_ns() - began)
            (claimed,) = turned.claimed
            broker.turn(Turn(results=(Result(claimed, DONE),)), now_ms())
    return times


def server_memory(tools: Path, sheet: Sheet, name: str, server: Server, receiver: Receiver) -> None:
    """Run a little of the main job, and add what memory the server holds then."""
    count = 10_000
    receiver.reset(0)
    report, _ = generate(tools, server.publish_url(receiver.url()), AUTHORIZATION, count=count)
    wait_until_delivered(server, receiver, count, 120)
    sheet.add(f"RSS, {name}, MB", server.memory_mb())
    sheet.add(f"publish p99, {name}, ms", report["p99_ms"])


def cpu_of(name: str) -> str:
    """Name the figure of what a message costs the server."""
    return f"server CPU, {name}, µs/message"


def sized(count: int, options: argparse.Namespace) -> int:
    """Return a size as ``--scale`` has it."""
    return max(1, int(count * options.scale))


SCENARIOS = {each.__name__: each for each in (keys, queues, waiting, schedules, idle)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios, print their tables; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.lanes", description="Measure keys, queues and schedules.")
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--scale", type=float, default=1.0, help="make everything so many times as large (1)")
    parser.add_argument("--rounds", type=int, default=1, help="of each scenario (1)")
    parser.add_argument("--load-seconds", type=float, default=20, help="of the load in `waiting` (20)")
    parser.add_argument("--claims", type=int, default=1000, help="in each round of `idle` (1000)")
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
