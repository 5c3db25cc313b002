"""A disk that can lose its power, below SQLite.

``Disk`` is a SQLite VFS that keeps files in memory, each as the bytes that were synced and the list of what
was written since. At the n-th operation the power goes: every later one fails, and ``images`` says what a
machine might find on its disk afterwards: nothing unsynced, all of it, some of it, some of it torn or out of
order. A kill -9 shows nothing of this, because the kernel keeps what a dead process has written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import apsw

SECTOR = 512


class PowerCutError(apsw.IOError):
    """The power has gone; what SQLite sees as an I/O error."""


class Content:
    """A file: what is durable, and what was written since."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = durable
        self.pending: list[tuple[int, bytes] | int] = []  # (offset, bytes), or a length to cut to.
        self.created = bool(durable)  # Its entry in the directory is durable.
        self.now = bytearray(durable)

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        apply(self.now, (offset, data))

    def truncate(self, size: int) -> None:
        self.pending.append(size)
        apply(self.now, size)

    def sync(self) -> None:
        self.durable, self.pending, self.created = bytes(self.now), [], True


def apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    """Do one write or truncation."""
    if isinstance(change, int):
        del content[change:]
        return
    offset, data = change
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk(apsw.VFS):
    """A disk whose power can be cut at its n-th write, truncation, sync or deletion."""

    def __init__(self, name: str, files: dict[str, bytes] | None = None, cut_at: int | None = None) -> None:
        self.name = name
        self.files = {path: Content(data) for path, data in (files or {}).items()}
        self.operations = 0
        self.cut_at = cut_at
        super().__init__(name, base="")

    def operate(self) -> None:
        """Count an operation that changes the disk; fail it and all later ones from the cut on."""
        self.operations += 1
        if self.cut_at is not None and self.operations >= self.cut_at:
            raise PowerCutError

    def images(self, seed: int) -> Iterator[dict[str, bytes]]:
        """Say what may be found on the disk after the cut."""
        yield {path: file.durable for path, file in self.files.items() if file.created}
        yield {path: bytes(file.now) for path, file in self.files.items()}
        chance = random.Random(seed)
        for torn in (False, True):
            yield {
                path: survivors(file, chance, torn=torn)
                for path, file in self.files.items()
                if file.created or chance.random() < 0.5
            }

    # What SQLite calls.

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if path not in self.files:
            self.operate()
            self.files[path] = Content()
        flags[1] = flags[0]
        return File(self, self.files[path])

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802, ARG002
        self.operate()
        self.files.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802, ARG002
        return name in self.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name


class File(apsw.VFSFile):
    """An open file of a ``Disk``."""

    def __init__(self, disk: Disk, content: Content) -> None:
        self._disk = disk
        self._content = content

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._content.now[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.operate()
        self._content.write(offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.operate()
        self._content.truncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802, ARG002
        self._disk.operate()
        self._content.sync()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content.now)

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0

    def xLock(self, level: int) -> None:  # noqa: N802
        """One process only."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """One process only."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802, ARG002
        return False

    def xClose(self) -> None:  # noqa: N802
        """Nothing to free."""


def survivors(file: Content, chance: random.Random, *, torn: bool) -> bytes:
    """Return synced bytes and a random part of the rest, whole writes or sectors of them, in any order."""
    changes: list[tuple[int, bytes] | int] = []
    for change in file.pending:
        if isinstance(change, int) or not torn:
            changes += [change] if chance.random() < 0.5 else []
            continue
        offset, data = change
        pieces = [(offset + i, data[i : i + SECTOR]) for i in range(0, len(data), SECTOR)]
        changes += [piece for piece in pieces if chance.random() < 0.6]
    chance.shuffle(changes)
    content = bytearray(file.durable)
    for change in changes:
        apply(content, change)
    return bytes(content)
