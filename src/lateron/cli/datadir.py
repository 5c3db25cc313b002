"""The data directory: whose it is and who may read it.

It holds message bodies and signing keys, so nobody else may read it: directory 0700, files 0600, and a umask
for all that SQLite makes beside its file. A directory that was open to everybody is refused, not mended, once
there is something in it: what lay open may have been read, and the operator must know. An empty one, as a
volume is mounted, is closed.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Final

from lateron.config import InvalidSettings, Settings

_OTHERS: Final = stat.S_IRWXO
_IGNORE: Final = "# Data of `lateron dev`; never for a repository.\n*\n"


def prepare(settings: Settings) -> Path | None:
    """Make the data directory ready, and return it; None when all is kept in memory.

    Raises:
        InvalidSettings: There is none, it cannot be used, or others may read it.
    """
    os.umask(0o077)
    if settings.ephemeral:
        return None
    if settings.data_dir is None:
        raise InvalidSettings(
            "`lateron serve` needs --data-dir (or LATERON_DATA_DIR): the directory that keeps its messages; "
            "--ephemeral keeps them in memory only"
        )
    directory = settings.data_dir.absolute()
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            _sync(directory.parent)
        if sys.platform != "win32" and os.geteuid() != 0:
            _check_owner(directory, os.geteuid())
        if settings.command == "dev" and str(settings.sources["data-dir"]) == "default":
            ignore = directory / ".gitignore"
            if not ignore.exists():
                ignore.write_text(_IGNORE, "utf-8")
        if sys.platform != "win32":
            _check_modes(directory)
    except OSError as error:
        raise InvalidSettings(f"data-dir {directory}: {error.strerror}") from None
    return directory


def _sync(directory: Path) -> None:
    """Make the entries of a directory durable: a store whose directory a power cut takes away is lost."""
    if sys.platform == "win32":
        return  # A directory cannot be opened there.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_owner(directory: Path, user: int) -> None:
    """Refuse what belongs to somebody else and is closed to us; a disk that takes no writes is the store's to tell."""
    for path in (directory, *sorted(directory.glob("lateron*"))):
        owner, needed = path.stat().st_uid, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
        is_open_wide = path == directory and path.stat().st_mode & _OTHERS
        if owner != user and (is_open_wide or not os.access(path, needed)):
            theirs, ours = _account(owner), _account(user)
            raise InvalidSettings(
                f"data-dir {path} belongs to {theirs}, and this process runs as {ours}; run it as {theirs}, "
                f"or give the directory away: chown -R {ours} {directory}"
            )


def _account(number: int) -> str:
    """Return the name of a user of this machine, or the number of one who has none, as in containers."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _check_modes(directory: Path) -> None:
    if directory.stat().st_mode & _OTHERS:
        if any(entry.name != ".gitignore" for entry in directory.iterdir()):
            raise InvalidSettings(
                f"data-dir {directory} is open to other users of this machine; close it: chmod 700 {directory}"
            )
        directory.chmod(0o700)
    for entry in sorted(directory.glob("lateron*")):
        if entry.stat().st_mode & _OTHERS:
            raise InvalidSettings(f"{entry} is open to other users of this machine; close it: chmod 600 {entry}")
