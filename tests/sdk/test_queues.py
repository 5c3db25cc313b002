"""Queues with the official Python SDK."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from qstash import QStash
from qstash.errors import QStashError
from tests.sdk.conftest import Alone
from tests.support.clients import story
from tests.support.receiver import Answer, Endpoint, Receiver


def enqueue(client: QStash, *, json: bool = False, **options: Any) -> str:
    """Enqueue one message and return its id."""
    sent = client.message.enqueue_json(**options) if json else client.message.enqueue(**options)
    assert not isinstance(sent, list)
    return sent.message_id


@pytest.fixture
def queue(client: QStash) -> Iterator[str]:
    """The name of a queue that no other test has; with what nanoid puts into names."""
    name = f"q-_.{uuid4().hex}"
    yield name
    client.queue.delete(name)


def test_a_queue_is_made_configured_and_deleted(client: QStash, queue: str) -> None:
    """The SDK sends both settings each time, so what it does not name is set to its default."""
    client.queue.upsert(queue, parallelism=3)
    made = client.queue.get(queue)
    assert (made.name, made.parallelism, made.lag, made.paused) == (queue, 3, 0, False)
    assert made.created_at <= made.updated_at

    client.queue.upsert(queue, paused=True)
    changed = client.queue.get(queue)
    assert (changed.parallelism, changed.paused, changed.created_at) == (1, True, made.created_at)
    assert queue in [one.name for one in client.queue.list()]

    client.queue.delete(queue)
    assert queue not in [one.name for one in client.queue.list()]
    with pytest.raises(QStashError, match="status: 404"):
        client.queue.get(queue)


def test_all_queues_can_be_deleted(alone: Alone) -> None:
    """And the list is empty at once."""
    for name in ("a", "b"):
        alone.client.queue.upsert(name, paused=True)
        alone.client.message.enqueue(queue=name, url="https://example.com/")
    for one in alone.client.queue.list():
        alone.client.queue.delete(one.name)

    assert alone.client.queue.list() == []


@pytest.mark.promise("P-60", "P-61")
def test_enqueued_messages_arrive_one_after_another(client: QStash, endpoint: Endpoint, queue: str) -> None:
    """The first one's retry included."""
    endpoint.answers(Answer(500), Answer(200))
    for number in range(4):
        client.message.enqueue(queue=queue, url=endpoint.url, body=str(number), retry_delay="100")

    endpoint.wait_for(5)
    assert [request.body for request in endpoint.requests] == [b"0", b"0", b"1", b"2", b"3"]


@pytest.mark.promise("P-61")
def test_the_next_message_waits_for_the_callback(client: QStash, receiver: Receiver, queue: str) -> None:
    """While the callback's receiver keeps us waiting, nothing of the queue goes out."""
    endpoint, callback, released = receiver.endpoint(), receiver.endpoint(), threading.Event()
    callback.answers(Answer(200, hold=released))
    first = enqueue(client, queue=queue, url=endpoint.url, body="a", callback=callback.url)
    second = enqueue(client, queue=queue, url=endpoint.url, body="b")
    try:
        callback.wait_for(1)
        assert [request.body for request in endpoint.requests] == [b"a"]
        assert client.queue.get(queue).lag == 1
        assert client.message.get(second).queue == queue
    finally:
        released.set()
    endpoint.wait_for(2)
    assert b'"queueName"' in callback.requests[0].body
    assert story(client, first)[-1] == "DELIVERED"


@pytest.mark.promise("P-65", "P-68")
def test_a_paused_queue_keeps_its_messages(client: QStash, endpoint: Endpoint, queue: str) -> None:
    """Pause, enqueue, look, resume."""
    client.queue.upsert(queue)
    client.queue.pause(queue)
    sent = enqueue(client, json=True, queue=queue, url=endpoint.url, body={"a": 1})
    client.message.batch([{"queue": queue, "url": endpoint.url, "body": "b"}])

    held = client.queue.get(queue)
    assert (held.paused, held.lag) == (True, 2)
    assert client.message.get(sent).queue == queue
    client.queue.resume(queue)

    endpoint.wait_for(2)
    assert [request.body for request in endpoint.requests] == [b'{"a": 1}', b"b"]


def test_messages_and_log_are_found_by_queue(client: QStash, endpoint: Endpoint, queue: str) -> None:
    """Filters, cancel and the log know the name."""
    client.queue.upsert(queue, paused=True)
    sent = enqueue(client, queue=queue, url=endpoint.url)
    lines = client.log.list(filter={"queue": queue}).logs

    assert {one.message_id for one in lines} == {sent}
    assert {one.queue for one in lines} == {queue}
    assert client.queue.get(queue).lag == 1


@pytest.mark.parametrize("name", ["a b", "ä", "a/b", "x" * 257])
def test_a_bad_name_is_refused(client: QStash, name: str) -> None:
    """Names have letters, digits, hyphens, points and underscores."""
    with pytest.raises(QStashError, match="status: 4"):
        client.queue.upsert(name)


def test_more_parallelism_than_the_quota_allows_is_refused(client: QStash, queue: str) -> None:
    """412, as for all limits."""
    with pytest.raises(QStashError, match="status: 412"):
        client.queue.upsert(queue, parallelism=101)
