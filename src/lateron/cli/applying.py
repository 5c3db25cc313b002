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
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple

import typer

from lateron.cli.commands import command
from lateron.cli.estate import Thing, make, read
from lateron.cli.exits import DONE, PARTLY, REFUSED, USAGE, Failed
from lateron.cli.outgoing import read_input
from lateron.cli.remote import Remote, path
from lateron.cli.selecting import confirmed

apply_app = typer.Typer()

_TABLES: Final = {"groups": "group", "queues": "queue", "pins": "pin", "schedules": "schedule"}
_NAMES: Final = {"group": "name", "queue": "name", "pin": "flowControlKey", "schedule": "scheduleId"}
_FIELDS: Final = {
    "group": frozenset(("endpoints", "headers")),
    "queue": frozenset(("parallelism", "paused")),
    "pin": frozenset(("parallelism", "rate", "period", "isPaused")),
    "schedule": frozenset(
        (
            *("cron", "destination", "method", "retries", "isPaused", "header", "body", "callback", "failureCallback"),
            *("delay", "timeout", "queueName", "retryDelayExpression", "labels", "flowControlKey", "parallelism"),
            *("rate", "period", "missed", "overlap", "start", "end", "mostRuns", "jitter"),
        )
    ),
}
# What an object has where the file does not say.
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
    wanted: Mapping[str, Any]
    found: Mapping[str, Any]


@command(apply_app, "lateron apply -f estate.toml --dry-run", "lateron apply -f estate.toml --json")
def apply(
    remote: Remote,
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="TOML; - is standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what differs.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what the file does not name.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --prune deletes.")] = False,
) -> int:
    """Make groups, queues, pinned keys and schedules what a file says they should be, and print what differed."""
    wanted = _read_file(file)
    client = remote.client
    changes = list(_differences(wanted, read(client, tuple(_TABLES.values())), prune=prune))
    for change in changes:
        fields = f": {', '.join(change.fields)}" if change.fields else ""
        print(f"{change.verb} {change.kind} {change.name}{fields}", file=sys.stderr)  # noqa: T201 - A diff for people.
    deleted = sum(change.verb == "delete" for change in changes)
    if deleted and not dry_run and not yes:
        confirmed(f"{deleted} would be deleted, queues with their messages. Go on?")
    refused = []
    for change in () if dry_run else changes:
        try:
            _do(remote, change)
        except Failed as error:
            if error.code != REFUSED:
                raise
            refused.append(f"{change.kind} {change.name}: {error}")
            print(refused[-1], file=sys.stderr)  # noqa: T201 - As above.
    shown = [{"verb": one.verb, "kind": one.kind, "name": one.name, "fields": list(one.fields)} for one in changes]
    count = len(changes) - len(refused)
    said = f"{count} {'would be changed' if dry_run else 'changed'}" if changes else "nothing differs"
    remote.done({"changes": shown, "dryRun": dry_run, "refused": refused}, said)
    return PARTLY if refused else DONE


def _read_file(file: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the file says, by kind and name.

    Raises:
        Failed: It is no such file; nothing was changed.
    """
    try:
        content = tomllib.loads(read_input("--file", file).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failed(f"{file}: {error}", USAGE) from None
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for table, things in content.items():
        kind = _TABLES.get(table)
        if kind is None or not isinstance(things, dict):
            raise Failed(f"{file}: expected tables {', '.join(_TABLES)}; got {table}", USAGE)
        for name, fields in things.items():
            unknown = set(fields) - _FIELDS[kind] if isinstance(fields, dict) else {"no table"}
            if unknown:
                expected = ", ".join(sorted(_FIELDS[kind]))
                raise Failed(f"{file}: {table}.{name}: {min(unknown)}: expected {expected}", USAGE)
            if kind == "schedule" and not {"cron", "destination"} <= fields.keys():
                raise Failed(f"{file}: {table}.{name}: expected a cron and a destination", USAGE)
            found[kind, name] = _plain(kind, fields)
    return found


def _differences(
    wanted: Mapping[tuple[str, str], Mapping[str, Any]], there: Iterator[Thing], *, prune: bool
) -> Iterator[Change]:
    found = {(thing.kind, thing.name): _plain(thing.kind, _given(thing)) for thing in there}
    for (kind, name), fields in wanted.items():
        old = found.get((kind, name))
        if old is None:
            yield Change("create", kind, name, (), fields, {})
            continue
        names = sorted(field for field in {**fields, **old} if fields.get(field) != old.get(field))
        if names:
            yield Change("change", kind, name, tuple(names), fields, old)
    if prune:
        for (kind, name), old in found.items():
            if (kind, name) not in wanted:
                yield Change("delete", kind, name, (), {}, old)


def _given(thing: Thing) -> dict[str, Any]:
    """Return the fields of an object that a file could name."""
    content = dict(thing.content)
    if thing.kind == "pin":
        pinned = {"isPaused": content.get("isPaused", False)}
        if content.get("isPinnedParallelism"):
            pinned["parallelism"] = content["parallelismMax"]
        if content.get("isPinnedRate"):
            pinned |= {"rate": content["rateMax"], "period": content["ratePeriod"]}
        return pinned
    return {name: value for name, value in content.items() if name in _FIELDS[thing.kind]}


def _plain(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields in the one way in which they are compared."""
    plain = {**_DEFAULTS[kind], **fields}
    if kind in {"pin", "schedule"} and ("rate" in plain or "flowControlKey" in plain):
        plain.setdefault("period", 1)
    for name in ("header", "headers"):
        if name in plain:
            plain[name] = {
                key.lower(): value if isinstance(value, list) else [value] for key, value in plain[name].items()
            }
    if kind == "group":
        plain["endpoints"] = sorted(plain["endpoints"], key=lambda one: str(one.get("url")))
    return plain


def _do(remote: Remote, change: Change) -> None:
    client, kind, name = remote.client, change.kind, change.name
    where = {"group": "topics", "queue": "queues", "pin": "flowControl", "schedule": "schedules"}[kind]
    if change.verb == "delete" and kind != "pin":
        client.call("DELETE", path("v2", where, name), patient=True)
        return
    if kind == "pin":
        _pin_anew(remote, change)
        return
    if kind == "group" and change.verb == "change":
        gone = [one for one in change.found["endpoints"] if one not in change.wanted["endpoints"]]
        if gone:
            body = json.dumps({"endpoints": [{"url": one["url"]} for one in gone]}).encode()
            client.call("DELETE", path("v2", where, name, "endpoints"), body, {"Content-Type": "application/json"})
    if kind == "queue" and change.found.get("paused") and not change.wanted["paused"]:
        client.call("POST", path("v2", where, name, "resume"))
    make(client, Thing(kind, {**change.wanted, _NAMES[kind]: name}))
    if kind == "group" and change.found.get("headers") and not change.wanted["headers"]:
        client.call("PATCH", path("v2", where, name), b'{"headers": {}}', {"Content-Type": "application/json"})
    if kind == "schedule" and change.found.get("isPaused") and not change.wanted["isPaused"]:
        client.call("POST", path("v2", where, name, "resume"))


def _pin_anew(remote: Remote, change: Change) -> None:
    """Unpin what is pinned and not wanted, then pin what is."""
    client, where = remote.client, path("v2", "flowControl", change.name)
    gone = [field for field in ("parallelism", "rate") if field in change.found and field not in change.wanted]
    if gone:
        client.call("POST", f"{where}/unpin?{'&'.join(f'{field}=true' for field in gone)}")
    if change.found.get("isPaused") and not change.wanted.get("isPaused"):
        client.call("POST", f"{where}/resume")
    if change.wanted:
        wanted = change.wanted
        key = {"isPinnedParallelism": "parallelism" in wanted, "isPinnedRate": "rate" in wanted,
               "parallelismMax": wanted.get("parallelism"), "rateMax": wanted.get("rate"),
               "ratePeriod": wanted.get("period"), "isPaused": wanted["isPaused"]}  # fmt: skip
        make(client, Thing("pin", {**key, "flowControlKey": change.name}))
