"""``lateron queues``: what waits in order, and how many at once may go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from lateron.cli.commands import command, whole
from lateron.cli.remote import Item, Remote, path
from lateron.cli.selecting import confirmed

queues_app = typer.Typer(help="Queues: messages in order, each after the one before.", no_args_is_help=True)

QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")]


@command(queues_app, "lateron queues list", "lateron queues list --json", name="list")
def list_queues(remote: Remote) -> None:
    """Print all queues with what waits in them."""
    remote.listed(remote.call("GET", path("v2", "queues")), ("queue", "parallelism", "lag", "state"), _row)


@command(queues_app, "lateron queues get mail")
def get(remote: Remote, queue: QueueArgument) -> None:
    """Print a queue."""
    remote.record(remote.call("GET", path("v2", "queues", queue)))


@command(queues_app, "lateron queues set mail --parallelism 3", name="set")
def set_queue(
    remote: Remote,
    queue: QueueArgument,
    parallelism: Annotated[int, whole("--parallelism", said="How many of its messages may be under way.")],
) -> None:
    """Make a queue, or change how many of its messages may be under way; paused or not, it stays so."""
    body = json.dumps({"queueName": queue, "parallelism": parallelism}).encode()
    answer = remote.call("POST", path("v2", "queues"), body=body, headers={"Content-Type": "application/json"})
    remote.done(answer, f"{queue} has parallelism {parallelism}")


@command(queues_app, "lateron queues pause mail")
def pause(remote: Remote, queue: QueueArgument) -> None:
    """Let no message of a queue start any more."""
    remote.done(remote.call("POST", path("v2", "queues", queue, "pause")), f"paused {queue}")


@command(queues_app, "lateron queues resume mail")
def resume(remote: Remote, queue: QueueArgument) -> None:
    """Let a queue go on where it was paused."""
    remote.done(remote.call("POST", path("v2", "queues", queue, "resume")), f"resumed {queue}")


@command(queues_app, "lateron queues delete mail --yes")
def delete(
    remote: Remote,
    queue: QueueArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a queue and cancel its messages; if there are any, you are asked first."""
    where = path("v2", "queues", queue)
    if not yes and (waiting := remote.call("GET", where)["lag"]):
        confirmed(f"{waiting} message{'' if waiting == 1 else 's'} of {queue} would be cancelled. Delete it?")
    remote.done(remote.call("DELETE", where, patient=True), f"deleted {queue}")


def _row(queue: Item) -> Sequence[str]:
    state = "paused" if queue["paused"] else "running"
    return queue["name"], str(queue["parallelism"]), str(queue["lag"]), state
