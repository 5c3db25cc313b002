"""What the tests of the server as a process share: how to start it, ask it, and see it refuse."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
from tests.support.poll import PATIENCE_S, until
from tests.support.server import Server, User

OWN = User(
    "eyJVc2VySUQiOiJ0ZWFtIiwiUGFzc3dvcmQiOiJsdHJuX2Zvci10ZXN0cy1vbmx5LW5vdC1hLXNlY3JldCJ9",
    "sig_forTestsOnlyCurrent000000000",
    "sig_forTestsOnlyNext000000000000",
)


class Bare(Server):
    """``lateron serve`` as a first user starts it: no token and no key are given."""

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in super()._environment().items() if not name.startswith("LATERON_")}


def publish(server: Server, destination: str, *headers: tuple[str, str]) -> str:
    reply = server.call("POST", f"/v2/publish/{destination}", b"hello", headers)
    assert reply.status == 201, reply.text
    return str(reply.json["messageId"])


def states(server: Server, message: str) -> list[str]:
    events = server.call("GET", f"/v2/events?messageId={message}").json["events"]
    return [event["state"] for event in reversed(events)]


def delivered(server: Server, message: str) -> bool:
    return "DELIVERED" in states(server, message)


def refused(data_dir: Path, *flags: str, mode: str = "dev", environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command that should not start; return its exit code and what it printed."""
    server = Server(data_dir, mode="serve" if mode == "serve" else "dev")
    done = subprocess.run(
        [*server.command, "--port", "0", "--data-dir", str(data_dir), *flags],
        env={**Bare(data_dir)._environment(), **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stdout


def curl(line: str) -> Any:
    """Do what a line of curl as `lateron dev` prints it would do."""
    words = shlex.split(line)
    assert words.pop(0) == "curl"
    method, headers, body, url = "GET", {}, None, ""
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        else:
            url = word
    authority, _, path = url.removeprefix("http://").partition("/")
    connection = HTTPConnection(authority, timeout=PATIENCE_S)
    connection.request(method, f"/{path}", body, headers)
    answer = connection.getresponse()
    content = msgspec.json.decode(answer.read())
    connection.close()
    assert 200 <= answer.status < 300, content
    return content


def ended(server: Server) -> int:
    """Wait for the end of a server that was told to end, and return its exit code."""
    assert server._process is not None
    return server._process.wait(PATIENCE_S)


@contextmanager
def standing(server: Server) -> Iterator[None]:
    """Let the process of a server stand still inside the block; no thread of it is left inside a system call."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        until(lambda: set(_thread_states(server.pid)) == {"T"}, "the process to stand still")
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _thread_states(pid: int) -> list[str]:
    """Return a letter for each thread (proc_pid_stat(5)); the name before it may hold anything but ``)`` at its end."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return [stat.read_text("ascii", "replace").rpartition(")")[2].split()[0] for stat in stats]


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True
