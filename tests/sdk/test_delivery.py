"""What happens to a message at its destination, as users of the Python SDK see it: success, retries, callbacks."""

from __future__ import annotations

import threading
from base64 import b64decode
from typing import Any

import pytest
from qstash import QStash
from qstash.dlq import DlqMessage
from tests.support.clients import publish, story
from tests.support.genuine import assert_genuine
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server

FAILED_ONCE = ["CREATED", "ACTIVE", "ERROR", "FAILED"]
RETRIED_ONCE = ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"]
NOT_RETRYABLE = (("Upstash-NonRetryable-Error", "true"),)


def dead_letter(client: QStash, message_id: str) -> DlqMessage:
    """Return the dead letter of a message that has failed."""
    (dead,) = client.dlq.list(filter={"message_id": message_id}).messages
    return dead


@pytest.mark.promise("P-20", "P-21", "P-23", "P-106")
def test_a_failing_destination_is_tried_again_until_it_works(
    client: QStash, server: Server, endpoint: Endpoint
) -> None:
    """Each attempt says how many were before, carries the same id and is signed anew."""
    endpoint.answers(Answer(500), Answer(302, headers=(("Location", "/elsewhere"),)), Answer(201))
    message_id = publish(client, url=endpoint.url, body="again", retries=5, retry_delay="0")

    requests = endpoint.wait_for(3)
    assert story(client, message_id) == ["CREATED", *["ACTIVE", "ERROR", "RETRY"] * 2, "ACTIVE", "DELIVERED"]
    assert [request.header("Upstash-Retried") for request in requests] == ["0", "1", "2"]
    assert {request.header("Upstash-Message-Id") for request in requests} == {message_id}
    assert len({request.header("Upstash-Signature") for request in requests}) == 3
    for request in requests:
        assert request.text == "again"
        assert_genuine(request, endpoint.url, server.user)
    assert len(endpoint.requests) == 3


@pytest.mark.promise("P-21", "P-28")
def test_without_retries_a_failure_has_exactly_four_events(client: QStash, endpoint: Endpoint) -> None:
    """Other clients count them."""
    endpoint.answers(Answer(404, b"404 Not Found", (("X-Reason", "gone"),)))
    message_id = publish(client, url=endpoint.url, body="lost", content_type="text/plain", retries=0)

    assert story(client, message_id) == FAILED_ONCE
    dead = dead_letter(client, message_id)
    assert (dead.response_status, dead.response_body, dead.body) == (404, "404 Not Found", "lost")
    assert dead.response_headers is not None
    assert dead.response_headers["X-Reason"] == ["gone"]
    assert dead.url == endpoint.url


@pytest.mark.promise("P-21")
def test_retries_are_spent_and_no_more(client: QStash, endpoint: Endpoint) -> None:
    """Three more attempts are three more attempts."""
    endpoint.answers(Answer(503))
    message_id = publish(client, url=endpoint.url, retries=3, retry_delay="0")

    assert story(client, message_id)[-2:] == ["ERROR", "FAILED"]
    assert [request.header("Upstash-Retried") for request in endpoint.requests] == ["0", "1", "2", "3"]


@pytest.mark.promise("P-27")
def test_489_ends_the_retries_only_with_its_header(client: QStash, receiver: Receiver) -> None:
    """An endpoint can say that trying again is useless; the status alone does not say it."""
    final, ordinary = receiver.endpoint(), receiver.endpoint()
    final.answers(Answer(489, headers=NOT_RETRYABLE))
    ordinary.answers(Answer(489), Answer(200))

    given_up = publish(client, url=final.url, retries=3, retry_delay="0")
    tried_again = publish(client, url=ordinary.url, retries=3, retry_delay="0")

    assert story(client, given_up) == FAILED_ONCE
    assert len(final.requests) == 1
    assert dead_letter(client, given_up).response_status == 489
    assert story(client, tried_again) == RETRIED_ONCE


@pytest.mark.promise("P-26")
@pytest.mark.parametrize(
    "hint",
    [
        ("Retry-After", "0"),
        ("Retry-After", "1ms"),
        ("Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"),
        ("X-RateLimit-Reset", "0"),
        ("X-RateLimit-Reset-Requests", "1ms"),
        ("X-RateLimit-Reset-Tokens", "0s"),
    ],
)
def test_the_destination_says_when_to_come_back(client: QStash, endpoint: Endpoint, hint: tuple[str, str]) -> None:
    """Its hint replaces the delay the publisher asked for, here an hour."""
    endpoint.answers(Answer(429, headers=(hint,)), Answer(200))
    message_id = publish(client, url=endpoint.url, retries=1, retry_delay="3600000")

    assert story(client, message_id) == RETRIED_ONCE


@pytest.mark.promise("P-24", "P-25")
@pytest.mark.parametrize(("expression", "wait"), [(None, 12_000), ("7000 * (retried + 2)", 14_000)])
def test_the_log_says_when_the_next_attempt_is(
    client: QStash, endpoint: Endpoint, expression: str | None, wait: int
) -> None:
    """A user who waits must be able to see for what."""
    endpoint.answers(Answer(500))
    message_id = publish(client, url=endpoint.url, retry_delay=expression)

    logs = until(
        lambda: [log for log in client.log.list(filter={"message_id": message_id}).logs if log.state.value == "RETRY"],
        "the retry to be planned",
    )
    assert logs[0].next_delivery_time is not None
    assert logs[0].next_delivery_time - logs[0].time == wait
    assert logs[0].retry_delay_expression == expression
    assert logs[0].max_retries == 3
    client.message.cancel(message_id)


@pytest.mark.promise("P-20")
def test_half_an_answer_is_no_success(client: QStash, endpoint: Endpoint) -> None:
    """A destination that died while answering may not have done its work."""
    endpoint.answers(Answer(200, b"x" * 1000, cut=True), Answer(200))
    message_id = publish(client, url=endpoint.url, retries=1, retry_delay="0")

    assert story(client, message_id) == RETRIED_ONCE


@pytest.mark.promise("P-20", "P-29")
def test_a_slow_answer_is_cut_off_at_the_timeout(client: QStash, endpoint: Endpoint) -> None:
    """The publisher chose how long to wait."""
    released = threading.Event()
    endpoint.answers(Answer(200, hold=released))
    message_id = publish(client, url=endpoint.url, retries=0, timeout=1)

    try:
        assert story(client, message_id) == FAILED_ONCE
    finally:
        released.set()
    dead = dead_letter(client, message_id)
    assert (dead.response_status, dead.response_body) in {(0, None), (0, "")}


@pytest.mark.promise("P-20")
def test_a_destination_that_refuses_connections_is_a_failure(client: QStash) -> None:
    """Nobody listens there; the publisher learns it from the dead letters."""
    with Receiver() as closed:
        url = closed.origin
    message_id = publish(client, url=url, retries=0)

    assert story(client, message_id) == FAILED_ONCE
    assert dead_letter(client, message_id).response_status == 0


@pytest.mark.promise("P-40", "P-42", "P-43", "P-106")
def test_a_callback_follows_each_attempt(client: QStash, server: Server, receiver: Receiver) -> None:
    """It tells the truth about the attempt, and is itself a signed message with options of its own."""
    source, back = receiver.endpoint(), receiver.endpoint()
    source.answers(Answer(500, b"\xffno", (("X-Why", "broken"),)), Answer(200, b"yes"))
    message_id = publish(
        client,
        url=source.url,
        body="ask",
        content_type="text/plain",
        method="PUT",
        headers={"X-Source": "s"},
        retries=2,
        retry_delay="0",
        callback=back.url,
        callback_headers={"Method": "PATCH", "Forward-X-Trace": "abc", "Upstash-Callback-Forward-X-Other": "o"},
    )

    requests = back.wait_for(2)
    for request in requests:
        assert (request.method, request.header("X-Trace"), request.header("X-Other")) == ("PATCH", "abc", "o")
        assert request.header("Content-Type").startswith("application/json")
        assert request.header("Upstash-Message-Id") != message_id
        assert_genuine(request, back.url, server.user)
    failed, delivered = sorted((request.json for request in requests), key=lambda body: body.get("retried", 0))
    assert (failed["status"], b64decode(failed["body"])) == (500, b"\xffno")
    assert failed["header"]["X-Why"] == ["broken"]
    assert (delivered["status"], b64decode(delivered["body"]), delivered["retried"]) == (200, b"yes", 1)
    for body in (failed, delivered):
        assert (body["sourceMessageId"], body["url"], body["method"]) == (message_id, source.url, "PUT")
        assert (body["maxRetries"], b64decode(body["sourceBody"])) == (2, b"ask")
        assert body["sourceHeader"]["X-Source"] == ["s"]
        assert isinstance(body["createdAt"], int)
        assert isinstance(body["notBefore"], int)
        assert body["callerIP"] == "127.0.0.1"
    assert len(source.requests) == 2


@pytest.mark.promise("P-41", "P-42")
def test_a_failure_callback_comes_once_and_names_the_dead_letter(client: QStash, receiver: Receiver) -> None:
    """With it a program can act on the failure: look at it, retry it, delete it."""
    source, failed = receiver.endpoint(), receiver.endpoint()
    source.answers(Answer(500, b"down"))
    message_id = publish(
        client,
        url=source.url,
        body="x",
        retries=1,
        retry_delay="0",
        failure_callback=failed.url,
        failure_callback_headers={"Forward-X-Alarm": "red"},
    )

    request = failed.wait_for_one()
    assert request.header("X-Alarm") == "red"
    body = request.json
    assert (body["status"], body["retried"], body["maxRetries"]) == (500, 1, 1)
    assert body["sourceMessageId"] == message_id
    dead = client.dlq.get(body["dlqId"])
    assert (dead.message_id, dead.response_body) == (message_id, "down")
    assert len(failed.requests) == 1


@pytest.mark.promise("P-41")
def test_a_delivered_message_has_no_failure_callback(client: QStash, receiver: Receiver) -> None:
    """Its callback comes after it in time, so once that is there the other would be too."""
    source, back, failed = receiver.endpoint(), receiver.endpoint(), receiver.endpoint()
    message_id = publish(client, url=source.url, callback=back.url, failure_callback=failed.url)

    callback_id = back.wait_for_one().header("Upstash-Message-Id")
    assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    assert story(client, callback_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    assert failed.requests == []


@pytest.mark.promise("P-43")
def test_a_failing_callback_leaves_its_source_alone(client: QStash, receiver: Receiver) -> None:
    """It has retries and a failure callback of its own, and that is where it ends."""
    source, back, failed = receiver.endpoint(), receiver.endpoint(), receiver.endpoint()
    back.answers(Answer(500, b"no"))
    failed.answers(Answer(500))
    message_id = publish(
        client,
        url=source.url,
        callback=back.url,
        callback_headers={
            "Retries": "1",
            "Retry-Delay": "0",
            "Failure-Callback": failed.url,
            "Failure-Callback-Retries": "0",
        },
    )

    assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    report = failed.wait_for_one()
    callbacks = back.wait_for(2)
    callback_id = callbacks[0].header("Upstash-Message-Id")
    assert [request.header("Upstash-Retried") for request in callbacks] == ["0", "1"]
    assert (report.json["sourceMessageId"], report.json["url"]) == (callback_id, back.url)
    assert story(client, callback_id)[-1] == "FAILED"
    assert story(client, report.header("Upstash-Message-Id")) == FAILED_ONCE
    assert [len(where.requests) for where in (source, back, failed)] == [1, 2, 1]


@pytest.mark.promise("P-40")
@pytest.mark.parametrize("options", [{"retries": 0}, {"retries": 2, "retry_delay": "0"}])
def test_each_failed_attempt_calls_back_too(client: QStash, receiver: Receiver, options: dict[str, Any]) -> None:
    """The receiver sees from ``retried`` and ``maxRetries`` whether more will come."""
    source, back = receiver.endpoint(), receiver.endpoint()
    source.answers(Answer(500))
    message_id = publish(client, url=source.url, callback=back.url, **options)

    assert story(client, message_id)[-1] == "FAILED"
    bodies = [request.json for request in back.wait_for(1 + options["retries"])]
    assert sorted(body.get("retried", 0) for body in bodies) == list(range(1 + options["retries"]))
