"""Tokens and users while the server runs: what another process changes, and when each was used."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from lateron.broker.history import History
from lateron.broker.resources import Resources
from lateron.errors import StorageFull, StoreBusy, StoreFailed
from lateron.writer import Writer

LOOK_EVERY_S: Final = 2.0  # What a command beside a running server does takes effect within this, and two reads.
_LOOKS: Final = 30  # Between two notes of the last use: a minute.


async def follow_tokens(writer: Writer, resources: Resources, *, elsewhere: bool) -> None:
    """Take up changes of other processes, and store once a minute who was there; never returns.

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
                changes = resources.users.changes
                resources.users.adopt(await writer.read(History.users), changes)
            if looks % _LOOKS == 0:
                await writer.run(lambda *_: _note(resources))


async def note_uses(writer: Writer, resources: Resources) -> None:
    """Store who was there last when the server ends; if the store cannot take it, it is forgotten."""
    with suppress(StorageFull, StoreBusy, StoreFailed):
        await writer.run(lambda *_: _note(resources))


def _note(resources: Resources) -> None:
    resources.note_uses()
    resources.users.note_uses()
