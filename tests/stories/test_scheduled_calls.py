"""A clinic's calls: each is made at its time, tried again by a table, and can be looked up until then.

The story of one company's use: a call now, one in a day, one at nine every day; a list of pending calls; a table
of retries (at once, 10 seconds, a minute, 10 minutes, an hour); large sets in one batch; and a handler that
verifies who calls. The table is our own option, because QStash has none; the rest is plain QStash.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from qstash import QStash
from qstash.message import BatchResponse
from tests.support.clients import publish, story
from tests.support.genuine import assert_genuine
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

DAY_S = 24 * 60 * 60
TABLE = "10s, 1m, 10m, 1h"
TABLE_MS = (10_000, 60_000, 600_000, 3_600_000)


def call_of(case: str) -> dict[str, object]:
    return {"action": "execute_call", "caseId": case, "attempt": 1}


@pytest.mark.promise("P-23", "P-30", "P-106")
def test_a_call_is_made_at_its_time_and_listed_until_then(client: QStash, server: Server, receiver: Receiver) -> None:
    """Now means at once, tomorrow means tomorrow, and both can be asked about."""
    handler = receiver.endpoint()
    tomorrow = int(time.time()) + DAY_S
    now = client.message.publish_json(
        url=handler.url, body=call_of("case_1"), not_before=int(time.time()), label="calls", headers={"X-Case": "1"}
    )
    later = client.message.publish_json(url=handler.url, body=call_of("case_2"), not_before=tomorrow, label="calls")
    soon = client.message.publish_json(url=handler.url, body=call_of("case_3"), delay="30s", retries=5, label="calls")
    assert not isinstance(now, list)
    assert not isinstance(later, list)
    assert not isinstance(soon, list)

    request = handler.wait_for(1)[0]
    assert (request.json, request.header("X-Case")) == (call_of("case_1"), "1")
    assert request.header("Content-Type") == "application/json"
    assert_genuine(request, handler.url, server.user)
    assert story(client, now.message_id)[-1] == "DELIVERED"
    pending = server.call("GET", "/v2/messages?label=calls").json["messages"]
    assert {one["messageId"] for one in pending} == {later.message_id, soon.message_id}
    shown = client.message.get(later.message_id)
    # The client rounds to seconds, so that a delivery is due up to a second behind the second it names.
    assert 0 <= shown.not_before - tomorrow * 1000 <= 1000
    assert client.message.get(soon.message_id).max_retries == 5
    assert {one["waitingFor"] for one in pending} <= {"delay"}
    client.message.cancel_many([later.message_id, soon.message_id])
    assert server.call("GET", "/v2/messages?label=calls").json["messages"] == []
    assert len(handler.requests) == 1


@pytest.mark.promise("P-21", "P-23")
def test_a_failed_call_is_tried_again_by_the_table(client: QStash, receiver: Receiver) -> None:
    """The first wait is ten seconds, told at once; four retries follow the first attempt."""
    handler = receiver.endpoint()
    handler.answers(Answer(500))
    sent = publish(client, url=handler.url, body="x", headers={"Lateron-Retry-Delays": TABLE})

    planned = until(
        lambda: [log for log in client.log.list(filter={"message_id": sent}).logs if log.state.value == "RETRY"],
        "the retry to be planned",
    )[0]
    assert planned.next_delivery_time is not None
    assert planned.next_delivery_time - planned.time == TABLE_MS[0]
    assert client.message.get(sent).max_retries == len(TABLE_MS)
    client.message.cancel(sent)


@pytest.mark.promise("P-21", "P-23")
def test_the_whole_table_is_walked(client: QStash, receiver: Receiver) -> None:
    """With its times divided by a thousand: each wait is that of its row, and after the last there is no more."""
    handler = receiver.endpoint()
    handler.answers(Answer(500))
    table = "10ms, 60ms, 600ms, 1s"
    sent = publish(client, url=handler.url, body="x", headers={"Lateron-Retry-Delays": table})

    assert story(client, sent)[-1] == "FAILED"
    logs = list(reversed(client.log.list(filter={"message_id": sent}).logs))
    waits = [log.next_delivery_time - log.time for log in logs if log.next_delivery_time is not None]
    assert waits == [10, 60, 600, 1000]
    starts = [log.time for log in logs if log.state.value == "ACTIVE"]
    ends = [log.time for log in logs if log.state.value == "ERROR"]
    assert len(starts) == 5
    assert all(start - end >= wait for end, start, wait in zip(ends, starts[1:], waits, strict=False))
    assert [request.header("Upstash-Retried") for request in handler.requests] == ["0", "1", "2", "3", "4"]
    assert all(before.number < after.number for before, after in pairwise(handler.requests))


@pytest.mark.promise("P-91")
def test_a_large_set_goes_in_chunks_and_is_asked_about_call_by_call(client: QStash, receiver: Receiver) -> None:
    """Two batches of a hundred; each call is one message, and each is delivered once."""
    handler, cases = receiver.endpoint(), [f"case_{number}" for number in range(200)]
    ids = []
    for chunk in (cases[:100], cases[100:]):
        answers = client.message.batch_json([{"url": handler.url, "body": call_of(case)} for case in chunk])
        ids += [answer.message_id for answer in answers if isinstance(answer, BatchResponse)]

    handler.wait_for(200)
    assert len(set(ids)) == 200
    assert sorted(request.json["caseId"] for request in handler.requests) == sorted(cases)
    until(lambda: story(client, ids[-1])[-1] == "DELIVERED", "the last to be on record")


@pytest.mark.promise("P-80", "P-87")
def test_the_daily_report_is_a_schedule_at_nine(client: QStash, receiver: Receiver) -> None:
    """Its next time is nine o'clock, and it ends when it is deleted."""
    report = receiver.endpoint("/cron/daily-report")
    name = client.schedule.create(destination=report.url, cron="0 9 * * *")

    schedule = client.schedule.get(name)
    assert schedule.next_schedule_time is not None
    nine = time.gmtime(schedule.next_schedule_time / 1000)
    assert (nine.tm_hour, nine.tm_min, nine.tm_sec) == (9, 0, 0)
    assert 0 < schedule.next_schedule_time - schedule.created_at <= DAY_S * 1000
    client.schedule.delete(name)
    assert name not in {one.schedule_id for one in client.schedule.list()}
    assert report.requests == []
