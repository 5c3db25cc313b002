"""`lateron verify` and `lateron doctor`: why something does not arrive, or is refused."""

from __future__ import annotations

import json
import socket
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.serving import OWN
from tests.support.receiver import Answer, Endpoint, Received
from tests.support.server import DEV_USERS, Server

from lateron.cli import exits
from lateron.core.signature import Claims, sign
from lateron.core.signature import verify as believe
from lateron.runtime import SystemClock

USER = DEV_USERS[0]
URL = "https://example.com/hook?x=1"
KEYS = ("--key", USER.current, "--key", USER.next)
NOW = 1_800_000_000


def signed(key: str = USER.current, body: bytes = b'{"a": 1}') -> str:
    return sign(key, URL, sha256(body).digest(), NOW * 1000, "jwt_1")


def wrong(shell: Shell, signature: str, *more: str) -> dict[str, str]:
    """Verify a signature that a receiver would refuse; return what is wrong, by check."""
    keys = () if "--key" in more else KEYS
    out = json.loads(shell.run("verify", signature, *keys, "--json", *more, code=exits.REFUSED))
    assert out["valid"] is False
    return {check["check"]: check["said"] for check in out["checks"] if not check["ok"]}


@pytest.mark.promise("P-106")
def test_signature_of_a_delivery_is_found_right(endpoint: Endpoint, shell: Shell) -> None:
    """The one that came with a message, by the keys that the server shows."""
    shell.run("publish", endpoint.url, "-d", "hello")
    request = endpoint.wait_for_one()

    shown = shell.json(
        "verify", request.header("Upstash-Signature"), "--destination", endpoint.url, "-d", "hello", *KEYS
    )

    assert shown["valid"] is True
    assert [check["check"] for check in shown["checks"]] == [
        "form", "algorithm", "key", "iss", "nbf", "exp", "sub", "body",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "name", "said"),
    [
        (("--key", "sig_other"), "key", "made with none of"),
        (("--key", f" {USER.current} "), "key", "blanks or quotes"),
        (("--at", str(NOW + 400)), "exp", "too late, or the receiver's clock is fast"),
        (("--at", str(NOW - 400)), "nbf", "the receiver's clock is slow"),
        (("--destination", "http://example.com/hook?x=1"), "sub", "the scheme is another"),
        (("--destination", "https://example.com/hook"), "sub", "the query is another"),
        (("--destination", "https://example.org"), "sub", "made for 'https://example.com/hook?x=1'"),
        (("-d", '{"a":2}'), "body", "is another"),
        (("-d", '{"a": 1}\n'), "body", "only a line end"),
        (("-d", '{  "a":1}'), "body", "parsed and written anew"),
    ],
)
def test_what_is_wrong_with_a_signature_is_named(more: tuple[str, ...], name: str, said: str, shell: Shell) -> None:
    """Each claim by itself, with the mistake that is most often made."""
    at = () if "--at" in more else ("--at", str(NOW))

    found = wrong(shell, signed(), *more, *at)

    assert list(found) == [name]
    assert said in found[name]


def test_signature_that_is_none_and_keys_that_are_not_there(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value cut by a log; no key in the environment; keys from there."""
    assert "expected three parts" in wrong(shell, signed()[:60])["form"]
    for name in ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert "expected --key" in shell.refused("verify", signed(), code=exits.USAGE)
    monkeypatch.setenv("QSTASH_NEXT_SIGNING_KEY", USER.current)
    assert "made with key 1 of 1" in shell.run("verify", signed(), "--at", str(NOW))


def steps(shell: Shell, *argv: str, code: int = exits.DONE) -> dict[str, tuple[bool | None, str]]:
    """Examine a URL; return each step."""
    found: dict[str, Any] = json.loads(shell.run("doctor", *argv, "--json", code=code))
    return {step["step"]: (step["ok"], step["said"]) for step in found["steps"]}


def test_doctor_follows_a_delivery_to_its_end(endpoint: Endpoint, shell: Shell) -> None:
    """And with --send sees that the receiver takes what is signed, and refuses what is forged."""

    def judge(request: Received) -> Answer:
        if not request.has("Upstash-Signature"):
            return Answer(405)
        token, now = request.header("Upstash-Signature"), SystemClock().wall()
        claims = believe(token, (USER.current, USER.next), request.body, endpoint.url, now)
        return Answer(200 if isinstance(claims, Claims) else 401)

    endpoint.answer_by(judge)
    assert list(steps(shell, endpoint.url)) == ["server", "name", "guard", "connect", "answer", "clock"]
    assert [request.method for request in endpoint.requests] == ["HEAD"]

    found = steps(shell, endpoint.url, "--send")
    assert (found["signature"], found["forgery"]) == (
        (True, "200 to a request signed with the current key"),
        (True, "401 to a forged one"),
    )
    endpoint.answers(Answer(200))
    assert "checks no signature" in steps(shell, endpoint.url, "--send", code=exits.REFUSED)["forgery"][1]


def test_doctor_names_the_step_that_fails(endpoint: Endpoint, server: Server, shell: Shell) -> None:
    """A bad URL, a name that nobody has, an address that is never called, a port where nobody is, a wrong clock."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        for url, step, said in (
            ("ftp://example.com", "url", "destination"),
            ("http://nobody.invalid/", "name", "does not resolve here"),
            ("http://169.254.169.254/latest", "guard", "a metadata service"),
            (nobody, "connect", "no connection to port"),
            (endpoint.url.replace("http:", "https:"), "tls", "hung up in the middle of it; does it speak plain HTTP?"),
            (server.url.replace("http:", "https:"), "tls", "speaks plain HTTP, not TLS; use http://"),
        ):
            ok, text = steps(shell, url, code=exits.REFUSED)[step]
            assert (ok, said in text) == (False, True), text
    endpoint.answers(Answer(200, headers=(("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),)))
    assert "behind" in steps(shell, endpoint.url, code=exits.REFUSED)["clock"][1]


def test_doctor_asks_the_server_what_its_guard_allows(
    tmp_path: Path, endpoint: Endpoint, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs receivers in his own network allows them, and wants to know the rest."""
    monkeypatch.setenv("QSTASH_TOKEN", OWN.token)
    with Server(tmp_path / "open", "--allow-private", "127.0.0.0/8", mode="serve", user=OWN) as server:
        there = ("--url", server.url)
        assert steps(shell, endpoint.url, *there)["guard"] == (True, "an address that may be called")
        found = steps(shell, endpoint.url, "--send", *there, code=exits.REFUSED)
        assert found["signature"] == (True, "200 to a request signed with the current key")
        # Who may only read is not told.
        token = shell.run("tokens", "create", "seeing", "--scope", "read", *there).strip()
        found = steps(shell, endpoint.url, *there, "--token", token)
        assert found["guard"][0] is None
        assert "only a token with scope admin is told" in found["guard"][1]
        assert found["answer"] == (True, "200 to HEAD")
        assert "\tnot known\t" in shell.run("doctor", endpoint.url, *there, "--token", token)
        metadata = ("http://169.254.169.254/latest", *there, "--token", token)
        assert steps(shell, *metadata, code=exits.REFUSED)["guard"][0] is False
    with Server(tmp_path / "closed", mode="serve", user=OWN) as server:
        found = steps(shell, endpoint.url, "--url", server.url, code=exits.REFUSED)
        assert (found["guard"][0], "connect" in found) == (False, False)


def test_server_that_speaks_plain_http_is_named_so(server: Server, shell: Shell) -> None:
    """One letter too many in QSTASH_URL."""
    said = shell.refused("queues", "list", "--url", server.url.replace("http:", "https:"), code=exits.UNREACHABLE)

    assert "it speaks plain HTTP there, not TLS; use http://" in said
