"""A program in another language is tested the same way: it runs beside, and the clock is the server's."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lateron.testing import Lateron


@pytest.fixture
def address(lateron: Lateron) -> Iterator[str]:
    program = ["node", Path(__file__).with_name("server.mjs")]
    with subprocess.Popen(program, env={**os.environ, **lateron.env}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def done(address: str) -> list[dict[str, object]]:
    answer: list[dict[str, object]] = httpx.get(f"{address}/done").json()
    return answer


def test_a_job_is_done_in_the_background(lateron: Lateron, address: str) -> None:
    assert httpx.post(f"{address}/jobs/small", json={"size": 1}).status_code == 202
    lateron.settle()

    assert done(address) == [{"job": "small", "size": 1, "retried": 0}]


def test_a_large_job_comes_back_when_it_may(lateron: Lateron, address: str) -> None:
    httpx.post(f"{address}/jobs/large", json={"size": 1000})
    lateron.clock.advance("59s")
    assert done(address) == []

    lateron.clock.advance("1s")

    assert done(address) == [{"job": "large", "size": 1000, "retried": 1}]


def test_a_job_without_a_size_is_a_dead_letter_at_once(lateron: Lateron, address: str) -> None:
    httpx.post(f"{address}/jobs/odd", json={})

    (letter,) = lateron.dead_letters()
    assert (letter["responseStatus"], letter["responseBody"]) == (489, '{"error":"a job needs a size"}')


def test_nobody_else_gets_in(address: str) -> None:
    assert httpx.post(f"{address}/work", json={"job": "x", "payload": {"size": 1}}).status_code == 401
    assert done(address) == []
