"""A running server, and a shell whose commands talk to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.cli import exits, main


class Shell:
    """Runs commands as a user types them, and reads what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""  # What the last command printed on standard error.

    def run(self, *argv: str, code: int = exits.DONE) -> str:
        """Run a command that should end so, and return what it printed."""
        ended = main(argv)
        captured = self._capsys.readouterr()
        self.err = captured.err
        assert ended == code, captured.err
        return captured.out

    def json(self, *argv: str) -> Any:
        """Run a command with ``--json`` and return the document."""
        return json.loads(self.run(*argv, "--json"))

    def items(self, *argv: str) -> list[Mapping[str, Any]]:
        """Run a command with ``--json`` that prints a list, and return its items."""
        return [json.loads(line) for line in self.run(*argv, "--json").splitlines()]

    def refused(self, *argv: str, code: int = exits.REFUSED) -> str:
        """Run a command that should fail; return the one line it says."""
        out = self.run(*argv, code=code)
        assert out == ""
        assert self.err.startswith("lateron: ")
        assert self.err.count("\n") == 1, self.err
        return self.err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # The host of the examples leads to a port of this machine on which nobody listens.
    with Server(tmp_path_factory.mktemp("cli") / "data", "--resolve", "example.com:443:127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def shell(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("QSTASH_URL", server.url)
    monkeypatch.delenv("QSTASH_TOKEN", raising=False)
    return Shell(capsys)
