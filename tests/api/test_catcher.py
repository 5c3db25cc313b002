"""The built-in receiver: what it records, answers and says about a signature."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pytest
from tests.api.raw import Answer, Client, exchange, serving, until

from lateron.catcher import Bounds, Catcher
from lateron.core.signature import sign
from lateron.core.values import Millis
from lateron.runtime import Nanos, SystemClock

KEYS: Mapping[int, Sequence[str]] = {1: ("sig_one", "sig_two"), 2: ("sig_other",)}
NOW: Millis = 1_800_000_000_000


class Fixed(SystemClock):
    """A clock that stands."""

    def wall(self) -> Millis:
        return NOW

    def mono(self) -> Nanos:
        return Nanos(0)


def catcher(bounds: Bounds | None = None) -> Catcher:
    return Catcher(Fixed(), lambda: KEYS, bounds)


def request(target: str, body: bytes = b"", headers: str = "", method: str = "POST", *, close: bool = True) -> bytes:
    lines = f"{method} {target} HTTP/1.1\r\nHost: a:1\r\nContent-Length: {len(body)}\r\n{headers}"
    return lines.encode("latin-1") + (b"Connection: close\r\n" if close else b"") + b"\r\n" + body


def catch(room: Catcher, *requests: bytes) -> list[Answer]:
    """Send each request on a connection of its own."""

    async def run() -> list[Answer]:
        async with serving(room) as front:
            return [(await exchange(front.port, data))[0] for data in requests]

    return asyncio.run(run())


def signed(body: bytes, target: str, key: str = "sig_one") -> str:
    token = sign(key, f"http://a:1{target}", sha256(body).digest(), NOW, "jwt_1")
    return f"Upstash-Signature: {token}\r\n"


def test_request_is_shown_as_it_came() -> None:
    """A newcomer wants to see the bytes that arrived, headers in their order and number."""
    room = catcher()
    headers = "X-A: 1\r\nX-A: 2\r\nUpstash-Message-Id: msg_1\r\nUpstash-Retried: 3\r\n"

    catch(room, request("/_catch/shop/a//b?x=%20", b"\xff\x00", headers, "PUT"))

    (seen,) = room.requests(1, "shop")
    assert seen["url"] == "/_catch/shop/a//b?x=%20"
    assert (seen["method"], seen["time"], seen["number"], seen["answered"]) == ("PUT", NOW, 1, 200)
    assert seen["header"]["x-a"] == ["1", "2"]
    assert (seen["messageId"], seen["retried"]) == ("msg_1", "3")
    assert seen["bodyBase64"] == "/wA="
    assert "body" not in seen


@pytest.mark.parametrize(
    ("query", "status", "header", "body"),
    [
        ("", 200, None, b"caught\n"),
        ("?status=503&body=down%20now", 503, None, b"down now"),
        ("?retry-after=10", 429, ("retry-after", "10"), b"caught\n"),
        ("?retry-after=6m5s&status=503", 503, ("retry-after", "6m5s"), b"caught\n"),
        ("?nonretryable=true", 489, ("upstash-nonretryable-error", "true"), b"caught\n"),
        ("?status=204", 204, None, b""),
        ("?delay=20ms", 200, None, b"caught\n"),
        ("?status=99", 400, None, None),
        ("?status=abc", 400, None, None),
        ("?delay=5", 200, None, b"caught\n"),
        ("?delay=never", 400, None, None),
        ("?delay=10d", 400, None, None),
        ("?retry-after=%0d%0aX:%20y", 400, None, None),
    ],
)
def test_answer_is_what_the_query_asks_for(
    query: str, status: int, header: tuple[str, str] | None, body: bytes | None
) -> None:
    """Every way a receiver can fail must be at hand without writing one."""
    (answer,) = catch(catcher(), request("/_catch/x" + query.replace("delay=5", "delay=0.005")))

    assert answer.status == status
    assert header is None or header in answer.headers.items()
    assert body is None or answer.body == body
    assert body is not None or "error" in answer.json()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_is_caught(method: str) -> None:
    """A message may be delivered with any of them."""
    room = catcher()

    (answer,) = catch(room, request("/_catch/x", method=method))

    assert answer.status == 200
    assert [seen["method"] for seen in room.requests(1, "x")] == [method]


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        (signed(b"hi", "/_catch/x"), {"valid": True}),
        (signed(b"hi", "/_catch/x", "sig_two"), {"valid": True}),
        ("", {"valid": False, "reason": "no Upstash-Signature header"}),
        (signed(b"ho", "/_catch/x"), {"valid": False, "reason": "made for another body"}),
        (
            signed(b"hi", "/_catch/y"),
            {"valid": False, "reason": "made for 'http://a:1/_catch/y', not for 'http://a:1/_catch/x'"},
        ),
        (
            signed(b"hi", "/_catch/x", "sig_foreign"),
            {"valid": False, "reason": "made with none of our keys, or changed on the way"},
        ),
    ],
)
def test_signature_is_judged_and_the_judgement_explained(headers: str, verdict: dict[str, Any]) -> None:
    """Who sees why a signature fails can mend his receiver."""
    room = catcher()

    catch(room, request("/_catch/x", b"hi", headers))

    assert room.requests(1, "x")[0]["signature"] == verdict


def test_signed_request_is_shown_to_its_user_only() -> None:
    """Two tenants of one server may use one name; neither may read the other's deliveries."""
    room = catcher()

    catch(
        room,
        request("/_catch/x", b"1", signed(b"1", "/_catch/x")),
        request("/_catch/x", b"2", signed(b"2", "/_catch/x", "sig_other")),
        request("/_catch/x", b"3"),
    )

    assert [seen["body"] for seen in room.requests(1, "x")] == ["3", "1"]
    assert [seen["body"] for seen in room.requests(2, "x")] == ["3", "2"]
    assert room.names(3) == [{"name": "x", "requests": 1, "bytes": 1, "last": NOW}]
    assert room.clear(2) == 2
    assert [seen["body"] for seen in room.requests(1, "x")] == ["1"]
    assert room.clear(1, "x") == 1
    assert room.names(1) == []
    assert room.clear(1, "unknown") == 0


def test_memory_is_bounded_in_names_requests_and_bytes() -> None:
    """The path takes no token, so whoever can reach it must not be able to fill the machine."""
    room = catcher(Bounds(names=2, requests=3, bytes=1600, body=10, read=100))

    catch(
        room,
        *(request(f"/_catch/n{i}") for i in range(3)),
        *(request("/_catch/n2", b"%d" % i) for i in range(4)),
        request("/_catch/big", b"x" * 20),
        request("/_catch/big", b"y" * 20),
        request("/_catch/big", b"z" * 20),
        request("/_catch/big", b"z" * 101),
    )

    assert {name["name"]: name["requests"] for name in room.names(1)} == {"big": 2, "n2": 3}
    assert [seen["body"] for seen in room.requests(1, "big")] == ["z" * 10, "y" * 10]
    assert all(seen["truncated"] for seen in room.requests(1, "big"))


def test_heads_count_as_bodies_do() -> None:
    """A request may have 64 KB of them, and the path takes no token."""
    room = catcher(Bounds(bytes=100_000))
    long = f"X-Long: {'x' * 30_000}\r\n"
    catch(room, *(request("/_catch/x", b"%d" % number, long) for number in range(6)))
    assert [seen["body"] for seen in room.requests(1, "x")] == ["5", "4", "3"]
    catch(room, *(request(f"/_catch/x?{'q' * 12_000}", b"%d" % number) for number in range(6)))
    assert len(room.requests(1, "x")) == 6, "the large ones are gone"
    assert room.clear(1) == 6
    assert room._names["x"].bytes == 0


def test_too_large_request_is_refused_while_it_is_read() -> None:
    """It is not first taken into memory."""
    (answer,) = catch(catcher(Bounds(read=100)), request("/_catch/x", b"z" * 1_000_000))

    assert answer.status == 413


@pytest.mark.parametrize("target", ["/_catch/", "/_catch/a%2Fb", "/_catch/" + "x" * 65, "/_catch/?x=y"])
def test_bad_name_is_no_catcher(target: str) -> None:
    """A name is shown in lists and typed in commands, so it is plain."""
    (answer,) = catch(catcher(), request(target))

    assert answer.status == 404
    assert "error" in json.loads(answer.body)


def test_sender_that_hangs_up_ends_the_delay() -> None:
    """A delayed answer must not outlive its connection."""

    async def run() -> None:
        async with serving(catcher()) as front:
            client = await Client.connect(front.port)
            await client.send(request("/_catch/x?delay=1h", close=False))
            await until(lambda: front.state.tasks)
            await client.close()
            await until(lambda: not front.state.tasks)

    asyncio.run(run())
