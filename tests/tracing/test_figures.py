"""Figures by OTLP are those of `/metrics`, under the same names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.serving import delivered, publish
from tests.support.collector import Collector, attributes
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server
from tests.test_metrics import read
from tests.test_tidy import ROOT

from lateron.server.figures import FIGURES, full_name


def samples(metric: Any) -> dict[str, float]:
    """Return the points of a figure as `/metrics` writes them."""
    found: dict[str, float] = {}
    for point in (metric.gauge or metric.sum).data_points or metric.sum.data_points:
        labels = ",".join(f'{key}="{value}"' for key, value in attributes(point.attributes).items())
        name = f"{metric.name}{{{labels}}}" if labels else metric.name
        found[name] = float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
    return found


def test_the_collector_gets_the_figures_of_metrics(tmp_path: Path) -> None:
    """One dashboard serves who scrapes and who is told."""
    with Collector() as collector, Receiver() as receiver:
        good, bad = receiver.endpoint(), receiver.endpoint()
        bad.answers(Answer(500))
        with Server(tmp_path / "data", environ={**collector.environ, "OTEL_TRACES_EXPORTER": "none"}) as server:
            messages = [publish(server, good.url) for _ in range(3)]
            publish(server, bad.url, ("Upstash-Retries", "0"))
            until(lambda: all(delivered(server, message) for message in messages), "the deliveries")
            until(lambda: "lateron_messages_failed_total 1\n" in server.call("GET", "/metrics").text, "the failure")
            scraped = read(server.call("GET", "/metrics").text)

            assert server.stop() == 0

        figures = collector.figures()  # The last ones are sent at the end.
        assert figures.keys() == {full_name(figure) for figure in FIGURES}
        for figure in FIGURES:
            metric = figures[full_name(figure)]
            assert metric.description == figure.help
            kind = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}[figure.kind]
            assert metric.WhichOneof("data") == kind
        for name in ("messages_published_total", "attempts_total", "messages_delivered_total", "dlq_depth"):
            told = samples(figures[f"lateron_{name}"])
            assert told == {
                key: number for key, number in scraped.items() if key.partition("{")[0] == f"lateron_{name}"
            }
        (point,) = figures["lateron_attempt_seconds"].histogram.data_points
        assert point.count == sum(point.bucket_counts) == 4
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
        assert 0 < point.start_time_unix_nano <= point.time_unix_nano
        assert collector.traces == []


@pytest.mark.parametrize(("preference", "temporality"), [("cumulative", 2), ("delta", 1)])
def test_histograms_count_as_the_environment_prefers(tmp_path: Path, preference: str, temporality: int) -> None:
    """Some collectors take only what has changed; then the points of all exports together are the figure."""
    name = "lateron_attempt_seconds"
    environ = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference, "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    with Collector() as collector, Receiver() as receiver:
        endpoint = receiver.endpoint()
        with Server(tmp_path / "data", environ={**collector.environ, **environ}) as server:
            for _ in range(2):
                before = len(collector.metrics)
                message = publish(server, endpoint.url)
                until(lambda message=message: delivered(server, message), "the delivery")  # type: ignore[misc]
                until(lambda before=before: len(collector.metrics) > before + 1, "figures")  # type: ignore[misc]
            server.stop()

        exports = collector.every_figure(name)
        assert {metric.histogram.aggregation_temporality for metric in exports} == {temporality}
        counts = [metric.histogram.data_points[0].count for metric in exports]
        assert (sum(counts) if preference == "delta" else counts[-1]) == 2


def test_the_settings_for_datadog_name_figures_that_there_are() -> None:
    """A figure that was renamed would be missing on somebody's board, and nobody would be told."""
    text = (ROOT / "docs" / "datadog.md").read_text("utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    checks = [block["instances"][0] for block in blocks if "instances" in block]
    shown = {full_name(figure).removesuffix("_total" if figure.kind == "counter" else "") for figure in FIGURES}

    named, everything = checks

    assert len(blocks) == 3
    names = {name for line in named["metrics"] for name in line}
    assert names <= shown
    assert re.match(everything["metrics"][0], "lateron_ready")
    told = set(re.findall(r"`lateron\.([a-z.]+?)(?:\.count)?`", text))
    assert told <= {new for line in named["metrics"] for new in line.values()}
