"""A server short of descriptors or memory, or started in an odd place, keeps its promises (F-5, F-8, F-10)."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.crash.checker import check
from tests.crash.memory import cgroup
from tests.crash.tracing import Changed
from tests.crash.traffic import KINDS, Traffic
from tests.serving import delivered, ended
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Receiver
from tests.support.server import Server

DESCRIPTORS = 64
FEW_DESCRIPTORS = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))"

ROUNDS = 2
MEMORY_LEFT = 60 << 20  # Bytes that the server may use beyond what it has.
LARGE = 9 << 20

QUICK = tuple(kind for kind in KINDS if kind.path != "/slow")  # Which would hold descriptors of their own.

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
@pytest.mark.promise("P-1", "P-20", "P-21", "P-22", "P-40", "P-41", "P-50", "P-118", "P-119", "F-8")
def test_a_server_without_descriptors_goes_on_and_charges_nobody(tmp_path: Path) -> None:
    """Idle clients have taken them all: known clients are served, the store has its files, and no retry is lost."""
    scarce = Changed(tmp_path / "data")
    scarce.code = FEW_DESCRIPTORS
    with scarce as server, Traffic(server, seed=41, kinds=QUICK) as traffic, Receiver() as another:
        endpoint = another.endpoint()
        traffic.wait(lambda: traffic.acknowledged >= 20, "answers")
        client = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        client.connect()
        hoard = take_all(server)

        headers = {"Authorization": f"Bearer {server.token}", "Upstash-Retries": "0"}
        client.request("POST", f"/v2/publish/{endpoint.url}", b"one attempt only", headers)
        message = json.loads(client.getresponse().read())["messageId"]
        until(lambda: "RETRY" in asked(client, message, headers), "an attempt without a descriptor")
        answers = traffic.acknowledged
        traffic.wait(lambda: traffic.acknowledged >= answers + 20, "answers to those who are connected")
        for idle in hoard:
            idle.close()

        until(lambda: "DELIVERED" in asked(client, message, headers), "the delivery")
        assert endpoint.wait_for_one().header("Upstash-Retried") == "0"
        client.close()
        history = traffic.finish()

    others = {name: life for name, life in history.lives.items() if name != message}
    report = check(replace(history, lives=others))
    assert report.violations == (), str(report)
    assert report.repeats == 0
    assert not traffic.refusals


def take_all(server: Server) -> list[socket.socket]:
    """Open connections until the server has no descriptor left."""
    hoard: list[socket.socket] = []

    def exhausted() -> bool:
        hoard.append(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S))
        return len(list(Path(f"/proc/{server.pid}/fd").iterdir())) >= DESCRIPTORS

    until(exhausted, "the server to have no descriptor left")
    return hoard


def asked(client: HTTPConnection, message: str, headers: dict[str, str]) -> list[str]:
    """Ask for the states of a message over a connection that is open."""
    client.request("GET", f"/v2/events?messageId={message}", headers=headers)
    answer = client.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    return [event["state"] for event in json.loads(text)["events"]]


@linux
@pytest.mark.promise("P-1", "P-2", "P-4", "P-20", "P-21", "P-22", "P-50", "P-51", "F-5")
def test_a_server_that_runs_out_of_memory_loses_nothing(tmp_path: Path) -> None:
    """The kernel kills it in the middle of large publishes; each of them is there whole, or was never answered."""
    greedy = Changed(tmp_path / "data")
    stored: list[str] = []
    with cgroup() as group, Receiver() as another:
        greedy.code = group.joining
        endpoint = another.endpoint()
        with greedy as server, Traffic(server, seed=42) as traffic:
            for _ in range(ROUNDS):
                answers = traffic.acknowledged
                traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")  # noqa: B023 # Waits here.
                group.limit(group.used + MEMORY_LEFT)
                stored += publish_large(server, endpoint.url)
                assert ended(server) == -signal.SIGKILL
                traffic.going_down()
                traffic.crashed()
                group.limit(None)
                server.start()
                traffic.back()
            cancelled = [server.call("DELETE", f"/v2/messages/{message}").status for message in stored]
            # Some may be stored whose answer was lost with the process; they too would wait for their hour.
            assert server.call("DELETE", f"/v2/messages?url={quote(endpoint.url)}").status == 200
            history = traffic.finish()

    own = {publish.body for publish in history.publishes}
    others = {name: life for name, life in history.lives.items() if life.body in own or life.source}
    report = check(replace(history, lives=others))
    assert report.violations == (), str(report)
    assert len(history.crashes) == ROUNDS
    assert set(cancelled) <= {200}


def publish_large(server: Server, url: str) -> list[str]:
    """Publish large bodies from many threads until the server is gone; return the ids that were answered."""
    answered: list[str] = []

    def publish() -> None:
        with suppress(OSError, HTTPException):
            while True:
                reply = server.call("POST", f"/v2/publish/{url}", bytes(LARGE), [("Upstash-Delay", "1h")])
                answered.append(reply.json["messageId"])

    threads = [threading.Thread(target=publish) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answered


class Bare(Server):
    """A server whose environment says next to nothing, and that wrongly."""

    @property
    def command(self) -> Sequence[str]:
        run = "import os, sys; os.umask(0o777); from lateron.cli import main; sys.exit(main(sys.argv[1:]))"
        return [sys.executable, "-c", run, self.mode]

    def _environment(self) -> dict[str, str]:
        path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return {**path, "LC_ALL": "C", "TZ": "Nowhere/Nothing", "TMPDIR": "/nonexistent", "PYTHONUNBUFFERED": "1"}


@pytest.mark.promise("P-12", "D-62", "F-10")
def test_an_odd_environment_changes_nothing(tmp_path: Path) -> None:
    """No home, no locale, a zone that does not exist, a umask that forbids all: a container, a unit file, cron."""
    with Receiver() as receiver, Bare(tmp_path / "data") as server:
        endpoint = receiver.endpoint()
        body = "ünïcödé ✓".encode()
        reply = server.call("POST", f"/v2/publish/{endpoint.url}", body, [("Upstash-Label", "caf\xc3\xa9")])
        assert reply.status == 201, reply.text
        assert endpoint.wait_for_one().body == body
        until(lambda: delivered(server, reply.json["messageId"]), "the delivery")
        server.restart(crash=False)
        assert delivered(server, reply.json["messageId"])
    assert stat.S_IMODE((tmp_path / "data" / "lateron.db").stat().st_mode) == 0o600
