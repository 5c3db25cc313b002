"""``lateron jobs`` and ``lateron erase``: changes of many at once, which go on when nobody looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lateron.cli.commands import command
from lateron.cli.exits import DONE, USAGE, Failed
from lateron.cli.ordering import FollowOption, Job, ended, follow_job, in_words, order
from lateron.cli.remote import Item, Remote, path
from lateron.cli.selecting import Bulk, LimitOption

jobs_app = typer.Typer(help="Bulk jobs: how far they are; stop them.", no_args_is_help=True)
erase_app = typer.Typer()

PAGE = 100  # Jobs on a page of the server.

JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, job_...")]


@command(jobs_app, "lateron jobs list", "lateron jobs list --limit 5 --json", name="list")
def list_jobs(remote: Remote, limit: LimitOption = None) -> None:
    """Print bulk jobs, newest first; those that ended stay as long as the history."""

    def row(job: Item) -> Sequence[str]:
        return job["jobId"], job["kind"], in_words(job), job["by"], remote.instant(job["createdAt"])

    found = remote.pages("/lateron/v1/jobs", [], "jobs", limit, PAGE)
    remote.listed(found, ("job", "kind", "state", "by", "since"), row)


@command(jobs_app, "lateron jobs show $job", "lateron jobs show $job --follow")
def show(remote: Remote, job: JobArgument, follow: FollowOption = False) -> int:
    """Print a job, or follow it to its end."""
    found: Job = remote.call("GET", path("lateron", "v1", "jobs", job))
    if follow:
        return ended(follow_job(remote, found))
    remote.record(found)
    return DONE


@command(jobs_app, "lateron jobs cancel $job")
def cancel(remote: Remote, job: JobArgument) -> None:
    """Let a job go no further; what it has done stays done."""
    answer: Job = remote.call("POST", path("lateron", "v1", "jobs", job, "cancel"))
    remote.done(answer, in_words(answer))


@command(erase_app, "lateron erase --label user:42 --dry-run", "lateron erase --label user:42 --yes --follow")
def erase(
    remote: Remote,
    bulk: Bulk,
    label: Annotated[list[str] | None, typer.Option("--label", help="Of these; repeat for more.")] = None,
    follow: FollowOption = False,
) -> int:
    """Delete all that is kept of messages with a label: bodies, attempts, log, dead letters, callbacks made of them.

    Those on their way are cancelled first. You are told how many there are, and asked. What backups hold stays there.
    """
    if not label or bulk.everything:
        raise Failed("expected --label, and not --all: an erase has no way back", USAGE)
    asked = {"kind": "erase", "filter": {"label": label}}
    return order(remote, asked, bulk, "message", "erase", follow=follow)
