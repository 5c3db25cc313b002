"""A slow disk, a disk that hangs, and somebody else who holds the file (F-14, F-18)."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest
from tests.crash.checker import check
from tests.crash.disk import Calls, Faulty, require_gcc
from tests.crash.tracing import Changed
from tests.crash.traffic import Traffic
from tests.serving import delivered, publish
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Reply

PUBLISHERS = 12
SYNC_US = 30_000
LOW_MARK = """
import lateron.writer
lateron.writer.PENDING_BYTES = 4_000_000
"""
IMPATIENT = """
import lateron.store.sqlite, lateron.writer
lateron.store.sqlite.BUSY_MS = 100
lateron.writer.BUSY_PATIENCE_NS = 100_000_000
"""


@pytest.mark.promise("P-1", "P-20", "P-21", "P-22", "P-40", "P-50", "P-51", "P-95", "P-120", "F-14")
def test_on_a_slow_disk_what_comes_together_is_synced_together(tmp_path: Path) -> None:
    """Each sync takes as long as on a bad volume; it carries all who wait, and nothing is lost or doubled."""
    require_gcc()
    with Faulty(tmp_path / "data") as server, Traffic(server, seed=31, publishers=PUBLISHERS) as traffic:
        traffic.wait(lambda: traffic.acknowledged >= 20, "answers")
        server.faults.slow(Calls.SYNCS, SYNC_US)
        before, answers = server.faults.seen, traffic.acknowledged
        traffic.wait(lambda: traffic.acknowledged >= answers + 150, "more answers")
        syncs, answered = server.faults.seen - before, traffic.acknowledged - answers
        server.faults.heal()
        report = check(traffic.finish())

    assert report.violations == (), str(report)
    assert report.repeats == 0
    assert not traffic.refusals
    assert syncs < answered, "a sync for each publish, and the outcomes on top"


@pytest.mark.promise("P-118", "P-119", "F-14")
def test_a_disk_that_hangs_stops_publishes_and_nothing_else(tmp_path: Path) -> None:
    """Reads are answered, publishes wait in memory up to a mark and are refused above it; then all goes on."""
    require_gcc()
    replies: list[Reply] = []
    hanging = Faulty(tmp_path / "data")
    hanging.code = LOW_MARK
    with Receiver() as receiver, hanging as server:
        endpoint = receiver.endpoint()
        publish(server, endpoint.url, ("Upstash-Delay", "1h"))
        server.faults.hold(Calls.SYNCS)

        def send() -> None:
            body = bytes(1_000_000)
            replies.append(server.call("POST", f"/v2/publish/{endpoint.url}", body, [("Upstash-Delay", "1h")]))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: server.faults.waiting and len(replies) >= 3, "refusals")
        refused = list(replies)
        assert {(reply.status, reply.headers["retry-after"]) for reply in refused} == {(503, "1")}
        for path in ("/healthz", "/v2/messages", "/v2/events", "/v2/queues"):
            assert server.call("GET", path).status == 200
        server.faults.heal()
        for thread in threads:
            thread.join()

        assert {reply.status for reply in replies[len(refused) :]} <= {201, 503}
        stored = sum(reply.status == 201 for reply in replies)
        assert stored >= 4
        assert len(server.call("GET", "/v2/messages?count=100").json["messages"]) == 1 + stored


@pytest.mark.promise("P-1", "P-21", "P-67", "F-18")
def test_somebody_who_holds_the_file_costs_an_answer_and_no_result(tmp_path: Path) -> None:
    """A tool that keeps a write transaction open: publishes are refused, and outcomes wait until it has left."""
    impatient = Changed(tmp_path / "data")
    impatient.code = IMPATIENT
    with Receiver() as receiver, impatient as server:
        endpoint = receiver.endpoint()
        held = threading.Event()
        endpoint.answers(Answer(hold=held), Answer())
        message = publish(server, endpoint.url)
        endpoint.wait_for(1)
        intruder = apsw.Connection(str(tmp_path / "data" / "lateron.db"))
        intruder.execute("BEGIN IMMEDIATE")

        held.set()
        reply = server.call("POST", f"/v2/publish/{endpoint.url}", b"refused")
        cancelled = server.call("DELETE", f"/v2/messages/{message}")
        listed = server.call("GET", "/v2/messages")

        intruder.execute("ROLLBACK")
        intruder.close()
        assert (reply.status, reply.headers.get("retry-after")) == (503, "1"), reply.text
        assert cancelled.status == 503
        assert listed.status == 200
        until(lambda: delivered(server, message), "the outcome to be stored")
        then = publish(server, endpoint.url)
        until(lambda: delivered(server, then), "the next delivery")
        assert len(endpoint.requests) == 2
