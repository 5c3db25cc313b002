"""URL groups with the official Python SDK: publish once, and everybody who should know is told."""

from __future__ import annotations

import json
import time

import pytest
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import BatchResponse, PublishUrlGroupResponse
from tests.support.clients import story
from tests.support.genuine import assert_genuine
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server


def group_of(endpoint: Endpoint) -> str:
    """Return a group name that no other test has."""
    return f"group{endpoint.path.replace('/', '-')}_{time.time_ns()}"


def test_group_is_added_to_shown_listed_and_taken_apart(client: QStash, endpoint: Endpoint) -> None:
    """The calls in the order of the SDK's own test, with its deep comparison."""
    name, before = group_of(endpoint), int(time.time() * 1000)
    client.url_group.delete(name)
    client.url_group.upsert_endpoints(
        url_group=name, endpoints=[{"url": endpoint.url}, {"url": "https://example.com/", "name": "second endpoint"}]
    )

    group = client.url_group.get(name)
    assert (group.name, group.created_at > before, group.updated_at > before) == (name, True, True)
    assert [(e.url, e.name) for e in group.endpoints] == [
        (endpoint.url, None),
        ("https://example.com/", "second endpoint"),
    ]
    assert name in [listed.name for listed in client.url_group.list()]
    client.url_group.remove_endpoints(name, [{"name": "second endpoint"}])
    assert [e.url for e in client.url_group.get(name).endpoints] == [endpoint.url]
    client.url_group.remove_endpoints(name, [{"url": endpoint.url}])
    with pytest.raises(QStashError, match=f"topic {name} not found"):
        client.url_group.get(name)


@pytest.mark.promise("P-90", "P-106")
def test_order_events_reach_shop_mail_and_stock(client: QStash, server: Server, receiver: Receiver) -> None:
    """Each service gets its own signed request; one that fails is retried alone and told of by name."""
    shop, mail, stock, back = (receiver.endpoint() for _ in range(4))
    name = group_of(shop)
    named = [("shop", shop), ("mail", mail), ("stock", stock)]
    client.url_group.upsert_endpoints(name, [{"url": at.url, "name": service} for service, at in named])
    mail.answers(Answer(500))

    answer = client.message.publish_json(
        url_group=name, body={"order": 7}, retries=0, failure_callback=back.url, headers={"X-Order": "7"}
    )

    assert isinstance(answer, list)
    assert all(isinstance(one, PublishUrlGroupResponse) for one in answer)
    assert [one.url for one in answer] == [at.url for _, at in named]
    for (service, at), one in zip(named, answer, strict=True):
        request = at.wait_for_one()
        assert request.json == {"order": 7}
        assert request.header("Upstash-Topic-Name") == name
        assert request.header("X-Order") == "7"
        assert request.header("Upstash-Message-Id") == one.message_id
        assert_genuine(request, at.url, server.user)
        message = client.message.get(one.message_id)
        assert (message.url_group, message.endpoint) == (name, service)
        assert story(client, one.message_id)[-1] == ("FAILED" if service == "mail" else "DELIVERED")
    report = back.wait_for_one().json
    assert (report["topicName"], report["endpointName"], report["url"]) == (name, "mail", mail.url)
    (letter,) = client.dlq.list(filter={"url_group": name}).messages
    assert (letter.url_group, letter.endpoint) == (name, "mail")
    client.url_group.delete(name)


def test_batch_mixes_url_and_group(client: QStash, receiver: Receiver) -> None:
    """Its answer has an object for the URL and a list for the group."""
    one, two, alone = (receiver.endpoint() for _ in range(3))
    name = group_of(one)
    client.url_group.upsert_endpoints(name, [{"url": one.url}, {"url": two.url}])

    single, group = client.message.batch([{"url": alone.url, "body": "u"}, {"url_group": name, "body": "g"}])

    assert isinstance(single, BatchResponse)
    assert isinstance(group, list)
    assert [entry.url for entry in group] == [one.url, two.url]
    assert [at.wait_for_one().text for at in (alone, one, two)] == ["u", "g", "g"]
    client.url_group.delete(name)


@pytest.mark.promise("P-60", "P-90")
def test_a_group_is_enqueued_as_one_message_for_each_endpoint(client: QStash, receiver: Receiver) -> None:
    """All stand in the queue, in the order of the endpoints; everything that is told of one names group and queue."""
    stock, mail, back = receiver.endpoint(), receiver.endpoint(), receiver.endpoint()
    name, queue = group_of(stock), f"line-{stock.path[1:]}-{time.time_ns()}"
    client.url_group.upsert_endpoints(name, [{"url": stock.url, "name": "stock"}, {"url": mail.url, "name": "mail"}])
    client.queue.upsert(queue, paused=True)
    mail.answers(Answer(500, b"no mail today"))

    sent = [
        client.message.enqueue_json(
            queue=queue, url_group=name, body={"order": number}, retries=0, callback=back.url, label=queue
        )
        for number in range(2)
    ]
    assert client.queue.get(queue).lag == 4
    client.queue.resume(queue)

    told = [report.json for report in back.wait_for(4)]
    ids = [one.message_id for answer in sent if isinstance(answer, list) for one in answer]
    assert [report["sourceMessageId"] for report in told] == ids
    assert [(report["endpointName"], report["status"]) for report in told] == [("stock", 200), ("mail", 500)] * 2
    assert {(report["topicName"], report["queueName"]) for report in told} == {(name, queue)}
    assert [request.json for request in stock.requests + mail.requests] == [{"order": 0}, {"order": 1}] * 2
    assert story(client, ids[3])[-1] == "FAILED"
    letters = client.dlq.list(filter={"url_group": name, "queue": queue}).messages
    assert {(one.message_id, one.endpoint, one.response_body) for one in letters} == {
        (ids[1], "mail", "no mail today"),
        (ids[3], "mail", "no mail today"),
    }
    lines = client.log.list(filter={"url_group": name, "label": queue}).logs
    assert {(line.message_id, line.url_group, line.queue) for line in lines} == {(one, name, queue) for one in ids}
    assert {line.endpoint for line in lines if line.message_id in ids[::2]} == {"stock"}
    shown = client.message.get(ids[1])
    assert (shown.url_group, shown.endpoint, shown.queue) == (name, "mail", queue)
    client.queue.delete(queue)
    client.url_group.delete(name)


@pytest.mark.promise("P-90")
def test_a_webhook_reaches_a_group_with_the_token_in_its_address(server: Server, receiver: Receiver) -> None:
    """Whoever can only be given an address tells everybody; options stand beside the token, the rest is passed on."""
    one, two = receiver.endpoint(), receiver.endpoint()
    name = group_of(one)
    added = json.dumps({"endpoints": [{"url": f"{one.url}?a=1"}, {"url": two.url, "name": "second"}]}).encode()
    assert server.call("POST", f"/v2/topics/{name}/endpoints", added).status == 200
    for target in (f"/v2/publish/{name}", f"/v2/enqueue/{name}/{name}"):
        query = (
            f"qstash_token={server.token}&upstash-retries=1&upstash-label={name}&upstash-forward-x-event=push&from=hub"
        )
        reply = server.call("POST", f"{target}?{query}", b'{"event": 1}', token="")

        assert reply.status == 201, reply.text
        for answer in reply.json:
            message = server.call("GET", f"/v2/messages/{answer['messageId']}").json
            assert (message["topicName"], message["maxRetries"], message["label"]) == (name, 1, name)
            assert message.get("queueName") == (name if "enqueue" in target else None)
    for endpoint, path in ((one, f"{one.path}?a=1&from=hub"), (two, f"{two.path}?from=hub")):
        requests = endpoint.wait_for(2)
        assert {request.target for request in requests} == {path}
        assert {request.header("X-Event") for request in requests} == {"push"}
        assert server.token not in str(requests)
