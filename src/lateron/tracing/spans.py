"""The spans of a message: the request that published it, its way into the store, and each attempt.

::

    POST /v2/publish/{destination}   SERVER     from the complete request until its answer
      publish                        PRODUCER   from there until it is on disk; the message carries this one's context
        deliver                      CLIENT     one attempt; its receiver gets this one's context
        deliver                      CLIENT     a retry; linked to the attempt before
          deliver                    CLIENT     of the callback that reported the attempt

No span is open while a message waits, for whatever time: an attempt names the publish as its parent and links to it.

No span has a body, a header, a path or a query: the last two may be secrets of a receiver, as in the log of attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as AnySpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from lateron import __version__
from lateron.broker.views import Accepted, Answered, FannedOut, Item
from lateron.core.destination import Destination, parse_destination
from lateron.core.ids import message_text
from lateron.core.message import delivered
from lateron.core.publish import GroupPublication
from lateron.core.trace import PARENT, STATE, span_id, trace_id, trace_of
from lateron.core.values import Claimed, Kind, MessageId, Outcome, Publication, Trace
from lateron.errors import InvalidDestination, LateronError
from lateron.telemetry import Log
from lateron.tracing.sdk import Ids

log = Log("lateron.tracing")

_W3C: Final = TraceContextTextMapPropagator()
_BATCH: Final = "/v2/batch"
_KINDS: Final = {kind: kind.name.lower() for kind in Kind}
_MESSAGES_MAX: Final = 100  # Ids of one span; a URL group can be of a thousand endpoints.
_SPANS_MAX: Final = 100  # Of messages of one request; ten thousand would hold the loop, and fill the SDK's queue.

Attributes = dict[str, AttributeValue]


class Publishing:
    """The spans of one request that publishes.

    Args:
        server: Of the request.
        producers: One for each item; None for a schedule, which is no message.
        items: What to store: they carry the context of their span.
        batch: Whether the answer is one to many, whatever becomes of each.
    """

    def __init__(
        self, server: AnySpan, producers: Sequence[AnySpan | None], items: tuple[Item, ...], *, batch: bool
    ) -> None:
        self.items = items
        self._batch = batch
        self._server = server
        self._producers = producers

    def ended(self, result: tuple[Answered, ...] | BaseException) -> None:
        """Take note of what the store answered, or of why it did not."""
        answers = result if isinstance(result, tuple) else (result,) * len(self._producers)
        for span, answer in zip(self._producers, answers, strict=True):
            if span is not None:
                _stored(span, answer)
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            _failed(self._server, type(result).__name__)  # Called off: nobody is answered.
        else:
            status = _of_batch(result) if self._batch else _status(answers[0])
            self._server.set_attribute("http.response.status_code", status)
            if status >= 500:
                _failed(self._server, str(status))
        self._server.end()


class Spans:
    """Makes the spans of publishes and of attempts, on the loop's thread."""

    def __init__(self, provider: TracerProvider, ids: Ids) -> None:
        self._provider = provider
        self._ids = ids
        self._tracer = provider.get_tracer("lateron", __version__)
        self._open: dict[MessageId, AnySpan] = {}

    def publish(self, route: str, items: Sequence[Item], incoming: Trace | None) -> Publishing:
        """Begin the spans of a request whose items are about to be stored.

        Args:
            route: Of the request, as the description of the API spells it.
            items: What it asks for.
            incoming: The context of the request.
        """
        attributes: Attributes = {"http.request.method": "POST", "http.route": route}
        single = _asked(items[0]) if len(items) == 1 else None
        parent = _context(incoming or single)
        server = self._tracer.start_span(f"POST {route}", parent, SpanKind.SERVER, attributes)
        inside = set_span_in_context(server, Context())
        batch = route == _BATCH
        if len(items) > _SPANS_MAX:
            server.set_attribute("messaging.batch.message_count", len(items))
            carrying = tuple([_carrying(item, server, incoming) for item in items])
            return Publishing(server, [None] * len(items), carrying, batch=batch)
        pairs = [self._produce(item, inside, server, incoming or single) for item in items]
        return Publishing(server, [span for span, _ in pairs], tuple([item for _, item in pairs]), batch=batch)

    def begin(self, claimed: Claimed) -> Claimed:
        """Begin the span of an attempt; return the message as it is to be sent, carrying the context of that span."""
        try:
            return self._begin(claimed)
        except Exception as error:  # noqa: BLE001 # It is sent as if nobody were looking.
            log.warning("an attempt has no span", message=message_text(claimed.message.id), error=error)
            return claimed

    def end(self, claimed: Claimed, outcome: Outcome) -> None:
        """End the span of an attempt."""
        span = self._open.pop(claimed.message.id, None)
        if span is None:
            return
        try:
            if span.is_recording():
                _tell(span, outcome)
        except Exception as error:  # noqa: BLE001 # As above.
            log.warning("an attempt was not told", message=message_text(claimed.message.id), error=error)
        span.end()

    def also(self, told: Callable[[Claimed, Outcome], None]) -> Callable[[Claimed, Outcome], None]:
        """Return what ends the span of an attempt, and tells somebody else of its end."""

        def both(claimed: Claimed, outcome: Outcome) -> None:
            told(claimed, outcome)
            self.end(claimed, outcome)

        return both

    def close(self) -> None:
        """End what is open, and send what is left; waits for the collector."""
        while self._open:
            _, span = self._open.popitem()
            _failed(span, "broken-off")
            span.end()
        self._provider.shutdown()

    def _produce(
        self, item: Item, inside: Context, server: AnySpan, incoming: Trace | None
    ) -> tuple[AnySpan | None, Item]:
        """Begin the span of one item; return the item as it is to be stored."""
        if not isinstance(item, Publication | GroupPublication):
            return None, item
        own = _asked(item)
        context, links = inside, None
        if own is not None and own != incoming and own.parent is not None:
            context, links = _context(own), [Link(server.get_span_context())]
        span = self._tracer.start_span("publish", context, SpanKind.PRODUCER, None, links)
        if span.is_recording():
            span.set_attributes(_of_publish(item))
        return span, _with(item, _trace(span, own or incoming))

    def _begin(self, claimed: Claimed) -> Claimed:
        message, request = claimed.message, claimed.request
        options, stored = request.options, _of(claimed.request.options.trace, claimed.request.headers)
        context = _context(stored)
        creator = get_current_span(context).get_span_context()
        links = []
        if creator.is_valid:
            links.append(Link(creator, {"lateron.link": "published"}))
        if message.attempt > 1:
            trace = creator.trace_id if creator.is_valid else trace_id(message.id)
            flags = creator.trace_flags if creator.is_valid else TraceFlags(TraceFlags.SAMPLED)
            before = SpanContext(trace, span_id(message.id, message.attempt - 1), is_remote=True, trace_flags=flags)
            links.append(Link(before, {"lateron.link": "attempt before"}))
        self._ids.next_trace, self._ids.next_span = trace_id(message.id), span_id(message.id, message.attempt)
        try:
            span = self._tracer.start_span("deliver", context, SpanKind.CLIENT, None, links)
        finally:
            self._ids.next_trace = self._ids.next_span = None
        if span.is_recording():
            span.set_attributes(_of_attempt(claimed))
        self._open[message.id] = span
        return replace(claimed, request=replace(request, options=replace(options, trace=_trace(span, stored))))


def _context(trace: Trace | None) -> Context:
    """Return the context that a trace names; an empty one if there is none."""
    if trace is None or trace.parent is None:
        return Context()
    carrier = {PARENT: trace.parent} | ({} if trace.state is None else {STATE: trace.state})
    return _W3C.extract(carrier, Context())


def _trace(span: AnySpan, incoming: Trace | None) -> Trace:
    """Return the context of a span, to be carried on; the baggage is that of who published.

    Why not by the SDK's propagator: it costs several times as much, and each message is asked twice.
    """
    ours = span.get_span_context()
    parent = f"00-{ours.trace_id:032x}-{ours.span_id:016x}-{ours.trace_flags:02x}"
    state = ours.trace_state.to_header() if ours.trace_state else None
    return Trace(parent, state, None if incoming is None else incoming.baggage)


def _with(item: Publication | GroupPublication, trace: Trace) -> Publication | GroupPublication:
    """Return an item whose messages carry a context."""
    if isinstance(item, GroupPublication):
        return replace(item, context=replace(item.context, trace=trace))
    options = replace(item.request.options, trace=trace)
    return replace(item, request=replace(item.request, options=options))


def _carrying(item: Item, server: AnySpan, incoming: Trace | None) -> Item:
    """Return an item that has no span of its own: it carries the context of its request, or the one it came with."""
    own = _asked(item)
    if not isinstance(item, Publication | GroupPublication) or (own is not None and own != incoming):
        return item
    return _with(item, _trace(server, incoming))


def _asked(item: Item) -> Trace | None:
    """Return the trace that an item belongs to by itself."""
    if isinstance(item, Publication):
        return _of(item.request.options.trace, item.request.headers)
    return item.context.trace if isinstance(item, GroupPublication) else None


def _of(trace: Trace | None, forwarded: Sequence[tuple[str, str]]) -> Trace | None:
    """Return a trace; without one, what a publisher forwards explicitly says the same."""
    return trace if trace is not None or not forwarded else trace_of(forwarded)


def _destination_name(item: Publication | GroupPublication) -> str:
    """Return where a message goes, without what may be a secret: its queue, its URL group, or its host."""
    if isinstance(item, GroupPublication):
        return item.group
    options = item.request.options
    return options.queue_name or options.topic or _place(item.request.url)


def _place(url: str) -> str:
    destination = _parsed(url)
    return "-" if destination is None else destination.authority


def _parsed(url: str) -> Destination | None:
    with suppress(InvalidDestination):
        return parse_destination(url)
    return None


def _stored(span: AnySpan, answer: Answered | BaseException) -> None:
    """End the span of an item."""
    if isinstance(answer, BaseException):
        _failed(span, type(answer).__name__)
    elif isinstance(answer, Accepted):
        span.set_attribute("messaging.message.id", message_text(answer.id))
        span.set_attribute("lateron.duplicate", answer.duplicate)
    elif isinstance(answer, FannedOut):
        span.set_attribute("messaging.batch.message_count", len(answer.endpoints))
        ids = [message_text(one.id) for _, one in answer.endpoints[:_MESSAGES_MAX]]
        span.set_attribute("lateron.message_ids", ids)
    if not isinstance(answer, BaseException):
        span.add_event("stored")
    span.end()


def _of_batch(result: tuple[Answered, ...] | BaseException) -> int:
    """Return the status of the answer to a batch."""
    if isinstance(result, BaseException):
        return _status(result)
    return 200 if all(isinstance(answer, LateronError) for answer in result) else 201


def _status(answer: Answered | BaseException) -> int:
    """Return the status of the answer to a single publish."""
    if isinstance(answer, LateronError):
        return answer.status
    if isinstance(answer, BaseException):
        return 500
    if isinstance(answer, FannedOut):
        return 202 if all(one.duplicate for _, one in answer.endpoints) else 201
    return 202 if isinstance(answer, Accepted) and answer.duplicate else 201


def _of_publish(item: Publication | GroupPublication) -> Attributes:
    """Return what is known of a message before it is stored."""
    body = item.body if isinstance(item, GroupPublication) else item.request.body
    return {
        "messaging.system": "lateron",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": _destination_name(item),
        "messaging.message.body.size": len(body or b""),
    }


def _of_attempt(claimed: Claimed) -> Attributes:
    """Return what is known of an attempt before it is made."""
    message, request = claimed.message, claimed.request
    destination = _parsed(request.url)
    options = request.options
    attributes: Attributes = {
        "messaging.system": "lateron",
        "messaging.operation.name": "deliver",
        "messaging.message.id": message_text(message.id),
        "messaging.message.body.size": len(request.body or b""),
        "http.request.method": request.method,
        "lateron.kind": _KINDS[message.kind],
        "lateron.attempt": message.attempt,
        "lateron.retried": message.retried,
    }
    if destination is not None:
        attributes["url.scheme"] = destination.scheme
        attributes["server.address"] = destination.host
        attributes["server.port"] = destination.port
        attributes["messaging.destination.name"] = options.queue_name or options.topic or destination.authority
    if message.attempt > 1:
        attributes["http.request.resend_count"] = message.attempt - 1
    if options.schedule is not None:
        attributes["lateron.schedule"] = options.schedule
    return attributes


def _tell(span: AnySpan, outcome: Outcome) -> None:
    """Note on a span how its attempt ended, and when it came how far."""
    phases = outcome.phases
    span.set_attribute("lateron.connection.reused", outcome.reused)
    span.set_attribute("network.protocol.version", "1.1")
    if outcome.peer is not None:
        address, _, port = outcome.peer.rpartition(":")
        span.set_attribute("network.peer.address", address.strip("[]"))
        span.set_attribute("network.peer.port", int(port))
    if outcome.status is not None:
        span.set_attribute("http.response.status_code", outcome.status)
        span.set_attribute("http.response.body.size", len(outcome.body))
    if isinstance(span, Span) and span.start_time is not None:
        at = span.start_time
        for name, took in (("dns", phases.dns), ("connect", phases.connect), ("tls", phases.tls)):
            if took is not None:
                at += took * 1000
                span.add_event(name, {"lateron.took_us": took}, at)
        if phases.first_byte is not None:
            at = span.start_time + max(0, phases.total - (phases.body or 0)) * 1000
            span.add_event("first byte", {"lateron.took_us": phases.first_byte}, at)
    if not delivered(outcome):
        _failed(span, outcome.error or str(outcome.status))


def _failed(span: AnySpan, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))
