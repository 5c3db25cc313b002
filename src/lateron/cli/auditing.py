"""``lateron audit``: who changed what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lateron.cli.commands import command, whole
from lateron.cli.remote import Item, Remote, path

audit_app = typer.Typer()
_MOST = 1000  # On a page.


@command(audit_app, "lateron audit", "lateron audit --action token.create", "lateron audit --limit 5 --json")
def audit(
    remote: Remote,
    who: Annotated[str | None, typer.Option("--who", help="Only what this token or user did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this, e.g. token.revoke.")] = None,
    since: Annotated[int | None, whole("--since", said="Not before this time, in unix milliseconds.")] = None,
    limit: Annotated[int, whole("--limit", said="At most so many.", least=1)] = 100,
) -> None:
    """Print who changed what, newest first; it needs a token with the scope admin.

    Publishing is not in this log but in that of messages: see lateron logs.
    """
    given = (("who", who), ("action", action), ("since", since))
    query = [(name, value) for name, value in given if value is not None]
    found = remote.pages(path("lateron", "v1", "audit"), query, "records", limit, _MOST)

    def row(record: Item) -> Sequence[str]:
        who = f"{record['by']} {record.get('who', '')}".strip()
        what = " ".join(str(record[name]) for name in ("object", "filter") if name in record)
        touched = str(record.get("count", ""))
        return remote.instant(record["time"]), record["action"], who, record.get("address", "-"), touched, what

    remote.listed(found, ("time", "action", "by", "from", "count", "what"), row)
