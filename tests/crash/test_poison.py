"""A message whose delivery kills the real process, again and again: the server gets rid of it by itself (P-31)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.serving import delivered, publish
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

LIMIT = 5  # The default.


@pytest.mark.promise("P-31")
def test_a_message_that_kills_the_server_becomes_a_dead_letter_and_no_other_does(tmp_path: Path) -> None:
    """It is killed whenever the one receiver is called; three others were in flight each time, and are delivered."""
    gate = threading.Event()
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        poison, innocent = receiver.endpoint(), receiver.endpoint()
        poison.answers(Answer(hold=gate))
        innocent.answers(Answer(hold=gate))
        guilty = publish(server, poison.url, ("Upstash-Retries", "100"))
        others = [publish(server, innocent.url) for _ in range(3)]
        for death in range(1, LIMIT + 1):
            poison.wait_for(death)
            innocent.wait_for(3 * death)
            server.restart(crash=True)

        poison.wait_for(LIMIT + 1)
        told = [server.call("GET", f"/lateron/v1/messages/{message}").json for message in (guilty, *others)]
        assert [message.get("waitingFor") for message in told] == [None, *["set_apart"] * 3]
        assert len(innocent.requests) == 3 * LIMIT, "another attempt was open beside that of a suspect"
        innocent.answers(Answer())
        server.restart(crash=True)

        until(lambda: all(delivered(server, message) for message in others), "the others to be delivered")
        (letter,) = server.call("GET", "/v2/dlq").json["messages"]
        story = server.call("GET", f"/lateron/v1/messages/{guilty}").json
        gate.set()

    assert letter["messageId"] == guilty
    assert [attempt["errorClass"] for attempt in story["attempts"]] == [*["node-lost"] * LIMIT, "crash-loop"]
    assert len(poison.requests) == LIMIT + 1
    assert len(innocent.requests) == 3 * LIMIT + 3


@pytest.mark.promise("P-31")
def test_restarts_in_order_suspect_nobody(tmp_path: Path) -> None:
    """A deployment an hour, and a receiver that takes days: it is broken off each time, and held against nobody."""
    gate = threading.Event()
    with Receiver() as receiver, Server(tmp_path / "data", "--drain=0s", "--crash-limit=1") as server:
        slow = receiver.endpoint()
        slow.answers(Answer(hold=gate))
        message = publish(server, slow.url)
        for stop in range(1, 4):
            slow.wait_for(stop)
            server.restart(crash=False)
        slow.answers(Answer())
        gate.set()
        until(lambda: delivered(server, message), "the delivery")

        assert server.call("GET", "/v2/dlq").json["messages"] == []
