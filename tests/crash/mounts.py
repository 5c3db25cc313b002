"""Small file systems of a test's own: full when it says so, read-only when it says so.

They need root, Linux and a machine that lets its root mount something, which many containers do not; there the
test is skipped and says so.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """Mount a file system in memory of so many bytes (``8m``)."""
    at.mkdir()
    _mount(["-t", "tmpfs", "-o", f"size={size},mode=700", "lateron", str(at)])
    try:
        yield at
    finally:
        _run(["umount", "--lazy", str(at)])


@contextmanager
def ext4_disk(at: Path, size: int = 32 << 20) -> Iterator[Path]:
    """Mount a journalled file system on a file of so many bytes; see ``abort``."""
    at.mkdir()
    image = at.with_name(f"{at.name}.image")
    with image.open("wb") as file:
        file.truncate(size)
    done = _run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)])
    _skip_if(done, "no ext4 can be made")
    _mount(["-o", "loop", str(image), str(at)])
    try:
        at.chmod(0o700)
        yield at
    finally:
        _run(["umount", "--lazy", str(at)])


def abort(at: Path) -> None:
    """Let a file system behave as after an error of its own: what is written from now on is refused (EROFS).

    Nobody may write to it meanwhile. A sync that is under way while a journal is broken off may find that its
    transaction is gone and return success (Linux 6.18): the disk lies then, and no program can keep its promises on it.
    """
    synced = _run(["sync", "--file-system", str(at)])
    assert synced.returncode == 0, synced.stderr
    done = _run(["mount", "-o", "remount,abort", str(at)])
    _skip_if(done, "no file system can be broken off here")


def mend(at: Path) -> None:
    """Unmount a file system that was broken off, let it be checked, and mount it again."""
    image = at.with_name(f"{at.name}.image")
    _run(["umount", str(at)])
    checked = _run(["e2fsck", "-f", "-y", str(image)])
    assert checked.returncode in {0, 1}, checked.stdout
    _mount(["-o", "loop", str(image), str(at)])


def fill(at: Path) -> Path:
    """Take all space that is left, and return the file that holds it."""
    ballast = at / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return ballast


def _mount(arguments: list[str]) -> None:
    done = _run(["mount", *arguments])
    _skip_if(done, "nothing may be mounted here")


def _skip_if(done: subprocess.CompletedProcess[str], reason: str) -> None:
    if done.returncode:
        pytest.skip(f"{reason}: {done.stderr.strip()}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
