"""The official Python SDK, blocking and asynchronous, behind one face.

Both clients have the same calls, so each test runs with both. The asynchronous one is driven call by call
on an event loop of its own; its HTTP connections stay open in between, as in a program.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from qstash import AsyncQStash, QStash
from qstash.message import PublishResponse
from tests.support.poll import until

Style = Literal["sync", "async"]
STYLES: tuple[Style, ...] = ("sync", "async")


class _Blocking:
    """Anything with coroutine methods, as if they were plain ones."""

    def __init__(self, target: object, runner: asyncio.Runner) -> None:
        self._target, self._runner = target, runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.iscoroutinefunction(value):
            return lambda *args, **options: self._runner.run(value(*args, **options))
        return value if callable(value) else _Blocking(value, self._runner)


@contextmanager
def connect(style: Style, url: str, token: str) -> Iterator[QStash]:
    """Give a client of the SDK; it does not retry by itself, so that each call is seen as it is."""
    if style == "sync":
        client = QStash(token, retry=False, base_url=url)
        yield client
        client.http._client.close()
        return
    with asyncio.Runner() as runner:
        theirs = AsyncQStash(token, retry=False, base_url=url)
        yield cast("QStash", _Blocking(theirs, runner))
        runner.run(theirs.http._client.aclose())


def publish(client: QStash, **options: Any) -> str:
    """Publish to one destination and return the message's id."""
    response = client.message.publish(**options)
    assert isinstance(response, PublishResponse)
    assert response.message_id.startswith("msg_")
    return response.message_id


def states(client: QStash, message_id: str) -> list[str]:
    """Return what the log says of a message so far, oldest first."""
    logs = client.log.list(filter={"message_id": message_id}).logs
    assert [log.time for log in logs] == sorted((log.time for log in logs), reverse=True), "newest first"
    return [log.state.value for log in reversed(logs)]


def story(client: QStash, message_id: str) -> list[str]:
    """Return what the log says of a message once it has come to rest, oldest first."""
    final = {"DELIVERED", "FAILED", "CANCELED"}

    def ended() -> list[str] | None:
        seen = states(client, message_id)
        return seen if final & set(seen) else None

    return until(ended, f"{message_id} to come to rest")
