"""``lateron backup`` and ``lateron restore``: a verified copy of a store, and a store from it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lateron.cli.beside import store_in
from lateron.cli.commands import command
from lateron.cli.exits import REFUSED, USAGE, Failed

if TYPE_CHECKING:
    from lateron.store.backup import Copied

backups_app = typer.Typer()

# Source: SQLite documentation, "Database File Format", section 1.3.
_MAGIC: Final = b"SQLite format 3\0"
_ID: Final = slice(68, 72)  # Where the number of the program stands.
_HEAD: Final = 100

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The copy.")]
DirectoryOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIRECTORY", help="Of the server.", show_default="LATERON_DATA_DIR"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@command(backups_app, "lateron backup copy.db --data-dir $data", "lateron backup copy.db --data-dir $data --json")
def backup(file: FileArgument, data_dir: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Copy the store of a server, which may go on working, and verify the copy.

    It holds all that was acknowledged before it was begun; signing keys and bodies too, so only its owner can read it.
    """
    if str(file) == "-":
        raise Failed("FILE: expected the name of a file: a copy is verified where it lies", USAGE)
    source = store_in(_directory(data_dir))
    _print(_copied(source, file), file, "copied and verified", as_json=as_json)


@command(backups_app, "lateron restore saved.db --data-dir ./restored")
def restore(file: FileArgument, data_dir: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Make a data directory from a copy, verified; one that has a store is left as it is, and refused.

    Start the server there: what was under way is attempted again, and missed ticks follow the rule of their schedule.
    Never let the server that the copy is of run on beside it: both would deliver.
    """
    from lateron.store.sqlite import FILE, lock_directory

    directory = _directory(data_dir)
    _check_copy(file)
    made = _check_place(directory)
    lock = None
    try:
        _make(directory)
        lock = lock_directory(directory)
        copied = _copied(file, directory / FILE)
    except BaseException:
        if made and directory.exists():
            (directory / "lateron.lock").unlink(missing_ok=True)
            directory.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _print(copied, directory, "restored and verified", as_json=as_json)


def _directory(given: Path | None) -> Path:
    named = given or os.environ.get("LATERON_DATA_DIR")
    if not named:
        raise Failed("expected --data-dir or LATERON_DATA_DIR", USAGE)
    return Path(named)


def _check_place(directory: Path) -> bool:
    """Tell whether a data directory is still to be made.

    Raises:
        Failed: Something is in the way.
    """
    from lateron.store.sqlite import FILE

    try:
        if not directory.exists():
            return True
        found = {name: (directory / name).exists() for name in (FILE, f"{FILE}-wal", f"{FILE}-shm")}
    except OSError as error:
        raise Failed(f"--data-dir: cannot look into {directory}: {error.strerror}", REFUSED) from None
    if not directory.is_dir():
        raise Failed(f"--data-dir: {directory} is no directory; nothing was changed", REFUSED)
    if found.pop(FILE):
        raise Failed(f"--data-dir: there is a store in {directory}; nothing was changed", REFUSED)
    for name in (name for name, is_there in found.items() if is_there):
        raise Failed(f"--data-dir: {directory} has a {name} of another store; remove it first", REFUSED)
    return False


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"--data-dir: cannot make {directory}: {error.strerror}", REFUSED) from None


def _check_copy(file: Path) -> None:
    """Look at the head of a file: whether it is there, can be read, and is a store of ours.

    Raises:
        Failed: It is not.
    """
    from lateron.store.sqlite import APPLICATION_ID

    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except FileNotFoundError:
        raise Failed(f"there is no file {file}", REFUSED) from None
    except OSError as error:
        raise Failed(f"FILE: cannot read {file}: {error.strerror}", REFUSED) from None
    if not head.startswith(_MAGIC) or int.from_bytes(head[_ID], "big") != APPLICATION_ID:
        raise Failed(f"FILE: {file} is no backup of Lateron", REFUSED)


def _copied(source: Path, target: Path) -> Copied:
    from lateron.store.backup import copy

    shown = sys.stderr.isatty()

    def progress(done: int, pages: int) -> None:
        if shown:
            print(f"\r{done * 100 // max(pages, 1)} %", end="", file=sys.stderr, flush=True)  # noqa: T201 - For people.

    try:
        return copy(source, target, progress)
    except FileExistsError:
        raise Failed(f"{target} exists; nothing was changed", REFUSED) from None
    except OSError as error:
        raise Failed(f"{target} cannot be written: {error.strerror}", REFUSED) from None
    finally:
        if shown:
            print("\r", end="", file=sys.stderr)  # noqa: T201 - As above.


def _print(copied: Copied, where: Path, what: str, *, as_json: bool) -> None:
    from lateron.cli.terminal import echo, echo_json

    if as_json:
        echo_json({"path": str(where), "bytes": copied.bytes, "rows": copied.rows})
    else:
        rows = copied.rows
        echo(f"{what}: {where}, {copied.bytes} bytes, {rows['message']} messages, {rows.get('schedule', 0)} schedules")
