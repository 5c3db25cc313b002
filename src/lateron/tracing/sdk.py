"""The SDK as this server uses it: without its globals, with ids of our making, and quiet."""

from __future__ import annotations

import logging
import socket
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from lateron import __version__
from lateron.runtime import Clock
from lateron.telemetry import Log

log = Log("lateron.tracing")

_MINUTE_NS: Final = 60_000_000_000
_REASON: Final = 300  # Characters.


class Ids(RandomIdGenerator):
    """Makes ids; the next ones may be said beforehand, on the thread that makes the span."""

    def __init__(self) -> None:
        self.next_trace: int | None = None
        self.next_span: int | None = None

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        said, self.next_trace = self.next_trace, None
        return super().generate_trace_id() if said is None else said

    def generate_span_id(self) -> int:
        """Return the id of a span."""
        said, self.next_span = self.next_span, None
        return super().generate_span_id() if said is None else said


class OncePerMinute(logging.Handler):
    """Says of the SDK's lines one a minute, in our form, and how many there were."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._quiet_until: int | None = None
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it."""
        now = self._clock.mono()
        if self._quiet_until is not None and now < self._quiet_until:
            self._left_out += 1
            return
        self._quiet_until, left_out, self._left_out = now + _MINUTE_NS, self._left_out, 0
        reason = record.getMessage()[:_REASON]
        log.warning("telemetry was not sent; messages are delivered all the same", reason=reason, unsaid=left_out)


def quieten(clock: Clock) -> None:
    """Let the SDK say what troubles it once a minute at most; a collector that is down troubles it all the time."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers[:] = [OncePerMinute(clock)]
    logger.propagate = False


def resource() -> Resource:
    """Return who is speaking: what the environment says, else what is known here."""
    ours = Resource({"service.name": "lateron", "service.version": __version__, "host.name": socket.gethostname()})
    said = OTELResourceDetector().detect()  # OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
    return Resource.create().merge(ours).merge(said)


def tracer_provider() -> tuple[TracerProvider, Ids]:
    """Return what makes spans, by the sampler of the environment, and sends them in batches on a thread of its own."""
    ids = Ids()
    provider = TracerProvider(resource=resource(), id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider, ids
