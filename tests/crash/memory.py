"""A server in a memory cgroup of its own: when it needs more than it is given, the kernel kills it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
UNLIMITED_V1 = str(1 << 62)


class Cgroup:
    """One group of processes; of the first or the second kind, as the machine has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._second = (path / "memory.max").exists()

    @property
    def joining(self) -> str:
        """Return the line of Python with which a process puts itself into the group."""
        return f"open({str(self.path / 'cgroup.procs')!r}, 'w').write('0')"

    @property
    def used(self) -> int:
        """How many bytes its processes use, with the pages of their files."""
        return int((self.path / ("memory.current" if self._second else "memory.usage_in_bytes")).read_text())

    def limit(self, size: int | None) -> None:
        """Give it so many bytes; None: as many as there are."""
        if self._second:
            (self.path / "memory.swap.max").write_text("0")
            (self.path / "memory.max").write_text("max" if size is None else str(size))
        else:
            (self.path / "memory.limit_in_bytes").write_text(UNLIMITED_V1 if size is None else str(size))


@contextmanager
def cgroup() -> Iterator[Cgroup]:
    """Make a group; skip the test on a machine that does not let its root do so."""
    parent = ROOT / "memory" if (ROOT / "memory").is_dir() else ROOT
    path = parent / f"lateron-{os.getpid()}"
    try:
        if parent == ROOT:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not any((path / name).exists() for name in ("memory.max", "memory.limit_in_bytes")):
            pytest.skip("cgroups of this machine do not limit memory")
        yield Cgroup(path)
    finally:
        path.rmdir()
