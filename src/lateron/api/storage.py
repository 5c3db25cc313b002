"""What the store takes on its disk, what of, and when the disk will be full."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from lateron.api.ports import Ports
from lateron.broker.history import History
from lateron.core.values import MINUTE, SECOND
from lateron.errors import StoreBusy

LOOKED_AT_EVERY: Final = MINUTE / SECOND  # Seconds.


async def storage(ports: Ports) -> dict[str, Any]:
    """Return it as the API says it; nothing of a store in memory."""
    sizes: dict[str, Any] = {**ports.storage()}
    if not sizes:
        return {}
    usage = await ports.writer.read(History.usage)
    told = sizes | {"used": usage.used, "unused": usage.unused, "tables": usage.tables}
    # Why not without the room: when it is full, if the disk does not say how much it has.
    expected = ports.growth.forecast(sizes["free"] + usage.unused) if "free" in sizes else None
    if expected is None:
        return told
    growth = {"bytesPerDay": expected.per_day, "overMs": expected.over}
    if expected.full_in is not None:
        growth["fullInMs"] = expected.full_in
    return told | {"growth": growth}


async def follow_growth(ports: Ports) -> None:
    """Note for ever how much of the store is in use; one look at the head of the file."""
    while True:
        with suppress(StoreBusy):  # There is another time.
            ports.growth.note(ports.clock.wall(), await ports.writer.read(History.used_bytes))
        await ports.clock.nap(recheck=LOOKED_AT_EVERY)
