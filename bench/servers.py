"""A Lateron that is measured: started on a directory, asked, stopped.

It is the released program, started as a user would start it. Nothing of the measurement runs inside it.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from bench.load import Receiver, cpu_seconds, get_json, memory_mb, peak_memory_mb

import lateron

# The documented token of the first development user; it opens nothing but a development server.
TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="  # noqa: S105
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


class Server:
    """A server on a data directory, on a port of its own; one for development, unless it is to be one for production.

    Args:
        directory: Its store lies in ``data`` below; it may be there already.
        arguments: More flags for it.
        patience: Seconds until it must be ready.
        mode: The command that starts it; ``authorization`` opens either.
        source: Where the package lies that is started; None for that of this process.
    """

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str] = (),
        patience: float = 60,
        mode: Literal["dev", "serve"] = "dev",
        source: Path | None = None,
    ) -> None:
        self.port = free_port()
        token = TOKEN if mode == "dev" else secrets.token_urlsafe(32)  # A public one opens no server for production.
        self.authorization = {"Authorization": f"Bearer {token}"}
        self.ready_after = 0.0  # Seconds from its start as a process to the first 200 of /readyz.
        self._patience = patience
        self._log_path = directory / "server.log"
        self._log = self._log_path.open("w+")
        command = [sys.executable, "-m", "lateron", mode, "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--data-dir", str(directory / "data"), *arguments]
        self._began = time.monotonic()
        # Without a source the package that this process would import, wherever the server is started.
        environment = {**os.environ, "PYTHONPATH": str(source or Path(lateron.__file__).parents[1])}
        if mode == "serve":
            environment |= {"LATERON_TOKEN": token, "LATERON_ALLOW_PRIVATE": "true"}
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, cwd=directory, env=environment
        )

    def __enter__(self) -> Self:
        while time.monotonic() < self._began + self._patience and self._process.poll() is None:
            try:
                get_json(self.port, "GET", "/readyz")
            except (OSError, ValueError):
                time.sleep(0.01)
            else:
                self.ready_after = time.monotonic() - self._began
                return self
        self.__exit__(None, None, None)
        message = f"the server did not become ready:\n{self._tail}"
        raise RuntimeError(message)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.seek(0)
        self._tail = self._log.read()[-2000:]
        self._log.close()

    def kill(self) -> None:
        """End the process where it stands."""
        self._process.kill()
        self._process.wait()

    def publish_url(self, destination: str) -> str:
        """Return the address that publishes to a destination."""
        return f"http://127.0.0.1:{self.port}/v2/publish/{destination}"

    def pending(self) -> int:
        """Return how many attempts are open: 0 once every outcome of what has arrived is stored."""
        return int(get_json(self.port, "GET", "/v2/globalParallelism", self.authorization)["parallelismCount"])

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        return cpu_seconds(self._process.pid)

    def log(self) -> str:
        """Return what it has printed so far."""
        return self._log_path.read_text("utf-8", "replace")

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def memory_mb(self) -> float:
        """Return the resident size now."""
        return memory_mb(self._process.pid)

    def peak_memory_mb(self) -> float:
        """Return the largest resident size so far."""
        return peak_memory_mb(self._process.pid)


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="lateron-bench-") as directory:
        yield Path(directory)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_arrived(receiver: Receiver, count: int, seconds: float) -> None:
    """Wait until so many different messages have arrived; the receiver is asked at a price of next to nothing."""
    deadline = time.monotonic() + seconds
    while receiver.count() < count:
        if time.monotonic() > deadline:
            message = f"after {seconds} s: {receiver.count()} of {count} arrived"
            raise TimeoutError(message)
        time.sleep(0.02)


def wait_until_delivered(server: Server, receiver: Receiver, count: int, seconds: float) -> float:
    """Wait until all have arrived and every outcome is stored; return when, monotonic."""
    deadline = time.monotonic() + seconds
    wait_until_arrived(receiver, count, seconds)
    while time.monotonic() < deadline:
        if server.pending() == 0:
            return time.monotonic()
        time.sleep(0.005)
    message = f"after {seconds} s: all {count} arrived, but not all of their outcomes are stored"
    raise TimeoutError(message)
