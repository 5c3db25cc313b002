"""`lateron apply`: what a file says is what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.support.server import Server

from lateron.cli import exits

FILE = """
[groups.pair]
endpoints = [{ name = "shop", url = "https://example.com/a" }, { url = "https://example.com/b" }]
headers = { Upstash-Retries = "5" }

[queues.line]
parallelism = 3
paused = true

[pins."slow/key"]
rate = 7
period = 90

[schedules.nightly]
cron = "CRON_TZ=Europe/Berlin 0 4 * * *"
destination = "https://example.com/r"
body = '{"a": 1}'
header = { Content-Type = "application/json", X-Kind = "night" }
retries = 5
timeout = 30
labels = ["report"]
overlap = "skip"

[schedules.resting]
cron = "@hourly"
destination = "pair"
isPaused = true
"""


@pytest.fixture
def there(tmp_path: Path) -> Any:
    with Server(tmp_path / "data") as server:
        yield ("--url", server.url)


def applied(shell: Shell, path: Path, text: str, *argv: str, code: int = exits.DONE) -> list[str]:
    """Apply a text; return what differed."""
    path.write_text(text, "utf-8")
    out = json.loads(shell.run("apply", "-f", str(path), "--json", *argv, code=code))
    return [f"{one['verb']} {one['kind']} {one['name']} {','.join(one['fields'])}".strip() for one in out["changes"]]


def test_what_a_file_says_is_made_once_and_then_nothing_differs(
    tmp_path: Path, shell: Shell, there: tuple[str, ...]
) -> None:
    """A second time changes nothing; --dry-run changes nothing at all."""
    file = tmp_path / "estate.toml"
    all_new = ["create group pair", "create queue line", "create pin slow/key",
               "create schedule nightly", "create schedule resting"]  # fmt: skip
    assert applied(shell, file, FILE, "--dry-run", *there) == all_new
    assert applied(shell, file, FILE, *there) == all_new
    assert applied(shell, file, FILE, *there) == []
    assert shell.json("schedules", "get", "nightly", *there)["timeout"] == 30
    assert shell.json("queues", "get", "line", *there)["paused"] is True
    assert shell.run("apply", "-f", str(file), *there) == "nothing differs\n"


def test_only_what_differs_is_changed_and_only_what_is_asked_for_is_deleted(
    tmp_path: Path, shell: Shell, there: tuple[str, ...]
) -> None:
    """With the fields that differ; deleting needs --prune, and somebody who says yes."""
    file = tmp_path / "estate.toml"
    applied(shell, file, FILE, *there)
    changed = (
        FILE.replace(', { url = "https://example.com/b" }', "")
        .replace("paused = true\n\n[pins", "\n[pins")
        .replace("rate = 7\nperiod = 90", "parallelism = 2")
        .replace("retries = 5\ntimeout", "timeout")
        .replace("isPaused = true", "")
    )
    assert applied(shell, file, changed, *there) == [
        "change group pair endpoints",
        "change queue line paused",
        "change pin slow/key parallelism,period,rate",
        "change schedule nightly retries",
        "change schedule resting isPaused",
    ]
    assert applied(shell, file, changed, *there) == []

    only = changed[changed.index("[schedules.nightly]") : changed.index("[schedules.resting]")]
    assert applied(shell, file, only, *there) == [], "what the file does not name stays"
    assert shell.run("apply", "-f", str(file), "--prune", *there, code=exits.USAGE) == ""
    assert "--yes goes on" in shell.err
    gone = ["delete group pair", "delete queue line", "delete pin slow/key", "delete schedule resting"]
    assert applied(shell, file, only, "--prune", "--yes", *there) == gone
    assert applied(shell, file, only, "--prune", *there) == []
    assert [one["scheduleId"] for one in shell.items("schedules", "list", *there)] == ["nightly"]


def test_file_that_says_what_cannot_be_changes_nothing(tmp_path: Path, shell: Shell, there: tuple[str, ...]) -> None:
    """A word that is misspelt must not be left out in silence."""
    file = tmp_path / "estate.toml"
    for text, said in (
        ("[schedule.a]\n", "expected tables groups, queues, pins, schedules; got schedule"),
        ("[queues.q]\nparalelism = 1\n", "queues.q: paralelism: expected parallelism, paused"),
        ('[schedules.a]\ncron = "@daily"\n', "expected a cron and a destination"),
        ("[queues", "estate.toml"),
    ):
        file.write_text("[queues.good]\n" + text if "[queues.q]" in text else text, "utf-8")
        assert said in shell.refused("apply", "-f", str(file), *there, code=exits.USAGE)
    assert shell.items("queues", "list", *there) == []

    text = '[queues.good]\n[schedules.bad]\ncron = "never"\ndestination = "https://example.com"\n'
    applied(shell, file, text, *there, code=exits.PARTLY)
    assert "schedule bad: the server answered 400" in shell.err
    assert [one["name"] for one in shell.items("queues", "list", *there)] == ["good"]
