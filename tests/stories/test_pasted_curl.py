"""Lines of curl, as a request builder writes them and people paste them into other tools.

A tool such as n8n takes a pasted line apart into its own form; whatever it then sends is what curl would have
sent. So the lines here are run by the real curl, with everything it adds of its own: its user agent, its form
type for ``-d``, ``Expect`` for a large body, the destination unescaped behind the prefix.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from qstash import QStash
from tests.support.clients import story
from tests.support.genuine import assert_genuine
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Receiver
from tests.support.server import Server

if shutil.which("curl") is None:
    pytest.skip("curl is not installed", allow_module_level=True)


def pasted(line: str, server: Server, **names: str) -> Any:
    """Run a line in a shell, with the address and token of the server in their places; return the JSON it prints."""
    for name, value in {"QSTASH_URL": server.url, "QSTASH_TOKEN": server.token, **names}.items():
        line = line.replace(f"<{name}>", value)
    done = subprocess.run(
        ["sh", "-c", f"{line.strip()} --silent --show-error --fail-with-body --noproxy '*'"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None


@pytest.mark.promise("P-106")
def test_a_pasted_publish_arrives(client: QStash, server: Server, receiver: Receiver) -> None:
    """With a blank or none behind the colon, and options as people spell them."""
    endpoint = receiver.endpoint()
    answer = pasted(
        """
        curl -XPOST -H 'Authorization: Bearer <QSTASH_TOKEN>' \\
          -H "Content-type: application/json" \\
          -H "Upstash-Flow-Control-Key:USER_GIVEN_KEY" \\
          -H "Upstash-Flow-Control-Value:rate=10,parallelism=20,period=1m" \\
          -H "upstash-retries: 2" -H 'Upstash-Forward-X-From: a node' \\
          '<QSTASH_URL>/v2/publish/<DESTINATION>?page=1&sort=a%20b' \\
          -d '{"message":"Hello, World!"}'
        """,
        server,
        DESTINATION=endpoint.url,
    )

    request = endpoint.wait_for_one()
    assert (request.method, request.target) == ("POST", f"{endpoint.path}?page=1&sort=a%20b")
    assert request.json == {"message": "Hello, World!"}
    assert (request.header("Content-Type"), request.header("X-From")) == ("application/json", "a node")
    assert "curl" not in request.header("User-Agent")
    assert_genuine(request, f"{endpoint.url}?page=1&sort=a%20b", server.user)
    message = client.message.get(answer["messageId"])
    assert message.flow_control is not None
    assert (message.flow_control.rate, message.flow_control.parallelism, message.flow_control.period) == (10, 20, 60)
    assert message.max_retries == 2


@pytest.mark.promise("P-60")
def test_pasted_enqueues_come_in_order(client: QStash, server: Server, receiver: Receiver) -> None:
    """The queue is made by the first; the second names curl's default type for a form."""
    endpoint = receiver.endpoint()
    for number in ("1", "2", "3"):
        pasted(
            """
            curl '<QSTASH_URL>/v2/enqueue/pasted-queue/<DESTINATION>' \\
              --header 'Authorization: Bearer <QSTASH_TOKEN>' --request POST --data 'n=<N>'
            """,
            server,
            DESTINATION=endpoint.url,
            N=number,
        )

    endpoint.wait_for(3)
    assert [request.text for request in endpoint.requests] == ["n=1", "n=2", "n=3"]
    assert {request.header("Content-Type") for request in endpoint.requests} == {"application/x-www-form-urlencoded"}
    assert client.queue.get("pasted-queue").parallelism == 1
    client.queue.delete("pasted-queue")


@pytest.mark.promise("P-80")
def test_a_pasted_schedule_ticks(client: QStash, server: Server, receiver: Receiver) -> None:
    """Stars and blanks survive the shell's quotes."""
    endpoint = receiver.endpoint()
    line = """
        curl -X POST <QSTASH_URL>/v2/schedules/<DESTINATION> -H 'Authorization: Bearer <QSTASH_TOKEN>' \\
          -H 'Upstash-Cron: <CRON>' -H 'Content-Type: text/plain' --data-raw 'good morning'
        """
    daily = pasted(line, server, DESTINATION=endpoint.url, CRON="CRON_TZ=America/New_York 0 4 * * MON-FRI")
    often = pasted(line, server, DESTINATION=endpoint.url, CRON="* * * * * *")

    request = endpoint.wait_for(1)[0]
    assert (request.text, request.header("Upstash-Schedule-Id")) == ("good morning", often["scheduleId"])
    assert client.schedule.get(daily["scheduleId"]).cron == "CRON_TZ=America/New_York 0 4 * * MON-FRI"
    for made in (daily, often):
        client.schedule.delete(made["scheduleId"])


def test_a_pasted_batch_and_a_large_body_go_through(client: QStash, server: Server, receiver: Receiver) -> None:
    """For a body above a megabyte curl asks first whether it may send it."""
    endpoint = receiver.endpoint()
    answers = pasted(
        """
        curl -XPOST '<QSTASH_URL>/v2/batch' -H 'Authorization: Bearer <QSTASH_TOKEN>' \\
          -H 'Content-type: application/json' \\
          -d '[{"destination": "<DESTINATION>", "body": "one"},
               {"destination": "<DESTINATION>", "headers": {"Upstash-Delay": "1s"}, "body": {"two": 2}}]'
        """,
        server,
        DESTINATION=endpoint.url,
    )
    assert {story(client, answer["messageId"])[-1] for answer in answers} == {"DELIVERED"}
    assert [request.text for request in endpoint.requests] == ["one", '{"two":2}']

    large = pasted(
        """
        head -c 2000000 /dev/zero | curl -X POST <QSTASH_URL>/v2/publish/<DESTINATION> \\
          -H 'Authorization: Bearer <QSTASH_TOKEN>' --data-binary @-
        """,
        server,
        DESTINATION=endpoint.url,
    )
    assert story(client, large["messageId"])[-1] == "DELIVERED"
    assert endpoint.requests[2].body == bytes(2_000_000)
    assert not endpoint.requests[2].has("Expect")


def test_a_webhook_by_address_alone_is_one_line_of_curl(client: QStash, server: Server, receiver: Receiver) -> None:
    """No header at all: token and options stand in the address, and what the sender adds is forwarded if asked."""
    endpoint = receiver.endpoint()
    answer = pasted(
        """
        curl '<QSTASH_URL>/v2/publish/<DESTINATION>?qstash_token=<QSTASH_TOKEN>&upstash-retries=3&upstash-delay=1s&upstash-header-forward=true' \\
          -H 'X-Event: push' --json '{"ref":"main"}'
        """,  # noqa: E501 - One line, as it is pasted.
        server,
        DESTINATION=endpoint.url,
    )

    request = endpoint.wait_for_one()
    assert (request.target, request.json, request.header("X-Event")) == (endpoint.path, {"ref": "main"}, "push")
    assert client.message.get(answer["messageId"]).max_retries == 3


def test_what_curl_is_told_of_a_mistake_can_be_read(server: Server) -> None:
    """A person sits in front of it; ``--fail-with-body`` shows the reason and the status is the exit code's."""
    done = subprocess.run(
        ["curl", "--silent", "--fail-with-body", "--noproxy", "*", "-X", "POST",
         f"{server.url}/v2/publish/http://example.com", "-H", f"Authorization: Bearer {server.token}",
         "-H", "Upstash-Delay: soon"],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip

    assert done.returncode == 22
    assert "upstash-delay" in json.loads(done.stdout)["error"].lower()


def test_a_pasted_group_is_made_and_reached(client: QStash, server: Server, receiver: Receiver) -> None:
    """The page on groups in three lines: add endpoints, set defaults, publish."""
    one, two = receiver.endpoint(), receiver.endpoint()
    pasted(
        """
        curl -XPOST <QSTASH_URL>/v2/topics/pasted-group/endpoints -H 'Authorization: Bearer <QSTASH_TOKEN>' \\
          -H "Content-Type: application/json" \\
          -d '{"endpoints": [{"name": "one", "url": "<ONE>"}, {"name": "two", "url": "<TWO>"}]}'
        """,
        server,
        ONE=one.url,
        TWO=two.url,
    )
    pasted(
        """
        curl -X PATCH <QSTASH_URL>/v2/topics/pasted-group -H "Authorization: Bearer <QSTASH_TOKEN>" \\
          -d '{"headers": {"Upstash-Header-Forward": ["true"], "Upstash-Retries": "3"}}'
        """,
        server,
    )
    answers = pasted(
        """
        curl -XPOST "<QSTASH_URL>/v2/publish/pasted-group?qstash_token=<QSTASH_TOKEN>" -H 'X-Hub: 1' -d 'hello'
        """,
        server,
    )

    assert [answer["url"] for answer in answers] == [one.url, two.url]
    for endpoint in (one, two):
        request = endpoint.wait_for_one()
        assert (request.text, request.header("X-Hub")) == ("hello", "1")
    until(lambda: {story(client, answer["messageId"])[-1] for answer in answers} == {"DELIVERED"}, "both")
    client.url_group.delete("pasted-group")
