"""Tokens and signing keys: made once, shown once, never those that everybody knows."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from pathlib import Path

import msgspec
import pytest
from tests.serving import OWN, Bare, publish, refused
from tests.support.genuine import assert_genuine
from tests.support.receiver import Endpoint
from tests.support.server import DEV_USERS, Server, User

from lateron.cli import exits


@pytest.mark.promise("D-2")
def test_first_start_of_serve_makes_a_token_and_shows_it_once(tmp_path: Path) -> None:
    """Long, random, known to scanners by its prefix, and of the form that SDKs decode."""
    with Bare(tmp_path / "data", mode="serve") as server:
        printed = dict(re.findall(r'^(QSTASH_[A-Z_]+)="([^"]+)"$', server.log, re.MULTILINE))
        token = printed["QSTASH_TOKEN"]
        content = msgspec.json.decode(b64decode(token, validate=True))

        assert set(content) == {"UserID", "Password"}
        assert content["Password"].startswith("ltrn_")
        assert len(content["Password"]) >= len("ltrn_") + 32  # 192 bits in base64.
        keys = server.call("GET", "/v2/keys", token=token).json
        assert keys == {
            "current": printed["QSTASH_CURRENT_SIGNING_KEY"],
            "next": printed["QSTASH_NEXT_SIGNING_KEY"],
        }

        server.restart(crash=False)

        assert "QSTASH_TOKEN" not in server.log
        assert server.call("GET", "/v2/keys", token=token).json == keys


@pytest.mark.promise("D-2")
def test_store_holds_no_usable_token(tmp_path: Path) -> None:
    """Who steals the file, or a backup, cannot call the API with it."""
    with Bare(tmp_path / "data", mode="serve") as server:
        token = dict(re.findall(r'^(QSTASH_[A-Z_]+)="([^"]+)"$', server.log, re.MULTILINE))["QSTASH_TOKEN"]
        password = msgspec.json.decode(b64decode(token))["Password"]

        stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("lateron.db*"))

    assert len(stored) > 4096
    assert token.encode() not in stored
    assert password.encode() not in stored


def test_two_first_starts_make_different_secrets(tmp_path: Path) -> None:
    """They come from the system's randomness."""
    secrets = set()
    for name in ("a", "b"):
        with Bare(tmp_path / name, mode="serve") as server:
            secrets |= set(re.findall(r'^QSTASH_(?:TOKEN|[A-Z_]+KEY)="([^"]+)"$', server.log, re.MULTILINE))

    assert len(secrets) == 6


def test_environment_seeds_the_store_once(tmp_path: Path) -> None:
    """Later the store is right, and the difference is said, naming both; a rotation is not undone by a restart."""
    with Server(tmp_path / "data", mode="serve", user=OWN) as server:
        assert server.call("GET", "/v2/keys").json == {"current": OWN.current, "next": OWN.next}
        assert "QSTASH_TOKEN" not in server.log
        assert "differs" not in server.log
        rotated = server.call("POST", "/v2/keys/rotate").json
        assert rotated["current"] == OWN.next

        server.restart(crash=True)

        assert server.call("GET", "/v2/keys").json == rotated
        assert "LATERON_CURRENT_SIGNING_KEY" in server.log
        assert "the current-signing-key of the store" in server.log
        assert OWN.current not in server.log
        assert OWN.token not in server.log


def test_another_token_in_the_environment_does_not_replace_the_first(tmp_path: Path) -> None:
    """A changed variable must not lock out who has the old token, nor let a new one in unseen."""
    with Server(tmp_path / "data", mode="serve", user=OWN):
        pass
    other = b64encode(b64decode(OWN.token).replace(b"secret", b"change")).decode()
    with Server(tmp_path / "data", mode="serve", user=User(other, OWN.current, OWN.next)) as server:
        assert server.call("GET", "/v2/keys", token=OWN.token).status == 200
        assert server.call("GET", "/v2/keys", token=other).status == 401
        assert "LATERON_TOKEN" in server.log


def test_rotation_in_dev_lasts_until_restart(tmp_path: Path, endpoint: Endpoint) -> None:
    """The JavaScript SDK finds a development server by its documented keys."""
    user = DEV_USERS[0]
    with Server(tmp_path / "data") as server:
        rotated = server.call("POST", "/v2/keys/rotate").json
        assert rotated["current"] == user.next
        publish(server, endpoint.url)
        (request,) = endpoint.wait_for(1)
        assert_genuine(request, endpoint.url, User(user.token, rotated["current"], rotated["next"]))

        server.restart(crash=False)

        assert server.call("GET", "/v2/keys").json == {"current": user.current, "next": user.next}


@pytest.mark.promise("D-17")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LATERON_TOKEN", DEV_USERS[0].token),
        ("LATERON_TOKEN", DEV_USERS[3].token),
        ("LATERON_CURRENT_SIGNING_KEY", DEV_USERS[1].current),
    ],
)
def test_serve_never_takes_a_documented_secret(tmp_path: Path, name: str, value: str) -> None:
    """Everybody knows them."""
    code, printed = refused(tmp_path / "data", mode="serve", environ={name: value})

    assert code == exits.USAGE
    assert "public documentation" in printed
    assert value not in printed


@pytest.mark.promise("D-17")
def test_serve_knows_none_of_the_documented_users(tmp_path: Path) -> None:
    """An answer to one of their tokens would be an open door."""
    with Server(tmp_path / "data", mode="serve", user=OWN) as server:
        statuses = [server.call("GET", "/v2/keys", token=user.token).status for user in DEV_USERS]

    assert statuses == [401] * 4


@pytest.mark.promise("D-17")
@pytest.mark.parametrize(("first", "second"), [("dev", "serve"), ("serve", "dev")])
def test_neither_command_takes_the_store_of_the_other(tmp_path: Path, first: str, second: str) -> None:
    """Else public tokens would come into production by the back door."""
    with Bare(tmp_path / "data", mode="serve" if first == "serve" else "dev"):
        pass

    code, printed = refused(tmp_path / "data", mode=second)

    assert code == exits.USAGE
    assert f"it belongs to `lateron {first}`" in printed


@pytest.mark.parametrize("token", ["x9x9x9", "with a blank in the midst of it"])
def test_token_that_cannot_be_a_secret_is_refused(tmp_path: Path, token: str) -> None:
    """Before anything is stored."""
    code, printed = refused(tmp_path / "data", mode="serve", environ={"LATERON_TOKEN": token})

    assert code == exits.USAGE
    assert "LATERON_TOKEN: " in printed
    assert token not in printed


def test_signatures_can_be_switched_off(tmp_path: Path, endpoint: Endpoint) -> None:
    """For receivers that know their sender otherwise."""
    with Server(tmp_path / "data", "--no-upstash-signature") as server:
        publish(server, endpoint.url)

        (request,) = endpoint.wait_for(1)
        assert not request.has("Upstash-Signature")
