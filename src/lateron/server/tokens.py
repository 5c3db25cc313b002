"""Tokens while the server runs: what another process changes, and when each was used."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from lateron.broker.history import History
from lateron.broker.resources import Resources
from lateron.errors import StorageFull, StoreBusy, StoreFailed
from lateron.writer import Writer

LOOK_EVERY_S: Final = 2.0  # `lateron tokens --data-dir` beside a running server takes effect within this, and a read.
_LOOKS: Final = 30  # Between two notes of the last use: a minute.


async def follow_tokens(writer: Writer, resources: Resources, *, elsewhere: bool) -> None:
    """Take up changes of other processes, and store the last use of tokens once a minute; never returns.

    Args:
        writer: Where to read and write.
        resources: What to keep right.
        elsewhere: Whether another process can reach the store at all.
    """
    looks = 0
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        looks += 1
        with suppress(StorageFull, StoreBusy):  # There is another time.
            if elsewhere:
                changes = resources.changes
                resources.adopt_tokens(await writer.read(History.tokens), changes)
            if looks % _LOOKS == 0:
                await writer.run(lambda *_: resources.note_uses())


async def note_uses(writer: Writer, resources: Resources) -> None:
    """Store the last use of tokens when the server ends; if the store cannot take it, it is forgotten."""
    with suppress(StorageFull, StoreBusy, StoreFailed):
        await writer.run(lambda *_: resources.note_uses())
