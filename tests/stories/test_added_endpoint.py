"""A workflow tool subscribes to a topic: it makes an address of its own and adds it as an endpoint.

The story of Pipedream's trigger "create topic endpoint". The tool is given a token, lists the topics, lets its
user choose one, adds its address, and hears every message published from then on; switched off, it takes its
address out again. Its user is warned not to publish to the topic he listens to; here that circle ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from qstash import QStash
from tests.support.genuine import assert_genuine
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Received, Receiver
from tests.support.server import Reply, Server

LONGEST_CHAIN = 16  # Deliveries that may lead to a publish, in each of which the receiver passes the count on.


class Tool:
    """The calls that such a tool makes, without a client library."""

    def __init__(self, server: Server, topic: str, endpoint: Endpoint) -> None:
        self._server, self._topic, self.endpoint = server, topic, endpoint

    def choices(self) -> list[str]:
        """Return what its user may choose from."""
        return [group["name"] for group in self._ask("GET", "/v2/topics").json]

    def switch_on(self) -> Reply:
        """Add its address."""
        return self._ask("POST", f"/v2/topics/{self._topic}/endpoints", {"endpoints": [{"url": self.endpoint.url}]})

    def switch_off(self) -> Reply:
        """Take its address out."""
        return self._ask("DELETE", f"/v2/topics/{self._topic}/endpoints", {"endpoints": [{"url": self.endpoint.url}]})

    def _ask(self, method: str, path: str, body: Any = None) -> Reply:
        content = None if body is None else json.dumps(body).encode()
        return self._server.call(method, path, content, [("Content-Type", "application/json")])


@pytest.fixture
def topic(client: QStash, receiver: Receiver) -> Iterator[str]:
    """A topic with one endpoint, which was there before the tool."""
    endpoint = receiver.endpoint()
    name = f"topic{endpoint.path.replace('/', '-')}"
    client.url_group.upsert_endpoints(name, [{"url": endpoint.url, "name": "ours"}])
    yield name
    client.url_group.delete(name)


@pytest.mark.promise("P-90", "P-106")
def test_a_tool_hears_what_is_published_while_it_is_switched_on(
    client: QStash, server: Server, receiver: Receiver, topic: str
) -> None:
    """Switched on twice it hears each message once; switched off it hears no more, and the others go on."""
    tool = Tool(server, topic, receiver.endpoint())
    assert topic in tool.choices()
    before = client.message.publish(url_group=topic, body="before")
    assert [tool.switch_on().status, tool.switch_on().status] == [200, 200]

    during = client.message.publish_json(url_group=topic, body={"hello": "tool"})
    request = tool.endpoint.wait_for_one()
    assert tool.switch_off().status == 200
    after = client.message.publish(url_group=topic, body="after")

    assert request.json == {"hello": "tool"}
    assert request.header("Upstash-Topic-Name") == topic
    assert_genuine(request, tool.endpoint.url, server.user)
    assert isinstance(before, list)
    assert isinstance(during, list)
    assert isinstance(after, list)
    assert [len(answer) for answer in (before, during, after)] == [1, 2, 1]
    (ours,) = client.url_group.get(topic).endpoints
    assert ours.name == "ours"
    assert tool.endpoint.requests == [request]
    assert tool.switch_off().status < 500


@pytest.mark.promise("F-40", "P-90")
def test_a_tool_that_publishes_to_its_own_topic_ends_in_no_endless_circle(
    client: QStash, server: Server, receiver: Receiver, topic: str
) -> None:
    """The chain is cut if it passes on the count it was given; the other endpoint hears as much as the tool."""
    tool, statuses = Tool(server, topic, receiver.endpoint()), list[int]()
    (ours,) = client.url_group.get(topic).endpoints

    def publish_again(request: Received) -> Answer:
        hops = ("Lateron-Hops", request.header("Lateron-Hops"))
        statuses.append(server.call("POST", f"/v2/publish/{topic}", request.body, [hops]).status)
        return Answer()

    tool.endpoint.answer_by(publish_again)
    tool.switch_on()
    client.message.publish(url_group=topic, body="round and round")

    tool.endpoint.wait_for(LONGEST_CHAIN + 1)
    until(lambda: len(statuses) == LONGEST_CHAIN + 1, "the last publish to be answered")
    assert statuses == [201] * LONGEST_CHAIN + [400]
    others = receiver._endpoints[ours.url.removeprefix(receiver.origin)]
    assert len(others.wait_for(LONGEST_CHAIN + 1)) == LONGEST_CHAIN + 1
