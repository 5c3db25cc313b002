"""Exit codes; what they mean stands in ``lateron.cli``."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
LOCKED: Final = 3
STORE: Final = 4
UNREACHABLE: Final = 5
UNKNOWN: Final = 6
PARTLY: Final = 7
STALLED: Final = 8
BUG: Final = 70
OUTPUT: Final = 74
INTERRUPTED: Final = 130


class Failed(Exception):
    """A command ends without success: one line for people, and the exit code."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code
