"""Isolation on the real server: what hangs, and whoever floods, slows nobody else. Counts and order, no times."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.serving import delivered, publish
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import DEV_USERS, Server

FLOOD = 400


@contextmanager
def hanging() -> Iterator[Endpoint]:
    """An endpoint on a host of its own that takes requests and does not answer before the block ends."""
    go = threading.Event()
    with Receiver() as receiver:
        endpoint = receiver.endpoint()
        endpoint.answers(Answer(hold=go))
        try:
            yield endpoint
        finally:
            go.set()


def flood(server: Server, url: str, *, key: str | None = None, token: str | None = None) -> None:
    """Publish a backlog to one destination."""
    item: dict[str, object] = {"destination": url, "body": "x", "headers": {"Upstash-Retries": "0"}}
    if key is not None:
        item["headers"] = {"Upstash-Flow-Control-Key": key, "Upstash-Flow-Control-Value": "parallelism=100"}
    body = json.dumps([item] * FLOOD).encode()
    reply = server.call("POST", "/v2/batch", body, [("Content-Type", "application/json")], token)
    assert reply.status == 201, reply.text[:300]


@pytest.mark.promise("P-114")
def test_a_destination_that_hangs_slows_neither_another_nor_another_user(tmp_path: Path) -> None:
    """Plain and keyed messages to it together never take more places than one host may have."""
    flags = ("--concurrency=40", "--host-parallelism=5", "--drain=0s")
    with Server(tmp_path / "data", *flags) as server, hanging() as stuck, Receiver() as receiver:
        quick = receiver.endpoint()
        flood(server, stuck.url)
        flood(server, stuck.url, key="k")
        stuck.wait_for(5)
        for token in (None, DEV_USERS[1].token):
            reply = server.call("POST", f"/v2/publish/{quick.url}", b"hi", token=token)
            assert reply.status == 201
        quick.wait_for(2)
        message = publish(server, quick.url, ("Upstash-Flow-Control-Key", "other"), ("Upstash-Delay", "1s"))
        until(lambda: delivered(server, message), "the delayed message to be delivered")

        assert len(stuck.requests) == 5
        (waiting,) = server.call("GET", "/v2/messages?flowControlKey=k&count=1").json["messages"]
        assert (waiting["waitingFor"], waiting["heldBy"]) == ("host_cap", stuck.url.split("/")[2])
        assert waiting["placeInLine"] > 1


@pytest.mark.promise("P-114", "P-115")
def test_a_user_whose_receivers_all_hang_leaves_places_to_others(tmp_path: Path) -> None:
    """Three hosts that hang could take every place; the user behind them may not."""
    flags = ("--concurrency=8", "--host-parallelism=4", "--drain=0s")
    with Server(tmp_path / "data", *flags) as server, hanging() as one, hanging() as two, hanging() as three:
        for endpoint in (one, two, three):
            flood(server, endpoint.url)
        until(lambda: sum(len(e.requests) for e in (one, two, three)) >= 6, "three quarters of the places to be taken")
        with Receiver() as receiver:
            quick = receiver.endpoint()
            reply = server.call("POST", f"/v2/publish/{quick.url}", b"hi", token=DEV_USERS[1].token)
            assert reply.status == 201
            quick.wait_for(1)
        assert sum(len(e.requests) for e in (one, two, three)) == 6


@pytest.mark.promise("P-118")
def test_the_api_answers_while_no_delivery_has_a_place(tmp_path: Path) -> None:
    """Publish, look, pause, cancel: none of them waits for a receiver."""
    flags = ("--concurrency=2", "--drain=0s")
    with Server(tmp_path / "data", *flags) as server, hanging() as stuck:
        flood(server, stuck.url)
        stuck.wait_for(2)

        message = publish(server, stuck.url)
        assert server.call("GET", f"/v2/messages/{message}").json["waitingFor"] in {"global_parallelism", "host_cap"}
        assert server.call("POST", "/v2/flowControl/k/pause").json["isPaused"] is True
        assert server.call("GET", "/v2/globalParallelism").json == {"parallelismMax": 2, "parallelismCount": 2}
        assert server.call("DELETE", "/v2/messages").json == {"cancelled": FLOOD + 1}
        assert server.call("GET", "/readyz").status == 200
        assert len(stuck.requests) == 2


@pytest.mark.promise("P-118")
def test_deliveries_go_out_while_the_api_is_crowded(tmp_path: Path) -> None:
    """Hundreds of clients that begin a request and do not go on take no place of a delivery."""
    with Server(tmp_path / "data") as server, Receiver() as receiver:
        endpoint = receiver.endpoint()
        message = publish(server, endpoint.url, ("Upstash-Delay", "1s"), ("Upstash-Retries", "0"))
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        for n, connection in enumerate(crowd):
            connection.sendall(b"POST /v2/publish/http://h/ HTTP/1.1\r\nHost: a\r\n"[: 10 + n % 40])
        try:
            endpoint.wait_for(1)
            until(lambda: delivered(server, message), "the delivery to be recorded")
        finally:
            for connection in crowd:
                connection.close()


def test_a_message_for_a_queue_too_many_is_refused_in_its_place(tmp_path: Path) -> None:
    """The rest of the batch is stored; alone it is answered 412."""
    with Server(tmp_path / "data", "--quota=free") as server:
        items = [
            {"destination": "http://127.0.0.1:9/", "queue": f"q{n}", "headers": {"Upstash-Delay": "1h"}}
            for n in range(12)
        ]
        reply = server.call("POST", "/v2/batch", json.dumps(items).encode(), [("Content-Type", "application/json")])

        assert reply.status == 201
        assert ["messageId" in answer for answer in reply.json] == [True] * 10 + [False] * 2
        assert all("queues: the quota allows at most 10" in answer["error"] for answer in reply.json[10:])
        alone = server.call("POST", "/v2/enqueue/q11/http://127.0.0.1:9/", b"x")
        assert (alone.status, alone.json["error"]) == (412, "queues: the quota allows at most 10, got 11")
        assert len(server.call("GET", "/v2/queues").json) == 10
