"""``lateron tail``: follow the log by asking again and again.

The log is listed newest first. Each round asks for everything since a little before the newest event seen, and
prints what was not printed yet, oldest first. The overlap is there because an event's time is taken a moment
before its transaction is on disk: an event may appear behind one that is younger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lateron.cli.client import Client
from lateron.cli.exits import USAGE, Failed
from lateron.cli.terminal import echo, echo_json, instant
from lateron.core.durations import parse_duration
from lateron.core.values import SECOND, Millis
from lateron.runtime import SystemClock
from lateron.telemetry import plain

Event = dict[str, Any]
OVERLAP: Final[Millis] = 5 * SECOND
PAUSE_S: Final = 0.5


def tail(client: Client, filters: Mapping[str, str], since: str | None, *, follow: bool, as_json: bool) -> None:
    """Print events from ``since`` ago on; without ``follow``, only those that are there (all, without ``since``)."""
    try:
        ago = None if since is None else parse_duration(since)
    except ValueError:
        raise Failed(f"--since: expected a duration such as 10m, got {since!r}", USAGE) from None
    start = 0 if ago is None and not follow else SystemClock().wall() - (ago or 0)

    def fetch(query: Mapping[str, str | int]) -> Any:  # noqa: ANN401 - A page of JSON.
        return client.get("/v2/events", {**filters, **query})

    rounds = events_since(fetch, start, (lambda: time.sleep(PAUSE_S)) if follow else None)
    for event in rounds:
        if as_json:
            echo_json(event)
        else:
            echo(line(event))


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


def line(event: Mapping[str, Any]) -> str:
    """Return an event as one line for people."""
    words = [instant(event["time"]), f"{event['state']:<16}", event["messageId"], plain(str(event.get("url", "-")))]
    if event.get("responseStatus"):
        words.append(str(event["responseStatus"]))
    if event.get("nextDeliveryTime"):
        words.append(f"next {instant(event['nextDeliveryTime'])}")
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
