"""`lateron encryption key`: a key is put into a file of keys, and into nothing else."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from lateron.cli import exits, main
from lateron.config import load

KEY = bytes(range(32))


def keys_of(path: Path) -> tuple[bytes, ...]:
    """Read a file as a server does."""
    return load("serve", {"encryption-key-file": str(path)}, {}).encryption_key


def key_file(path: Path) -> Path:
    path.write_text(f"{b64encode(KEY).decode()} # the first\n", "utf-8")
    path.chmod(0o600)
    return path


def test_new_key_stands_first_and_the_old_one_stays(tmp_path: Path) -> None:
    """The first encrypts, all decrypt; a new file is its owner's alone."""
    file = tmp_path / "keys"

    assert main(["encryption", "key", str(file)]) == exits.DONE
    (first,) = keys_of(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["encryption", "key", str(file)]) == exits.DONE

    assert keys_of(file)[1:] == (first,)


@pytest.mark.parametrize("content", [b"# A page\n\nIt is no key.\n", b"\xff\xfe", b"QUJD\n", b"# only a comment\n"])
def test_file_that_holds_no_keys_is_left_as_it_is(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One wrong word would make a page unreadable for others, and put a secret into it."""
    file = tmp_path / "README.md"
    file.write_bytes(content)
    file.chmod(0o644)

    assert main(["encryption", "key", str(file)]) == exits.USAGE

    assert "FILE: expected keys of 32 bytes in base64" in capsys.readouterr().err
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (content, 0o644)
    assert list(tmp_path.iterdir()) == [file]


def test_directory_is_no_file_of_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under each of its names, and a pipe, which would be read for ever."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for name in (".", str(tmp_path), "/", "pipe"):
        assert main(["encryption", "key", name]) == exits.USAGE
        assert f"{name} is something else; nothing was written" in capsys.readouterr().err


def test_empty_file_takes_its_first_key(tmp_path: Path) -> None:
    """As somebody makes it who sets the owner first."""
    file = tmp_path / "keys"
    file.touch(0o640)

    assert main(["encryption", "key", str(file)]) == exits.DONE

    assert len(keys_of(file)) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a file away")
def test_owner_group_and_mode_stay(tmp_path: Path) -> None:
    """The server runs as another user, who must be able to read the file after its next start."""
    file = key_file(tmp_path / "keys")
    file.chmod(0o640)
    os.chown(file, 65534, 65533)

    assert main(["encryption", "key", str(file)]) == exits.DONE

    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65533, 0o640)
    assert keys_of(file)[1:] == (KEY,)


def test_owner_that_cannot_be_kept_is_said_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever may not give the file back must not take it."""
    file = key_file(tmp_path / "keys")
    refuse: Callable[..., None] = _refused
    monkeypatch.setattr(os, "fchown", refuse)

    assert main(["encryption", "key", str(file)]) == exits.REFUSED

    assert "cannot write" in capsys.readouterr().err
    assert keys_of(file) == (KEY,)
    assert list(tmp_path.iterdir()) == [file]


def test_link_goes_on_leading_to_the_file(tmp_path: Path) -> None:
    """As container platforms mount secrets."""
    file = key_file(tmp_path / "keys")
    link = tmp_path / "link"
    link.symlink_to(file.name)

    assert main(["encryption", "key", str(link)]) == exits.DONE

    assert link.is_symlink()
    assert keys_of(file)[1:] == (KEY,)


def test_key_file_is_named_as_it_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The flag of this command is not that of the server."""
    argv = ["encryption", "rotate", "--data-dir", str(tmp_path), "--key-file", str(tmp_path / "k3")]

    assert main(argv) == exits.USAGE

    assert capsys.readouterr().err.startswith("lateron: --key-file: cannot read")


def _refused(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")
