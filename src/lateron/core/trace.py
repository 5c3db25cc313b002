"""W3C trace context: how a publish, its attempts and its callbacks are known to belong together.

A publisher that traces sends ``traceparent``, ``tracestate`` and ``baggage`` with its request. They are stored with the
message, beside what is forwarded and not among it: two publishes that differ only in their trace have the same content,
and a list of messages shows what the publisher asked for. Each delivery carries them on, whether this server traces
or not. What the publisher forwards himself (``Upstash-Forward-Traceparent``) is his word and wins.

A context that cannot be read is left out, as its specification wants it: tracing is never a reason to refuse a message.

Ids of spans are made from the id of the message and the number of the attempt. So a retry can name the attempt before
it, and all attempts of a message that came without a trace are one, though nobody has stored anything.

Source: W3C Recommendation "Trace Context" (2021) and Candidate Recommendation "Propagation format for Baggage".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from lateron.core.values import Headers, MessageId, Request, Trace

PARENT: Final = "traceparent"
STATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
NAMES: Final = frozenset((PARENT, STATE, BAGGAGE))
RAW_NAMES: Final = frozenset(name.encode() for name in NAMES)  # As a request has them, in lower case.

STATE_BYTES: Final = 512  # More need not be passed on, says the specification; a longer one is left out.
BAGGAGE_BYTES: Final = 8192  # As above.
_PARENT_BYTES: Final = 256  # Of a version to come; that of today has 55.

_FORM: Final = re.compile(r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


def read_trace(headers: Sequence[tuple[bytes, bytes]]) -> Trace | None:
    """Return the context of a request, if it has one; names in lower case."""
    given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if name in RAW_NAMES]
    return trace_of(given) if given else None


def trace_of(headers: Iterable[tuple[str, str]]) -> Trace | None:
    """Return the context that headers carry, names in any case; None if there is none that can be read."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in NAMES:
            found.setdefault(lower, []).append(value.strip(" \t"))
    parents = found.get(PARENT, [])
    parent = parents[0] if len(parents) == 1 and is_parent(parents[0]) else None
    state = _joined(found.get(STATE), STATE_BYTES) if parent is not None else None
    baggage = _joined(found.get(BAGGAGE), BAGGAGE_BYTES)
    return None if parent is None and baggage is None else Trace(parent, state, baggage)


def is_parent(text: str) -> bool:
    """Whether a text is a ``traceparent``; one of a later version may have more behind it."""
    match = _FORM.match(text)
    if match is None or match["trace"] == _NO_TRACE or match["span"] == _NO_SPAN or match["version"] == "ff":
        return False
    rest = text[match.end() :]
    if match["version"] == "00" or not rest:
        return not rest
    return rest[0] == "-" and len(text) <= _PARENT_BYTES and _is_plain(rest)


def trace_headers(request: Request) -> Headers:
    """Return the headers by which a delivery carries its context; what the publisher forwards is left to him."""
    trace = request.options.trace
    if trace is None:
        return ()
    given = {name.lower() for name, _ in request.headers}
    kept = []
    if trace.parent is not None and PARENT not in given:
        kept.append((PARENT, trace.parent))
        if trace.state is not None and STATE not in given:
            kept.append((STATE, trace.state))
    if trace.baggage is not None and BAGGAGE not in given:
        kept.append((BAGGAGE, trace.baggage))
    return tuple(kept)


def trace_id(message: MessageId) -> int:
    """Return the id of the trace of a message that was published without one; never 0."""
    return int.from_bytes(sha256(b"trace" + message).digest()[:16]) or 1


def span_id(message: MessageId, attempt: int) -> int:
    """Return the id of the span of an attempt; never 0."""
    return int.from_bytes(sha256(b"span%d %b" % (attempt, message)).digest()[:8]) or 1


def _joined(values: list[str] | None, most: int) -> str | None:
    """Return the one value that several headers of a name mean; None if there is none, or none to be passed on."""
    text = ",".join(value for value in values or () if value)
    return text if text and len(text) <= most and _is_plain(text) else None


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\t", " ").isprintable()
