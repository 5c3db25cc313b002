"""However the network cuts an answer into pieces, it is the same answer; and aiohttp reads it alike."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.egress.conftest import Run
from tests.egress.receiver import ANYWHERE, Talk, answering, delivery, receiving, sending

from lateron.core.destination import parse_destination
from lateron.core.familiar import Familiar
from lateron.egress import Delivery, EgressSettings, Limits
from lateron.egress.connection import NEVER, Answer, Connection, Head
from lateron.runtime import Nanos

LIMITS = Limits(head_bytes=300, headers=5, informational=2, stored=10, read=30)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n",
    b"\r\n\nHTTP/1.1 200 OK\r\nX:\r\nY: a b \r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nA: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 204 No\r\n\r\n",
    CHUNKED + b"2\r\nok\r\n3;x=y\r\nyes\r\n0\r\nT: 1\r\nU: 2\r\n\r\n",
    CHUNKED + b"2\r\nok\r\n0\r\n" + b"T: 1\r\n" * 6 + b"\r\n",
    CHUNKED + b"2\r\nok\r\nzz\r\n",
    CHUNKED + b"1\r\na\r\n" * 80 + b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + b"0123456789" * 2,
    b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" + b"0123456789" * 3,
    b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n" + b"0123456789" * 3 + b"x",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"0123456789" * 100,
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\n" + b"0123456789" * 60,
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 258 + b"\r\nA: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 5 + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 6 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switch\r\n\r\n",
    b"garbage",
    b"",
]


class Wire(asyncio.Transport):
    """What is below a connection: it takes what is written and closes when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = True

    close = abort


def received(
    pieces: list[bytes], *, method: str = "POST", familiar: Familiar[Head] | None = None
) -> tuple[Answer, bool]:
    """Return the answer that these pieces make, followed by an orderly end, and whether the connection lives on."""
    known: Familiar[Head] = Familiar() if familiar is None else familiar

    async def main() -> tuple[Answer, bool]:
        ticks = iter(range(1_000_000))
        key = (1, "http", "127.0.0.1", 1, "h")
        connection = Connection(LIMITS, lambda: Nanos(next(ticks)), lambda _: None, "127.0.0.1:1", key, known)
        wire = Wire()
        connection.connection_made(wire)
        request = Delivery(1, parse_destination("http://h/"), method, (), b"", 1000)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        connection.begin(b"POST / HTTP/1.1\r\n\r\n", request, NEVER, waiting.set_result)
        for piece in pieces:
            if wire.closed:
                break
            connection.data_received(piece)
        alive = connection.reusable
        if not wire.closed:
            connection.eof_received()
        answer = await waiting
        connection.connection_lost(None)
        answer.first_byte = answer.body_time = None
        return answer, alive

    with asyncio.Runner() as runner:
        return runner.run(main())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.promise("P-20", "F-31", "D-30")
@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_answer_in_single_bytes_is_the_same_answer(answer: bytes, method: str) -> None:
    """The extreme cut: a byte at a time."""
    whole = received([answer] if answer else [], method=method)

    assert received([answer[i : i + 1] for i in range(len(answer))], method=method) == whole


@pytest.mark.promise("P-20", "F-31", "D-30")
@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 2000), max_size=8), st.sampled_from(["POST", "HEAD"]))
def test_answer_is_the_same_however_it_is_cut(answer: bytes, places: list[int], method: str) -> None:
    """Success, failure, body, caps and reuse depend on the bytes, never on how they were packed."""
    whole = received([answer] if answer else [], method=method)

    assert received(cut(answer, places), method=method) == whole


@given(
    st.binary(max_size=200) | st.binary(max_size=100).map(b"HTTP/1.1 200 OK\r\n".__add__),
    st.lists(st.integers(0, 200), max_size=4),
)
def test_any_bytes_make_an_answer(data: bytes, places: list[int]) -> None:
    """Nothing a receiver says raises, or leaves an attempt open."""
    answer, _ = received(cut(data, places))

    assert answer.status is not None or answer.error is not None


# Answers that come again

SAME_HEAD = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nn",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nnone",
    b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
]


@pytest.mark.promise("P-20", "F-31", "D-30")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SAME_HEAD + ANSWERS),
            st.lists(st.integers(0, 60), max_size=2),
            st.sampled_from(["POST", "POST", "HEAD"]),
        ),
        max_size=12,
    )
)
def test_answer_is_the_same_whatever_came_before(said: list[tuple[bytes, list[int], str]]) -> None:
    """What is remembered of heads must never be seen."""
    familiar: Familiar[Head] = Familiar()
    for answer, places, method in said * 3:
        pieces = cut(answer, places)
        assert received(pieces, method=method, familiar=familiar) == received(pieces, method=method)


def test_head_of_an_answer_is_read_twice_and_known_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers repeat themselves; only where the body ends with the bytes that came is that enough."""
    read: list[bytes] = []
    honest = Connection._feed

    def feed(connection: Connection, data: bytes) -> None:
        read.append(data)
        honest(connection, data)

    monkeypatch.setattr(Connection, "_feed", feed)
    times = {}
    for answer in [*SAME_HEAD, *ANSWERS]:
        familiar: Familiar[Head] = Familiar()
        read.clear()
        for _ in range(5):
            received([answer] if answer else [], familiar=familiar)
        times[answer] = len(read)

    assert times[SAME_HEAD[0]] == times[SAME_HEAD[1]] == times[SAME_HEAD[4]] == 2
    assert all(times[answer] >= 5 for answer in ANSWERS[1:] if b"TTP/1.1" in answer and len(answer) < 300)


# The oracle

WELL_BEHAVED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 201 Created\r\nA: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnope",
    b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    CHUNKED + b"2\r\nok\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
    CHUNKED + b"2;ext=1\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Space:    a b   \r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nraw",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
]
BROKEN = [
    b"",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nok",
    b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
]


async def by_oracle(url: str, method: str) -> tuple[int, list[tuple[str, str]], bytes] | None:
    """Return what aiohttp makes of the answer, or None if it does not accept it."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        try:
            async with session.request(method, url, data=b"hello", allow_redirects=False) as response:
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
                return response.status, headers, await response.read()
        except aiohttp.ClientError:
            return None


@pytest.mark.promise("P-20", "F-32")
@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("answer", WELL_BEHAVED + BROKEN, ids=range(len(WELL_BEHAVED + BROKEN)))
def test_another_client_reads_the_same(run: Run, answer: bytes, method: str) -> None:
    """Two readers written apart agree on status, headers and body, and on what is no answer."""
    if method == "HEAD":  # Then it ends with its head; what a body would do is shown elsewhere.
        head, end, _ = answer.rpartition(b"\r\n\r\n") if b" 100 " in answer else answer.partition(b"\r\n\r\n")
        answer = head + end

    async def main() -> tuple[object, object]:
        async with receiving(answering(answer)) as receiver, sending() as egress:
            outcome = await egress.send(delivery(receiver.url(), method=method))
            oracle = await by_oracle(receiver.url(), method)
            ours = (outcome.status, list(outcome.headers), outcome.body) if outcome.error is None else None
            return ours, oracle

    ours, oracle = run(main())

    assert ours == oracle


def test_large_answer_arrives_whole(run: Run) -> None:
    """A megabyte in pieces of the network's choosing, up to the stored cap."""
    body = bytes(range(256)) * 4096

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(CHUNKED)
        for start in range(0, len(body), 7777):
            piece = body[start : start + 7777]
            await talk.say(b"%x\r\n%s\r\n" % (len(piece), piece))
        await talk.say(b"0\r\n\r\n")
        await talk.end()

    async def main() -> bytes:
        async with receiving(behave) as receiver, sending(EgressSettings(guard=ANYWHERE)) as egress:
            outcome = await egress.send(delivery(receiver.url()))
            assert not outcome.truncated
            return outcome.body

    assert run(main()) == body
