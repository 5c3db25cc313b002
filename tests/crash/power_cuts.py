"""Every power cut of some runs, not a sample of them.

How to ask for them::

    python -m tests.crash.power_cuts --all           each operation of two seeds; minutes
    python -m tests.crash.power_cuts --seeds 5 7     each operation of these seeds
    python -m tests.crash.power_cuts --every 50      one in fifty

Ends with 1 if an acknowledged transaction is lost, or half of one is found, and says at which operation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.crash.power import cuts
from tests.crash.workload import one_process, record, recovered

STEPS = 40
ALL = (0, 1)


def check(seed: int, every: int, draws: int) -> tuple[int, int, list[str]]:
    """Cut the power in the run of a seed; return how many cuts, how many images of them, and what was lost."""
    run = record(seed, STEPS)
    made, images, wrong = 0, 0, []
    for cut_at, state in cuts(run.log):
        if cut_at % every:
            continue
        made += 1
        for image in state.images(seed=cut_at, draws=draws):
            images += 1
            try:
                found, _ = recovered(image)
                if run.lost(cut_at, found):
                    wrong.append(f"seed {seed}, operation {cut_at}: not as acknowledged")
            except Exception as error:  # noqa: BLE001 # It is counted, and the next cut is made.
                wrong.append(f"seed {seed}, operation {cut_at}: {error!r}")
    return made, images, wrong


def main(arguments: Sequence[str]) -> int:
    """Run the command; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.power_cuts", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every operation of two seeds")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(ALL))
    parser.add_argument("--every", type=int, default=1, help="cut at one operation in so many")
    parser.add_argument("--draws", type=int, default=1, help="random images of each cut: two for each draw")
    given = parser.parse_args(arguments)
    begun, total = time.monotonic(), [0, 0]
    failed: list[str] = []
    with one_process():
        for seed in ALL if given.all else given.seeds:
            made, images, wrong = check(seed, 1 if given.all else given.every, given.draws)
            total, failed = [total[0] + made, total[1] + images], failed + wrong
            print(f"seed {seed}: {made} cuts, {images} images, {len(wrong)} wrong", flush=True)
    for line in failed[:20]:
        print(line)
    print(f"{total[0]} cuts, {total[1]} images, {len(failed)} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
