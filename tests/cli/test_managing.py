"""`queues`, `flow`, `groups`: what there is, and how it is changed."""

from __future__ import annotations

from tests.cli.conftest import Shell
from tests.support.receiver import Endpoint
from tests.support.server import DEV_USERS, Server

from lateron.cli import exits


def test_queue_is_made_changed_paused_and_deleted(endpoint: Endpoint, shell: Shell) -> None:
    """The life of a queue; while it is paused nothing leaves it."""
    assert shell.run("queues", "set", "cli-q", "--parallelism", "2") == "cli-q has parallelism 2\n"
    shell.run("queues", "pause", "cli-q")
    message = shell.run("enqueue", "cli-q", endpoint.url).strip()
    assert "cli-q\t2\t1\tpaused\n" in shell.run("queues", "list")
    assert "its queue is paused" in shell.run("why", message)

    shell.run("queues", "set", "cli-q", "--parallelism", "3")
    assert shell.json("queues", "get", "cli-q")["paused"] is True, "a new parallelism resumes nothing"
    shell.run("queues", "resume", "cli-q")

    endpoint.wait_for_one()
    assert [queue["name"] for queue in shell.items("queues", "list")].count("cli-q") == 1
    shell.run("queues", "delete", "cli-q", "--yes")
    assert "queue cli-q not found" in shell.refused("queues", "get", "cli-q")


def test_queue_with_messages_is_not_deleted_unasked(endpoint: Endpoint, shell: Shell) -> None:
    """Its messages go with it; a script must say that this is meant."""
    message = shell.run("enqueue", "cli-full", endpoint.url, "--delay", "1h").strip()

    assert "1 message of cli-full would be cancelled" in shell.refused("queues", "delete", "cli-full", code=exits.USAGE)
    assert shell.json("messages", "get", message)["state"] == "CREATED"

    shell.run("queues", "delete", "cli-full", "--yes")
    assert shell.json("messages", "get", message)["state"] == "CANCELED"


def test_parallelism_that_cannot_be_is_refused_by_name_and_value(shell: Shell) -> None:
    """By the server, so that its limits are those that count."""
    assert "parallelism: expected a whole number" in shell.refused("queues", "set", "cli-q", "--parallelism", "0")
    assert "'--parallelism': expected a whole number, got 'x'" in shell.refused(
        "queues", "set", "cli-q", "--parallelism", "x", code=exits.USAGE
    )
    assert "'--count': expected a whole number from 1 to 100, got '101'" in shell.refused(
        "schedules", "preview", "x", "--count", "101", code=exits.USAGE
    )
    assert "'--limit': expected a whole number from 1, got '0'" in shell.refused(
        "messages", "list", "--limit", "0", code=exits.USAGE
    )
    assert "parallelism" in shell.refused("queues", "set", "cli-q", code=exits.USAGE)


def test_key_is_pinned_paused_reset_and_unpinned(endpoint: Endpoint, shell: Shell) -> None:
    """Every verb of a flow-control key, and what the list shows of it."""
    shell.run("flow", "pause", "cli key/1")
    message = shell.run("publish", endpoint.url, "--flow-key", "cli key/1", "--rate", "5", "--period", "1m").strip()
    assert "its flow-control key is paused" in shell.run("why", message)
    assert "cli key/1\t1\t0/any\t0/5 in 60s\tpaused\n" in shell.run("flow", "list", "--search", "cli key")

    pinned = shell.json("flow", "pin", "cli key/1", "--parallelism", "3", "--rate", "20", "--period", "2m", "--smooth")
    assert (pinned["parallelismMax"], pinned["rateMax"], pinned["ratePeriod"]) == (3, 20, 120)
    assert shell.run("flow", "list", "--search", "key/1").endswith("paused, pinned parallelism, pinned rate\n")

    shell.run("flow", "unpin", "cli key/1", "--parallelism")
    shown = shell.json("flow", "get", "cli key/1")
    assert (shown["isPinnedParallelism"], shown["isPinnedRate"], shown["isSmooth"]) == (False, True, True)
    assert shell.json("flow", "unpin", "cli key/1")["isPinnedRate"] is False

    shell.run("flow", "resume", "cli key/1")
    endpoint.wait_for_one()
    assert shell.json("flow", "reset", "cli key/1")["rateCount"] == 0


def test_key_that_is_not_there_and_limits_that_cannot_be_are_refused(shell: Shell) -> None:
    """With what was expected."""
    assert "flow-control key nobody not found" in shell.refused("flow", "get", "nobody")
    assert "expected at least one of" in shell.refused("flow", "pin", "nobody")
    assert "period: expected" in shell.refused("flow", "pin", "nobody", "--rate", "1", "--period", "soon")
    assert "''" in shell.refused("flow", "get", "", code=exits.USAGE)


def test_list_of_keys_goes_on_beyond_one_page(server: Server, shell: Shell) -> None:
    """The server lists a thousand at once."""
    user = DEV_USERS[1]
    token = ("--token", user.token)
    names = [f"many-{number:04d}" for number in range(1005)]
    for name in names:
        assert server.call("POST", f"/v2/flowControl/{name}/pause", token=user.token).status == 200

    listed = shell.items("flow", "list", *token)

    assert [key["flowControlKey"] for key in listed] == names


def test_host_and_server_are_paused_and_resumed(endpoint: Endpoint, shell: Shell) -> None:
    """While they are, nothing goes out, and why says so."""
    host = endpoint.url.removeprefix("http://").partition("/")[0]
    shell.run("flow", "pause-host", host)
    held = shell.run("publish", endpoint.url).strip()
    assert "deliveries to its host are paused" in shell.run("why", held)
    assert f"{host}\t" in shell.run("flow", "hosts", "--search", host)
    assert shell.run("flow", "hosts", "--search", host).endswith("paused\n")
    assert "host: expected host:port" in shell.refused("flow", "pause-host", "example.com")

    shell.run("flow", "pause-all")
    shell.run("flow", "resume-host", host)
    assert shell.json("flow", "delivery")["isPaused"] is True
    assert "the whole server is paused" in shell.run("why", held)
    shell.run("flow", "resume-all")

    endpoint.wait_for_one()
    assert sorted(shell.json("flow", "global")) == ["parallelismCount", "parallelismMax"]
    assert "403" in shell.refused("flow", "pause-all", "--token", DEV_USERS[1].token)


def test_groups_are_listed_as_lines_of_json(endpoint: Endpoint, shell: Shell) -> None:
    """As every list; the older spelling of `get` still works."""
    shell.run("groups", "add", "cli-listed", endpoint.url)

    (listed,) = [group for group in shell.items("groups", "list") if group["name"] == "cli-listed"]

    assert listed == shell.json("groups", "get", "cli-listed") == shell.json("groups", "show", "cli-listed")
    assert "''" in shell.refused("groups", "delete", "", code=exits.USAGE)


def test_what_is_not_there_is_not_done(endpoint: Endpoint, shell: Shell) -> None:
    """A name that was mistyped must not pass for a success, as it does in the API."""
    for verb in ("unpin", "resume", "reset"):
        assert "flow-control key nosuch not found" in shell.refused("flow", verb, "nosuch")
    assert "there is no group nosuch" in shell.refused("groups", "delete", "nosuch")
    assert "topic nosuch not found" in shell.refused("groups", "remove", "nosuch", "zz")
    shell.run("groups", "add", "cli-there", endpoint.url, "--name", "first")

    for other in ("zz", f"{endpoint.url}/other"):
        said = shell.refused("groups", "remove", "cli-there", other)
        assert f"there is no endpoint {other} in the group cli-there" in said

    assert shell.run("groups", "get", "cli-there") == f"cli-there\tfirst\t{endpoint.url}\n"
    shell.run("groups", "remove", "cli-there", endpoint.url)
