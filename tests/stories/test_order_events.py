"""A shop tells four services of every order: stock, mail, figures, and a partner whose server is often down.

The story of a usage guide: a topic with four endpoints and one publish for each event, so that either all
services hear of it or none does. What the partner missed is found among the dead letters, with the answer that
refused it, and sent again once the partner is back.
"""

from __future__ import annotations

import pytest
from qstash import QStash
from tests.support.clients import story
from tests.support.genuine import assert_genuine
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

GROUP = "order-events"
SERVICES = ("update-inventory", "send-notification", "update-analytics", "partner")


@pytest.mark.promise("P-28", "P-90", "P-97", "P-106")
def test_one_event_reaches_four_services_and_the_one_that_was_down_later(
    client: QStash, server: Server, receiver: Receiver
) -> None:
    """The partner's failure costs the partner's message alone, and nothing of it is lost."""
    services = {name: receiver.endpoint(f"/orders/{name}") for name in SERVICES}
    alarm = receiver.endpoint("/orders/alarm")
    client.url_group.upsert_endpoints(GROUP, [{"url": at.url, "name": name} for name, at in services.items()])
    services["partner"].answers(Answer(503, b"back at noon"))

    sent = {}
    for order in ("A-1", "A-2"):
        answer = client.message.publish_json(
            url_group=GROUP,
            body={"orderId": order, "event": "created"},
            retries=2,
            retry_delay="10",
            failure_callback=alarm.url,
        )
        assert isinstance(answer, list)
        sent[order] = dict(zip(SERVICES, answer, strict=True))

    for name in SERVICES[:3]:
        requests = services[name].wait_for(2)
        assert {request.json["orderId"] for request in requests} == {"A-1", "A-2"}
        for request in requests:
            assert request.header("Upstash-Topic-Name") == GROUP
            assert_genuine(request, services[name].url, server.user)
    reports = [request.json for request in alarm.wait_for(2)]
    assert {(one["endpointName"], one["status"], one["retried"]) for one in reports} == {("partner", 503, 2)}
    assert {one["sourceMessageId"] for one in reports} == {sent[order]["partner"].message_id for order in sent}
    assert len(services["partner"].requests) == 6

    letters = client.dlq.list(filter={"url_group": GROUP}).messages
    assert {(one.url, one.response_status, one.response_body, one.max_retries) for one in letters} == {
        (services["partner"].url, 503, "back at noon", 2)
    }
    assert {one.dlq_id for one in letters} == {one["dlqId"] for one in reports}
    services["partner"].answers(Answer(200))
    ids = "&".join(f"dlqIds={one.dlq_id}" for one in letters)
    again = server.call("POST", f"/v2/dlq/retry?{ids}").json["responses"]
    assert {story(client, one["messageId"])[-1] for one in again} == {"DELIVERED"}
    assert {request.json["orderId"] for request in services["partner"].requests[6:]} == {"A-1", "A-2"}
    assert client.dlq.list(filter={"url_group": GROUP}).messages == []
    assert [len(services[name].requests) for name in SERVICES] == [2, 2, 2, 8]
    client.url_group.delete(GROUP)


@pytest.mark.promise("P-90")
def test_an_event_goes_to_the_services_there_are_when_it_is_published(client: QStash, receiver: Receiver) -> None:
    """One that comes later hears of later events, and one that has left still gets what was meant for it."""
    group, old, new = f"{GROUP}-changing", receiver.endpoint(), receiver.endpoint()
    client.url_group.upsert_endpoints(group, [{"url": old.url, "name": "old"}])
    first = client.message.publish(url_group=group, body="first", delay="1s")
    client.url_group.upsert_endpoints(group, [{"url": new.url, "name": "new"}])
    client.url_group.remove_endpoints(group, [{"name": "old"}])
    second = client.message.publish(url_group=group, body="second")

    assert isinstance(first, list)
    assert isinstance(second, list)
    assert ([one.url for one in first], [one.url for one in second]) == ([old.url], [new.url])
    for one in (*first, *second):
        assert story(client, one.message_id)[-1] == "DELIVERED"
    assert ([r.text for r in old.requests], [r.text for r in new.requests]) == (["first"], ["second"])
    client.url_group.delete(group)


def test_jobs_of_a_model_report_back_when_they_are_done(client: QStash, receiver: Receiver) -> None:
    """The guide's long job: the caller is told at once that it is queued, and its callback brings the result."""
    job, done = receiver.endpoint(), receiver.endpoint()
    job.answers(Answer(500), Answer(200, b'{"content":"a poem"}'))

    sent = client.message.publish_json(
        url=job.url, body={"prompt": "a poem", "documentId": "d-1"}, retries=2, retry_delay="10", callback=done.url
    )

    assert not isinstance(sent, list)
    reports = until(lambda: [r.json for r in done.requests if r.json["status"] == 200], "the result")
    assert reports[0]["sourceMessageId"] == sent.message_id
    assert reports[0]["body"] == "eyJjb250ZW50IjoiYSBwb2VtIn0="
