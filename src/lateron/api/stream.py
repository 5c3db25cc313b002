"""What happens, as it happens: ``GET /lateron/v1/stream``, server-sent events.

A stream looks at its tenant's board a few times a second. Nothing is rendered for a topic that nobody asked for, and
of messages at most twenty lines a second: a reader cannot take in more, and must not slow down what he watches. What
was left out is said (``sampled``); the whole truth is in the lists. A client that reads nothing for a while is
cut off by the protocol below, as any other is.

The id of each event is where the reader stands. With ``Last-Event-ID`` he goes on from there if the tape still
has it; else he is told that everything may have changed, and reads his lists anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from lateron.api.call import Answer, Call, Live, Send, encode
from lateron.api.overview import counters, oldest_due
from lateron.api.ports import Ports
from lateron.broker.history import History
from lateron.core import filters
from lateron.core.board import TOPICS, WATCHED, Board
from lateron.core.render import event_object
from lateron.core.values import SECOND, Event, Millis
from lateron.errors import InvalidValue, Overloaded, Unauthorized

ROWS: Final = 20  # A second.
LOOK_S: Final = 0.1
QUIET: Final[Millis] = 15 * SECOND
STREAMS: Final = 200  # Open at once.
OF_ONE: Final = 50  # The same of one token, user of the console or guest, so that he leaves room for others.
LONGEST: Final = 86_400  # Seconds that may be asked for.
_USUAL: Final = "counters,messages"
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-type", b"text/event-stream"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-accel-buffering", b"no"),  # A proxy that collects would hold everything back.
    (b"x-content-type-options", b"nosniff"),
)


async def stream(ports: Ports, call: Call) -> Answer:
    """Begin to tell what happens."""
    pairs = dict(filters.parse_query(call.query))
    topics = [topic for topic in pairs.pop("topics", _USUAL).split(",") if topic]
    for topic in topics or [""]:
        if topic not in TOPICS:
            raise InvalidValue("topics", topic, f"some of {', '.join(TOPICS)}, separated by commas")
    most = None
    if "seconds" in pairs:
        seconds = pairs.pop("seconds")
        most = _number(seconds) * SECOND
        if not 0 < most <= LONGEST * SECOND:
            raise InvalidValue("seconds", seconds, f"a number from 1 to {LONGEST}")
    if pairs:
        raise InvalidValue(next(iter(pairs))[:100], next(iter(pairs.values())), "only topics and seconds")
    streams = ports.streams
    if streams.open.total() >= STREAMS or streams.open[call.who] >= OF_ONE or streams.closing.is_set():
        raise Overloaded("too many streams are open")
    last = next((value for name, value in call.headers if name == b"last-event-id"), b"").decode("latin-1")
    teller = Teller(ports, call, frozenset(topics), last, most)
    return Live(200, b"", tell=teller.tell)


class Teller:
    """One stream."""

    def __init__(self, ports: Ports, call: Call, topics: frozenset[str], last: str, most: Millis | None) -> None:
        self._ports = ports
        self._call = call
        self._topics = topics
        self._until = None if most is None else ports.clock.wall() + most
        self._board: Board = ports.boards.of(call.who.tenant)
        self._run, _, place = last.partition(".")
        number = _number(place)
        self._resumed = self._run == ports.boards.run and number >= 0
        self._anew = bool(last) and not self._resumed
        self._place = number if self._resumed else self._board.number
        self._seen = {topic: self._board.version(topic) for topic in topics}
        self._second: Millis = -1
        self._rows = 0
        self._skipped = 0
        self._spoke = ports.clock.wall()

    async def tell(self, call: Call, send: Send) -> None:
        """Write until the client goes, the server stops, or who is watching may no longer."""
        streams = self._ports.streams
        headers = [*_HEADERS, (b"x-request-id", call.id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if call.method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.ensure_future(call.gone())
        closing = asyncio.ensure_future(streams.closing.wait())
        streams.open[call.who] += 1
        try:
            await send({"type": "http.response.body", "body": b": lateron\n\n", "more_body": True})
            while not gone.done() and not closing.done() and not self._is_over():
                pieces = [piece async for piece in self._news()]
                if pieces:
                    await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
                await asyncio.wait((gone, closing), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            streams.leave(call.who)
            for task in (gone, closing):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _is_over(self) -> bool:
        if self._until is not None and self._ports.clock.wall() >= self._until:
            return True
        try:
            return self._call.again is not None and not self._call.again()
        except Unauthorized:
            return True

    async def _news(self) -> AsyncIterator[bytes]:
        """Yield what is new since the last look."""
        now, board = self._ports.clock.wall(), self._board
        new_second = now // SECOND != self._second
        if "messages" in self._topics:
            board.watched_until = now + WATCHED
            if new_second:
                self._rows = 0
            async for piece in self._messages():
                yield piece
        if new_second or "log" in self._topics:
            for topic in sorted(self._changed(every=new_second)):
                yield self._event("changed", {"topic": topic})
        if new_second:
            self._second = now // SECOND
            if self._skipped:
                yield self._event("sampled", {"skipped": self._skipped})
                self._skipped = 0
            if "counters" in self._topics:
                read = partial(oldest_due, self._call.who.tenant, now)
                yield self._event("counters", counters(board, now, await self._ports.writer.read(read)))
        if now - self._spoke >= QUIET:
            self._spoke = now
            yield b": still here\n\n"

    async def _messages(self) -> AsyncIterator[bytes]:
        events, missed = self._board.after(self._place)
        if not events and not missed:
            return
        shown = events[: ROWS - self._rows]
        self._rows += len(shown)
        self._skipped += missed + len(events) - len(shown)
        first = self._place + missed
        rendered = await self._ports.writer.read(partial(_rendered, shown)) if shown else []
        self._place = first + len(events)
        for place, line in rendered:
            yield self._event("message", line, first + place + 1)

    def _changed(self, *, every: bool) -> set[str]:
        """Return the topics of which something has changed; the log's at each look, others once a second."""
        if self._anew:
            self._anew = False
            return set(self._topics - {"counters"})
        looked = self._topics - {"counters", "messages"} if every else self._topics & {"log"}
        found = {topic for topic in looked if self._board.version(topic) != self._seen[topic]}
        for topic in found:
            self._seen[topic] = self._board.version(topic)
        return found

    def _event(self, name: str, content: Any, place: int | None = None) -> bytes:  # noqa: ANN401 - Any JSON.
        self._spoke = self._ports.clock.wall()
        where = f"{self._ports.boards.run}.{self._place if place is None else place}".encode()
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (where, name.encode(), encode(content))


def _rendered(events: Sequence[Event], history: History) -> list[tuple[int, dict[str, Any]]]:
    """Return lines of the log as the list shows them, each with its place; without those that are gone already."""
    places = {event: place for place, event in enumerate(events)}
    return [
        (places[view.event], event_object(view.event, view.message, view.request, view.attempt))
        for view in history.lines(events)
    ]


def _number(text: str) -> int:
    """Return a number, -1 if it is none; a longer one than any of ours is none, and costs nothing."""
    return int(text) if len(text) <= 15 and text.isascii() and text.isdigit() else -1
