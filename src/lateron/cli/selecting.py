"""Which messages, events or dead letters a command means.

Every filter is passed on as it was given, an empty one too: the server refuses that, and nothing is taken for
the absence of a filter, which would mean everything. What changes many things at once names its number first
and asks; where nobody can be asked, ``--yes`` must be given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Final

import typer

from lateron.cli.commands import Bundle, whole
from lateron.cli.exits import REFUSED, USAGE, Failed
from lateron.cli.remote import Item, Remote
from lateron.core.durations import parse_duration
from lateron.core.values import SECOND, Millis
from lateron.runtime import SystemClock
from lateron.telemetry import plain

COUNTED: Final = 1000  # So far what a filter means is counted; the API has no call that counts.
EXAMPLES: Final = 3
_PANEL: Final = "Filters"
_TIME: Final = "a time ago such as 2h, a date (and time) such as 2026-11-22T08:00, or unix seconds"

LimitOption = Annotated[int | None, whole("--limit", least=1, said="At most so many.")]


def _filter(*flags: str, said: str) -> object:
    return typer.Option(*flags, help=said, rich_help_panel=_PANEL)


@dataclass(frozen=True, kw_only=True)
class Filters(Bundle):
    """What messages, events and dead letters are all told apart by."""

    destination: Annotated[list[str] | None, _filter("--destination", said="Of this URL.")] = None
    label: Annotated[list[str] | None, _filter("--label", said="With this label.")] = None
    queue: Annotated[list[str] | None, _filter("--queue", said="Of this queue.")] = None
    group: Annotated[list[str] | None, _filter("--group", said="Published to this URL group.")] = None
    schedule: Annotated[list[str] | None, _filter("--schedule", said="Made by the schedule of this id.")] = None
    flow_key: Annotated[list[str] | None, _filter("--flow-key", said="With this flow-control key.")] = None
    caller_ip: Annotated[list[str] | None, _filter("--caller-ip", said="Published from this address.")] = None
    since: Annotated[str | None, _filter("--since", said="Not older; e.g. 2h, or 2026-11-22T08:00.")] = None
    until: Annotated[str | None, _filter("--until", said="Not younger; as --since.")] = None

    def query(self) -> list[tuple[str, str | int]]:
        """Return the filters as the API names them.

        Raises:
            Failed: A time cannot be read.
        """
        pairs: list[tuple[str, str | int]] = [(name, value) for name, given in self.named() for value in given or ()]
        for name, flag, text in (("fromDate", "--since", self.since), ("toDate", "--until", self.until)):
            if text is not None:
                pairs.append((name, moment(flag, text)))
        return pairs

    def named(self) -> Iterator[tuple[str, Sequence[str] | None]]:
        """Yield name and values of each filter; None was not given."""
        yield "url", self.destination
        yield "label", self.label
        yield "queueName", self.queue
        yield "topicName", self.group
        yield "scheduleId", self.schedule
        yield "flowControlKey", self.flow_key
        yield "callerIp", self.caller_ip


@dataclass(frozen=True, kw_only=True)
class MessageFilters(Filters):
    """What messages are told apart by."""

    host: Annotated[list[str] | None, _filter("--host", said="To this host, without port.")] = None
    path: Annotated[list[str] | None, _filter("--path", said="To this path.")] = None

    def named(self) -> Iterator[tuple[str, Sequence[str] | None]]:  # noqa: D102
        yield from super().named()
        yield "host", self.host
        yield "path", self.path


@dataclass(frozen=True, kw_only=True)
class EventFilters(MessageFilters):
    """What events are told apart by."""

    message: Annotated[list[str] | None, _filter("--message", said="Of the message of this id.")] = None
    state: Annotated[
        list[str] | None, _filter("--state", said="In this state: CREATED, ACTIVE, RETRY, ERROR, DELIVERED, FAILED ...")
    ] = None

    def named(self) -> Iterator[tuple[str, Sequence[str] | None]]:  # noqa: D102
        yield from super().named()
        yield "messageIds", self.message
        yield "state", self.state


@dataclass(frozen=True, kw_only=True)
class DeadFilters(Filters):
    """What dead letters are told apart by."""

    message: Annotated[list[str] | None, _filter("--message", said="Of the message of this id.")] = None
    status: Annotated[list[str] | None, _filter("--status", said="Last answered with this status; 0 is no answer.")] = (
        None
    )

    def named(self) -> Iterator[tuple[str, Sequence[str] | None]]:  # noqa: D102
        yield from super().named()
        yield "messageIds", self.message
        yield "responseStatus", self.status


@dataclass(frozen=True, kw_only=True)
class Bulk(Bundle):
    """How to change many at once."""

    everything: Annotated[bool, typer.Option("--all", help="All there are; or all that the filters leave.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many, with examples.")] = False


def check_choice(ids: Sequence[str], query: Sequence[object], bulk: Bulk) -> None:
    """Refuse what names nothing, or by two ways.

    Raises:
        Failed: Neither ids nor filters nor ``--all`` are given, or ids beside one of the others.
    """
    if not all(ids):
        raise Failed("ID: expected an id, got ''", USAGE)
    if ids and (query or bulk.everything or bulk.dry_run):
        raise Failed("expected ids alone, or filters, --all and --dry-run", USAGE)
    if not ids and not query and not bulk.everything:
        raise Failed("expected ids, filters, or --all", USAGE)


def agreed(remote: Remote, what: str, verb: str, found: Iterable[Item], bulk: Bulk, names: Sequence[str]) -> bool:
    """Say how many are meant, and ask whether to go on; with ``--dry-run`` never.

    Args:
        remote: How to print.
        what: Whose plural they are, as in "dead letter".
        verb: What would be done to them.
        found: The items; not more than ``COUNTED`` are looked at.
        bulk: What the user said beforehand.
        names: Fields of an item that show which it is.

    Raises:
        Failed: Nobody can be asked, or the answer was no.
    """
    if bulk.yes and not bulk.dry_run:
        return True
    seen = list(islice(found, COUNTED + 1))
    many = len(seen) > COUNTED
    lines = [f"{f'more than {COUNTED}' if many else len(seen)} {what}{'' if len(seen) == 1 else 's'} to {verb}"]
    lines += ["  " + "  ".join(str(item.get(name, "-")) for name in names) for item in seen[:EXAMPLES]]
    lines += ["  ..."] if len(seen) > EXAMPLES else []
    if bulk.dry_run:
        remote.done({"matching": min(len(seen), COUNTED), "more": many}, "\n".join(map(plain, lines)))
        return False
    print("\n".join(map(plain, lines)), file=sys.stderr)  # noqa: T201 - Standard output is for results.
    return bool(seen) and confirmed(f"{verb.capitalize()}?")


def confirmed(question: str) -> bool:
    """Ask on the terminal; return only if the answer is yes.

    Raises:
        Failed: There is none, or the answer was not yes.
    """
    if not sys.stdin.isatty():
        raise Failed(f"{question} Nobody can be asked here; --yes goes on", USAGE)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - As above.
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Failed("nothing was changed", REFUSED)
    return True


def moment(flag: str, text: str) -> Millis:
    """Return the instant that a flag names.

    Raises:
        Failed: It is no time.
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit() and len(stripped) in {10, 13}:
        return int(stripped) * (SECOND if len(stripped) == 10 else 1)
    try:
        return SystemClock().wall() - parse_duration(stripped)
    except ValueError:
        pass
    try:
        read = datetime.fromisoformat(stripped)
        local = read.astimezone() if read.tzinfo is None else read
        return max(int(local.astimezone(UTC).timestamp() * 1000), 0)
    except (ValueError, OverflowError, OSError):
        raise Failed(f"{flag}: expected {_TIME}; got {text!r}", USAGE) from None
