"""A disk without room, and one that has become read-only, under a working server (F-11, F-13)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.mounts import abort, ext4_disk, fill, mend, small_disk
from tests.crash.traffic import Kind, Traffic
from tests.serving import delivered, ended, publish, standing, states
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server

from lateron.cli import exits

ROUNDS = 3
SMALL = "12m"


@pytest.mark.promise("P-1", "P-2", "P-3", "P-9", "P-20", "P-21", "P-22", "P-28", "P-40", "P-41", "P-50", "P-51",
                     "P-95", "P-119", "P-120", "F-11")  # fmt: skip
def test_a_full_disk_refuses_publishes_and_loses_nothing(tmp_path: Path) -> None:
    """Each is answered 507, and the same process goes on once there is room: nothing is doubled either."""
    with (
        small_disk(tmp_path / "disk", SMALL) as disk,
        Server(disk) as server,
        Traffic(server, seed=21) as traffic,
    ):
        for _ in range(ROUNDS):
            answers, refusals = traffic.acknowledged, traffic.refusals[507]
            traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")  # noqa: B023 # Waits here.
            ballast = fill(disk)
            until(lambda: traffic.refusals[507] >= refusals + 20, "refusals")  # noqa: B023 # Waits here.
            assert server.call("GET", "/v2/messages?count=1").status == 200
            ballast.unlink()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)
    assert report.repeats == 0
    assert set(traffic.refusals) == {507}


@pytest.mark.promise("P-9")
def test_on_a_full_disk_what_is_under_way_ends_by_the_reserve(tmp_path: Path) -> None:
    """Nothing new is taken; what is under way ends, and what is stored can be deleted."""
    gate = threading.Event()
    with (
        Receiver() as receiver,
        small_disk(tmp_path / "disk", SMALL) as disk,
        Server(disk, "--reserve=32MB", "--drain=0s") as server,
    ):
        slow, down = receiver.endpoint(), receiver.endpoint()
        slow.answers(Answer(hold=gate))
        down.answers(Answer(500))
        reserve = disk / "lateron.reserve"
        size = reserve.stat().st_size
        open_one = publish(server, slow.url)
        waits = [publish(server, slow.url, ("Upstash-Delay", "1h")) for _ in range(3)]
        failed = publish(server, down.url, ("Upstash-Retries", "0"))
        until(lambda: "FAILED" in states(server, failed), "the dead letter")
        slow.wait_for(1)
        ballast = fill(disk)

        until(lambda: refused(server, slow.url), "a refusal")
        assert not reserve.exists()
        gate.set()
        until(lambda: delivered(server, open_one), "the outcome to be recorded")
        assert server.call("DELETE", f"/v2/messages/{waits[0]}").status == 200
        (letter,) = server.call("GET", "/v2/dlq").json["messages"]
        retried = server.call("POST", f"/v2/dlq/retry?dlqIds={letter['dlqId']}")
        assert (retried.status, retried.headers["retry-after"]) == (507, "5")
        assert server.call("DELETE", f"/v2/dlq/{letter['dlqId']}").status == 200
        assert refused(server, slow.url)
        assert "lateron_store_reserve_spent 1" in server.call("GET", "/metrics").text

        server.restart(crash=True)
        assert refused(server, slow.url)
        assert {m["messageId"] for m in server.call("GET", "/v2/messages").json["messages"]} == set(waits[1:])

        ballast.unlink()
        until(lambda: not refused(server, slow.url), "the server to take messages again")
        assert reserve.stat().st_size == size
        assert "lateron_store_reserve_spent 0" in server.call("GET", "/metrics").text


def refused(server: Server, url: str) -> bool:
    """Whether a publish is answered 507, and told when to come back."""
    reply = server.call("POST", f"/v2/publish/{url}", bytes(4096), [("Upstash-Delay", "1h")])
    if reply.status == 201:
        server.call("DELETE", f"/v2/messages/{reply.json['messageId']}")
        return False
    return (reply.status, reply.headers.get("retry-after")) == (507, "5")


@pytest.mark.promise("P-9")
def test_a_server_does_not_start_on_a_full_disk_and_starts_on_one_with_room(tmp_path: Path) -> None:
    """What it must write first it cannot: one line, an exit code of its own, and nothing is broken by the try."""
    with Receiver() as receiver, small_disk(tmp_path / "disk", SMALL) as disk, Server(disk) as server:
        endpoint = receiver.endpoint()
        kept = publish(server, endpoint.url, ("Upstash-Delay", "1h"))
        server.kill()
        ballast = fill(disk)

        with pytest.raises(AssertionError, match=f"ended with {exits.STORE}:"):
            server.start()

        assert server.log.count("\n") == 1, server.log
        assert "full" in server.log
        ballast.unlink()
        server.start()
        now = publish(server, endpoint.url)
        until(lambda: delivered(server, now), "the delivery")
        assert {m["messageId"] for m in server.call("GET", "/v2/messages").json["messages"]} == {kept}


@pytest.mark.promise("P-1", "P-2", "P-4", "P-8", "P-10", "P-20", "P-21", "P-22", "P-50", "F-13")
def test_a_disk_that_becomes_read_only_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    """As Linux does it with a file system that has an error: the server ends, and does not start until it is mended."""
    with (
        ext4_disk(tmp_path / "disk") as disk,
        Server(disk) as server,
        Traffic(server, seed=22, kinds=(Kind(share=8), Kind("/once", share=2), Kind("/slow", share=1))) as traffic,
    ):
        traffic.wait(lambda: traffic.acknowledged >= 30, "answers")
        with standing(server):
            abort(disk)
        assert ended(server) == exits.STORE, server.log
        traffic.going_down()
        traffic.crashed()

        with pytest.raises(AssertionError, match=f"ended with {exits.STORE}:"):
            server.start()
        assert server.log.count("\n") == 1, server.log

        mend(disk)
        server.start()
        traffic.back()
        answers = traffic.acknowledged
        traffic.wait(lambda: traffic.acknowledged >= answers + 20, "more answers")
        report = check(traffic.finish())

    assert report.violations == (), str(report)
