"""The figures of ``/metrics``, sent to a collector under the same names.

Counters and gauges are observable instruments: they are read when the SDK collects, and cost nothing in between. The
API has no observable histogram, and ours are counted already, so their points are added to what the SDK has collected,
on its way to the exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData

from lateron import __version__
from lateron.core.tally import Histogram
from lateron.tracing.reading import Reading, Readings
from lateron.tracing.sdk import resource

_SCOPE: Final = "lateron"


class Exporting:
    """Sends all figures again and again, as often as ``OTEL_METRIC_EXPORT_INTERVAL`` says.

    Args:
        read: Returns all of them; called on a thread of the SDK.
    """

    def __init__(self, read: Readings) -> None:
        exporter = WithHistograms(OTLPMetricExporter(), read)
        self._read = read
        self._now: dict[str, Reading] = {}  # As of this collection.
        self._provider = MeterProvider(
            [PeriodicExportingMetricReader(exporter)], resource=resource(), shutdown_on_exit=False
        )
        meter = self._provider.get_meter(_SCOPE, __version__)
        for index, reading in enumerate(r for r in read() if r.kind != "histogram"):
            make = meter.create_observable_counter if reading.kind == "counter" else meter.create_observable_gauge
            make(reading.name, [self._observer(reading.name, first=index == 0)], description=reading.help)

    def close(self) -> None:
        """Send the figures once more, and end; waits for the collector."""
        self._provider.shutdown()

    def _observer(self, name: str, *, first: bool) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            if first or not self._now:  # Instruments are asked in the order they were made: one reading for all.
                self._now = {reading.name: reading for reading in self._read()}
            return observations(self._now[name])

        return observe


def observations(reading: Reading) -> list[Observation]:
    """Return the values of a counter or a gauge."""
    value = reading.value
    assert not isinstance(value, Histogram)
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [Observation(number, dict(zip(reading.labels, texts, strict=True))) for texts, number in value.items()]
    return [Observation(value)]


class WithHistograms(MetricExporter):
    """An exporter that adds our histograms to what it is given.

    Args:
        exporter: Sends.
        read: Returns all figures; those that are no histograms are left to the SDK.
    """

    def __init__(self, exporter: OTLPMetricExporter, read: Readings) -> None:
        temporality = exporter._preferred_temporality  # noqa: SLF001 # As the SDK's own readers ask it.
        super().__init__(temporality, exporter._preferred_aggregation)  # noqa: SLF001
        self._exporter = exporter
        self._read = read
        self._temporality = (temporality or {}).get(HistogramInstrument, AggregationTemporality.CUMULATIVE)
        self._sent: dict[str, tuple[list[int], float]] = {}  # Of what only changes are told.

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,  # noqa: ANN401 # As the exporter's.
    ) -> MetricExportResult:
        """Send what was collected, and the histograms."""
        for collected in metrics_data.resource_metrics:
            for scope in collected.scope_metrics:
                sums = [metric.data for metric in scope.metrics if isinstance(metric.data, Sum)]
                point = next((point for data in sums for point in data.data_points), None)
                if scope.scope.name == _SCOPE and point is not None:
                    filled = self._filled(collected, scope, point.start_time_unix_nano, point.time_unix_nano)
                    return self._exporter.export(MetricsData([filled]), timeout_millis, **kwargs)
        return self._exporter.export(metrics_data, timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Send what is under way."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ANN401 # As the exporter's.
        """End."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def _filled(self, collected: ResourceMetrics, scope: ScopeMetrics, start: int, now: int) -> ResourceMetrics:
        """Return what was collected with our histograms behind it; they count from when the counters do."""
        points = [self._metric(reading, start, now) for reading in self._read() if reading.kind == "histogram"]
        filled = ScopeMetrics(scope.scope, [*scope.metrics, *points], scope.schema_url)
        return ResourceMetrics(collected.resource, [filled], collected.schema_url)

    def _metric(self, reading: Reading, start: int, now: int) -> Metric:
        histogram = reading.value
        assert isinstance(histogram, Histogram)
        counts, total = list(histogram.counts), histogram.total
        if self._temporality is AggregationTemporality.DELTA:
            before, sum_before = self._sent.get(reading.name, ([0] * len(counts), 0.0))
            self._sent[reading.name] = (counts, total)
            counts, total = [n - m for n, m in zip(counts, before, strict=True)], total - sum_before
        point = HistogramDataPoint(
            attributes={},
            start_time_unix_nano=start,
            time_unix_nano=now,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=list(histogram.bounds),
            min=None,  # type: ignore[arg-type]  # Not kept; in the protocol both may be missing.
            max=None,  # type: ignore[arg-type]
        )
        return Metric(reading.name, reading.help, "", HistogramData([point], self._temporality))
