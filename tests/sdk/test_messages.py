"""Looking up and cancelling messages with the official Python SDK."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from qstash import QStash
from qstash.errors import QStashError
from tests.sdk.conftest import Alone
from tests.support.clients import publish, states, story
from tests.support.receiver import Answer, Endpoint, Receiver

UNKNOWN = "msg_" + "0" * 32


@contextmanager
def held(endpoint: Endpoint, status: int) -> Iterator[None]:
    """Let the endpoint keep its answers back until the block ends."""
    released = threading.Event()
    endpoint.answers(Answer(status, hold=released))
    try:
        yield
    finally:
        released.set()


def test_a_message_is_readable_at_once_and_after_its_end(client: QStash, endpoint: Endpoint) -> None:
    """A fast delivery must not win the race against the publisher's first look."""
    message_id = publish(client, url=endpoint.url, body="x")

    assert client.message.get(message_id).message_id == message_id
    story(client, message_id)
    message = client.message.get(message_id)
    assert (message.url, message.body, message.max_retries) == (endpoint.url, "x", 3)
    assert message.not_before >= message.created_at


@pytest.mark.parametrize("message_id", [UNKNOWN, "msg_nonsense", "nonsense"])
def test_an_unknown_message_is_not_found(client: QStash, message_id: str) -> None:
    """The SDK raises; it must be told 404 and not be given something empty."""
    with pytest.raises(QStashError, match="status: 404"):
        client.message.get(message_id)
    with pytest.raises(QStashError, match="status: 404"):
        client.message.cancel(message_id)


@pytest.mark.promise("P-95", "P-120")
def test_a_waiting_message_is_cancelled_at_once(client: QStash, endpoint: Endpoint) -> None:
    """It is neither sent nor dead-lettered, and cannot be cancelled twice."""
    message_id = publish(client, url=endpoint.url, delay="1h")

    client.message.cancel(message_id)

    assert states(client, message_id) == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
    assert client.dlq.list(filter={"message_id": message_id}).messages == []
    with pytest.raises(QStashError, match="status: 404"):
        client.message.cancel(message_id)


@pytest.mark.promise("P-95")
@pytest.mark.parametrize(("status", "end"), [(200, "DELIVERED"), (500, "CANCELED")])
def test_an_open_attempt_may_finish_after_a_cancel(client: QStash, endpoint: Endpoint, status: int, end: str) -> None:
    """What the destination has begun cannot be taken back; but nothing follows."""
    with held(endpoint, status):
        message_id = publish(client, url=endpoint.url, retries=5, retry_delay="0")
        endpoint.wait_for(1)
        client.message.cancel(message_id)
        assert states(client, message_id) == ["CREATED", "ACTIVE", "CANCEL_REQUESTED"]

    assert [state for state in story(client, message_id) if state in {"DELIVERED", "CANCELED", "FAILED"}] == [end]
    assert len(endpoint.requests) == 1
    assert client.dlq.list(filter={"message_id": message_id}).messages == []


@pytest.mark.promise("P-95")
def test_a_message_between_two_attempts_is_cancelled(client: QStash, endpoint: Endpoint) -> None:
    """Waiting for a retry is waiting."""
    endpoint.answers(Answer(500))
    message_id = publish(client, url=endpoint.url, retries=1, retry_delay="3600000")
    endpoint.wait_for(1)

    client.message.cancel(message_id)

    assert story(client, message_id)[-1] == "CANCELED"
    assert len(endpoint.requests) == 1


@pytest.mark.promise("P-96")
def test_many_messages_are_cancelled_and_counted(client: QStash, endpoint: Endpoint) -> None:
    """Unknown and ended ones are skipped; each is counted once."""
    pending = [publish(client, url=endpoint.url, delay="1h") for _ in range(3)]
    kept = publish(client, url=endpoint.url, delay="1h")
    delivered = publish(client, url=endpoint.url)
    story(client, delivered)

    assert client.message.cancel_many([*pending, pending[0], UNKNOWN, delivered]) == 3

    assert [states(client, message_id)[-1] for message_id in pending] == ["CANCELED"] * 3
    assert client.message.cancel_many(pending) == 0
    assert states(client, kept) == ["CREATED"]
    client.message.cancel(kept)


@pytest.mark.promise("P-96")
def test_all_messages_of_a_user_are_cancelled_and_nobody_elses(
    alone: Alone, client: QStash, receiver: Receiver
) -> None:
    """Without a selection it is everything of that user: waiting, active, or between attempts."""
    later, now, failing = receiver.endpoint(), receiver.endpoint(), receiver.endpoint()
    failing.answers(Answer(500))
    theirs = publish(client, url=later.url, delay="1h")
    with held(now, 200):
        publish(alone.client, url=later.url, delay="1h")
        publish(alone.client, url=now.url)
        publish(alone.client, url=failing.url, retry_delay="3600000")
        now.wait_for(1)
        failing.wait_for(1)

        assert alone.client.message.cancel_all() == 3

    assert states(client, theirs) == ["CREATED"]
    client.message.cancel(theirs)
    assert alone.client.message.cancel_all() == 0
