"""A collector for tests: it takes OTLP over HTTP as any real one does, and keeps what it was told, decoded."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Received, Receiver

KINDS = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER"}


@dataclass(frozen=True, slots=True)
class Told:
    """A span as it arrived."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[tuple[str, Any], ...]  # Span, and what the link is.
    failed: bool
    start: int
    end: int


class Collector:
    """Listens until it is closed; ``environ`` is what a server needs to find it."""

    def __init__(self) -> None:
        self._receiver = Receiver()
        self._traces = self._receiver.endpoint("/v1/traces")
        self._metrics = self._receiver.endpoint("/v1/metrics")

    def answers(self, answer: Answer) -> None:
        """Answer everything like this from now on."""
        self._traces.answers(answer)
        self._metrics.answers(answer)

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that name this collector, and that make the SDK quick."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._receiver.origin,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }

    @property
    def traces(self) -> list[Received]:
        """Return the requests with spans."""
        return self._traces.requests

    @property
    def metrics(self) -> list[Received]:
        """Return the requests with figures."""
        return self._metrics.requests

    def spans(self, name: str | None = None) -> list[Told]:
        """Return the spans that came so far, by when they began; all or those of a name."""
        told = sorted(self._spans(), key=lambda span: span.start)
        return [span for span in told if name in {None, span.name}]

    def wait_for(self, number: int, name: str) -> list[Told]:
        """Return the spans of a name once there are so many."""
        return until(lambda: found if len(found := self.spans(name)) >= number else None, f"{number} spans {name}")

    def figures(self) -> dict[str, Metric]:
        """Return the newest of each figure."""
        return {metric.name: metric for metric in self._figures()}

    def every_figure(self, name: str) -> list[Metric]:
        """Return a figure as often as it came."""
        return [metric for metric in self._figures() if metric.name == name]

    def resource(self) -> dict[str, Any]:
        """Return what the first request with spans says of who sends it."""
        message = ExportTraceServiceRequest.FromString(next(_bodies(self._traces)))
        return attributes(message.resource_spans[0].resource.attributes)

    def _figures(self) -> Iterator[Metric]:
        for body in _bodies(self._metrics):
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    yield from scope.metrics

    def _spans(self) -> Iterator[Told]:
        for body in _bodies(self._traces):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    yield from map(_told, scope.spans)

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._receiver.__exit__(kind, error, tb)


def attributes(pairs: Any) -> dict[str, Any]:
    """Return attributes by their names."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _bodies(endpoint: Endpoint) -> Iterator[bytes]:
    for request in endpoint.requests:
        yield gzip.decompress(request.body) if "gzip" in request.all("Content-Encoding") else request.body


def _told(span: WireSpan) -> Told:
    return Told(
        name=span.name,
        kind=KINDS.get(span.kind, str(span.kind)),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=attributes(span.attributes),
        events=tuple(event.name for event in span.events),
        links=tuple((link.span_id.hex(), attributes(link.attributes).get("lateron.link")) for link in span.links),
        failed=span.status.code == 2,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
    )


def _value(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if which is None else getattr(value, which)
