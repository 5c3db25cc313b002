"""Encryption of a store turned on and off, its keys changed, and its old rows brought to what is written now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lateron.core.values import Millis
from lateron.store.sealed import TABLES, Place
from lateron.store.sealing import KeyRefused, Seals
from lateron.store.sqlite import SqliteStore

FIRST_READER: Final = 10  # The oldest schema whose programs know what a sealed value is.
PIECE: Final = 64  # Rows of one transaction.
_PIECE_BYTES: Final = 4 << 20  # After which it ends early.
_STATE: Final = "encryption"  # Setting of the store: whether its server seals what it writes.


def unlock(store: SqliteStore, masters: Sequence[bytes], now: Millis, *, on: bool) -> Seals | None:
    """Give a store its keys, as the server that works on it does at its start.

    Args:
        store: The one that writes.
        masters: Keys of the operator; data keys are wrapped by the first one from now on.
        now: Time, for the stamp of a new data key.
        on: Seal what is written from now on.

    Returns:
        The keys; None if nothing was sealed and nothing will be.

    Raises:
        KeyRefused: Sealed values could not be opened.
    """
    with store.transaction() as tx:
        rows = tx.data_keys()
        if not masters:
            if rows:
                raise KeyRefused(f"encryption-key: the store is encrypted; it needs key {rows[-1].master}")
            return None
        if not rows and not on:
            return None
        seals = Seals(masters)
        seals.on = on
        for row in seals.adopt(rows):
            tx.save_data_key(row)
        if not rows:
            tx.save_data_key(seals.made(1, now))
            tx.demand_reader(FIRST_READER)
        tx.save_setting(_STATE, "on" if on else "off")
        tx.seals = seals
        tx.reseal_keys()
    return seals


def beside(store: SqliteStore, masters: Sequence[bytes]) -> Seals:
    """Give a store its keys as its server has them, for a command beside it.

    Raises:
        KeyRefused: The server was not yet started with these keys.
    """
    with store.transaction() as tx:
        rows, state = tx.data_keys(), tx.setting(_STATE)
    if not rows:
        raise KeyRefused("encryption-key: the store is not encrypted; start its server with the key first")
    if not masters:
        raise KeyRefused(f"encryption-key: the store is encrypted; it needs key {rows[-1].master}")
    seals = Seals(masters)
    seals.on = state == "on"
    if seals.adopt(rows):
        raise KeyRefused(f"encryption-key: restart the server with key {seals.master} first; it has not seen it yet")
    store.seal_with(seals)
    return seals


def new_data_key(store: SqliteStore, seals: Seals, now: Millis) -> int:
    """Make a new data key, which a running server takes up within seconds; return its number."""
    with store.transaction() as tx:
        rows = tx.data_keys()
        key = seals.made(rows[-1].id + 1, now)
        tx.save_data_key(key)
        tx.reseal_keys()
    return key.id


def rewrite(store: SqliteStore, seals: Seals, table: str, after: Place) -> tuple[Place | None, int, int]:
    """Store rows behind a place as they would be stored now, in one transaction.

    Returns:
        Where to go on, None at the end; how many rows were changed; how many are damaged and stay as they are.
    """
    changed = damaged = size = 0
    place: Place | None = None
    with store.transaction() as tx:
        for place, number in tx.starts(table, after, PIECE):
            if number == seals.current:
                continue
            written = tx.reseal(table, place)
            damaged += written is None
            changed += written is not None
            size += written or 0
            if size >= _PIECE_BYTES:
                break
    return place, changed, damaged


def forget_keys(store: SqliteStore) -> bool:
    """Forget the data keys of a store of which nothing is sealed any more, in one transaction; False if a row is."""
    with store.transaction() as tx:
        for table, first in TABLES.items():
            place = first
            while found := tx.starts(table, place, 1000):
                if any(number is not None for _, number in found):
                    return False
                place = found[-1][0]
        tx.reseal_keys()
        tx.delete_data_keys()
    return True
