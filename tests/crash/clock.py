"""A wall clock that a test sets while the server runs.

libfaketime stands between the process and the system; it reads the offset from a file at every call, and leaves the
monotonic clock alone, as a real step does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
SWEEP_OFTEN = "import lateron.scheduler; lateron.scheduler.EVERY = 0.5\n"


def libraries() -> Sequence[str]:
    """Return where libfaketime is."""
    return [str(path) for pattern in LIBRARIES for path in sorted(Path("/").glob(pattern[1:]))]


def needs_libraries() -> None:
    """Skip a test where libfaketime is not there; CI has it."""
    if sys.platform != "linux" or not libraries():
        assert not os.environ.get("CI"), "libfaketime is not installed"
        pytest.skip("libfaketime is not installed")


def set_clock(file: Path, offset: str) -> None:
    """Set the clock this far from the true time; the process sees the whole text or the one before."""
    new = file.with_name("new-offset")
    new.write_text(f"{offset}\n")
    new.replace(file)


def preloaded(file: Path, *others: str) -> dict[str, str]:
    """Return the environment of a process whose clock ``file`` sets; ``others`` are loaded before libfaketime."""
    return {
        "LD_PRELOAD": ":".join((*others, libraries()[0])),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # It makes waiting for the interpreter's lock take its whole time.
    }
