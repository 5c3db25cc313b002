"""The options of a message: flags become the headers that an SDK would send.

No value is judged here. What it must be, the server knows, and says by the name of the header; so an old
command line works with a new server, and with QStash. The name of an ``--option`` is: a server ignores a header that
it does not know, and a mistyped one would be lost without a word.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

import typer

from lateron.cli.commands import Bundle, whole
from lateron.cli.exits import USAGE, Failed

_LIMITS: Final = "Limits and order"
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # Source: RFC 9110, section 5.6.2.


@dataclass(frozen=True, kw_only=True)
class Attempts(Bundle):
    """How a message is attempted; all that a retry of a dead letter may change."""

    method: Annotated[str | None, typer.Option("--method", "-X", help="Method of the delivery.")] = None
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value' to forward; repeat for more.")
    ] = None
    option: Annotated[
        list[str] | None, typer.Option("--option", help="'Name: value' of an Upstash-Name header; repeat for more.")
    ] = None
    delay: Annotated[str | None, typer.Option("--delay", help="Wait first, e.g. 10s or 1h30m.")] = None
    retries: Annotated[int | None, whole("--retries", said="Attempts after the first one.")] = None
    retry_delay: Annotated[
        str | None, typer.Option("--retry-delay", help="Wait before retries in ms, e.g. '1000 * pow(2, retried)'.")
    ] = None
    retry_delays: Annotated[
        str | None, typer.Option("--retry-delays", help="The waits one by one, e.g. 10s,1m,1h.")
    ] = None
    timeout: Annotated[str | None, typer.Option("--timeout", help="Time for an attempt, e.g. 30s.")] = None
    callback: Annotated[str | None, typer.Option("--callback", help="URL to call back with each answer.")] = None
    failure_callback: Annotated[
        str | None, typer.Option("--failure-callback", help="URL to call when all attempts failed.")
    ] = None

    def headers(self) -> dict[str, str]:
        """Return the headers of the request.

        Raises:
            Failed: A 'Name: value' is none.
        """
        result = {name: value for name, value in self.named() if value is not None}
        for line in self.header or ():
            name, value = _split("--header", line)
            result[f"Upstash-Forward-{name}"] = value
        return result | options(self.option or ())

    def named(self) -> Iterator[tuple[str, str | None]]:
        """Yield name and value of each header that has a flag of its own; None was not given."""
        yield "Upstash-Method", self.method
        yield "Upstash-Delay", self.delay
        yield "Upstash-Retries", None if self.retries is None else str(self.retries)
        yield "Upstash-Retry-Delay", self.retry_delay
        yield "Lateron-Retry-Delays", self.retry_delays
        yield "Upstash-Timeout", self.timeout
        yield "Upstash-Callback", self.callback
        yield "Upstash-Failure-Callback", self.failure_callback


@dataclass(frozen=True, kw_only=True)
class Outgoing(Attempts):
    """A message with its body; what a queue and a schedule take."""

    body: Annotated[
        str | None, typer.Option("--body", "-d", help="The body; @FILE reads a file, @- standard input.")
    ] = None
    content_type: Annotated[str | None, typer.Option("--type", help="Content type of the body.")] = None
    label: Annotated[list[str] | None, typer.Option("--label", help="Label; repeat for more.")] = None
    redact: Annotated[
        str | None, typer.Option("--redact", help="What is never shown, e.g. 'body, header[Authorization]'.")
    ] = None
    flow_key: Annotated[str | None, typer.Option("--flow-key", help="Flow-control key.", rich_help_panel=_LIMITS)] = (
        None
    )
    parallelism: Annotated[
        int | None, whole("--parallelism", said="Most deliveries of the key at once.", panel=_LIMITS)
    ] = None
    rate: Annotated[int | None, whole("--rate", said="Most starts of the key in a period.", panel=_LIMITS)] = None
    period: Annotated[str | None, typer.Option("--period", help="Of the rate, e.g. 1m.", rich_help_panel=_LIMITS)] = (
        None
    )
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Spread the starts of the key evenly.", rich_help_panel=_LIMITS)
    ] = False

    def named(self) -> Iterator[tuple[str, str | None]]:  # noqa: D102
        yield from super().named()
        yield "Upstash-Label", ",".join(self.label) if self.label else None
        yield "Upstash-Redact-Fields", self.redact
        yield "Upstash-Flow-Control-Key", self.flow_key
        limits = {"parallelism": self.parallelism, "rate": self.rate, "period": self.period}
        given = [f"{name}={value}" for name, value in limits.items() if value is not None]
        yield "Upstash-Flow-Control-Value", ", ".join(given) or None
        yield "Lateron-Flow-Smooth", "true" if self.smooth else None
        yield "Content-Type", self._content_type()

    def content(self) -> bytes | None:
        """Return the bytes that ``--body`` names: itself, a file, or standard input.

        Raises:
            Failed: The file cannot be read.
        """
        if self.body is None or not self.body.startswith("@"):
            return None if self.body is None else self.body.encode("utf-8", "surrogateescape")
        return read_input("--body", "-" if self.body == "@-" else self.body[1:])

    def _content_type(self) -> str | None:
        """Return the type: as given, else JSON if the body begins or its file is named like it, else text."""
        if self.content_type is not None or self.body is None:
            return self.content_type
        looks_json = self.body.lstrip()[:1] in ("{", "[") or self.body.endswith(".json")
        return "application/json" if looks_json else "text/plain; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Once(Outgoing):
    """A message that is sent once; an enqueued one."""

    not_before: Annotated[str | None, typer.Option("--not-before", help="Not before this time, in unix seconds.")] = (
        None
    )
    dedup: Annotated[str | None, typer.Option("--dedup", help="Deduplication id.")] = None
    content_dedup: Annotated[bool, typer.Option("--content-dedup", help="Deduplicate by the content.")] = False

    def named(self) -> Iterator[tuple[str, str | None]]:  # noqa: D102
        yield from super().named()
        yield "Upstash-Not-Before", self.not_before
        yield "Upstash-Deduplication-Id", self.dedup
        yield "Upstash-Content-Based-Deduplication", "true" if self.content_dedup else None


@dataclass(frozen=True, kw_only=True)
class Published(Once):
    """A message that is published; it may have an order of its own, as an enqueued one has its queue's."""

    order_key: Annotated[
        str | None,
        typer.Option("--order-key", help="Messages with this key are sent in order.", rich_help_panel=_LIMITS),
    ] = None

    def named(self) -> Iterator[tuple[str, str | None]]:  # noqa: D102
        yield from super().named()
        yield "Lateron-Order-Key", self.order_key


@dataclass(frozen=True, kw_only=True)
class Scheduled(Outgoing):
    """The message of each tick, and how a schedule ticks."""

    id: Annotated[str | None, typer.Option("--id", help="Name of the schedule; one that is there is replaced.")] = None
    queue: Annotated[str | None, typer.Option("--queue", help="Let its messages stand in this queue.")] = None
    missed: Annotated[
        str | None, typer.Option("--missed", help="Ticks missed while the server was down: skip, latest or all.")
    ] = None
    overlap: Annotated[
        str | None, typer.Option("--overlap", help="While the last message is under way: allow or skip.")
    ] = None
    start: Annotated[
        str | None, typer.Option("--start", help="No tick before: unix seconds, or a date and time with its offset.")
    ] = None
    end: Annotated[str | None, typer.Option("--end", help="No tick after; as --start.")] = None
    runs: Annotated[int | None, whole("--runs", said="End after so many ticks.")] = None
    jitter: Annotated[
        str | None, typer.Option("--jitter", help="Let each message be late by chance, at most so much.")
    ] = None

    def named(self) -> Iterator[tuple[str, str | None]]:  # noqa: D102
        yield from super().named()
        yield "Upstash-Schedule-Id", self.id
        yield "Upstash-Queue-Name", self.queue
        yield "Lateron-Missed", self.missed
        yield "Lateron-Overlap", self.overlap
        yield "Lateron-Start", self.start
        yield "Lateron-End", self.end
        yield "Lateron-Most-Runs", None if self.runs is None else str(self.runs)
        yield "Lateron-Jitter", self.jitter


def options(lines: Iterable[str]) -> dict[str, str]:
    """Return the headers that ``--option`` lines name, with or without ``Upstash-``.

    Raises:
        Failed: One of them is no 'Name: value', or no option.
    """
    from lateron.core.options import NAMES, is_option

    result = {}
    for line in lines:
        name, value = _split("--option", line)
        if not is_option(name.lower().removeprefix("upstash-")):
            near = get_close_matches(name.lower().removeprefix("upstash-"), NAMES, n=1)
            hint = f"; did you mean {near[0].title()}?" if near else f"; known are {', '.join(sorted(NAMES)).title()}"
            raise Failed(f"--option: there is no option {name!r}{hint}", USAGE)
        result[name if name.lower().startswith(("upstash-", "lateron-")) else f"Upstash-{name}"] = value
    return result


def read_input(flag: str, name: str) -> bytes:
    """Return the bytes of a file; ``-`` is standard input.

    Raises:
        Failed: It cannot be read.
    """
    if not name:
        raise Failed(f"{flag}: expected the name of a file, or - for standard input, got ''", USAGE)
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Failed(f"{flag}: cannot read {name}: {error.strerror}", USAGE) from None


def _split(flag: str, line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise Failed(f"{flag}: expected 'Name: value', got {line!r}", USAGE)
    if not _NAME.fullmatch(name.strip()):
        raise Failed(f"{flag}: expected a name of ASCII letters, digits and hyphens, got {name.strip()!r}", USAGE)
    return name.strip(), value.strip(" \t\r\n")  # Spaces of other scripts are a part of it.
