"""``lateron logs`` and ``lateron tail``: what happened to messages."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from lateron.cli.commands import command
from lateron.cli.exits import USAGE, Failed
from lateron.cli.exporting import LOG_COLUMNS, FormatOption, export
from lateron.cli.remote import Remote
from lateron.cli.selecting import EventFilters, LimitOption

logs_app = typer.Typer()

PAGE: Final = 1000  # Events on a page of the server.
SHOWN: Final = 100


@command(
    logs_app,
    "lateron logs",
    "lateron logs --state FAILED --since 1d --json",
    "lateron logs --message $id --all",
    "lateron logs --since 1d --export log.csv",
)
def logs(
    remote: Remote,
    filters: EventFilters,
    limit: LimitOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are, not only the last 100.")] = False,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="In the order of the API.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, as `tail` does.")] = False,
    file: Annotated[
        str | None, typer.Option("--export", metavar="FILE", help="Write all there are to a new file; - is here.")
    ] = None,
    form: FormatOption = None,
) -> None:
    """Print the last events, one line each, the newest at the end; or write all of them to a file."""
    from lateron.cli.tailing import follow_log, print_event

    if everything and limit is not None:
        raise Failed("--limit: expected either it or --all", USAGE)
    if follow:
        if everything or newest_first or limit is not None or filters.until is not None or file or form:
            raise Failed(
                "--follow: expected none of --all, --limit, --newest-first, --until, --export, --format", USAGE
            )
        follow_log(remote, filters, forever=True)
        return
    query = filters.query()
    if file is not None or form is not None:
        order = "latestFirst" if newest_first else "earliestFirst"
        found = remote.pages("/v2/events", [*query, ("order", order)], "events", limit, PAGE)
        export(remote, found, file or "-", form, LOG_COLUMNS)
        return
    if everything:
        order = "latestFirst" if newest_first else "earliestFirst"
        for event in remote.pages("/v2/events", [*query, ("order", order)], "events", None, PAGE):
            print_event(remote, event)
        return
    last = list(remote.pages("/v2/events", query, "events", limit or SHOWN, PAGE))
    for event in last if newest_first else reversed(last):
        print_event(remote, event)


@command(
    logs_app,
    "lateron tail --since 1h --state FAILED --no-follow --json",
    "lateron tail --no-follow --message $id",
)
def tail(
    remote: Remote,
    filters: EventFilters,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on when all is printed.")] = True,
) -> None:
    """Print events as they happen, one line each."""
    from lateron.cli.tailing import follow_log

    follow_log(remote, filters, forever=follow)
