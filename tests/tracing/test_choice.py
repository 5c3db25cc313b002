"""What turns tracing on, and what it costs while it is off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.core.test_trace import PARENT
from tests.serving import OWN, publish
from tests.support.collector import Collector
from tests.support.poll import until
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.tracing.choice import Choice, Unsupported, choice

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ON = {ENDPOINT: "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "mail", "OTEL_TRACES_SAMPLER": "always_on"}, None),
        ({ENDPOINT: " "}, None),
        (ON, Choice(traces=True, metrics=True, asked_by=ENDPOINT)),
        (ON | {"OTEL_SDK_DISABLED": "TRUE"}, None),
        (ON | {"OTEL_SDK_DISABLED": "false"}, Choice(traces=True, metrics=True, asked_by=ENDPOINT)),
        (ON | {"OTEL_METRICS_EXPORTER": "none"}, Choice(traces=True, metrics=False, asked_by=ENDPOINT)),
        (ON | {"OTEL_TRACES_EXPORTER": "none"}, Choice(traces=False, metrics=True, asked_by=ENDPOINT)),
        (ON | {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, None),
        (ON | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, Choice(True, True, ENDPOINT)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Choice(True, False, "OTEL_TRACES_EXPORTER")),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://h/m"},
            Choice(False, True, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
    ],
)
def test_an_endpoint_asks(environ: dict[str, str], wanted: Choice | None) -> None:
    """A service name alone, as platforms set it for every program, asks for nothing."""
    assert choice(environ) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ],
)
def test_what_is_not_spoken_is_refused_by_name(name: str, value: str) -> None:
    """Who asks for it learns the reason, and not by waiting for spans."""
    with pytest.raises(Unsupported, match=name):
        choice(ON | {name: value})


def test_without_a_variable_nothing_of_it_is_loaded() -> None:
    """Whoever does not trace pays neither memory nor a slower start."""
    code = (
        "import os, sys, lateron.server.process\n"
        "from lateron.tracing import from_environment\n"
        "from lateron.runtime import SystemClock\n"
        "assert from_environment({'OTEL_SERVICE_NAME': 'x'}, SystemClock()) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_missing_extra_is_one_line_and_messages_go_their_way(tmp_path: Path) -> None:
    """The variables may be those of a whole cluster; a server that cannot tell it delivers all the same."""
    absent = tmp_path / "absent"
    absent.mkdir()
    # As if it were not installed: Python reads this file at its start.
    (absent / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    with Collector() as collector, Receiver() as receiver:
        environ = {**collector.environ, "PYTHONPATH": str(absent)}
        endpoint = receiver.endpoint()
        with Server(tmp_path / "data", "--allow-private", mode="serve", environ=environ, user=OWN) as server:
            publish(server, endpoint.url, ("traceparent", PARENT))

            assert endpoint.wait_for_one().header("traceparent") == PARENT
            lines = [line for line in server.log.splitlines() if "lateron[otel]" in line]
            assert len(lines) == 1, server.log
            assert ENDPOINT in lines[0]
            assert "Traceback" not in server.log
        assert collector.traces == []


def test_a_protocol_that_is_not_spoken_is_one_line(tmp_path: Path) -> None:
    """The line names the variable, and the server runs."""
    with Server(tmp_path / "data", environ={**ON, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) as server:
        until(lambda: "OTEL_EXPORTER_OTLP_PROTOCOL" in server.log, "the line")

        assert server.call("GET", "/readyz").status == 200


def test_a_variable_that_the_sdk_cannot_read_is_one_line(tmp_path: Path) -> None:
    """A typing mistake in what is said of spans must not keep messages."""
    with Server(tmp_path / "data", environ={**ON, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}) as server:
        until(lambda: "OpenTelemetry stays off" in server.log, "the line")

        assert "Traceback" not in server.log


def test_without_tracing_a_context_goes_with_the_message(tmp_path: Path) -> None:
    """From the first delivery to the retry, the callback and the second try of a dead letter."""
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        endpoint, report = receiver.endpoint(), receiver.endpoint()
        headers = (("traceparent", PARENT), ("tracestate", "v=1"), ("baggage", "user=7"))

        for _ in range(4):  # The last two heads are known, and not read again.
            publish(server, endpoint.url, *headers, ("Upstash-Callback", report.url))
        requests = endpoint.wait_for(4) + report.wait_for(4)

        for request in requests:
            assert [request.all(name) for name, _ in headers] == [[value] for _, value in headers]
        shown = server.call("GET", "/v2/events").json["events"][0]
        assert "traceparent" not in str(shown).lower()
