"""One call that holds everything: a URL, a group, a queue, and a group through a queue.

The documentation's page on batches puts messages to URLs, to URL groups and into queues side by side. The
answers stand in the order of the items, one object for a URL, a list for a group; a bad item is answered in
its place and touches no other.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from qstash import QStash
from qstash.message import BatchResponse
from tests.support.clients import story
from tests.support.receiver import Receiver
from tests.support.server import Server


@pytest.mark.promise("P-60", "P-90", "P-91")
def test_a_batch_mixes_url_group_and_queue(client: QStash, receiver: Receiver) -> None:
    """Every message goes its own way, and those of the queue go in the order of the array."""
    alone, one, two, line = (receiver.endpoint() for _ in range(4))
    group, queue = "mixed-group", "mixed-queue"
    client.url_group.upsert_endpoints(group, [{"url": one.url, "name": "one"}, {"url": two.url}])
    client.queue.upsert(queue, paused=True)
    items: Any = [
        {"url": alone.url, "body": {"to": "url"}, "retries": 1, "headers": {"X-Item": "0"}},
        {"url_group": group, "body": {"to": "group"}, "label": "mixed"},
        {"url": line.url, "queue": queue, "body": {"to": "queue", "n": 1}},
        {"url_group": group, "queue": queue, "body": {"to": "both"}},
        {"url": line.url, "queue": queue, "body": {"to": "queue", "n": 2}, "flow_control": {"key": "k", "rate": 5}},
    ]

    answers = client.message.batch_json(items)

    assert [isinstance(answer, BatchResponse) for answer in answers] == [True, False, True, False, True]
    assert [[message.url for message in answer] for answer in answers if isinstance(answer, list)] == [
        [one.url, two.url],
        [one.url, two.url],
    ]
    assert client.queue.get(queue).lag == 4
    client.queue.resume(queue)
    ids = [message.message_id for answer in answers for message in (answer if isinstance(answer, list) else [answer])]
    assert len(set(ids)) == 7
    for message_id in ids:
        assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    assert alone.wait_for_one().header("X-Item") == "0"
    assert [request.json["to"] for request in one.requests] == ["group", "both"]
    assert [request.json["to"] for request in two.requests] == ["group", "both"]
    assert [request.json["n"] for request in line.requests] == [1, 2]
    in_queue = [log for log in client.log.list(filter={"queue": queue}).logs if log.state.value == "ACTIVE"]
    assert [log.message_id for log in reversed(in_queue)] == ids[3:]
    assert [client.message.get(one).queue for one in ids] == [None] * 3 + [queue] * 4
    client.queue.delete(queue)
    client.url_group.delete(group)


@pytest.mark.promise("P-91")
def test_a_bad_item_leaves_no_gap_in_the_queue(server: Server, receiver: Receiver, client: QStash) -> None:
    """A group that is not there, a queue that cannot be, an option without sense: each says so in its place."""
    line, queue = receiver.endpoint(), "mixed-with-bad"
    items = [
        {"destination": line.url, "queue": queue, "body": "1"},
        {"destination": "mixed-missing", "queue": queue, "body": "2"},
        {"destination": line.url, "queue": "no such name!", "body": "3"},
        {"destination": line.url, "queue": queue, "headers": {"Upstash-Retries": "some"}, "body": "4"},
        {"destination": line.url, "queue": queue, "body": "5"},
    ]

    reply = server.call("POST", "/v2/batch", json.dumps(items).encode())

    said = ["", "mixed-missing", "queue", "Upstash-Retries", ""]
    assert reply.status == 201, reply.text
    assert [text in str(answer.get("error", "")) for text, answer in zip(said, reply.json, strict=True)] == [True] * 5
    assert ["error" in answer for answer in reply.json] == [False, True, True, True, False]
    line.wait_for(2)
    assert [request.text for request in line.requests] == ["1", "5"]
    assert story(client, reply.json[4]["messageId"])[-1] == "DELIVERED"
    assert client.queue.get(queue).lag == 0
    client.queue.delete(queue)
