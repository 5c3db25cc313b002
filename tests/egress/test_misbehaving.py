"""Receivers that break every rule: the outcome is a failed attempt with its class, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from tests.egress.conftest import Run
from tests.egress.receiver import ANYWHERE, OK, Behaviour, Talk, always, answering, delivery, receiving, sending, until

from lateron.core.values import ERROR_CLASSES, Outcome
from lateron.egress import EgressSettings, Limits

HEAD = b"HTTP/1.1 200 OK\r\n"
SHORT_MS = 200


def exchange(
    run: Run,
    behave: Behaviour,
    *,
    timeout_ms: int = 10_000,
    body: bytes = b"hello",
    limits: Limits | None = None,
) -> Outcome:
    async def main() -> Outcome:
        settings = EgressSettings(guard=ANYWHERE, limits=limits or Limits())
        async with receiving(behave) as receiver, sending(settings) as egress:
            outcome = await egress.send(delivery(receiver.url(), body, timeout_ms=timeout_ms))
            assert receiver.connections <= 1
            return outcome

    outcome = run(main())
    assert outcome.error is None or outcome.error in ERROR_CLASSES
    assert outcome.detail.isprintable()
    return outcome


# F-32: garbage


@pytest.mark.promise("F-32", "P-20")
@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"\x00\x01\x02",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nxxx",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: +2\r\n\r\nok",
        HEAD + b"Content-Length: 0x2\r\n\r\nok",
        HEAD + b"Content-Length: 2, 2\r\n\r\nok",
        HEAD + b"Content-Length: \r\n\r\nok",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nok",
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\noktoolong\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nok",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
        HEAD + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X : a\r\nContent-Length: 0\r\n\r\n",
        HEAD + b": a\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"no colon\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_garbage_is_a_failed_attempt(run: Run, answer: bytes) -> None:
    """What two readers could take for different answers is not an answer."""
    outcome = exchange(run, answering(answer))

    assert outcome.error == "protocol"
    assert outcome.detail


@pytest.mark.promise("F-32", "D-30")
@pytest.mark.parametrize(
    ("answer", "error", "detail"),
    [
        (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "too-large", "larger than 65536 bytes"),
        (b"HTTP/1.1 200 " + b"a" * 70_000 + b"\r\n\r\n", "too-large", "larger than 65536 bytes"),
        (HEAD + b"A" * 70_000, "too-large", "larger than 65536 bytes"),
        (HEAD + b"X: y\r\n" * 10_000 + b"\r\n", "too-large", "more than 256 headers"),
        (HEAD + b"X: y\r\n" * 257 + b"\r\n", "too-large", "more than 256 headers"),
        (b"\r\n" * 40_000, "too-large", "larger than 65536 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, "protocol", "more than 10 informational answers"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 11 + OK, "protocol", "more than 10 informational answers"),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"T: x\r\n" * 300 + b"\r\n",
            "too-large",
            "more than 256 headers",
        ),
    ],
)
def test_head_has_caps(run: Run, answer: bytes, error: str, detail: str) -> None:
    """64 KB, 256 headers, 10 informational answers: a receiver cannot make us hold more."""
    outcome = exchange(run, answering(answer))

    assert outcome.error == error
    assert detail in outcome.detail


@pytest.mark.promise("D-30")
@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"X: y\r\n" * 255 + b"Content-Length: 0\r\n\r\n",
        HEAD + b"X: " + b"a" * (65536 - len(HEAD) - 26) + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10 + OK,
    ],
)
def test_head_may_be_as_large_as_its_caps(run: Run, answer: bytes) -> None:
    """The caps are inclusive."""
    assert exchange(run, answering(answer)).error is None


# F-33: bodies


@pytest.mark.promise("F-33", "D-30")
def test_body_is_stored_up_to_its_cap(run: Run) -> None:
    """A complete answer whose body is larger than what is kept is a success, marked truncated."""
    body = os.urandom(1_500_000)

    outcome = exchange(run, answering(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body))

    assert (outcome.error, outcome.status, outcome.truncated) == (None, 200, True)
    assert outcome.body == body[: 1024 * 1024]


@pytest.mark.promise("F-33", "D-30", "P-20")
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("framing", "piece"),
    [
        (b"Content-Length: 10000000000\r\n", b"a" * 65536),
        (b"Transfer-Encoding: chunked\r\n", b"10000\r\n" + b"a" * 65536 + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n" * 10_000),
        (b"Connection: close\r\n", b"a" * 65536),
    ],
)
def test_endless_body_ends_at_the_read_cap(run: Run, status: int, framing: bytes, piece: bytes) -> None:
    """The receiver has answered; that it does not stop is no reason to deliver again."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, framing))
        while True:
            await talk.say(piece)

    async def main() -> Outcome:
        settings = EgressSettings(guard=ANYWHERE, limits=Limits(stored=1000, read=1_000_000))
        async with receiving(behave) as receiver, sending(settings) as egress:
            outcome = await egress.send(delivery(receiver.url()))
            await asyncio.wait(set(receiver.open))  # It can write no more: we have closed.
            return outcome

    outcome = run(main())

    assert (outcome.error, outcome.status, outcome.truncated) == (None, status, True)
    assert outcome.body == b"a" * 1000


def test_body_exactly_at_the_read_cap_is_complete(run: Run) -> None:
    """The cap is inclusive, so a quota of it can be used up."""
    answer = HEAD + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000

    outcome = exchange(run, answering(answer), limits=Limits(stored=1000, read=1000))

    assert (outcome.error, outcome.truncated, len(outcome.body)) == (None, False, 1000)


@pytest.mark.promise("F-33")
def test_endless_trailers_end_at_a_cap(run: Run) -> None:
    """A single trailer of any length is read no further than a body would be."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: ")
        while True:
            await talk.say(b"x" * 65536)

    outcome = exchange(run, behave, limits=Limits(read=1_000_000))

    assert (outcome.error, outcome.truncated, outcome.body) == (None, True, b"ok")


# F-30: connections that end


@pytest.mark.promise("F-30", "P-20")
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("part", "status", "detail"),
    [
        (b"", None, "before an answer"),
        (b"HTT", None, "inside the head"),
        (HEAD + b"Content-Len", None, "inside the head"),
        (HEAD + b"Content-Length: 10\r\n\r\n", 200, "inside the body"),
        (HEAD + b"Content-Length: 10\r\n\r\nhalf", 200, "inside the body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nha", 200, "inside the body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", 200, "inside the body"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None, "inside the head"),
    ],
)
def test_connection_that_ends_early_is_a_failed_attempt(
    run: Run, part: bytes, status: int | None, detail: str, *, reset: bool
) -> None:
    """Half a 200 is no success: the receiver may have died on the message."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(part)
        if reset:
            talk.reset()

    outcome = exchange(run, behave)

    assert outcome.error == "closed"
    assert detail in outcome.detail or reset
    assert outcome.status == status or reset


@pytest.mark.promise("F-30", "P-20")
def test_reset_does_not_complete_a_body_without_length(run: Run) -> None:
    """Only an orderly end says that this was all."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(b"HTTP/1.0 200 OK\r\n\r\nfirst half")
        await talk.reader.read(1)  # Until the client has seen the head: it times out instead of hanging.

    outcome = exchange(run, behave, timeout_ms=SHORT_MS)

    assert (outcome.error, outcome.status, outcome.body) == ("timeout", 200, b"first half")


@pytest.mark.promise("F-30")
def test_refused_connection_is_a_connect_failure(run: Run) -> None:
    """Nobody listens: the class says so, and the detail where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

        async def main() -> Outcome:
            async with sending() as egress:
                return await egress.send(delivery(f"http://127.0.0.1:{port}/"))

        outcome = run(main())

    assert (outcome.error, outcome.detail) == ("connect", f"connection refused (127.0.0.1:{port})")
    assert outcome.phases.total >= 0


@pytest.mark.promise("F-30", "P-29")
def test_full_backlog_is_a_timeout(run: Run) -> None:
    """A listener that never accepts and whose queue is full answers nothing at all."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)

        async def main() -> Outcome:
            async with sending() as egress:
                return await egress.send(delivery(f"http://127.0.0.1:{address[1]}/", timeout_ms=SHORT_MS))

        outcome = run(main())
        for filler in fillers:
            filler.close()

    assert (outcome.error, outcome.detail) == ("timeout", f"no end within {SHORT_MS} ms: connecting")


# F-31: slow ones


async def silent(talk: Talk) -> None:
    await talk.hear()
    await talk.end()


def dripping(start: bytes, drop: bytes) -> Behaviour:
    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(start)
        while True:
            await talk.say(drop)
            await asyncio.sleep(0.005)  # Often enough that no limit on a single read would notice.

    return behave


@pytest.mark.promise("F-31", "F-30", "P-29", "P-20")
@pytest.mark.parametrize(
    ("behave", "status"),
    [
        (silent, None),
        (dripping(b"HTTP/1.1 200 ", b"x"), None),
        (dripping(HEAD, b"X: y\r\n"), None),
        (dripping(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"), 200),
        (dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), 200),
        (dripping(HEAD + b"\r\n", b"x"), 200),
    ],
)
def test_dripping_receiver_meets_the_deadline(run: Run, behave: Behaviour, status: int | None) -> None:
    """The timeout covers the whole attempt: a byte now and then does not extend it."""
    outcome = exchange(run, behave, timeout_ms=SHORT_MS, limits=Limits(headers=100_000))

    assert (outcome.error, outcome.status) == ("timeout", status)
    assert outcome.phases.total >= SHORT_MS * 1000


@pytest.mark.promise("F-31", "P-29")
def test_receiver_that_never_reads_meets_the_deadline(run: Run) -> None:
    """A body that nobody takes keeps neither the attempt nor its memory."""

    async def behave(talk: Talk) -> None:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    outcome = exchange(run, behave, timeout_ms=SHORT_MS, body=b"x" * 20_000_000)

    assert outcome.error == "timeout"


def test_early_answer_counts_while_the_body_is_still_on_its_way(run: Run) -> None:
    """A receiver may answer 413 after the head; that is its answer, and the connection is of no more use."""

    async def behave(talk: Talk) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        await talk.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await talk.end()

    async def main() -> tuple[Outcome, int]:
        async with receiving(behave) as receiver, sending() as egress:
            outcome = await egress.send(delivery(receiver.url(), b"x" * 20_000_000))
            return outcome, len(egress._pool._idle)

    outcome, idle = run(main())

    assert (outcome.error, outcome.status, outcome.body) == (None, 413, b"big")
    assert idle == 0


# F-39 and what must never happen


@pytest.mark.promise("F-39")
def test_hostile_text_stays_bytes(run: Run) -> None:
    """Texts of a receiver are data: kept as they came, never in the detail, which goes to logs."""
    evil = b"<script>alert(1)</script>\x1b]0;x\x07\xff\xfe"
    answer = b"HTTP/1.1 500 <b>\x00\r\nX: <img src=x>\r\nContent-Length: %d\r\n\r\n%s" % (len(evil), evil)

    outcome = exchange(run, answering(answer))

    assert (outcome.status, outcome.detail) == (500, "")
    assert outcome.body == evil
    assert ("X", "<img src=x>") in outcome.headers


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.promise("F-30")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
@pytest.mark.parametrize(
    "behave",
    [
        lambda: answering(b""),
        lambda: answering(b"garbage"),
        lambda: answering(HEAD + b"Content-Length: 10\r\n\r\n"),
        lambda: silent,
        lambda: answering(HEAD + b"X: y\r\n" * 1000),
    ],
)
def test_failed_attempts_leave_no_descriptor(run: Run, behave: Callable[[], Behaviour]) -> None:
    """A receiver that fails for days must not eat the descriptors of the server."""

    async def main() -> tuple[int, int]:
        async with receiving(behave()) as receiver, sending() as egress:
            attempt = delivery(receiver.url(), timeout_ms=50)
            await egress.send(attempt)
            before = open_descriptors()
            for _ in range(10):
                outcomes = await asyncio.gather(*(egress.send(attempt) for _ in range(20)))
                assert all(outcome.error for outcome in outcomes)
            await until(lambda: open_descriptors() <= before)  # Both sides close a turn or two later.
            return before, open_descriptors()

    before, after = run(main())

    assert after <= before


def test_cancelled_attempt_leaves_nothing_open(run: Run) -> None:
    """A server that stops drops its attempts; their connections end with them."""

    async def main() -> int:
        async with receiving(silent) as receiver, sending() as egress:
            task = asyncio.create_task(egress.send(delivery(receiver.url())))
            await until(lambda: bool(receiver.heard))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not egress._pool.open)
            return len(egress._pool.open)

    assert run(main()) == 0


def test_machine_without_descriptors_is_a_local_failure(run: Run) -> None:
    """That we have none to spare says nothing about the receiver: no retry may be charged for it."""
    resource = pytest.importorskip("resource")

    async def main() -> Outcome:
        async with receiving(always()) as receiver, sending() as egress:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest = os.open(os.devnull, os.O_RDONLY)  # The next one would be beyond the limit.
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                return await egress.send(delivery(receiver.url()))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                os.close(lowest)

    outcome = run(main())

    assert outcome.error == "local"
    assert "could not open a connection" in outcome.detail


def test_full_house_is_a_local_failure(run: Run) -> None:
    """The cap on connections protects this machine, so the receiver is not blamed for it."""

    async def main() -> Outcome:
        settings = EgressSettings(guard=ANYWHERE, max_connections=1)
        async with receiving(silent) as receiver, sending(settings) as egress:
            holding = asyncio.create_task(egress.send(delivery(receiver.url())))
            await until(lambda: bool(receiver.heard))
            outcome = await egress.send(delivery(receiver.url()))
            holding.cancel()
            return outcome

    assert run(main()).error == "local"


def test_bug_in_the_client_becomes_an_outcome(run: Run) -> None:
    """A dispatcher that lost a delivery to an exception would leave its message open for ever."""

    async def main() -> tuple[Outcome, list[object]]:
        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
        async with sending() as egress:
            broken = delivery("http://127.0.0.1/", headers=[("X", None)])  # type: ignore[list-item]
            return await egress.send(structs.replace(broken, destination=None)), heard

    outcome, heard = run(main())

    assert (outcome.error, outcome.status) == ("protocol", None)
    assert len(heard) == 1
