"""``lateron export``, ``import`` and ``migrate-from-qstash``: what a user has, as lines of JSON or straight across.

The first line says what the file is: ``{"lateron": "export", "version": 1}``. Each other line is one object with its
kind, as the API shows it. Dead letters and the log are the server's own history: ``lateron backup`` keeps them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from lateron.cli.commands import command
from lateron.cli.estate import KINDS, NAMES, Thing, make, read
from lateron.cli.exits import DONE, PARTLY, REFUSED, USAGE, Failed
from lateron.cli.judging import NOT_JUDGED, shown
from lateron.cli.outcomes import Caller, carried_out, counted, exit_code, listed, tell
from lateron.cli.outgoing import read_input
from lateron.cli.remote import Remote
from lateron.cli.shapes import checked
from lateron.errors import LateronError
from lateron.runtime import SystemClock

transfer_app = typer.Typer()

VERSION: Final = 1
_LASTING: Final = KINDS[:-1]  # All but messages.

DryOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")]


@command(transfer_app, "lateron export estate.jsonl", "lateron export - --without-messages")
def export(
    remote: Remote,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write; - is standard output.")],
    without_messages: Annotated[bool, typer.Option("--without-messages", help="Leave out messages that wait.")] = False,
) -> int:
    """Write groups, queues, pinned keys, schedules and waiting messages as lines of JSON.

    Objects with redacted values are left out and named, and the exit code is 7. A file that is there is not replaced.
    """
    things = read(remote.client, _LASTING if without_messages else KINDS)
    counts: dict[str, int] = {}
    hidden: list[Thing] = []
    lines = _lines(things, counts, hidden)
    try:
        if file == "-":
            sys.stdout.writelines(lines)
        else:
            with Path(file).open("x", encoding="utf-8") as out:
                Path(file).chmod(0o600)  # It holds bodies.
                out.writelines(lines)
            remote.done({"exported": counts, "leftOut": len(hidden)}, _summed("exported", counts))
    except FileExistsError:
        raise Failed(f"{file} exists; nothing was written", REFUSED) from None
    except OSError as error:
        raise Failed(f"cannot write {file}: {error.strerror}", REFUSED) from None
    _left_out(hidden)
    return PARTLY if hidden else DONE


@command(transfer_app, "lateron import saved.jsonl --dry-run", "lateron import saved.jsonl --json", name="import")
def import_(
    remote: Remote,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote; - is standard input.")],
    dry_run: DryOption = False,
) -> int:
    """Make what a file of `export` holds: what is there by name is changed, messages are published anew.

    Messages get new ids and keep their times. Import them once: a second time would send them twice. The exit code is
    7 if some objects were refused or left out, 1 if all were.
    """
    things = list(_read_file(file))
    return _make_all(remote, things, "imported", dry_run=dry_run)


@command(
    transfer_app,
    "lateron migrate-from-qstash --from $QSTASH_URL --from-token $token",
    name="migrate-from-qstash",
)
def migrate(
    remote: Remote,
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="Whose schedules, groups and queues to take.")
    ] = "https://qstash.upstash.io",
    source_token: Annotated[
        str | None, typer.Option("--from-token", metavar="TOKEN", help="The token there; one that may read is enough.")
    ] = None,
    dry_run: DryOption = False,
) -> int:
    """Make here the groups, queues, pinned keys and schedules of another server that speaks the QStash API.

    Nothing is changed there: pause its schedules before you let those here tick. Messages that wait there are
    delivered by it.
    """
    from lateron.cli.client import connect

    if source_token is None:
        raise Failed("expected --from-token", USAGE)
    things = list(read(connect(source, source_token), _LASTING))
    return _make_all(remote, things, "migrated", dry_run=dry_run)


def _make_all(remote: Remote, things: Sequence[Thing], verb: str, *, dry_run: bool) -> int:
    """Make objects one by one; one that is refused keeps no other from being made."""
    hidden = [thing for thing in things if thing.is_hidden]
    wanted = [thing for thing in things if not thing.is_hidden]
    act = _judge if dry_run else _make
    outcomes = list(carried_out(remote.client, [(f"{one.kind} {one.name}", partial(act, one)) for one in wanted]))
    counts: dict[str, int] = {}
    for thing, outcome in zip(wanted, outcomes, strict=True):
        if outcome.state == "done":
            counts[thing.kind] = counts.get(thing.kind, 0) + 1
    if dry_run and counts:
        print(NOT_JUDGED, file=sys.stderr)  # noqa: T201 - Standard output is for results.
    tell(outcomes)
    _left_out(hidden)
    said = _summed(f"would be {verb}" if dry_run else verb, counts) + counted(outcomes)
    remote.done({verb: counts, "dryRun": dry_run, **listed(outcomes), "leftOut": len(hidden)}, said)
    return exit_code(outcomes, len(hidden))


def _make(thing: Thing, caller: Caller) -> None:
    try:
        make(caller, checked(thing))
    except ValueError as error:
        raise Failed(f"{error}", REFUSED) from None


def _judge(thing: Thing, _caller: Caller) -> None:
    """Refuse what a server would refuse, without asking one.

    Raises:
        Failed: It would.
    """
    try:
        shown(checked(thing), SystemClock().wall())
    except (LateronError, ValueError) as error:
        raise Failed(f"{error}", REFUSED) from None


def _lines(things: Iterable[Thing], counts: dict[str, int], hidden: list[Thing]) -> Iterator[str]:
    yield json.dumps({"lateron": "export", "version": VERSION}) + "\n"
    for thing in things:
        if thing.is_hidden:
            hidden.append(thing)
            continue
        counts[thing.kind] = counts.get(thing.kind, 0) + 1
        yield json.dumps({"kind": thing.kind, "object": thing.content}, separators=(",", ":")) + "\n"


def _read_file(file: str) -> Iterator[Thing]:
    lines = read_input("FILE", file).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            content: Any = json.loads(line)
            if number == 1:
                if content != {"lateron": "export", "version": VERSION}:
                    raise Failed(f"{file}: expected an export of version {VERSION} in line 1", USAGE)
                continue
            thing = Thing(content["kind"], content["object"])
            assert thing.kind in KINDS
            assert thing.content[NAMES[thing.kind]]
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
            raise Failed(f"{file}: line {number} is no object of an export", USAGE) from None
        try:
            yield checked(thing)
        except ValueError as error:
            raise Failed(f"{file}: line {number}: {thing.kind} {thing.name}: {error}", USAGE) from None


def _left_out(hidden: list[Thing]) -> None:
    for thing in hidden:
        print(f"left out: {thing.kind} {thing.name} has redacted values", file=sys.stderr)  # noqa: T201 - As above.


def _summed(verb: str, counts: dict[str, int]) -> str:
    told = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
    return f"{verb}: {told or 'nothing'}"
