"""A terminal for tests: the command in a process of its own, on a pseudo-terminal of a given width."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from select import select

from tests.support.poll import PATIENCE_S


def on_terminal(
    argv: list[str],
    environ: Mapping[str, str],
    typed: str = "",
    width: int = 80,
    answers: Sequence[tuple[str, str]] = (),
) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code and all that the screen showed.

    Args:
        argv: After ``lateron``.
        environ: Variables to add.
        typed: What the user types; it waits in the terminal until somebody reads it.
        width: Columns.
        answers: What the screen shows in the end, and what the user types then; for what reads unseen and forgets what
            was typed before.
    """
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    hidden = {"COLUMNS", "LINES", "NO_COLOR", "QSTASH_TOKEN", "CI"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(
        [sys.executable, "-m", "lateron", *argv],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**kept, "TERM": "xterm", **environ},
        start_new_session=True,  # Or what asks for the terminal of its session would get that of the tests.
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, typed.encode())
    shown, left = b"", list(answers)
    while piece := _read(ours):
        shown += piece
        if left and shown.endswith(left[0][0].encode()):
            os.write(ours, f"{left.pop(0)[1]}\n".encode())
    os.close(ours)
    try:
        return process.wait(PATIENCE_S), shown.decode()
    finally:
        process.kill()  # Does nothing to one that has ended.


def _read(descriptor: int) -> bytes:
    if not select([descriptor], [], [], PATIENCE_S)[0]:
        return b""  # It waits for what nobody will type.
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux reports so that the other end is closed.
        return b""
