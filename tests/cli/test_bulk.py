"""Messages and dead letters, one and many: what is meant is what is changed."""

from __future__ import annotations

import json

import pytest
from tests.cli.conftest import Shell
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.cli import dlq, exits
from lateron.cli.exits import Failed
from lateron.cli.remote import Remote
from lateron.cli.selecting import moment
from lateron.core.values import DAY, HOUR
from lateron.runtime import SystemClock


def later(shell: Shell, endpoint: Endpoint, *flags: str) -> str:
    """Publish a message that stays on its way."""
    return shell.run("publish", endpoint.url, "--delay", "1h", *flags).strip()


def dead(shell: Shell, endpoint: Endpoint, status: int = 500, *flags: str) -> str:
    """Publish a message that becomes a dead letter; return its id in the queue of those."""
    endpoint.answers(Answer(status, f"answer {status}".encode()))
    message = shell.run("publish", endpoint.url, "--retries", "0", *flags).strip()
    return str(until(lambda: shell.items("dlq", "list", "--message", message), "the dead letter")[0]["dlqId"])


def state(shell: Shell, message: str) -> str:
    return str(shell.json("messages", "get", message)["state"])


def test_messages_are_listed_by_every_filter(endpoint: Endpoint, shell: Shell) -> None:
    """Each flag is the filter of the API that it says."""
    host, path = endpoint.url.removeprefix("http://").split(":")[0], endpoint.path
    shell.run("groups", "add", "filtered", endpoint.url)
    one = later(shell, endpoint, "--label", "f-one", "--flow-key", "f-key")
    two = shell.run("enqueue", "f-queue", endpoint.url, "--delay", "1h", "--label", "f-two").strip()
    three = shell.run("publish", "filtered", "--delay", "1h").strip()

    def listed(*flags: str) -> list[str]:
        return [message["messageId"] for message in shell.items("messages", "list", "--path", path, *flags)]

    assert listed() == [three, two, one], "newest first"
    assert listed("--label", "f-one", "--label", "f-two") == [two, one]
    assert listed("--flow-key", "f-key") == [one]
    assert listed("--queue", "f-queue", "--host", host) == [two]
    assert listed("--group", "filtered", "--destination", endpoint.url) == [three]
    assert listed("--caller-ip", "127.0.0.1", "--since", "1h") == [three, two, one]
    assert listed("--until", "1d") == listed("--schedule", "none") == listed("--since", "2100-01-01") == []
    assert listed("--limit", "2") == [three, two]


def test_empty_filter_never_means_everything(endpoint: Endpoint, shell: Shell) -> None:
    """A variable that is not set must not cancel, retry or delete all there is."""
    message = later(shell, endpoint)
    for command in (("messages", "cancel"), ("dlq", "retry"), ("dlq", "delete")):
        for flag in ("--label", "--queue", "--destination"):
            assert "expected a value, got ''" in shell.refused(*command, flag, "", "--yes")
        assert "expected an id, got ''" in shell.refused(*command, "", code=exits.USAGE)
        assert "expected an id, got ''" in shell.refused(*command, "x", "", code=exits.USAGE)
        assert "expected ids, filters, or --all" in shell.refused(*command, "--yes", code=exits.USAGE)
        assert "--since: expected a time ago" in shell.refused(*command, "--since", "", "--yes", code=exits.USAGE)

    assert state(shell, message) == "CREATED"


def test_ids_and_filters_are_not_mixed(endpoint: Endpoint, shell: Shell) -> None:
    """Nor is an id with --dry-run, which would change nothing but look as if it had."""
    message = later(shell, endpoint)
    for flags in (("--label", "x"), ("--all",), ("--dry-run",)):
        assert "expected ids alone" in shell.refused("messages", "cancel", message, *flags, code=exits.USAGE)

    assert state(shell, message) == "CREATED"


def test_messages_are_cancelled_by_id(endpoint: Endpoint, shell: Shell) -> None:
    """One, several, and some that are gone already."""
    one, two, three = (later(shell, endpoint) for _ in range(3))

    assert shell.run("messages", "cancel", one) == f"cancelled {one}\n"
    assert "not found" in shell.refused("messages", "cancel", one)
    assert shell.run("messages", "cancel", one, two, code=exits.PARTLY) == "cancelled 1\n"
    assert shell.err == "lateron: 1 of 2 messages are not on their way\n"
    assert shell.run("messages", "cancel", one, two, code=exits.REFUSED) == "cancelled 0\n"
    assert shell.json("messages", "cancel", three) == {"cancelled": 1}


def test_many_are_counted_and_nobody_is_taken_for_a_yes(endpoint: Endpoint, shell: Shell) -> None:
    """Where nobody can be asked, nothing is changed without --yes."""
    ids = [later(shell, endpoint, "--label", "many") for _ in range(5)]

    shell.run("messages", "cancel", "--label", "many", code=exits.USAGE)
    said = shell.err.splitlines()
    assert said[0] == "5 messages to cancel"
    assert [line.split()[0] for line in said[1:4]] == ids[:-4:-1]
    assert said[4:] == ["  ...", "lateron: Cancel? Nobody can be asked here; --yes goes on"]

    assert shell.json("messages", "cancel", "--label", "many", "--dry-run") == {"matching": 5, "more": False}
    assert shell.run("messages", "cancel", "--label", "many", "--dry-run").startswith("5 messages to cancel\n")
    assert {state(shell, message) for message in ids} == {"CREATED"}

    limited = ("messages", "cancel", "--label", "many", "--limit", "2")
    assert [line.split()[0] for line in shell.run(*limited, "--dry-run").splitlines()] == ["2", *ids[:-3:-1]]
    assert shell.run(*limited, "--yes") == "cancelled 2\n"
    assert [state(shell, message) for message in ids[-2:]] == ["CANCELED", "CANCELED"], "those that were shown"
    assert shell.run("messages", "cancel", "--label", "many", "--yes") == "cancelled 3\n"
    assert shell.run("messages", "cancel", "--label", "many") == ""
    assert shell.err == "0 messages to cancel\n"


def test_count_stops_where_it_would_take_long(server: Server, endpoint: Endpoint, shell: Shell) -> None:
    """A million messages are not listed to be counted."""
    items = [{"destination": endpoint.url, "headers": {"Upstash-Delay": "1h", "Upstash-Label": "flood"}}] * 1002
    assert server.call("POST", "/v2/batch", json.dumps(items).encode()).status == 201

    assert shell.json("messages", "cancel", "--label", "flood", "--dry-run") == {"matching": 1000, "more": True}
    assert "more than 1000 messages" in shell.run("messages", "cancel", "--label", "flood", "--dry-run")
    assert len(shell.items("messages", "list", "--label", "flood", "--limit", "1001")) == 1001
    assert len(shell.run("messages", "list", "--label", "flood").splitlines()) == 100
    assert shell.run("messages", "cancel", "--label", "flood", "--yes") == "cancelled 1002\n"


def test_dead_letter_is_shown_with_its_answer(endpoint: Endpoint, shell: Shell) -> None:
    """Why it failed is what one looks for."""
    letter = dead(shell, endpoint, 418, "-d", "body", "--label", "teapot")

    assert shell.run("dlq", "list", "--label", "teapot") == f"{letter}\t418\t{endpoint.url}\n"
    shown = dict(line.split("\t") for line in shell.run("dlq", "get", letter).splitlines())
    assert (shown["responseStatus"], shown["responseBody"], shown["body"]) == ("418", "answer 418", "body")
    assert shown["createdAt"].endswith("Z")
    assert shell.json("dlq", "get", letter)["dlqId"] == letter
    assert shell.items("dlq", "list", "--status", "418", "--label", "teapot") == [shell.json("dlq", "get", letter)]
    assert shell.items("dlq", "list", "--status", "419", "--label", "teapot") == []


def test_dead_letter_is_retried_with_other_options(endpoint: Endpoint, shell: Shell) -> None:
    """The options given replace the original's; the new id is printed."""
    letter = dead(shell, endpoint, 500, "-d", "again")

    retried = shell.run(
        "dlq", "retry", letter, "--retries", "4", "--delay", "1h", "-H", "X-Try: 2", "-X", "PUT"
    ).strip()

    shown = shell.json("messages", "get", retried)
    assert (shown["maxRetries"], shown["method"], shown["header"]["X-Try"]) == (4, "PUT", ["2"])
    assert "not found" in shell.refused("dlq", "retry", letter)
    assert "upstash-delay: expected a duration" in shell.refused("dlq", "retry", letter, "--delay", "soon")


def test_dead_letters_are_retried_by_filter(endpoint: Endpoint, shell: Shell) -> None:
    """All that match and no other, with a number beforehand."""
    letters = [dead(shell, endpoint, status, "--label", "bulk") for status in (500, 503, 503)]
    endpoint.answers(Answer(200))
    flags = ("--label", "bulk", "--status", "503")

    assert "2 dead letters to retry\n" in shell.run("dlq", "retry", *flags, "--dry-run")
    shell.run("dlq", "retry", *flags, code=exits.USAGE)
    assert letters[2] in shell.err
    ids = shell.run("dlq", "retry", *flags, "--yes").splitlines()

    assert {request.header("Upstash-Message-Id") for request in endpoint.wait_for(5)[3:]} == set(ids)
    assert [one["dlqId"] for one in shell.items("dlq", "list", "--label", "bulk")] == letters[:1]
    assert shell.run("dlq", "retry", letters[0], letters[1], code=exits.PARTLY).count("msg_") == 1
    assert shell.err == "lateron: 1 of 2 dead letters are not there\n"
    assert shell.run("dlq", "retry", *letters[:2], code=exits.REFUSED) == ""


def test_dead_letters_are_deleted(endpoint: Endpoint, shell: Shell) -> None:
    """By id, by filter, never more than a limit."""
    letters = [dead(shell, endpoint, 500, "--label", "gone") for _ in range(4)]

    assert shell.run("dlq", "delete", letters[0]) == f"deleted {letters[0]}\n"
    assert "not found" in shell.refused("dlq", "delete", letters[0])
    assert shell.run("dlq", "delete", *letters[:2], code=exits.PARTLY) == "deleted 1\n"
    assert shell.run("dlq", "delete", "--label", "gone", "--limit", "1", "--yes") == "deleted 1\n"
    assert [one["dlqId"] for one in shell.items("dlq", "list", "--label", "gone")] == [letters[2]], "the newest went"
    assert shell.items("dlq", "delete", "--label", "gone", "--yes") == [{"deleted": 1}]


def test_many_dead_letters_take_as_many_calls_as_they_need(server: Server, endpoint: Endpoint, shell: Shell) -> None:
    """The server changes a thousand at once; one that fails again meanwhile is not taken twice."""
    endpoint.answers(Answer(500))
    items = [
        {"destination": endpoint.url, "headers": {"Upstash-Retries": "0", "Upstash-Label": "wave"}} for _ in range(1100)
    ]
    assert server.call("POST", "/v2/batch", json.dumps(items).encode()).status == 201
    until(lambda: len(shell.items("dlq", "list", "--label", "wave", "--limit", "1100")) == 1100, "all to fail")

    answers = shell.items("dlq", "retry", "--label", "wave", "--yes")

    assert [len(answer["responses"]) for answer in answers] == [1000, 100]
    until(lambda: len(shell.items("dlq", "list", "--label", "wave", "--limit", "1200")) == 1100, "all to fail again")
    assert shell.run("dlq", "delete", "--label", "wave", "--yes") == "deleted 1100\n"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1700000000", 1_700_000_000_000),
        ("1700000000123", 1_700_000_000_123),
        ("2026-11-22T08:00:00Z", 1_795_334_400_000),
        ("2026-11-22T08:00+01:00", 1_795_330_800_000),
        ("1960-01-01T00:00Z", 0),
    ],
)
def test_moments_are_read(text: str, instant: int) -> None:
    """As people and logs write them."""
    assert moment("--since", text) == instant


def test_moments_that_are_ago_are_counted_from_now() -> None:
    """`2h` is two hours ago, and a local date is one of here."""
    before = SystemClock().wall()
    ago = moment("--since", "2h")

    assert before <= ago + 2 * HOUR <= SystemClock().wall()
    assert abs(moment("--since", "2026-11-22T08:00") - 1_795_334_400_000) <= DAY


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "-5m", "9999999999999999"])
def test_moments_that_are_none_are_refused_by_their_flag(text: str) -> None:
    """With what was expected."""
    with pytest.raises(Failed, match=r"--until: expected .*; got"):
        moment("--until", text)


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_a_limit_counts_what_was_done_and_not_what_might_have_been(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The server may stop looking before it has changed as many as it was asked to, and says where to go on."""
    asked, done = list[dict[str, object]](), [2, 0, 1, 5]

    def call(_: Remote, __: str, ___: str, query: list[tuple[str, object]], **____: object) -> dict[str, object]:
        asked.append(dict(query))
        changed = min(done[len(asked) - 1], int(str(asked[-1]["count"])))
        what: dict[str, object] = {"deleted": changed} if method == "DELETE" else {"responses": ["new"] * changed}
        return what | {"cursor": f"c{len(asked)}"}

    monkeypatch.setattr(Remote, "call", call)

    counts = [count for _, count in dlq._batches(Remote(), method, "/v2/dlq", [("label", "a")], 6)]

    assert counts == [2, 0, 1, 3]
    assert [(query["count"], query.get("cursor")) for query in asked] == [(6, None), (4, "c1"), (4, "c2"), (3, "c3")]
