"""The fast lane of publishing: whatever is sent, it is answered and stored as on the long way."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.raw import LOOPS, exchange, parse_answers, until
from tests.api.ways import AUTH, GOOD, LAST, Way, Ways, on_the_lane, post, way
from tests.api.world import ADMIN, OTHER, PRIVATE, READER, TRUSTED

from lateron.api.lane import FastProtocol


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The lane must hold on every loop that it may run on."""
    return str(request.param)


@pytest.fixture
def both() -> Iterator[Ways]:
    with asyncio.Runner() as runner:
        ways = Ways(runner)
        yield ways
        ways.close()


# ---- the same answers, the same rows

ON_THE_LANE = {
    "plain": (201, GOOD),
    "no body": (201, post(b"/v2/publish/https://h/", body=b"")),
    "no length": (201, b"POST /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\n"),
    "upper case": (201, post(b"/V2/PUBLISH/https://H/A")),
    "absolute form": (201, post(b"http://us/v2/publish/https://h/a?x=1")),
    "query": (201, post(b"/v2/publish/https://h/a//b?x=1&upstash-delay=1h&y=%20")),
    "empty query": (201, post(b"/v2/publish/https://h/p?")),
    "encoded": (201, post(b"/v2/publish/https%3A%2F%2Fh%2Fa%3Fx%3D1")),
    "token in the query": (201, post(b"/v2/publish/https://h/?qstash_token=" + ADMIN.encode(), auth=b"")),
    "options": (201, post(b"/v2/publish/https://h/", b"Upstash-Delay: 1h", b"Upstash-Forward-X:  a \xff\t", b"x-y: z")),
    "another tenant": (201, post(b"/v2/publish/https://h/", auth=f"authorization: bearer  {OTHER}\r\n".encode())),
    "forwarded for": (201, post(b"/v2/publish/https://h/", b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-For: 1.1.1.1")),
    "all headers": (201, post(b"/v2/publish/https://h/", b"Upstash-Header-Forward: true", b"X-A: b")),
    "trace": (
        201,
        post(b"/v2/publish/https://h/", b"Traceparent: 00-%b-%b-01" % (b"a" * 32, b"b" * 16), b"Baggage: k=v"),
    ),
    "big": (201, post(b"/v2/publish/https://h/", body=b"x" * 300_000)),
    "no destination": (400, post(b"/v2/publish/")),
    "no such group": (404, post(b"/v2/publish/orders")),
    "not UTF-8": (400, post(b"/v2/publish/https://h/%ff".replace(b"%ff", b"") + b"%zz\\")),
    "private": (400, post(f"/v2/publish/http://{PRIVATE}/".encode())),
    "bad option": (400, post(b"/v2/publish/https://h/", b"Upstash-Retries: soon")),
    "over a quota": (412, post(b"/v2/publish/https://h/", b"Upstash-Retries: 1000001")),
    "not built": (501, post(b"/v2/publish/https://h/", b"Upstash-Workflow-RunId: wfr_1")),
    "in circles": (400, post(b"/v2/publish/https://h/", b"Lateron-Hops: 17")),
    "told to close": (201, post(b"/v2/publish/https://h/", b"Connection: close")),
    "offer to upgrade": (201, post(b"/v2/publish/https://h/", b"Connection: Upgrade", b"Upgrade: h2c")),
}
CHUNKED = b"POST /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n"
LONG_WAY = {
    "no token": (401, post(b"/v2/publish/https://h/", auth=b"")),
    "no token, no body": (401, post(b"/v2/publish/https://h/", auth=b"", body=b"")),
    "bad token": (401, post(b"/v2/publish/https://h/", auth=b"Authorization: Bearer x\r\n")),
    "two tokens": (401, post(b"/v2/publish/https://h/", auth=AUTH + AUTH)),
    "bad token in the query": (401, post(b"/v2/publish/https://h/?qstash_token=x", auth=b"")),
    "reader": (403, post(b"/v2/publish/https://h/", auth=f"Authorization: Bearer {READER}\r\n".encode())),
    "too long": (413, b"POST /v2/publish/https://h HTTP/1.1\r\nHost: a\r\n%bContent-Length: 999999999\r\n\r\n" % AUTH),
    "over the quota": (
        412,
        b"POST /v2/publish/https://h HTTP/1.1\r\nHost: a\r\n%bContent-Length: 60000000\r\n\r\n" % AUTH,
    ),
    "chunked": (201, CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"),
    "chunked and empty": (201, CHUNKED + b"0\r\n\r\n"),
    "HTTP/1.0": (201, GOOD.replace(b"HTTP/1.1", b"HTTP/1.0")),
    "GET": (405, b"GET /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\n"),
    "PUT": (405, GOOD.replace(b"POST", b"PUT")),
    "batch": (201, post(b"/v2/batch", body=b'[{"destination":"https://h"}]')),
    "another path": (404, post(b"//v2/publish/https://h/")),
    "prefix alone": (404, post(b"/v2/publish")),
    "prefix encoded": (404, post(b"/v2/%70ublish/https://h/")),
    "queue": (201, post(b"/v2/enqueue/q/https://h/")),
    "catcher": (200, post(b"/_catch/x")),
    "public": (405, post(b"/healthz")),
    "two Hosts": (400, post(b"/v2/publish/https://h/", b"Host: b")),
    "no Host": (400, GOOD.replace(b"Host: a\r\n", b"")),
    "two lengths": (400, post(b"/v2/publish/https://h/", b"Content-Length: 3")),
    "length and chunked": (400, post(b"/v2/publish/https://h/", b"Transfer-Encoding: chunked")),
    "NUL in a header": (400, post(b"/v2/publish/https://h/", b"X: a\0b")),
    "too many lines": (431, post(b"/v2/publish/https://h/", *[b"X: y"] * 200)),
    "too long a URL": (414, post(b"/v2/publish/https://h/" + b"x" * 17_000)),
    "fragment": (400, post(b"/v2/publish/https://h/#x")),
}


@pytest.mark.promise("D-3", "P-3")
@pytest.mark.parametrize("name", [*ON_THE_LANE, *LONG_WAY])
def test_lane_answers_and_stores_byte_for_byte_as_the_long_way(both: Ways, name: str) -> None:
    """A client must not be able to tell which way its request took, nor may a rule hold on one of them only."""
    status, data = (ON_THE_LANE | LONG_WAY)[name]

    received = both.tell(data + LAST)

    assert parse_answers(received)[0].status == status, received
    assert (len(both.lane.served) == 1) is (name in ON_THE_LANE), "the table says what the lane takes"
    both.check_kept()


NAMES = st.sampled_from(
    [
        *("Upstash-Delay", "Upstash-Retries", "Upstash-Forward-X", "UPSTASH-METHOD", "Upstash-Timeout", "Lateron-Hops"),
        *("Upstash-Callback", "Upstash-Deduplication-Id", "Upstash-Content-Based-Deduplication", "Upstash-Label"),
        *("Upstash-Header-Forward", "Upstash-Not-Before", "Upstash-Flow-Control-Key", "Upstash-Redact-Fields"),
        *("Content-Type", "X-Other", "Connection", "Expect", "X-Forwarded-For", "Authorization", "Upgrade", "Cookie"),
        *("Traceparent", "Baggage"),
    ]
)
VALUES = st.sampled_from(
    [
        "",
        "1",
        "1h",
        "true",
        "close",
        "PUT",
        "https://c",
        f"00-{'a' * 32}-{'b' * 16}-01",
        f"http://{PRIVATE}",
        "100-continue",
    ]
) | (st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12))
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=6)
TARGETS = st.sampled_from(
    ["https://h/", "https://h/?x=1&upstash-retries=2", "orders", "", f"http://{PRIVATE}/", "http:/h"]
)


def test_any_headers_make_the_same_on_both_ways(both: Ways) -> None:
    """Nobody can list what clients send."""

    @settings(max_examples=150)
    @given(LINES, TARGETS, st.binary(max_size=20))
    def check(lines: list[tuple[str, str]], target: str, body: bytes) -> None:
        encoded = [f"{name}: {value}".encode("latin-1") for name, value in lines]
        both.tell(post(f"/v2/publish/{target}".encode(), *encoded, body=body) + LAST)

    check()

    assert len(both.lane.served) > 50
    both.check_kept()


def test_guessing_of_tokens_is_slowed_down_on_both_ways(both: Ways) -> None:
    """The lane must not be the fast way to try tokens."""
    guess = post(b"/v2/publish/https://h/", auth=b"Authorization: Bearer guess\r\n", body=b"")

    both.tell(guess * 30 + LAST)

    assert both.lane.world.paused > 0
    both.check_kept()


@pytest.mark.promise("D-12")
def test_caller_behind_a_proxy_is_the_same_on_both_ways() -> None:
    """Whom a proxy speaks for is found out once, for all."""

    async def callers(*, fast: bool) -> list[str | None]:
        async with way(fast, trusted_proxies=TRUSTED) as opened:
            for lines in (
                [],
                [b"X-Forwarded-For: 6.6.6.6, 9.9.9.9"],
                [b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-For: x"],
            ):
                await opened.tell(post(b"/v2/publish/https://h/", *lines) + LAST)
            return [claimed.request.options.caller_ip for claimed in opened.world.begun]

    assert asyncio.run(callers(fast=True)) == asyncio.run(callers(fast=False)) == ["127.0.0.1", "9.9.9.9", "127.0.0.1"]


@pytest.mark.promise("D-8")
def test_bug_of_ours_costs_a_publish_on_the_lane_and_not_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    """The answer carries the id under which the log has the trace."""

    def broken(_: Any) -> None:
        raise RuntimeError("secret insides")

    async def check(opened: Way) -> None:
        first, last = parse_answers(await opened.tell(GOOD + LAST))

        assert (first.status, last.status) == (500, 200)
        assert first.json() == {"error": "internal error", "requestId": first.headers["x-request-id"]}
        (record,) = [record for record in caplog.records if record.name == "lateron.api"]
        assert record.__dict__["fields"]["request"] == first.headers["x-request-id"]
        assert record.exc_info is not None
        assert opened.world.api._in_flight.taken == 0

    on_the_lane(check, check_destination=broken)


# ---- the order of things


def test_lane_and_long_way_keep_the_order_of_pipelined_requests(both: Ways) -> None:
    """A client that does not wait for answers must still know which is which."""
    kinds = [
        GOOD,
        b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        post(b"/v2/publish/orders"),
        b"GET /v2/keys HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\n",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\n",
        post(b"/v2/publish/https://h/", b"Expect: 100-continue"),
        post(b"/v2/batch", body=b'[{"destination":"https://h"}]'),
        post(b"/v2/publish/https://h/", auth=b"", body=b""),
    ]
    turns = [kinds[(i * i + i // 5) % len(kinds)] for i in range(200)]

    received = both.tell(b"".join(turns) + LAST)

    statuses = [int(word) for word in re.findall(rb"HTTP/1.1 (\d+) ", received)]
    assert {201, 200, 404, 401} <= set(statuses)
    assert len([status for status in statuses if status != 100]) == len(turns) + 1
    assert len(both.lane.served) > 40
    both.check_kept()


def test_answer_without_a_body_goes_before_that_of_a_publish(loop: str) -> None:
    """It may still lie in the door when the next request is read."""

    async def check(opened: Way) -> None:
        ours, theirs = socket.socketpair()
        running = asyncio.get_running_loop()
        _, protocol = await running.connect_accepted_socket(opened.world.front.make, ours)
        assert isinstance(protocol, FastProtocol)
        honest = protocol.on_response_complete

        def at_once() -> None:
            honest()
            protocol.data_received(post(b"/v2/publish/orders", b"Connection: close"))

        reader, writer = await asyncio.open_connection(sock=theirs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol, "on_response_complete", at_once)
            protocol.data_received(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            patch.undo()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()

        assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404"]

    on_the_lane(check, loop)


def test_thousands_of_publishes_in_one_packet_are_answered_one_after_the_other(loop: str) -> None:
    """Refusals answer at once; were each to begin the next, the stack would end before they do."""

    async def check(opened: Way) -> None:
        answers = await exchange(opened.world.front.port, post(b"/v2/publish/orders") * 3000 + GOOD + LAST)

        assert [answer.status for answer in answers] == [404] * 3000 + [201, 200]

    on_the_lane(check, loop)


def test_garbage_behind_a_publish_does_not_cost_its_answer(loop: str) -> None:
    """What stands behind a request is not looked at before that request is answered."""

    async def check(opened: Way) -> None:
        answers = parse_answers(await opened.tell(GOOD + b"\0\0garbage"))

        assert [answer.status for answer in answers] == [201, 400]

    on_the_lane(check, loop)


def test_what_comes_behind_a_last_publish_does_not_cost_its_answer(loop: str) -> None:
    """Closing while a peer still sends would reset the connection and lose the answer on its way."""
    last = post(b"/v2/publish/orders", b"Connection: close")

    async def check(opened: Way) -> None:
        (only,) = await exchange(opened.world.front.port, last + b"x" * 5_000_000)

        assert (only.status, only.headers["connection"]) == (404, "close")

    on_the_lane(check, loop)


def test_last_publish_behind_others_closes_the_connection(loop: str) -> None:
    """A refusal that is answered at once ends a connection whose reading is paused."""
    last = post(b"/v2/publish/orders", b"Connection: close")

    async def check(opened: Way) -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        answers = await exchange(opened.world.front.port, GOOD + last)
        await until(lambda: not opened.world.front.state.connections)

        assert [answer.status for answer in answers] == [201, 404]
        assert problems == []

    on_the_lane(check, loop)


def test_date_of_an_answer_is_that_of_its_second() -> None:
    """What is put together once must not be said for ever."""

    async def check(opened: Way) -> None:
        first = await opened.tell(GOOD + LAST)
        opened.world.front.state.default_headers = [(b"date", b"Sun, 22 Nov 2026 05:00:01 GMT")]
        second = await opened.tell(GOOD + LAST)

        assert [answer.headers["date"][-6:] for answer in parse_answers(first)] == ["00 GMT"] * 2
        assert [answer.headers["date"][-6:] for answer in parse_answers(second)] == ["01 GMT"] * 2

    on_the_lane(check)


@pytest.mark.promise("F-43")
def test_publish_that_comes_byte_by_byte_is_the_same_publish(loop: str) -> None:
    """The network may cut anywhere."""

    async def check(opened: Way) -> None:
        ours, theirs = socket.socketpair()
        running = asyncio.get_running_loop()
        _, protocol = await running.connect_accepted_socket(opened.world.front.make, ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        for byte in post(b"/v2/publish/https://h/?x", body=b"hello") + LAST:
            protocol.data_received(bytes([byte]))
        first, last = parse_answers(await reader.read())
        writer.close()
        await writer.wait_closed()

        assert (first.status, last.status) == (201, 200)
        assert opened.served == [b"https://h/?x"]
        assert [claimed.request.body for claimed in opened.world.begun] == [b"hello"]

    on_the_lane(check, loop)
