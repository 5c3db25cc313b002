"""URL groups with the official Python SDK: publish once, and everybody who should know is told."""

from __future__ import annotations

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
