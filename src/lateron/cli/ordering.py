"""Asking for a bulk job: what it would do first, then the job, then perhaps its progress to the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import typer

from lateron.cli.exits import DONE, PARTLY
from lateron.cli.remote import Item, Query, Remote, path
from lateron.cli.selecting import Bulk, confirmed
from lateron.telemetry import plain

Job: TypeAlias = Mapping[str, Any]
STREAM = "/lateron/v1/stream?topics=jobs"

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show the progress, and end with the job.")]
RateOption = Annotated[float | None, typer.Option("--rate", metavar="NUMBER", help="At most so many a second.")]
SpreadOption = Annotated[str | None, typer.Option("--spread", help="Spread them evenly over so long, e.g. 10m.")]


def order(
    remote: Remote,
    asked: Mapping[str, Any],
    bulk: Bulk,
    what: str,
    verb: str,
    *,
    follow: bool,
    limit: int | None = None,
) -> int:
    """Ask for a job, after the user was told what it would change; return the exit code.

    Args:
        remote: The server.
        asked: The body of the request.
        bulk: What the user said beforehand.
        what: Whose plural they are, as in "dead letter".
        verb: What would be done to them.
        follow: Stay until the job has ended.
        limit: At most so many.
    """
    wanted = {name: value for name, value in {**asked, "limit": limit}.items() if value is not None}
    if bulk.dry_run or not bulk.yes:
        told = _post(remote, {**wanted, "dryRun": True})
        lines = [f"{told['count']} {what}{'' if told['count'] == 1 else 's'} to {verb}"]
        lines += [f"  {one.get('dlqId', one['messageId'])}  {one['url']}" for one in told["examples"]]
        text = "\n".join(map(plain, lines))
        if bulk.dry_run:
            remote.done(told, text)
            return DONE
        print(text, file=sys.stderr)  # noqa: T201 - Standard output is for results.
        if not told["count"] or not confirmed(f"{verb.capitalize()}?"):
            return DONE
    job: Job = _post(remote, wanted)
    if follow:
        return ended(follow_job(remote, job))
    remote.done(job, job["jobId"])
    return DONE


def filter_of(query: Query) -> dict[str, list[str]]:
    """Return filters as a job has them."""
    found: dict[str, list[str]] = {}
    for name, value in query:
        found.setdefault(name, []).append(str(value))
    return found


def _post(remote: Remote, asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
    body = json.dumps(asked).encode("utf-8", "surrogateescape")
    return remote.call(
        "POST", "/lateron/v1/jobs", body=body, headers={"Content-Type": "application/json"}, patient=True
    )


def follow_job(remote: Remote, job: Job) -> Job:
    """Show how far a job is until it has ended: a bar on a terminal, else a line for each change."""
    from lateron.cli.tailing import Bell
    from lateron.cli.terminal import echo, echo_line, is_rich

    bell = Bell(remote.client, STREAM)
    try:
        if is_rich() and not remote.as_json:
            return _with_bar(remote, job, bell.wait)
        said = None
        while True:
            if said != in_words(job):
                said = in_words(job)
                echo_line(job) if remote.as_json else echo(said)
            if job["state"] != "running":
                return job
            bell.wait()
            job = _again(remote, job)
    finally:
        bell.close()


def _with_bar(remote: Remote, job: Job, wait: Callable[[], None]) -> Job:
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(TextColumn("{task.fields[words]}"), BarColumn()) as progress:
        task = progress.add_task("", total=job.get("total"), words=in_words(job))
        while True:
            progress.update(task, completed=job["done"], words=in_words(job))
            if job["state"] != "running":
                return job
            wait()
            job = _again(remote, job)


def _again(remote: Remote, job: Job) -> Job:
    found: Job = remote.call("GET", path("lateron", "v1", "jobs", job["jobId"]))
    return found


def ended(job: Job) -> int:
    """Return the exit code of who has waited for a job."""
    return DONE if job["state"] == "done" and not job["failed"] else PARTLY


def in_words(job: Item) -> str:
    """Say how far a job is."""
    of = f" of {job['total']}" if "total" in job else ""
    failed = f", {job['failed']} failed" if job["failed"] else ""
    return f"{job['state']}: {job['done']}{of}{failed}"


def ids_or_filter(ids: Sequence[str], name: str, query: Query) -> dict[str, list[str]]:
    """Return the filter of a job for those named, or else for those that the filters leave."""
    return {name: list(ids)} if ids else filter_of(query)
