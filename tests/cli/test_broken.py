"""What is not known is not taken for a no: a connection that breaks, a gateway that gives up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.cli.conftest import Shell
from tests.cli.relay import Fault, Relay
from tests.support.receiver import Endpoint
from tests.support.server import Server

from lateron.cli import exits


@pytest.mark.parametrize("fault", ["cut", "half", "502", "503"])
def test_request_that_was_broken_off_is_not_known_to_have_failed(
    fault: Fault, server: Server, endpoint: Endpoint, shell: Shell
) -> None:
    """Here it was done, all four times: a script that took the failure for a no would publish twice."""
    label = f"broken-{fault}"
    with Relay(server.url, fault) as relay:
        argv = ("publish", endpoint.url, "--delay", "1h", "--label", label, "--url", relay.url)
        line = shell.refused(*argv, code=exits.UNKNOWN)

    assert "whether it was done is not known" in line
    assert len(shell.items("messages", "list", "--label", label)) == 1


@pytest.mark.parametrize("verb", [("messages", "cancel", "msg_1"), ("queues", "pause", "q"), ("dlq", "delete", "1-1")])
def test_every_change_is_told_apart_so(verb: tuple[str, ...], server: Server, shell: Shell) -> None:
    """Not publishing alone."""
    with Relay(server.url, "cut") as relay:
        assert "broke off" in shell.refused(*verb, "--url", relay.url, code=exits.UNKNOWN)


@pytest.mark.parametrize("fault", ["cut", "half"])
def test_question_that_got_no_answer_changed_nothing(fault: Fault, server: Server, shell: Shell) -> None:
    """It may be asked again."""
    with Relay(server.url, fault) as relay:
        assert "no answer from" in shell.refused("queues", "list", "--url", relay.url, code=exits.UNREACHABLE)


def test_server_that_is_busy_or_reads_no_further_has_said_no(
    server: Server, endpoint: Endpoint, shell: Shell, tmp_path: Path
) -> None:
    """It says when to come back, or what is wrong; a body that could not be sent whole is no broken request."""
    (tmp_path / "body").write_bytes(bytes(8_000_000))
    body = ("-d", f"@{tmp_path / 'body'}")
    with Relay(server.url, "busy") as busy, Relay(server.url, "early") as early:
        assert "503: too much is under way" in shell.refused("publish", endpoint.url, "--url", busy.url)
        argv = ("publish", endpoint.url, *body, "--url", early.url)
        shell.run(*argv, code=exits.REFUSED)

    assert "413" in shell.err
    assert endpoint.requests == []


def test_server_that_nobody_runs_is_told_from_one_that_broke_off(shell: Shell, endpoint: Endpoint) -> None:
    """Nothing was sent, so nothing can have been done."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"  # Bound, and nobody listens.
        assert f"no answer from {url}" in shell.refused("publish", endpoint.url, "--url", url, code=exits.UNREACHABLE)


def test_what_is_no_api_is_said(server: Server, shell: Shell) -> None:
    """A wrong address often answers with a page."""
    with Relay(server.url, "text") as relay:
        line = shell.refused("queues", "list", "--url", relay.url, code=exits.UNREACHABLE)

        assert "is it a QStash API?" in shell.refused("queues", "pause", "q", "--url", relay.url, code=exits.UNKNOWN)

    assert "is it a QStash API?" in line


def test_batch_that_broke_off_is_not_known(server: Server, endpoint: Endpoint, shell: Shell, tmp_path: Path) -> None:
    """All of it or nothing was stored, and which is not known here."""
    (tmp_path / "items").write_text(f'{{"destination": "{endpoint.url}"}}\n' * 3, "utf-8")
    with Relay(server.url, "cut") as relay:
        shell.refused("batch", str(tmp_path / "items"), "--url", relay.url, code=exits.UNKNOWN)

    assert len(endpoint.wait_for(3)) == 3
