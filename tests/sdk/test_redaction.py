"""What a publisher hides is hidden on every page, and goes to the destination as it was."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import pytest
from qstash import QStash
from tests.support.clients import publish, story
from tests.support.receiver import Answer, Endpoint, Receiver
from tests.support.server import Server

SECRET = "the password is swordfish"
TOKEN = "Bearer top-secret-credential"


def hidden(text: str) -> str:
    """Return what stands for a text that is hidden."""
    return "REDACTED:" + hashlib.sha256(text.encode()).hexdigest()


def pages(server: Server, message_id: str, dlq_id: str | None) -> dict[str, str]:
    """Return every page of the API that shows a message."""
    paths = [
        f"/v2/messages/{message_id}",
        "/v2/messages",
        f"/v2/events?messageId={message_id}",
        f"/v2/logs?messageId={message_id}",
        f"/v2/dlq?messageId={message_id}",
        f"/lateron/v1/messages/{message_id}",
    ]
    if dlq_id is not None:
        paths.append(f"/v2/dlq/{dlq_id}")
    replies = {path: server.call("GET", path) for path in paths}
    assert {path: reply.status for path, reply in replies.items()} == dict.fromkeys(paths, 200)
    return {path: reply.text for path, reply in replies.items()}


def traces(text: str, secret: str) -> list[str]:
    """Return how a secret shows in a text: plainly, in base64, or in base64 inside base64.

    Wherever it begins in a larger value, one of three alignments finds it.
    """
    inner = _encodings(secret)
    forms = [secret, *inner, *(form for outer in inner for form in _encodings(outer))]
    return [form for form in forms if form in text]


def _encodings(text: str) -> list[str]:
    return [b64encode(b"\0" * shift + text.encode()).decode()[4:-4] for shift in range(3)]


@pytest.mark.promise("P-110")
def test_a_hidden_body_and_header_show_nowhere(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """Whoever may read logs need not be someone who may read passwords; a hash still tells equal from unequal."""
    endpoint.answers(Answer(500))
    message_id = publish(
        client,
        url=endpoint.url,
        body=SECRET,
        content_type="text/plain",
        headers={"Authorization": TOKEN, "X-Open": "seen"},
        retries=0,
        redact={"body": True, "header": ["authorization"]},
    )
    story(client, message_id)
    (dead,) = client.dlq.list(filter={"message_id": message_id}).messages

    request = endpoint.wait_for_one()
    assert (request.text, request.header("Authorization")) == (SECRET, TOKEN)
    for path, text in pages(server, message_id, dead.dlq_id).items():
        assert (path, traces(text, SECRET), traces(text, TOKEN)) == (path, [], [])
    for shown in (client.message.get(message_id), dead, client.dlq.get(dead.dlq_id)):
        assert shown.body == hidden(SECRET)
        assert shown.headers is not None
        assert shown.headers["Authorization"] == [hidden(TOKEN)]
        assert shown.headers["X-Open"] == ["seen"]
    for log in client.log.list(filter={"message_id": message_id}).logs:
        assert log.headers is not None
        assert log.headers["Authorization"] == [hidden(TOKEN)]
        assert log.body_base64 in {hidden(SECRET), b64encode(hidden(SECRET).encode()).decode()}
    assert SECRET not in server.log
    assert TOKEN not in server.log


@pytest.mark.promise("P-110")
@pytest.mark.parametrize("fields", ["header", "headers", "body,header", "headers[X-Secret]", "header[x-secret], body"])
def test_every_spelling_of_the_fields_hides_them(
    client: QStash, server: Server, endpoint: Endpoint, fields: str
) -> None:
    """The documentation writes both the singular and the plural."""
    answer = client.http.request(
        path=f"/v2/publish/{endpoint.url}",
        method="POST",
        headers={"Upstash-Forward-X-Secret": TOKEN, "Upstash-Redact-Fields": fields, "Content-Type": "text/plain"},
        body=SECRET,
    )
    message_id = answer["messageId"]
    story(client, message_id)

    request = endpoint.wait_for_one()
    assert (request.text, request.header("X-Secret")) == (SECRET, TOKEN)
    for path, text in pages(server, message_id, None).items():
        assert (path, traces(text, TOKEN)) == (path, [])
        if "body" in fields:
            assert (path, traces(text, SECRET)) == (path, [])
    if "body" not in fields:
        assert client.message.get(message_id).body == SECRET


@pytest.mark.promise("P-110", "P-97")
def test_a_retry_from_the_dead_letters_sends_the_original(client: QStash, endpoint: Endpoint) -> None:
    """Hidden is only what is shown."""
    endpoint.answers(Answer(500), Answer(200))
    redact: dict[str, Any] = {"body": True, "header": True}
    message_id = publish(client, url=endpoint.url, body=SECRET, headers={"X-A": TOKEN}, retries=0, redact=redact)
    story(client, message_id)
    (dead,) = client.dlq.list(filter={"message_id": message_id}).messages

    answer = client.http.request(path=f"/v2/dlq/retry/{dead.dlq_id}", method="POST")

    assert story(client, answer["messageId"])[-1] == "DELIVERED"
    again = endpoint.requests[1]
    assert (again.text, again.header("X-A")) == (SECRET, TOKEN)
    assert client.message.get(answer["messageId"]).body == hidden(SECRET)


@pytest.mark.promise("P-110")
def test_a_waiting_message_is_hidden_in_lists(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """The list of pending messages shows requests too."""
    message_id = publish(
        client, url=endpoint.url, body=SECRET, headers={"X-A": TOKEN}, delay="1h", redact={"body": True, "header": True}
    )

    listed = server.call("GET", "/v2/messages")
    assert message_id in listed.text
    assert (traces(listed.text, SECRET), traces(listed.text, TOKEN)) == ([], [])
    client.message.cancel(message_id)


@pytest.mark.promise("P-110")
def test_pages_of_a_callback_hide_its_source(client: QStash, server: Server, receiver: Receiver) -> None:
    """The callback's own body quotes the source; its pages must not give away what the source hid."""
    source, back = receiver.endpoint(), receiver.endpoint()
    publish(
        client,
        url=source.url,
        body=SECRET,
        headers={"X-A": TOKEN},
        callback=back.url,
        redact={"body": True, "header": True},
    )

    callback_id = back.wait_for_one().header("Upstash-Message-Id")
    story(client, callback_id)
    for path, text in pages(server, callback_id, None).items():
        assert (path, traces(text, SECRET), traces(text, TOKEN)) == (path, [], [])
