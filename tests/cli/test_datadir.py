"""Nobody but its owner reads the data directory."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lateron.cli.datadir import prepare
from lateron.config import Command, InvalidSettings, Settings, load


@pytest.fixture(autouse=True)
def _umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin with the ordinary umask of a machine, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    yield
    os.umask(before)


def settings(command: Command, **flags: str) -> Settings:
    return load(command, {name.replace("_", "-"): value for name, value in flags.items()}, {})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.promise("D-62")
def test_dev_makes_its_directory_closed_and_out_of_git(tmp_path: Path) -> None:
    """Messages of a developer's machine are never committed by accident."""
    directory = prepare(settings("dev"))

    assert directory == tmp_path / ".lateron"
    assert mode(directory) == 0o700
    assert (directory / ".gitignore").read_text("utf-8").splitlines()[-1] == "*"


@pytest.mark.promise("D-62")
def test_what_the_server_writes_later_is_closed_too(tmp_path: Path) -> None:
    """SQLite makes its side files itself, with the umask of the process."""
    directory = prepare(settings("dev"))
    assert directory is not None

    (directory / "lateron.db-wal").touch()

    assert mode(directory / "lateron.db-wal") == 0o600
    assert tmp_path in directory.parents


@pytest.mark.promise("D-62")
def test_directory_that_lay_open_is_refused_with_the_way_to_close_it(tmp_path: Path) -> None:
    """What was in it may have been read; the operator must know, so nothing is mended in silence."""
    opened = tmp_path / "data"
    opened.mkdir(0o755)
    (opened / "lateron.db").touch(0o600)

    with pytest.raises(InvalidSettings, match=f"chmod 700 {opened}"):
        prepare(settings("serve", data_dir=str(opened)))


@pytest.mark.promise("D-62")
def test_store_file_that_lay_open_is_refused(tmp_path: Path) -> None:
    """As after copying a backup back."""
    directory = tmp_path / "data"
    directory.mkdir(0o700)
    (directory / "lateron.db").touch(0o644)

    with pytest.raises(InvalidSettings, match="chmod 600"):
        prepare(settings("serve", data_dir=str(directory)))


@pytest.mark.promise("D-62")
def test_empty_directory_is_closed(tmp_path: Path) -> None:
    """A volume is mounted with the mode of its image; nothing was in it to be read."""
    directory = tmp_path / "data"
    directory.mkdir(0o755)

    prepare(settings("serve", data_dir=str(directory)))

    assert mode(directory) == 0o700


def test_serve_without_a_directory_is_refused() -> None:
    """Production data must not depend on where the command was started."""
    with pytest.raises(InvalidSettings, match="--data-dir"):
        prepare(settings("serve"))


def test_ephemeral_touches_no_disk(tmp_path: Path) -> None:
    """Not even for an empty directory."""
    assert prepare(settings("dev", ephemeral="true")) is None
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A file in the way, a read-only disk: a sentence, no traceback."""
    (tmp_path / "file").touch()

    with pytest.raises(InvalidSettings, match="data-dir"):
        prepare(settings("serve", data_dir=str(tmp_path / "file" / "data")))


@pytest.mark.parametrize("closed", ["data", "lateron.db", "open wide"])
def test_directory_of_somebody_else_is_refused_with_his_name(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No start helps until somebody acts; a service that is started again for ever hides that."""
    directory = tmp_path / "data"
    directory.mkdir(0o700)
    (directory / "lateron.db").touch(0o600)
    if closed == "open wide":
        directory.chmod(0o755)
    us, they = 54321, directory.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: us)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != closed)

    with pytest.raises(InvalidSettings, match="belongs to") as caught:
        prepare(settings("serve", data_dir=str(directory)))

    said = str(caught.value)
    assert f"belongs to {pwd.getpwuid(they).pw_name}, and this process runs as {us}" in said
    assert f"chown -R {us} {directory}" in said
    assert mode(directory) == (0o755 if closed == "open wide" else 0o700)


def test_directory_that_a_group_shares_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it is matters only where it is closed to us."""
    directory = tmp_path / "data"
    directory.mkdir(0o770)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "access", lambda *_: True)

    assert prepare(settings("serve", data_dir=str(directory))) == directory
