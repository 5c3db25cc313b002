"""The main job J while somebody looks: the console open in a browser, and /metrics scraped each second.

    python -m bench.watched                 three rounds of each, in turns
    python -m bench.watched --screen messages

The browser is a real one (Debian's Chromium) with a screen of the console that follows what happens. It computes on
the same two cores as everybody, so messages a second also say what drawing costs. What watching costs the *server* is
in rel, its CPU time divided by that of the C tools, for two busy cores make everybody's work cost more; the limit is
about that.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench.job import measure_job, warm_up
from bench.load import Receiver, build, get_bytes
from bench.report import Sheet, publish
from bench.servers import AUTHORIZATION, Server, workplace

ALONE, WATCHED = "alone", "watched"
MOST = 1.05


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Read /metrics once a second, as a Prometheus does."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(1):
            get_bytes(port, "GET", "/metrics", AUTHORIZATION)

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def console(port: int, screen: str) -> Iterator[None]:
    """Have a screen of the console open in a browser."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if found is None:
        message = "missing: chromium; on Debian: apt-get install chromium"
        raise SystemExit(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/console/{screen}")
        page.locator("main").wait_for()
        page.wait_for_timeout(1000)  # The stream is open by then.
        yield
        browser.close()


def measure(tools: Path, sheet: Sheet, how: str, options: argparse.Namespace) -> None:
    """Run one round, and add its figures."""
    with workplace() as directory, Receiver(tools) as receiver, Server(directory) as server:
        warm_up(tools, server, receiver, options.connections)
        with (
            console(server.port, options.screen) if how == WATCHED else nullcontext(),
            scraped(server.port) if how == WATCHED else nullcontext(),
        ):
            measure_job(tools, sheet, how, server, receiver, options.count, options.connections)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds in turns, print the table; 1 if the limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.watched", description="The main job while somebody looks.")
    parser.add_argument("--count", type=int, default=60_000, help="messages of a round (60000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, in turns (3)")
    parser.add_argument("--connections", type=int, default=64, help="publishing connections (64)")
    parser.add_argument("--screen", default="", help="of the console: messages, dead-letters, ... (the overview)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    options = parser.parse_args(arguments)
    tools = build()
    sheet = Sheet(
        "J while somebody looks",
        f"{options.count:,} messages a round, {options.connections} connections, {options.rounds} rounds in turns: "
        f"alone, and with the console's {options.screen or 'overview'} open in Chromium and /metrics scraped each "
        f"second.",
    )
    for _ in range(options.rounds):
        for how in (ALONE, WATCHED):
            measure(tools, sheet, how, options)
    sheet.ratio("rel, watched ÷ alone", f"rel, {WATCHED}", f"rel, {ALONE}", at_most=MOST)
    sheet.ratio("messages/s, watched ÷ alone", f"messages/s, {WATCHED}", f"messages/s, {ALONE}")
    sheet.close()
    return 0 if publish([sheet], record=options.record) else 1


if __name__ == "__main__":
    sys.exit(main())
