"""Publishing with the official Python SDK: what is asked for arrives, and what cannot work is refused."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import BatchResponse, FlowControlProperties, PublishResponse
from tests.support.clients import connect, publish, states, story
from tests.support.genuine import assert_genuine
from tests.support.receiver import Endpoint, Receiver
from tests.support.server import Server

EVERY_BYTE = bytes(range(256)) * 4

# What the server adds or may add to a delivery (wire-contract 3.1), beside what HTTP needs.
OURS = {
    "upstash-signature",
    "upstash-message-id",
    "upstash-retried",
    "upstash-caller-ip",
    "upstash-region",
    "user-agent",
    "host",
    "content-length",
    "accept",
    "accept-encoding",
    "connection",
    "lateron-hops",
}


@pytest.mark.promise("P-12", "P-106")
@pytest.mark.parametrize("body", ["", "hello", "grüße €", '{"a": [1, 2]}', "x" * 200_000])
def test_a_text_arrives_as_published(client: QStash, server: Server, endpoint: Endpoint, body: str) -> None:
    """The body is the user's; nobody may touch a byte of it, or its signature breaks."""
    message_id = publish(client, url=endpoint.url, body=body, content_type="text/plain; charset=utf-8")

    request = endpoint.wait_for_one()
    assert (request.method, request.target, request.text) == ("POST", endpoint.path, body)
    assert request.header("Content-Type") == "text/plain; charset=utf-8"
    assert request.header("Upstash-Message-Id") == message_id
    assert request.header("Upstash-Retried") == "0"
    assert request.header("User-Agent") == "Upstash-QStash"
    assert_genuine(request, endpoint.url, server.user)
    assert story(client, message_id) == ["CREATED", "ACTIVE", "DELIVERED"]


@pytest.mark.promise("P-12")
def test_every_byte_arrives_and_is_shown_in_base64(client: QStash, endpoint: Endpoint) -> None:
    """What is not text cannot stand in JSON; the SDK decodes the other field."""
    message_id = publish(client, url=endpoint.url, body=EVERY_BYTE, content_type="application/octet-stream")

    assert endpoint.wait_for_one().body == EVERY_BYTE
    message = client.message.get(message_id)
    assert message.body is None
    assert message.body_base64 is not None
    assert base64.b64decode(message.body_base64) == EVERY_BYTE


def test_json_is_sent_as_json(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """The first example of every guide."""
    response = client.message.publish_json(url=endpoint.url, body={"hello": "wörld", "n": [1, None]})

    assert isinstance(response, PublishResponse)
    assert response.deduplicated is False
    request = endpoint.wait_for_one()
    assert request.json == {"hello": "wörld", "n": [1, None]}
    assert request.header("Content-Type") == "application/json"
    assert_genuine(request, endpoint.url, server.user)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_the_method_is_the_one_asked_for(client: QStash, endpoint: Endpoint, method: str) -> None:
    """A message can be any call."""
    message_id = publish(client, url=endpoint.url, method=method, body="b")

    request = endpoint.wait_for_one()
    assert (request.method, request.text) == (method, "b")
    assert client.message.get(message_id).method == method


@pytest.mark.promise("P-12")
def test_forwarded_headers_arrive_and_options_do_not(client: QStash, endpoint: Endpoint) -> None:
    """An endpoint must not see how its message was published, and must see all its publisher meant for it."""
    message_id = publish(
        client,
        url=endpoint.url,
        body="x",
        content_type="text/plain",
        headers={
            "X-Api-Key": "k",
            "Upstash-Forward-Traceparent": "00-1-2-01",
            "Upstash-Forward-Upstash-Workflow-Is-Failure": "true",
        },
        retries=1,
        retry_delay="1000",
        timeout=30,
        label="one,two",
        deduplication_id=endpoint.path,
        flow_control={"key": "k", "parallelism": 10},
    )

    request = endpoint.wait_for_one()
    theirs = {name.lower(): value for name, value in request.headers if name.lower() not in OURS}
    assert theirs == {
        "content-type": "text/plain",
        "x-api-key": "k",
        "traceparent": "00-1-2-01",
        "upstash-workflow-is-failure": "true",
    }
    assert client.message.get(message_id).headers == {
        "Content-Type": ["text/plain"],
        "X-Api-Key": ["k"],
        "Traceparent": ["00-1-2-01"],
        "Upstash-Workflow-Is-Failure": ["true"],
    }


def test_framing_and_our_own_headers_cannot_be_forged(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """SDKs forward whatever the first call of a chain carried; a second Content-Length breaks the request."""
    message_id = publish(
        client,
        url=endpoint.url,
        body="four",
        headers={
            "Content-Length": "7",
            "Transfer-Encoding": "chunked",
            "Connection": "upgrade",
            "Keep-Alive": "timeout=9",
            "TE": "trailers",
            "Trailer": "X",
            "Upgrade": "h2c",
            "Proxy-Authorization": "p",
            "Expect": "100-continue",
            "Host": "elsewhere.example",
            "User-Agent": "mine",
            "Upstash-Forward-Upstash-Message-Id": "msg_forged",
            "Upstash-Forward-Upstash-Retried": "9",
            "Upstash-Forward-Upstash-Signature": "forged",
            "X-Kept": "yes",
        },
    )

    request = endpoint.wait_for_one()
    assert request.text == "four"
    assert request.header("Content-Length") == "4"
    assert request.header("Host") == endpoint.url.split("/")[2]
    assert request.header("Upstash-Message-Id") == message_id
    assert request.header("Upstash-Retried") == "0"
    assert request.header("User-Agent") == "Upstash-QStash"
    assert request.header("X-Kept") == "yes"
    dropped = ("Transfer-Encoding", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "Expect")
    assert [name for name in dropped if request.has(name)] == []
    assert "upgrade" not in request.all("Connection")
    assert client.message.get(message_id).headers == {"X-Kept": ["yes"]}
    assert_genuine(request, endpoint.url, server.user)


@pytest.mark.parametrize("rest", ["", "/", "//first", "/a//b/?x=1&x=2&y=%2F%20&empty=", "?only=query"])
def test_the_destination_is_kept_byte_for_byte(client: QStash, server: Server, rest: str) -> None:
    """It is shown, signed and requested as given; a router that tidies URLs would break the signature."""
    with Receiver() as receiver:
        endpoint = receiver.endpoint("/")
        url = receiver.origin + rest
        message_id = publish(client, url=url, body="x")

        request = endpoint.wait_for_one()
        assert request.target == (rest if rest.startswith("/") else "/" + rest)
        assert_genuine(request, url, server.user)
        assert client.message.get(message_id).url == url


@pytest.mark.promise("P-30")
@pytest.mark.parametrize(("delay", "milliseconds"), [(3600, 3_600_000), ("1h30m", 5_400_000), ("10d", 864_000_000)])
def test_a_delay_is_kept_with_the_message(
    client: QStash, endpoint: Endpoint, delay: int | str, milliseconds: int
) -> None:
    """A number is seconds, a text a duration; when it is due can be asked."""
    message_id = publish(client, url=endpoint.url, delay=delay)

    message = client.message.get(message_id)
    assert message.not_before == message.created_at + milliseconds
    assert states(client, message_id) == ["CREATED"]
    client.message.cancel(message_id)


@pytest.mark.promise("P-30")
def test_not_before_wins_over_delay(client: QStash, endpoint: Endpoint) -> None:
    """An instant is meant as it is said."""
    instant = int(time.time()) + 7200
    message_id = publish(client, url=endpoint.url, delay=10, not_before=instant)

    assert client.message.get(message_id).not_before == instant * 1000
    client.message.cancel(message_id)


@pytest.mark.promise("P-30")
def test_a_delayed_message_comes_and_not_early(client: QStash, endpoint: Endpoint) -> None:
    """Receivers rely on never being called before the time."""
    message_id = publish(client, url=endpoint.url, delay=1)

    due = client.message.get(message_id).not_before
    request = endpoint.wait_for_one()
    assert request.time * 1000 >= due


def test_every_option_is_shown_on_the_message(client: QStash, receiver: Receiver, endpoint: Endpoint) -> None:
    """What was asked for can be read back, in the names and units of the SDK."""
    callback, failure = receiver.endpoint(), receiver.endpoint()
    message_id = publish(
        client,
        url=endpoint.url,
        body="text",
        content_type="text/plain",
        method="PUT",
        headers={"X-One": "1"},
        callback=callback.url,
        callback_headers={"Retries": "2", "Forward-X-Back": "b"},
        failure_callback=failure.url,
        failure_callback_headers={"Forward-X-Fail": "f"},
        retries=7,
        retry_delay="1000 * (1 + retried)",
        delay="1h",
        timeout="10s",
        flow_control={"key": "orders", "parallelism": 3, "rate": 5, "period": "1h30m3s"},
        label="one",
    )

    message = client.message.get(message_id)
    assert (message.message_id, message.url, message.method) == (message_id, endpoint.url, "PUT")
    assert (message.body, message.body_base64) == ("text", None)
    assert message.headers == {"Content-Type": ["text/plain"], "X-One": ["1"]}
    assert (message.callback, message.failure_callback) == (callback.url, failure.url)
    assert message.callback_headers
    assert message.failure_callback_headers
    assert (message.max_retries, message.retry_delay_expression) == (7, "1000 * (1 + retried)")
    assert message.flow_control == FlowControlProperties("orders", 3, 5, 5403)
    assert (message.label, message.caller_ip) == ("one", "127.0.0.1")
    client.message.cancel(message_id)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"parallelism": 3}, (3, None, 1)),
        ({"rate": 4}, (None, 4, 1)),
        ({"rate": 4, "period": 60}, (None, 4, 60)),
        ({"parallelism": 1, "rate": 2, "period": "1d"}, (1, 2, 86400)),
    ],
)
def test_flow_control_is_shown_as_asked(
    client: QStash, endpoint: Endpoint, asked: dict[str, Any], shown: tuple[Any, ...]
) -> None:
    """The period is in seconds and there even if only parallelism was asked for; the others only if asked."""
    message_id = publish(client, url=endpoint.url, delay="1h", flow_control={"key": "k", **asked})

    assert client.message.get(message_id).flow_control == FlowControlProperties("k", *shown)
    client.message.cancel(message_id)


@pytest.mark.promise("P-50", "P-51")
def test_an_equal_deduplication_id_is_one_message(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """The publisher who repeats after a lost answer gets the id of the first."""
    first = client.message.publish(url=endpoint.url, body="1", deduplication_id=endpoint.path)
    second = client.message.publish(url=endpoint.url, body="2", deduplication_id=endpoint.path)
    other = client.message.publish(url=endpoint.url, body="3", deduplication_id=endpoint.path + "-other")
    raw = server.call("POST", f"/v2/publish/{endpoint.url}", b"4", [("Upstash-Deduplication-Id", endpoint.path)])

    assert isinstance(first, PublishResponse)
    assert second == PublishResponse(first.message_id, deduplicated=True)
    assert isinstance(other, PublishResponse)
    assert not other.deduplicated
    assert (raw.status, raw.json["messageId"], raw.json["deduplicated"]) == (202, first.message_id, True)
    assert sorted(request.text for request in endpoint.wait_for(2)) == ["1", "3"]


@pytest.mark.promise("P-50", "P-54")
def test_equal_content_is_one_message_if_asked(client: QStash, endpoint: Endpoint) -> None:
    """Destination, body, content type and forwarded headers together are the content."""

    def send(body: str, **more: Any) -> bool:
        response = client.message.publish(url=endpoint.url, body=body, content_based_deduplication=True, **more)
        assert isinstance(response, PublishResponse)
        return response.deduplicated

    assert [send("a"), send("a"), send("b")] == [False, True, False]
    assert [send("a", headers={"X": "1"}), send("a", headers={"x": "1"})] == [False, True]
    assert [send("a", content_type="text/plain"), send("a", content_type="text/plain")] == [False, True]
    assert len(endpoint.wait_for(4)) == 4


@pytest.mark.promise("P-44")
@pytest.mark.parametrize(
    ("options", "status", "names"),
    [
        ({"method": "BREW"}, 400, "Upstash-Method"),
        ({"delay": "soon"}, 400, "Upstash-Delay"),
        ({"not_before": "tomorrow"}, 400, "Upstash-Not-Before"),
        ({"timeout": "long"}, 400, "Upstash-Timeout"),
        ({"retries": -1}, 400, "Upstash-Retries"),
        ({"retries": 1_000_000}, 412, "Upstash-Retries"),
        ({"callback": "nowhere"}, 400, "Upstash-Callback"),
        ({"failure_callback": "ftp://a"}, 400, "Upstash-Failure-Callback"),
        ({"callback": "http://a.test", "callback_headers": {"Retries": "many"}}, 400, "Upstash-Callback-Retries"),
        ({"callback": "http://a.test", "callback_headers": {"Delay": "soon"}}, 400, "Upstash-Callback-Delay"),
        ({"flow_control": {"key": "k", "rate": "fast"}}, 400, "Upstash-Flow-Control-Value"),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    client: QStash, endpoint: Endpoint, options: dict[str, Any], status: int, names: str
) -> None:
    """A setting that would fail only later fails at publish, and the error says which it is."""
    with pytest.raises(QStashError, match=rf"status: {status}.*(?i:{names})"):
        client.message.publish(url=endpoint.url, body="x", **options)


@pytest.mark.parametrize(
    ("destination", "says"),
    [
        ("nosuchgroup", "topic nosuchgroup not found"),
        ("api/llm", "."),
        ("", "a non-empty destination must be provided"),
        ("http://", "."),
        ("http://user:pass@127.0.0.1/", "."),
    ],
)
def test_a_destination_that_is_none_is_refused(client: QStash, destination: str, says: str) -> None:
    """Other clients look for these words."""
    with pytest.raises(QStashError, match=rf"status: 4.*{says}"):
        client.message.publish(url=destination, body="x")


def test_workflow_traffic_is_refused_as_not_supported(client: QStash, endpoint: Endpoint) -> None:
    """Accepted and then useless would be worse."""
    with pytest.raises(QStashError, match=r"status: 501.*workflow"):
        client.http.request(
            path=f"/v2/publish/{endpoint.url}", method="POST", headers={"Upstash-Workflow-RunId": "wfr_1"}
        )
    assert endpoint.requests == []


def test_a_wrong_token_is_refused(server: Server, endpoint: Endpoint) -> None:
    """Nobody else publishes in a user's name."""
    with connect("sync", server.url, "bm9ib2R5") as stranger, pytest.raises(QStashError, match="status: 401"):
        stranger.message.publish(url=endpoint.url, body="x")


@pytest.mark.promise("P-91")
def test_a_batch_is_answered_in_order_and_each_goes_its_way(client: QStash, server: Server, receiver: Receiver) -> None:
    """Each item has its own destination, options and body."""
    first, second, third = (receiver.endpoint() for _ in range(3))

    answers = client.message.batch(
        [
            {"url": first.url, "body": "one", "content_type": "text/plain", "headers": {"X-Item": "1"}},
            {"url": second.url, "method": "PUT", "retries": 0, "label": "second"},
            {"url": third.url, "body": "three", "delay": "1h", "flow_control": {"key": "k", "rate": 1}},
        ]
    )

    assert all(isinstance(answer, BatchResponse) for answer in answers)
    ids = [answer.message_id for answer in answers if isinstance(answer, BatchResponse)]
    request = first.wait_for_one()
    assert (request.text, request.header("Content-Type"), request.header("X-Item")) == ("one", "text/plain", "1")
    assert_genuine(request, first.url, server.user)
    request = second.wait_for_one()
    assert (request.method, request.body, request.has("Content-Type")) == ("PUT", b"", False)
    assert [client.message.get(message_id).url for message_id in ids] == [first.url, second.url, third.url]
    assert client.message.get(ids[1]).max_retries == 0
    assert states(client, ids[2]) == ["CREATED"]
    client.message.cancel(ids[2])


@pytest.mark.promise("P-91")
def test_a_batch_of_json_is_sent_as_json(client: QStash, receiver: Receiver) -> None:
    """The SDK serialises each body itself."""
    first, second = receiver.endpoint(), receiver.endpoint()

    answers = client.message.batch_json(
        [
            {"url": first.url, "body": {"n": 1}, "deduplication_id": first.path},
            {"url": second.url, "body": [2], "retries": 5},
            {"url": first.url, "body": {"n": 3}, "deduplication_id": first.path},
        ]
    )

    assert [answer.deduplicated for answer in answers if isinstance(answer, BatchResponse)] == [False, False, True]
    assert (first.wait_for_one().json, second.wait_for_one().json) == ({"n": 1}, [2])
    assert second.wait_for_one().header("Content-Type") == "application/json"


@pytest.mark.promise("P-91")
def test_a_bad_item_of_a_batch_does_not_touch_the_others(client: QStash, receiver: Receiver) -> None:
    """One wrong option among a hundred must not cost the other ninety-nine."""
    first, third = receiver.endpoint(), receiver.endpoint()
    items = [
        {"destination": first.url, "headers": {}, "body": "1", "queue": None},
        {"destination": first.url, "headers": {"Upstash-Delay": "soon"}, "body": "2", "queue": None},
        {"destination": third.url, "headers": {}, "body": "3", "queue": None},
    ]

    answer = client.http.request(
        path="/v2/batch", method="POST", headers={"Content-Type": "application/json"}, body=json.dumps(items)
    )

    assert len(answer) == 3
    assert "upstash-delay" in answer[1]["error"].lower()
    assert "messageId" not in answer[1]
    assert first.wait_for_one().header("Upstash-Message-Id") == answer[0]["messageId"]
    assert third.wait_for_one().header("Upstash-Message-Id") == answer[2]["messageId"]
