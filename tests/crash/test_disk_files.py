"""The files of a store are moved away, deleted or replaced under a working server (F-15)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving import ended, publish
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.cli import exits


def delete(file: Path) -> None:
    file.unlink()


def move(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


def replace(file: Path) -> None:
    """Put a copy in its place, as a restore or a synchronising program does."""
    shutil.copy(file, file.with_name("copy"))
    file.with_name("copy").rename(file)


@pytest.mark.promise("P-8", "D-83", "F-15")
@pytest.mark.parametrize("name", ["lateron.db", "lateron.db-wal"])
@pytest.mark.parametrize("harm", [delete, move, replace])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    tmp_path: Path, harm: Callable[[Path], None], name: str
) -> None:
    """SQLite would go on writing to a file without a name, and all of it would be lost at the end."""
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        endpoint = receiver.endpoint()
        publish(server, endpoint.url, ("Upstash-Delay", "1h"))
        harm(tmp_path / "data" / name)

        reply = server.call("POST", f"/v2/publish/{endpoint.url}", b"too late", [("Upstash-Delay", "1h")])

        assert reply.status == 503
        assert ended(server) == exits.STORE
        assert "was deleted, moved or replaced" in server.log
