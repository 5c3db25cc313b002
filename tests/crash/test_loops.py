"""A receiver that publishes to us while it handles our request, as every workflow of plain messages does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.poll import until
from tests.support.receiver import Answer, Received, Receiver
from tests.support.server import Reply, Server

LONGEST_CHAIN = 16  # Deliveries that may lead to a publish.


@pytest.mark.promise("F-40", "D-33")
def test_a_circle_of_deliveries_ends_if_the_receiver_passes_the_count_on(tmp_path: Path) -> None:
    """Two services that answer each other would otherwise fill the disk; each link is still delivered."""
    statuses: list[int] = []
    with Server(tmp_path / "data") as server, Receiver() as receiver:
        endpoint = receiver.endpoint()

        def publish_again(request: Received) -> Answer:
            hops = ("Lateron-Hops", request.header("Lateron-Hops"))
            statuses.append(server.call("POST", f"/v2/publish/{endpoint.url}", request.body, [hops]).status)
            return Answer()

        endpoint.answer_by(publish_again)
        assert server.call("POST", f"/v2/publish/{endpoint.url}", b"round and round").status == 201

        requests = endpoint.wait_for(LONGEST_CHAIN + 1)

    assert [request.header("Lateron-Hops") for request in requests] == [str(n + 1) for n in range(LONGEST_CHAIN + 1)]
    assert statuses == [201] * LONGEST_CHAIN + [400]


@pytest.mark.promise("F-40")
def test_our_own_api_is_no_destination(tmp_path: Path) -> None:
    """Whatever token it held: a message must not be able to publish. A name is judged when it is resolved."""
    with Server(tmp_path / "data") as server:

        def publish_to(host: str) -> Reply:
            target = f"http://{host}:{server.port}/v2/publish/http://127.0.0.1:1/"
            return server.call("POST", f"/v2/publish/{target}", b"", [("Upstash-Retries", "0")])

        for address in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
            reply = publish_to(address)
            assert (reply.status, "this server itself" in reply.text) == (400, True), reply.text

        named = publish_to("localhost").json["messageId"]
        (dead,) = until(lambda: server.call("GET", f"/v2/dlq?messageId={named}").json["messages"], "it to fail")
        assert "this server itself" in dead["error"]
