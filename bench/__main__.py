"""All of the benchmark, one after another: the main job, its peers, order and limits, much of everything.

python -m bench              half an hour to an hour, and some 20 GB of disk for the longest history
python -m bench --scale 0.01 minutes, to see it work
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench import lanes, run, scale, versus


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; 1 if any limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Run the whole benchmark.")
    parser.add_argument("--scale", type=float, default=1.0, help="make everything so many times as large (1)")
    parser.add_argument("--rounds", type=int, default=3, help="of what is repeated (3)")
    parser.add_argument("--record", action="store_true", help="append the tables to bench/RESULTS.md")
    options = parser.parse_args(arguments)
    record = ["--record"] if options.record else []
    rounds, size = ["--rounds", str(options.rounds)], ["--scale", str(options.scale)]
    count = ["--count", str(max(200, int(20_000 * options.scale)))]
    codes = [
        run.main([*count, *rounds, *record]),
        versus.main([*count, *rounds, *record]),
        lanes.main(["all", *size, *rounds, *record]),
        scale.main(["all", *size, *rounds, *record]),
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
