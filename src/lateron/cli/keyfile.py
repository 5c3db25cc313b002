"""The file of the operator's keys, changed in place: whose it is and who may read it stays as it was.

The server reads it as another user than the one who makes a key, as a rule. So a new file takes owner, group and mode
of the old one before it takes its name, and a link goes on leading to it. What is no file of keys is never touched.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from lateron.cli.exits import REFUSED, USAGE, Failed
from lateron.config.kinds import Keys

_OWNER_ONLY = 0o600
_OTHERS = stat.S_IRWXO


def put_first(file: Path, line: str) -> None:
    """Put a line with a key before those that are in a file of keys, or make the file.

    Raises:
        Failed: It is no file of keys, which is left as it is; or it cannot be read or written.
    """
    target = Path(os.path.realpath(file))
    part = target.parent / f".{target.name}.{os.getpid()}.part"
    try:
        before = target.stat() if target.exists() else None
        old = "" if before is None else _read(file, target, before)
        try:
            with os.fdopen(
                os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY), "w", encoding="utf-8"
            ) as new:
                new.write(f"{line}\n{old}")
                new.flush()
                if before is not None and sys.platform != "win32":
                    _keep_owner(new.fileno(), before)
                os.fsync(new.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"cannot write {file}: {error.strerror}", REFUSED) from None


def _read(file: Path, target: Path, status: os.stat_result) -> str:
    """Return what is in a file of keys, which may be none yet."""
    if stat.S_ISREG(status.st_mode):
        try:
            text = target.read_text("utf-8")
            if text.strip():
                Keys().read(text)
        except ValueError:
            pass
        else:
            return text
    raise Failed(
        f"FILE: expected {Keys().expected}, or a file that is not there yet; {file} is something else; "
        "nothing was written",
        USAGE,
    )


def _keep_owner(descriptor: int, before: os.stat_result) -> None:
    """Give a file the owner, the group and the mode of the one whose place it takes; others never read it."""
    os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & ~_OTHERS)
