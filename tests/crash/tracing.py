"""A server whose system calls are seen from outside, or in which one of them ends it.

strace writes down each call when it begins and when it returns. It stops the calling thread both times, so the
order of its lines is the order of events also between threads: a thread that has returned from ``fdatasync``
has not done anything about it before the line is written.

The same tool kills the server *at* a system call, the n-th of a kind: a named crash point without a hook in
the product.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.poll import until
from tests.support.server import Server

TEXT_BYTES = 8192  # Of a call's data that are written down: a page, and a head with a short body.

BEGUN = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\(\d+<(?P<path>[^>]*)>(?P<rest>.*)")
ENDED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>.*\) += (?P<result>-?\d+)")
RESULT = re.compile(r"\) += (?P<result>-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(slots=True)
class SystemCall:
    """One call on a file or a socket."""

    name: str
    path: str  # Of the file; for a socket its addresses.
    data: bytes  # What was written, if it writes.
    begin: int  # Number of the line at which it began ...
    end: int | None = None  # ... and returned; None: never.
    result: int | None = None


class Changed(Server):
    """A server that is not quite the product: ``code`` runs first, in its process, and changes it.

    For controls only: a test that is green with the product has to be red with a faulty one.
    """

    code: str | None = None

    @property
    def command(self) -> Sequence[str]:
        """Return the command line up to the flags."""
        if self.code is None:
            return super().command
        run = "\nimport sys\nfrom lateron.cli import main\nsys.exit(main(sys.argv[1:]))\n"
        return [sys.executable, "-c", self.code + run, self.mode]


class Traced(Changed):
    """A server under strace; ``options`` are those of strace."""

    options: Sequence[str] = ()

    @property
    def trace(self) -> Path:
        """Return the file that strace writes."""
        return self.data_dir.with_name(f"{self.data_dir.name}.trace")

    @property
    def command(self) -> Sequence[str]:
        """Return the command line; the process is still the server's own, strace runs beside it (-D)."""
        strace = ["strace", "-f", "-D", "-q", "-yy", "-xx", "-s", str(TEXT_BYTES), "-e", "signal=none"]
        return [*strace, "-o", str(self.trace), *self.options, *super().command]

    def traced(self) -> Iterator[SystemCall]:
        """Return all calls, once the server has ended and strace has written the last of them."""
        last = re.compile(rf"^{self.pid} +\+\+\+ ", re.MULTILINE)
        until(lambda: last.search(self.trace.read_text("ascii")), "strace to end")
        return read_trace(self.trace.read_text("ascii"))


def read_trace(text: str) -> Iterator[SystemCall]:
    """Return the calls of a trace in the order in which they began."""
    calls: list[SystemCall] = []
    unfinished: dict[str, SystemCall] = {}  # By thread.
    for number, line in enumerate(text.splitlines()):
        if begun := BEGUN.match(line):
            data = b"".join(map(unescaped, TEXT.findall(begun["rest"])))
            call = SystemCall(begun["name"], _path(begun["path"]), data, number)
            calls.append(call)
            if returned := RESULT.search(begun["rest"]):
                call.end, call.result = number, int(returned["result"])
            else:
                unfinished[begun["pid"]] = call
        elif (ended := ENDED.match(line)) and ended["pid"] in unfinished:
            call = unfinished.pop(ended["pid"])
            call.end, call.result = number, int(ended["result"])
    return iter(calls)


def unescaped(text: str) -> bytes:
    r"""Return the bytes of ``\x61\x62``."""
    return bytes.fromhex(text.replace("\\x", ""))


def _path(text: str) -> str:
    return unescaped(text).decode() if text.startswith("\\x") else text


def require_strace() -> None:
    """Skip a test where processes cannot be traced; where all checks must run, fail."""
    reason = "strace is not installed"
    if sys.platform != "linux":
        pytest.skip("strace is a tool of Linux")
    if shutil.which("strace") is not None:
        done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        reason = f"strace may not trace here: {done.stderr}"
    assert not os.environ.get("CI"), reason
    pytest.skip(reason)
