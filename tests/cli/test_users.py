"""`lateron users`, through a server and beside it; what they can do is tried at the door of the console."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from tests.cli.conftest import Shell
from tests.cli.screen import on_terminal
from tests.support.poll import until
from tests.support.server import Server

from lateron.api import passwords
from lateron.cli import exits
from lateron.core.password import Cost

PASSWORD = "four words are enough"
OTHER = "some other words as good"


class Visitor:
    """Somebody with a browser."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def log_in(self, name: str, password: str) -> int:
        """Log in, and return the status."""
        return self._ask("/console/api/session", json.dumps({"name": name, "password": password}).encode())

    def looks(self) -> int:
        """Look at the messages, and return the status."""
        return self._ask("/v2/messages")

    def _ask(self, path: str, body: bytes | None = None) -> int:
        kind = {"Content-Type": "application/json"}
        url = f"http://localhost:{self._server.url.rpartition(':')[2]}{path}"
        try:
            with self._opener.open(Request(url, body, kind), timeout=60) as answer:
                return int(answer.status)
        except HTTPError as refused:
            return refused.code


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """Return what writes a password to a file."""

    def written(text: str) -> str:
        (tmp_path / "password").write_text(text, "utf-8")
        return str(tmp_path / "password")

    return written


@pytest.fixture
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash at next to no cost in this process, where much is hashed."""
    monkeypatch.setattr(passwords.new_secret, "__defaults__", (Cost(4, 8, 1),))


def told(password: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Give a password on standard input."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(f"{password}\n".encode()), isatty=lambda: False))
    return "--password-file", "-"


@pytest.mark.promise("D-54")
def test_user_is_added_listed_changed_and_removed(
    server: Server, shell: Shell, file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The life of a user, by the API; each step holds for the next request, and none shows the password."""
    made = shell.json("users", "add", "cli-anna", "--scope", "read", *told(PASSWORD, monkeypatch))
    assert sorted(made) == ["changedAt", "createdAt", "name", "scope"]
    visitor = Visitor(server)
    assert visitor.log_in("cli-anna", PASSWORD) == 200
    assert visitor.looks() == 200
    (listed,) = [user for user in shell.items("users", "list") if user["name"] == "cli-anna"]
    assert (listed["scope"], listed["lastUsedAt"] >= listed["createdAt"]) == ("read", True)

    assert shell.run("users", "passwd", "cli-anna", "--password-file", file(f"{OTHER}\r\n")) == (
        "cli-anna has another password\n"
    )
    assert visitor.looks() == 401
    assert [Visitor(server).log_in("cli-anna", word) for word in (PASSWORD, OTHER)] == [401, 200]
    assert shell.run("users", "scope", "cli-anna", "manage") == "cli-anna may manage\n"
    assert "manage" in shell.run("users", "list")

    assert shell.run("users", "remove", "cli-anna", "--yes") == "removed cli-anna\n"
    assert Visitor(server).log_in("cli-anna", OTHER) == 401
    assert "user cli-anna not found" in shell.refused("users", "remove", "cli-anna", "--yes")
    actions = [(one["action"], one.get("object")) for one in shell.items("audit", "--limit", "20")]
    assert [one for one in actions if one[0].startswith("user.")] == [
        ("user.remove", "cli-anna"),
        ("user.change", "cli-anna (manage)"),
        ("user.change", "cli-anna (password)"),
        ("user.create", "cli-anna (read)"),
    ]


@pytest.mark.promise("D-54", "P-108")
@pytest.mark.usefixtures("_cheap")
def test_users_are_changed_beside_their_running_server(
    tmp_path: Path, shell: Shell, file: Callable[[str], str]
) -> None:
    """The server takes up what another process did, and ends the logins of whoever was changed or removed."""
    with Server(tmp_path / "data") as server:
        there = ("--data-dir", str(server.data_dir))
        shell.run("users", "add", "anna", "--scope", "read", "--password-file", file(PASSWORD), *there)
        visitor = Visitor(server)
        until(lambda: "anna" in server.call("GET", "/lateron/v1/users").text, "the server to know anna")
        assert visitor.log_in("anna", PASSWORD) == 200
        assert [user["name"] for user in shell.items("users", "list", *there)] == ["anna"]

        shell.run("users", "passwd", "anna", "--password-file", file(OTHER), *there)
        until(lambda: visitor.looks() == 401, "the login to end with the password")
        assert visitor.log_in("anna", OTHER) == 200
        shell.run("users", "scope", "anna", "admin", *there)
        until(lambda: visitor.looks() == 401, "the login to end with the scope")
        assert visitor.log_in("anna", OTHER) == 200
        shell.run("users", "remove", "anna", "--yes", *there)
        until(lambda: visitor.looks() == 401, "the login to end with its user")

        assert "not found" in shell.refused("users", "passwd", "anna", "--password-file", file(OTHER), *there)
        records = server.call("GET", "/lateron/v1/audit").json["records"]
        done = [(one["action"], one["by"], one["object"]) for one in records if one["action"].startswith("user.")]
        assert done == [
            ("user.remove", "operator", "anna"),
            ("user.change", "operator", "anna (admin)"),
            ("user.change", "operator", "anna (password)"),
            ("user.create", "operator", "anna (read)"),
        ]
        assert not [one for one in records if PASSWORD in str(one) or OTHER in str(one)]
    assert "no store" in shell.refused("users", "list", "--data-dir", str(tmp_path))


@pytest.mark.promise("D-54")
def test_password_is_typed_twice_and_not_shown(server: Server) -> None:
    """Nor is there any way to write it on the command line, where everybody on the machine could read it."""
    environ = {"QSTASH_URL": server.url}
    argv = ["users", "add", "typist", "--scope", "read"]

    code, shown = on_terminal(argv, environ, answers=(("Password: ", PASSWORD), ("Again: ", OTHER)))
    assert (code, "the two passwords differ; nothing was changed" in shown) == (exits.USAGE, True)
    assert (PASSWORD in shown, OTHER in shown) == (False, False)

    code, shown = on_terminal(argv, environ, answers=(("Password: ", PASSWORD), ("Again: ", PASSWORD)))
    assert (code, "added typist, who may read" in shown, PASSWORD in shown) == (exits.DONE, True, False)
    assert Visitor(server).log_in("typist", PASSWORD) == 200


def test_what_cannot_be_is_refused_before_anybody_is_asked(
    shell: Shell, file: Callable[[str], str], tmp_path: Path
) -> None:
    """With what was expected, and never with the password."""
    add = ("users", "add", "x", "--scope", "read", "--password-file")
    assert "nobody can be asked" in shell.refused(*add[:-1], code=exits.USAGE)
    assert "12 to 1024 characters, got 5" in shell.refused(*add, file("short"), code=exits.USAGE)
    assert "one line" in shell.refused(*add, file(f"{PASSWORD}\n{OTHER}\n"), code=exits.USAGE)
    assert PASSWORD not in shell.err
    assert "cannot read" in shell.refused(*add, str(tmp_path / "none"), code=exits.USAGE)
    (tmp_path / "latin").write_bytes(b"caf\xe9 is not UTF-8")
    assert "is not UTF-8" in shell.refused(*add, str(tmp_path / "latin"), code=exits.USAGE)
    assert "scope: expected" in shell.refused("users", "add", "x", "--scope", "root", code=exits.USAGE)
    assert "name: expected" in shell.refused("users", "add", "a b", "--scope", "read", code=exits.USAGE)
    assert "scope: expected" in shell.refused("users", "scope", "x", "root", code=exits.USAGE)
    assert "--yes goes on" in shell.refused("users", "remove", "x", code=exits.USAGE)
    assert "not found" in shell.refused("users", "scope", "nobody", "read")
