"""No byte of a 201 is sent before its message is on disk, in the order of the server's own system calls.

The log that SQLite appends to (WAL) is read from the trace as it is written: frames of 24 and 4096 bytes; a
frame that names a size of the database ends a transaction. A transaction is durable when an fdatasync that
began after its last byte has returned. Each answer names messages; the transaction that holds such an id,
together with its body, must have been durable when the answer began.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.crash.tracing import SystemCall, Traced, require_strace
from tests.support.server import Server

LOG = "/lateron.db-wal"
SYNCS = frozenset({"fdatasync", "fsync"})
ANSWER = b"HTTP/1.1 201 "
HEADER, FRAME_HEADER, PAGE = 32, 24, 4096  # Sizes of what is written to the log.
WITHOUT_SYNC = """
import lateron.store.sqlite
lateron.store.sqlite.open_file.__kwdefaults__["synchronous"] = {synchronous!r}
"""


class Watched(Traced):
    options = ("-e", "trace=pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync")


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one commit appended to the log."""

    content: bytes
    end: int  # When its last byte was written.


@pytest.mark.promise("P-5")
def test_an_answer_is_sent_after_the_sync_of_its_message(tmp_path: Path) -> None:
    """One by one, many at once, in a batch; small and large, waiting and sent at once."""
    require_strace()
    with Watched(tmp_path / "data") as server:
        bodies = publish_all(server)

    late = answered_too_early(list(server.traced()), bodies)

    assert late == []


@pytest.mark.promise("P-5")
@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_without_a_sync_at_each_commit_every_answer_is_too_early(tmp_path: Path, synchronous: str) -> None:
    """The control: the test above can fail, and NORMAL, which many take for enough, fails it."""
    require_strace()
    careless = Watched(tmp_path / "data")
    careless.code = WITHOUT_SYNC.format(synchronous=synchronous)
    with careless:
        bodies = publish_all(careless)

    late = answered_too_early(list(careless.traced()), bodies)

    assert sorted(late) == sorted(bodies)


def publish_all(server: Server) -> dict[str, bytes]:
    """Publish in every way; return the bodies by message id."""
    bodies: dict[str, bytes] = {}
    sent = f"{server.url}/_catch/durable"

    def publish(name: str, size: int = 0, delay: str = "1h") -> None:
        body = f"<{name}>".encode() + b"." * size
        reply = server.call("POST", f"/v2/publish/{sent}", body, [("Upstash-Delay", delay)])
        assert reply.status == 201, reply.text
        bodies[reply.json["messageId"]] = f"<{name}>".encode()

    for i, size in enumerate((0, 500, 20_000)):
        publish(f"waits {i}", size)
        publish(f"is sent {i}", size, delay="0s")
    threads = [threading.Thread(target=publish, args=(f"beside others {i}", 100 * i)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = [{"destination": sent, "body": f"<item {i}>", "headers": {"Upstash-Delay": "1h"}} for i in range(3)]
    reply = server.call("POST", "/v2/batch", json.dumps(items).encode(), [("Content-Type", "application/json")])
    assert reply.status == 201, reply.text
    for i, item in enumerate(reply.json):
        bodies[item["messageId"]] = f"<item {i}>".encode()
    assert len(bodies) == 3 + 3 + 8 + 3
    return bodies


def answered_too_early(calls: list[SystemCall], bodies: dict[str, bytes]) -> list[str]:
    """Return the messages that were not durable when the first byte of their answer was sent."""
    log = [call for call in calls if call.path.endswith(LOG)]
    written = list(transactions(call for call in log if call.name == "pwrite64"))
    syncs = [call for call in log if call.name in SYNCS and call.result == 0]
    answers = {
        message: call.begin
        for call in calls
        if call.data.startswith(ANSWER)
        for message in bodies
        if message.encode() in call.data
    }
    assert set(answers) == set(bodies), "an answer is not in the trace"

    def durable(message: str) -> float:
        """Return when the message was durable."""
        needles = (bytes.fromhex(message.removeprefix("msg_")), bodies[message])
        (first, *_) = [t for t in written if all(needle in t.content for needle in needles)]
        return min((sync.end for sync in syncs if sync.end is not None and sync.begin > first.end), default=math.inf)

    return [message for message, begin in answers.items() if not durable(message) < begin]


def transactions(writes: Iterable[SystemCall]) -> Iterable[Transaction]:
    """Read the log as it is written."""
    pages: list[bytes] = []
    commit = False
    for write in writes:
        assert write.end is not None
        assert write.result == len(write.data)
        if len(write.data) == FRAME_HEADER:
            commit = write.data[4:8] != bytes(4)
        elif len(write.data) == PAGE:
            pages.append(write.data)
            if commit:
                yield Transaction(b"".join(pages), write.end)
                pages = []
        else:
            assert len(write.data) == HEADER, f"a write of {len(write.data)} bytes to the log"
