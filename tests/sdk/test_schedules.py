"""Schedules with the official Python SDK, and as other clients call them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import FlowControlProperties
from qstash.schedule import ScheduleState
from tests.support.clients import story
from tests.support.genuine import assert_genuine
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server


@pytest.mark.promise("P-80", "P-89")
def test_a_schedule_ticks_and_says_so(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """Each tick is a message like any other, and names its schedule."""
    name = client.schedule.create(
        destination=endpoint.url, cron="@every 1s", body="tick", content_type="text/plain", headers={"X-Mine": "1"}
    )
    try:
        requests = endpoint.wait_for(2)
    finally:
        client.schedule.delete(name)

    assert name.startswith("scd_")
    for request in requests[:2]:
        assert (request.text, request.header("Content-Type"), request.header("X-Mine")) == ("tick", "text/plain", "1")
        assert request.header("Upstash-Schedule-Id") == name
        assert_genuine(request, endpoint.url, server.user)
    message_id = requests[0].header("Upstash-Message-Id")
    assert message_id is not None
    assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    logs = client.log.list(filter={"schedule_id": name}).logs
    assert message_id in {log.message_id for log in logs}
    assert {log.schedule_id for log in logs} == {name}


def test_every_field_comes_back_as_it_was_given(client: QStash) -> None:
    """A user changes a schedule by what he reads of it."""
    before = int(time.time() * 1000)
    name = client.schedule.create_json(
        destination="https://example.com/report?day=1",
        cron="CRON_TZ=America/New_York 0 4 * * MON-FRI",
        body={"a": 1},
        method="PUT",
        headers={"test-header": "value"},
        callback="https://example.com/callback",
        callback_headers={"Forward-X-Call": "back"},
        failure_callback="https://example.com/failed",
        retries=7,
        retry_delay="1000 * retried",
        delay="2m",
        timeout=60,
        schedule_id="all-fields",
        flow_control={"key": "k", "parallelism": 2, "rate": 3, "period": "1m"},
        label="daily",
    )
    assert name == "all-fields"
    schedule = client.schedule.get(name)

    assert (schedule.destination, schedule.method) == ("https://example.com/report?day=1", "PUT")
    assert schedule.cron == "CRON_TZ=America/New_York 0 4 * * MON-FRI"
    assert schedule.body == json.dumps({"a": 1})
    assert schedule.headers == {"Content-Type": ["application/json"], "Test-Header": ["value"]}
    assert (schedule.callback, schedule.callback_headers) == ("https://example.com/callback", {"X-Call": ["back"]})
    assert schedule.failure_callback == "https://example.com/failed"
    assert (schedule.retries, schedule.retry_delay_expression) == (7, "1000 * retried")
    assert (schedule.delay, schedule.timeout, schedule.label) == (120, 60, "daily")
    assert schedule.flow_control == FlowControlProperties(key="k", parallelism=2, rate=3, period=60)
    assert (schedule.paused, schedule.last_schedule_time) == (False, None)
    assert schedule.caller_ip == "127.0.0.1"
    assert schedule.created_at >= before
    assert schedule.next_schedule_time is not None
    assert schedule.next_schedule_time > before
    assert name in {each.schedule_id for each in client.schedule.list()}
    client.schedule.delete(name)
    with pytest.raises(QStashError, match="schedule all-fields not found"):
        client.schedule.get(name)


def test_the_same_id_overwrites_all_of_it(client: QStash) -> None:
    """What a deployment does each time."""
    common: Any = {"destination": "https://example.com", "schedule_id": "deployed"}
    client.schedule.create(**common, cron="1 1 1 1 1", body="old", headers={"Old": "1"}, retries=1, delay=5)
    client.schedule.create(**common, cron="0 4 * * *")

    schedule = client.schedule.get("deployed")
    assert (schedule.cron, schedule.body, schedule.headers, schedule.retries) == ("0 4 * * *", None, None, 3)
    assert schedule.delay is None
    assert [each.schedule_id for each in client.schedule.list()].count("deployed") == 1
    client.schedule.delete("deployed")


@pytest.mark.promise("P-86")
def test_pause_and_resume(client: QStash) -> None:
    """Paused is said, and no next time is promised."""
    name = client.schedule.create(destination="https://example.com", cron="0 4 * * *")
    client.schedule.pause(name)
    assert client.schedule.get(name).paused
    assert client.schedule.get(name).next_schedule_time is None
    client.schedule.resume(name)
    assert not client.schedule.get(name).paused
    assert client.schedule.get(name).next_schedule_time is not None
    client.schedule.delete(name)


@pytest.mark.promise("P-110")
def test_redaction_applies_to_the_schedule_and_not_to_its_messages(client: QStash, endpoint: Endpoint) -> None:
    """Lists show hashes; the receiver gets what was meant for it, at every tick."""
    name = client.schedule.create(
        destination=endpoint.url,
        cron="@every 1s",
        body="secret-body",
        headers={"X-Key": "secret-key"},
        redact={"body": True, "header": ["X-Key"]},
    )
    try:
        request = endpoint.wait_for(1)[0]
        shown = client.schedule.get(name)
    finally:
        client.schedule.delete(name)
    assert (request.text, request.header("X-Key")) == ("secret-body", "secret-key")
    assert shown.body is not None
    assert shown.headers is not None
    assert shown.body.startswith("REDACTED:")
    assert shown.headers["X-Key"][0].startswith("REDACTED:")


@pytest.mark.parametrize(
    ("status", "state"), [(200, ScheduleState.SUCCESS), (500, ScheduleState.FAIL)], ids=["good", "bad"]
)
def test_the_states_of_the_last_tick_are_known(
    client: QStash, endpoint: Endpoint, status: int, state: ScheduleState
) -> None:
    """Which schedule is in trouble is seen in the list."""
    endpoint.answers(Answer(status))
    name = client.schedule.create(destination=endpoint.url, cron="@every 1s", retries=0)

    def ended() -> bool:
        return state in (client.schedule.get(name).last_schedule_states or {}).values()

    try:
        until(ended, "a tick's message to end")
        assert client.schedule.get(name).last_schedule_time is not None
    finally:
        client.schedule.delete(name)


@pytest.mark.promise("P-85")
@pytest.mark.parametrize(
    "cron", ["0 0 30 2 *", "CRON_TZ=../../etc/passwd * * * * *", "CRON_TZ=Mars/Base * * * * *", "x"]
)
def test_what_can_never_tick_is_refused(client: QStash, cron: str) -> None:
    """At creation, where somebody reads the answer."""
    with pytest.raises(QStashError, match=r"(?i)upstash-cron: expected a cron expression"):
        client.schedule.create(destination="https://example.com", cron=cron)


def test_what_django_qstash_does(client: QStash, endpoint: Endpoint) -> None:
    """Its calls: a task's JSON, a timeout in seconds, an id of its own, pause, resume, get, delete."""
    name = client.schedule.create_json(
        destination=endpoint.url,
        cron="0 0 1 1 *",
        body={"function": "f", "module": "app.tasks", "args": [], "kwargs": {}},
        schedule_id="9f1c3f6e-5a0e-4a55-9f0a-2f5b8c1d7e33",
        retries=3,
        timeout="60s",
    )
    client.schedule.pause(name)
    client.schedule.resume(name)
    schedule = client.schedule.get(name)
    assert (schedule.timeout, schedule.retries, schedule.paused) == (60, 3, False)
    client.schedule.delete(name)


@pytest.mark.promise("P-80", "P-90")
def test_a_schedule_to_a_group_reaches_every_endpoint(client: QStash, endpoint: Endpoint, receiver: Receiver) -> None:
    """One message for each at every run, all of them in the states of the run, and the log knows both names."""
    other, name = receiver.endpoint(), f"scheduled-{time.time_ns()}"
    client.url_group.upsert_endpoints(name, [{"url": endpoint.url, "name": "first"}, {"url": other.url}])
    schedule_id = client.schedule.create(
        destination=name, cron="@every 1s", body="tick", headers={"Lateron-Overlap": "queue", "X-Mine": "1"}
    )
    try:
        for at in (endpoint, other):
            request = at.wait_for(2)[0]
            assert (request.text, request.header("X-Mine")) == ("tick", "1")
            assert request.header("Upstash-Schedule-Id") == schedule_id
            assert request.header("Upstash-Topic-Name") == name
        schedule = client.schedule.get(schedule_id)
        assert (schedule.destination, schedule.headers) == (name, {"X-Mine": ["1"]})
        assert len(schedule.last_schedule_states or {}) == 2
        client.url_group.delete(name)
        until(lambda: client.schedule.get(schedule_id).error, "a run that fails")
        assert client.schedule.get(schedule_id).error == f"topic {name} not found"
    finally:
        client.schedule.delete(schedule_id)
    logs = client.log.list(filter={"schedule_id": schedule_id}).logs
    assert {log.url_group for log in logs} == {name}
    assert {log.endpoint for log in logs} == {"first", None}


@pytest.mark.promise("P-61", "P-80")
def test_runs_that_must_not_overlap_wait_for_retries(client: QStash, endpoint: Endpoint) -> None:
    """A run that fails at first is repeated before the next one begins."""
    endpoint.answers(Answer(500), Answer(200))
    schedule_id = client.schedule.create(
        destination=endpoint.url,
        cron="@every 1s",
        headers={"Lateron-Overlap": "queue", "Lateron-Retry-Delays": "2s"},
    )
    try:
        first, again, following = endpoint.wait_for(3)[:3]
    finally:
        client.schedule.delete(schedule_id)
    assert first.header("Upstash-Message-Id") == again.header("Upstash-Message-Id")
    assert again.header("Upstash-Retried") == "1"
    assert following.header("Upstash-Message-Id") != first.header("Upstash-Message-Id")
