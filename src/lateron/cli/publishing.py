"""``lateron publish``, ``enqueue`` and ``batch``: send something off, and print the ids that came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from lateron.cli.commands import command
from lateron.cli.exits import DONE, PARTLY, REFUSED, USAGE, Failed
from lateron.cli.outgoing import Once, Published, read_input
from lateron.cli.queues import QueueArgument
from lateron.cli.remote import Item, Remote, path

publishing_app = typer.Typer()

DestinationArgument = Annotated[
    str, typer.Argument(metavar="URL", help="Where the message is sent: a URL, or the name of a URL group.")
]


@command(
    publishing_app,
    "lateron publish https://example.com/hook -d '{\"order\": 17}' --delay 10s",
    "lateron publish https://example.com/pay -d @order.json --retries 5",
    "lateron publish https://example.com/ai --flow-key ai --rate 10 --period 1m",
)
def publish(remote: Remote, message: Published, destination: DestinationArgument) -> None:
    """Publish a message and print its id."""
    _send(remote, f"/v2/publish/{destination}", message)


@command(
    publishing_app,
    "lateron enqueue mail https://example.com/send -d 'Dear Ann'",
    "lateron enqueue mail https://example.com/send -d @order.json --dedup 17",
)
def enqueue(remote: Remote, message: Once, queue: QueueArgument, destination: DestinationArgument) -> None:
    """Put a message at the end of a queue and print its id; the first one makes the queue."""
    _send(remote, f"{path('v2', 'enqueue', queue)}/{destination}", message)


@command(publishing_app, "lateron batch orders.jsonl", "lateron batch orders.json --json")
def batch(
    remote: Remote,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON array, or JSON lines; - is standard input.")],
) -> int:
    """Send many messages at once: URLs, URL groups and queues as they come.

    Each item is {"destination", "headers", "body", "queue", "callback", "failureCallback"}, as in the API. A line
    is printed for each message, or for each item that was refused; numbers count from 0. The exit code is 7 if
    some items were refused, 1 if all were.
    """
    items = read_batch(read_input("FILE", file))
    answers = remote.call("POST", "/v2/batch", body=items, headers={"Content-Type": "application/json"})
    if remote.as_json:
        remote.done(answers, None)
    else:
        remote.listed([row for number, answer in enumerate(answers) for row in _outcomes(number, answer)], _HEAD, _row)
    refused = sum(isinstance(answer, dict) and "error" in answer for answer in answers)
    if not refused:
        return DONE
    return PARTLY if refused < len(answers) else REFUSED


def read_batch(content: bytes) -> bytes:
    """Return a batch as the JSON array that is sent; of an array nothing is changed, nor of any item.

    Raises:
        Failed: It is neither an array nor JSON lines; the line that is wrong is named.
    """
    if b"".join(content.split()) == b"[]":
        content = b""  # As a file without lines.
    if content.lstrip()[:1] == b"[":
        return content
    items = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        if not isinstance(item, dict):
            said = line[:40].decode("utf-8", "replace")
            raise Failed(f"FILE: line {number}: expected a JSON object, got {said!r}", USAGE)
        items.append(line.strip())
    if not items:
        raise Failed("FILE: expected at least one message, got none", USAGE)
    return b"[" + b",".join(items) + b"]"


_HEAD = ("message", "item", "outcome")


def _outcomes(number: int, answer: Any) -> Iterator[Item]:  # noqa: ANN401 - An object, or for a group an array.
    if isinstance(answer, list):
        yield from ({"item": number, **one} for one in answer)
    else:
        yield {"item": number, **answer}


def _row(outcome: Item) -> Sequence[str]:
    if "error" in outcome:
        said = f"refused ({outcome['status']}): {outcome['error']}" if "status" in outcome else str(outcome["error"])
    else:
        said = "duplicate" if outcome.get("deduplicated") else "accepted"
    return outcome.get("messageId", "-"), str(outcome["item"]), said


def _send(remote: Remote, where: str, message: Published | Once) -> None:
    answer = remote.call("POST", where, body=message.content(), headers=message.headers())
    if remote.as_json:
        remote.done(answer, None)
        return
    for one in answer if isinstance(answer, list) else [answer]:
        note = " (a duplicate; nothing new was stored)" if one.get("deduplicated") else ""
        remote.done(one, f"{one.get('messageId', '-')}{note}")
