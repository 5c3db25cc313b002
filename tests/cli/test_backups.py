"""`lateron backup` of a running server, and `lateron restore`."""

from __future__ import annotations

import json
import stat
import threading
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.cli.conftest import Shell
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.cli import exits
from lateron.store.backup import COUNTS
from lateron.store.sqlite import APPLICATION_ID


@pytest.mark.promise("P-132")
def test_backup_of_a_running_server_is_restored_and_goes_on(tmp_path: Path, endpoint: Endpoint, shell: Shell) -> None:
    """What waited waits, what was under way is attempted again, schedules and tokens are there."""
    copy, place = tmp_path / "copy.db", tmp_path / "restored"
    with Server(tmp_path / "data") as server:
        there = ("--url", server.url)
        held = threading.Event()
        endpoint.answers(Answer(hold=held))
        under_way = shell.run("publish", endpoint.url, *there).strip()
        endpoint.wait_for_one()
        waiting = shell.run("publish", endpoint.url, "--delay", "1h", *there).strip()
        shell.run("schedule", "@daily", endpoint.url, "--id", "nightly", *there)
        token = shell.run("tokens", "create", "kept", "--scope", "read", *there).strip()

        made = shell.json("backup", str(copy), "--data-dir", str(server.data_dir))
        assert (made["rows"]["message"], made["rows"]["schedule"]) == (2, 1)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert "exists" in shell.refused("backup", str(copy), "--data-dir", str(server.data_dir))
        server.kill()
    held.set()

    assert "restored and verified" in shell.run("restore", str(copy), "--data-dir", str(place))
    with Server(place) as restored:
        delivered = ("--url", restored.url)
        until(
            lambda: shell.json("why", under_way, *delivered)["state"] == "DELIVERED", "the message that was under way"
        )
        assert shell.json("messages", "get", waiting, *delivered)["state"] == "CREATED"
        assert shell.json("schedules", "get", "nightly", *delivered)["scheduleId"] == "nightly"
        assert restored.call("GET", "/v2/queues", token=token).status == 200


def test_every_table_is_compared() -> None:
    """Rows of one that nobody counts could be missing."""
    made = apsw.Connection(":memory:")
    for step in sorted(files("lateron.store").joinpath("schema").iterdir(), key=lambda file: file.name):
        if step.name.endswith("_sqlite.sql"):
            made.execute(step.read_text("utf-8"))
    assert set(COUNTS) == {name for (name,) in made.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


@pytest.mark.promise("P-132")
def test_restore_touches_no_store_and_takes_no_damaged_copy(tmp_path: Path, shell: Shell) -> None:
    """A slip must not cost what is there; a damaged copy must not become a store."""
    copy, place = tmp_path / "copy.db", tmp_path / "restored"
    with Server(tmp_path / "data") as server:
        for number in range(20):
            shell.run("publish", "https://example.com", "-d", "x" * 5000 + str(number), "--delay", "1h",
                      "--url", server.url)  # fmt: skip
        shell.run("backup", str(copy), "--data-dir", str(server.data_dir))
        assert "there is a store" in shell.refused("restore", str(copy), "--data-dir", str(server.data_dir))

    damaged = bytearray(copy.read_bytes())
    for page in range(4, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    bad = tmp_path / "bad.db"
    bad.write_bytes(damaged)
    shell.refused("restore", str(bad), "--data-dir", str(place), code=exits.STORE)
    assert not place.exists()
    (tmp_path / "other.db").write_bytes(json.dumps({"no": "store"}).encode())
    assert "is no backup of Lateron" in shell.refused("restore", str(tmp_path / "other.db"), "--data-dir", str(place))
    assert "no file" in shell.refused("restore", str(tmp_path / "none.db"), "--data-dir", str(place))
    assert "no store" in shell.refused("backup", str(tmp_path / "x.db"), "--data-dir", str(tmp_path / "none"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.db", "copy.db", "data", "data.log", "other.db"]
    shell.run("restore", str(copy), "--data-dir", str(place))


def forbid(monkeypatch: pytest.MonkeyPatch, method: str, folder: Path) -> None:
    """Let a method of paths below a folder fail, as for a user who may not look there."""
    real = getattr(Path, method)

    def forbidden(path: Path, *given: Any, **named: Any) -> Any:
        if path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        return real(path, *given, **named)

    monkeypatch.setattr(Path, method, forbidden)


def test_wrong_path_is_refused_with_nothing_done(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page, a directory, a foreign database, a file in the way, one that we may not read: a sentence for each."""
    page, place = tmp_path / "README.md", str(tmp_path / "restored")
    page.write_text("# A page\n", "utf-8")
    foreign = apsw.Connection(str(tmp_path / "foreign.db"))
    foreign.execute("CREATE TABLE t (a)")
    foreign.close()
    with closing(apsw.Connection(str(tmp_path / "copy.db"))) as ours:
        ours.pragma("application_id", APPLICATION_ID)
        ours.execute("CREATE TABLE t (a)")

    for name in (page, tmp_path / "foreign.db"):
        assert f"FILE: {name} is no backup of Lateron" in shell.refused("restore", str(name), "--data-dir", place)
    assert "FILE: cannot read" in shell.refused("restore", str(tmp_path), "--data-dir", place)
    copy = str(tmp_path / "copy.db")
    assert "no store in" in shell.refused("tokens", "list", "--data-dir", str(page))
    assert "is no directory" in shell.refused("restore", copy, "--data-dir", str(page))
    assert "cannot make" in shell.refused("restore", copy, "--data-dir", str(page / "below"))
    forbid(monkeypatch, "open", tmp_path)
    assert "cannot read" in shell.refused("restore", copy, "--data-dir", place)
    for argv in (("tokens", "list"), ("backup", "x.db"), ("encryption", "status")):
        assert "cannot read the store in" in shell.refused(*argv, "--data-dir", place)
    monkeypatch.undo()
    forbid(monkeypatch, "exists", tmp_path)
    assert "cannot look into" in shell.refused("restore", copy, "--data-dir", place)
    monkeypatch.undo()
    assert not Path(place).exists()


def test_copy_is_not_written_to_a_pipe(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again before it counts; a file called - would be found by nobody."""
    monkeypatch.chdir(tmp_path)

    said = shell.refused("backup", "-", "--data-dir", str(tmp_path), code=exits.USAGE)

    assert "FILE: expected the name of a file" in said
    assert list(tmp_path.iterdir()) == []
