"""``lateron tail``: follow the log by asking again whenever something has happened.

The log is listed newest first. Each round asks for everything since a little before the newest event seen, and
prints what was not printed yet, oldest first. The overlap is there because an event's time is taken a moment
before its transaction is on disk: an event may appear behind one that is younger.

When to ask, a server of ours says by its stream; it is asked for no events there, because of many it shows only some.
Any other server is asked twice a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lateron.cli.client import Client
from lateron.cli.remote import Remote
from lateron.cli.selecting import EventFilters
from lateron.cli.terminal import echo, echo_line, instant
from lateron.core.values import SECOND, Millis
from lateron.runtime import SystemClock
from lateron.telemetry import plain

Event = dict[str, Any]
OVERLAP: Final[Millis] = 5 * SECOND
PAUSE_S: Final = 0.5
STREAM: Final = "/lateron/v1/stream?topics=log"


def follow_log(remote: Remote, filters: EventFilters, *, forever: bool) -> None:
    """Print events from ``--since`` on; of those there are, all without it, and none when following ``forever``."""
    query = filters.query()
    since = next((int(value) for name, value in query if name == "fromDate"), None)
    others = [pair for pair in query if pair[0] != "fromDate"]
    start = since if since is not None else SystemClock().wall() if forever else 0

    def fetch(here: Mapping[str, str | int]) -> Any:  # noqa: ANN401 - A page of JSON.
        return remote.call("GET", "/v2/events", [*others, *here.items()])

    bell = Bell(remote.client) if forever else None
    try:
        for event in events_since(fetch, start, None if bell is None else bell.wait):
            print_event(remote, event)
    finally:
        if bell is not None:
            bell.close()


class Bell:
    """Rings when something has happened; where nobody rings it, every half second."""

    def __init__(self, client: Client, stream: str = STREAM) -> None:
        self._lines = client.listen(stream)

    def wait(self) -> None:
        """Return when it is time to ask again."""
        for line in self._lines or ():
            if line.startswith(b"event: changed"):
                return
        self.close()  # There is none, or it has ended.
        time.sleep(PAUSE_S)

    def close(self) -> None:
        """Listen no more."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def print_event(remote: Remote, event: Mapping[str, Any]) -> None:
    """Print one event."""
    if remote.as_json:
        echo_line(event)
    else:
        echo(line(event, utc=remote.utc))


def events_since(
    fetch: Callable[[Mapping[str, str | int]], Any], start: Millis, pause: Callable[[], None] | None
) -> Iterator[Event]:
    """Yield events from ``start`` on, each once, oldest first in each round.

    Args:
        fetch: Gets a page of the log, newest first: ``{"events": [...], "cursor": ...}``.
        start: Where to begin.
        pause: Waits between two rounds; None: there is only one round.
    """
    seen: set[tuple[object, ...]] = set()
    while True:
        found = list(_pages(fetch, start))
        found.reverse()
        yield from (event for event in found if _key(event) not in seen)
        if pause is None:
            return
        if found:
            start = max(start, max(event["time"] for event in found) - OVERLAP)
        seen = {_key(event) for event in found if event["time"] >= start}
        pause()


def line(event: Mapping[str, Any], *, utc: bool = False) -> str:
    """Return an event as one line for people."""
    words = [
        instant(event["time"], utc=utc),
        f"{event['state']:<16}",
        event["messageId"],
        plain(str(event.get("url", "-"))),
    ]
    if event.get("responseStatus"):
        words.append(str(event["responseStatus"]))
    if event.get("nextDeliveryTime"):
        words.append(f"next {instant(event['nextDeliveryTime'], utc=utc)}")
    if event.get("error"):
        words.append(plain(str(event["error"])))
    return "  ".join(words)


def _pages(fetch: Callable[[Mapping[str, str | int]], Any], start: Millis) -> Iterator[Event]:
    cursor = None
    while True:
        page = fetch({"fromDate": start} | ({"cursor": cursor} if cursor else {}))
        yield from page["events"]
        cursor = page.get("cursor")
        if not cursor:
            return


def _key(event: Event) -> tuple[object, ...]:
    return event["time"], event["messageId"], event["state"], event.get("nextDeliveryTime")
