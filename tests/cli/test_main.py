"""What a script may rely on: exit codes, one line for an error, nothing heavy for a version."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import lateron
from lateron.cli import exits, main


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run where nothing of this machine is seen, and leave the process as it was."""
    monkeypatch.chdir(tmp_path)
    for name in ("QSTASH_URL", "QSTASH_TOKEN", "LATERON_CONFIG", "LATERON_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    root, umask = logging.getLogger(), os.umask(0o022)
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    os.umask(umask)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("spelling", ["--version", "-version"])
def test_version_is_printed(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first thing a report of a bug needs."""
    assert main([spelling]) == exits.DONE
    assert capsys.readouterr().out == f"lateron {lateron.__version__}\n"


def test_version_and_help_load_no_web_server() -> None:
    """A command line must answer at once; uvicorn, starlette, the store and rich can wait."""
    for argv in ("['--version']", "['--help']", "['config', 'show']"):
        loaded = "set(sys.modules) & {'uvicorn', 'starlette', 'apsw', 'asyncio', 'httptools'}"
        done = python("-c", f"import sys; from lateron.cli import main; main({argv}); sys.stderr.write(str({loaded}))")
        assert done.stderr == "set()", argv


def test_module_is_the_command() -> None:
    """`python -m lateron` works where no script is on the path."""
    done = python("-m", "lateron", "--version")

    assert (done.returncode, done.stdout) == (0, f"lateron {lateron.__version__}\n")


def test_python_without_asserts_is_refused() -> None:
    """The program's own checks are part of it."""
    done = python("-O", "-m", "lateron", "--version")

    assert done.returncode == exits.USAGE
    assert "python -O" in done.stderr


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["dev", "--prot=1"], exits.USAGE, "did you mean --port?"),
        (["dev", "-port=x"], exits.USAGE, "--port: expected a whole number"),
        (["dev", "--token-file=x"], exits.USAGE, "--token-file"),
        (["serve", "--token=x"], exits.USAGE, "--token-file"),
        (["serv"], exits.USAGE, "serve"),
        (["serve"], exits.USAGE, "--data-dir"),
        (["dev", "--host=0.0.0.0", "--config=none.toml"], exits.USAGE, "none.toml"),
        (["publish"], exits.USAGE, "URL"),
        (["publish", "http://x", "-H", "nocolon"], exits.USAGE, "Name: value"),
        (["publish", "http://x", "-d", "@none"], exits.USAGE, "cannot read none"),
        (["publish", "http://x", "--url", "ftp://x"], exits.USAGE, "http://HOST:PORT"),
        (["publish", "http://x", "--url", "http://x:port"], exits.USAGE, "http://HOST:PORT"),
        (["publish", "http://x", "--url", "https://queue.example.com"], exits.USAGE, "QSTASH_TOKEN"),
        (["why", "msg_1", "--url", "http://127.0.0.1:1"], exits.UNREACHABLE, "no answer from http://127.0.0.1:1"),
        (["tail", "--since", "yesterday"], exits.USAGE, "--since: expected a time ago"),
        (["publish", "http://x", "-H", "X-Ü: ö"], exits.USAGE, "--header: expected a name of ASCII letters, digits"),
        (["publish", "http://x", "-H", "Bad Name: x"], exits.USAGE, "hyphens, got 'Bad Name'"),
        (["publish", "http://x", "-d", "@"], exits.USAGE, "--body: expected the name of a file, or - for standard"),
        (["publish", "http://x", "--option", "Retris: 1"], exits.USAGE, "no option 'Retris'; did you mean Retries?"),
        (["publish", "http://x", "--option", "Upstash-Callback-Dely: 1"], exits.USAGE, "no option"),
        (["publish", "http://x", "--option", "zzz: 1"], exits.USAGE, "known are Callback, Content-Based"),
        (["groups", "defaults", "g", "--option", "Retris: 1"], exits.USAGE, "did you mean Retries?"),
        (["verify", "x", "--at", "abc"], exits.USAGE, "'--at': expected a whole number, got 'abc'"),
        (["audit", "--limit", "many"], exits.USAGE, "'--limit': expected a whole number from 1, got 'many'"),
        (["config", "show", "--mode", "prod"], exits.USAGE, "'--mode': expected one of dev, serve, got 'prod'"),
        (["completion", "powershell"], exits.USAGE, "'SHELL': expected one of bash, zsh, fish, got 'powershell'"),
        (["config", "show", "--config", "."], exits.USAGE, ".: cannot read it: Is a directory"),
        (["dlq", "export", "dead.xml"], exits.USAGE, "FILE: expected a name that ends .ndjson, .jsonl or .csv"),
        (["logs", "--export", "log.txt"], exits.USAGE, "or --format; got 'log.txt'"),
    ],
)
def test_error_is_one_line_and_an_exit_code(
    argv: Sequence[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script branches on the code, a person reads the line; nobody is shown a traceback."""
    assert main(argv) == code

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_config_show_prints_value_and_source_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read it too."""
    assert main(["config", "show", "--json", "-port=81"]) == exits.DONE

    shown = json.loads(capsys.readouterr().out)
    assert shown["port"] == {"value": "81", "source": "flag --port"}
    assert shown["quota"] == {"value": "none", "source": "default"}


def test_config_show_speaks_of_dev_too(capsys: pytest.CaptureFixture[str]) -> None:
    """The two commands have different defaults."""
    assert main(["config", "show", "--mode", "dev", "--json"]) == exits.DONE

    assert json.loads(capsys.readouterr().out)["quota"]["value"] == "payg"


def test_list_flags_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """As with curl's --resolve."""
    flags = ["--resolve", "a:1:::1,127.0.0.1", "--resolve", "b:2:1.1.1.1", "--host=::1", "--host=::"]
    assert main(["config", "show", "--json", *flags]) == exits.DONE

    shown = json.loads(capsys.readouterr().out)
    assert shown["resolve"]["value"] == "a:1:::1,127.0.0.1 b:2:1.1.1.1"
    assert shown["host"]["value"] == "::1,::"


def test_config_init_writes_a_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file somebody has edited is not replaced without being told to."""
    assert main(["config", "init"]) == exits.DONE
    assert tomllib.loads((tmp_path / "lateron.toml").read_text("utf-8")) == {}

    assert main(["config", "init"]) == exits.REFUSED
    assert main(["config", "init", "--force"]) == exits.DONE
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["s3cret\r", "s3cret\n", "s3\x07cret", "s3\tcret"])
def test_token_with_a_control_character_is_refused_and_never_shown(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from a file with line ends of Windows; what is printed may end in the log of a build."""
    for source, argv in (("--token", ["--token", token]), ("QSTASH_TOKEN", [])):
        monkeypatch.setenv("QSTASH_TOKEN", token)

        assert main(["queues", "list", *argv]) == exits.USAGE

        said = capsys.readouterr().err
        assert said == f"lateron: {source}: holds a line end or control character\n"


def test_value_of_a_header_with_a_line_end_is_refused_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Values may be secrets too."""
    assert main(["publish", "http://x", "-H", "Authorization: s3cret\r\nX: y"]) == exits.USAGE

    said = capsys.readouterr().err
    assert "header Upstash-Forward-Authorization: holds a line end or control character" in said
    assert "s3cret" not in said
