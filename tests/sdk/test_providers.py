"""Calls to providers of models and mail, as the SDK makes them, against stand-ins with their names.

The server finds ``api.openai.com`` at a loopback address by ``--resolve``, over TLS with a certificate of a
test authority, trusted once by ``--ca-file`` and once by ``SSL_CERT_FILE``. The stand-in echoes what it got,
and the callback, without which a call to a model is of little use, brings that back.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from qstash import QStash
from qstash.chat import LlmProvider, custom, openai
from tests.support.clients import Style, connect, publish, story
from tests.support.genuine import assert_genuine
from tests.support.look_alikes import Authority, bind_https
from tests.support.receiver import Answer, Receiver, echo
from tests.support.server import DEV_USERS, Server

HOSTS = ("api.openai.com", "api.anthropic.com", "api.resend.com", "gateway.helicone.ai", "llm.example.test")
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "grüße"}]}


@dataclass(frozen=True, slots=True)
class World:
    """A server that takes a stand-in for every provider."""

    server: Server
    stand_in: Receiver
    client: QStash


@pytest.fixture(scope="module", params=["flag", "environment"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("providers")
    authority = Authority.create(folder)
    stand_in = bind_https(authority.context(HOSTS, folder))
    if stand_in is None:
        pytest.skip("this user may not listen on port 443, where providers are")
    entries = [f"{host}:443:{stand_in.host}" for host in HOSTS]
    flags: list[str] = []
    environ: dict[str, str] = {}
    if request.param == "flag":
        flags = [*(f"--resolve={entry}" for entry in entries), "--ca-file", str(authority.path)]
    else:
        environ = {"LATERON_RESOLVE": " ".join(entries), "SSL_CERT_FILE": str(authority.path)}
    style: Style = "sync" if request.param == "flag" else "async"
    with (
        stand_in,
        Server(folder / "data", *flags, environ=environ) as server,
        connect(style, server.url, server.token) as client,
    ):
        stand_in.endpoint("/").answer_by(echo)
        yield World(server, stand_in, client)


def called(world: World, receiver: Receiver, **options: Any) -> dict[str, Any]:
    """Publish with a callback and return what the stand-in saw, as the callback tells it."""
    back = receiver.endpoint()
    publish(world.client, callback=back.url, **options)
    request = back.wait_for_one()
    assert_genuine(request, back.url, DEV_USERS[0])
    assert request.json["status"] == 200
    seen = json.loads(b64decode(request.json["body"]))
    assert isinstance(seen, dict)
    return {**seen, "body": b64decode(seen["body"]), "url": request.json["url"]}


def test_openai(world: World, receiver: Receiver) -> None:
    """The SDK makes the URL and the credential; we make the call."""
    back = receiver.endpoint()
    world.client.message.publish_json(api={"name": "llm", "provider": openai("sk-test")}, body=CHAT, callback=back.url)

    seen = json.loads(b64decode(back.wait_for_one().json["body"]))
    assert (seen["method"], seen["target"]) == ("POST", "/v1/chat/completions")
    assert (seen["headers"]["host"], seen["headers"]["authorization"]) == ("api.openai.com", "Bearer sk-test")
    assert json.loads(b64decode(seen["body"])) == CHAT


def test_a_provider_of_ones_own(world: World, receiver: Receiver) -> None:
    """Whoever speaks the same protocol, given with or without the path."""
    provider = custom("https://llm.example.test/v1/chat/completions", "their-token")

    seen = called(world, receiver, api={"name": "llm", "provider": provider}, body="{}")

    assert (seen["target"], seen["headers"]["host"]) == ("/v1/chat/completions", "llm.example.test")
    assert seen["headers"]["authorization"] == "Bearer their-token"


def test_anthropic(world: World, receiver: Receiver) -> None:
    """This SDK has no helper for it; the guide gives URL and headers."""
    seen = called(
        world,
        receiver,
        url="https://api.anthropic.com/v1/messages",
        headers={"x-api-key": "ak-test", "anthropic-version": "2023-06-01"},
        body=json.dumps(CHAT),
        content_type="application/json",
    )

    assert (seen["target"], seen["headers"]["host"]) == ("/v1/messages", "api.anthropic.com")
    assert (seen["headers"]["x-api-key"], seen["headers"]["anthropic-version"]) == ("ak-test", "2023-06-01")
    assert json.loads(seen["body"]) == CHAT


@pytest.mark.parametrize("path", ["/emails", "/emails/batch"])
def test_resend(world: World, receiver: Receiver, path: str) -> None:
    """One mail or many, by URL."""
    mails = json.dumps([{"to": ["a@example.test"], "subject": "Hello"}])

    seen = called(
        world, receiver, url=f"https://api.resend.com{path}", headers={"Authorization": "Bearer re_test"}, body=mails
    )

    assert (seen["target"], seen["headers"]["host"]) == (path, "api.resend.com")
    assert seen["headers"]["authorization"] == "Bearer re_test"
    assert seen["body"].decode() == mails


def test_analytics_by_helicone(world: World, receiver: Receiver) -> None:
    """The gateway is told by headers where to pass the call on."""
    seen = called(
        world,
        receiver,
        api={"name": "llm", "provider": LlmProvider("helicone", "https://gateway.helicone.ai", "sk-test")},
        headers={"Helicone-Auth": "Bearer h-test", "Helicone-Target-Url": "https://api.openai.com"},
        body="{}",
    )

    assert (seen["target"], seen["headers"]["host"]) == ("/v1/chat/completions", "gateway.helicone.ai")
    assert seen["headers"]["helicone-auth"] == "Bearer h-test"
    assert seen["headers"]["helicone-target-url"] == "https://api.openai.com"


def test_calls_in_a_batch(world: World, receiver: Receiver) -> None:
    """Each item with a provider of its own."""
    first, second = receiver.endpoint(), receiver.endpoint()
    world.client.message.batch_json(
        [
            {"api": {"name": "llm", "provider": openai("one")}, "body": CHAT, "callback": first.url},
            {"api": {"name": "llm", "provider": openai("two")}, "body": CHAT, "callback": second.url},
        ]
    )

    tokens = [
        json.loads(b64decode(back.wait_for_one().json["body"]))["headers"]["authorization"] for back in (first, second)
    ]
    assert tokens == ["Bearer one", "Bearer two"]


@pytest.mark.promise("P-26")
def test_a_provider_that_is_busy_says_when_it_is_not(world: World) -> None:
    """OpenAI sends a duration for requests and one for tokens; the longer one counts."""
    busy = world.stand_in.endpoint("/v1/busy")
    hints = (("X-RateLimit-Reset-Requests", "1ms"), ("X-RateLimit-Reset-Tokens", "2ms"))
    busy.answers(Answer(429, headers=hints), Answer(200))

    message_id = publish(world.client, url="https://api.openai.com/v1/busy", retries=1)

    assert story(world.client, message_id)[-1] == "DELIVERED"
    assert [request.header("Host") for request in busy.requests] == ["api.openai.com"] * 2


@pytest.mark.promise("P-20")
def test_a_name_that_the_certificate_lacks_is_refused(world: World) -> None:
    """Trust in the test authority is trust in the names it signed."""
    message_id = publish(world.client, url=f"https://{world.stand_in.host}/x", retries=0)

    assert story(world.client, message_id)[-1] == "FAILED"
    (dead,) = world.client.dlq.list(filter={"message_id": message_id}).messages
    assert dead.response_status == 0
