"""A store that is changed beside its server, or without one: for whoever has lost the last token.

A running server takes that up within five seconds. The audit log says that it was done here, and by which account of
the machine.
"""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from lateron.cli.commands import Bundle
from lateron.cli.exits import REFUSED, Failed

if TYPE_CHECKING:
    from lateron.broker.resources import Resources
    from lateron.core.audit import Note
    from lateron.core.values import Millis, Tenant
    from lateron.store.sqlite import SqliteStore

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Beside(Bundle):
    """A store that is changed without its server."""

    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIRECTORY", help="Change the store here, whether its server runs or not."),
    ] = None


def in_store(directory: Path, work: Callable[[Resources, Millis], T], action: str | None = None, name: str = "") -> T:
    """Do something to the tokens or users of a store.

    Args:
        directory: Of the store.
        work: Is given them and the time.
        action: What the audit log calls it; None: it changes nothing.
        name: Of what is changed.

    Raises:
        Failed: There is no store, or what was asked for is not there or cannot be.
    """
    from lateron.broker.resources import Resources
    from lateron.errors import NotFound, RequestError
    from lateron.runtime import SystemClock
    from lateron.server.seeding import new_key, new_token

    clock = SystemClock()
    with opened(directory) as store:
        resources, now = Resources(store, new_key, new_token, clock.wall), clock.wall()
        try:
            with nullcontext() if action is None else store.noting(_note(action, name, now)):
                return work(resources, now)
        except (NotFound, RequestError) as error:
            raise Failed(str(error), REFUSED) from None


def tenant() -> Tenant:
    """Return whose tokens and users they are."""
    from lateron.server.seeding import TENANT

    return TENANT


@contextmanager
def opened(directory: Path) -> Iterator[SqliteStore]:
    """Open a store beside its server, if that runs.

    Raises:
        Failed: There is none.
    """
    from lateron.store.sqlite import open_beside

    store_in(directory)
    store = open_beside(directory)
    try:
        yield store
    finally:
        store.close()


def store_in(directory: Path) -> Path:
    """Return the file of a store.

    Raises:
        Failed: There is none, or none that we may read.
    """
    from lateron.store.sqlite import FILE

    try:
        with (directory / FILE).open("rb"):
            return directory / FILE
    except (FileNotFoundError, NotADirectoryError):
        raise Failed(f"--data-dir: there is no store in {directory}", REFUSED) from None
    except OSError as error:
        raise Failed(f"--data-dir: cannot read the store in {directory}: {error.strerror}", REFUSED) from None


def _note(action: str, name: str, now: Millis) -> Note:
    from lateron.core.audit import Note, clipped

    return Note(
        tenant=tenant(),
        time=now,
        request=f"cli_{secrets.token_hex(10)}",
        kind="operator",
        who=clipped(_account()),
        address="",
        action=action,
        object=clipped(name),
    )


def _account() -> str:
    """Return the account of this machine that runs the command; nothing if it has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # As a number only, which is usual in containers.
        return ""
