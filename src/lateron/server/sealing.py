"""Encryption of the store while the server runs: its keys at the start, and data keys that a command makes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from lateron.config import InvalidSettings, Settings
from lateron.core.values import Millis
from lateron.errors import StorageFull, StoreBusy
from lateron.store.sealing import KeyRefused, Seals
from lateron.store.sqlite import SqliteStore
from lateron.store.unlocking import unlock
from lateron.writer import Writer

LOOK_EVERY_S: Final = 2.0  # A new data key seals what is written within this.


def unlocked(settings: Settings, store: SqliteStore, reader: SqliteStore | None, now: Millis) -> Seals | None:
    """Give the store its keys.

    Raises:
        InvalidSettings: They are missing, or are not those of the store.
    """
    try:
        seals = unlock(store, settings.encryption_key, now, on=settings.encrypt)
    except KeyRefused as error:
        raise InvalidSettings(str(error)) from None
    if seals is not None:
        for one in (store, reader):
            if one is not None:
                one.seal_with(seals)
    return seals


async def follow_data_keys(writer: Writer, store: SqliteStore, seals: Seals | None) -> None:
    """Take up data keys that `lateron encryption rotate` makes; never returns."""

    def look(*_: object) -> None:
        assert seals is not None
        with store.transaction() as tx:
            seals.adopt(tx.data_keys())

    if seals is None:  # Nothing will ever be sealed by this process.
        await asyncio.Event().wait()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with suppress(StorageFull, StoreBusy):  # There is another time.
            await writer.run(look)
