"""What a server endures: great backlogs, storms of retries, too much load, several faults, and an hour of peace.

    python -m bench.endure soak       an hour in which nothing goes wrong: no duplicate, no loss, no drift
    python -m bench.endure all

``--scale 0.01`` makes everything a hundred times smaller.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.load import build
from bench.report import publish
from bench.soak import soak

SCENARIOS = {each.__name__: each for each in (soak,)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.endure", description="Load and faults, and their end.")
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--scale", type=float, default=1.0, help="make everything so many times as large (1)")
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
