"""A disk that is full, an output that is closed, a reader who has seen enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Shell
from tests.support.poll import PATIENCE_S, until
from tests.support.server import Server

from lateron.cli import exits, main
from lateron.cli.streams import OutputLost

FULL = "cannot write to standard output: No space left on device"

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def ended(server: Server | None, redirected: str, *argv: str) -> tuple[int, str]:
    """Run a command in a shell, with its streams redirected so; return its exit code and what it said."""
    environ = {**os.environ, **({} if server is None else {"QSTASH_URL": server.url})}
    environ.pop("QSTASH_TOKEN", None)
    line = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "lateron", *argv]
    done = subprocess.run(line, env=environ, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S)
    return done.returncode, done.stderr


def left(server: Server | None, *argv: str) -> tuple[int, str]:
    """Run a command whose reader has gone before it says a word; return its exit code and what it said."""
    environ = {**os.environ, **({} if server is None else {"QSTASH_URL": server.url})}
    environ.pop("QSTASH_TOKEN", None)
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [sys.executable, "-m", "lateron", *argv], env=environ, stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


@pytest.mark.parametrize(
    "argv", ["--version", "--help", "config show", "config show --json", "keys show", "queues list", "logs --export -"]
)
def test_full_output_is_a_sentence(argv: str, server: Server, shell: Shell) -> None:
    """It is no bug of ours, and nobody is shown a traceback."""
    shell.run("enqueue", "full", f"{server.url}/_catch/x", "--delay", "1h")

    code, said = ended(server, ">/dev/full", *argv.split())

    assert (code, said) == (exits.OUTPUT, f"lateron: {FULL}; what was asked for may have been done\n")


@pytest.mark.parametrize("argv", ["--version", "--help", "config show", "keys show"])
def test_closed_output_is_a_sentence(argv: str, server: Server) -> None:
    """As a service manager may start a command."""
    code, said = ended(server, ">&-", *argv.split())

    assert (code, said.count("\n")) == (exits.OUTPUT, 1)
    assert "cannot write to standard output: it is closed" in said


def test_closed_input_and_errors_are_no_trouble(server: Server) -> None:
    """Nobody can be asked, and nobody is told."""
    code, said = ended(server, "<&-", "keys", "rotate")
    assert (code, "--yes goes on" in said) == (exits.USAGE, True)
    assert ended(server, "2>&- >/dev/null", "queues", "list") == (exits.DONE, "")
    assert ended(server, "2>/dev/full >/dev/null", "why", "msg_none") == (exits.REFUSED, "")


def test_token_that_could_not_be_shown_is_told(server: Server, shell: Shell) -> None:
    """Nobody has it, and it is good: whoever made it must know that it is there."""
    for lost in (
        ended(server, ">/dev/full", "tokens", "create", "unseen", "--scope", "read"),
        left(server, "tokens", "reset", "unseen", "--yes"),
    ):
        code, said = lost
        assert (code, said.count("\n")) == (exits.OUTPUT, 1)
        assert "the token unseen was" in said
        assert "reset" in said
    assert "unseen" in shell.run("tokens", "list")
    shell.run("tokens", "revoke", "unseen", "--yes")
    code, said = ended(server, ">/dev/full", "keys", "rotate", "--yes")
    assert (code, "the keys were rotated: `lateron keys show`" in said) == (exits.OUTPUT, True)


@pytest.mark.parametrize(
    "argv", ["--version", "--help", "queues --help", "grafana", "logs --all", "tail", "logs --export -", "dlq export -"]
)
def test_reader_who_has_seen_enough_is_no_failure(argv: str, server: Server, shell: Shell) -> None:
    """As in `lateron logs --all | head -1`."""
    shell.run("publish", f"{server.url}/_catch/seen", "--delay", "1h")

    since = ("--since", "1h") if argv == "tail" else ()

    assert left(server, *argv.split(), *since) == (exits.DONE, "")


def test_server_runs_on_without_a_reader_and_tells_of_the_token_nobody_has(tmp_path: Path) -> None:
    """Its lines are for people; a queue does not end because nobody looks."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LATERON_")}
    argv = [sys.executable, "-m", "lateron", "serve", "--data-dir", str(tmp_path / "data"), "--port", "0"]
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as err, Path("/dev/full").open("w", encoding="utf-8") as full:
        process = subprocess.Popen(argv, env=environ, stdout=full, stderr=err)
    try:
        until(lambda: "nobody has the token" in log.read_text("utf-8"), "the warning")
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == exits.DONE


def test_bug_is_told_apart_also_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint asks for another run; its exit code must not be that of a refusal."""

    def broken(_: object) -> None:
        raise RuntimeError("never")

    monkeypatch.setattr("lateron.cli.argv.normalise", broken)
    assert main(["health"]) == exits.BUG
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("LATERON_LOG_LEVEL", "debug")

    assert main(["health"]) == exits.BUG

    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "unexpected RuntimeError: never" in said


def test_command_that_is_missing_gets_the_help_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """And no error without words."""
    for argv in ([], ["queues"]):
        assert main(argv) == exits.USAGE

        shown = capsys.readouterr()
        assert "Usage: lateron" in shown.out + shown.err
        assert "lateron: " not in shown.err


def test_reader_is_told_from_a_disk() -> None:
    """One has seen enough, the other is a loss."""
    assert OutputLost(BrokenPipeError(32, "Broken pipe")).reader_left
    assert not OutputLost(OSError(28, "No space left on device")).reader_left
