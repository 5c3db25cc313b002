"""Waiting for what another process does, by asking again until it is so.

A test may not sleep and hope: it asks for a fact, and only the deadline of the whole wait is a time. The
deadlines are generous because the machine is shared; a green run never comes near one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0  # Longer than any wait of a green run on a busy machine.
PAUSE_S = 0.01  # Between two questions, so that asking does not slow the answer.


def until(ask: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """Ask until the answer is neither ``None`` nor false, and return it.

    Raises:
        AssertionError: The deadline passed; the message names ``what`` and the last answer.
    """
    deadline = time.monotonic() + patience_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            message = f"waited {patience_s:g} s in vain for {what}; the last answer was {answer!r}"
            raise AssertionError(message)
        time.sleep(PAUSE_S)
