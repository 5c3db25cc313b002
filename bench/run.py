"""The benchmark: the main job J on this machine, measured so that anybody can repeat it.

J: 64 keep-alive publishers send 200-byte JSON messages, one per request. Each is on disk before its
201, is signed and delivered by HTTP POST to a receiver that answers 200, and its outcome is on disk
too. A round ends when the receiver has every message and the server lists none as pending::

    generate (C) --POST--> lateron --POST--> receive (C)

Two figures matter. *Messages a second* swings by a quarter with the mood of a shared machine.
**rel** is the CPU time of the server divided by that of both C tools in the same round; it is steady,
and it is what a change is judged by. Every round begins with an empty data directory and a fresh
server, is warmed up first, and is followed by the physical limit: the same load straight to the
receiver, halved because a message makes two hops.

    python -m bench.run                     three rounds, closed loop
    python -m bench.run --rate 4000         open loop: latency counts from when a message was due
    python -m bench.run --own-heads         no two requests have the same head (decision 0016)
    python -m bench.run --record            also append the table to bench/RESULTS.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.load import Receiver, build, generate
from bench.servers import AUTHORIZATION, Server, wait_until_delivered, workplace

HERE = Path(__file__).parent
WARM_UP = 2000


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured. Times in milliseconds, CPU in microseconds a message, rates a second."""

    per_second: float
    rel: float
    server_us: float
    tools_us: float
    publish_p50: float
    publish_p99: float
    arrival_p50: float  # From sending (open loop: from being due) to the receiver.
    arrival_p99: float
    of_limit: float  # Share of the physical limit.
    memory_mb: float  # Largest resident size of the server.


UNITS = {
    "per_second": ("messages/s", "{:,.0f}"),
    "rel": ("rel", "{:.2f}"),
    "server_us": ("server CPU, µs/message", "{:.0f}"),
    "tools_us": ("C tools' CPU, µs/message", "{:.0f}"),
    "publish_p50": ("publish p50, ms", "{:.2f}"),
    "publish_p99": ("publish p99, ms", "{:.2f}"),
    "arrival_p50": ("publish to arrival p50, ms", "{:.2f}"),
    "arrival_p99": ("publish to arrival p99, ms", "{:.2f}"),
    "of_limit": ("share of the physical limit", "{:.3f}"),
    "memory_mb": ("server's largest RSS, MB", "{:.0f}"),
}


def measure(tools: Path, options: argparse.Namespace) -> Round:
    """Run one round: warm up, measure J, then the physical limit."""
    load = {"connections": options.connections, "size": options.size}
    with (
        workplace() as directory,
        Receiver(tools) as receiver,
        Server(options.directory or directory, options.server_argument) as server,
    ):
        url = server.publish_url(receiver.url())
        headers = AUTHORIZATION | ({"X-Request-Id": "{i}"} if options.own_heads else {})
        generate(tools, url, headers, count=WARM_UP, **load)
        wait_until_delivered(server, receiver, WARM_UP, options.seconds)
        receiver.reset(WARM_UP)

        server_before, receiver_before, began = server.cpu_seconds(), receiver.cpu_seconds(), time.monotonic()
        report, generator_cpu = generate(
            tools, url, headers, count=options.count, first=WARM_UP, rate=options.rate, **load
        )
        if report["accepted"] != options.count:
            message = f"only {report['accepted']} of {options.count} were accepted: {report['status']}"
            raise RuntimeError(message)
        ended = wait_until_delivered(server, receiver, options.count, options.seconds)
        server_cpu = server.cpu_seconds() - server_before
        tools_cpu = receiver.cpu_seconds() - receiver_before + generator_cpu
        arrived, memory = receiver.stats(), server.peak_memory_mb()

        receiver.reset(0)
        straight, _ = generate(tools, receiver.url(), {}, count=options.count, **load)
    per_second = options.count / (ended - began)
    return Round(
        per_second=per_second,
        rel=server_cpu / tools_cpu,
        server_us=server_cpu / options.count * 1e6,
        tools_us=tools_cpu / options.count * 1e6,
        publish_p50=report["p50_ms"],
        publish_p99=report["p99_ms"],
        arrival_p50=arrived["p50_ms"],
        arrival_p99=arrived["p99_ms"],
        of_limit=per_second / (straight["per_second"] / 2),
        memory_mb=memory,
    )


def table(rounds: Sequence[Round]) -> str:
    """Return a table of medians, and the least and the most of all rounds."""
    lines = ["| figure | median | least | most |", "|---|---|---|---|"]
    for name, (label, style) in UNITS.items():
        values = [float(getattr(each, name)) for each in rounds]
        shown = [style.format(value) for value in (statistics.median(values), min(values), max(values))]
        lines.append(f"| {label} | {' | '.join(shown)} |")
    return "\n".join(lines)


def setting(options: argparse.Namespace) -> str:
    """Say on what machine, at which commit and how a run was made."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    loop = f"open loop at {options.rate:g}/s" if options.rate else "closed loop"
    loop += ", a header of its own in each request" if options.own_heads else ""
    arguments = f", server options {' '.join(options.server_argument)}" if options.server_argument else ""
    return (
        f"Commit {revision or 'unknown'}, {datetime.now(UTC):%Y-%m-%d}. {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. {loop}, {options.connections} connections, "
        f"{options.count} messages of {options.size} bytes, {options.rounds} rounds{arguments}."
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measure the main job on this machine.")
    parser.add_argument("--count", type=int, default=20_000, help="messages per round (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median is reported (3)")
    parser.add_argument("--rate", type=float, default=0, help="open loop: messages a second (0: closed loop)")
    parser.add_argument("--connections", type=int, default=64, help="publishing connections (64)")
    parser.add_argument("--size", type=int, default=200, help="bytes of a body (200)")
    parser.add_argument("--seconds", type=float, default=120, help="how long a round may take (120)")
    parser.add_argument("--own-heads", action="store_true", help="no two requests have the same head")
    parser.add_argument("--directory", type=Path, help="run on the store in its folder `data` (an empty one)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    parser.add_argument("--server-argument", action="append", default=[], help="pass on to the server; may repeat")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds, print the table, write the figures."""
    options = parse(arguments)
    tools = build()
    rounds: list[Round] = []
    for number in range(1, options.rounds + 1):
        rounds.append(measure(tools, options))
        print(f"round {number}: {rounds[-1].per_second:,.0f} messages/s, rel {rounds[-1].rel:.2f}", flush=True)
    text = f"{setting(options)}\n\n{table(rounds)}\n"
    print(f"\n{text}")
    out = HERE / "out" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    out.write_text(json.dumps({"setting": setting(options), "rounds": [asdict(each) for each in rounds]}, indent=2))
    if options.record:
        with (HERE / "RESULTS.md").open("a", encoding="utf-8") as results:
            results.write(f"\n## J, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
