"""Bits rot, blocks are zeroed, swapped or written in the wrong place (F-4): nothing is sent that was not published."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from tests.crash.power import Files, cuts
from tests.crash.workload import Recorded, found_on, one_process, record

CASES = 60  # Of each kind, in each file.
BLOCKS = (512, 4096)


@pytest.fixture(scope="module", autouse=True)
def _one_process() -> Iterator[None]:
    with one_process():
        yield


@pytest.fixture(scope="module")
def run() -> Recorded:
    with one_process():
        return record(3, steps=40)


@pytest.fixture(scope="module")
def files(run: Recorded) -> Files:
    """A store whose process was killed: much of it is in the file, and some only in the log."""
    copied, best, longest = 0, 0, 0
    for place, operation in enumerate(run.log):
        if operation.path.endswith(".db"):
            copied = place
        elif place - copied > longest and place > len(run.log) // 2:
            best, longest = place, place - copied
    (state,) = [state for place, state in cuts(run.log[:best]) if place == best]
    return {path: bytes(file.now) for path, file in state.files.items()}


def flip(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def zero(content: bytearray, chance: random.Random) -> None:
    size = chance.choice(BLOCKS)
    at = chance.randrange(len(content) // size) * size
    content[at : at + size] = bytes(size)


def swap(content: bytearray, chance: random.Random) -> None:
    size = chance.choice(BLOCKS)
    one, two = (chance.randrange(len(content) // size) * size for _ in range(2))
    content[one : one + size], content[two : two + size] = content[two : two + size], content[one : one + size]


def misdirect(content: bytearray, chance: random.Random) -> None:
    """What was meant for one place stands in another too."""
    size = chance.choice(BLOCKS)
    one, two = (chance.randrange(len(content) // size) * size for _ in range(2))
    content[one : one + size] = content[two : two + size]


def cut_short(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


@pytest.mark.promise("P-2", "P-7", "F-4")
@pytest.mark.parametrize("name", ["lateron.db", "lateron.db-wal"])
@pytest.mark.parametrize("harm", [flip, zero, swap, misdirect, cut_short])
def test_a_damaged_file_becomes_no_other_message(
    run: Recorded, files: Files, harm: Callable[[bytearray, random.Random], None], name: str
) -> None:
    """The store refuses, or the program stops, or the message is marked; what is sent is what was published."""
    path, published, chance = f"/disk/{name}", run.requests, random.Random(4)
    whole = found_on(files)
    assert not whole.seen
    assert whole.sent
    seen = 0
    for _ in range(CASES):
        damaged = bytearray(files[path])
        harm(damaged, chance)
        begun = found_on({**files, path: bytes(damaged)})
        assert begun.sent <= published
        seen += begun.seen or begun.sent != whole.sent
    assert seen, "no damage of this kind had a consequence; choose more cases"
