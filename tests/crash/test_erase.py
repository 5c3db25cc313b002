"""What is erased is gone: from the answers, from the tables, and from the bytes of the files."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

import pytest
from tests.support.poll import until
from tests.support.receiver import Answer, Received, Receiver
from tests.support.server import Server

MARK = b"personal-data-of-user-42"
SIZES = (1, 20, 200, 900)  # Times the mark: in the page of the row, and in pages of its own.


def bytes_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("lateron.db*")))


def echo(status: int, request: Received) -> Answer:
    return Answer(status, request.body)


def fill(server: Server, url: str) -> int:
    """Publish what is hers among what is everybody's: delivered, dead, waiting, told by callbacks."""
    hers, chance = 0, random.Random(1)
    for number in range(240):
        mine = number % 5 == 0
        body = (MARK if mine else b"nothing-about-anybody-xx") * chance.choice(SIZES)
        headers = [("Upstash-Label", "user:42" if mine else "all"), ("Upstash-Retries", "0")]
        path = ("ok", "down", "ok", "told")[number % 4]
        if path == "told":
            headers.append(("Upstash-Callback", f"{url}/callback"))
        if number % 24 == 0:
            headers.append(("Upstash-Delay", "1d"))
        if mine:
            headers.append(("Upstash-Forward-Name", MARK.decode()))
            hers += 1
        made = server.call("POST", f"/v2/publish/{url}/{path}", body, headers)
        assert made.status == 201, made.text
    return hers


@pytest.mark.promise("D-63", "P-96")
def test_an_erase_leaves_none_of_the_bytes_in_the_files(tmp_path: Path) -> None:
    """Bodies, headers, answers, callbacks: the files of the running server are searched, the log among them."""
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        for path, status in (("/ok", 200), ("/told", 200), ("/callback", 200), ("/down", 500)):
            receiver.endpoint(path).answer_by(partial(echo, status))
        hers = fill(server, receiver.origin)
        until(
            lambda: len(server.call("GET", "/v2/messages").json["messages"]) == 10,
            "all attempts to end",
        )
        before = bytes_of(tmp_path / "data").count(MARK)

        asked = {"kind": "erase", "filter": {"label": "user:42"}}
        dry = server.call("POST", "/lateron/v1/jobs", json.dumps({**asked, "dryRun": True}).encode()).json
        made = server.call("POST", "/lateron/v1/jobs", json.dumps(asked).encode()).json
        job = f"/lateron/v1/jobs/{made['jobId']}"
        until(lambda: server.call("GET", job).json["state"] == "done", "the job to end")

        ended = server.call("GET", job).json
        after = bytes_of(tmp_path / "data").count(MARK)
        assert server.call("GET", "/v2/events?label=user:42").json["events"] == []
        assert server.call("GET", "/v2/dlq?label=user:42").json["messages"] == []

    assert before > 0
    assert (dry["count"], ended["done"]) == (ended["total"], ended["total"])
    assert ended["done"] > hers, "callbacks go too"
    assert after == 0


@pytest.mark.promise("D-63")
def test_what_was_deleted_before_is_overwritten_too(tmp_path: Path) -> None:
    """Retention, and rows that have moved between pages: the control is a store that does not overwrite."""
    from lateron.store.sqlite import open_file

    left = {}
    for overwrites in (True, False):
        directory = tmp_path / str(overwrites)
        directory.mkdir()
        store, chance = open_file(directory, 0), random.Random(1)
        if not overwrites:
            store._connection.pragma("secure_delete", 0)
        for number in range(900):
            message = number.to_bytes(8) + chance.randbytes(8)
            body = (MARK if number % 7 == 0 else b"nothing-about-anybody-xx") * chance.choice(SIZES)
            row = "INSERT INTO request VALUES (?, 1, 'http://a/', 'POST', x'90', x'80', x'00', 0, ?)"
            store._connection.execute(row, (message, body))
        store._connection.execute("DELETE FROM request WHERE instr(body, ?)", (MARK,))
        assert store.empty_log()
        left[overwrites] = bytes_of(directory).count(MARK)
        store.close()

    assert left[True] == 0
    assert left[False] > 0
