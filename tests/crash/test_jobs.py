"""A bulk job and kill -9: each dead letter is replayed once, whichever piece the process died in."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.broker.conftest import Desk, item
from tests.support.poll import until
from tests.support.server import Server

from lateron.core.values import Outcome, RetryPolicy
from lateron.runtime import SystemClock
from lateron.store.sqlite import open_file

LETTERS = 4_000
RATE = 3_000  # A second: pieces of 300.
KILLS = (1, 1_200, 2_400)


def bury(directory: Path) -> None:
    """Make a store with thousands of dead letters."""
    directory.mkdir(mode=0o700)
    now = SystemClock().wall()
    store = open_file(directory, now)
    desk = Desk(store)
    for _ in range(LETTERS // 100):
        desk.publish(*[item("http://127.0.0.1:9/", retry=RetryPolicy(retries=0))] * 100, now=now)
        desk.settle(desk.claim(room=100, now=now), Outcome(status=500), now=now)
    store.close()


@pytest.mark.promise("P-135", "P-96", "P-97", "F-1")
def test_a_replay_that_is_killed_again_and_again_replays_each_dead_letter_once(tmp_path: Path) -> None:
    """In the midst of it, three times: nothing is left out, nothing made twice, and the count is that."""
    bury(tmp_path / "data")
    asked = {"kind": "replayDeadLetters", "filter": {}, "rate": RATE, "options": {"Upstash-Delay": "1d"}}
    with Server(tmp_path / "data") as server:
        made = server.call("POST", "/lateron/v1/jobs", json.dumps(asked).encode())
        assert (made.status, made.json["total"]) == (201, LETTERS), made.text
        job = f"/lateron/v1/jobs/{made.json['jobId']}"

        def done(least: int) -> int | None:
            count = int(server.call("GET", job).json["done"])
            return count if count >= least else None

        for least in KILLS:
            before = until(lambda: done(least), "the job to go on")  # noqa: B023 # Waits here.
            assert before < LETTERS, "it was too fast to be killed"
            server.restart()
        until(lambda: server.call("GET", job).json["state"] != "running", "the job to end")
        ended = server.call("GET", job).json
        left = server.call("GET", "/v2/dlq").json["messages"]

    assert (ended["state"], ended["done"], ended["failed"], left) == ("done", LETTERS, 0, [])
    with closing(apsw.Connection(str(tmp_path / "data" / "lateron.db"), flags=apsw.SQLITE_OPEN_READONLY)) as store:
        parents = Counter(parent for (parent,) in store.execute("SELECT parent FROM message WHERE kind = 3"))
        events = list(store.execute("SELECT count(*) FROM event e JOIN message m ON m.id = e.message WHERE m.kind = 3"))
    assert (len(parents), set(parents.values())) == (LETTERS, {1})
    assert events == [(LETTERS,)]
