"""What of a publisher's headers reaches the wire, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.egress.conftest import Run
from tests.egress.receiver import Heard, always, delivery, receiving, sending

from lateron.core.destination import parse_destination
from lateron.core.values import Headers, Outcome
from lateron.egress import Delivery
from lateron.egress.failure import Failure
from lateron.egress.request import encode_head

FRAMING = [
    "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
    "HTTP2-Settings", "Trailers", "Proxy-Authorization", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Anything",
]  # fmt: skip

latin = st.text(st.characters(max_codepoint=255), max_size=20)
headers = st.lists(
    st.tuples(
        st.sampled_from(["X-A", "Content-Type", "content-length", "HOST", "Upstash-Signature"]) | latin,
        latin,
    ),
    max_size=6,
).map(tuple)


def head_of(given_headers: Headers, body: bytes = b"abc", method: str = "POST") -> bytes:
    return encode_head(Delivery(1, parse_destination("http://h.example/p?q"), method, given_headers, body, 1))


def test_each_request_has_its_own_head_whatever_the_one_before_had() -> None:
    """Method, destination or headers may be the same objects as those of the last one, and the others not."""
    one, other = parse_destination("http://one.example/p"), parse_destination("http://other.example/p")
    first, second = (("X-A", "1"),), (("X-A", "2"),)
    requests = [(one, "POST", first), (one, "POST", second), (other, "POST", second), (other, "PUT", second)]
    requests += [*reversed(requests), (one, "PUT", first), (one, "PUT", first)]

    for destination, method, given_headers in requests:
        head = encode_head(Delivery(1, destination, method, given_headers, b"", 1)).decode()
        assert head.startswith(f"{method} /p HTTP/1.1\r\nHost: {destination.host}\r\nX-A: {given_headers[0][1]}\r\n")


@pytest.mark.promise("D-28")
@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_framing_headers_never_pass(run: Run, spell: type[str]) -> None:
    """Forwarded Content-Length: 5 before three bytes would swallow the start of the next request."""

    async def main() -> tuple[Heard, int]:
        async with receiving(always()) as receiver, sending() as egress:
            forwarded = [(spell(name), "5") for name in FRAMING]
            for _ in range(2):
                outcome = await egress.send(delivery(receiver.url(), b"abc", [*forwarded, ("X-Kept", "1")]))
                assert outcome.status == 200
            assert receiver.connections == 1
            return receiver.heard[1], receiver.port

    heard, port = run(main())

    assert heard.body == b"abc"
    assert heard.headers == [
        ("Host", f"127.0.0.1:{port}"),
        ("X-Kept", "1"),
        ("Accept-Encoding", "identity"),
        ("Content-Length", "3"),
    ]


def test_order_and_duplicates_are_kept() -> None:
    """Two values of one name are two lines, as published."""
    head = head_of((("B", "1"), ("A", "2"), ("b", "3")))

    assert b"\r\nB: 1\r\nA: 2\r\nb: 3\r\n" in head


@pytest.mark.parametrize("name", ["Accept-Encoding", "accept-encoding"])
def test_forwarded_accept_encoding_wins(name: str) -> None:
    """A publisher who asks for gzip gets it, compressed; without a wish we ask for plain bytes."""
    head = head_of(((name, "gzip"),))

    assert head.lower().count(b"accept-encoding") == 1
    assert b"gzip" in head


@pytest.mark.promise("D-27")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nEvil: 1"),
        ("X", "a\nEvil: 1"),
        ("X", "a\rEvil: 1"),
        ("X", "a\x00b"),
        ("X", "a\x0bb"),
        ("X", "a\x7fb"),
        ("X", "\r\n\r\nGET / HTTP/1.1"),
        ("X", "\u560d\u560a"),  # Become CR and LF for who drops the upper byte.
        ("X", "\u20ac"),
        ("X: y\r\nEvil", "1"),
        ("Evil:", "1"),
        ("Host:evil", "1"),
        ("Content-Length ", "1"),
        ("", "1"),
        ("X Y", "1"),
        ("X\u00e9", "1"),
        ("\u212aeep-Alive", "1"),  # The Kelvin sign, lower-case "k".
    ],
)
def test_header_that_is_none_is_never_sent(run: Run, name: str, value: str) -> None:
    """Not even without it: that would be another request than the one published."""

    async def main() -> tuple[Outcome, int]:
        async with receiving(always()) as receiver, sending() as egress:
            return await egress.send(delivery(receiver.url(), headers=[(name, value)])), receiver.connections

    outcome, connections = run(main())

    assert outcome.error == "protocol"
    assert outcome.detail.startswith("not sent: ")
    assert outcome.detail.isprintable()
    assert "Evil: 1" not in outcome.detail or name != "X"
    assert connections == 0


@pytest.mark.promise("D-27")
@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nHost: evil", "G T", "GÉT"])
def test_method_is_a_token(method: str) -> None:
    """The request line has three words, whatever was stored."""
    with pytest.raises(Failure, match="not sent"):
        head_of((), method=method)


@pytest.mark.promise("D-27", "D-28")
@given(headers, st.binary(max_size=5), st.sampled_from(["GET", "POST", "X-CUSTOM"]))
def test_head_on_the_wire_is_what_it_says(given_headers: Headers, body: bytes, method: str) -> None:
    """For any headers: either nothing is sent, or lines that read back as exactly those allowed to pass."""
    try:
        head = head_of(given_headers, body, method)
    except Failure:
        return

    assert head.endswith(b"\r\n\r\n")
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert first == f"{method} /p?q HTTP/1.1".encode()
    assert not any(byte in line for line in lines for byte in b"\r\n\x00")
    read = [tuple(line.decode("latin-1").split(": ", 1)) for line in lines]
    framing = {name.lower() for name in FRAMING}
    passed = [(n, v) for n, v in given_headers if n.lower() not in framing and not n.lower().startswith("proxy-")]
    expected = [("Host", "h.example"), *passed]
    if not any(name.lower() == "accept-encoding" for name, _ in passed):
        expected.append(("Accept-Encoding", "identity"))
    if body or method != "GET":
        expected.append(("Content-Length", str(len(body))))
    assert read == expected
