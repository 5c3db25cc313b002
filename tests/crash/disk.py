"""A server whose disk fails: a few system calls on the files of its store answer as the test says.

A small library stands between the process and the C library (``faults.c``, loaded by LD_PRELOAD) and looks, at
each write, sync, read and truncation of a file of the store, into a page that it shares with the test. So a fault
begins and ends while the server runs, at the n-th call from now on, with no hook in the product. Instead of a failure
the n-th call may bring a signal, which ends the process or lets it stand still there.
"""

from __future__ import annotations

import atexit
import errno
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Self

import pytest
from tests.crash.tracing import Changed

SOURCE = Path(__file__).with_name("faults.c")
STORE = "lateron.db"  # Also part of the names of its log and of its index.
FIELDS = ("calls", "skip", "times", "error", "delay", "hold", "seen", "failed", "waiting")


class Calls(IntFlag):
    """System calls on a file."""

    WRITES = 1
    SYNCS = 2
    READS = 4
    TRUNCATIONS = 8


class Faults:
    """The page that the test and the library share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def fail(self, calls: Calls, error: int = errno.EIO, *, skip: int = 0, times: int = -1) -> None:
        """Let some calls fail: ``times`` of them (-1: all) after the next ``skip`` have passed."""
        self.heal()
        for name, value in (("skip", skip), ("times", times), ("seen", 0), ("failed", 0), ("error", error)):
            self._set(name, value)
        self._set("calls", calls)

    def signal(self, calls: Calls, number: int, *, skip: int = 0) -> None:
        """Send the process a signal (SIGKILL, SIGSTOP) just before one of the calls: after ``skip`` have passed."""
        self.fail(calls, -number, skip=skip, times=1)

    def slow(self, calls: Calls, microseconds: int) -> None:
        """Let some calls take longer."""
        self.heal()
        self._set("delay", microseconds)
        self._set("calls", calls)

    def hold(self, calls: Calls) -> None:
        """Let some calls wait until ``heal``."""
        self.heal()
        self._set("hold", 1)
        self._set("calls", calls)

    def heal(self) -> None:
        """End all faults."""
        for name in ("calls", "error", "delay", "hold", "skip", "times"):
            self._set(name, 0)

    def nobody_waits(self) -> None:
        """Forget those who waited: a process that was killed meanwhile is still counted."""
        self._set("waiting", 0)

    @property
    def seen(self) -> int:
        """How many meant calls there were since the last ``fail``."""
        return self._get("seen")

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._get("failed")

    @property
    def waiting(self) -> int:
        """How many calls wait now."""
        return self._get("waiting")

    def _get(self, name: str) -> int:
        return int(struct.unpack_from("q", self._page, FIELDS.index(name) * 8)[0])

    def _set(self, name: str, value: int) -> None:
        struct.pack_into("q", self._page, FIELDS.index(name) * 8, value)


class Faulty(Changed):
    """A server on a faulty disk."""

    @property
    def faults(self) -> Faults:
        """Return what its disk does wrong; nothing at first."""
        if not hasattr(self, "_faults"):
            self._faults = Faults(self.data_dir.with_name(f"{self.data_dir.name}.faults"))
        return self._faults

    def start(self) -> Self:
        """Start it on the disk as it is."""
        self.faults.nobody_waits()
        return super().start()

    def _environment(self) -> dict[str, str]:
        return {
            **super()._environment(),
            "LD_PRELOAD": str(library()),
            "FAULTS_PAGE": str(self.faults.path),
            "FAULTS_NAME": STORE,
        }


@cache
def library(source: Path = SOURCE) -> Path:
    """Compile a library, once for a run of tests."""
    folder = Path(tempfile.mkdtemp(prefix="lateron-faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / f"{source.stem}.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", target, source, "-ldl"], check=True)
    return target


def require_gcc() -> None:
    """Skip a test where the library cannot be made; where all checks must run, fail."""
    if sys.platform != "linux":
        pytest.skip("the library is for Linux")
    if shutil.which("gcc") is None:
        assert not os.environ.get("CI"), "gcc is not installed"
        pytest.skip("gcc is not installed")
