"""`lateron apply`: what a file says is what there is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.cli.relay import Relay
from tests.support.server import DEV_USERS, Server

from lateron.cli import exits
from lateron.cli.client import connect
from lateron.cli.declaring import read_file
from lateron.cli.estate import Thing, make
from lateron.cli.judging import NOT_JUDGED
from lateron.cli.outcomes import Act, carried_out, exit_code, tell

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


SCHEDULE = '[schedules.s]\ncron = "@daily"\ndestination = "https://example.com"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues = 5", "expected tables groups, queues, pins, schedules; got queues"),
        ("[queues]\nq = 5", "queues.q: expected a table, got 5"),
        ("[groups.g]", "groups.g: expected endpoints"),
        ("[groups.g]\nendpoints = 5", "groups.g: endpoints: expected a list of URLs, or of tables with a url"),
        ("[groups.g]\nendpoints = []", "perhaps a name, got []"),
        ('[groups.g]\nendpoints = ["ftp://a"]', "groups.g: destination 'ftp://a': it must begin with http"),
        ('[groups.g]\nendpoints = ["https://a.example"]\nheaders = 5', "groups.g: headers: expected a table of texts"),
        (
            '[groups.g]\nendpoints = ["https://a.example"]\nheaders = { Upstash-Retries = "x" }',
            "groups.g: headers: Upstash-Retries: expected a whole number, got 'x'",
        ),
        ('[queues.q]\npaused = "x"', "queues.q: paused: expected true or false, got 'x'"),
        ("[queues.q]\nparallelism = 0", "queues.q: parallelism: expected a whole number from 1 to 10000, got 0"),
        ('[queues."a b"]', "queues.a b: name: expected 1 to 256 letters"),
        ("[pins.p]", "pins.p: expected a parallelism, a rate, or isPaused = true"),
        ("[pins.p]\nparallelism = 1\nperiod = 5", "pins.p: expected a rate beside period"),
        ('[pins.p]\nrate = 1\nperiod = "8d"', "pins.p: period: expected whole seconds from 1 to 604800"),
        (SCHEDULE.replace('"@daily"', "5"), "schedules.s: cron: expected text, got 5"),
        (SCHEDULE.replace("@daily", "0 4 * *"), "or 6 with seconds first; there are 4), got '0 4 * *'"),
        (SCHEDULE.replace("https://example.com", "a b"), "schedules.s: destination: expected a URL or the name"),
        (SCHEDULE.replace(".s]", '." s"]'), "name: expected a name without blanks around it"),
        (SCHEDULE + "callback = 5", "schedules.s: callback: expected text that is not empty, got 5"),
        (SCHEDULE + 'callback = "x"', "schedules.s: callback: expected a URL to call"),
        (SCHEDULE + 'header = "x"', "schedules.s: header: expected a table of texts, or of lists of texts, got 'x'"),
        (SCHEDULE + "header = { a = 1 }", 'got {"a": 1}'),
        (SCHEDULE + 'header = { a = "x\\ny" }', "schedules.s: header.a: expected no control characters"),
        (SCHEDULE + "labels = [1]", "schedules.s: labels: expected text or a list of texts, got [1]"),
        (SCHEDULE + 'isPaused = "yes"', "schedules.s: isPaused: expected true or false, got 'yes'"),
        (SCHEDULE + "body = 5", "schedules.s: body: expected text, got 5"),
        (SCHEDULE + "delay = -1", "schedules.s: delay: expected seconds, or a duration such as '5m', got -1"),
        (SCHEDULE + "timeout = 0", "schedules.s: timeout: expected a duration above zero, got 0"),
        (SCHEDULE + "retries = true", "schedules.s: retries: expected a whole number from 0, got true"),
        (SCHEDULE + "rate = 5", "schedules.s: expected a flowControlKey beside rate"),
        (SCHEDULE + 'start = "tomorrow"', "milliseconds since 1970, got 'tomorrow'"),
        (SCHEDULE + "start = 2026-12-01", "with its offset such as 2027-01-01T00:00:00Z, or milliseconds since 1970"),
        (SCHEDULE + "start = 2026-12-01T00:00:00", "(its offset is missing), got 2026-12-01T00:00:00"),
        (SCHEDULE + "end = 1999999999", "(that is long past; is it in seconds?), got 1999999999"),
        (
            SCHEDULE + "start = 2100-01-02T00:00:00Z\nend = 2100-01-01T00:00:00Z",
            "schedules.s: end: expected a time in the future and later than start, got 2100-01-01T00:00:00+00:00",
        ),
    ],
)
def test_value_that_cannot_be_is_named_before_any_server_is_asked(
    tmp_path: Path, shell: Shell, text: str, said: str
) -> None:
    """With its table, its field and what was expected; there is no server, so nothing can have been changed."""
    file = tmp_path / "estate.toml"
    file.write_text(f"[queues.good]\n{text}" if text.startswith("[") else text, "utf-8")

    for how in ((), ("--dry-run",)):
        line = shell.refused("apply", "-f", str(file), *how, "--url", "http://127.0.0.1:1", code=exits.USAGE)
        assert said in line


SPELLINGS = """
[groups.g]
endpoints = ["https://example.com/a", "https://example.com/a", { url = "https://example.com/b", name = "b" }]
headers = { upstash-retries = "5", Upstash-Forward-x = ["1", "2"] }

[pins.p]
parallelism = 1
rate = 2
period = "1m"

[pins.halted]
isPaused = true

[schedules.s]
cron = " @daily "
destination = "https://example.com/ü"
method = "get"
labels = "a"
delay = "5m"
timeout = "1500ms"
jitter = 0
missed = "LATEST"
overlap = "SKIP"
header = { x-kind = " night ", User-Agent = "mine", x-two = ["1", "2"] }
body = ""
start = 2100-01-01T00:00:00.500+01:00
end = "9999-06-01T00:00:00Z"
mostRuns = 3
flowControlKey = "k"
parallelism = 2
period = 5

[schedules.t]
cron = "@daily"
destination = "g"
labels = ["b", "a,b"]
end = 4102444800000
"""


def test_other_ways_to_say_a_value_are_the_same_value(tmp_path: Path, shell: Shell, there: tuple[str, ...]) -> None:
    """A schedule that is replaced counts its runs anew, so a second run with the same file must find it as it is."""
    file = tmp_path / "estate.toml"
    assert len(applied(shell, file, SPELLINGS, *there)) == 5

    assert applied(shell, file, SPELLINGS, *there) == []

    made = shell.json("schedules", "get", "s", *there)
    assert (made["method"], made["labels"], made["delay"], made["timeout"]) == ("GET", ["a"], 300, 1.5)
    assert (made["start"], made["end"]) == (4102441200500, 253383811200000)
    assert (made["parallelism"], made["period"]) == (2, 5)
    assert [one["url"] for one in shell.json("groups", "get", "g", *there)["endpoints"]] == [
        "https://example.com/a",
        "https://example.com/b",
    ]


def test_schedule_that_is_only_paused_or_resumed_is_not_made_anew(
    tmp_path: Path, shell: Shell, there: tuple[str, ...]
) -> None:
    """Its runs count on."""
    file = tmp_path / "estate.toml"
    applied(shell, file, SCHEDULE, *there)
    made = shell.json("schedules", "get", "s", *there)

    for paused in ("true", "false"):
        assert applied(shell, file, f"{SCHEDULE}isPaused = {paused}", *there) == ["change schedule s isPaused"]
        found = shell.json("schedules", "get", "s", *there)
        assert (found["isPaused"], found["createdAt"]) == (paused == "true", made["createdAt"])


def test_end_that_has_passed_is_refused_only_where_a_schedule_must_be_made(
    tmp_path: Path, shell: Shell, there: tuple[str, ...]
) -> None:
    """What has ended as its file says is right as it is."""
    file = tmp_path / "estate.toml"
    file.write_text(f"[queues.q]\n{SCHEDULE}end = 2020-01-01T00:00:00Z", "utf-8")

    line = shell.refused("apply", "-f", str(file), *there, code=exits.USAGE)

    assert "schedules.s: end: expected a time in the future and later than start, got 2020-01-01T00:00:00+00:00" in line
    assert shell.items("queues", "list", *there) == []
    assert read_file(str(file))["schedule", "s"].thing.content["end"] == 1577836800000


def test_hidden_value_is_compared_by_its_hash(tmp_path: Path, shell: Shell, there: tuple[str, ...]) -> None:
    """A group can hide what its schedules send."""
    hiding = """
        [groups.g]
        endpoints = ["https://example.com"]
        headers = { Upstash-Redact-Fields = "body,header" }
        [schedules.s]
        cron = "@daily"
        destination = "g"
        body = "grüße"
        header = { X-A = "b" }
    """
    file = tmp_path / "estate.toml"
    applied(shell, file, hiding, *there)

    assert shell.json("schedules", "get", "s", *there)["body"].startswith("REDACTED:")
    assert applied(shell, file, hiding, *there) == []
    assert applied(shell, file, hiding.replace("grüße", "bye"), *there) == ["change schedule s body"]


def test_what_only_the_server_knows_is_not_promised(tmp_path: Path, shell: Shell) -> None:
    """A dry run says what it has not checked; what the server refuses later keeps no other from being made."""
    file = tmp_path / "estate.toml"
    text = f"[queues.good]\n{SCHEDULE}retries = 9"
    with Server(tmp_path / "data", "--quota", "free") as server:
        there = ("--url", server.url)
        applied(shell, file, text, "--dry-run", *there)
        assert "not checked: the quota of the server" in shell.err
        assert shell.run("apply", "-f", str(file), *there, code=exits.PARTLY) == (
            "create queue good\n1 changed, 1 refused\n"
        )
        reason = "schedule s: the server answered 412: upstash-retries: the quota allows at most 5, got 9"
        assert shell.err == f"refused: {reason}\n"
        assert [one["name"] for one in shell.items("queues", "list", *there)] == ["good"]

        again = json.loads(shell.run("apply", "-f", str(file), "--json", *there, code=exits.REFUSED))
        assert [one["outcome"] for one in again["changes"]] == ["refused"]
        assert (again["refused"], again["notTried"]) == ([reason], [])


def test_half_a_change_is_told_from_none(tmp_path: Path, shell: Shell) -> None:
    """A group is there although its defaults were refused."""
    file = tmp_path / "estate.toml"
    file.write_text('[groups.g]\nendpoints = ["https://example.com"]\nheaders = { Upstash-Retries = "9" }', "utf-8")
    with Server(tmp_path / "data", "--quota", "free") as server:
        there = ("--url", server.url)
        out = shell.run("apply", "-f", str(file), *there, code=exits.PARTLY)
        assert shell.err.startswith("partly done: group g: the server answered 412")
        assert len(shell.items("groups", "list", *there)) == 1
    assert out == "0 changed, 1 partly done\n"


def test_endpoint_that_is_refused_costs_none_of_those_there_are(tmp_path: Path, shell: Shell) -> None:
    """All of a group's endpoints are replaced; by too many, so that it stays as it was."""
    file = tmp_path / "estate.toml"
    with Server(tmp_path / "data", "--quota", "free") as server:
        there = ("--url", server.url)
        applied(shell, file, '[groups.g]\nendpoints = ["https://example.com"]', *there)
        many = [f"https://example.com/{number}" for number in range(101)]
        applied(shell, file, f"[groups.g]\nendpoints = {json.dumps(many)}", *there, code=exits.REFUSED)
        assert "endpoints: the quota allows at most 100, got 102" in shell.err
        found = shell.json("groups", "get", "g", *there)
    assert found["endpoints"] == [{"url": "https://example.com"}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"url": "a", "name": "x"}], [{"url": "a"}]),
        ([{"url": "a", "name": "x"}], [{"url": "b"}]),
        ([{"url": "a", "name": "x"}], [{"url": "b", "name": "x"}]),
        (
            [{"url": "a", "name": "x"}, {"url": "b", "name": "y"}],
            [{"url": "a", "name": "y"}, {"url": "b", "name": "x"}],
        ),
        ([{"url": "a", "name": "x"}, {"url": "b"}], [{"url": "a"}, {"url": "b", "name": "x"}]),
        ([{"url": "a"}, {"url": "b"}, {"url": "c", "name": "x"}], [{"url": "b", "name": "x"}, {"url": "d"}]),
    ],
)
def test_group_gets_the_endpoints_of_the_file(
    tmp_path: Path, shell: Shell, before: list[dict[str, str]], after: list[dict[str, str]]
) -> None:
    """In one run, whichever URLs and names change their places."""
    file, there = tmp_path / "estate.toml", ("--token", DEV_USERS[3].token)

    def text(endpoints: list[dict[str, str]]) -> str:
        tables = [
            ", ".join(
                f'{key} = "{"https://example.com/" if key == "url" else ""}{value}"' for key, value in one.items()
            )
            for one in endpoints
        ]
        return f"[groups.g]\nendpoints = [{', '.join(f'{{ {table} }}' for table in tables)}]\n"

    defaults = 'headers = { Upstash-Retries = "1" }'
    applied(shell, file, text(before) + defaults, *there)

    applied(shell, file, text(after) + defaults, *there)

    assert applied(shell, file, text(after) + defaults, *there) == []
    assert applied(shell, file, text(after), *there) == ["change group g headers"]
    assert applied(shell, file, "", "--prune", "--yes", *there) == ["delete group g"]


def test_what_was_done_is_told_where_the_server_breaks_off(
    tmp_path: Path, shell: Shell, there: tuple[str, ...]
) -> None:
    """And what is not known, and what was not tried."""
    file = tmp_path / "estate.toml"
    file.write_text("".join(f"[queues.q{number}]\n" for number in range(5)), "utf-8")
    with Relay(there[1], "cut", changes=2) as relay:
        out = shell.run("apply", "-f", str(file), "--url", relay.url, code=exits.UNKNOWN)

    assert out == "create queue q0\ncreate queue q1\n2 changed, 1 not known, 2 not tried\n"
    assert shell.err.splitlines()[0].startswith("not known: queue q2: ")
    assert shell.err.splitlines()[1:] == ["not tried: queue q3 and 1 behind it"]


def test_nothing_is_tried_any_more_of_a_server_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part was done: that is neither exit code 5, which says that nothing was changed, nor 6."""
    with Server(tmp_path / "data") as server:

        def queue(name: str) -> tuple[str, Act]:
            return f"queue {name}", partial(make, thing=Thing("queue", {"name": name}))

        acts = [queue("a"), ("server", lambda _: server.kill()), queue("b"), queue("c"), queue("d")]
        outcomes = list(carried_out(connect(server.url, server.token), acts))

    tell(outcomes)
    assert [one.state for one in outcomes] == ["done", "done", "not tried", "not tried", "not tried"]
    assert (exit_code(outcomes), exit_code(outcomes[2:])) == (exits.PARTLY, exits.UNREACHABLE)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"not tried: queue b: no answer from {server.url}")
    assert second == "not tried: queue c and 1 behind it"


def test_what_differs_is_the_result_of_a_dry_run(tmp_path: Path, shell: Shell, there: tuple[str, ...]) -> None:
    """Results go to standard output."""
    file = tmp_path / "estate.toml"
    applied(shell, file, "[queues.a]\n[queues.b]\n", *there)
    file.write_text("[queues.a]\nparallelism = 2\n[queues.c]\n", "utf-8")

    lines = "change queue a: parallelism\ncreate queue c\ndelete queue b\n"
    assert shell.run("apply", "-f", str(file), "--prune", "--dry-run", *there) == f"{lines}3 would be changed\n"
    assert shell.err == f"{NOT_JUDGED}\n"
    assert shell.run("apply", "-f", str(file), "--prune", *there, code=exits.USAGE) == ""
    assert shell.err.startswith(lines), "who is asked must see what"
    assert shell.run("apply", "-f", str(file), "--prune", "--yes", *there) == f"{lines}3 changed\n"
    assert shell.err == ""


def test_pin_is_found_behind_any_number_of_keys(tmp_path: Path, shell: Shell) -> None:
    """A server shows a thousand at once, by name."""
    file = tmp_path / "estate.toml"
    with Server(tmp_path / "data") as server:
        with ThreadPoolExecutor(16) as pool:
            paths = [f"/v2/flowControl/user-{number}/pause" for number in range(1000)]
            assert {answer.status for answer in pool.map(partial(server.call, "POST"), paths)} == {200}
        there = ("--url", server.url)
        assert applied(shell, file, "[pins.zebra]\nrate = 1", *there) == ["create pin zebra"]

        assert applied(shell, file, "[pins.zebra]\nrate = 1", *there) == []
