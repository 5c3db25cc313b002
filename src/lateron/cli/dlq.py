"""``lateron dlq``: what could not be delivered, and another try."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from lateron.cli.commands import command
from lateron.cli.exits import DONE, PARTLY, REFUSED, Failed
from lateron.cli.exporting import DEAD_COLUMNS, FileArgument, FormatOption
from lateron.cli.exporting import export as write_export
from lateron.cli.ordering import FollowOption, RateOption, SpreadOption, ids_or_filter, order
from lateron.cli.outgoing import Attempts, read_input
from lateron.cli.remote import Item, Query, Remote, path
from lateron.cli.selecting import Bulk, DeadFilters, LimitOption, agreed, check_choice

dlq_app = typer.Typer(help="Dead letters: messages whose attempts are spent.", no_args_is_help=True)

PAGE: Final = 100  # Dead letters on a page of the server.
BATCH: Final = 1000  # Dead letters that one call retries or deletes.
SHOWN: Final = 100

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="DLQ_ID", help="Ids of dead letters.")]


@command(
    dlq_app,
    "lateron dlq list",
    "lateron dlq list --status 503 --since 1d --json",
    name="list",
)
def list_dead(remote: Remote, filters: DeadFilters, limit: LimitOption = SHOWN) -> None:
    """Print dead letters, newest first."""

    def row(dead: Item) -> Sequence[str]:
        return dead["dlqId"], str(dead["responseStatus"]), dead["url"]

    remote.listed(_found(remote, filters.query(), limit), ("dead letter", "status", "url"), row)


@command(dlq_app, "lateron dlq get $dlq")
def get(remote: Remote, letter: Annotated[str, typer.Argument(metavar="DLQ_ID", help="Id of a dead letter.")]) -> None:
    """Print a dead letter with the last answer."""
    remote.record(remote.call("GET", path("v2", "dlq", letter)))


@command(
    dlq_app,
    "lateron dlq retry $dlq --retries 5",
    "lateron dlq retry --destination https://example.com/hook --dry-run",
    "lateron dlq retry --all --status 503 --limit 500 --delay 1m --yes",
)
def retry(
    remote: Remote,
    attempts: Attempts,
    filters: DeadFilters,
    bulk: Bulk,
    ids: IdsArgument = None,
    limit: LimitOption = None,
) -> int:
    """Publish dead letters anew, those named or all that the filters leave, and print the new ids.

    Options change the originals. You are told how many there are, and asked. The exit code is 7 if some of those
    named are not there any more.
    """
    named, query, headers = ids or [], filters.query(), attempts.headers()
    check_choice(named, query, bulk)
    if len(named) == 1:
        answer = remote.call("POST", path("v2", "dlq", "retry", named[0]), headers=headers)
        remote.done(answer, answer["messageId"])
        return DONE
    chosen: Query = [("dlqIds", name) for name in named] or query
    if not named and not agreed(remote, "dead letter", "retry", _found(remote, query, limit), bulk, ("dlqId", "url")):
        return DONE
    done = 0
    for answer, count in _batches(remote, "POST", "/v2/dlq/retry", chosen, limit, headers):
        done += count
        remote.done(answer, "\n".join(one["messageId"] for one in answer["responses"]))
    return _ended(named, done)


@command(
    dlq_app,
    "lateron dlq delete $dlq",
    "lateron dlq delete --until 30d --yes",
)
def delete(remote: Remote, filters: DeadFilters, bulk: Bulk, ids: IdsArgument = None, limit: LimitOption = None) -> int:
    """Delete dead letters for good: those named, or all that the filters leave.

    You are told how many, and asked. The exit code is 7 if some of those named are not there any more.
    """
    named, query = ids or [], filters.query()
    check_choice(named, query, bulk)
    if len(named) == 1:
        remote.done(remote.call("DELETE", path("v2", "dlq", named[0])), f"deleted {named[0]}")
        return DONE
    chosen: Query = [("dlqIds", name) for name in named] or query
    if not named and not agreed(remote, "dead letter", "delete", _found(remote, query, limit), bulk, ("dlqId", "url")):
        return DONE
    done = 0
    for answer, count in _batches(remote, "DELETE", "/v2/dlq", chosen, limit):
        done += count
        remote.done(answer, None)
    if not remote.as_json:
        remote.done(None, f"deleted {done}")
    return _ended(named, done)


@command(
    dlq_app,
    "lateron dlq replay --status 503 --rate 50 --yes --follow",
    "lateron dlq replay --all --spread 10m --retries 5 --dry-run",
)
def replay(
    remote: Remote,
    attempts: Attempts,
    filters: DeadFilters,
    bulk: Bulk,
    ids: IdsArgument = None,
    limit: LimitOption = None,
    body: Annotated[str | None, typer.Option("--body", "-d", help="Send this instead; @FILE is a file.")] = None,
    rate: RateOption = None,
    spread: SpreadOption = None,
    follow: FollowOption = False,
) -> int:
    """Publish dead letters anew by a bulk job, which goes on when this command has ended.

    Options change the originals. You are told how many there are, and asked.
    """
    named, query = ids or [], filters.query()
    check_choice(named, query, bulk)
    content = None if body is None else body.encode("utf-8", "surrogateescape")
    if body is not None and body.startswith("@"):
        content = read_input("--body", "-" if body == "@-" else body[1:])
    asked = {
        "kind": "replayDeadLetters",
        "filter": ids_or_filter(named, "dlqIds", query),
        "options": attempts.headers(),
        "bodyBase64": None if content is None else b64encode(content).decode(),
        "rate": rate,
        "spread": spread,
    }
    return order(remote, asked, bulk, "dead letter", "replay", follow=follow, limit=limit)


@command(dlq_app, "lateron dlq export dead.csv", "lateron dlq export - --status 503 --format ndjson")
def export(
    remote: Remote,
    file: FileArgument,
    filters: DeadFilters,
    limit: LimitOption = None,
    form: FormatOption = None,
) -> None:
    """Write dead letters to a file, newest first; one that is there is not replaced."""
    write_export(remote, _found(remote, filters.query(), limit), file, form, DEAD_COLUMNS)


def _ended(named: Sequence[str], done: int) -> int:
    """Return the exit code.

    Raises:
        Failed: Some of those named are not there.
    """
    if done < len(set(named)):
        said = f"{len(set(named)) - done} of {len(set(named))} dead letters are not there"
        raise Failed(said, PARTLY if done else REFUSED)
    return DONE


def _found(remote: Remote, query: Query, limit: int | None) -> Iterator[Any]:
    return remote.pages("/v2/dlq", query, "messages", limit, PAGE)


def _batches(
    remote: Remote, method: str, where: str, query: Query, limit: int | None, headers: Mapping[str, str] | None = None
) -> Iterator[tuple[Any, int]]:
    """Yield the answers of as many calls as it takes, each with how many dead letters it has changed.

    What becomes a dead letter meanwhile is not touched. A call may end before it has changed as many as it may.
    """
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        count = BATCH if left is None else min(left, BATCH)
        here: Query = [*query, ("count", count), *([("cursor", cursor)] if cursor else [])]
        answer = remote.call(method, where, here, headers=headers, patient=True)
        done = len(answer["responses"]) if "responses" in answer else int(answer["deleted"])
        yield answer, done
        cursor = answer.get("cursor")
        if not cursor:
            return
        left = None if left is None else left - done
