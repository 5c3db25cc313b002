"""``lateron encryption``: keys of a store, made, changed, and brought to all of its rows.

The store is changed beside its running server, piece by piece. A command that was broken off is run again: it looks
at each row, and changes those that are not yet as the server would write them now.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lateron.cli.beside import opened
from lateron.cli.commands import command
from lateron.cli.exits import PARTLY, REFUSED, USAGE, Failed
from lateron.cli.keyfile import put_first

if TYPE_CHECKING:
    from lateron.store.sealing import Seals
    from lateron.store.sqlite import SqliteStore

encryption_app = typer.Typer(help="Encryption of what is stored: its keys and its state.", no_args_is_help=True)

DirectoryOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIRECTORY", help="Of the server.", show_default="LATERON_DATA_DIR"),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", help="Keys as the server has them.", show_default="LATERON_ENCRYPTION_KEY_FILE"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_PASSES: Final = 20  # Over all rows; one that finds nothing to change is the last.
_PAUSE_S: Final = 0.01  # Between two pieces, for the server.


@command(encryption_app, "lateron encryption key ./lateron.key")
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of keys; only its owner can read it.")],
    as_json: JsonOption = False,
) -> None:
    """Make a new key, and put it first into a file; keys that are in it stay, to decrypt what they encrypted.

    Keep a copy where backups are not: without the key nobody can read the store, nor a backup of it.
    """
    from lateron.cli.terminal import echo, echo_json
    from lateron.store.sealing import KEY_BYTES, key_id

    made = os.urandom(KEY_BYTES)
    put_first(file, f"{b64encode(made).decode()} # {key_id(made)}")
    if as_json:
        echo_json({"path": str(file), "key": key_id(made)})
    else:
        echo(f"key {key_id(made)} is the first in {file}")


@command(encryption_app, "lateron encryption status --data-dir $data")
def status(data_dir: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Say whether a store is encrypted, with which key, and how many rows are sealed by which data key."""
    from lateron.cli.terminal import echo_json, echo_table
    from lateron.store.sealed import counted

    with _opened(data_dir) as store, store.transaction() as tx:
        keys, state = tx.data_keys(), tx.setting("encryption")
        counts = dict[tuple[str, int | None], int]()
        for table, number, count in counted(tx, 1000):
            counts[table, number] = counts.get((table, number), 0) + count
    on = bool(keys) and state == "on"
    if as_json:
        rows = [{"kind": table, "dataKey": number, "rows": count} for (table, number), count in counts.items()]
        named = [{"id": row.id, "key": row.master, "createdAt": row.created} for row in keys]
        echo_json({"on": on, "dataKeys": named, "rows": rows})
        return
    echo_table(
        ("what", "sealed by", "rows"),
        [
            ("encryption", f"key {keys[-1].master}" if keys else "", "on" if on else "off"),
            *((table, f"data key {number}" if number else "in clear", str(n)) for (table, number), n in counts.items()),
        ],
    )


@command(encryption_app, "lateron encryption rotate --data-dir ./sealed --key-file ./key")
def rotate(data_dir: DirectoryOption = None, key_file: KeysOption = None, as_json: JsonOption = False) -> int:
    """Make a new data key, and encrypt all rows with it; the server may run, and takes it up within seconds.

    If it is broken off, `rewrite` does the rest. To change the operator's key, put a new one first into the file and
    restart the server: that wraps the data keys anew.
    """
    from lateron.runtime import SystemClock
    from lateron.store.unlocking import new_data_key

    with _unlocked(data_dir, key_file) as (store, seals):
        if not seals.on:
            raise Failed("the server does not encrypt what it stores; `lateron encryption rewrite` decrypts", REFUSED)
        new_data_key(store, seals, SystemClock().wall())
        return _rewritten(store, seals, as_json=as_json)


@command(encryption_app, "lateron encryption rewrite --data-dir ./sealed --key-file ./key")
def rewrite(data_dir: DirectoryOption = None, key_file: KeysOption = None, as_json: JsonOption = False) -> int:
    """Bring all rows to what the server writes now: encrypted with its newest data key, or in clear.

    Run it after encryption was turned on, and after it was turned off; then the key is needed no more.
    """
    with _unlocked(data_dir, key_file) as (store, seals):
        return _rewritten(store, seals, as_json=as_json)


def _rewritten(store: SqliteStore, seals: Seals, *, as_json: bool) -> int:
    """Go over all rows until nothing is left to change."""
    import time

    from lateron.cli.terminal import echo, echo_json
    from lateron.store.sealed import TABLES, Place
    from lateron.store.unlocking import forget_keys
    from lateron.store.unlocking import rewrite as rewrite_piece

    total = damaged = 0
    for _ in range(_PASSES):
        changed = damaged = 0
        for table, first in TABLES.items():
            place: Place | None = first
            while place is not None:
                place, more, broken = rewrite_piece(store, seals, table, place)
                changed += more
                damaged += broken
                time.sleep(_PAUSE_S)
        total += changed
        if not changed:
            break
        time.sleep(1)
    left = not seals.on and not forget_keys(store)
    told = f"; {damaged} are damaged and stay as they are" if damaged else ""
    if as_json:
        echo_json({"on": seals.on, "changed": total, "damaged": damaged})
        return PARTLY if damaged or left else 0
    echo(f"{total} rows are {'encrypted' if seals.on else 'in clear'}{told}")
    return PARTLY if damaged or left else 0


@contextmanager
def _unlocked(data_dir: Path | None, key_file: Path | None) -> Iterator[tuple[SqliteStore, Seals]]:
    from lateron.config import InvalidSettings, load
    from lateron.store.sealing import KeyRefused
    from lateron.store.unlocking import beside

    flags = {} if key_file is None else {"encryption-key-file": str(key_file)}
    try:
        settings = load("serve", flags, os.environ)
    except InvalidSettings as error:  # Named as it was given.
        raise Failed(str(error).replace("--encryption-key-file", "--key-file"), USAGE) from None
    with _opened(data_dir) as store:
        try:
            yield store, beside(store, settings.encryption_key)
        except KeyRefused as error:
            raise Failed(str(error), REFUSED) from None


@contextmanager
def _opened(data_dir: Path | None) -> Iterator[SqliteStore]:
    named = data_dir or os.environ.get("LATERON_DATA_DIR")
    if not named:
        raise Failed("expected --data-dir or LATERON_DATA_DIR", USAGE)
    with opened(Path(named)) as store:
        yield store
