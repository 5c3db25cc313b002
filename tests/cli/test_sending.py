"""`publish`, `enqueue`, `batch` and `schedule`: what is typed is what is sent."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import Shell
from tests.support.receiver import Endpoint, Receiver
from tests.support.server import Server

from lateron.cli import exits
from lateron.cli.exits import Failed
from lateron.cli.outgoing import options
from lateron.cli.publishing import read_batch

LATER = ("--delay", "1h")


def test_every_flag_of_publish_is_the_option_it_says(server: Server, endpoint: Endpoint, shell: Shell) -> None:
    """A flag that is dropped in silence is found out in production."""
    flags = ["--retries", "2", "--retry-delays", "1m,2m", "--timeout", "7s", "--label", "a", "--label", "b"]
    flags += ["--callback", endpoint.url, "--failure-callback", endpoint.url, "--order-key", "k", "-X", "PUT"]
    flags += ["--flow-key", "f", "--parallelism", "3", "--rate", "10", "--period", "1m", "--smooth"]

    message = shell.run("publish", endpoint.url, "-d", "hi", *LATER, *flags).strip()

    shown = shell.json("messages", "get", message)
    figures = ("maxRetries", "retryDelays", "timeout", "labels", "callback", "failureCallback", "orderKey", "method")
    story = shell.json("why", message)
    assert [story[name] for name in figures] == [
        2, [60_000, 120_000], 7000, ["a", "b"], endpoint.url, endpoint.url, "k", "PUT",
    ]  # fmt: skip
    assert [shown[name] for name in ("flowControlKey", "parallelism", "rate", "period")] == ["f", 3, 10, 60]
    assert shell.json("flow", "get", "f")["isSmooth"] is True
    assert server.call("GET", f"/v2/messages/{message}").json == shown


def test_expression_redaction_and_content_deduplication_are_passed_on(endpoint: Endpoint, shell: Shell) -> None:
    """The rest of the flags."""
    flags = ["--retry-delay", "1000 * pow(2, retried)", "--redact", "body", "--content-dedup", "--not-before", "4e9"]
    assert "upstash-not-before: expected" in shell.refused("publish", endpoint.url, "-d", "secret", *flags)
    instant = int(time.time()) + 3600
    flags[-1] = str(instant)

    message = shell.run("publish", endpoint.url, "-d", "secret", *flags).strip()

    shown = shell.json("messages", "get", message)
    assert shown["retryDelayExpression"] == "1000 * pow(2, retried)"
    assert shown["notBefore"] == instant * 1000
    assert shown["body"].startswith("REDACTED:")
    assert "duplicate" in shell.run("publish", endpoint.url, "-d", "secret", *flags)


def test_label_may_be_in_any_language(endpoint: Endpoint, shell: Shell) -> None:
    """Headers go out as the bytes that were typed, which are UTF-8."""
    message = shell.run("publish", endpoint.url, "--label", "grün 日本", *LATER).strip()

    assert shell.json("messages", "get", message)["labels"] == ["grün 日本"]
    assert [one["messageId"] for one in shell.items("messages", "list", "--label", "grün 日本")] == [message]


def test_enqueued_messages_arrive_in_order(endpoint: Endpoint, shell: Shell) -> None:
    """The first one makes the queue."""
    shell.run("queues", "pause", "in-order", code=exits.REFUSED)
    ids = [shell.run("enqueue", "in-order", endpoint.url, "-d", str(number)).strip() for number in range(3)]

    arrived = endpoint.wait_for(3)

    assert [request.body for request in arrived] == [b"0", b"1", b"2"]
    assert [request.header("Upstash-Message-Id") for request in arrived] == ids
    assert shell.json("queues", "get", "in-order")["parallelism"] == 1


def test_enqueueing_keeps_the_query_and_refuses_what_a_queue_has_not(endpoint: Endpoint, shell: Shell) -> None:
    """A queue has its own order."""
    shell.run("enqueue", "query", f"{endpoint.url}?a=%20b&c", "-d", "x")

    assert endpoint.wait_for_one().target == f"{endpoint.path}?a=%20b&c"
    assert "order-key" in shell.refused("enqueue", "query", endpoint.url, "--order-key", "k", code=exits.USAGE)
    assert "queue" in shell.refused("enqueue", "not a name", endpoint.url)
    assert "''" in shell.refused("enqueue", "", endpoint.url, code=exits.USAGE)


def test_batch_of_lines_goes_to_urls_groups_and_queues(receiver: Receiver, shell: Shell, tmp_path: Path) -> None:
    """One request, and a line for each message that came of it."""
    one, two, three = (receiver.endpoint() for _ in range(3))
    for member in (two, three):
        shell.run("groups", "add", "batched", member.url)
    items = [
        {"destination": one.url, "body": "to one", "headers": {"Upstash-Label": "first"}},
        {"destination": "batched", "body": {"to": "all"}},
        {"destination": one.url, "queue": "batched"},
    ]
    (tmp_path / "items").write_text("\n\n".join(map(json.dumps, items)), "utf-8")

    lines = [line.split("\t") for line in shell.run("batch", str(tmp_path / "items")).splitlines()]

    assert [line[1:] for line in lines] == [["0", "accepted"], ["1", "accepted"], ["1", "accepted"], ["2", "accepted"]]
    assert {request.body for request in one.wait_for(2)} == {b"to one", b""}
    assert [at.wait_for_one().json for at in (two, three)] == [{"to": "all"}, {"to": "all"}]


def test_batch_says_which_items_were_refused(endpoint: Endpoint, shell: Shell, tmp_path: Path) -> None:
    """The others were sent, and the exit code says both."""
    good, bad = {"destination": endpoint.url}, {"destination": "no-such-group"}
    file = tmp_path / "items.json"
    file.write_text(json.dumps([good, bad]), "utf-8")

    lines = shell.run("batch", str(file), code=exits.PARTLY).splitlines()
    answer = json.loads(shell.run("batch", str(file), "--json", code=exits.PARTLY))
    file.write_text(json.dumps([bad]), "utf-8")
    shell.run("batch", str(file), code=exits.REFUSED)

    assert lines[0].endswith("\t0\taccepted")
    assert lines[1] == "-\t1\trefused (404): message 1: topic no-such-group not found"
    assert [sorted(one) for one in answer] == [["messageId"], ["error", "status"]]
    assert len(endpoint.wait_for(2)) == 2


def test_batch_reads_standard_input(endpoint: Endpoint, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe needs no file; an array is sent as it is."""
    item = json.dumps({"destination": endpoint.url, "body": "piped"})
    for text in (f"{item}\r\n", f" [{item}]"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        shell.run("batch", "-")

    assert [request.body for request in endpoint.wait_for(2)] == [b"piped", b"piped"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"destination": "x"}\n5\n', "line 2: expected a JSON object, got '5'"),
        ("\n{not json", "line 2: expected a JSON object, got '{not json'"),
        (" \n", "expected at least one message, got none"),
        (f"{'[' * 100_000}", "400"),
    ],
)
def test_batch_that_is_none_is_refused_before_it_is_sent(text: str, said: str, shell: Shell, tmp_path: Path) -> None:
    """With the number of the line, which is where one looks."""
    (tmp_path / "items").write_text(text, "utf-8")

    assert said in shell.refused("batch", str(tmp_path / "items"), code=exits.REFUSED if said == "400" else exits.USAGE)


ITEMS = st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.none(), max_size=3)


@given(st.lists(ITEMS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\n \n"]), st.booleans(), st.booleans())
def test_lines_and_array_are_the_same_batch(items: list[dict[str, Any]], end: str, array: bool, plain: bool) -> None:
    """Whatever stands in the items, letters that end a line elsewhere included."""
    lines = (
        json.dumps(items, ensure_ascii=plain) if array else end.join(json.dumps(i, ensure_ascii=plain) for i in items)
    )

    assert json.loads(read_batch(lines.encode())) == items


def test_schedule_has_all_its_options(endpoint: Endpoint, shell: Shell) -> None:
    """And prints its id, so that a script can go on with it."""
    flags = ["--id", "all-of-it", "--zone", "Europe/Berlin", "--missed", "skip", "--overlap", "skip", "--runs", "5"]
    flags += ["--start", "2030-01-01T00:00:00+01:00", "--end", "2000000000", "--jitter", "1m", "--queue", "slow"]
    flags += ["-d", "text", "--delay", "5s", "--label", "x", "--retries", "1"]

    assert shell.run("schedule", " 0 4 * * MON-FRI ", endpoint.url, *flags) == "all-of-it\n"

    shown = shell.json("schedules", "get", "all-of-it")
    expected = {
        "cron": "CRON_TZ=Europe/Berlin  0 4 * * MON-FRI", "missed": "skip", "overlap": "skip", "mostRuns": 5,
        "start": 1_893_452_400_000, "end": 2_000_000_000_000, "jitter": 60, "queueName": "slow", "body": "text",
        "delay": 5, "label": "x", "retries": 1, "destination": endpoint.url,
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == expected
    shell.run("schedules", "delete", "all-of-it")


@pytest.mark.parametrize(
    ("cron", "flags"),
    [
        ("0 4 * * *", ["--zone", "America/New_York"]),
        ("30 2 29 2 *", []),
        ("*/15 * * * * *", ["--queue", "slow"]),
        ("@weekly", ["--runs", "2"]),
        ("0 0 1 * *", ["--end", "2031-07-31T00:00:00Z"]),
    ],
)
def test_dry_run_shows_the_ticks_that_the_schedule_will_have(
    cron: str, flags: list[str], endpoint: Endpoint, shell: Shell
) -> None:
    """It is tried without a server, and must not promise other times than the server keeps."""
    flags += ["--start", "2031-03-08T12:00:00Z"]
    before = shell.items("schedules", "list")
    tried = shell.json("schedule", cron, endpoint.url, *flags, "--dry-run")["times"]
    assert shell.items("schedules", "list") == before

    made = shell.run("schedule", cron, endpoint.url, *flags).strip()

    assert tried == shell.json("schedules", "preview", made, "--count", "5")["times"]
    assert len(tried) == (2 if "--runs" in flags else 4 if "--end" in flags else 5)
    shell.run("schedules", "delete", made)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["0 4 30 2 *"], "upstash-cron: expected a cron expression"),
        (["0 4 * * *", "--zone", "Mars/Olympus"], "upstash-cron: expected a cron expression"),
        (["@daily", "--missed", "never"], "lateron-missed: expected skip, latest or all, got 'never'"),
        (["@daily", "--overlap", "maybe"], "lateron-overlap: expected allow"),
        (["@daily", "--end", "2000-01-01T00:00:00Z"], "Lateron-End"),
        (["@daily", "--start", "2030-01-01"], "lateron-start: expected"),
        (["@daily", "--timeout", "soon"], "upstash-timeout: expected a duration"),
    ],
)
def test_dry_run_refuses_what_the_server_would(argv: list[str], said: str, endpoint: Endpoint, shell: Shell) -> None:
    """In the same words; nobody has to make a schedule to find out that it is none."""
    cron, *flags = argv
    tried = shell.refused("schedule", cron, endpoint.url, *flags, "--dry-run", code=exits.USAGE)
    made = shell.refused("schedule", cron, endpoint.url, *flags)

    assert said in tried
    assert made.partition(": the server answered 400: ")[2] == tried.removeprefix("lateron: ")


def test_zone_that_is_given_twice_is_refused(shell: Shell) -> None:
    """Which one is meant must not be guessed."""
    line = shell.refused("schedule", "CRON_TZ=UTC 0 4 * * *", "http://x", "--zone", "UTC", code=exits.USAGE)

    assert "--zone: the cron names its own, CRON_TZ=UTC" in line


def test_schedule_is_paused_resumed_run_and_deleted(endpoint: Endpoint, shell: Shell) -> None:
    """The life of a schedule, and what is not there is said."""
    shell.run("schedule", "@yearly", endpoint.url, "--id", "cli-life", "-d", "by hand")

    shell.run("schedules", "pause", "cli-life")
    assert "cli-life\t@yearly\tpaused\t" in shell.run("schedules", "list")
    shell.run("schedules", "resume", "cli-life")
    assert shell.json("schedules", "get", "cli-life")["isPaused"] is False
    message = shell.run("schedules", "run", "cli-life").strip()

    assert endpoint.wait_for_one().header("Upstash-Message-Id") == message
    assert shell.run("schedules", "preview", "cli-life", "--count", "3").count("-01-01T00:00:00.000Z\n") == 3
    assert shell.run("schedules", "delete", "cli-life") == "deleted cli-life\n"
    for verb in ("get", "pause", "resume", "run", "preview"):
        assert "cli-life not found" in shell.refused("schedules", verb, "cli-life")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b" [\n] \n"])
def test_batch_of_nothing_is_refused_in_each_form(content: bytes) -> None:
    """Whoever made the file meant to send something."""
    with pytest.raises(Failed, match="expected at least one message, got none"):
        read_batch(content)


@pytest.mark.parametrize(
    "name", ["Retries", "upstash-retries", "Callback-Retries", "Failure-Callback-Delay", "Callback-Failure-Callback",
             "Forward-X", "Callback-Forward-X", "Lateron-Anything-New", "Deduplication-Id"],
)  # fmt: skip
def test_option_that_a_server_reads_is_passed_on(name: str) -> None:
    """Also those of callbacks, and those that only a newer server knows by their prefix."""
    (sent,) = options([f"{name}: 1"])

    assert sent.lower().removeprefix("upstash-") == name.lower().removeprefix("upstash-")
