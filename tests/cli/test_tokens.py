"""`lateron tokens` and `lateron keys`, through a server and beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Shell
from tests.support.poll import until
from tests.support.server import Server

from lateron.cli import exits


def status(server: Server, token: str, path: str = "/v2/messages") -> int:
    return server.call("GET", path, token=token).status


@pytest.mark.promise("P-108")
def test_token_is_made_listed_reset_and_revoked(server: Server, shell: Shell) -> None:
    """The life of a token; each step holds for the next request."""
    first = shell.run("tokens", "create", "cli-ci", "--scope", "read", "--expires", "90d").strip()
    assert status(server, first) == 200
    assert server.call("POST", "/v2/publish/https://example.com", token=first).status == 403

    second = shell.json("tokens", "reset", "cli-ci", "--yes")["token"]
    assert [status(server, token) for token in (first, second)] == [401, 200]

    (listed,) = [token for token in shell.items("tokens", "list") if token["name"] == "cli-ci"]
    assert sorted(listed) == ["createdAt", "expiresAt", "lastUsedAt", "name", "scope"]
    assert second not in shell.run("tokens", "list")

    assert shell.run("tokens", "revoke", "cli-ci", "--yes") == "revoked cli-ci\n"
    assert status(server, second) == 401
    assert "token cli-ci not found" in shell.refused("tokens", "revoke", "cli-ci", "--yes")


def test_token_that_cannot_be_is_refused_and_nobody_is_locked_out_unasked(shell: Shell) -> None:
    """With what was expected; a script says that it means it."""
    assert "scope: expected one of publish, read" in shell.refused("tokens", "create", "x", "--scope", "root")
    assert "expiresIn: expected" in shell.refused("tokens", "create", "x", "--scope", "read", "--expires", "soon")
    assert "--yes goes on" in shell.refused("tokens", "revoke", "development", code=exits.USAGE)
    assert "--yes goes on" in shell.refused("tokens", "reset", "development", code=exits.USAGE)
    assert "--yes goes on" in shell.refused("keys", "rotate", code=exits.USAGE)
    assert "the last one with scope admin" in shell.refused("tokens", "revoke", "development", "--yes")


@pytest.mark.promise("P-108")
def test_store_is_changed_beside_its_running_server(tmp_path: Path, shell: Shell) -> None:
    """For whoever has lost the last token: the server takes up what the command did, and goes on."""
    with Server(tmp_path / "data") as server:
        there = ("--data-dir", str(server.data_dir))
        token = shell.run("tokens", "create", "rescue", "--scope", "manage", *there).strip()
        until(lambda: status(server, token) == 200, "the server to know the token")
        assert server.call("POST", f"/v2/publish/{server.url}/_catch/x", b"x", token=token).status == 201

        renewed = shell.json("tokens", "reset", "rescue", "--yes", *there)["token"]
        until(lambda: status(server, token) == 401, "the server to refuse the old token")
        assert status(server, renewed) == 200
        shell.run("tokens", "revoke", "rescue", "--yes", *there)
        until(lambda: status(server, renewed) == 401, "the server to refuse the token")

        records = server.call("GET", "/lateron/v1/audit").json["records"]
        done = [(one["action"], one["by"], one["object"]) for one in records]
        expected = [("token.revoke", "rescue"), ("token.reset", "rescue"), ("token.create", "rescue (manage)")]
        assert done == [(action, "operator", what) for action, what in expected]
        assert not [one for one in records if token in str(one) or renewed in str(one)]
        assert [one["name"] for one in shell.items("tokens", "list", *there)] == ["development"]
        assert "not found" in shell.refused("tokens", "revoke", "rescue", "--yes", *there)
        assert "scope: expected" in shell.refused("tokens", "create", "a", "--scope", "x", *there, code=exits.USAGE)
    assert "no store" in shell.refused("tokens", "list", "--data-dir", str(tmp_path))


def test_last_use_outlives_the_server(tmp_path: Path, shell: Shell) -> None:
    """What was noted in memory is stored when it ends."""
    with Server(tmp_path / "data") as server:
        assert status(server, server.token) == 200
        server.stop()
        (listed,) = shell.items("tokens", "list", "--data-dir", str(server.data_dir))
        assert listed["lastUsedAt"] >= listed["createdAt"]


def test_keys_are_shown_as_receivers_read_them_and_rotated(tmp_path: Path, shell: Shell) -> None:
    """What is printed can be pasted; the next key becomes the current one."""
    with Server(tmp_path / "data") as server:
        there = ("--url", server.url)
        keys = shell.json("keys", "show", *there)
        assert shell.run("keys", "show", *there).splitlines()[0] == f'QSTASH_CURRENT_SIGNING_KEY="{keys["current"]}"'
        rotated = shell.json("keys", "rotate", "--yes", *there)
        assert rotated["current"] == keys["next"]
        assert shell.json("keys", "show", *there) == rotated


@pytest.mark.promise("D-57")
def test_audit_says_who_made_a_token(shell: Shell) -> None:
    """For whoever finds a token that nobody remembers; the token itself is not in it."""
    made = shell.run("tokens", "create", "seen", "--scope", "publish").strip()

    newest, *_ = shell.items("audit", "--action", "token.create", "--limit", "1")

    assert (newest["object"], newest["who"], newest["by"]) == ("seen (publish)", "development", "token")
    table = shell.run("audit", "--action", "token.create")
    assert "seen (publish)" in table
    assert made not in table
    shell.run("tokens", "revoke", "seen", "--yes")
