"""Two versions of Lateron side by side: what a change is worth, on a machine that has moods.

    python -m bench.pair HEAD~3              an older commit beside the files as they are
    python -m bench.pair HEAD~3 HEAD         two commits

Both servers run all the time and get the same load in turns of a second, so that both feel every mood. A figure of one
turn says little, the ratio of two neighbours more; the table has the median of all of them. A commit is unpacked
for the run, and needs no environment but this one's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.job import WARM_UP, measure_job, warm_up
from bench.load import Receiver, build
from bench.report import Sheet, publish
from bench.servers import Server, workplace

ROOT = Path(__file__).parents[1]
OLD, NEW = "before", "after"
AS_IT_IS = "as it is"


def unpacked(commit: str, folder: Path) -> Path:
    """Return a folder that holds the package as of a commit."""
    command = ["git", "archive", commit, "src/lateron"]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
    return folder / "src"


def measure(tools: Path, sheet: Sheet, sources: dict[str, Path], options: argparse.Namespace) -> None:
    """Run both, load them in turns, and add the figures of each turn."""
    with ExitStack() as running:
        receiver = running.enter_context(Receiver(tools))
        servers = {}
        for how, source in sources.items():
            directory = running.enter_context(workplace())
            servers[how] = running.enter_context(Server(directory, source=source))
        for turn in range(options.turns):
            for how in list(servers) if turn % 2 == 0 else reversed(servers):
                warm_up(tools, servers[how], receiver, options.connections)
                measure_job(tools, sheet, how, servers[how], receiver, options.count, options.connections)
    for figure in [name for name in sheet.figures if OLD in name]:
        sheet.ratio(figure.replace(OLD, f"{NEW} ÷ {OLD}"), figure.replace(OLD, NEW), figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.pair", description="Two versions side by side.")
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", default=AS_IT_IS, help="another one (the files as they are)")
    parser.add_argument("--turns", type=int, default=20, help="of each (20)")
    parser.add_argument("--count", type=int, default=4000, help=f"messages of a turn, after {WARM_UP} others (4000)")
    parser.add_argument("--connections", type=int, default=64, help="publishing connections (64)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    options = parser.parse_args(arguments)
    tools = build()
    sheet = Sheet(
        "Two versions side by side",
        f"J in {options.turns} turns of {options.count:,} messages each, {options.connections} connections: "
        f"{options.before} before, {options.after} after.",
    )
    with workplace() as folder:
        sources = {OLD: unpacked(options.before, folder / OLD)}
        sources[NEW] = ROOT / "src" if options.after == AS_IT_IS else unpacked(options.after, folder / NEW)
        measure(tools, sheet, sources, options)
    sheet.close()
    return 0 if publish([sheet], record=options.record) else 1


if __name__ == "__main__":
    sys.exit(main())
