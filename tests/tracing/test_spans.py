"""Spans: what a real collector is told of a message, from its publisher's trace to the last attempt."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving import delivered, publish, states
from tests.support.collector import Collector, Told
from tests.support.poll import until
from tests.support.receiver import Answer, Received, Receiver
from tests.support.server import Server

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = ("traceparent", f"00-{TRACE}-{SPAN}-01")
UNSAMPLED = ("traceparent", f"00-{TRACE}-{SPAN}-00")
SECRET = "s3cr3t"  # In all that no span may show.


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    """A server that tells the collector."""
    directory = tmp_path_factory.mktemp("tracing") / "data"
    with Server(directory, environ=collector.environ) as server:
        yield server


def deliveries(collector: Collector, *messages: str, number: int) -> list[Told]:
    """Return the spans of attempts of some messages once there are so many."""

    def found() -> list[Told] | None:
        spans = [s for s in collector.spans("deliver") if s.attributes["messaging.message.id"] in messages]
        return spans if len(spans) >= number else None

    return until(found, f"{number} spans of attempts")


def publishes(collector: Collector, message: str) -> tuple[Told, Told]:
    """Return the spans of the request that published a message, and of its way into the store."""

    def found() -> tuple[Told, Told] | None:
        spans = collector.spans()
        stored = next((s for s in spans if s.attributes.get("messaging.message.id") == message), None)
        request = stored and next((s for s in spans if s.id == stored.parent), None)
        return (request, stored) if stored and request and stored.name == "publish" else None

    return until(found, "the spans of the publish")


def context(request: Received) -> tuple[str, str, str]:
    """Return trace, span and flags of what a receiver got."""
    _, trace, span, flags = request.header("traceparent").split("-")
    return trace, span, flags


def test_one_trace_from_the_publisher_to_the_callback(server: Server, collector: Collector, receiver: Receiver) -> None:
    """Whoever looks for the id in his own log finds all that became of the message, also the retry."""
    endpoint, report = receiver.endpoint(), receiver.endpoint()
    endpoint.answers(Answer(500), Answer(200))
    options = (("Upstash-Retry-Delay", "1"), ("Upstash-Callback", report.url), ("tracestate", "v=1"))

    message = publish(server, endpoint.url, PARENT, *options)

    first, second = endpoint.wait_for(2)
    reported = report.wait_for(2)
    request, stored = publishes(collector, message)
    failed, good = deliveries(collector, message, number=2)
    reports = deliveries(collector, *(r.header("Upstash-Message-Id") for r in reported), number=2)
    assert {s.trace for s in (request, stored, failed, good, *reports)} == {TRACE}
    assert [request.kind, stored.kind, failed.kind, good.kind] == ["SERVER", "PRODUCER", "CLIENT", "CLIENT"]
    assert (request.parent, stored.parent) == (SPAN, request.id)
    assert (failed.parent, good.parent) == (stored.id, stored.id)
    assert failed.links == ((stored.id, "published"),)
    assert good.links == ((stored.id, "published"), (failed.id, "attempt before"))
    assert sorted(s.parent for s in reports) == sorted([failed.id, good.id])
    assert [context(first), context(second)] == [(TRACE, failed.id, "01"), (TRACE, good.id, "01")]
    assert {context(r) for r in reported} == {(TRACE, s.id, "01") for s in reports}
    assert {r.header("tracestate") for r in (first, second, *reported)} == {"v=1"}
    assert "stored" in stored.events


def test_an_attempt_says_how_far_it_came(server: Server, collector: Collector, receiver: Receiver) -> None:
    """One sees at a look whether the name, the connection or the receiver was slow."""
    endpoint = receiver.endpoint(origin=f"http://localhost:{receiver.port}")
    endpoint.answers(Answer(503))

    message = publish(server, endpoint.url, ("Upstash-Retries", "0"))

    (span,) = deliveries(collector, message, number=1)
    assert span.events == ("dns", "connect", "first byte")
    assert span.failed
    shown = span.attributes
    assert (shown["http.response.status_code"], shown["error.type"]) == (503, "503")
    assert (shown["server.address"], shown["server.port"]) == ("localhost", receiver.port)
    assert (shown["network.peer.port"], shown["http.request.method"]) == (receiver.port, "POST")
    assert (shown["lateron.attempt"], shown["lateron.retried"], shown["lateron.kind"]) == (1, 0, "publish")


def test_an_attempt_without_an_answer_has_the_class_of_its_error(server: Server, collector: Collector) -> None:
    """The class is that of the log and of the figures."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        message = publish(server, f"http://127.0.0.1:{unused.getsockname()[1]}/", ("Upstash-Retries", "0"))

        (span,) = deliveries(collector, message, number=1)

    assert (span.failed, span.attributes["error.type"]) == (True, "connect")
    assert "http.response.status_code" not in span.attributes


def test_no_span_holds_a_secret(server: Server, collector: Collector, receiver: Receiver) -> None:
    """Who may read traces may not read messages; a path or a query is often a secret of the receiver."""
    endpoint = receiver.endpoint(f"/{SECRET}-path")
    endpoint.answers(Answer(200, SECRET.encode(), (("X-Answer", SECRET),)))
    forwarded = (("Upstash-Forward-Authorization", SECRET), ("Upstash-Label", "l"), ("baggage", f"k={SECRET}"))
    target = f"/v2/publish/{endpoint.url}?key={SECRET}"

    message = server.call("POST", target, SECRET.encode(), forwarded).json["messageId"]

    assert endpoint.wait_for_one().header("baggage") == f"k={SECRET}"
    deliveries(collector, message, number=1)
    publishes(collector, message)
    wire = b"".join(request.body for request in collector.traces)
    assert SECRET.encode() not in wire
    assert server.token.encode() not in wire
    assert b"sig_" not in wire


def test_what_the_publisher_forwards_is_his(server: Server, collector: Collector, receiver: Receiver) -> None:
    """A forwarded header arrives as it was given; our spans belong to its trace all the same."""
    endpoint = receiver.endpoint()

    message = publish(server, endpoint.url, ("Upstash-Forward-Traceparent", PARENT[1]))

    assert endpoint.wait_for_one().all("traceparent") == [PARENT[1]]
    request, _ = publishes(collector, message)
    (span,) = deliveries(collector, message, number=1)
    assert (request.trace, request.parent, span.trace) == (TRACE, SPAN, TRACE)


def test_a_message_waits_in_no_span(server: Server, collector: Collector, receiver: Receiver) -> None:
    """A trace of a delayed message has short spans and links, and none that is open for hours."""
    endpoint = receiver.endpoint()

    message = publish(server, endpoint.url, ("Upstash-Delay", "1s"))

    endpoint.wait_for_one()
    request, stored = publishes(collector, message)
    (span,) = deliveries(collector, message, number=1)
    assert span.links == ((stored.id, "published"),)
    assert request.end < span.start
    assert span.start - stored.end > 500_000_000


def test_each_message_of_a_batch_and_of_a_group_has_its_trace(
    server: Server, collector: Collector, receiver: Receiver
) -> None:
    """An item may belong to another trace than the request around it, and a group's messages to one."""
    one, two, three = receiver.endpoint(), receiver.endpoint(), receiver.endpoint()
    other = "a" * 32
    endpoints = json.dumps({"endpoints": [{"url": two.url}, {"url": three.url}]}).encode()
    assert server.call("POST", "/v2/topics/traced/endpoints", endpoints).status == 200
    items = [
        {"destination": one.url, "headers": {"traceparent": f"00-{other}-{SPAN}-01"}},
        {"destination": "traced"},
    ]

    reply = server.call("POST", "/v2/batch", json.dumps(items).encode(), (PARENT,))

    assert reply.status == 201, reply.text
    assert context(one.wait_for_one())[0] == other
    assert {context(e.wait_for_one())[0] for e in (two, three)} == {TRACE}
    (batch,) = collector.wait_for(1, "POST /v2/batch")
    assert (batch.trace, batch.parent) == (TRACE, SPAN)
    ids = [message["messageId"] for message in reply.json[1]]
    fanned = until(
        lambda: [s for s in collector.spans("publish") if s.attributes.get("lateron.message_ids") == ids],
        "the span of the publish to the group",
    )
    assert fanned[0].parent == batch.id


def test_a_large_batch_has_one_span(server: Server, collector: Collector, receiver: Receiver) -> None:
    """Thousands of spans at once would hold up deliveries; its messages belong to the trace all the same."""
    endpoint = receiver.endpoint()
    items = json.dumps([{"destination": endpoint.url}] * 101).encode()
    trace = "c" * 32

    reply = server.call("POST", "/v2/batch", items, (("traceparent", f"00-{trace}-{SPAN}-01"),))

    assert reply.status == 201, reply.text
    assert {context(request)[0] for request in endpoint.wait_for(101)} == {trace}
    spans = until(
        lambda: found if len(found := [s for s in collector.spans() if s.trace == trace]) == 102 else None, "the spans"
    )
    (batch,) = (span for span in spans if span.name == "POST /v2/batch")
    assert batch.attributes["messaging.batch.message_count"] == 101
    assert {span.parent for span in spans if span.name == "deliver"} == {batch.id}


def test_a_run_of_a_schedule_has_a_trace_of_its_own(server: Server, collector: Collector, receiver: Receiver) -> None:
    """Who makes a schedule is long gone when it runs; all attempts of a run are one trace even so."""
    endpoint = receiver.endpoint()
    endpoint.answers(Answer(500), Answer(200))
    options = (("Upstash-Cron", "0 0 1 1 *"), ("Upstash-Retry-Delay", "1"), PARENT)
    schedule = server.call("POST", f"/v2/schedules/{endpoint.url}", b"x", options).json["scheduleId"]

    reply = server.call("POST", f"/v2/schedules/{schedule}/run")

    assert reply.status in {200, 201}, reply.text
    server.call("DELETE", f"/v2/schedules/{schedule}")
    first, second = (context(request) for request in endpoint.wait_for(2)[:2])
    assert first[0] == second[0] != TRACE
    assert first[1] != second[1]
    (made,) = collector.wait_for(1, "POST /v2/schedules/{destination}")
    assert (made.trace, made.parent) == (TRACE, SPAN)


def test_a_publish_that_fails_says_so(server: Server, collector: Collector) -> None:
    """What the transaction refuses is told with the status of its answer."""
    reply = server.call("POST", "/v2/publish/no-such-group", b"x", (("traceparent", f"00-{'b' * 32}-{SPAN}-01"),))

    assert reply.status == 404
    (span,) = until(lambda: [s for s in collector.spans() if s.trace == "b" * 32 and s.kind == "SERVER"], "the span")
    assert span.attributes["http.response.status_code"] == 404
    assert not span.failed  # It is the caller's.


def test_a_batch_says_what_it_was_answered(server: Server, collector: Collector) -> None:
    """A batch is answered as a whole; the item that was refused has its own word."""
    trace = "d" * 32
    context = (("traceparent", f"00-{trace}-{SPAN}-01"),)

    reply = server.call("POST", "/v2/batch", b'[{"destination":"no-such-group"}]', context)

    spans = until(lambda: s if len(s := [s for s in collector.spans() if s.trace == trace]) == 2 else None, "the spans")
    assert [span.name for span in spans] == ["POST /v2/batch", "publish"]
    assert spans[0].attributes["http.response.status_code"] == reply.status == 200
    assert (spans[0].failed, spans[1].failed) == (False, True)
    assert spans[1].attributes["error.type"] == "NotFound"


def test_the_parent_decides_what_is_sampled(server: Server, collector: Collector, receiver: Receiver) -> None:
    """A publisher that does not sample is not sampled here; its receivers are told the same."""
    unseen, seen = receiver.endpoint(), receiver.endpoint()

    message = publish(server, unseen.url, UNSAMPLED)
    unseen.wait_for_one()
    until(lambda: delivered(server, message), "the delivery")
    later = publish(server, seen.url)

    deliveries(collector, later, number=1)
    trace, span, flags = context(unseen.wait_for_one())
    assert (trace, flags) == (TRACE, "00")
    assert span != SPAN
    assert message not in {s.attributes.get("messaging.message.id") for s in collector.spans()}


def test_what_the_environment_says_is_heard(tmp_path: Path, receiver: Receiver) -> None:
    """Name, attributes and sampler are those of every program with this SDK."""
    endpoint = receiver.endpoint()
    said = {
        "OTEL_SERVICE_NAME": "mail",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=k",
        "OTEL_METRICS_EXPORTER": "none",
    }
    with Collector() as collector, Server(tmp_path / "on", environ={**collector.environ, **said}) as server:
        publish(server, endpoint.url)
        collector.wait_for(1, "deliver")

        resource = collector.resource()
        assert (resource["service.name"], resource["deployment.environment"]) == ("mail", "test")
        assert collector.traces[0].header("x-key") == "k"
        assert collector.metrics == []
    off = {**said, "OTEL_TRACES_SAMPLER": "always_off"}
    with Collector() as collector, Server(tmp_path / "off", environ={**collector.environ, **off}) as server:
        message = publish(server, endpoint.url, PARENT)
        until(lambda: delivered(server, message), "the delivery")
        server.stop()

        assert collector.traces == []
        assert endpoint.requests[-1].header("traceparent").startswith(f"00-{TRACE}-")
        assert endpoint.requests[-1].header("traceparent").endswith("-00")


@pytest.mark.parametrize("trouble", ["refused", "failing", "silent"])
def test_a_collector_in_trouble_harms_no_delivery(tmp_path: Path, receiver: Receiver, trouble: str) -> None:
    """It is told once a minute; messages go their way, and the server ends in time."""
    endpoint = receiver.endpoint()
    with Collector() as collector, socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {**collector.environ, "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
        if trouble == "silent":
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        elif trouble == "failing":
            collector.answers(Answer(400))
        else:
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Server(tmp_path / "data", environ=environ) as server:
            until(lambda: "telemetry was not sent" in server.log, "the line about the collector")
            messages = [publish(server, endpoint.url) for _ in range(20)]
            endpoint.wait_for(20)
            until(lambda: all(states(server, m)[-1] == "DELIVERED" for m in messages), "the deliveries")

            assert server.stop() == 0
            assert server.log.count("telemetry was not sent") == 1
            assert "Traceback" not in server.log
