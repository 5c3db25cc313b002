"""The log of events as the official Python SDK reads it: fields, filters, pages."""

from __future__ import annotations

from base64 import b64decode

import pytest
from qstash import QStash
from qstash.log import Log, LogFilter, LogState
from qstash.message import FlowControlProperties
from tests.sdk.conftest import Alone
from tests.support.clients import publish, story
from tests.support.receiver import Answer, Endpoint, Receiver


def events(client: QStash, chosen: LogFilter) -> set[tuple[str, str]]:
    """Return message and state of each event that a filter chooses."""
    return {(log.message_id, log.state.value) for log in client.log.list(filter=chosen).logs}


def test_an_event_has_the_fields_of_its_message(client: QStash, receiver: Receiver) -> None:
    """Names and units are those the SDK reads; the body is base64 here."""
    endpoint, back = receiver.endpoint(), receiver.endpoint()
    endpoint.answers(Answer(418, b"short and stout", (("X-Tea", "pot"),)))
    message_id = publish(
        client,
        url=endpoint.url,
        body="tea",
        content_type="text/plain",
        method="PUT",
        headers={"X-One": "1"},
        retries=0,
        retry_delay="1000",
        timeout=7,
        callback=back.url,
        callback_headers={"Forward-X-Back": "b"},
        failure_callback=back.url,
        flow_control={"key": "tea", "parallelism": 2, "period": 60},
        label="kettle",
    )
    story(client, message_id)

    logs = {log.state: log for log in client.log.list(filter={"message_id": message_id}).logs}
    for log in logs.values():
        assert (log.url, log.method, log.max_retries) == (endpoint.url, "PUT", 0)
        assert log.headers == {"Content-Type": ["text/plain"], "X-One": ["1"]}
        assert log.body_base64 is not None
        assert b64decode(log.body_base64) == b"tea"
        assert (log.timeout, log.retry_delay_expression, log.label) == (7000, "1000", "kettle")
        assert (log.callback, log.failure_callback) == (back.url, back.url)
        assert log.callback_headers
        assert log.flow_control == FlowControlProperties("tea", 2, None, 60)
    error = logs[LogState.ERROR]
    assert (error.response_status, error.response_body) == (418, "short and stout")
    assert error.response_headers is not None
    assert error.response_headers["X-Tea"] == ["pot"]
    assert error.error
    assert logs[LogState.CREATED].error is None


def test_filters_join_by_and(client: QStash, receiver: Receiver) -> None:
    """Each filter of the SDK on its own, then together."""
    good, bad = receiver.endpoint(), receiver.endpoint()
    bad.answers(Answer(500))
    label = good.path.strip("/")
    delivered = publish(client, url=good.url, label=f"{label},extra")
    failed = publish(client, url=bad.url, label=label, retries=0)
    story(client, delivered)
    story(client, failed)
    of_delivered = {(delivered, state) for state in ("CREATED", "ACTIVE", "DELIVERED")}
    of_failed = {(failed, state) for state in ("CREATED", "ACTIVE", "ERROR", "FAILED")}

    assert events(client, {"message_id": failed}) == of_failed
    assert events(client, {"message_ids": [failed, delivered]}) == of_failed | of_delivered
    assert events(client, {"label": label}) == of_failed | of_delivered
    assert events(client, {"label": label, "state": LogState.DELIVERED}) == {(delivered, "DELIVERED")}
    assert events(client, {"label": label, "state": LogState.IN_PROGRESS}) == {
        (delivered, "ACTIVE"),
        (failed, "ACTIVE"),
        (failed, "ERROR"),
    }
    assert events(client, {"url": bad.url}) == of_failed
    assert events(client, {"url": bad.url, "message_id": delivered}) == set()
    assert events(client, {"label": label, "url_group": "g"}) == set()
    assert events(client, {"label": label, "queue": "q"}) == set()
    assert events(client, {"label": label, "schedule_id": "s"}) == set()


def test_times_of_a_filter_are_inclusive(client: QStash, endpoint: Endpoint) -> None:
    """A reader asks from the last instant it saw."""
    message_id = publish(client, url=endpoint.url)
    story(client, message_id)
    *_, created = client.log.list(filter={"message_id": message_id}).logs

    at_once: LogFilter = {"message_id": message_id, "from_time": created.time, "to_time": created.time}
    assert (message_id, "CREATED") in events(client, at_once)
    assert events(client, {"message_id": message_id, "to_time": created.time - 1}) == set()
    assert len(events(client, {"message_id": message_id, "from_time": created.time})) == 3


@pytest.mark.promise("P-98")
def test_pages_show_each_event_once(alone: Alone, receiver: Receiver) -> None:
    """With messages published in between, whoever reads to the end has seen all that was there."""
    endpoint = receiver.endpoint()
    ids = [publish(alone.client, url=endpoint.url, label=endpoint.path) for _ in range(4)]
    for message_id in ids:
        story(alone.client, message_id)

    seen: list[Log] = []
    page = alone.client.log.list(count=5, filter={"label": endpoint.path})
    while True:
        assert len(page.logs) <= 5
        seen += page.logs
        if page.cursor is None:
            break
        story(alone.client, publish(alone.client, url=endpoint.url, label=endpoint.path))
        page = alone.client.log.list(count=5, cursor=page.cursor, filter={"label": endpoint.path})

    there = [(log.message_id, log.state) for log in seen if log.message_id in ids]
    assert len(there) == len(set(there)) == 12
    assert [log.time for log in seen] == sorted((log.time for log in seen), reverse=True)


def test_the_last_page_has_no_cursor(client: QStash, endpoint: Endpoint) -> None:
    """The SDK takes any cursor for a further page."""
    message_id = publish(client, url=endpoint.url)
    story(client, message_id)

    assert client.log.list(filter={"message_id": message_id}).cursor is None
    assert client.log.list(count=3, filter={"message_id": message_id}).cursor is None
