"""The dead letter queue with the official Python SDK: look, choose, delete, try again."""

from __future__ import annotations

import json
import threading
from typing import Any, cast

import pytest
from qstash import QStash
from qstash.dlq import DlqFilter, DlqMessage
from qstash.errors import QStashError
from qstash.message import FlowControlProperties
from tests.sdk.conftest import Alone
from tests.support.clients import publish, story
from tests.support.genuine import assert_genuine
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server

UNKNOWN = "1700000000000-" + "0" * 32


def fail(client: QStash, endpoint: Endpoint, status: int = 500, **options: Any) -> DlqMessage:
    """Let a message end in the dead letter queue, and return it."""
    endpoint.answers(Answer(status, b"broken"))
    message_id = publish(client, url=endpoint.url, retries=0, **options)
    assert story(client, message_id)[-1] == "FAILED"
    (dead,) = client.dlq.list(filter={"message_id": message_id}).messages
    return dead


def retry(client: QStash, query: str, headers: dict[str, str] | None = None) -> Any:
    """Call the retry of the API; this SDK has no method for it."""
    return client.http.request(path=f"/v2/dlq/retry{query}", method="POST", headers=headers)


@pytest.mark.promise("P-28")
def test_a_dead_letter_has_the_message_and_the_last_answer(client: QStash, endpoint: Endpoint) -> None:
    """What is needed to understand the failure and to repeat the call."""
    dead = fail(
        client,
        endpoint,
        body="b",
        content_type="text/plain",
        headers={"X-One": "1"},
        method="PATCH",
        retry_delay="5",
        label="dead",
        flow_control={"key": "dead", "rate": 9},
    )

    assert (dead.url, dead.method, dead.body, dead.max_retries) == (endpoint.url, "PATCH", "b", 0)
    assert dead.headers == {"Content-Type": ["text/plain"], "X-One": ["1"]}
    assert (dead.response_status, dead.response_body) == (500, "broken")
    assert (dead.label, dead.retry_delay_expression, dead.caller_ip) == ("dead", "5", "127.0.0.1")
    assert dead.flow_control == FlowControlProperties("dead", None, 9, 1)
    assert client.dlq.get(dead.dlq_id) == dead


@pytest.mark.promise("P-12")
def test_bytes_of_an_answer_are_shown_in_base64(client: QStash, endpoint: Endpoint) -> None:
    """What is not text cannot stand in JSON."""
    endpoint.answers(Answer(500, bytes(range(256))))
    message_id = publish(client, url=endpoint.url, body=b"\xff\x00", retries=0)
    story(client, message_id)

    (dead,) = client.dlq.list(filter={"message_id": message_id}).messages
    assert (dead.body, dead.body_base64) == (None, "/wA=")
    assert dead.response_body is None
    assert dead.response_body_base64 is not None
    assert dead.response_body_base64.startswith("AAECAwQF")


@pytest.mark.promise("P-96")
def test_filters_of_dead_letters(client: QStash, receiver: Receiver) -> None:
    """Each filter of the SDK, alone and together."""
    first, second = receiver.endpoint(), receiver.endpoint()
    label = first.path
    one = fail(client, first, 500, label=label)
    two = fail(client, second, 404, label=f"other,{label}")

    def chosen(**by: Any) -> set[str]:
        names = cast("DlqFilter", {"label": label, **by})
        return {dead.dlq_id for dead in client.dlq.list(filter=names).messages}

    assert chosen() == {one.dlq_id, two.dlq_id}
    assert chosen(message_id=one.message_id) == {one.dlq_id}
    assert chosen(url=second.url) == {two.dlq_id}
    assert chosen(response_status=404) == {two.dlq_id}
    assert chosen(response_status=500, url=second.url) == set()
    assert chosen(caller_ip="127.0.0.1") == {one.dlq_id, two.dlq_id}
    assert chosen(caller_ip="10.9.8.7") == set()
    assert chosen(url_group="g") == chosen(queue="q") == chosen(schedule_id="s") == set()
    times = sorted(int(dead.dlq_id.partition("-")[0]) for dead in (one, two))
    assert chosen(from_time=times[0], to_time=times[1]) == {one.dlq_id, two.dlq_id}
    assert chosen(to_time=times[0] - 1) == set()


@pytest.mark.promise("P-98")
def test_pages_show_each_dead_letter_once(client: QStash, endpoint: Endpoint) -> None:
    """The cursor leads to the end, and the last page has none."""
    ids = {fail(client, endpoint, label=endpoint.path).dlq_id for _ in range(3)}

    seen = []
    page = client.dlq.list(count=1, filter={"label": endpoint.path})
    while True:
        seen += [dead.dlq_id for dead in page.messages]
        if page.cursor is None:
            break
        page = client.dlq.list(count=1, cursor=page.cursor, filter={"label": endpoint.path})
    assert len(seen) == 3
    assert set(seen) == ids


def test_a_dead_letter_is_deleted_once(client: QStash, endpoint: Endpoint) -> None:
    """A second delete finds nothing."""
    dead = fail(client, endpoint)

    client.dlq.delete(dead.dlq_id)

    for again in (client.dlq.delete, client.dlq.get):
        with pytest.raises(QStashError, match="status: 404"):
            again(dead.dlq_id)


@pytest.mark.promise("P-96")
def test_many_dead_letters_are_deleted_and_counted(client: QStash, endpoint: Endpoint) -> None:
    """Those that are not there are skipped."""
    first, second, kept = (fail(client, endpoint, label=endpoint.path).dlq_id for _ in range(3))

    assert client.dlq.delete_many([first, second, UNKNOWN]) == 2
    assert client.dlq.delete_many([first, second]) == 0
    assert [dead.dlq_id for dead in client.dlq.list(filter={"label": endpoint.path}).messages] == [kept]


@pytest.mark.parametrize("dlq_id", [UNKNOWN, "nonsense", "1-2"])
def test_an_unknown_dead_letter_is_not_found(client: QStash, dlq_id: str) -> None:
    """The SDK raises on 404."""
    with pytest.raises(QStashError, match="status: 404"):
        client.dlq.get(dlq_id)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_filter_is_an_error(client: QStash, method: Any) -> None:
    """A misspelt filter must not become a delete of everything."""
    with pytest.raises(QStashError, match=r"status: 4.*colour"):
        client.http.request(path="/v2/dlq", method=method, params={"colour": "red"})


@pytest.mark.promise("P-97")
def test_a_retry_sends_the_original_again(client: QStash, endpoint: Endpoint) -> None:
    """As a new message, with the original's options; the record leaves the queue with it."""
    dead = fail(client, endpoint, body=b"\xfe\x00", headers={"X-One": "1"}, method="PUT", label=endpoint.path)
    endpoint.answers(Answer(200))

    (response,) = retry(client, f"?dlqIds={dead.dlq_id}")["responses"]

    message_id = response["messageId"]
    assert message_id != dead.message_id
    assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    first, second = endpoint.requests
    assert (second.method, second.body, second.header("X-One")) == ("PUT", first.body, "1")
    assert second.header("Upstash-Message-Id") == message_id
    assert client.message.get(message_id).label == endpoint.path
    with pytest.raises(QStashError, match="status: 404"):
        client.dlq.get(dead.dlq_id)
    assert retry(client, f"?dlqIds={dead.dlq_id}")["responses"] == []


@pytest.mark.promise("P-97")
def test_options_of_a_retry_win_over_the_originals(client: QStash, endpoint: Endpoint) -> None:
    """Who retries by hand often wants fewer retries, more patience, or a label to find it by."""
    dead = fail(client, endpoint, body="b", label="old", timeout=5)
    headers = {
        "Upstash-Retries": "7",
        "Upstash-Retry-Delay": "1234",
        "Upstash-Delay": "1h",
        "Upstash-Label": "new",
        "Upstash-Flow-Control-Key": "again",
        "Upstash-Flow-Control-Value": "parallelism=1",
    }

    answer = retry(client, f"/{dead.dlq_id}", headers)

    message = client.message.get(answer["messageId"])
    assert (message.max_retries, message.retry_delay_expression, message.label) == (7, "1234", "new")
    assert message.flow_control == FlowControlProperties("again", 1, None, 1)
    assert (message.url, message.body) == (endpoint.url, "b")
    assert message.not_before - message.created_at == 3_600_000
    client.message.cancel(message.message_id)


@pytest.mark.promise("P-97", "P-96")
def test_filters_and_count_choose_what_is_retried(alone: Alone, endpoint: Endpoint) -> None:
    """In steps, until nothing is left."""
    for _ in range(3):
        fail(alone.client, endpoint, label=endpoint.path)
    fail(alone.client, endpoint, label="another")
    endpoint.answers(Answer(200))

    first = retry(alone.client, f"?label={endpoint.path}&count=1")
    rest = retry(alone.client, f"?label={endpoint.path}")

    assert (len(first["responses"]), len(rest["responses"])) == (1, 2)
    assert [dead.label for dead in alone.client.dlq.list().messages] == ["another"]
    for response in first["responses"] + rest["responses"]:
        assert story(alone.client, response["messageId"])[-1] == "DELIVERED"


@pytest.mark.promise("P-97")
def test_two_retries_at_once_make_one_message(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """Two people press the button; the destination is called once."""
    dead = fail(client, endpoint)
    endpoint.answers(Answer(200))
    made: list[str] = []
    start = threading.Barrier(4)

    def press() -> None:
        start.wait()
        reply = server.call("POST", f"/v2/dlq/retry?dlqIds={dead.dlq_id}")
        made.extend(response["messageId"] for response in json.loads(reply.text)["responses"])

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (message_id,) = made
    assert story(client, message_id)[-1] == "DELIVERED"
    assert len(endpoint.requests) == 2
    assert_genuine(endpoint.requests[1], endpoint.url, server.user)


@pytest.mark.promise("P-41", "P-97")
def test_a_retried_message_calls_back_again(client: QStash, receiver: Receiver) -> None:
    """A redrive is a life of its own, with the callbacks of the original."""
    source, failed = receiver.endpoint(), receiver.endpoint()
    dead = fail(client, source, failure_callback=failed.url)
    first = failed.wait_for_one().json

    (response,) = retry(client, f"?dlqIds={dead.dlq_id}")["responses"]

    second = failed.wait_for(2)[1].json
    assert first["dlqId"] == dead.dlq_id
    assert second["sourceMessageId"] == response["messageId"]
    assert client.dlq.get(second["dlqId"]).message_id == response["messageId"]
