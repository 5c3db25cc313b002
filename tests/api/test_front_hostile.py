"""Hostile content: whatever is sent, the answer is ours, and no list breaks on what was stored."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.api.world import ADMIN, World, living

from lateron.api.openapi import document
from lateron.core.headers import shown_text

LISTS = ("/v2/messages", "/v2/events", "/v2/dlq")
OPERATIONS: list[Any] = [
    operation
    for result in schemathesis.openapi.from_dict(document()).get_all_operations()
    if (operation := result.ok()).path != "/lateron/v1/stream"  # type: ignore[union-attr]  # An Err would have raised.
]  # The stream does not end; see test_stream.py.


@contextmanager
def running() -> Iterator[World]:
    """Run a world on a thread of its own, for clients that block."""
    ready = threading.Event()
    worlds: list[World] = []
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def live() -> None:
        async with living() as world:
            worlds.append(world)
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield worlds[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


def ask(
    world: World, method: str, target: str, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Any:
    """Send one request whose headers may hold any bytes that a line can hold."""
    connection = HTTPConnection("127.0.0.1", world.front.port, timeout=20)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {ADMIN}")
        connection.putheader("Content-Length", str(len(body)))
        for name, value in headers:
            connection.putheader(name.decode("latin-1"), value)
        connection.endheaders(body)
        answer: HTTPResponse = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check_answer(status: int, content: bytes) -> None:
    """Hold an answer to what every answer of the API promises."""
    assert status < 500 or status == 501, content
    parsed = json.loads(content)
    assert status < 400 or isinstance(parsed["error"], str)


@pytest.mark.promise("F-44", "D-8")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_no_request_that_the_description_allows_or_forbids_is_answered_5xx(operation: Any) -> None:
    """A client generated from the description, and one that ignores it, both get an answer they can read."""
    allowed = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    with running() as world:

        @settings(max_examples=10, suppress_health_check=list(HealthCheck))
        @given(allowed | forbidden)
        def check(case: Any) -> None:
            response = case.call(
                base_url=f"http://127.0.0.1:{world.front.port}",
                headers={"Authorization": f"Bearer {ADMIN}"},
                timeout=20,
                allow_redirects=False,
            )
            assert response.status_code < 500 or response.status_code == 501, response.content
            is_text = case.path == "/metrics" and response.status_code == 200
            if case.method != "HEAD" and not is_text:
                check_answer(response.status_code, response.content)

        check()
        for path in LISTS:
            assert ask(world, "GET", path)[0] == 200


OPTIONS = st.sampled_from(
    [
        b"Upstash-Label",
        b"Upstash-Flow-Control-Key",
        b"Upstash-Flow-Control-Value",
        b"Upstash-Deduplication-Id",
        b"Upstash-Forward-X",
        b"Upstash-Retry-Delay",
        b"Upstash-Delay",
        b"Upstash-Not-Before",
        b"Upstash-Retries",
        b"Upstash-Callback",
        b"Upstash-Callback-Forward-X",
        b"Upstash-Redact-Fields",
        b"Content-Type",
        b"X-Other",
    ]
)
# What a header's line can hold at all; the rest is refused by the parser.
BYTES = st.binary(max_size=40).map(lambda data: bytes(byte for byte in data if byte >= 0x20 and byte != 0x7F))
TEXTS = st.text(max_size=20).map(
    lambda text: bytes(byte for byte in text.encode("utf-8", "replace") if byte >= 0x20 and byte != 0x7F)
)
_EXPRESSIONS = (b"pow(9,pow(9,7))", b"1/0", b"sqrt(-1)", b"(" * 300, b"9" * 300, b"1e400", b"NaN", b"-1", b"0x10")
_TEXT = (
    b"\xe2\x80\xaeabc",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"\xed\xa0\x80",
    b"null",
    b"true",
    b"http://[::1",
    b"http://h",
)
WORDS = st.sampled_from([*_EXPRESSIONS, *_TEXT, b"parallelism=1,rate=1e9"])


@pytest.mark.promise("F-44", "F-46", "D-15")
def test_hostile_options_are_refused_or_shown_as_given() -> None:
    """What is accepted must come back through every list; what is not must be told so."""
    with running() as world:

        @settings(max_examples=300)
        @given(st.lists(st.tuples(OPTIONS, BYTES | TEXTS | WORDS), max_size=3))
        def check(headers: list[tuple[bytes, bytes]]) -> None:
            status, content = ask(world, "POST", "/v2/publish/https://h/", b"x", tuple(headers))
            check_answer(status, content)
            if status == 201:
                story = ask(world, "GET", f"/lateron/v1/messages/{json.loads(content)['messageId']}")
                check_answer(*story)
                assert story[0] == 200
                labels = [value for name, value in headers if name == b"Upstash-Label"]
                if len(labels) == 1 and b"," not in labels[0] and labels[0].strip():
                    assert json.loads(story[1])["label"] == shown_text(labels[0].decode("latin-1").strip(" \t"))

        check()
        for path in LISTS:
            assert ask(world, "GET", path)[0] == 200


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "body",
    [
        b'[{"destination":"https://h","body":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b'[{"destination":"https://h","body":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]",
        b'[{"destination":"https://h","body":"\\ud800"}]',
        b'[{"destination":"https://h","headers":{"Upstash-Label":"\\ud800"}}]',
        b'[{"destination":"https://h","headers":{"Upstash-Forward-X":"a\\r\\nB: c"}}]',
        b'[{"destination":"https://h","headers":{"X\\u0000":"a"}}]',
        b'[{"destination":"https://h","destination":"https://i"}]',
        b'[{"destination":"https://h","body":{"a":1e400}}]',
        b'[{"destination":"https://h","body":{"a":NaN}}]',
        b'[{"destination":null}]',
        b'[{"destination":"https://h","headers":null,"body":null,"queue":null,"callback":null}]',
        b'[{"destination":"https://h","headers":{"Upstash-Label":null}}]',
        b'[{"destination":"https://h","unknown":1}]',
        b"[null]",
        b"[1e400]",
        b"\xff\xfe",
        b'["' + b"x" * 1_000_000 + b'"]',
        b"null",
    ],
    ids=lambda body: body[:60].decode("latin-1"),
)
def test_hostile_batch_breaks_nothing(body: bytes) -> None:
    """Depth, surrogates, duplicate keys, nulls: JSON can say much that nobody should store."""
    with running() as world:
        check_answer_or_list(*ask(world, "POST", "/v2/batch", body))
        for path in LISTS:
            assert ask(world, "GET", path)[0] == 200


def check_answer_or_list(status: int, content: bytes) -> None:
    """Do as ``check_answer`` for a batch, whose answer is a list when it was read."""
    if status in {200, 201}:
        assert all("messageId" in item or isinstance(item["error"], str) for item in json.loads(content))
    else:
        check_answer(status, content)
