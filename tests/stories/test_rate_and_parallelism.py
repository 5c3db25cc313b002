"""Ten calls in a period and twenty at once: both limits of one key, as the documentation combines them.

Its example: "with a rate of 10 per minute and a parallelism of 20, ten calls are made in the first minute and
another ten in the next; as none of them has ended, the next one waits until one does". Here it is told twice,
once with its own minute, which is not waited for, and once with periods that are.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from qstash import QStash
from tests.support.clients import publish, story
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

RATE, PARALLELISM = 10, 20


@pytest.mark.promise("P-71", "P-75", "P-77")
def test_ten_go_in_the_first_minute_and_the_rest_say_when(client: QStash, server: Server, receiver: Receiver) -> None:
    """Each that waits names the rate; a reset opens the next period at once, for ten more."""
    endpoint = receiver.endpoint()
    limits: Any = {"key": "per-minute", "rate": RATE, "parallelism": PARALLELISM, "period": "1m"}
    sent = [publish(client, url=endpoint.url, body=str(number), flow_control=limits) for number in range(25)]

    for begun in (10, 20):
        endpoint.wait_for(begun)
        for message_id in sent[begun - 10 : begun]:
            story(client, message_id)
        info = client.flow_control.get("per-minute")
        assert (info.rate_count, info.rate_max, info.rate_period, info.wait_list_size) == (10, 10, 60, 25 - begun)
        waiting = server.call("GET", f"/v2/messages/{sent[begun]}").json
        assert waiting["waitingFor"] == "flow_rate"
        client.flow_control.reset_rate("per-minute")
    endpoint.wait_for(25)
    assert {request.text for request in endpoint.requests[:10]} == {str(number) for number in range(10)}
    assert {request.text for request in endpoint.requests[20:]} == {str(number) for number in range(20, 25)}


@pytest.mark.promise("P-70", "P-71", "P-72", "P-74")
def test_no_period_begins_more_than_ten_and_no_moment_sees_more_than_twenty(client: QStash, receiver: Receiver) -> None:
    """While nobody answers, two periods fill all twenty places; after that the rate alone decides."""
    endpoint, released, gauge = receiver.endpoint(), threading.Event(), Gauge()
    endpoint.answer_by(lambda _: Answer(hold=Open(gauge, released)))
    limits: Any = {"key": "per-second", "rate": RATE, "parallelism": PARALLELISM, "period": "1s"}
    sent = [publish(client, url=endpoint.url, body=str(number), flow_control=limits) for number in range(45)]
    try:
        endpoint.wait_for(PARALLELISM)
        info = until(lambda: full(client), "all places to be taken")
        assert (info.parallelism_count, info.wait_list_size) == (PARALLELISM, 45 - PARALLELISM)
    finally:
        released.set()
    for message_id in sent:
        assert story(client, message_id)[-1] == "DELIVERED"

    logs = client.log.list(filter={"url": endpoint.url}).logs
    starts = sorted(log.time for log in logs if log.state.value == "ACTIVE")
    assert len(starts) == 45
    assert max(windows(starts, 1000)) == RATE
    assert gauge.most == PARALLELISM
    order = [log.message_id for log in sorted(logs, key=lambda log: log.time) if log.state.value == "ACTIVE"]
    assert [set(order[n : n + 10]) for n in range(0, 40, 10)] == [set(sent[n : n + 10]) for n in range(0, 40, 10)]


def full(client: QStash) -> Any:
    """Return the key's figures once as many are open as may be."""
    info = client.flow_control.get("per-second")
    return info if info.parallelism_count == PARALLELISM else None


def windows(starts: list[int], period_ms: int) -> list[int]:
    """Count the starts in each period; one opens with the first start after the last has closed."""
    opened, counts = starts[0] - period_ms, list[int]()
    for start in starts:
        if start >= opened + period_ms:
            opened = start
            counts.append(0)
        counts[-1] += 1
    return counts


class Gauge:
    """How many requests are open at the receiver, now and at most."""

    def __init__(self) -> None:
        self._lock, self._open, self.most = threading.Lock(), 0, 0

    def add(self, change: int) -> None:
        """Count a request that came or went."""
        with self._lock:
            self._open += change
            self.most = max(self.most, self._open)


class Open(threading.Event):
    """Holds an answer back until all are released, and is counted from its request to its answer."""

    def __init__(self, gauge: Gauge, released: threading.Event) -> None:
        super().__init__()
        self._gauge, self._released = gauge, released
        gauge.add(1)

    def wait(self, timeout: float | None = None) -> bool:
        try:
            return self._released.wait(timeout)
        finally:
            self._gauge.add(-1)
