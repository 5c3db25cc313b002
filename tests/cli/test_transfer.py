"""`lateron export`, `import`, `migrate-from-qstash` and `completion`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.cli.relay import Relay
from tests.support.receiver import Endpoint
from tests.support.server import DEV_USERS, Server

from lateron.cli import exits

OTHER = DEV_USERS[2].token  # A user of whom other tests know nothing.
CHANGING = ("createdAt", "updatedAt", "messageId", "callerIP", "callerIp")
NEW = frozenset((*CHANGING, "notBefore", "nextDeliveryTime", "waitingUntil", "ratePeriodStart"))


def furnish(shell: Shell, endpoint: Endpoint, *there: str) -> str:
    """Make one of each; return the id of a message that waits."""
    shell.run("groups", "add", "pair", "https://example.com/a", "--name", "first", *there)
    shell.run("groups", "defaults", "pair", "--option", "Retries: 5", *there)
    shell.run("queues", "set", "line", "--parallelism", "3", *there)
    shell.run("queues", "pause", "line", *there)
    shell.run("flow", "pin", "slow/key", "--rate", "7", "--period", "90s", *there)
    shell.run("schedule", "CRON_TZ=Europe/Berlin 0 4 * * *", "https://example.com/r", "--id", "nightly",
              "-d", '{"a": 1}', "-H", "X-Kind: night", "--retries", "2", "--timeout", "30s", "--overlap", "skip",
              "--label", "report",
              "--callback", "https://example.com/cb", "--flow-key", "slow/key", "--rate", "7", "--jitter", "5s",
              *there)  # fmt: skip
    shell.run("schedule", "@hourly", "https://example.com/s", "--id", "resting", *there)
    shell.run("schedules", "pause", "resting", *there)
    shell.run("enqueue", "line", endpoint.url, "-d", "queued", *there)
    return shell.run(
        "publish",
        endpoint.url,
        "-d",
        "grüße",
        "--delay",
        "2h",
        "--retries",
        "1",
        "-H",
        "X-A: b",
        "--label",
        "l",
        *there,
    ).strip()


def estate(shell: Shell, *there: str) -> dict[str, Any]:
    """Return what a user has, without ids and the times at which it was made."""

    def plain(item: Any) -> Any:
        return {name: value for name, value in item.items() if name not in NEW}

    lists = (("groups", "list"), ("queues", "list"), ("flow", "list"), ("schedules", "list"), ("messages", "list"))
    return {
        " ".join(words): sorted((plain(item) for item in shell.items(*words, *there)), key=json.dumps)
        for words in lists
    }


def test_all_that_a_user_has_is_the_same_behind_export_and_import(
    tmp_path: Path, endpoint: Endpoint, shell: Shell, server: Server
) -> None:
    """On another server; waiting messages keep their times, and nothing is sent by moving it."""
    file, there = str(tmp_path / "estate.jsonl"), ("--token", OTHER)
    furnish(shell, endpoint, *there)
    done = shell.json("export", file, *there)
    assert done == {"exported": {"group": 1, "queue": 1, "pin": 1, "schedule": 2, "message": 2}, "leftOut": 0}
    assert "exists" in shell.refused("export", file, *there)
    assert json.loads(Path(file).read_text("utf-8").splitlines()[0]) == {"lateron": "export", "version": 1}

    with Server(tmp_path / "data") as target:
        here = ("--url", target.url, "--token", OTHER)
        assert shell.json("import", file, "--dry-run", *here)["imported"] == done["exported"]
        assert set(map(len, estate(shell, *here).values())) == {0}

        assert shell.json("import", file, *here)["refused"] == []

        assert estate(shell, *here) == estate(shell, *there)
        times = [
            [one["notBefore"] // 1000 for one in shell.items("messages", "list", *side) if one["body"] != "queued"]
            for side in (here, there)
        ]
        assert 0 <= times[0][0] - times[1][0] <= 1
        assert endpoint.requests == []
        target.call("POST", "/v2/queues/line/resume", token=OTHER)
        assert endpoint.wait_for_one().text == "queued"
    server.call("DELETE", "/v2/messages", token=OTHER)


def test_migration_takes_all_but_messages_and_changes_nothing_there(
    tmp_path: Path, endpoint: Endpoint, shell: Shell
) -> None:
    """From any server that speaks the API; a token that may read is enough."""
    with Server(tmp_path / "source") as source, Server(tmp_path / "target") as target:
        there, here = ("--url", source.url), ("--url", target.url)
        furnish(shell, endpoint, *there)
        reader = shell.run("tokens", "create", "move", "--scope", "read", *there).strip()
        before = estate(shell, *there)

        moved = shell.json("migrate-from-qstash", "--from", source.url, "--from-token", reader, *here)

        assert moved["migrated"] == {"group": 1, "queue": 1, "pin": 1, "schedule": 2}
        assert estate(shell, *there) == before
        after = estate(shell, *here)
        assert after.pop("messages list") == []
        assert all(after[name] == before[name] for name in ("groups list", "schedules list"))
    assert "--from-token" in shell.refused("migrate-from-qstash", code=exits.USAGE)


def test_what_is_redacted_is_left_out_and_named(tmp_path: Path, shell: Shell) -> None:
    """A hash in the place of a secret would be sent as if it were one."""
    there = ("--token", DEV_USERS[3].token)
    shell.run("schedule", "@daily", "https://example.com", "--id", "secret", "-d", "x", "--redact", "body", *there)

    out = json.loads(shell.run("export", str(tmp_path / "e"), "--json", *there, code=exits.PARTLY))

    assert out == {"exported": {}, "leftOut": 1}
    assert "schedule secret has redacted values" in shell.err


def test_file_that_is_no_export_is_refused_before_anything_is_made(tmp_path: Path, shell: Shell) -> None:
    """With the line that is wrong."""
    head = '{"lateron": "export", "version": 1}\n'
    good = json.dumps({"kind": "queue", "object": {"name": "never", "parallelism": 1}})
    for text, said in (
        ("{}\n", "expected an export of version 1"),
        (head.replace("1", "2"), "expected an export of version 1"),
        (f"{head}{good}\n{{\n", "line 3 is no object"),
        (f'{head}{good}\n{{"kind": "moon", "object": {{}}}}\n', "line 3 is no object"),
    ):
        (tmp_path / "file").write_text(text, "utf-8")
        assert said in shell.refused("import", str(tmp_path / "file"), code=exits.USAGE)
    assert "queue never not found" in shell.refused("queues", "get", "never")


def exported(path: Path, *things: tuple[str, dict[str, Any]]) -> str:
    """Write a file as `export` does; return its name."""
    lines = [{"lateron": "export", "version": 1}, *({"kind": kind, "object": content} for kind, content in things)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return str(path)


DAILY = {"scheduleId": "s", "cron": "@daily", "destination": "https://example.com"}
LATER = {"messageId": "msg_1", "url": "https://example.com", "maxRetries": 3}


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("group", {"name": "g"}, "group g: Object missing required field endpoints"),
        ("group", {"name": "g", "endpoints": [{"url": 5}]}, "group g: endpoints[0].url: Expected str, got int"),
        ("queue", {"name": "q", "parallelism": "x"}, "queue q: parallelism: Expected int, got str"),
        ("pin", {"flowControlKey": "k", "isPaused": 1}, "pin k: isPaused: Expected bool, got int"),
        ("schedule", {**DAILY, "cron": None}, "schedule s: Object missing required field cron"),
        ("schedule", {**DAILY, "header": {"a": "b"}}, "schedule s: header[...]: Expected array, got str"),
        ("schedule", {**DAILY, "start": 1 << 60}, "schedule s: start: Expected int <= 253402300799999"),
        ("message", {**LATER, "maxRetries": "3"}, "message msg_1: maxRetries: Expected int, got str"),
        ("message", {**LATER, "bodyBase64": "?"}, "message msg_1: bodyBase64: "),
        ("message", {**LATER, "body": "\ud800"}, "message msg_1: "),
    ],
)
def test_object_of_other_types_is_refused_before_anything_is_made(
    tmp_path: Path, shell: Shell, kind: str, content: dict[str, Any], said: str
) -> None:
    """With its line, by a dry run too; there is no server, so nothing can have been made."""
    file = exported(tmp_path / "file", ("queue", {"name": "never"}), (kind, content))

    for how in ((), ("--dry-run",)):
        line = shell.refused("import", file, *how, "--url", "http://127.0.0.1:1", code=exits.USAGE)
        assert f"file: line 3: {said}" in line


def test_dry_run_of_an_import_foresees_what_is_refused(tmp_path: Path, shell: Shell) -> None:
    """For the server's reasons, and with its exit code."""
    there = ("--token", DEV_USERS[1].token)
    bad: list[tuple[str, dict[str, Any]]] = [
        ("group", {"name": "a b", "endpoints": [{"url": "https://example.com"}]}),
        ("queue", {"name": "q", "parallelism": 0}),
        ("pin", {"flowControlKey": "k", "isPinnedParallelism": True, "parallelismMax": 0}),
        ("schedule", {**DAILY, "cron": "0 4 * *"}),
        ("schedule", {**DAILY, "end": 1577836800000}),
        ("message", {**LATER, "method": "HEAD"}),
    ]
    good = ("queue", {"name": "good", "updatedAt": None})
    for things, code, said in (
        (bad, exits.REFUSED, "nothing, 6 refused"),
        ([*bad, good], exits.PARTLY, "1 queue, 6 refused"),
        ([good], exits.DONE, "1 queue"),
    ):
        file = exported(tmp_path / "file", *things)
        assert shell.run("import", file, "--dry-run", *there, code=code) == f"would be imported: {said}\n"
        foreseen = shell.err
        assert shell.run("import", file, *there, code=code) == f"imported: {said}\n"
        assert [line.split(": ")[:2] for line in foreseen.splitlines() if "not checked" not in line] == [
            line.split(": ")[:2] for line in shell.err.splitlines()
        ]
    assert "not checked: the quota of the server" in foreseen
    assert [one["name"] for one in shell.items("queues", "list", *there)] == ["good"]


def test_import_that_breaks_off_tells_where(tmp_path: Path, shell: Shell, server: Server) -> None:
    """A second import would send messages twice: one must know which were made."""
    file = exported(tmp_path / "file", *(("queue", {"name": f"q{number}"}) for number in range(4)))
    with Relay(server.url, "cut", changes=1) as relay:
        argv = ("import", file, "--url", relay.url, "--token", DEV_USERS[1].token)
        out = json.loads(shell.run(*argv, "--json", code=exits.UNKNOWN))

    assert (out["imported"], out["refused"]) == ({"queue": 1}, [])
    assert ([line.partition(":")[0] for line in out["notKnown"]], out["notTried"]) == (
        ["queue q1"],
        ["queue q2", "queue q3"],
    )


def test_period_that_is_pinned_alone_can_be_moved(tmp_path: Path, shell: Shell) -> None:
    """And a start between two seconds, which a whole number of them cannot say."""
    there = ("--token", DEV_USERS[1].token)
    key = {"flowControlKey": "slow", "isPinnedRate": True, "rateMax": 0, "ratePeriod": 60}
    file = exported(tmp_path / "file", ("pin", key), ("schedule", {**DAILY, "start": 4102441200500}))

    shell.run("import", file, *there)

    assert shell.json("flow", "get", "slow", *there)["ratePeriod"] == 60
    assert shell.json("schedules", "get", "s", *there)["start"] == 4102441200500


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands(shell: Shell, tmp_path: Path) -> None:
    """With the script that is printed, in a real shell."""
    script = shell.run("completion", "bash")
    program = tmp_path / "lateron"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lateron "$@"\n', "utf-8")
    program.chmod(0o700)
    name = next(line.split()[-2] for line in script.splitlines() if line.startswith("complete "))
    asked = f'COMP_WORDS=(lateron que); COMP_CWORD=1; {name} lateron; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", f"PATH={tmp_path}:$PATH\n{script}\n{asked}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["queues"]
