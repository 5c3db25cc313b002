"""The package that is published: the same bytes from the same source, whoever builds it, where and when (D-73)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.redden import copy_of_the_project


def built(root: Path, out: Path) -> dict[str, str]:
    """Build a wheel and a source archive, and return their digests by name."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    environ = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()}


@pytest.mark.promise("D-73")
def test_two_builds_of_one_source_are_the_same_bytes(tmp_path: Path) -> None:
    """Another directory, other times, other permissions of the group: whoever rebuilds a release can compare it."""
    with copy_of_the_project() as here:
        first = built(here, tmp_path / "first")
    with copy_of_the_project() as there:
        for path in there.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
            path.chmod(path.stat().st_mode & 0o700)
        second = built(there, tmp_path / "second")

    assert len(first) == 2
    assert first == second
