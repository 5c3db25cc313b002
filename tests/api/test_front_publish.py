"""Publishing over HTTP: what is accepted, as what, and what is refused before anything is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.api import world as world_room
from tests.api.raw import Client, exchange, until
from tests.api.world import ADMIN, PRIVATE, READER, TRUSTED, World, as_json, living

from lateron.core.quota import BATCH_BYTES, QUOTAS
from lateron.errors import Overloaded, StorageFull, StoreFailed


@pytest.fixture(autouse=True, params=[True, False], ids=["lane", "asgi"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in give the same answers."""
    monkeypatch.setattr(world_room, "FAST", request.param)


AUTH = f"Authorization: Bearer {ADMIN}\r\n".encode()


def in_a_world(test: Callable[[World], Awaitable[None]], **changes: Any) -> None:
    """Run a test in a world of its own."""

    async def run() -> None:
        async with living(**changes) as world:
            await test(world)

    asyncio.run(run())


async def nothing_stored(world: World) -> bool:
    state = await world.state()
    return not any(
        state[f"{ADMIN}{path}"][name] for path, name in (("/v2/messages", "messages"), ("/v2/events", "events"))
    )


def test_publish_is_answered_with_the_id_of_what_is_stored() -> None:
    """201 means: it is in the store, and this is its name."""

    async def check(world: World) -> None:
        answer = await world.ask("POST", "/v2/publish/https://example.com", ADMIN, b"hi", {"Upstash-Delay": "1h"})
        message = (await world.ask("GET", f"/v2/messages/{answer.json()['messageId']}")).json()

        assert answer.status == 201
        assert list(answer.json()) == ["messageId"]
        assert (message["url"], message["body"], message["waitingFor"]) == ("https://example.com", "hi", "delay")

    in_a_world(check)


@pytest.mark.promise("P-51")
def test_duplicate_is_answered_202_with_the_first_id() -> None:
    """A client that repeats itself learns which message it already has."""

    async def check(world: World) -> None:
        options = {"Upstash-Deduplication-Id": "a"}
        first = await world.ask("POST", "/v2/publish/https://example.com", ADMIN, b"hi", options)
        second = await world.ask("POST", "/v2/publish/https://example.com", ADMIN, b"ho", options)
        batch = [{"destination": "https://example.com", "headers": options}, {"destination": "https://example.com"}]
        third, fourth = (await world.ask("POST", "/v2/batch", ADMIN, as_json(batch))).json()

        assert (first.status, second.status) == (201, 202)
        assert second.json() == third == {**first.json(), "deduplicated": True}
        assert "deduplicated" not in fourth

    in_a_world(check)


@pytest.mark.promise("D-3", "D-11")
@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/v2/publish/https://h/a//b?x=1&y=%20", "https://h/a//b?x=1&y=%20"),
        ("/v2/publish/http://h", "http://h"),
        ("/v2/publish/https:/h/a", "https://h/a"),
        ("/v2/publish/https%3A%2F%2Fh%2Fa%3Fx%3D1", "https://h/a?x=1"),
        ("/V2/PUBLISH/https://h/A", "https://h/A"),
        ("http://us/v2/publish/https://h/a", "https://h/a"),
        (f"/v2/publish/https://h/a?qstash_token={ADMIN}&x=1", "https://h/a?x=1"),
        (f"/v2/publish/https://h/a?x=1&qstash%5Ftoken={ADMIN}", "https://h/a?x=1"),
        ("/v2/publish/https://h/a?upstash-delay=1h&x=1", "https://h/a?x=1"),
    ],
)
def test_destination_is_taken_from_the_raw_path(target: str, url: str) -> None:
    """What a client means by a URL must survive routers and proxies; what is ours must not reach its receiver."""

    async def check(world: World) -> None:
        token = None if "token" in target else ADMIN
        answer = await world.ask("POST", target, token, headers={"Upstash-Delay": "1h"})
        (message,) = (await world.ask("GET", "/v2/messages")).json()["messages"]

        assert answer.status == 201
        assert message["url"] == url

    in_a_world(check)


@pytest.mark.promise("P-3")
@pytest.mark.parametrize(
    ("target", "headers", "status", "says"),
    [
        ("", {}, 400, "a non-empty destination must be provided"),
        ("ftp://h", {}, 404, "topic ftp://h not found; a URL begins with http:// or https://"),
        ("localhost:3000/x", {}, 404, "topic localhost:3000/x not found; a URL begins with http:// or https://"),
        ("http://h", {"Upstash-Flow-Control-Key": ".."}, 400, "nobody could pause"),
        ("orders", {}, 404, "topic orders not found"),
        ("api/llm", {}, 400, "hosted APIs"),
        ("https://h h", {}, 400, ""),
        ("https://u:p@h", {}, 400, "user and password"),
        (f"http://{PRIVATE}/", {}, 400, "private"),
        ("https://h", {"Upstash-Callback": f"http://{PRIVATE}"}, 400, "private"),
        ("https://h", {"Upstash-Failure-Callback": f"http://{PRIVATE}"}, 400, "private"),
        (
            "https://h",
            {"Upstash-Callback": "http://h", "Upstash-Callback-Failure-Callback": f"http://{PRIVATE}"},
            400,
            "private",
        ),
        ("https://h", {"Upstash-Retries": "soon"}, 400, "Upstash-Retries"),
        ("https://h", {"Upstash-Retries": "1000001"}, 412, "Upstash-Retries"),
        ("https://h", {"Upstash-Cron": "0 0 30 2 *"}, 400, "Upstash-Cron: expected a cron expression"),
        ("https://h", {"Lateron-Jitter": "5s"}, 400, "Lateron-Jitter: an option of schedules"),
        ("https://h", {"Upstash-Workflow-RunId": "wfr_1"}, 501, "the workflow protocol is not supported yet"),
        ("https://h", {"Lateron-Hops": "17"}, 400, "circles"),
        ("https://h", {"Upstash-Method": "\x7f"}, 400, ""),
    ],
)
def test_bad_publish_says_what_is_wrong_and_stores_nothing(
    target: str, headers: dict[str, str], status: int, says: str
) -> None:
    """The text names the field, so that whoever reads it can mend his request."""

    async def check(world: World) -> None:
        answer = await world.ask("POST", f"/v2/publish/{target}", ADMIN, b"hi", headers)

        assert answer.status == status
        assert says.lower() in answer.json()["error"].lower()
        assert await nothing_stored(world)

    in_a_world(check)


@pytest.mark.promise("P-91")
def test_bad_item_of_a_batch_is_answered_in_its_place() -> None:
    """One bad item must not cost the others, nor their order."""

    async def check(world: World) -> None:
        items: list[Any] = [
            {"destination": "https://a"},
            {"destination": "nonsense"},
            {"destination": f"http://{PRIVATE}"},
            {"destination": "https://b", "headers": {"Upstash-Callback": f"http://{PRIVATE}"}},
            {"destination": "https://c", "queue": "q/q"},
            {"destination": "https://d", "body": {"x": [1]}},
        ]
        answer = await world.ask("POST", "/v2/batch", ADMIN, as_json(items))
        answers = answer.json()
        await until(lambda: len(world.begun) == 2)

        assert answer.status == 201
        assert [item.get("status") for item in answers] == [None, 404, 400, 400, 400, None]
        assert [claimed.request.url for claimed in world.begun] == ["https://a", "https://d"]
        assert world.begun[1].request.body == b'{"x":[1]}'

    in_a_world(check)


@pytest.mark.promise("P-3", "P-91")
@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b"", 400, None),
        (b"{}", 400, None),
        (b"[", 400, None),
        (b"[" * 100_000, 400, None),
        (b"[]", 200, []),
        (b'[{"destination":"https://a","headers":{"Upstash-Workflow-Init":"true"}}]', 501, None),
    ],
)
def test_batch_as_a_whole_is_refused_or_empty(body: bytes, status: int, answer: Any) -> None:
    """A body that is no list of messages has no places to put errors in."""

    async def check(world: World) -> None:
        got = await world.ask("POST", "/v2/batch", ADMIN, body)

        assert got.status == status
        assert got.json() == answer if answer is not None else "error" in got.json()
        assert await nothing_stored(world)

    in_a_world(check)


@pytest.mark.promise("D-7")
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (b"/v2/publish/https://h", b"Content-Length: 1048577\r\n\r\n", 412),
        (b"/v2/publish/https://h", b"Content-Length: %d\r\n\r\n" % (BATCH_BYTES + 1), 413),
        (b"/v2/batch", b"Content-Length: %d\r\n\r\n" % (BATCH_BYTES + 1), 413),
        (b"/v2/publish/https://h", b"Transfer-Encoding: chunked\r\n\r\n200000\r\n" + b"x" * (1 << 20) + b"y", 412),
        (b"/v2/dlq/retry", b"Content-Length: 2000000\r\n\r\n", 413),
    ],
)
def test_body_is_refused_before_it_is_taken_in(path: bytes, body: bytes, status: int) -> None:
    """An announced length is believed when it is too much; a chunked body is counted while it comes."""

    async def check(world: World) -> None:
        (answer,) = await exchange(world.front.port, b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n" + AUTH + body)

        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert world.front.state.tasks == set()

    in_a_world(check, quota=QUOTAS["free"])


def test_body_of_exactly_the_quota_is_stored() -> None:
    """The limit is the last size that is allowed."""

    async def check(world: World) -> None:
        assert (await world.ask("POST", "/v2/publish/https://h", ADMIN, b"x" * (1 << 20))).status == 201

    in_a_world(check, quota=QUOTAS["free"])


def test_stranger_is_refused_before_he_sends_a_body() -> None:
    """A client that asks first (Expect) gets its 401 at once; nobody reads what it would have sent."""

    async def check(world: World) -> None:
        client = await Client.connect(world.front.port)
        await client.send(
            b"POST /v2/publish/https://h HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert await client.rest() == b""
        await client.close()

    in_a_world(check)


@pytest.mark.promise("P-119", "D-7")
def test_bytes_in_flight_are_bounded_for_all_together() -> None:
    """Many bodies that are each allowed must not fill the memory together."""

    async def check(world: World) -> None:
        head = b"POST /v2/publish/https://h HTTP/1.1\r\nHost: a\r\n" + AUTH
        slow = await Client.connect(world.front.port)
        await slow.send(head + b"Content-Length: 1000\r\n\r\n" + b"x" * 900)
        await until(lambda: world.api._in_flight.taken == 900)
        refused = await world.ask("POST", "/v2/publish/https://h", ADMIN, b"x" * 200)
        await slow.send(b"x" * 100)
        accepted = await slow.answer()
        again = await world.ask("POST", "/v2/publish/https://h", ADMIN, b"x" * 200)
        await slow.close()

        assert (refused.status, accepted.status, again.status) == (503, 201, 201)
        assert refused.headers["retry-after"] == "1"
        assert world.api._in_flight.taken == 0

    in_a_world(check, in_flight_bytes=1000)


class Failing:
    """A writer whose store refuses."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def publish_any(self, _: Any) -> Any:
        raise self.error

    def publish_nowait(self, _: Any, done: Callable[[Exception], None]) -> None:
        asyncio.get_running_loop().call_soon(done, self.error)


@pytest.mark.promise("P-119", "D-8")
@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (Overloaded("pending bytes in /var/lib"), 503, "too much is under way; try again soon"),
        (StorageFull("INSERT INTO message at /var/lib"), 507, "the storage is full; nothing was stored"),
        (StoreFailed("disk I/O error in /var/lib/lateron.db"), 503, "the service is not available"),
    ],
)
def test_trouble_of_the_store_is_told_without_its_insides(error: Exception, status: int, says: str) -> None:
    """The client must know what to do, not where the file lies."""

    async def check(world: World) -> None:
        answer = await world.ask("POST", "/v2/publish/https://h")

        assert (answer.status, answer.json()) == (status, {"error": says})
        assert ("retry-after" in answer.headers) == (says != "the service is not available")

    in_a_world(check, writer=Failing(error))


@pytest.mark.promise("D-8")
def test_bug_of_ours_is_a_plain_500_with_an_id_that_the_log_has(caplog: pytest.LogCaptureFixture) -> None:
    """No stack trace leaves the house, and the line in the log can be found."""

    def broken(_: int) -> Any:
        raise RuntimeError("secret insides")

    async def check(world: World) -> None:
        answer = await world.ask("GET", "/v2/keys")
        content = answer.json()

        assert answer.status == 500
        assert content == {"error": "internal error", "requestId": answer.headers["x-request-id"]}
        (record,) = [record for record in caplog.records if record.name == "lateron.api"]
        assert record.__dict__["fields"]["request"] == content["requestId"]
        assert record.exc_info is not None

    in_a_world(check, keys=broken)


@pytest.mark.promise("D-12")
@pytest.mark.parametrize(
    ("trusted", "forwarded", "caller"),
    [
        ((), ["9.9.9.9"], "127.0.0.1"),
        (TRUSTED, [], "127.0.0.1"),
        (TRUSTED, ["9.9.9.9"], "9.9.9.9"),
        (TRUSTED, ["6.6.6.6, 9.9.9.9, 10.0.0.1"], "9.9.9.9"),
        (TRUSTED, ["6.6.6.6", "9.9.9.9"], "9.9.9.9"),
        (TRUSTED, ["6.6.6.6, nonsense"], "127.0.0.1"),
        (TRUSTED, ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_caller_is_who_a_trusted_proxy_says(trusted: Any, forwarded: list[str], caller: str) -> None:
    """Whoever could choose his address could blame somebody else, or slip past a limit."""

    async def check(world: World) -> None:
        headers = [("X-Forwarded-For", value) for value in forwarded]
        headers += [("Upstash-Caller-Ip", "6.6.6.6"), ("Upstash-Forward-Upstash-Caller-Ip", "6.6.6.6")]
        await world.ask("POST", "/v2/publish/https://h", ADMIN, b"", [*headers, ("Upstash-Delay", "1h")])
        (message,) = (await world.ask("GET", "/v2/messages")).json()["messages"]

        assert message["callerIP"] == caller
        assert "header" not in message

    in_a_world(check, trusted_proxies=trusted)


@pytest.mark.promise("D-3")
def test_token_in_the_query_is_nowhere_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    """It must not be logged, stored, shown or sent on."""
    caplog.set_level(logging.DEBUG)

    async def check(world: World) -> None:
        query = f"?qstash_token={ADMIN}&x=1&upstash-header-forward=true"
        assert (await world.ask("POST", f"/v2/publish/https://h/{query}", None)).status == 201
        assert (await world.ask("POST", f"/v2/publish/nonsense{query}", None)).status == 404
        assert (await world.ask("GET", f"/v2/events?qstash_token={ADMIN}", None)).status == 200
        await until(lambda: world.begun)
        seen = repr(world.begun) + repr(await world.state()) + caplog.text

        assert ADMIN not in seen.replace(f"{ADMIN}/", "")

    in_a_world(check)


def test_token_in_the_query_can_be_forbidden() -> None:
    """URLs end up in logs of others; whoever does not need webhooks may close this door."""

    async def check(world: World) -> None:
        assert (await world.ask("GET", f"/v2/keys?qstash_token={ADMIN}", None)).status == 401
        assert (await world.ask("GET", f"/v2/keys?qstash_token={READER}", None)).status == 200

    in_a_world(check, query_token=lambda identity: identity.scope == "read")


@pytest.mark.promise("D-6")
def test_guessing_tokens_is_slowed_down_and_good_ones_are_not() -> None:
    """After twenty bad tokens in a minute each further one waits; a good one never does."""

    async def check(world: World) -> None:
        for _ in range(25):
            assert (await world.ask("GET", "/v2/keys", "wrong")).status == 401
        assert world.paused == 5
        assert (await world.ask("GET", "/v2/keys")).status == 200
        world.clock.now += 60_000
        await world.ask("GET", "/v2/keys", "wrong")
        assert world.paused == 5

    in_a_world(check)


def test_management_calls_have_a_rate_and_publishing_has_none() -> None:
    """A script that asks for lists in a loop must not slow down what others publish."""

    async def check(world: World) -> None:
        statuses = [(await world.ask("GET", "/v2/keys")).status for _ in range(2)]
        over = await world.ask("GET", "/v2/keys")
        published = await world.ask("POST", "/v2/publish/https://h")
        other_token = await world.ask("GET", "/v2/keys", READER)
        world.clock.now += 1000
        later = await world.ask("GET", "/v2/keys")

        assert statuses == [200, 200]
        assert over.status == 429
        assert over.headers["burst-ratelimit-limit"] == "2"
        assert over.headers["burst-ratelimit-remaining"] == "0"
        assert int(over.headers["burst-ratelimit-reset"]) == world.clock.now // 1000
        assert (published.status, other_token.status, later.status) == (201, 200, 200)

    in_a_world(check, rate_limit=2)
