"""Encryption of the store: what lies on the disk, who can read it, and how its keys change while the server runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import apsw
import pytest
from qstash import QStash
from qstash.message import PublishResponse
from tests.serving import OWN, delivered, publish, refused
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.config import InvalidSettings, load
from lateron.core.groups import Endpoint as GroupEndpoint
from lateron.core.groups import Group
from lateron.errors import StoreFailed
from lateron.store.sealing import Broken, KeyRefused, Seals
from lateron.store.sqlite import SqliteStore, open_memory
from lateron.store.unlocking import unlock

CANARY = "canary-3fa9c1"  # In every body, header and key of the walk.
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def key_file(path: Path, *keys: bytes) -> Path:
    """Write keys as an operator does, the first one first."""
    path.write_text("".join(f"{b64encode(key).decode()} # made for a test\n" for key in keys), "utf-8")
    path.chmod(0o600)
    return path


def sealed(data: Path, keys: Path | None, *flags: str) -> Server:
    """Prepare a server for production on a directory, with keys if any."""
    environ = {} if keys is None else {"LATERON_ENCRYPTION_KEY_FILE": str(keys)}
    flags = ("--allow-private", "true", *flags)
    return Server(data, *flags, mode="serve", user=OWN, environ=environ)


def command(data: Path, keys: Path | None, *words: str) -> subprocess.Popen[str]:
    """Start a command beside a server."""
    environ = {**os.environ, **({} if keys is None else {"LATERON_ENCRYPTION_KEY_FILE": str(keys)})}
    line = [sys.executable, "-m", "lateron", "encryption", *words, "--data-dir", str(data)]
    return subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def done(process: subprocess.Popen[str], code: int = 0) -> str:
    """Return what a command printed."""
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, said
    return said


def state(data: Path) -> Any:
    """Return the state of encryption as the command tells it."""
    return json.loads(done(command(data, None, "status", "--json")))


def on_disk(data: Path, *texts: str) -> set[str]:
    """Return which texts stand in a file of the store, as text or in base64 at any of its three offsets."""
    content = b"".join(path.read_bytes() for path in data.glob("lateron*"))
    return {text for text in texts if text.encode() in content}


def walk(server: Server, endpoint: Endpoint) -> None:
    """Do what stores something: publish, retry, callback, dead letter, schedule, group, queue."""
    url, headers = endpoint.url, (("Upstash-Forward-Authorization", f"Bearer {CANARY}"), ("Upstash-Retry-Delay", "1"))
    endpoint.answer_by(lambda _: Answer(500, CANARY.encode(), (("X-Answer", CANARY),)))

    def post(path: str, body: object, *more: tuple[str, str]) -> str:
        reply = server.call("POST", path, json.dumps(body).encode(), (*headers, *more))
        assert reply.status in {200, 201}, reply.text
        return reply.text

    dead = json.loads(
        post(f"/v2/publish/{url}", {"secret": CANARY}, ("Upstash-Retries", "1"),
             ("Upstash-Callback", f"{url}/back"), ("Upstash-Callback-Forward-Token", CANARY))
    )["messageId"]  # fmt: skip
    until(lambda: server.call("GET", f"/v2/dlq?messageId={dead}").json["messages"], "the dead letter")
    until(lambda: any(request.target.endswith("/back") for request in endpoint.requests), "the callback")
    post("/v2/topics/team/endpoints", {"endpoints": [{"url": url}]})
    post(f"/v2/publish/{url}", {"later": CANARY}, ("Upstash-Delay", "1h"))
    post("/v2/publish/team", {"group": CANARY}, ("Upstash-Delay", "1h"))
    post(f"/v2/enqueue/mail/{url}", {"queue": CANARY}, ("Upstash-Delay", "1h"))
    post(f"/v2/schedules/{url}", {"schedule": CANARY}, ("Upstash-Cron", "0 0 1 1 *"))


@pytest.mark.promise("D-60")
def test_no_body_header_or_key_of_a_walk_stands_in_the_files(tmp_path: Path, endpoint: Endpoint) -> None:
    """Who gets the disk, or a backup, gets nothing without the key; the same walk without a key shows that we look."""
    data, keys = tmp_path / "data", key_file(tmp_path / "key", KEY)
    with sealed(data, keys) as server:
        walk(server, endpoint)
        assert on_disk(data, CANARY, OWN.current, OWN.next) == set()
        letters = server.call("GET", "/v2/dlq").json["messages"]
        assert CANARY in json.dumps(letters[0]["header"])
        assert CANARY in letters[0]["responseBody"]
        assert CANARY in server.call("GET", "/v2/schedules").text
        assert server.call("GET", "/v2/keys").json["current"] == OWN.current
        told = server.call("GET", "/lateron/v1/info").json["encryption"]
        assert (told["on"], told["key"], told["dataKey"]) == (True, state(data)["dataKeys"][0]["key"], 1)
        server.kill()
    assert on_disk(data, CANARY, OWN.current, OWN.next) == set()
    with sealed(data, keys) as server:
        assert CANARY in server.call("GET", "/v2/dlq").text
    clear = tmp_path / "clear"
    with sealed(clear, None) as server:
        walk(server, endpoint)
        assert on_disk(clear, CANARY, OWN.current, OWN.next) == {CANARY, OWN.current, OWN.next}


@pytest.mark.promise("D-60")
def test_a_start_without_the_right_key_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A wrong key is told at the start, and not by the first message that cannot be read."""
    data, keys = tmp_path / "data", key_file(tmp_path / "key", KEY)
    with sealed(data, keys):
        pass
    for environ, said in (
        ({}, "the store is encrypted; it needs key"),
        ({"LATERON_ENCRYPTION_KEY": b64encode(OTHER).decode()}, "the store needs key"),
        ({"LATERON_ENCRYPTION_KEY": "short"}, "expected keys of 32 bytes"),
    ):
        code, printed = refused(data, mode="serve", environ={**environ, "LATERON_TOKEN": OWN.token})
        assert code == 2, printed
        assert said in printed
        assert "Traceback" not in printed


@pytest.mark.promise("D-60")
def test_encryption_is_turned_on_and_off_and_old_rows_follow(tmp_path: Path, endpoint: Endpoint) -> None:
    """Nobody starts with an empty store, and nobody must be caught in one that he cannot leave."""
    data, keys = tmp_path / "data", key_file(tmp_path / "key", KEY)
    with sealed(data, None) as server:
        walk(server, endpoint)
    with sealed(data, keys) as server:
        assert any(row["dataKey"] is None for row in state(data)["rows"])
        assert "are encrypted" in done(command(data, keys, "rewrite"))
        assert state(data)["on"]
        assert all(row["dataKey"] == 1 for row in state(data)["rows"])
        assert CANARY in server.call("GET", "/v2/dlq").text
    assert on_disk(data, CANARY, OWN.current) == set()
    with sealed(data, keys, "--no-encrypt") as server:
        assert CANARY in server.call("GET", "/v2/dlq").text
        assert "in clear" in done(command(data, keys, "rewrite"))
    assert not state(data)["on"]
    with sealed(data, None) as server:
        assert CANARY in server.call("GET", "/v2/dlq").text
        assert CANARY in server.call("GET", "/v2/schedules").text


@pytest.mark.promise("D-60")
def test_what_a_bulk_job_was_asked_to_do_is_sealed_while_it_goes_on(tmp_path: Path, endpoint: Endpoint) -> None:
    """An edited body is a body, and an option may be a credential."""
    data, keys = tmp_path / "data", key_file(tmp_path / "key", KEY)
    asked = {"kind": "replayDeadLetters", "filter": {}, "rate": 0.0001, "body": CANARY,
             "options": {"Upstash-Forward-Authorization": CANARY}}  # fmt: skip
    with sealed(data, keys) as server:
        endpoint.answer_by(lambda _: Answer(500))
        for _ in range(2):
            server.call("POST", f"/v2/publish/{endpoint.url}", b"x", (("Upstash-Retries", "0"),))
        until(lambda: len(server.call("GET", "/v2/dlq").json["messages"]) == 2, "the dead letters")
        made = server.call("POST", "/lateron/v1/jobs", json.dumps(asked).encode())
        assert made.status == 201, made.text
        path = f"/lateron/v1/jobs/{made.json['jobId']}"
        until(lambda: any(request.body == CANARY.encode() for request in endpoint.requests), "the first of them")
        assert on_disk(data, CANARY) == set()
        assert server.call("GET", path).json["state"] == "running"
        server.kill()
    assert on_disk(data, CANARY) == set()
    with sealed(data, keys, "--no-encrypt") as server:
        done(command(data, keys, "rewrite"))
        assert server.call("GET", path).json["state"] == "running"
    with sealed(data, None) as server:  # Its keys are forgotten, and nothing needs them.
        assert (server.call("GET", path).json["state"], on_disk(data, CANARY)) == ("running", {CANARY})


@pytest.mark.promise("D-60")
def test_keys_rotate_under_traffic_although_server_and_command_are_killed(tmp_path: Path, endpoint: Endpoint) -> None:
    """A rotation is done on a busy server, and takes up again wherever it was broken off; nothing is lost."""
    data, old = tmp_path / "data", key_file(tmp_path / "old", KEY)
    new = key_file(tmp_path / "new", OTHER, KEY)
    sent = list[str]()
    with sealed(data, old) as server:
        sent += [publish(server, endpoint.url, ("Upstash-Delay", "1h")) for _ in range(200)]
    with sealed(data, new) as server:  # Wraps the data key anew.
        rotating = command(data, new, "rotate")
        until(lambda: len(state(data)["dataKeys"]) == 2, "the new data key")
        sent += [publish(server, endpoint.url) for _ in range(20)]
        rotating.kill()
        rotating.communicate()
        server.kill()
        server.start()
        sent += [publish(server, endpoint.url) for _ in range(20)]
        assert "are encrypted" in done(command(data, new, "rewrite"))
        assert {row["dataKey"] for row in state(data)["rows"]} == {2}
        until(lambda: all(delivered(server, message) for message in sent[200:]), "the messages")
    with sealed(data, key_file(tmp_path / "only", OTHER)) as server:
        assert all(server.call("GET", f"/v2/messages/{message}").status == 200 for message in sent[:200:20])


@pytest.mark.promise("D-60")
def test_the_official_client_notices_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    """Encryption is between the server and its disk."""
    with sealed(tmp_path / "data", key_file(tmp_path / "key", KEY)) as server:
        client = QStash(OWN.token, retry=False, base_url=server.url)
        message = client.message.publish_json(url=endpoint.url, body={"a": 1}, headers={"X-Own": "yes"})
        arrived = endpoint.wait_for_one()
        assert (arrived.json, arrived.header("x-own")) == ({"a": 1}, "yes")
        assert isinstance(message, PublishResponse)
        found = client.message.get(message.message_id)
        assert found.body == '{"a":1}' or json.loads(found.body or "") == {"a": 1}
        client.http._client.close()


@pytest.mark.promise("D-60")
@pytest.mark.parametrize("change", ["bit", "other row", "other attempt"])
def test_a_changed_or_swapped_ciphertext_is_never_sent(tmp_path: Path, endpoint: Endpoint, change: str) -> None:
    """Who can write to the disk must not make us send what nobody published there, nor show it to another."""
    data, keys = tmp_path / "data", key_file(tmp_path / "key", KEY)
    with sealed(data, keys) as server:
        one, two = (publish(server, f"{endpoint.url}/{name}", ("Upstash-Delay", "3s")) for name in "ab")
        server.call("POST", "/lateron/v1/delivery/pause")
        server.kill()
    ids = [bytes.fromhex(message.removeprefix("msg_")) for message in (one, two)]
    swap_requests(data, ids, change)
    with sealed(data, keys) as server:
        server.call("POST", "/lateron/v1/delivery/resume")
        shown = server.call("GET", f"/v2/messages/{one}").json
        assert "body" not in shown
        letters = until(lambda: server.call("GET", f"/v2/dlq?messageId={one}").json["messages"], "the dead letter")
        assert "hello" not in json.dumps(letters)
    assert not any(request.target.endswith("/a") for request in endpoint.requests)


def swap_requests(data: Path, ids: list[bytes], change: str) -> None:
    """Change stored requests, with digests as they should be, for whoever writes can reckon them."""
    from lateron.core.digest import request_digest

    connection = apsw.Connection(str(data / "lateron.db"))
    rows = {bytes(row[0]): row for row in connection.execute("SELECT id, url, method, headers, body FROM request")}
    (one, url, method, headers, body), other = rows[ids[0]], rows[ids[1]]
    if change == "bit":
        body = bytes([body[0] ^ 1]) + body[1:]
    elif change == "other row":
        headers, body = other[3], other[4]
    else:
        headers = other[3]
    digest = request_digest(str(url), str(method), bytes(headers), b"", bytes(body))
    connection.execute(
        "UPDATE request SET headers = ?, body = ?, digest = ? WHERE id = ?", (headers, body, digest, one)
    )
    connection.close()


@pytest.fixture
def store() -> SqliteStore:
    """A store in memory that seals."""
    made = open_memory(0)
    seals = unlock(made, [KEY], 0, on=True)
    assert seals is not None
    made.seal_with(seals)
    return made


@pytest.mark.promise("D-60")
def test_headers_and_endpoints_of_a_group_cannot_change_places(store: SqliteStore) -> None:
    """The field is part of what is authenticated, and so is the group."""
    with store.transaction() as tx:
        tx.save_group(Group(1, "a", 0, 0, (GroupEndpoint("https://example.com"),), (("X", "1"),)))
        tx.save_group(Group(1, "b", 0, 0, (GroupEndpoint("https://example.org"),), ()))
        assert tx.group(1, "a") is not None
    for change in (
        "UPDATE url_group SET endpoints = headers WHERE name = 'a'",
        "UPDATE url_group SET endpoints = (SELECT endpoints FROM url_group WHERE name = 'b') WHERE name = 'a'",
    ):
        with store.transaction() as tx:
            kept = store._connection.execute("SELECT endpoints FROM url_group WHERE name = 'a'").fetchall()
            store._connection.execute(change)
            with pytest.raises(StoreFailed, match="the URL group a is damaged"):
                tx.group(1, "a")
            store._connection.execute("UPDATE url_group SET endpoints = ? WHERE name = 'a'", kept[0])


@pytest.mark.promise("D-60")
def test_one_bit_anywhere_is_an_error() -> None:
    """Envelope, ciphertext and tag alike."""
    seals = Seals([KEY])
    seals.on = True
    seals.made(1, 0)
    value = seals.seal(("attempt", b"id", 1), b"a value")
    assert seals.open(("attempt", b"id", 1), value) == b"a value"
    for place in range(3, len(value)):
        flipped = value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]
        with pytest.raises(Broken):
            seals.open(("attempt", b"id", 1), flipped)
    with pytest.raises(Broken):
        seals.open(("attempt", b"id", 2), value)


@pytest.mark.promise("D-60")
def test_a_data_key_is_bound_to_its_number(store: SqliteStore) -> None:
    """A wrapped key that was changed is told as that."""
    store._connection.execute("UPDATE data_key SET id = 2")
    with pytest.raises(KeyRefused, match="data key 2 of the store is damaged"):
        unlock(store, [KEY], 0, on=True)


@pytest.mark.promise("D-62")
def test_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A key that lay open is no key."""
    path = key_file(tmp_path / "key", KEY)
    path.chmod(0o644)
    with pytest.raises(InvalidSettings, match="open to other users of this machine"):
        load("serve", {"encryption-key-file": str(path)}, {})


@pytest.mark.promise("D-62")
def test_a_server_leaves_no_core_dump(tmp_path: Path) -> None:
    """It would hold keys and bodies."""
    with Server(tmp_path / "data") as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text("utf-8")
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4] == "0"
