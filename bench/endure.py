"""What a server endures: great backlogs, storms of retries, too much load, several faults, and an hour of peace.

    python -m bench.endure backlog    start, lists, lateness and memory beside ten million that wait; and their purge
    python -m bench.endure storm      a million messages have failed and are due again together
    python -m bench.endure overload   half as much again as it can deliver for five minutes; and back?
    python -m bench.endure mixed      seeds of which each draws a few kinds of fault, which strike together
    python -m bench.endure soak       an hour in which nothing goes wrong: no duplicate, no loss, no drift
    python -m bench.endure all

``--scale 0.01`` makes everything a hundred times smaller. What a million messages are beside J, how long it takes to
drain them, and lists of a long *history* are figures of ``bench.scale``; schedules due at one minute ``bench.lanes``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.fill import BATCH, STEP, filling, message, multiply, now_ms
from bench.lanes import sized, start_latency
from bench.ledger import account
from bench.load import Receiver, build, generate, get_json
from bench.report import Sheet, publish
from bench.scale import PAGE, page_times
from bench.servers import AUTHORIZATION, Server, wait_until_delivered, workplace
from bench.soak import soak
from bench.storms import overload, storm

from lateron.broker.views import Turn
from lateron.core.values import DAY, HOUR

SIZES = {"a thousand": 1_000, "a million": 1_000_000, "ten million": 10_000_000}
COPIED = 20_000  # Messages that are filled in one by one; the others are copies of them.
NOWHERE = "http://127.0.0.1:9/"
PUBLISHES = 200  # A second, beside a purge.
PATIENCE_S = 3600.0  # For a purge.


def backlog(tools: Path, options: argparse.Namespace) -> Sheet:
    """Start, ask and purge a server on which a thousand, a million and ten million messages wait."""
    rate = min(200, max(20, sized(2000, options)))
    sheet = Sheet(
        "A great backlog, and its purge",
        f"{', '.join(f'{max(1, int(size * options.scale)):,}' for size in SIZES.values())} messages wait for at least "
        f"an hour. Beside them {rate} messages a second, due at once and delayed by a second; pages of {PAGE} over "
        f"HTTP; then one call cancels them all, beside {PUBLISHES} publishes a second.",
    )
    for name, size in SIZES.items():
        count = max(1, int(size * options.scale))
        with workplace() as directory, Receiver(tools) as receiver:
            count = fill_waiting(directory, count)
            files = (directory / "data").iterdir()
            sheet.add(f"{name}: size of the store, MB", sum(file.stat().st_size for file in files) / (1 << 20))
            with Server(directory) as server:
                sheet.add(f"{name}: ready, s", server.ready_after, at_most=10)
                times = list(page_times(server, f"/v2/messages?count={PAGE}", 100))
                sheet.add(f"{name}: list of waiting, pages, ms", *times, at_most=200)
                sheet.add(f"{name}: list of waiting, longest page, ms", max(times), at_most=200)
                start_latency(
                    tools, sheet, f"beside {name}", server, receiver, int(rate * min(10, 1000 * options.scale)), rate
                )
                sheet.add(f"{name}: largest RSS, MB", server.peak_memory_mb())
                purge(tools, sheet, name, directory / "publishes.log", server, receiver, count)
    sheet.ratio(
        "RSS, ten million ÷ a thousand", "ten million: largest RSS, MB", "a thousand: largest RSS, MB", at_most=1.1
    )
    return sheet


def fill_waiting(directory: Path, count: int) -> int:
    """Store messages that were published yesterday and wait for an hour or longer; return how many they are."""
    base = min(count, COPIED)
    began, later = (now_ms() - DAY) // STEP * STEP, now_ms() + HOUR
    with filling(directory) as (broker, store):
        for first in range(0, base, BATCH):
            numbers = range(first, min(first + BATCH, base))
            broker.turn(Turn(tuple((message(i, NOWHERE, not_before=later + i),) for i in numbers)), began + first)
        multiply(store, copies := max(1, count // base))
        execute = store._connection.execute  # noqa: SLF001 # As in multiply.
        execute("UPDATE lane SET waiting = waiting * ?", (copies,))
    return base * copies


def purge(tools: Path, sheet: Sheet, name: str, log: Path, server: Server, receiver: Receiver, count: int) -> None:
    """Cancel everything that waits with one call, publish meanwhile, and compare what was published with what came."""
    ended, fates, worst = threading.Event(), b"", Counter[str]()
    receiver.reset(0)

    def others() -> None:
        nonlocal fates
        while not ended.is_set():
            report, _ = generate(
                tools, server.publish_url(receiver.url()), AUTHORIZATION, count=PUBLISHES, rate=PUBLISHES,
                first=len(fates), connections=16, log=log,
            )  # fmt: skip
            fates += log.read_bytes()
            worst["publish"] = max(worst["publish"], int(report["p99_ms"] * 1000))

    thread = threading.Thread(target=others)
    thread.start()
    try:
        began = time.monotonic()
        answer: Any = get_json(
            server.port, "DELETE", f"/v2/messages?url={quote(NOWHERE)}", AUTHORIZATION, timeout=PATIENCE_S
        )
        took = time.monotonic() - began
    finally:
        ended.set()
        thread.join()
    wait_until_delivered(server, receiver, fates.count(b"2"), 120)
    sheet.add(f"{name}: purge, s", took)
    sheet.add(f"{name}: purge, messages/s", count / took)
    sheet.add(f"{name}: purge, cancelled ÷ waiting", answer["cancelled"] / count, at_least=1, at_most=1)
    sheet.add(f"{name}: purge, publish p99 of the worst second, ms", worst["publish"] / 1000)
    sheet.add(f"{name}: purge, p99 to arrival, ms", receiver.stats()["p99_ms"])
    sheet.add(f"{name}: RSS after the purge, largest, MB", server.peak_memory_mb())
    account(fates, receiver.log()).write(sheet)
    left = get_json(server.port, "GET", "/v2/messages?count=1", AUTHORIZATION)["messages"]
    sheet.add("left behind by a purge", float(len(left)), at_most=0)


def mixed(_: Path, options: argparse.Namespace) -> Sheet:
    """Run seeds of several faults at once; the checker judges each."""
    from tests.crash import swarm  # The tests' own tools; not everybody who measures has them.

    seeds = sized(options.seeds, options)
    sheet = Sheet(
        "Several faults at once",
        f"{seeds} seeds from {options.first} on; each draws a subset of the kinds of fault, and {swarm.ROUNDS} rounds "
        "in which they strike, also while the last one is recovered from. Judged by the checker of the crash tests.",
    )
    injected, totals = Counter[str](), Counter[str]()
    for seed in range(options.first, options.first + seeds):
        with tempfile.TemporaryDirectory(prefix="lateron-swarm-") as directory:
            result = swarm.run(seed, Path(directory))
        print(f"seed {seed}: {dict(result.injected)}: {result.report}", flush=True)
        injected += result.injected
        totals["calls"] += len(result.history.publishes)
        totals["requests"] += len(result.history.arrivals)
        totals["crashes"] += len(result.history.crashes)
        totals["violations"] += len(result.report.violations)
        totals["repeats"] += result.report.repeats
    for name in ("calls", "requests", "crashes"):
        sheet.add(name, float(totals[name]))
    sheet.add("promises broken", float(totals["violations"]), at_most=0)
    sheet.add("attempts repeated for each crash", totals["repeats"] / max(1, totals["crashes"]))
    for name, times in sorted(injected.items()):
        sheet.add(f"injected: {name}", float(times))
    return sheet


SCENARIOS = {each.__name__: each for each in (backlog, storm, overload, mixed, soak)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.endure", description="Load and faults, and their end.")
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--scale", type=float, default=1.0, help="make everything so many times as large (1)")
    parser.add_argument("--seconds", type=float, default=300, help="of too much load in `overload` (300)")
    parser.add_argument("--seeds", type=int, default=50, help="of `mixed` (50)")
    parser.add_argument("--first", type=int, default=0, help="the first seed of `mixed` (0)")
    parser.add_argument("--rate", type=float, default=300, help="of `soak`, messages a second (300)")
    parser.add_argument("--minutes", type=float, default=60, help="of `soak` (60)")
    parser.add_argument("--period", type=float, default=60, help="of `soak`: seconds of a sample (60)")
    parser.add_argument("--record", action="store_true", help="append the tables to bench/RESULTS.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios, print their tables; 1 if a limit is missed."""
    options = parse(arguments)
    tools = build()
    sheets = []
    for name in SCENARIOS if options.scenario == "all" else [options.scenario]:
        print(f"{name} ...", flush=True)
        sheets.append(SCENARIOS[name](tools, options))
        sheets[-1].close()
    return 0 if publish(sheets, record=options.record) else 1


if __name__ == "__main__":
    sys.exit(main())
