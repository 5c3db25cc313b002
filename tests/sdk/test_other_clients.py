"""What clients beside the two tested SDKs send: Go's forms, webhooks that only know a URL, curl, a log reader.

There is no Go here to run its SDK, so its requests are made by hand, as the wire contract describes them.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from urllib.parse import quote

import pytest
from qstash import AsyncQStash, QStash
from qstash.errors import RateLimitExceededError
from qstash.message import PublishResponse
from tests.support.clients import connect, publish, story
from tests.support.genuine import assert_genuine
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server

JSON = ("Content-Type", "application/json")


def test_go_sends_arrays_of_header_values_and_an_empty_queue(
    client: QStash, server: Server, endpoint: Endpoint
) -> None:
    """Its type for headers is a map to lists."""
    item = {
        "destination": endpoint.url,
        "headers": {
            "Content-Type": ["text/plain"],
            "Upstash-Forward-Content-Type": ["text/html"],
            "Upstash-Forward-X-Many": ["a", "b"],
            "Upstash-Retries": ["1"],
            "Upstash-Label": ["one"],
        },
        "body": "b",
        "queue": "",
    }
    (answer,) = server.call("POST", "/v2/batch", json.dumps([item]).encode(), [JSON]).json

    request = endpoint.wait_for_one()
    assert request.all("Content-Type") == ["text/plain"]
    assert ",".join(request.all("X-Many")).replace(" ", "") == "a,b"
    message = client.message.get(answer["messageId"])
    assert (message.max_retries, message.label, message.queue) == (1, "one", None)


def test_an_item_of_a_batch_may_hold_json_and_callbacks(server: Server, receiver: Receiver) -> None:
    """The guide to models writes its batch so: an object for a body, the callback beside it."""
    source, back = receiver.endpoint(), receiver.endpoint()
    item = {"destination": source.url, "body": {"model": "m", "n": [1, 2]}, "callback": back.url}

    (answer,) = server.call("POST", "/v2/batch", json.dumps([item]).encode(), [JSON]).json

    request = source.wait_for_one()
    assert (request.text, request.header("Content-Type")) == ('{"model":"m","n":[1,2]}', "application/json")
    assert back.wait_for_one().json["sourceMessageId"] == answer["messageId"]


def test_a_webhook_configures_by_its_url(client: QStash, server: Server, receiver: Receiver) -> None:
    """Who can only be given a URL puts the token and every option into it; what is left is the destination's."""
    endpoint, back = receiver.endpoint(), receiver.endpoint()
    options = {
        "upstash-method": "PUT",
        "upstash-retries": "4",
        "upstash-label": "hook",
        "upstash-timeout": "30s",
        "upstash-retry-delay": "pow(2, retried)",
        "upstash-flow-control-key": "hooks",
        "upstash-flow-control-value": "rate=5,period=1m",
        "upstash-callback": back.url,
        "upstash-callback-forward-x-back": "b",
        "upstash-forward-x-one": "1",
        "upstash-header-forward": "true",
        "qstash_token": server.token,
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    reply = server.call(
        "POST", f"/v2/publish/{endpoint.url}?a=1&{query}&b=%2F", b"b", [("X-Event", "push"), ("Cookie", "c")], ""
    )

    assert reply.status == 201, reply.text
    request = endpoint.wait_for_one()
    assert (request.method, request.target, request.text) == ("PUT", f"{endpoint.path}?a=1&b=%2F", "b")
    assert (request.header("X-One"), request.header("X-Event")) == ("1", "push")
    assert not request.has("Authorization")
    assert not request.has("Cookie")
    assert_genuine(request, f"{endpoint.url}?a=1&b=%2F", server.user)
    assert back.wait_for_one().header("X-Back") == "b"
    message = client.message.get(reply.json["messageId"])
    assert (message.max_retries, message.label, message.retry_delay_expression) == (4, "hook", "pow(2, retried)")
    assert message.flow_control is not None
    assert (message.flow_control.key, message.flow_control.rate, message.flow_control.period) == ("hooks", 5, 60)


def test_a_percent_encoded_destination_is_the_same(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """Some HTTP libraries leave no URL inside a path unescaped."""
    url = f"{endpoint.url}/x?a=1&b=%20"
    reply = server.call("POST", f"/v2/publish/{quote(url, safe='')}")

    request = endpoint.wait_for_one()
    assert request.target == f"{endpoint.path}/x?a=1&b=%20"
    assert client.message.get(reply.json["messageId"]).url == url


@pytest.mark.promise("P-12")
def test_bytes_of_headers_are_opaque(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """HTTP gives no charset for them; whatever came in goes out, and UTF-8 is shown as the text it spells."""
    odd = bytes([9, *range(32, 127), *range(128, 256)]).decode("latin-1").strip()
    utf8 = "grüße €".encode().decode("latin-1")
    headers = [("Upstash-Forward-X-Odd", odd), ("Upstash-Forward-X-Utf8", utf8), ("Upstash-Forward-X-Empty", "")]
    reply = server.call("POST", f"/v2/publish/{endpoint.url}", b"x", headers)

    request = endpoint.wait_for_one()
    assert (request.header("X-Odd"), request.header("X-Utf8"), request.header("X-Empty")) == (odd, utf8, "")
    shown = client.message.get(reply.json["messageId"]).headers
    assert shown is not None
    assert (shown["X-Odd"], shown["X-Utf8"], shown["X-Empty"]) == ([odd], ["grüße €"], [""])


@pytest.mark.promise("P-134")
def test_many_at_once_arrive_once_each(server: Server, endpoint: Endpoint) -> None:
    """What an asynchronous program does: start all, then wait."""

    async def send() -> list[str]:
        client = AsyncQStash(server.token, retry=False, base_url=server.url)
        answers = await asyncio.gather(
            *(client.message.publish(url=endpoint.url, body=str(number)) for number in range(60))
        )
        await client.http._client.aclose()
        return [answer.message_id for answer in answers if isinstance(answer, PublishResponse)]

    ids = asyncio.run(send())

    requests = endpoint.wait_for(60)
    assert len(set(ids)) == 60
    assert Counter(request.header("Upstash-Message-Id") for request in requests) == Counter(ids)
    assert {request.text for request in requests} == {str(number) for number in range(60)}


@pytest.mark.promise("P-50", "P-51")
def test_equal_ids_published_at_once_are_one_message(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """A race among duplicates has one winner, and all get its id."""

    async def send() -> list[PublishResponse]:
        racing = AsyncQStash(server.token, retry=False, base_url=server.url)
        answers = await asyncio.gather(
            *(racing.message.publish(url=endpoint.url, deduplication_id=endpoint.url) for _ in range(20))
        )
        await racing.http._client.aclose()
        return [answer for answer in answers if isinstance(answer, PublishResponse)]

    answers = asyncio.run(send())

    (message_id,) = {answer.message_id for answer in answers}
    assert Counter(answer.deduplicated for answer in answers) == {False: 1, True: 19}
    assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]
    assert len(endpoint.requests) == 1


def test_the_log_has_two_names(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """The SDKs read events, the published description says logs; each finds the key it looks for."""
    message_id = publish(client, url=endpoint.url)
    story(client, message_id)

    events = server.call("GET", f"/v2/events?messageId={message_id}").json["events"]
    logs = server.call("GET", f"/v2/logs?messageId={message_id}").json["logs"]
    assert logs == events
    assert [event["state"] for event in events] == ["DELIVERED", "ACTIVE", "CREATED"]


def test_both_spellings_of_fields_that_differ_are_sent(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """Python reads one, generated clients the other."""
    endpoint.answers(Answer(500, headers=(("X-Why", "w"),)))
    message_id = publish(client, url=endpoint.url, retries=0, retry_delay="1")
    story(client, message_id)

    events = server.call("GET", f"/v2/events?messageId={message_id}").json["events"]
    (error,) = [event for event in events if event["state"] == "ERROR"]
    assert error["retryDelayExpr"] == error["retryDelayExpression"] == "1"
    assert error["responseHeader"] == error["responseHeaders"]
    assert error["responseHeader"]["X-Why"] == ["w"]


def list_often(client: QStash) -> None:
    """Make more management calls in a row than a second allows."""
    for _ in range(50):
        client.dlq.list()


def test_too_many_management_calls_are_told_apart_from_errors(
    tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint
) -> None:
    """The SDK raises a class of its own for it; publishing has no such limit."""
    with (
        Server(tmp_path_factory.mktemp("limited") / "data", "--rate-limit", "1") as server,
        connect("sync", server.url, server.token) as client,
    ):
        with pytest.raises(RateLimitExceededError) as raised:
            list_often(client)
        for _ in range(5):
            publish(client, url=endpoint.url)

    assert (raised.value.limit, raised.value.remaining) == ("1", "0")
    assert raised.value.reset is not None
    assert raised.value.reset.isdigit()


def test_a_region_is_named_on_every_delivery(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> None:
    """Receivers of several regions choose their keys by it."""
    with (
        Server(tmp_path_factory.mktemp("region") / "data", "--region", "EU-CENTRAL-1") as server,
        connect("sync", server.url, server.token) as client,
    ):
        publish(client, url=endpoint.url)
        assert endpoint.wait_for_one().header("Upstash-Region") == "EU-CENTRAL-1"
