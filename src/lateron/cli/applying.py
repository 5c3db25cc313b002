"""``lateron apply``: make groups, queues, pinned keys and schedules what a file says they should be.

The file names them by tables, with the fields that the API shows::

    [schedules.nightly]
    cron = "0 4 * * *"
    destination = "https://example.com/report"
    retries = 5

    [queues.mail]
    parallelism = 3

    [groups.order-events]
    endpoints = [{ name = "shop", url = "https://example.com/orders" }]

    [pins."user-1"]
    rate = 10
    period = 60

What differs is shown before it is changed; what is right already is not touched. What the file does not name stays,
unless ``--prune`` is given.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import typer

from lateron.cli.commands import command
from lateron.cli.declaring import FIELDS, TABLES, Declared, read_file
from lateron.cli.estate import Thing, make, read
from lateron.cli.exits import DONE
from lateron.cli.judging import NOT_JUDGED
from lateron.cli.outcomes import Caller, Outcome, carried_out, counted, exit_code, listed, tell
from lateron.cli.remote import Remote, path
from lateron.cli.selecting import confirmed
from lateron.cli.terminal import echo
from lateron.core.redact import redacted
from lateron.runtime import SystemClock
from lateron.telemetry import plain

apply_app = typer.Typer()

_JSON: Final = {"Content-Type": "application/json"}
_NOTHING: Final = "nothing differs"

# What an object has where neither the file nor the server says.
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "group": {"endpoints": [], "headers": {}},
    "queue": {"parallelism": 1, "paused": False},
    "pin": {"isPaused": False},
    "schedule": {"method": "POST", "retries": 3, "isPaused": False, "header": {}, "labels": []},
}


class Change(NamedTuple):
    """One difference between the file and the server."""

    verb: str  # "create", "change" or "delete".
    kind: str
    name: str
    fields: tuple[str, ...]  # That differ.
    wanted: Declared | None  # None: nothing of that name.
    found: Mapping[str, Any]  # The fields that are there, as they are compared.

    def __str__(self) -> str:
        """Return the line that shows it."""
        return plain(f"{self.verb} {self.kind} {self.name}" + (f": {', '.join(self.fields)}" if self.fields else ""))

    def item(self, outcome: Outcome | None = None) -> dict[str, Any]:
        """Return it for JSON, with what became of it."""
        item = {"verb": self.verb, "kind": self.kind, "name": self.name, "fields": list(self.fields)}
        return item if outcome is None else {**item, "outcome": outcome.state}


@command(apply_app, "lateron apply -f estate.toml --dry-run", "lateron apply -f estate.toml --json")
def apply(
    remote: Remote,
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="TOML; - is standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what differs.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what the file does not name.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --prune deletes.")] = False,
) -> int:
    """Make groups, queues, pinned keys and schedules what a file says they should be, and print what differed.

    The exit code is 7 if some changes were refused, 1 if all were.
    """
    wanted = read_file(file)
    client = remote.client
    changes = list(_differences(wanted, read(client, tuple(TABLES.values())), prune=prune))
    now = SystemClock().wall()
    for change in changes:
        if change.wanted is not None:
            change.wanted.check(now)
    if dry_run:
        _show(remote, changes)
        return DONE
    deleted = sum(change.verb == "delete" for change in changes)
    if deleted and not yes:
        print("\n".join(map(str, changes)), file=sys.stderr)  # noqa: T201 - Standard output is for what was done.
        confirmed(f"{deleted} would be deleted, queues with their messages. Go on?")
    return _carry_out(remote, changes)


def _show(remote: Remote, changes: Sequence[Change]) -> None:
    """Print what would be changed."""
    if any(change.wanted is not None for change in changes):
        print(NOT_JUDGED, file=sys.stderr)  # noqa: T201 - Standard output is for results.
    lines = [*map(str, changes), f"{len(changes)} would be changed" if changes else _NOTHING]
    remote.done({"changes": [change.item() for change in changes], "dryRun": True, **listed(())}, "\n".join(lines))


def _carry_out(remote: Remote, changes: Sequence[Change]) -> int:
    """Make all changes, print each that is done, and return the exit code."""
    outcomes: list[Outcome] = []
    acts = [(f"{change.kind} {change.name}", partial(_do, change)) for change in changes]
    for change, outcome in zip(changes, carried_out(remote.client, acts), strict=True):
        outcomes.append(outcome)
        if outcome.state == "done" and not remote.as_json:
            echo(str(change))
    tell(outcomes)
    items = [change.item(outcome) for change, outcome in zip(changes, outcomes, strict=True)]
    done = sum(outcome.state == "done" for outcome in outcomes)
    said = f"{done} changed{counted(outcomes)}" if changes else _NOTHING
    remote.done({"changes": items, "dryRun": False, **listed(outcomes)}, said)
    return exit_code(outcomes)


def _differences(
    wanted: Mapping[tuple[str, str], Declared], there: Iterator[Thing], *, prune: bool
) -> Iterator[Change]:
    found = {(thing.kind, thing.name): _fields(thing) for thing in there}
    for (kind, name), declared in wanted.items():
        old = found.get((kind, name))
        if old is None:
            yield Change("create", kind, name, (), declared, {})
            continue
        new = _fields(declared.thing)
        names = sorted(field for field in {**new, **old} if not _alike(new.get(field), old.get(field)))
        if names:
            yield Change("change", kind, name, tuple(names), declared, old)
    if prune:
        for (kind, name), old in found.items():
            if (kind, name) not in wanted:
                yield Change("delete", kind, name, (), None, old)


def _fields(thing: Thing) -> dict[str, Any]:
    """Return the fields of an object that a file could name, in the one way in which they are compared."""
    content = thing.content
    if thing.kind == "pin":
        pinned = {"isPaused": content.get("isPaused", False)}
        if content.get("isPinnedParallelism"):
            pinned["parallelism"] = content["parallelismMax"]
        if content.get("isPinnedRate"):
            pinned |= {"rate": content["rateMax"], "period": content["ratePeriod"]}
        return pinned
    fields = {**_DEFAULTS[thing.kind], **{name: content[name] for name in FIELDS[thing.kind] if name in content}}
    if "flowControlKey" in fields:
        fields.setdefault("period", 1)
    for name in ("header", "headers"):
        if name in fields:
            fields[name] = {
                key.lower(): value if isinstance(value, list) else [value] for key, value in fields[name].items()
            }
    if thing.kind == "group":
        fields["endpoints"] = sorted(fields["endpoints"], key=lambda one: str(one.get("url")))
    return fields


def _alike(new: object, old: object) -> bool:
    """Whether two values are the same, as far as a server shows the one that it has."""
    if isinstance(new, str) and isinstance(old, str):
        return old in {new, redacted(new.encode())}
    if isinstance(new, dict) and isinstance(old, dict):
        return new.keys() == old.keys() and all(_alike(value, old[key]) for key, value in new.items())
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_alike, new, old))
    return new == old


def _do(change: Change, client: Caller) -> None:
    kind, name, declared = change.kind, change.name, change.wanted
    if kind == "pin":
        _pin_anew(change, client)
        return
    where = path("v2", {"group": "topics", "queue": "queues", "schedule": "schedules"}[kind], name)
    if declared is None:
        client.call("DELETE", where, patient=True)
        return
    wanted, found = _fields(declared.thing), change.found
    if kind == "queue" and found.get("paused") and not wanted["paused"]:
        client.call("POST", f"{where}/resume")
    if kind == "schedule" and change.fields == ("isPaused",):  # Made anew it would count its runs anew.
        client.call("POST", f"{where}/{'pause' if wanted['isPaused'] else 'resume'}")
        return
    make(client, declared.thing)
    if kind == "group" and found:
        _trim(change, declared, client)
    if kind == "schedule" and found.get("isPaused") and not wanted["isPaused"]:
        client.call("POST", f"{where}/resume")


def _trim(change: Change, declared: Declared, client: Caller) -> None:
    """Take from a group what the file does not name, after all that it names is there.

    Why after: a group without endpoints is gone, and an endpoint that is refused must not cost those that there are.
    """
    where, wanted = path("v2", "topics", change.name), _fields(declared.thing)
    names = {one["url"]: one.get("name") for one in wanted["endpoints"]}
    gone = [one["url"] for one in change.found["endpoints"] if one["url"] not in names]
    named = [one["url"] for one in change.found["endpoints"] if "name" in one and names.get(one["url"], "") is None]
    if gone or named:
        body = json.dumps({"endpoints": [{"url": url} for url in gone + named]}).encode()
        client.call("DELETE", f"{where}/endpoints", body, _JSON)
    if named:  # A name is lost only with its endpoint.
        make(client, declared.thing)
    if change.found["headers"] and not wanted["headers"]:
        client.call("PATCH", where, b'{"headers": {}}', _JSON)


def _pin_anew(change: Change, client: Caller) -> None:
    """Unpin what is pinned and not wanted, then pin what is."""
    where = path("v2", "flowControl", change.name)
    wanted = {} if change.wanted is None else _fields(change.wanted.thing)
    gone = [field for field in ("parallelism", "rate") if field in change.found and field not in wanted]
    if gone:
        client.call("POST", f"{where}/unpin?{'&'.join(f'{field}=true' for field in gone)}")
    if change.found.get("isPaused") and not wanted.get("isPaused"):
        client.call("POST", f"{where}/resume")
    if change.wanted is not None:
        make(client, change.wanted.thing)
