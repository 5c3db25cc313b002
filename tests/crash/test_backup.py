"""A copy of the store made while the server works, and what a server on that copy knows (P-132)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.history import Verdict
from tests.crash.traffic import Traffic
from tests.support.receiver import Receiver
from tests.support.server import DEV_USERS, Server

FILE = "lateron.db"
OTHER = DEV_USERS[1].token  # A user of whom the traffic knows nothing.
HELD = ("Upstash-Flow-Control-Key", "held"), ("Upstash-Flow-Control-Value", "parallelism=1")


def back_up(source: Path, target: Path) -> None:
    """Copy a store as docs/serve.md says: by another program, with an SQLite of its own."""
    (target / FILE).touch(0o600)
    reading = sqlite3.connect(f"file:{source / FILE}?mode=ro", uri=True)
    with closing(reading), closing(sqlite3.connect(target / FILE)) as writing:
        reading.backup(writing)


@pytest.mark.promise("P-1", "P-132")
def test_a_backup_made_under_load_has_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    """Nor does making it lose or repeat anything; what waited then is delivered by the server on the copy."""
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    with Receiver() as receiver:
        endpoint = receiver.endpoint()
        with Server(tmp_path / "data") as server, Traffic(server, seed=61) as traffic:
            for path in ("/v2/flowControl/held/pin?parallelism=1", "/v2/flowControl/held/pause"):
                assert server.call("POST", path, token=OTHER).status == 200
            waiting = server.call("POST", f"/v2/publish/{endpoint.url}", b"x", HELD, OTHER).json["messageId"]
            traffic.wait(lambda: traffic.acknowledged >= 60, "answers")
            traffic.wait(lambda: traffic.holding > 0, "an open attempt")
            before = {one.id for one in list(traffic._publishes) if one.verdict is Verdict.OK}

            back_up(tmp_path / "data", copy)

            answers = traffic.acknowledged
            traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")
            report = check(traffic.finish())
        assert report.violations == (), str(report)
        assert report.repeats == 0

        with Server(copy) as restored:
            unknown = [one for one in before if restored.call("GET", f"/lateron/v1/messages/{one}").status != 200]
            assert unknown == []
            assert endpoint.requests == []
            assert restored.call("POST", "/v2/flowControl/held/resume", token=OTHER).status == 200
            assert endpoint.wait_for_one().header("Upstash-Message-Id") == waiting
