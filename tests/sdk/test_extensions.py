"""Options of ours, which no SDK knows, reach us through the SDKs all the same.

The SDKs put ``Upstash-Forward-`` before every header they do not know. So ``Lateron-Retry-Delays`` has four
spellings that mean the same (wire-contract 21.1): plain, behind the forward prefix, behind the prefix of a
callback's forwarded headers, and as a parameter of the query. None of them is ever forwarded.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import BatchResponse
from tests.support.clients import publish, story
from tests.support.genuine import assert_genuine
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server

AT_ONCE = "0s, 0s"  # Two retries without a wait.
NAME = "Lateron-Retry-Delays"


def send_plainly(client: QStash, endpoint: Endpoint) -> str:
    """Name the option as it is, over the SDK's own HTTP client."""
    answer = client.http.request(path=f"/v2/publish/{endpoint.url}", method="POST", headers={NAME: AT_ONCE})
    return str(answer["messageId"])


def send_as_header(client: QStash, endpoint: Endpoint) -> str:
    """Give it as any header of the message, as a user of an SDK would."""
    return publish(client, url=endpoint.url, headers={NAME: AT_ONCE})


def send_as_forwarded_header(client: QStash, endpoint: Endpoint) -> str:
    """Put the prefix by hand, in another case."""
    return publish(client, url=endpoint.url, headers={f"upstash-forward-{NAME.lower()}": AT_ONCE})


def send_in_query(client: QStash, endpoint: Endpoint) -> str:
    """Append it to the destination, for webhooks that can only be given a URL."""
    return publish(client, url=f"{endpoint.url}?{NAME.lower()}=0s%2C0s&kept=1")


def send_in_batch(client: QStash, endpoint: Endpoint) -> str:
    """Give it with an item of a batch."""
    (answer,) = client.message.batch([{"url": endpoint.url, "headers": {NAME: AT_ONCE}}])
    assert isinstance(answer, BatchResponse)
    return answer.message_id


def send_plainly_in_batch(client: QStash, endpoint: Endpoint) -> str:
    """Name it as it is in the headers of an item."""
    items = [{"destination": endpoint.url, "headers": {NAME.lower(): AT_ONCE}}]
    (answer,) = client.http.request(path="/v2/batch", method="POST", body=json.dumps(items))
    return str(answer["messageId"])


@pytest.mark.parametrize(
    "send",
    [send_plainly, send_as_header, send_as_forwarded_header, send_in_query, send_in_batch, send_plainly_in_batch],
)
def test_a_list_of_delays_works_in_every_spelling(client: QStash, endpoint: Endpoint, send: Any) -> None:
    """Its length is the number of retries if none is given, and the destination never sees it."""
    endpoint.answers(Answer(500))

    message_id = send(client, endpoint)

    assert story(client, message_id) == ["CREATED", *["ACTIVE", "ERROR", "RETRY"] * 2, "ACTIVE", "ERROR", "FAILED"]
    requests = endpoint.wait_for(3)
    assert client.message.get(message_id).max_retries == 2
    for request in requests:
        assert [name for name, _ in request.headers if "lateron-retry" in name.lower()] == []
        assert "lateron" not in request.target
    if send is send_in_query:
        assert requests[0].target == f"{endpoint.path}?kept=1"
    assert "lateron-retry" not in str(client.message.get(message_id).headers).lower()


@pytest.mark.promise("P-43")
@pytest.mark.parametrize("name", [f"Forward-{NAME}", f"Upstash-Callback-Forward-{NAME}"])
def test_a_callback_has_a_list_of_delays_of_its_own(
    client: QStash, server: Server, receiver: Receiver, name: str
) -> None:
    """The third spelling: behind the prefix for headers of the callback."""
    source, back = receiver.endpoint(), receiver.endpoint()
    back.answers(Answer(500), Answer(500), Answer(200))

    publish(client, url=source.url, callback=back.url, callback_headers={name: AT_ONCE, "Forward-X-Kept": "k"})

    requests = back.wait_for(3)
    assert [request.header("Upstash-Retried") for request in requests] == ["0", "1", "2"]
    for request in requests:
        assert request.header("X-Kept") == "k"
        assert [key for key, _ in request.headers if "lateron-retry" in key.lower()] == []
        assert_genuine(request, back.url, server.user)


def test_a_failure_callback_has_a_list_of_delays_of_its_own(client: QStash, receiver: Receiver) -> None:
    """As any callback."""
    source, failed = receiver.endpoint(), receiver.endpoint()
    source.answers(Answer(500))
    failed.answers(Answer(500), Answer(200))

    publish(
        client,
        url=source.url,
        retries=0,
        failure_callback=failed.url,
        failure_callback_headers={f"Forward-{NAME}": AT_ONCE},
    )

    assert [request.header("Upstash-Retried") for request in failed.wait_for(2)] == ["0", "1"]


def test_retries_cut_the_list_short_or_repeat_its_end(client: QStash, receiver: Receiver) -> None:
    """Who gives both a list and a number means the number."""
    short, long = receiver.endpoint(), receiver.endpoint()
    short.answers(Answer(500))
    long.answers(Answer(500))

    ids = [
        publish(client, url=short.url, retries=1, headers={NAME: AT_ONCE}),
        publish(client, url=long.url, retries=4, headers={NAME: AT_ONCE}),
    ]

    assert [story(client, message_id)[-1] for message_id in ids] == ["FAILED", "FAILED"]
    assert (len(short.requests), len(long.requests)) == (2, 5)


def test_a_table_of_delays_is_followed(client: QStash, endpoint: Endpoint) -> None:
    """Attempt at once, then after 10 s, a minute, ten minutes, an hour: a table one user has run for years."""
    endpoint.answers(Answer(500))
    message_id = publish(client, url=endpoint.url, headers={NAME: "10s, 1m, 10m, 1h"})

    (planned,) = until(
        lambda: [log for log in client.log.list(filter={"message_id": message_id}).logs if log.state.value == "RETRY"],
        "the retry to be planned",
    )
    assert planned.next_delivery_time is not None
    assert planned.next_delivery_time - planned.time == 10_000
    assert client.message.get(message_id).max_retries == 4
    client.message.cancel(message_id)


@pytest.mark.promise("P-44")
@pytest.mark.parametrize("value", ["soon", "", "10s,,1m", "-1s"])
def test_a_broken_list_of_delays_is_refused(client: QStash, endpoint: Endpoint, value: str) -> None:
    """By name, at publish."""
    with pytest.raises(QStashError, match=r"status: 400.*(?i:lateron-retry-delays)"):
        client.message.publish(url=endpoint.url, headers={NAME: value})


@pytest.mark.parametrize("where", [{"headers": {"Lateron-Colour": "red"}}, {"headers": {"Lateron-Retry-Delay": "1s"}}])
def test_an_unknown_option_of_ours_is_refused(client: QStash, endpoint: Endpoint, where: dict[str, Any]) -> None:
    """It is never forwarded, so without an error a misspelt one would vanish in silence."""
    with pytest.raises(QStashError, match=r"status: 400.*(?i:lateron-)"):
        client.message.publish(url=endpoint.url, **where)
