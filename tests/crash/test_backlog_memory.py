"""What the server holds in memory does not grow with what waits in its store (P-113)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.broker.conftest import Desk, item
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.core.values import Flow
from lateron.runtime import SystemClock
from lateron.store.sqlite import open_file

BATCH = 500
SMALL, LARGE = 30_000, 90_000  # Messages.
DELIVERED = 300


def furnish(directory: Path, url: str, messages: int) -> None:
    """Store a backlog that is due, of plain messages and of many keys."""
    directory.mkdir(mode=0o700)
    now = SystemClock().wall()
    desk = Desk(open_file(directory, now, synchronous="OFF"))
    for first in range(0, messages, BATCH):
        many = range(first, first + BATCH)
        desk.publish(*(item(url, flow=Flow(f"key-{n}") if n % 4 == 0 else None) for n in many), now=now)
    desk.store.close()


def peak_kb(server: Server) -> int:
    """Return the most memory that a process has had."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text("ascii"))
    return int(kilobytes)


@pytest.mark.promise("P-113")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_backlog(tmp_path: Path) -> None:
    """Three times as many messages wait; at the start, while they are sent and listed."""
    peaks = []
    for messages in (SMALL, LARGE):
        with Receiver() as receiver:
            endpoint = receiver.endpoint()
            furnish(tmp_path / str(messages), endpoint.url, messages)
            with Server(tmp_path / str(messages), "--concurrency", "8") as server:
                endpoint.wait_for(DELIVERED)
                assert len(server.call("GET", "/v2/messages?count=100").json["messages"]) == 100
                peaks.append(peak_kb(server))
                server.kill()

    print(peaks)
    assert peaks[1] <= 1.1 * peaks[0]
