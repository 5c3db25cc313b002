"""Run worlds of the simulation: ``python -m tests.simulation --seeds 10000``.

``--seeds N`` runs N seeds, from ``--first`` on; the first that fails is printed with the way to replay it, and
the exit status is 1. ``--seed S`` replays one, with its whole traceback. ``--trace`` prints a digest of what
happened in each.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter

from tests.simulation.world import World


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many to run (default: 100)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (default: 0)")
    parser.add_argument("--seed", type=int, action="append", default=[], metavar="S", help="replay this one")
    parser.add_argument("--trace", action="store_true", help="print a digest of each history")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # Ticks that are missed are the world's daily bread.
    seeds = given.seed or range(given.first, given.first + given.seeds)
    marks: Counter[str] = Counter()
    began = time.process_time()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Exception as failure:  # noqa: BLE001 # Whatever it is, the seed is what matters.
            if given.seed:
                traceback.print_exc()
            print(f"seed {seed} fails in {world.doing!r}: {failure}")
            print(f"replay it: python -m tests.simulation --seed {seed}")
            return 1
        marks += world.marks
        if given.trace:
            print(seed, world.trace.hexdigest())
    if not given.trace:
        print(f"{len(seeds)} seeds are clean, in {time.process_time() - began:.0f} s of CPU")
        print("what happened in them:", ", ".join(f"{name} {count:,}" for name, count in sorted(marks.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
