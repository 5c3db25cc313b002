"""What encryption costs: the main job J with a key and without one, and pages of lists.

    python -m bench.sealed                  five rounds
    python -m bench.sealed --size 20000     with larger bodies

In each round a server with a key and one without run side by side and work in turns, so that the ratios mean
something even where the figures do not: rel of J, and the server's CPU time of a page of 100 messages that wait, with
their bodies and headers, and of 100 lines of the log.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.job import WARM_UP, measure_job, warm_up
from bench.load import Receiver, build, generate, get_bytes
from bench.report import Sheet, publish
from bench.servers import Server, workplace

WAITING = 300
TURNS = 10  # In which the pages of a round are read.
PAGES = {"messages": "/v2/messages?count=100", "events": "/v2/events?count=100"}
CLEAR, SEALED = "in clear", "encrypted"


def measure(tools: Path, sheet: Sheet, number: int, options: argparse.Namespace) -> None:
    """Run one round, and add its figures; the one that begins is another each time."""
    order = (CLEAR, SEALED) if number % 2 == 0 else (SEALED, CLEAR)
    with workplace() as directory, Receiver(tools) as receiver:
        folders = {how: directory / how.replace(" ", "-") for how in order}
        with ExitStack() as running:
            servers = {how: running.enter_context(prepared(folders[how], how)) for how in order}
            for how in order:
                main_job(tools, sheet, how, servers[how], receiver, options)
            for name, path in PAGES.items():
                spent = dict.fromkeys(order, 0.0)
                for turn in range(TURNS):
                    for how in order if turn % 2 == 0 else reversed(order):
                        spent[how] += page_seconds(servers[how], path, options.pages)
                for how in order:
                    sheet.add(f"page of {name}, {how}, CPU ms", spent[how] / (TURNS * options.pages) * 1000)
        for how, folder in folders.items():
            size = (folder / "data" / "lateron.db").stat().st_size
            sheet.add(f"store, {how}, bytes/message", size / (WARM_UP + options.count + WAITING))


def prepared(folder: Path, how: str) -> Server:
    """Return a server that is ready once it is entered, with a key of its own if it is to encrypt."""
    folder.mkdir()
    if how == CLEAR:
        return Server(folder, mode="serve")
    key = folder / "key"
    subprocess.run([sys.executable, "-m", "lateron", "encryption", "key", key], check=True, capture_output=True)
    return Server(folder, ["--encryption-key-file", str(key)], mode="serve")


def main_job(
    tools: Path, sheet: Sheet, how: str, server: Server, receiver: Receiver, options: argparse.Namespace
) -> None:
    """Run J on a server, and leave messages in it that wait."""
    load = {"connections": options.connections, "size": options.size}
    warm_up(tools, server, receiver, **load)
    measure_job(tools, sheet, how, server, receiver, options.count, **load)
    later = server.authorization | {"Upstash-Delay": "1h", "Upstash-Forward-X-Team": "payments"}
    generate(tools, server.publish_url(receiver.url()), later, count=WAITING, **load)


def page_seconds(server: Server, path: str, times: int) -> float:
    """Read a page again and again; return the CPU time of the server for it, steadier than how long it took."""
    before = server.cpu_seconds()
    for _ in range(times):
        get_bytes(server.port, "GET", path, server.authorization)
    return server.cpu_seconds() - before


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.sealed", description="What encryption costs.")
    parser.add_argument("--count", type=int, default=20_000, help="messages of a round (20000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both (5)")
    parser.add_argument("--connections", type=int, default=64, help="publishing connections (64)")
    parser.add_argument("--size", type=int, default=200, help="bytes of a body (200)")
    parser.add_argument("--pages", type=int, default=20, help="how often a page is read in each of ten turns (20)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    options = parser.parse_args(arguments)
    tools = build()
    sheet = Sheet(
        "Encryption",
        f"J with {options.count:,} messages of {options.size:,} bytes, {options.connections} connections, "
        f"{options.rounds} rounds in turns, without a key and with one; pages of 100 rows, each read "
        f"{TURNS * options.pages} times a round, in turns.",
    )
    for number in range(options.rounds):
        measure(tools, sheet, number, options)
    for figure in [name for name in sheet.figures if CLEAR in name]:
        sheet.ratio(figure.replace(CLEAR, f"{SEALED} ÷ {CLEAR}"), figure.replace(CLEAR, SEALED), figure)
    sheet.close()
    return 0 if publish([sheet], record=options.record) else 1


if __name__ == "__main__":
    sys.exit(main())
