"""Bulk jobs, erasing and exports as a user types them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Shell
from tests.cli.screen import on_terminal
from tests.cli.test_bulk import dead, later, state
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.cli import exits


def test_dead_letters_are_replayed_by_a_job_and_its_progress_is_shown(endpoint: Endpoint, shell: Shell) -> None:
    """Counted first, then asked, then done; a pipe gets a line for each change, the last one says how it ended."""
    letters = [dead(shell, endpoint, 503, "--label", "night") for _ in range(3)]
    endpoint.answers(Answer(200))
    night = ("dlq", "replay", "--label", "night")

    said = shell.run(*night, "--dry-run").splitlines()
    assert said[0] == "3 dead letters to replay"
    assert {line.split()[0] for line in said[1:]} == set(letters)
    shell.run(*night, code=exits.USAGE)
    assert shell.err.endswith("lateron: Replay? Nobody can be asked here; --yes goes on\n")
    assert len(shell.items("dlq", "list", "--label", "night")) == 3

    lines = shell.run(*night, "--yes", "--follow", "-d", "mended", "--header", "X-Again: yes").splitlines()

    assert lines[-1] == "done: 3 of 3"
    (job,) = [one for one in shell.items("jobs", "list") if one["filter"] == {"label": ["night"]}]
    assert job["options"] == ["Upstash-Forward-X-Again"]
    assert shell.json("jobs", "show", job["jobId"]) == job
    assert shell.items("dlq", "list", "--label", "night") == []
    again = [request for request in endpoint.wait_for(6) if ("X-Again", "yes") in request.headers]
    assert {request.text for request in again} == {"mended"}


def test_a_job_is_stopped(endpoint: Endpoint, shell: Shell) -> None:
    """What it has done stays done, and who follows it is told by the exit code."""
    for _ in range(3):
        later(shell, endpoint, "--label", "slow")
    slow = ("messages", "retry", "--label", "slow", "--spread", "1h", "--yes")
    job = shell.run(*slow).strip()

    assert shell.run("jobs", "cancel", job).startswith("cancelled: ")
    assert shell.run("jobs", "cancel", job).startswith("cancelled: ")
    assert shell.run("jobs", "show", job, "--follow", code=exits.PARTLY).startswith("cancelled: ")
    assert "not found" in shell.refused("jobs", "show", "job_x")


def test_one_message_goes_now_or_says_why_not(endpoint: Endpoint, shell: Shell) -> None:
    """Whoever waits for something else than time cannot be hurried."""
    one = later(shell, endpoint)

    assert shell.run("messages", "retry", one) == f"due now {one}\n"
    endpoint.wait_for(1)
    shell.run("queues", "set", "stopped", "--parallelism", "1")
    shell.run("queues", "pause", "stopped")
    queued = shell.run("enqueue", "stopped", endpoint.url).strip()
    assert "its place in a queue" in shell.refused("messages", "retry", queued)


def test_an_erase_names_its_label_and_is_confirmed(endpoint: Endpoint, shell: Shell) -> None:
    """There is no way back, so nothing is guessed."""
    one, other = later(shell, endpoint, "--label", "user:1"), later(shell, endpoint, "--label", "user:2")
    for flags in ((), ("--all", "--yes"), ("--label", "user:1", "--all")):
        assert "expected --label" in shell.refused("erase", *flags, code=exits.USAGE)
    assert "expected a value" in shell.refused("erase", "--label", "", "--yes")
    shell.run("erase", "--label", "user:1", code=exits.USAGE)
    assert state(shell, one) == "CREATED"

    document = json.loads(shell.run("erase", "--label", "user:1", "--yes", "--follow", "--json").splitlines()[-1])

    assert (document["state"], document["done"]) == ("done", 1)
    assert "not found" in shell.refused("messages", "get", one)
    assert state(shell, other) == "CREATED"


def test_a_terminal_gets_a_bar(endpoint: Endpoint, server: Server, shell: Shell) -> None:
    """And is asked."""
    later(shell, endpoint, "--label", "bar")
    argv = ["messages", "retry", "--label", "bar", "--follow"]

    code, screen = on_terminal(argv, {"QSTASH_URL": server.url}, "y\n")

    assert code == exits.DONE
    assert "Retry? [y/N]" in screen
    assert "done: 1 of 1" in screen
    assert "━" in screen


def test_dead_letters_and_the_log_are_exported(endpoint: Endpoint, shell: Shell, tmp_path: Path) -> None:
    """As lines as the API shows them, or as a table that no spreadsheet takes for formulas."""
    letter = dead(shell, endpoint, 500, "-d", "=cmd()", "--label", "kept")
    lines, table, log = (str(tmp_path / name) for name in ("dead.jsonl", "dead.csv", "log.csv"))
    kept = ("--label", "kept")

    assert shell.run("dlq", "export", lines, *kept) == "exported 1\n"
    assert shell.run("dlq", "export", table, *kept) == "exported 1\n"
    assert "exists; nothing was written" in shell.refused("dlq", "export", table, *kept)
    shell.run("logs", *kept, "--export", log)

    assert json.loads(Path(lines).read_text("utf-8")) == shell.json("dlq", "get", letter)
    assert Path(lines).stat().st_mode & 0o777 == 0o600
    (row,) = csv.DictReader(io.StringIO(Path(table).read_text("utf-8")))
    assert (row["dlqId"], row["responseStatus"], row["body"], row["labels"]) == (letter, "500", "'=cmd()", "kept")
    states = [row["state"] for row in csv.DictReader(io.StringIO(Path(log).read_text("utf-8")))]
    assert states == ["CREATED", "ACTIVE", "ERROR", "FAILED"]
    printed = [json.loads(line)["state"] for line in shell.run("logs", *kept, "--format", "ndjson").splitlines()]
    assert printed == states


@pytest.mark.parametrize("flags", [("--export", "x.csv"), ("--format", "csv")])
def test_a_log_that_goes_on_is_no_file(flags: tuple[str, str], shell: Shell) -> None:
    """It would never be complete."""
    assert "--follow: expected none of" in shell.refused("logs", "--follow", *flags, code=exits.USAGE)
