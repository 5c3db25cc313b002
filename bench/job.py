"""The main job J on one server, and its figures on a sheet: what several benchmarks compare."""

from __future__ import annotations

from pathlib import Path

from bench.load import Receiver, generate
from bench.report import Sheet
from bench.servers import Server, wait_until_delivered

WARM_UP = 2000  # Messages before those that count.
SECONDS = 300  # How long a run may take.


def warm_up(tools: Path, server: Server, receiver: Receiver, connections: int, size: int = 200) -> None:
    """Let everything run once that is made at its first use."""
    receiver.reset(0)
    url = server.publish_url(receiver.url())
    generate(tools, url, server.authorization, count=WARM_UP, connections=connections, size=size)
    wait_until_delivered(server, receiver, WARM_UP, SECONDS)
    receiver.reset(WARM_UP)


def measure_job(
    tools: Path, sheet: Sheet, how: str, server: Server, receiver: Receiver, count: int, connections: int,
    size: int = 200,
) -> None:  # fmt: skip
    """Run J on a server that is warm, and add its figures.

    Args:
        tools: Where the C programs are.
        sheet: Gets messages a second, microseconds of CPU a message, rel, and milliseconds.
        how: Under what name.
        server: Does it.
        receiver: Takes the deliveries.
        count: Messages.
        connections: That publish.
        size: Bytes of a body.
    """
    url = server.publish_url(receiver.url())
    before, tools_before = server.cpu_seconds(), receiver.cpu_seconds()
    report, generator_cpu = generate(
        tools, url, server.authorization, count=count, first=WARM_UP, connections=connections, size=size
    )
    wait_until_delivered(server, receiver, count, SECONDS)
    spent = server.cpu_seconds() - before
    tools_spent = receiver.cpu_seconds() - tools_before + generator_cpu
    assert report["accepted"] == count, report["status"]
    sheet.add(f"messages/s, {how}", report["per_second"])
    sheet.add(f"server CPU, {how}, µs/message", spent / count * 1e6)
    sheet.add(f"rel, {how}", spent / tools_spent)
    sheet.add(f"publish p99, {how}, ms", report["p99_ms"])
    sheet.add(f"publish to arrival p99, {how}, ms", receiver.stats()["p99_ms"])
