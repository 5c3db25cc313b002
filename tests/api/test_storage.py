"""What the store takes, as the API says it, and what is to be expected of it; a whole server by a clock that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.poll import until

from lateron.api.overview import follow_ages
from lateron.api.ports import Ports
from lateron.api.storage import follow_growth
from lateron.core.board import Board
from lateron.core.growth import Growth
from lateron.errors import StoreBusy
from lateron.testing import Lateron


def told(server: Lateron) -> dict[str, Any]:
    """Return what it says of its storage."""
    found: dict[str, Any] = server.call("GET", "/lateron/v1/config").json()["storage"]
    return found


def test_what_the_store_takes_is_told_and_when_its_disk_is_full(tmp_path: Path) -> None:
    """Bodies make it grow; after ten minutes it is said how fast, and later that it does not any more."""
    with Lateron(data_dir=tmp_path / "store") as server:
        before = told(server)
        assert before.keys() == {"store", "log", "free", "used", "unused", "tables"}
        for _ in range(5):
            server.call("POST", f"/v2/publish/{server.catcher.url('a')}", b"x" * 100_000)
        server.settle()
        server.clock.advance("9m")
        after = told(server)
        assert after["tables"]["request"] - before["tables"]["request"] > 500_000
        assert "growth" not in after

        server.clock.advance("10m")
        until(lambda: "growth" in told(server), "a forecast")
        growth = told(server)["growth"]
        assert growth["bytesPerDay"] > 500_000
        assert 10 * 60_000 <= growth["overMs"] <= 19 * 60_000
        assert growth["fullInMs"] > 0

        server.clock.advance("25h")
        server.clock.advance("11m")
        until(lambda: told(server).get("growth", {}).get("bytesPerDay", 1) <= 0, "a day in which nothing came")
        assert "fullInMs" not in told(server)["growth"]


def test_a_store_in_memory_takes_nothing() -> None:
    """And says nothing of a disk."""
    with Lateron() as server:
        assert told(server) == {}


@pytest.mark.parametrize("follow", [follow_ages, follow_growth])
def test_a_look_that_another_program_is_in_the_way_of_is_made_another_time(
    follow: Callable[[Ports], Coroutine[Any, Any, None]],
) -> None:
    """Whoever holds the file for longer than a read waits does not end the server."""
    looks = 0

    class Held:
        async def read(self, _: object) -> int:
            nonlocal looks
            looks += 1
            if looks < 3:
                raise StoreBusy
            raise asyncio.CancelledError

    boards = SimpleNamespace(waiting=lambda: [1], of=lambda _: Board())
    clock = SimpleNamespace(wall=lambda: 0, nap=lambda **_: asyncio.sleep(0))
    ports = SimpleNamespace(writer=Held(), clock=clock, boards=boards, growth=Growth())

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follow(cast("Ports", ports)))

    assert looks == 3
