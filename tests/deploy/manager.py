"""A manager of services for the tests: the socket on which a server tells how it is, and the rules of a unit."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.poll import PATIENCE_S


class Manager:
    """Listens as systemd does on ``NOTIFY_SOCKET``; a context manager."""

    def __init__(self, address: str) -> None:
        """Take an address: a path, or a name of the abstract space that begins with ``@``."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @property
    def environ(self) -> dict[str, str]:
        """Return what a server finds in its environment."""
        return {"NOTIFY_SOCKET": self.address}

    def told(self) -> dict[str, str]:
        """Wait for the next datagram."""
        self._socket.settimeout(PATIENCE_S)
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def rest(self) -> Iterator[dict[str, str]]:
        """Yield what has been told and not been read yet."""
        self._socket.setblocking(False)
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except BlockingIOError:
                return
            yield dict(line.split("=", 1) for line in text.splitlines())

    def __enter__(self) -> Self:
        self._socket.bind(f"\0{self.address[1:]}" if self.address.startswith("@") else self.address)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()


def read_unit(path: Path) -> list[tuple[str, str, str]]:
    """Return (section, name, value) of each line of a unit that is no comment.

    Raises:
        AssertionError: A line is none of a unit's.
    """
    section, found = "", []
    for line in path.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if head := re.fullmatch(r"\[(\w+)\]", line):
            section = head[1]
            continue
        name, equals, value = line.partition("=")
        assert equals, line
        assert re.fullmatch("[A-Za-z]+", name), line
        found.append((section, name, value))
    return found


def call_sets() -> Mapping[str, frozenset[str]]:
    """Return the named sets of system calls that systemd knows, each with all its calls."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    ).stdout
    raw: dict[str, list[str]] = {}
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            raw[word] = []
        elif word and not word.startswith("#") and raw:
            raw[next(reversed(raw))].append(word)

    def calls(name: str) -> frozenset[str]:
        return frozenset().union(*(calls(word) if word in raw else {word} for word in raw[name]))

    return {name: calls(name) for name in raw}
