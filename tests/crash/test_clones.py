"""Two servers that were one: a machine that is cloned while it works, and one whose chance repeats itself (F-7)."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.crash.disk import library, require_gcc
from tests.serving import delivered, publish, refused, standing
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

from lateron.cli import exits
from lateron.store.sqlite import FILE

RANDOMNESS = Path(__file__).with_name("randomness.c")
DELAYED = ("Upstash-Delay", "1h")


class Snapshot(Server):
    """A server on a machine that draws the same random numbers in each of its lives."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "LD_PRELOAD": str(library(RANDOMNESS))}


def nodes(server: Server) -> list[int]:
    """Return the numbers of all starts that the store of a server knows, and has not forgotten."""
    path = str(server.data_dir / FILE)
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return [int(str(number)) for (number,) in connection.execute("SELECT id FROM node ORDER BY started")]


@pytest.mark.promise("P-1", "P-22", "P-134", "F-7")
def test_a_machine_that_is_cloned_while_it_works_is_two_servers(tmp_path: Path) -> None:
    """With an attempt open, lock file and all: each delivers what it has, under its own number, and harms no other."""
    gate = threading.Event()
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        slow = receiver.endpoint()
        slow.answers(Answer(hold=gate))
        under_way, waiting = publish(server, slow.url), publish(server, slow.url, DELAYED)
        slow.wait_for(1)
        with standing(server):
            shutil.copytree(tmp_path / "data", tmp_path / "clone")

        with Server(tmp_path / "clone") as clone:
            slow.wait_for(2)
            gate.set()
            later = {each: [publish(each, slow.url, DELAYED) for _ in range(20)] for each in (server, clone)}
            for each in (server, clone):
                until(lambda: delivered(each, under_way), "the delivery")  # noqa: B023 # Waits here.
                assert each.call("GET", f"/v2/messages/{waiting}").status == 200
            assert [request.header("Upstash-Message-Id") for request in slow.requests] == [under_way] * 2
            assert not set(later[server]) & set(later[clone])
            assert [each.call("GET", f"/v2/messages/{later[server][0]}").status for each in (server, clone)] == [
                200,
                404,
            ]
            (one,), (same, other) = nodes(server), nodes(clone)
            assert one == same != other


@pytest.mark.promise("P-1", "P-11", "P-134", "F-7")
def test_a_start_that_draws_the_random_numbers_of_the_last_one_is_another(tmp_path: Path) -> None:
    """A snapshot on a volume that lives on: what the process before it held is rescued, though both drew the same."""
    require_gcc()
    gate = threading.Event()
    with Receiver() as receiver, Snapshot(tmp_path / "data") as server:
        slow = receiver.endpoint()
        slow.answers(Answer(hold=gate), Answer())
        held = publish(server, slow.url)
        slow.wait_for(1)
        code, printed = refused(tmp_path / "data", environ={"LD_PRELOAD": str(library(RANDOMNESS))})
        assert code == exits.LOCKED, printed

        server.restart(crash=True)

        until(lambda: delivered(server, held), "the delivery")
        assert publish(server, slow.url) != held
        assert len(set(nodes(server))) == 2
        gate.set()
