"""A disk that reports errors under a working server: it acknowledges nothing more, ends, and recovers (F-12).

After a failed sync the kernel may have dropped what the next sync would claim to have written, so there is no
second try: who waits is told 503, the process ends with its own exit code, and the next start reads what the disk
has. Judged by publishers and receiver, as every crash.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.disk import Calls, Faulty, require_gcc
from tests.crash.traffic import Traffic
from tests.serving import ended, publish
from tests.support.receiver import Receiver

from lateron.cli import exits

# Which calls fail with which error, after how many have passed, and how many of them (-1: all). Some hit the log in
# the middle of a transaction, some the sync of a commit.
POINTS = (
    (Calls.SYNCS, errno.EIO, 0, 1),
    (Calls.WRITES, errno.EIO, 0, -1),
    (Calls.SYNCS, errno.EIO, 17, -1),
    (Calls.WRITES, errno.EIO, 5, 1),
    (Calls.WRITES, errno.EIO, 60, -1),
    (Calls.WRITES, errno.EROFS, 3, 1),
    (Calls.SYNCS, errno.ENOSPC, 4, 1),  # Where space is promised and then not found, as on a thin volume.
    (Calls.SYNCS, errno.EDQUOT, 2, -1),
)


@pytest.mark.promise("P-1", "P-2", "P-4", "P-8", "P-20", "P-21", "P-22", "P-40", "P-41", "P-50", "P-51", "F-12")
def test_a_server_whose_disk_fails_ends_and_loses_nothing(tmp_path: Path) -> None:
    """One failed call is enough, and no sync is made again after a failed one: it would lie."""
    require_gcc()
    with Faulty(tmp_path / "data") as server, Traffic(server, seed=11) as traffic:
        for calls, error, skip, times in POINTS:
            answers = traffic.acknowledged
            traffic.wait(lambda: traffic.acknowledged >= answers + 10, "more answers")  # noqa: B023 # Waits here.
            server.faults.fail(calls, error, skip=skip, times=times)
            assert ended(server) == exits.STORE, server.log
            assert server.faults.failed >= 1
            if calls is Calls.SYNCS:
                assert server.faults.seen == skip + 1, "synced again after a failed sync"
            assert "the server has failed and ends" in server.log
            server.faults.heal()
            traffic.going_down()
            traffic.crashed()
            server.start()
            traffic.back()
        history = traffic.finish()

    report = check(history)

    assert report.violations == (), str(report)


@pytest.mark.promise("P-8")
def test_who_waits_when_the_disk_fails_is_told_that_the_outcome_is_unknown(tmp_path: Path) -> None:
    """A 503, not a 4xx and not silence: he may repeat it with his key, and it may be there already."""
    require_gcc()
    with Receiver() as receiver, Faulty(tmp_path / "data") as server:
        endpoint = receiver.endpoint()
        kept = publish(server, endpoint.url, ("Upstash-Delay", "1h"))
        server.faults.fail(Calls.SYNCS)

        reply = server.call("POST", f"/v2/publish/{endpoint.url}", b"lost?", [("Upstash-Delay", "1h")])

        assert reply.status == 503
        assert ended(server) == exits.STORE
        server.faults.heal()
        server.start()
        pending = server.call("GET", "/v2/messages").json["messages"]
        assert kept in {message["messageId"] for message in pending}


@pytest.mark.promise("P-6", "F-12")
@pytest.mark.parametrize("calls", [Calls.READS, Calls.WRITES, Calls.SYNCS], ids=["reads", "writes", "syncs"])
def test_a_server_that_cannot_recover_does_not_start_and_harms_nothing(tmp_path: Path, calls: Calls) -> None:
    """Its disk fails while it starts after a crash: one line, its own exit code, and the next start finds all."""
    require_gcc()
    with Receiver() as receiver, Faulty(tmp_path / "data") as server:
        kept = publish(server, receiver.endpoint().url, ("Upstash-Delay", "1h"))
        server.kill()
        for skip in (0, 1):
            server.faults.fail(calls, skip=skip)
            with pytest.raises(AssertionError, match=f"ended with {exits.STORE}:"):
                server.start()
            assert server.faults.failed
            assert server.log.count("\n") == 1, server.log
        server.faults.heal()

        server.start()

        pending = server.call("GET", "/v2/messages?count=100").json["messages"]
        assert kept in {message["messageId"] for message in pending}
