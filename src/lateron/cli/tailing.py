"""``lateron tail``: follow the log by asking again whenever something has happened.

The log is listed newest first. Each round asks for everything since a little before the newest event seen, and
prints what was not printed yet, oldest first. The overlap is there because an event's time is taken a moment
before its transaction is on disk: an event may appear behind one that is younger.

A server that goes away is asked again until it is back, and nothing is missed: the next round begins where the last
one ended.

When to ask, a server of ours says by its stream; it is asked for no events there, because of many it shows only some.
Any other server is asked twice a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lateron.cli.client import Client
from lateron.cli.exits import UNREACHABLE, Failed
from lateron.cli.remote import Remote
from lateron.cli.selecting import EventFilters
from lateron.cli.terminal import echo, echo_line, instant, is_rich
from lateron.core.values import SECOND, Millis
from lateron.runtime import SystemClock
from lateron.telemetry import plain

Event = dict[str, Any]
Fetch = Callable[[Mapping[str, str | int]], Any]
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

    if not forever:
        for event in events_since(fetch, start, None):
            print_event(remote, event)
        return
    bell = Bell(remote.client)
    try:
        for event in events_since(patient(fetch, bell), start, bell.wait):
            print_event(remote, event)
    finally:
        bell.close()


def patient(fetch: Fetch, bell: Bell) -> Fetch:
    """Return what gets pages as ``fetch`` does, and waits for a server that has answered once and is away."""
    known = False

    def ask(here: Mapping[str, str | int]) -> Any:  # noqa: ANN401 - A page of JSON.
        nonlocal known
        is_away = False
        while True:
            try:
                page = fetch(here)
            except Failed as error:
                if not known or error.code != UNREACHABLE:
                    raise
                if not is_away:
                    _tell(f"{error}; asking again until it is back")
                is_away = True
                bell.close()
                time.sleep(PAUSE_S)
                continue
            if is_away:
                _tell("the server is back")
                bell.listen()
            known = True
            return page

    return ask


def _tell(line: str) -> None:
    print(f"lateron: {line}", file=sys.stderr, flush=True)  # noqa: T201 - Standard output is for events.


class Bell:
    """Rings when something has happened; where nobody rings it, every half second."""

    def __init__(self, client: Client, stream: str = STREAM) -> None:
        self._client, self._stream = client, stream
        self.listen()

    def listen(self) -> None:
        """Listen, or listen again."""
        self._lines = self._client.listen(self._stream)

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


def events_since(fetch: Fetch, start: Millis, pause: Callable[[], None] | None) -> Iterator[Event]:
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
    """Return an event as one line: for people in words, elsewhere as columns."""
    due = event.get("nextDeliveryTime")
    if not is_rich():
        shown = (event.get("url"), event.get("responseStatus"), due and instant(due, utc=utc), event.get("error"))
        columns = (plain(str(value)) if value else "-" for value in shown)
        return "\t".join((instant(event["time"], utc=utc), event["state"], event["messageId"], *columns))
    words = [
        instant(event["time"], utc=utc),
        f"{event['state']:<16}",
        event["messageId"],
        plain(str(event.get("url", "-"))),
    ]
    if event.get("responseStatus"):
        words.append(str(event["responseStatus"]))
    if due:
        words.append(f"next {instant(due, utc=utc)}")
    if event.get("error"):
        words.append(plain(str(event["error"])))
    return "  ".join(words)


def _pages(fetch: Fetch, start: Millis) -> Iterator[Event]:
    cursor = None
    while True:
        page = fetch({"fromDate": start} | ({"cursor": cursor} if cursor else {}))
        yield from page["events"]
        cursor = page.get("cursor")
        if not cursor:
            return


def _key(event: Event) -> tuple[object, ...]:
    return event["time"], event["messageId"], event["state"], event.get("nextDeliveryTime")
