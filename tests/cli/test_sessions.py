"""`lateron sessions`, against the sessions of a server."""

from __future__ import annotations

import json
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from tests.cli.conftest import Shell
from tests.support.server import Server

from lateron.cli import exits


class Visitor:
    """Somebody who is logged in with a token."""

    def __init__(self, server: Server, token: str) -> None:
        self._url = f"http://localhost:{server.url.rpartition(':')[2]}"
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        body, kind = json.dumps({"token": token}).encode(), {"Content-Type": "application/json"}
        with self._opener.open(Request(f"{self._url}/console/api/session", body, kind), timeout=60) as answer:
            assert answer.status == 200

    def looks(self) -> int:
        """Look at the messages, and return the status."""
        try:
            with self._opener.open(f"{self._url}/v2/messages", timeout=60) as answer:
                return int(answer.status)
        except HTTPError as refused:
            return refused.code


@pytest.mark.promise("D-52")
def test_sessions_are_listed_and_ended_one_or_all_of_a_name(server: Server, shell: Shell) -> None:
    """By the id that the list shows; one that is ended is refused."""
    token = shell.json("tokens", "create", "visitor", "--scope", "read")["token"]
    first, second, third = (Visitor(server, token) for _ in range(3))
    assert first.looks() == 200, "and was the last one here"

    mine = [one for one in shell.items("sessions", "list") if one["name"] == "visitor"]
    assert [(one["by"], one["scope"], one["isOwn"]) for one in mine] == [("token", "read", False)] * 3
    number = mine[0]["sessionId"]
    assert number in shell.run("sessions", "list")
    assert shell.run("sessions", "end", number) == f"ended {number}\n"
    assert [one.looks() for one in (first, second, third)] == [401, 200, 200]
    assert f"session {number} not found" in shell.refused("sessions", "end", number)

    assert shell.run("sessions", "end", "--name", "visitor") == "ended of visitor: 2\n"
    assert [one.looks() for one in (second, third)] == [401, 401]
    assert shell.json("sessions", "end", "--name", "visitor") == {"ended": 0}


def test_what_shall_be_ended_must_be_said_once(shell: Shell) -> None:
    """Neither nothing, which could be everybody, nor two things."""
    assert "expected the id of a session, or --name" in shell.refused("sessions", "end", code=exits.USAGE)
    refused = shell.refused("sessions", "end", "ses_0", "--name", "anna", code=exits.USAGE)
    assert "expected the id of a session, or --name" in refused
