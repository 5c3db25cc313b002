"""The two C tools as Python sees them: a receiver to start, a load to send, and what each cost.

Both speak to loopback only and need Linux and gcc. Their CPU time is the yardstick of every figure:
the machine has a slow and a fast mood, and the tools feel it as the server does.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def build(target: Path = HERE / "out" / "bin") -> Path:
    """Compile both tools where they are older than their sources; return their folder."""
    subprocess.run(["bash", str(HERE / "tools" / "build.sh"), str(target)], check=True)
    return target


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a running process has used, user and system, in steps of a tick (10 ms)."""
    # The name in the second field may hold spaces and parentheses; the rest begins after the last one.
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Return the resident size of a running process."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def peak_memory_mb(pid: int) -> float:
    """Return the largest resident size a running process has had."""
    return memory_mb(pid, "VmHWM")


def cpu_of_session(session: int) -> float:
    """Return the CPU time of all processes of a session, of those that have ended too if their parent is among them."""
    ticks = 0
    for fields in _session(session):
        ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return ticks / TICKS_PER_SECOND


def memory_of_session(session: int) -> float:
    """Return the resident sizes of all processes of a session together; shared pages count in each."""
    return sum(int(fields[21]) for fields in _session(session)) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _session(session: int) -> Iterator[list[str]]:
    """Yield what the kernel says of the processes of a session, from the field behind their names on."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It has just ended.
            fields = path.read_text("ascii", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield fields


def get_json(port: int, method: str, path: str, headers: Mapping[str, str] | None = None, timeout: float = 10) -> Any:
    """Ask a server on loopback and return its JSON; raise ``OSError`` if it answers anything but 2xx."""
    return json.loads(get_bytes(port, method, path, headers, timeout=timeout) or b"null")


def get_bytes(
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10,
) -> bytes:
    """Ask a server on loopback and return what it answers; raise ``OSError`` if that is anything but 2xx."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers=dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
        if not 200 <= answer.status <= 299:
            message = f"{method} {path}: {answer.status} {content[:200]!r}"
            raise OSError(message)
        return content
    finally:
        connection.close()


class Receiver:
    """A running receiver: answers 200 to everything and counts what it got."""

    def __init__(self, tools: Path) -> None:
        self._process = subprocess.Popen([str(tools / "receive"), "0"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def url(self, path: str = "/receive") -> str:
        """Return the address to deliver to."""
        return f"http://127.0.0.1:{self.port}{path}"

    def stats(self) -> dict[str, Any]:
        """Return what arrived since the last reset."""
        return dict(get_json(self.port, "GET", "/__stats"))

    def count(self) -> int:
        """Return how many different messages arrived; costs the receiver as little as one more."""
        return self.counts()[0]

    def counts(self) -> tuple[int, int]:
        """Return how many different messages were taken, and how many requests refused."""
        answer = get_json(self.port, "GET", "/__count")
        return int(answer["unique"]), int(answer["refused"])

    def window(self) -> dict[str, Any]:
        """Return the latencies of what arrived since this was last asked."""
        return dict(get_json(self.port, "GET", "/__window"))

    def log(self) -> bytes:
        """Return two bytes for each number from 0: how often it was taken, how often refused; 255 is the most."""
        return get_bytes(self.port, "GET", "/__log")

    def answer(self, status: int) -> None:
        """Answer everything so from now on; only what is answered 2xx is taken."""
        get_json(self.port, "POST", f"/__answer?{status}")

    def reset(self, first: int) -> None:
        """Forget everything, and do not count messages numbered below ``first`` from now on."""
        get_json(self.port, "POST", f"/__reset?min={first}")

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        return cpu_seconds(self._process.pid)


def generate(tools: Path, url: str, headers: Mapping[str, str], **options: object) -> tuple[dict[str, Any], float]:
    """Send a load and wait for its end; return the tool's report and the CPU seconds it used.

    Options are those of the tool: ``count``, ``first``, ``rate``, ``connections``, ``size``, ``seconds``, ``stop``,
    ``log``.
    """
    command = [str(tools / "generate"), "--url", url]
    for name, content in headers.items():
        command += ["--header", f"{name}: {content}"]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    report = process.stdout.read()
    # wait4 is the one call that tells what exactly this child has used.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, report)
    return dict(json.loads(report)), usage.ru_utime + usage.ru_stime
