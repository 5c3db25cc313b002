"""What the server of a test is to those who use it: applications, clients, and the test itself."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from qstash import AsyncQStash, QStash, Receiver
from tests.support.clients import connect

from lateron.testing import Answer, Lateron, NotAtRest, NotReceived, Refused, Request


def test_the_environment_leads_to_the_server(lateron: Lateron) -> None:
    """An application reads these four and nothing else."""
    assert {name: os.environ[name] for name in lateron.env} == lateron.env

    client = QStash.from_env() if hasattr(QStash, "from_env") else QStash(os.environ["QSTASH_TOKEN"])
    client.message.publish(url=lateron.catcher.url("env"), body="hello")

    assert [request.text for request in lateron.catcher.received("env")] == ["hello"]
    client.http._client.close()


def test_the_official_receiver_believes_deliveries_of_any_year(lateron: Lateron, client: QStash) -> None:
    """Its clock is the machine's, wherever that of the test stands; so signatures are dated by it."""
    url = lateron.catcher.url("signed")
    receiver = Receiver(lateron.current_signing_key, lateron.next_signing_key)
    for years in (0, 10):
        client.message.publish_json(url=url, body={"years": years})
        lateron.clock.advance(f"{years * 365}d")

    for request in lateron.catcher.received("signed"):
        receiver.verify(signature=request.header("Upstash-Signature"), body=request.text, url=url)
        assert request.signed
    assert len(lateron.catcher.received("signed")) == 2


def test_a_destination_answers_in_turn(lateron: Lateron, client: QStash) -> None:
    """A script says more than a mock: two failures, an object, and the last answer for ever."""
    url = lateron.catcher.url("shop")
    lateron.catcher.answer("shop", 503, Answer(429, headers={"Retry-After": "5"}), Answer(200, {"paid": True}))
    client.message.publish(url=url, retries=3, callback=lateron.catcher.url("done"))
    lateron.clock.advance("1h")
    client.message.publish(url=url)

    assert [request.retried for request in lateron.catcher.received("shop")] == [0, 1, 2, 0]
    first, second, third, _ = [request.time for request in lateron.catcher.received("shop")]
    assert (second - first).total_seconds() == 12
    assert (third - second).total_seconds() == 5, "as the answer asked for"
    assert lateron.catcher.received("done")[-1].json()["status"] == 200


def test_a_function_may_answer_and_call_the_server(lateron: Lateron, client: QStash) -> None:
    """A step that publishes the next one; the answer to it is on its way, so all is not at rest before."""

    def step(request: Request) -> int:
        number = int(request.text)
        if number < 4:
            client.message.publish(url=lateron.catcher.url("step"), body=str(number + 1), delay="1h")
        return 200

    lateron.catcher.answer("step", step)
    client.message.publish(url=lateron.catcher.url("step"), body="1")

    lateron.clock.advance("1d")

    assert [request.text for request in lateron.catcher.received("step")] == ["1", "2", "3", "4"]


def test_a_destination_may_end_the_retries(lateron: Lateron, client: QStash) -> None:
    """The one answer that no retry follows."""
    lateron.catcher.answer("picky", Answer.not_retryable("no such order"))
    client.message.publish(url=lateron.catcher.url("picky"), retries=5)

    (letter,) = lateron.dead_letters()
    assert (letter["responseStatus"], letter["responseBody"]) == (489, "no such order")
    assert len(lateron.catcher.received("picky")) == 1
    with pytest.raises(Refused, match="400"):
        lateron.dead_letters(colour="red")


def test_the_query_of_a_url_chooses_the_answer_too(lateron: Lateron, client: QStash) -> None:
    """As with the catcher of `lateron dev`; a delay goes by the clock."""
    client.message.publish(url=lateron.catcher.url("any") + "/path?status=204&delay=1h&x=1")
    lateron.clock.advance("1h")

    (request,) = lateron.catcher.received("any")
    assert (request.method, request.query["x"]) == ("POST", "1")
    assert lateron.states(request.message_id)[-1] == "DELIVERED"


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answer 201 to everything."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-path", scope["raw_path"])]})
    await send({"type": "http.response.body", "body": b"asgi"})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer 202 to everything."""
    start_response("202 Accepted", [("X-Path", environ["PATH_INFO"])])
    return [b"wsgi"]


@pytest.mark.parametrize(("application", "status", "body"), [(asgi, 201, "asgi"), (wsgi, 202, "wsgi")])
def test_an_application_is_a_destination(
    lateron: Lateron, client: QStash, application: Any, status: int, body: str
) -> None:
    """Over real HTTP, on a port of its own, blocking or not."""
    address = lateron.serve(application)
    client.message.publish(url=f"{address}/hook", callback=lateron.catcher.url("done"))

    (done,) = lateron.catcher.received("done")
    assert (done.json()["status"], done.json()["header"]["X-Path"]) == (status, ["/hook"])
    assert done.json()["body"] == {"asgi": "YXNnaQ==", "wsgi": "d3NnaQ=="}[body]


def test_asynchronous_tests_have_twins_to_await(lateron: Lateron) -> None:
    """The destination runs on the loop of the test, which therefore must not be blocked."""

    async def test() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = AsyncQStash(lateron.token, base_url=lateron.url)
        await client.message.publish(url=f"http://127.0.0.1:{port}/", delay="1d")
        await client.message.publish(url=lateron.catcher.url("b"), body="b")
        assert [request.text for request in await lateron.catcher.areceived("b")] == ["b"]
        assert len(await lateron.catcher.await_for("b")) == 1
        assert len(await lateron.apending()) == 1

        await lateron.clock.aadvance("12h")
        assert seen == []
        await lateron.clock.aadvance_to(datetime.now(UTC).replace(year=datetime.now(UTC).year + 1))

        assert len(seen) == 1
        assert await lateron.adead_letters() == []
        await lateron.asettle()
        message = (await lateron.catcher.areceived("b"))[0].message_id
        assert (await lateron.astates(message)) in ([], ["CREATED", "ACTIVE", "DELIVERED"])
        server.close()
        await server.wait_closed()
        await client.http._client.aclose()

    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    asyncio.run(test())


def test_a_destination_that_hangs_is_named(lateron: Lateron, client: QStash) -> None:
    """A test that waits for ever tells nothing. Said to be meant, its time is up by the clock."""
    hold = threading.Event()

    def hang(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        hold.wait()
        start_response("200 OK", [])
        return []

    address = lateron.serve(hang)
    sent = client.message.publish(url=f"{address}/hang", retries=0, timeout="1m")
    assert not isinstance(sent, list)
    lateron.patience = 0.3
    with pytest.raises(NotAtRest, match=f"attempt 1 of {sent.message_id} at {address}/hang"):
        lateron.settle()
    lateron.patience = 30

    lateron.expect_no_answer(address)
    lateron.clock.advance("1m")

    assert lateron.states(sent.message_id)[-1] == "FAILED"
    hold.set()


def test_waiting_in_vain_says_what_waits_for_what(lateron: Lateron, client: QStash) -> None:
    """The usual reason is a clock that nobody moved."""
    client.message.publish(url=lateron.catcher.url("later"), delay="1h")
    lateron.patience = 0.3
    with pytest.raises(NotReceived, match=r"(?s)'later' has received 0 of 1.*/_catch/later: delay"):
        lateron.catcher.wait_for("later")


def test_somebody_elses_work_can_be_waited_for(lateron: Lateron, client: QStash) -> None:
    """A thread of the application publishes when it likes."""
    publisher = threading.Thread(target=lambda: client.message.publish(url=lateron.catcher.url("thread")))
    publisher.start()

    assert len(lateron.catcher.wait_for("thread")) == 1
    publisher.join()
    lateron.catcher.clear("thread")
    assert lateron.catcher.received("thread") == []


def test_servers_of_two_tests_know_nothing_of_each_other(lateron: Lateron, client: QStash) -> None:
    """Each has its port, its store and its time."""
    with Lateron(start="2040-01-01", settings={"quota": "free"}) as other:
        client.message.publish(url=other.catcher.url("x") + "?from=first")
        lateron.settle()
        other.clock.advance("1d")

        assert [request.query["from"] for request in other.catcher.received("x")] == ["first"]
        assert lateron.catcher.received() == []
        assert other.clock().year == 2040
        refused = other.call("POST", f"/v2/publish/{other.catcher.url('x')}", b"", {"Upstash-Delay": "8d"})
        assert refused.status == 412
        assert "delay" in refused.json()["error"]
    with pytest.raises(RuntimeError, match="does not run"):
        other.settle()


def test_a_store_in_a_directory_outlives_the_server(tmp_path: Path) -> None:
    """For tests of what a restart does; the clock starts where the test says."""
    with Lateron("2030-01-01", data_dir=tmp_path / "data") as first, connect("sync", first.url, first.token) as client:
        client.message.publish(url="http://127.0.0.1:9/", delay="1h")
    with Lateron("2030-01-01T00:30", data_dir=tmp_path / "data") as second:
        second.clock.advance("10m")
        assert [message["waitingFor"] for message in second.pending()] == ["delay"]


def test_a_server_that_cannot_start_says_so() -> None:
    """A misspelt setting ends the test, not its patience."""
    with pytest.raises(Exception, match="no such setting"):
        Lateron(settings={"qouta": "free"})
