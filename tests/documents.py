"""The commands in our documents, as a reader would run them.

A document is a script: its blocks run from top to bottom in one shell, in a copy of the project.

* ``bash``, ``sh`` and ``console`` blocks are typed in; of a ``console`` block only the lines after ``$``.
* ``python`` and ``js`` blocks are saved to a file and run with the environment the reader has by then. One that begins
  with a comment that is the name of a file is saved under it, and run by what the reader is told to type.
* A block whose last command is ``lateron dev`` or ``lateron serve`` is the reader's first terminal: it runs
  on while the others are tried, until a later block starts a server again.

* A block behind ``<!-- runs on: URL -->`` is another terminal: its last command is a program of the reader's that
  answers there, and runs on to the end.

Ports 8080 and 8000 are replaced by free ones. ``python3 -m venv`` and ``pip install`` are answered at once by the
environment that runs the tests; with ``LATERON_DOCS_INSTALL=1``, as in .ci/run, they are real. ``npm install`` is
answered by the packages of tests/node. ``curl`` fails where the server refuses, for a document must not show a command
that does not work.

A block is left out only by ``<!-- not run: reason -->`` on a line before it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHELL = frozenset({"bash", "sh", "console"})
PROGRAMS = {"python": "python", "js": "node"}
WORDS = frozenset({"text", "json", "toml", "http", "markdown", "dockerfile", "yaml", ""})  # Blocks to read, not to run.

NAMED = re.compile(r"(?:#|//) (?P<name>[a-z_]+\.(?:py|mjs))\n")
FENCE = re.compile(r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S[^>]*) -->\s*\Z")
RUNS_ON = re.compile(r"<!-- runs on: (?P<url>\S+) -->\s*\Z")
SERVER = re.compile(r"lateron (?:dev|serve)(?: [^|&;\n]*)?\Z")

# What each script begins with. A job gets a process group of its own, so that a whole chain of commands ends.
PRELUDE = r"""
set -euo pipefail -m
server=
stop_server() {
  [ -n "$server" ] || return 0
  kill -- "-$server" 2> /dev/null || true
  wait "$server" || true
  server=
}
programs=
stop_all() {
  stop_server
  for program in $programs; do kill -- "-$program" 2> /dev/null || true; wait "$program" || true; done
}
trap stop_all EXIT
start_program() {
  programs="$programs $!"
  for _ in $(seq 600); do
    if curl --silent --output /dev/null "$1" || [ $? = 22 ]; then return 0; fi
    kill -0 "$!" 2> /dev/null || break
    sleep 0.1
  done
  echo "the program did not start"; cat program.log; return 1
}
start_server() {
  server=$!
  for _ in $(seq 600); do
    if curl --silent "$QSTASH_URL/readyz" &> /dev/null; then return 0; fi
    kill -0 "$server" 2> /dev/null || break
    sleep 0.1
  done
  echo "the server did not start"; cat server.log; return 1
}
settle() { # A reader pauses: wait until what was published is delivered, at most two seconds.
  [ -n "$server" ] || return 0
  for _ in $(seq 20); do
    pending=$(curl --silent -H "Authorization: Bearer $DOCS_TOKEN" "$QSTASH_URL/v2/messages") || return 0
    case $pending in *'"messages":[]'*) return 0 ;; esac
    sleep 0.1
  done
}
"""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a document."""

    document: str
    line: int
    language: str
    text: str
    not_run: str | None  # The reason why it is left out.
    runs_on: str | None = None  # Where the program answers that its last command starts.

    @property
    def is_code(self) -> bool:
        """Whether a reader would run it."""
        return self.language not in WORDS

    def script(self, number: int) -> str:
        """Return the lines of shell that run this block."""
        lines = [f"echo '--- {self.document}:{self.line}'"]
        if self.language in PROGRAMS:
            named = NAMED.match(self.text)
            name = named["name"] if named else f"block_{number}.{'py' if self.language == 'python' else 'mjs'}"
            lines += [f"cat > {name} <<'END_OF_BLOCK'", self.text.rstrip("\n"), "END_OF_BLOCK"]
            lines += [] if named else [f"{PROGRAMS[self.language]} {name}"]
        else:
            lines.append(_typed(self.text) if self.language == "console" else self.text.rstrip("\n"))
            if self.runs_on is not None:
                before, _, last = lines[-1].rpartition("\n")
                lines[-1:] = [before, f"{last} > program.log 2>&1 &", f"start_program {self.runs_on}"]
            elif SERVER.search(lines[-1]):
                lines[-1:] = ["stop_server", f"{lines[-1]} > server.log 2>&1 &", "start_server"]
        return "\n".join([*lines, "settle"])


def _typed(text: str) -> str:
    """Return what follows the prompt; a backslash continues on the next line."""
    commands, continues = [], False
    for line in text.splitlines():
        if continues or line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
            continues = line.endswith("\\")
    return "\n".join(commands)


def documents() -> list[Path]:
    """Return every document of the project that a reader may follow."""
    folders = (ROOT / "docs", ROOT / "examples")
    hidden = re.compile(r"node_modules|\.")  # Of the folder of a cache, too.
    found = [
        path
        for folder in folders
        for path in folder.rglob("*.md")
        if not any(hidden.match(part) for part in path.relative_to(ROOT).parts)
    ]
    return sorted([*ROOT.glob("*.md"), *found, *(ROOT / "bench").glob("*.md")])


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    content = path.read_text("utf-8")
    found = []
    for fence in FENCE.finditer(content):
        marker = NOT_RUN.search(content, 0, fence.start())
        program = RUNS_ON.search(content, 0, fence.start())
        line = content.count("\n", 0, fence.start()) + 1
        found.append(
            Block(
                str(path.relative_to(ROOT)),
                line,
                fence["language"],
                fence["text"],
                marker["reason"] if marker else None,
                program["url"] if program else None,
            )
        )
    return found


def run(chosen: Sequence[Block], folder: Path, token: str) -> str:
    """Run blocks as one script in a folder and return what they printed.

    Raises:
        AssertionError: A command failed, or all together took more than five minutes.
    """
    port = _free_port()
    environment = _environment(folder, port, token)
    if not any(" -m venv " in block.text for block in chosen):
        # The reader has made it by an earlier document.
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(_write_environment(folder.parent / f"{folder.name}-environment"))
    script = PRELUDE + "\n".join(block.script(number) for number, block in enumerate(chosen))
    script = re.sub(r"\b8000\b", str(_free_port()), script.replace("8080", str(port)))
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # Its trap ends the server.
        output, _ = process.communicate(timeout=30)
        process.returncode = process.returncode or 1
    assert process.returncode == 0, f"a block failed:\n{output[-6000:]}"
    return output


def copy_project(target: Path, files: Sequence[Path]) -> Path:
    """Copy the files of the project, so that a document cannot change it."""
    for file in files:
        copy = target / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    modules = ROOT / "tests" / "node" / "node_modules"
    if modules.is_dir():
        (target / "node_modules").symlink_to(modules)
    return target


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path, port: int, token: str) -> dict[str, str]:
    """Return the reader's environment: nothing of ours, and the tools first in the path."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("QSTASH_", "LATERON_", "UPSTASH_"))
    }
    tools = _write_tools(folder.parent / f"{folder.name}-tools")
    return kept | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{kept['PATH']}",
        "LATERON_PORT": str(port),
        "QSTASH_URL": f"http://127.0.0.1:{port}",
        "DOCS_TOKEN": token,
    }


def _write_tools(folder: Path) -> Path:
    """Write the stand-ins of ``curl`` and, unless the installation is to be real, of ``python3 -m venv``."""
    curl = shutil.which("curl")
    assert curl is not None, "the documents use curl"
    _write(folder / "curl", f'exec {shlex.quote(curl)} --no-progress-meter --fail-with-body "$@"')
    _write(folder / "npm", '[ "$1" = install ] && [ -f "$3/package.json" ]')  # They lie above the copy already.
    if os.environ.get("LATERON_DOCS_INSTALL"):
        return folder
    environment = _write_environment(folder / "environment")
    venv = f'[ "$1 $2" = "-m venv" ] && mkdir -p "$3" && exec ln -sfn {shlex.quote(str(environment))} "$3/bin"'
    _write(folder / "python3", f'{venv}\nexec {shlex.quote(sys.executable)} "$@"')
    return folder


def _write_environment(folder: Path) -> Path:
    """Write the programs of a virtual environment, which lead to the one that runs the tests."""
    ours = Path(sys.executable).parent
    for name in ("lateron", "python", "pytest", "ruff", "mypy", "lint-imports", "uvicorn", "flask"):
        _write(folder / name, f'exec {shlex.quote(str(ours / name))} "$@"')
    # It installs nothing, but a file that is not there is an error as it would be for the reader.
    _write(
        folder / "pip",
        'previous=; for word; do [ "$previous" != -r ] || [ -f "$word" ] || exit 1; previous=$word; done',
    )
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n", "utf-8")
    path.chmod(0o755)
