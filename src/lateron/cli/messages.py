"""``lateron messages``: what is on its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from lateron.cli.commands import command
from lateron.cli.exits import DONE, PARTLY, REFUSED, Failed
from lateron.cli.ordering import FollowOption, RateOption, SpreadOption, filter_of, order
from lateron.cli.remote import Item, Query, Remote, path
from lateron.cli.selecting import Bulk, LimitOption, MessageFilters, agreed, check_choice

messages_app = typer.Typer(help="Messages on their way: look at them, hurry them, cancel them.", no_args_is_help=True)

PAGE: Final = 1000  # Messages on a page of the server.
SHOWN: Final = 100


@command(
    messages_app,
    "lateron messages list",
    "lateron messages list --queue mail --since 2h --json",
    name="list",
)
def list_messages(remote: Remote, filters: MessageFilters, limit: LimitOption = SHOWN) -> None:
    """Print messages that are on their way, newest first, and what each waits for."""
    head = ("message", "state", "waits for", "until", "url")

    def row(message: Item) -> Sequence[str]:
        reason, until = message.get("waitingFor", "-"), message.get("waitingUntil")
        return message["messageId"], message.get("state", "-"), reason, remote.instant(until), message["url"]

    remote.listed(_pending(remote, filters.query(), limit), head, row)


@command(messages_app, "lateron messages get $id")
def get(remote: Remote, message: Annotated[str, typer.Argument(metavar="ID", help="Id of a message, msg_...")]) -> None:
    """Print a message; until ten minutes after its end."""
    remote.record(remote.call("GET", path("v2", "messages", message)))


@command(
    messages_app,
    "lateron messages cancel $id",
    "lateron messages cancel --label night --since 1d --dry-run",
    "lateron messages cancel --all --host example.com --yes",
)
def cancel(
    remote: Remote,
    filters: MessageFilters,
    bulk: Bulk,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of messages.")] = None,
    limit: LimitOption = None,
) -> int:
    """Cancel messages: those named, or all that the filters leave.

    You are told how many, and asked. The exit code is 7 if some of those named are not on their way any more.
    """
    named, query = ids or [], filters.query()
    check_choice(named, query, bulk)
    if len(named) == 1:
        remote.done(remote.call("DELETE", path("v2", "messages", named[0])), f"cancelled {named[0]}")
        return DONE
    chosen: Query = [("messageIds", name) for name in named] or query
    found = _pending(remote, query, limit)  # Newest first, as the server cancels.
    if not named and not agreed(remote, "message", "cancel", found, bulk, ("messageId", "url")):
        return DONE
    most: Query = [("count", limit)] if limit else []
    answer = remote.call("DELETE", "/v2/messages", [*chosen, *most], patient=True)
    remote.done(answer, f"cancelled {answer['cancelled']}")
    missing = len(set(named)) - answer["cancelled"]
    if missing > 0:
        said = f"{missing} of {len(set(named))} messages are not on their way"
        raise Failed(said, PARTLY if answer["cancelled"] else REFUSED)
    return DONE


@command(
    messages_app,
    "lateron messages retry $id",
    "lateron messages retry --label night --dry-run",
    "lateron messages retry --all --host example.com --rate 50 --yes --follow",
)
def retry(
    remote: Remote,
    filters: MessageFilters,
    bulk: Bulk,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of messages.")] = None,
    limit: LimitOption = None,
    rate: RateOption = None,
    spread: SpreadOption = None,
    follow: FollowOption = False,
) -> int:
    """Let messages that wait for their time go now: those named, or all that the filters leave, by a bulk job.

    Their limits, queues and pauses hold as before. With filters you are told how many there are, and asked.
    """
    named, query = ids or [], filters.query()
    check_choice(named, query, bulk)
    for name in named:
        remote.done(remote.call("POST", path("lateron", "v1", "messages", name, "retry")), f"due now {name}")
    if named:
        return DONE
    asked = {"kind": "retryNow", "filter": filter_of(query), "rate": rate, "spread": spread}
    return order(remote, asked, bulk, "message", "retry", follow=follow, limit=limit)


def _pending(remote: Remote, query: Query, limit: int | None) -> Iterator[Any]:
    return remote.pages("/v2/messages", query, "messages", limit, PAGE)
