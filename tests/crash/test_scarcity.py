"""A server that is short of descriptors, or of memory, is refused nothing that it has promised (F-5, F-8, F-10)."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.tracing import Changed
from tests.crash.traffic import KINDS, Traffic
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Receiver
from tests.support.server import Server

DESCRIPTORS = 64
FEW_DESCRIPTORS = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))"

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
