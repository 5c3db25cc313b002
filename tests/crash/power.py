"""A disk that can lose its power, below SQLite.

``Disk`` is a SQLite VFS that keeps files in memory and writes down every operation that changes them. A run is
recorded once; afterwards the power can be cut before each of its operations, because what a machine finds on its
disk depends on nothing but the operations before the cut. ``State.images`` says what that may be: nothing that was
not synced, all of it, some of it, some of it torn to sectors and out of order, files that were created and have no
entry, files that were deleted and are there again. A kill -9 shows nothing of this, because the kernel keeps what a
dead process has written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import apsw

SECTOR = 512

Files = Mapping[str, bytes]


class Kind(Enum):
    """What is done to a file."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"  # ``at`` is the new length.
    SYNC = "sync"
    DELETE = "delete"  # ``at`` says whether the directory was synced too.


class Operation(NamedTuple):
    """One change of a disk."""

    path: str
    kind: Kind
    at: int = 0
    data: bytes = b""


class PowerCutError(apsw.IOError):
    """The power has gone; what SQLite sees as an I/O error."""


def change(content: bytearray, operation: Operation) -> None:
    """Do one write or truncation."""
    if operation.kind is Kind.TRUNCATE:
        del content[operation.at :]
        return
    if len(content) < operation.at:
        content.extend(bytes(operation.at - len(content)))
    content[operation.at : operation.at + len(operation.data)] = operation.data


class Content:
    """A file: what is durable, and what was done since."""

    def __init__(self, durable: bytes = b"", *, created: bool = False) -> None:
        self.durable = durable
        self.created = created  # Its entry in the directory is durable.
        self.now = bytearray(durable)
        self.pending: list[Operation] = []

    def survivors(self, chance: random.Random, *, torn: bool) -> bytes:
        """Return synced bytes and a random part of the rest, whole writes or sectors of them, in any order."""
        changes: list[Operation] = []
        for done in self.pending:
            if done.kind is Kind.TRUNCATE or not torn:
                changes += [done] if chance.random() < 0.5 else []
                continue
            sectors = range(0, len(done.data), SECTOR)
            pieces = [done._replace(at=done.at + i, data=done.data[i : i + SECTOR]) for i in sectors]
            changes += [piece for piece in pieces if chance.random() < 0.6]
        chance.shuffle(changes)
        content = bytearray(self.durable)
        for done in changes:
            change(content, done)
        return bytes(content)


class State:
    """A disk after some operations."""

    def __init__(self, files: Files) -> None:
        self.files = {path: Content(data, created=True) for path, data in files.items()}
        self.deleted: dict[str, bytes] = {}  # Their entries may be found again.

    def apply(self, operation: Operation, *, lying: bool = False) -> None:
        """Do one operation; a lying disk says that it has synced, and has not."""
        path, kind = operation.path, operation.kind
        if kind is Kind.CREATE:
            self.files[path] = Content()
        elif kind is Kind.DELETE:
            gone = self.files.pop(path)
            if gone.created and not operation.at:
                self.deleted[path] = gone.durable
        elif kind is Kind.SYNC:
            if not lying:
                file = self.files[path]
                file.durable, file.pending, file.created = bytes(file.now), [], True
                self.deleted.pop(path, None)
        else:
            change(self.files[path].now, operation)
            self.files[path].pending.append(operation)

    def images(self, seed: int, draws: int = 1) -> Iterator[Files]:
        """Say what may be found after a cut: two certain images, and two for each draw."""
        yield {**self.deleted, **{path: file.durable for path, file in self.files.items() if file.created}}
        yield {path: bytes(file.now) for path, file in self.files.items()}
        chance = random.Random(seed)
        for _ in range(draws):
            for torn in (False, True):
                yield self._drawn(chance, torn=torn)

    def _drawn(self, chance: random.Random, *, torn: bool) -> Files:
        found = {path: durable for path, durable in self.deleted.items() if chance.random() < 0.5}
        for path, file in self.files.items():
            if file.created or chance.random() < 0.5:
                found[path] = file.survivors(chance, torn=torn)
        return found


def cuts(log: Sequence[Operation], files: Files = {}) -> Iterator[tuple[int, State]]:  # noqa: B006 # Never changed.
    """Return the state of the disk before each operation, and after the last; the same object each time."""
    state = State(files)
    for number, operation in enumerate(log):
        yield number, state
        state.apply(operation)
    yield len(log), state


class Disk(apsw.VFS):
    """A disk that keeps a log; ``cut_at`` cuts its power at the n-th operation, for a run that is really cut."""

    def __init__(self, name: str, files: Files = {}, cut_at: int | None = None) -> None:  # noqa: B006 # As above.
        self.name = name
        self.initial = dict(files)
        self.files = {path: bytearray(data) for path, data in files.items()}
        self.log: list[Operation] = []
        self.cut_at = cut_at
        super().__init__(name, base="")

    def operate(self, operation: Operation) -> None:
        """Note an operation, unless the power has gone."""
        if self.cut_at is not None and len(self.log) >= self.cut_at:
            raise PowerCutError
        self.log.append(operation)

    # What SQLite calls.

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if path not in self.files:
            self.operate(Operation(path, Kind.CREATE))
            self.files[path] = bytearray()
        flags[1] = flags[0]
        return File(self, path)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self.operate(Operation(name, Kind.DELETE, int(syncdir)))
        self.files.pop(name)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802, ARG002
        return name in self.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name


class File(apsw.VFSFile):
    """An open file of a ``Disk``."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk, self._path = disk, path
        self._content = disk.files[path]

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._do(Operation(self._path, Kind.WRITE, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._do(Operation(self._path, Kind.TRUNCATE, size))

    def xSync(self, flags: int) -> None:  # noqa: N802, ARG002
        self._disk.operate(Operation(self._path, Kind.SYNC))

    def _do(self, operation: Operation) -> None:
        self._disk.operate(operation)
        change(self._content, operation)

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content)

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
