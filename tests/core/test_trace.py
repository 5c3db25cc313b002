"""Trace context: what is read, kept and carried on, without anybody who traces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack
from msgspec.structs import replace
from tests.core.publishing import ID, URL, context, good, message

from lateron.core.callback import callback_publication
from lateron.core.headers import delivery_headers
from lateron.core.recurring import NewSchedule
from lateron.core.trace import read_trace, span_id, trace_id, trace_of
from lateron.core.values import CallbackOptions, Kind, MessageId, Options, Outcome, Publication, Trace
from lateron.core.wire import parse_batch, parse_publish, parse_schedule

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
FULL = Trace(PARENT, "v=1,w=2", "user=7")


def published(trace: Trace | None, *headers: tuple[bytes, bytes]) -> Publication:
    made = parse_publish(URL.encode(), headers, b"x", replace(context(), trace=trace))
    assert isinstance(made, Publication)
    return made


def sent(publication: Publication) -> list[tuple[str, str]]:
    """Return what of a trace a delivery carries."""
    pairs = delivery_headers(message(publication.request), publication.request, None)
    return [(name, value) for name, value in pairs if name.lower() in {"traceparent", "tracestate", "baggage"}]


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ([("traceparent", PARENT)], Trace(PARENT)),
        ([("Traceparent", f" {PARENT}\t"), ("X", "y")], Trace(PARENT)),
        ([("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")], Trace(PARENT, "a=1,b=2")),
        ([("baggage", "k=v"), ("baggage", "l=w")], Trace(baggage="k=v,l=w")),
        ([("tracestate", "a=1")], None),
        ([("traceparent", PARENT), ("traceparent", OTHER)], None),
        ([("traceparent", PARENT.upper())], None),
        ([("traceparent", f"{PARENT}-more")], None),
        ([("traceparent", f"01{PARENT[2:]}-more")], Trace(f"01{PARENT[2:]}-more")),
        ([("traceparent", f"01{PARENT[2:]}more")], None),
        ([("traceparent", f"01{PARENT[2:]}-\xe9")], None),
        ([("traceparent", f"01{PARENT[2:]}-{'x' * 300}")], None),
        ([("traceparent", f"ff{PARENT[2:]}")], None),
        ([("traceparent", "00-" + "0" * 32 + PARENT[35:])], None),
        ([("traceparent", PARENT[:36] + "0" * 16 + "-01")], None),
        ([("traceparent", "00-1-2-01")], None),
        ([("traceparent", "")], None),
        ([("traceparent", PARENT), ("tracestate", "v" * 513)], Trace(PARENT)),
        ([("traceparent", PARENT), ("tracestate", "\xe9=1")], Trace(PARENT)),
        ([("traceparent", PARENT), ("baggage", "b" * 8193)], Trace(PARENT)),
        ([("baggage", " ")], None),
        ([], None),
    ],
)
def test_context_is_read_as_the_specification_says(headers: list[tuple[str, str]], trace: Trace | None) -> None:
    """What cannot be read is as if it had not been sent."""
    assert trace_of(headers) == trace


@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"tracestate", b"baggage"]), st.binary(max_size=80))))
def test_any_bytes_are_read_or_left_out(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """A trace is never a reason to refuse a message, and what is kept can be sent."""
    trace = read_trace(headers)

    kept = [] if trace is None else sent(published(trace))
    assert all(value.isascii() and "\n" not in value and "\r" not in value for _, value in kept)


def test_a_delivery_carries_the_context_of_its_publish() -> None:
    """Also where this server does not trace: the receiver's spans belong to the publisher's trace."""
    assert sent(published(FULL)) == [("traceparent", PARENT), ("tracestate", "v=1,w=2"), ("baggage", "user=7")]
    assert sent(published(None)) == []


def test_what_the_publisher_forwards_wins() -> None:
    """It is his word, byte for byte; the state of another context does not go with it."""
    forwarded = published(FULL, (b"upstash-forward-traceparent", b"00-1-2-01"))
    baggage = published(FULL, (b"upstash-forward-baggage", b"mine"))

    assert sent(forwarded) == [("Traceparent", "00-1-2-01"), ("baggage", "user=7")]
    assert sent(baggage) == [("Baggage", "mine"), ("traceparent", PARENT), ("tracestate", "v=1,w=2")]


def test_forwarding_all_headers_carries_the_context_once() -> None:
    """Two parents are none, says the specification."""
    headers = ((b"traceparent", PARENT.encode()), (b"x-a", b"b"), (b"upstash-header-forward", b"true"))

    made = published(read_trace(headers), *headers)

    assert sent(made) == [("traceparent", PARENT)]
    assert made.request.headers == (("X-A", "b"),)


@pytest.mark.promise("P-54")
def test_the_trace_is_no_part_of_the_content() -> None:
    """Each request has another trace; equal messages must stay equal to content-based deduplication and in lists."""
    flag = (b"upstash-content-based-deduplication", b"true")

    one, two = published(FULL, flag), published(Trace(OTHER), flag)

    assert one.dedup == two.dedup is not None
    assert one.request.headers == ()


def test_an_item_of_a_batch_may_have_its_own() -> None:
    """Each is read as if it had come alone; without one it belongs to the request around it."""
    body = b'[{"destination":"https://a"},{"destination":"https://a","headers":{"Traceparent":"%b"}}]' % OTHER.encode()

    first, second = parse_batch(body, replace(context(), trace=FULL))

    assert good(first).request.options.trace == FULL
    assert good(second).request.options.trace == Trace(OTHER)


def test_a_schedule_keeps_no_trace() -> None:
    """Its runs belong to nobody's request."""
    made = parse_schedule(URL.encode(), [(b"upstash-cron", b"0 0 * * *")], b"", replace(context(), trace=FULL))

    assert isinstance(made, NewSchedule)
    assert made.request.options.trace is None


def test_a_callback_belongs_to_the_trace_of_the_attempt() -> None:
    """The request of an attempt carries its context, so the report of it does."""
    source = published(FULL).request

    report = callback_publication(
        message(source), source, Outcome(status=200), CallbackOptions("https://cb"), kind=Kind.CALLBACK, now=1
    )

    assert sent(report)[0] == ("traceparent", PARENT)


def test_options_without_a_trace_are_stored_as_before() -> None:
    """Messages of an older program are read, and those without a trace take no room."""
    old = msgpack.encode({"caller_ip": "192.0.2.7"})

    assert msgpack.decode(old, type=Options) == Options(caller_ip="192.0.2.7")
    assert b"trace" not in msgpack.encode(Options(caller_ip="192.0.2.7"))
    assert msgpack.decode(msgpack.encode(Options(trace=FULL)), type=Options).trace == FULL


def test_ids_of_spans_are_those_of_the_attempt() -> None:
    """A retry names the attempt before it without asking anybody."""
    other = MessageId(bytes(16))

    assert len({span_id(ID, 1), span_id(ID, 2), span_id(other, 1), span_id(other, 11)}) == 4
    assert span_id(ID, 1) == span_id(ID, 1) < 1 << 64
    assert trace_id(ID) == trace_id(ID) != trace_id(other)
    assert 0 < trace_id(ID) < 1 << 128
