"""What a well-behaved receiver gets from us, and what we make of its answer."""

from __future__ import annotations

import pytest
from tests.egress.conftest import Run
from tests.egress.receiver import OK, Behaviour, Heard, always, answering, delivery, receiving, sending

from lateron.core.values import Outcome


def exchange(run: Run, behave: Behaviour, method: str = "POST", path: str = "/", body: bytes = b"hello") -> Outcome:
    async def main() -> Outcome:
        async with receiving(behave) as receiver, sending() as egress:
            return await egress.send(delivery(receiver.url(path), body, method=method))

    return run(main())


@pytest.mark.promise("P-20", "P-12")
def test_answer_of_a_receiver_becomes_the_outcome(run: Run) -> None:
    """Status, headers and body are kept as bytes; an outcome says whom it came from and how long it took."""
    answer = b"HTTP/1.1 201 Made\r\nX-One: a\r\nx-one: \xe9\xff\r\nContent-Length: 3\r\n\r\n\x00\xff\r"

    outcome = exchange(run, answering(answer))

    assert (outcome.status, outcome.error, outcome.detail) == (201, None, "")
    assert outcome.headers == (("X-One", "a"), ("x-one", "\xe9\xff"), ("Content-Length", "3"))
    assert outcome.body == b"\x00\xff\r"
    assert not outcome.truncated
    assert outcome.peer is not None
    assert outcome.peer.startswith("127.0.0.1:")
    phases = outcome.phases
    assert phases.connect is not None
    assert phases.first_byte is not None
    assert phases.body is not None
    assert phases.dns is phases.tls is None
    assert phases.total >= phases.connect


@pytest.mark.promise("P-2", "P-12")
def test_request_goes_out_byte_for_byte(run: Run) -> None:
    """The target is the publisher's text; the body is untouched; framing is ours."""

    async def main() -> tuple[Heard, int]:
        async with receiving(always()) as receiver, sending() as egress:
            url = receiver.url("/a//b/../%2e?q=%zz&x=[]|{}")
            await egress.send(
                delivery(url, b"\x00\r\n\xff", [("X-Latin", "\xe9\xff"), ("X-Empty", "")], method="PATCH")
            )
            return receiver.heard[0], receiver.port

    heard, port = run(main())

    assert heard.head == (
        b"PATCH /a//b/../%2e?q=%zz&x=[]|{} HTTP/1.1\r\nHost: 127.0.0.1:" + str(port).encode() + b"\r\n"
        b"X-Latin: \xe9\xff\r\nX-Empty: \r\nAccept-Encoding: identity\r\nContent-Length: 4\r\n\r\n"
    )
    assert heard.body == b"\x00\r\n\xff"


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", []),
        ("DELETE", b"", []),
        ("OPTIONS", b"", []),
        ("POST", b"", ["0"]),
        ("PUT", b"", ["0"]),
        ("GET", b"x", ["1"]),
        ("POST", b"x" * 3_000_000, ["3000000"]),
    ],
)
def test_length_is_announced_where_a_body_is_expected(run: Run, method: str, body: bytes, length: list[str]) -> None:
    """RFC 9110, 8.6: no length for a method without a body, a zero for one that usually has one."""

    async def main() -> Heard:
        async with receiving(always()) as receiver, sending() as egress:
            outcome = await egress.send(delivery(receiver.url(), body, method=method))
            assert outcome.status == 200
            return receiver.heard[0]

    heard = run(main())

    assert heard.values("Content-Length") == length
    assert heard.body == body


@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 200, b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, b""),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        ("POST", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        ("POST", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
        ("POST", b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        ("POST", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
        ("POST", b"HTTP/1.1 200 OK\r\nUpgrade: h2\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        ("POST", b"HTTP/1.0 200 OK\r\n\r\nall of it", 200, b"all of it"),
        ("POST", b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
        ("POST", b"HTTP/1.1 205 Reset\r\n\r\n", 205, b""),
        ("POST", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nraw", 200, b"raw"),
        (
            "POST",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
            200,
            b"abcde",
        ),
        ("POST", b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 999, b""),
    ],
)
def test_end_of_an_answer_is_found(run: Run, method: str, answer: bytes, status: int, body: bytes) -> None:
    """RFC 9112, 6.3: where an answer ends depends on method, status and headers."""
    outcome = exchange(run, answering(answer), method)

    assert (outcome.error, outcome.status, outcome.body) == (None, status, body)


def test_informational_headers_and_trailers_are_not_those_of_the_answer(run: Run) -> None:
    """Only what stands in the head of the real answer may steer a retry."""
    answer = (
        b"HTTP/1.1 103 Early\r\nRetry-After: 1\r\n\r\nHTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nRetry-After: 2\r\n\r\n"
    )

    outcome = exchange(run, answering(answer))

    assert outcome.status == 503
    assert outcome.headers == (("Transfer-Encoding", "chunked"),)


@pytest.mark.promise("D-30", "F-34")
def test_body_is_kept_compressed(run: Run) -> None:
    """A bomb is a small body as long as nobody lights it."""
    import gzip

    bomb = gzip.compress(b"\x00" * 1_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, br\r\nContent-Length: %d\r\n\r\n" % len(bomb)

    outcome = exchange(run, answering(head + bomb))

    assert outcome.body == bomb
    assert ("Content-Encoding", "gzip, br") in outcome.headers


@pytest.mark.promise("D-25", "F-35", "P-20")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"https://elsewhere.example/x", "https://elsewhere.example/x"),
        (b"http://169.254.169.254/latest", "http://169.254.169.254/latest"),
        (b"http://user:pass@h/p?token=1", "http://h/p?..."),
        (b"/relative", "/relative"),
        (b"file:///etc/passwd", "file:///etc/passwd"),
        (b"\xe9\x80<script>", "??<script>"),
        (b"http://h/" + b"a" * 500, "http://h/" + "a" * 191 + "..."),
    ],
)
def test_redirect_is_reported_and_not_followed(run: Run, status: int, location: bytes, shown: str) -> None:
    """Following one would send the publisher's body where the publisher did not say."""

    async def main() -> tuple[Outcome, int]:
        answer = b"HTTP/1.1 %d Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location)
        async with receiving(always(answer)) as receiver, sending() as egress:
            return await egress.send(delivery(receiver.url())), receiver.connections

    outcome, connections = run(main())

    assert outcome.status == status
    assert outcome.error is None
    assert outcome.detail == f"redirect to {shown} not followed"
    assert connections == 1


@pytest.mark.promise("D-26")
def test_environment_changes_nothing_about_a_delivery(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable set for another program must not see our publishers' messages; a cookie is not kept."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"

    async def main() -> list[Heard]:
        async with receiving(always(answer)) as receiver, sending() as egress:
            for _ in range(2):
                assert (await egress.send(delivery(receiver.url()))).status == 200
            return receiver.heard

    for heard in run(main()):
        assert heard.values("Cookie") == heard.values("Authorization") == []
