"""Room on the disk that is kept for the end of what has begun.

A file without content lies beside the store and takes up room. When the disk is full it is deleted, and what it held
is enough to record how attempts ended, to delete and to purge; new messages are refused meanwhile. It is made
again once there is twice as much room.

Blocking; one thread at a time makes it again, and it may be given up meanwhile.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE: Final = "lateron.reserve"
SHARE: Final = 8  # Of a small file system no more than this part of it is kept.


class Reserve:
    """The reserve of a data directory.

    Args:
        directory: Exists, and is locked by this process.
        size: Bytes to keep, or fewer on a small file system.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._path = directory / FILE
        self._size = min(size, shutil.disk_usage(directory).total // SHARE)
        if size == 0:
            self._path.unlink(missing_ok=True)
        elif self._free() < self._size // 4 and self._there():
            self.release()  # Else not even the start could write what it must.
        elif not self._there():
            self.restore()

    @property
    def spent(self) -> bool:
        """Whether the room is not kept.

        Why not remembered: it may be given up while another thread has just taken it, and only the disk knows.
        """
        return self._size > 0 and not self._there()

    def release(self) -> bool:
        """Give the room to the store; False if there was none to give."""
        if not self._there():
            return False
        with suppress(OSError):
            self._path.unlink()
        return True

    def restore(self) -> bool:
        """Take the room again, if there is as much again beside it; False if not."""
        if self._free() < 2 * self._size:
            return False
        try:
            with self._path.open("wb") as file:
                self._path.chmod(0o600)
                _allocate(file.fileno(), self._size)
        except OSError:
            with suppress(OSError):
                self._path.unlink()
            return False
        return True

    def _there(self) -> bool:
        try:
            return self._path.stat().st_size == self._size > 0
        except OSError:
            return False

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return 0


def _allocate(descriptor: int, size: int) -> None:
    """Make a file of so many bytes that the disk really has."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    piece = os.urandom(1 << 16)  # Zeros may take no room.
    while size > 0:
        size -= os.write(descriptor, piece[:size])
