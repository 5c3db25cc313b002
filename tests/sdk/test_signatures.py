"""Signing keys: the official receiver and the verifiers users wrote, before and after the keys are rotated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qstash import QStash
from qstash import Receiver as OfficialReceiver
from qstash.errors import SignatureError
from tests.support.clients import Style, connect, publish
from tests.support.genuine import assert_genuine
from tests.support.receiver import Endpoint, Received, Receiver
from tests.support.server import DEV_USERS, Server, User
from tests.support.verifiers import NotGenuineError, verify_as_go_service, verify_as_lambda_in_python


@pytest.fixture(scope="module")
def rotating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose keys these tests change; the others keep the documented ones."""
    with Server(tmp_path_factory.mktemp("rotating") / "data") as running:
        yield running


def verify(keys: tuple[str, str], request: Received, url: str) -> None:
    """Ask the official receiver that holds a pair of keys."""
    OfficialReceiver(*keys).verify(signature=request.header("Upstash-Signature"), body=request.text, url=url)


def delivered(client: QStash, endpoint: Endpoint) -> Received:
    """Return a request that was signed just now."""
    before = len(endpoint.requests)
    publish(client, url=endpoint.url, body="signed")
    return endpoint.wait_for(before + 1)[-1]


def test_the_keys_are_those_the_documentation_fixes(client: QStash, server: Server) -> None:
    """Examples and dev mode of the SDKs have them built in."""
    keys = client.signing_key.get()

    assert (keys.current, keys.next) == (server.user.current, server.user.next)


@pytest.mark.promise("P-106")
def test_each_documented_user_signs_with_keys_of_its_own(server: Server, receiver: Receiver) -> None:
    """Four users, four pairs; one user's receiver refuses another's message."""
    for user in DEV_USERS:
        endpoint = receiver.endpoint()
        with connect("sync", server.url, user.token) as client:
            request = delivered(client, endpoint)
        assert_genuine(request, endpoint.url, user)
        other = next(stranger for stranger in DEV_USERS if stranger != user)
        with pytest.raises(SignatureError):
            verify((other.current, other.next), request, endpoint.url)


@pytest.mark.promise("P-106")
def test_the_official_receiver_refuses_what_was_changed(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """Another URL, another body, another key: each alone breaks it."""
    request = delivered(client, endpoint)
    token = request.header("Upstash-Signature")
    official = OfficialReceiver(server.user.current, server.user.next)

    official.verify(signature=token, body="signed", url=endpoint.url)
    official.verify(signature=token, body="signed")
    for url, body in ((endpoint.url + "/", "signed"), (endpoint.url, "signed "), (endpoint.url, "")):
        with pytest.raises(SignatureError):
            official.verify(signature=token, body=body, url=url)
    with pytest.raises(SignatureError):
        verify((server.user.next, DEV_USERS[1].current), request, endpoint.url)


@pytest.mark.promise("P-106")
def test_verifiers_written_by_hand_refuse_what_was_changed(client: QStash, server: Server, endpoint: Endpoint) -> None:
    """They are users' code: they must accept ours, and not because they accept anything."""
    request = delivered(client, endpoint)
    token, user = request.header("Upstash-Signature"), server.user

    verify_as_lambda_in_python(token, user.current, "signed", endpoint.url)
    verify_as_go_service(token, user.current, b"signed")
    for wrong in ("signed!", ""):
        with pytest.raises(NotGenuineError):
            verify_as_lambda_in_python(token, user.current, wrong, endpoint.url)
        with pytest.raises(NotGenuineError):
            verify_as_go_service(token, user.current, wrong.encode())
    with pytest.raises(NotGenuineError):
        verify_as_go_service(token, user.next, b"signed")


@pytest.mark.promise("P-107", "P-106")
def test_a_receiver_survives_one_rotation_and_not_two(rotating: Server, receiver: Receiver, style: Style) -> None:
    """That is what the second key is for: time to roll out new keys without a lost message."""
    endpoint = receiver.endpoint()
    with connect(style, rotating.url, rotating.token) as client:
        keys = client.signing_key.get()
        old = (keys.current, keys.next)
        before = delivered(client, endpoint)
        keys = client.signing_key.rotate()
        once = (keys.current, keys.next)
        between = delivered(client, endpoint)
        keys = client.signing_key.rotate()
        twice = (keys.current, keys.next)
        after = delivered(client, endpoint)
        now = client.signing_key.get()

    assert once[0] == old[1]
    assert twice[0] == once[1]
    assert (now.current, now.next) == twice
    assert len({*old, *once, *twice}) == 4
    assert all(key.startswith("sig_") for key in twice)
    verify(old, before, endpoint.url)
    verify(old, between, endpoint.url)
    verify(once, between, endpoint.url)
    verify(once, after, endpoint.url)
    assert_genuine(between, endpoint.url, User("", *once))
    assert_genuine(after, endpoint.url, User("", *twice))
    for keys_of, request in ((old, after), (once, before), (twice, between)):
        with pytest.raises(SignatureError):
            verify(keys_of, request, endpoint.url)


def test_go_rotates_by_a_path_of_its_own(rotating: Server) -> None:
    """And writes fixed words of a path in its own case."""
    user = DEV_USERS[2]

    rotated = rotating.call("POST", "/v2/rotate", token=user.token)

    assert (rotated.status, rotated.json["current"]) == (200, user.next)
    assert rotating.call("GET", "/v2/Keys", token=user.token).json == rotated.json


def test_the_documented_keys_come_back_with_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Dev mode of the JavaScript SDK recognises a server by them."""
    with Server(tmp_path_factory.mktemp("restarted") / "data") as server:
        with connect("sync", server.url, server.token) as client:
            client.signing_key.rotate()
        server.restart(crash=False)
        with connect("sync", server.url, server.token) as client:
            keys = client.signing_key.get()

    assert (keys.current, keys.next) == (server.user.current, server.user.next)


@pytest.mark.promise("P-106", "P-107")
def test_serve_keeps_rotated_keys_over_a_crash(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> None:
    """In production a rotation is for good; keys of the environment only seed the store."""
    user = User(
        "eyJVc2VySUQiOiJ0ZWFtIiwiUGFzc3dvcmQiOiJsYXRlcm9uX3Rlc3RfcGFzc3dvcmRfMDEyMzQ1Njc4OSJ9",
        "sig_first_key_of_this_test_000000",
        "sig_second_key_of_this_test_00000",
    )
    folder = tmp_path_factory.mktemp("serve") / "data"
    endpoint = receiver.endpoint()
    with Server(folder, "--allow-private", "true", mode="serve", user=user) as server:
        with connect("sync", server.url, server.token) as client:
            assert_genuine(delivered(client, endpoint), endpoint.url, user)
            rotated = client.signing_key.rotate()
        server.restart()
        with connect("sync", server.url, server.token) as client:
            keys = client.signing_key.get()
            assert_genuine(delivered(client, endpoint), endpoint.url, User("", rotated.current, rotated.next))

    assert rotated.current == user.next
    assert keys == rotated


def test_serve_never_accepts_the_documented_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Their tokens are in every documentation."""
    user = User("eyJVc2VySUQiOiJ0ZWFtIiwiUGFzc3dvcmQiOiJsYXRlcm9uX3Rlc3QifQ==", "sig_" + "a" * 28, "sig_" + "b" * 28)
    with Server(tmp_path_factory.mktemp("strangers") / "data", mode="serve", user=user) as server:
        assert [server.call("GET", "/v2/keys", token=dev.token).status for dev in DEV_USERS] == [401] * 4
        assert server.call("GET", "/v2/keys").status == 200
