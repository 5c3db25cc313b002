"""The tools the conformance suites judge by must themselves be right: each judge is shown a fake."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from tests.support.genuine import assert_genuine
from tests.support.look_alikes import Authority
from tests.support.receiver import Answer, Received, Receiver
from tests.support.server import DEV_USERS, User
from tests.support.verifiers import NotGenuineError, verify_as_go_service, verify_as_lambda_in_python

URL = "http://127.0.0.1:1/hook?a=1"
USER = DEV_USERS[0]


def signed(content: bytes, user: User = USER, /, **changes: Any) -> Received:
    """Return a request signed by PyJWT, with some claims changed or (``None``) left out."""
    now = int(time.time())
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
    claims = {
        "iss": "Upstash",
        "sub": URL,
        "exp": now + 300,
        "iat": now,
        "nbf": now - 300,
        "jti": "jwt_1",
        "body": digest,
        **changes,
    }
    token = jwt.encode({name: value for name, value in claims.items() if value is not None}, user.current)
    return Received(1, 0.0, "POST", "/hook?a=1", (("Upstash-Signature", token),), content)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def test_a_hand_made_signature_satisfies_every_judge() -> None:
    """Otherwise the suites could only fail."""
    assert_genuine(signed(b'{"a": 1}'), URL, USER)


@pytest.mark.parametrize(
    "fake",
    [
        signed(b"x", USER, sub="http://127.0.0.1:1/other"),
        signed(b"x", DEV_USERS[1]),
        signed(b"x", USER, iss="Somebody"),
        signed(b"x", USER, exp=int(time.time()) - 10),
        signed(b"x", USER, nbf=int(time.time()) + 600),
        signed(b"x", USER, nbf=None),
        signed(b"x", USER, body=base64.urlsafe_b64encode(hashlib.sha256(b"y").digest()).decode()),
        signed(b"x", USER, jti=None),
        signed(b"x", USER, aud="anybody"),
    ],
)
def test_a_fake_satisfies_not_every_judge(fake: Received) -> None:
    """A judge that accepts everything proves nothing."""
    with pytest.raises(Exception, match=r"."):
        assert_genuine(fake, URL, USER)


def test_the_rules_written_by_hand_differ_where_the_guides_do() -> None:
    """Go compares the padded hash; the guide for Lambda takes either."""
    bare = base64.urlsafe_b64encode(hashlib.sha256(b"x").digest()).decode().rstrip("=")
    token = signed(b"x", USER, body=bare).header("Upstash-Signature")

    verify_as_lambda_in_python(token, USER.current, "x", URL + "/")
    with pytest.raises(NotGenuineError, match="body"):
        verify_as_go_service(token, USER.current, b"x")


def test_the_receiver_keeps_what_came_and_answers_in_turn(receiver: Receiver) -> None:
    """Spelling, order, duplicates, odd bytes and the raw target are what the suites look at."""
    endpoint = receiver.endpoint()
    endpoint.answers(Answer(503, b"later"), Answer(200, b"done"))
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port)
    answers = []
    for _ in range(3):
        connection.putrequest("PUT", f"{endpoint.path}//x?q=%20", skip_host=True, skip_accept_encoding=True)
        connection.putheader("x-TWICE", b"\xff\x85")
        connection.putheader("X-Twice", "b")
        connection.putheader("Content-Length", "3")
        connection.endheaders(b"\x00\r\n")
        answer = connection.getresponse()
        answers.append((answer.status, answer.read()))
    connection.close()

    assert answers == [(503, b"later"), (200, b"done"), (200, b"done")]
    first, *_ = endpoint.wait_for(3)
    assert (first.method, first.target, first.body) == ("PUT", f"{endpoint.path}//x?q=%20", b"\x00\r\n")
    assert first.headers[:2] == (("x-TWICE", "\xff\x85"), ("X-Twice", "b"))


def test_the_receiver_reads_chunks(receiver: Receiver) -> None:
    """A body of unknown length has no Content-Length."""
    endpoint = receiver.endpoint()
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port)
    connection.request("POST", endpoint.path, iter([b"abc", b"defg"]), encode_chunked=True)
    connection.getresponse().read()
    connection.close()

    assert endpoint.wait_for_one().body == b"abcdefg"


def test_a_stand_in_is_trusted_by_the_test_authority_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The provider suites rest on this chain; a client without the authority must refuse it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.create(folder)
    with Receiver(tls=authority.context(["localhost", "127.0.0.1"], folder)) as stand_in:
        endpoint = stand_in.endpoint()
        trusting = ssl.create_default_context(cafile=str(authority.path))
        connection = http.client.HTTPSConnection("127.0.0.1", stand_in.port, context=trusting)
        connection.request("GET", endpoint.path)
        assert connection.getresponse().read() == b"ok"
        connection.close()
        stranger = http.client.HTTPSConnection("127.0.0.1", stand_in.port, context=ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.request("GET", endpoint.path)
        stranger.close()
