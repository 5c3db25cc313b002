"""OpenTelemetry: spans and figures to a collector, by the official SDK and its standard variables.

It is an extra (``pip install 'lateron[otel]'``) and is there only where a variable asks for it: without one nothing
here is imported, and what publishes and sends asks one question (``is None``) and goes on.

What is told is handed to the SDK, whose own threads send it: nothing here waits for a collector, and what it does not
take is dropped. Its trouble is told once a minute at most, and is never a reason not to deliver.

The SDK has its own way out, which is not ``egress``: the operator names the collector, no publisher can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Final

from lateron.runtime import Clock
from lateron.telemetry import Log
from lateron.tracing.choice import Choice, Unsupported, choice
from lateron.tracing.reading import Readings

if TYPE_CHECKING:
    from lateron.tracing.figures import Exporting
    from lateron.tracing.spans import Spans

log = Log("lateron.tracing")

_MISSING: Final = "OpenTelemetry is asked for and not installed"
_PARTING: Final = 5.0  # Seconds that the collector has for what is left when the server stops.


class Tracing:
    """What this server tells a collector, and the end of it.

    Args:
        spans: Of publishes and attempts; None if only figures are wanted.
        exporting: Sends figures; None if only spans are wanted.
    """

    def __init__(self, spans: Spans | None, exporting: Callable[[Readings], Exporting] | None) -> None:
        self.spans = spans
        self._exporting = exporting
        self._exported: Exporting | None = None

    def watch(self, read: Readings) -> None:
        """Send figures from now on, if they are wanted.

        Args:
            read: Returns all of them; called on a thread of the SDK.
        """
        if self._exporting is not None:
            self._exported = self._exporting(read)

    async def close(self) -> None:
        """Send what is left, if somebody takes it in a few seconds."""
        ends = [_ended(room.close) for room in (self.spans, self._exported) if room is not None]
        try:
            async with asyncio.timeout(_PARTING):
                for end in ends:
                    await end.wait()
        except TimeoutError:
            log.warning("the collector did not take the last of it in time", at_most_s=_PARTING)


def _ended(work: Callable[[], None]) -> asyncio.Event:
    """Begin work on a thread, and return what is set at its end; the end of the process does not wait for it."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(done.set)

    Thread(target=run, name="lateron-tracing", daemon=True).start()
    return done


def from_environment(environ: Mapping[str, str], clock: Clock) -> Tracing | None:
    """Return what the ``OTEL_`` variables ask for; None if that is nothing, or cannot be had: then a line says why."""
    try:
        wanted = choice(environ)
    except Unsupported as error:
        log.warning("OpenTelemetry stays off", reason=str(error))
        return None
    if wanted is None:
        return None
    try:
        return _begin(wanted, clock)
    except ImportError as error:
        log.warning(_MISSING, variable=wanted.asked_by, install="pip install 'lateron[otel]'", missing=error.name or "")
    except Exception as error:  # noqa: BLE001 # The SDK reads the variables; whatever it makes of them, we deliver.
        log.warning("OpenTelemetry stays off", reason=f"{type(error).__name__}: {error}")
    return None


def _begin(wanted: Choice, clock: Clock) -> Tracing:
    from lateron.tracing import figures, sdk, spans

    sdk.quieten(clock)
    told = spans.Spans(*sdk.tracer_provider()) if wanted.traces else None
    log.info("OpenTelemetry", traces=wanted.traces, metrics=wanted.metrics)
    return Tracing(told, figures.Exporting if wanted.metrics else None)
