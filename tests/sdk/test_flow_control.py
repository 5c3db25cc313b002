"""Flow control with the official Python SDK: every call, and what it does to deliveries."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.parse import quote

import pytest
from qstash import QStash
from qstash.errors import QStashError
from tests.sdk.test_messages import held
from tests.support.clients import publish, story
from tests.support.poll import until
from tests.support.receiver import Endpoint
from tests.support.server import Server


def key_of(endpoint: Endpoint, name: str) -> str:
    """A key of this test alone."""
    return f"{name}-{endpoint.url.rpartition('/')[2]}"


def call(server: Server, method: str, path: str) -> Any:
    """Make a call that the SDK does not have."""
    request = urllib.request.Request(
        f"{server.url}{path}", method=method, headers={"Authorization": f"Bearer {server.token}"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_key_shows_all_its_figures_from_its_first_message_on(client: QStash, endpoint: Endpoint) -> None:
    """And an unknown one is not found."""
    key = key_of(endpoint, "figures")
    with pytest.raises(QStashError, match="status: 404"):
        client.flow_control.get(key)
    limits: Any = {"key": key, "parallelism": 2, "rate": 10, "period": "1m"}
    story(client, publish(client, url=endpoint.url, flow_control=limits))

    info = client.flow_control.get(key)

    assert (info.key, info.parallelism_max, info.rate_max, info.rate_period) == (key, 2, 10, 60)
    assert (info.parallelism_count, info.rate_count, info.wait_list_size) == (0, 1, 0)
    assert (info.is_paused, info.is_pinned_parallelism, info.is_pinned_rate) == (False, False, False)
    assert info.rate_period_start > 1_700_000_000


def test_a_verb_for_a_key_that_nobody_knows_is_no_error(client: QStash, endpoint: Endpoint) -> None:
    """A deployment may resume, unpin and reset its keys whether or not they were ever used; it makes none."""
    key = key_of(endpoint, "unknown")
    client.flow_control.resume(key)
    client.flow_control.reset_rate(key)
    client.flow_control.unpin(key, {"rate": True})
    client.flow_control.unpin(key, {})

    with pytest.raises(QStashError, match="status: 404"):
        client.flow_control.get(key)


@pytest.mark.promise("P-75")
def test_a_paused_key_keeps_its_messages_until_it_resumes(client: QStash, endpoint: Endpoint) -> None:
    """In order; the wait list shows them, and each says why it waits."""
    key = key_of(endpoint, "pause")
    client.flow_control.pause(key)
    limits: Any = {"key": key, "parallelism": 1}
    ids = [publish(client, url=endpoint.url, body=str(n), flow_control=limits) for n in range(3)]

    info = client.flow_control.get(key)
    assert (info.is_paused, info.wait_list_size, info.parallelism_count) == (True, 3, 0)
    client.flow_control.resume(key)
    for message_id in ids:
        story(client, message_id)
    assert [request.body for request in endpoint.requests] == [b"0", b"1", b"2"]
    assert client.flow_control.get(key).is_paused is False


@pytest.mark.promise("P-75", "P-76")
def test_pins_are_set_and_taken_off_part_by_part(client: QStash, endpoint: Endpoint) -> None:
    """While pinned, what messages bring is ignored; afterwards the last pinned limits stay until one brings others."""
    key = key_of(endpoint, "pin")
    client.flow_control.pin(key, {"parallelism": 3, "rate": 20, "period": 120})
    limits: Any = {"key": key, "parallelism": 1, "rate": 5, "period": 10}

    def shown() -> tuple[int, int, int, bool, bool]:
        info = client.flow_control.get(key)
        return (
            info.parallelism_max,
            info.rate_max,
            info.rate_period,
            info.is_pinned_parallelism,
            info.is_pinned_rate,
        )

    story(client, publish(client, url=endpoint.url, flow_control=limits))
    assert shown() == (3, 20, 120, True, True)
    client.flow_control.unpin(key, {"parallelism": True})
    assert shown() == (3, 20, 120, False, True)
    story(client, publish(client, url=endpoint.url, flow_control=limits))
    assert shown() == (1, 20, 120, False, True)
    client.flow_control.unpin(key, {"rate": True})
    story(client, publish(client, url=endpoint.url, flow_control=limits))
    assert shown() == (1, 5, 10, False, False)


@pytest.mark.promise("P-75", "P-77")
def test_a_reset_begins_a_new_period_beside_an_open_attempt(client: QStash, endpoint: Endpoint) -> None:
    """The attempt stays counted as open; the next message of the rate starts at once."""
    key = key_of(endpoint, "reset")
    limits: Any = {"key": key, "rate": 1, "period": "7d"}
    with held(endpoint, 200):
        first = publish(client, url=endpoint.url, flow_control=limits)
        endpoint.wait_for(1)
        info = client.flow_control.get(key)
        assert (info.rate_count, info.parallelism_count) == (1, 1)
        client.flow_control.reset_rate(key)
        info = client.flow_control.get(key)
        assert (info.rate_count, info.parallelism_count) == (0, 1)
        second = publish(client, url=endpoint.url, flow_control=limits)
        endpoint.wait_for(2)
        publish(client, url=endpoint.url, flow_control=limits)
        assert client.flow_control.get(key).wait_list_size == 1
    story(client, first)
    story(client, second)


def test_the_limit_of_the_server_is_shown(client: QStash, endpoint: Endpoint) -> None:
    """With the attempts that are open now."""
    with held(endpoint, 200):
        publish(client, url=endpoint.url)
        endpoint.wait_for(1)
        info = client.flow_control.get_global_parallelism()
        assert info.parallelism_max == 256
        assert info.parallelism_count >= 1


@pytest.mark.promise("P-70", "P-95")
def test_a_cancel_and_a_failure_free_their_slot(client: QStash, endpoint: Endpoint) -> None:
    """Whatever ends an attempt, the next of the key starts."""
    key = key_of(endpoint, "slot")
    limits: Any = {"key": key, "parallelism": 1}
    with held(endpoint, 500):
        first = publish(client, url=endpoint.url, flow_control=limits, retries=0)
        endpoint.wait_for(1)
        waits = publish(client, url=endpoint.url, flow_control=limits)
        last = publish(client, url=endpoint.url, flow_control=limits, retries=0)
        client.message.cancel(waits)
        assert client.flow_control.get(key).parallelism_count == 1
    assert story(client, first)[-1] == "FAILED"
    assert story(client, last)[-1] == "FAILED"
    assert len(endpoint.requests) == 2
    until(lambda: client.flow_control.get(key).parallelism_count == 0, "the slot to be free")


def test_keys_are_listed_and_searched(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """A key may hold anything that a name may, slash and percent sign too."""
    key = key_of(endpoint, "50%/ä b")
    publish(client, url=endpoint.url, flow_control={"key": "plain", "parallelism": 1}, delay="1h")
    path = f"/v2/flowControl/{quote(key, safe='')}"

    assert call(server, "POST", f"{path}/pin?rate=2&period=5m")["ratePeriod"] == 300
    assert call(server, "GET", path)["flowControlKey"] == key
    listed = call(server, "GET", f"/v2/flowControl?search={quote('%/ä', safe='')}")
    assert key in [entry["flowControlKey"] for entry in listed]
    assert call(server, "POST", f"{path}/reset")["rateCount"] == 0


@pytest.mark.promise("P-75")
def test_a_destination_and_the_whole_server_can_be_paused(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """What was published meanwhile is delivered afterwards."""
    host = endpoint.url.split("/")[2]
    for path in (f"/lateron/v1/destinations/{host}", "/lateron/v1/delivery"):
        seen = len(endpoint.requests)
        assert call(server, "POST", f"{path}/pause")["isPaused"] is True
        message_id = publish(client, url=endpoint.url)
        shown = call(server, "GET", f"/lateron/v1/messages/{message_id}")
        assert shown["waitingFor"] == ("host_paused" if "destinations" in path else "server_paused")
        assert len(endpoint.requests) == seen
        assert call(server, "POST", f"{path}/resume")["isPaused"] is False
        story(client, message_id)
    hosts = {entry["host"]: entry for entry in call(server, "GET", "/lateron/v1/destinations")["destinations"]}
    assert hosts[host]["isPaused"] is False
    assert call(server, "GET", "/lateron/v1/delivery")["isPaused"] is False
