"""HTTP headers as this program keeps them, and those that a delivery carries.

A header's value is kept as a ``str`` whose characters are the bytes of the wire, so any byte survives.
Text that comes from JSON is brought into that form as UTF-8 (``wire_text``), and shown as the text its
bytes spell (``shown_text``).

Three kinds of names are never forwarded, whoever asks:

* those that frame a request or belong to one connection: a forwarded ``Content-Length`` would let a
  publisher smuggle a second request to the receiver;
* those that we set ourselves (signature, message id, retried, caller, user agent): a receiver trusts them;
* where *all* headers of a request are forwarded, its ``Authorization`` and ``Cookie``: they are ours.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from lateron.core.ids import message_text
from lateron.core.trace import NAMES as TRACE_NAMES
from lateron.core.trace import trace_headers
from lateron.core.values import Headers, Message, Request

HOPS: Final = "Lateron-Hops"  # How many deliveries of Lateron servers led to this request.
USER_AGENT: Final = "Upstash-QStash"  # What receivers of the QStash API look for.

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_FRAMING: Final = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "http2-settings",
    )
)
_OURS: Final = frozenset(
    (
        "user-agent",
        "upstash-signature",
        "upstash-message-id",
        "upstash-retried",
        "upstash-caller-ip",
        "upstash-topic-name",
        "upstash-schedule-id",
        "upstash-region",
        "lateron-hops",
    )
)
_CREDENTIALS: Final = frozenset(("authorization", "cookie"))
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MEMO_MAX: Final = 64  # Longer names are not remembered, so that the memory stays small.


def wire_text(text: str) -> str:
    """Return text of any script as the bytes of the wire: UTF-8, one character a byte.

    Raises:
        ValueError: The text has a lone surrogate, which has no bytes.
    """
    return text if text.isascii() else text.encode("utf-8").decode("latin-1")


def shown_text(value: str) -> str:
    """Return the text that the bytes of a header spell: as UTF-8, else each byte as its Latin-1 character."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def has_control(value: str) -> bool:
    """Whether a header's value has a character that would end the line or confuse its reader; tab may stay."""
    return not value.isprintable() and _CONTROL.search(value) is not None


def canonical_name(name: str) -> str:
    """Return a header name as Go writes it: ``test-header`` becomes ``Test-Header``.

    Raises:
        ValueError: It is no name of a header.
    """
    if not name or not _TOKEN.issuperset(name):
        raise ValueError("a header name, of letters, digits and any of !#$%&'*+-.^_`|~")
    return _titled(name)


def _titled(name: str) -> str:
    return "-".join([part[:1].upper() + part[1:].lower() for part in name.split("-")])


def forwarded_name(name: str) -> str:
    """Return the canonical form of a name to forward, or the empty text for one that never is.

    Raises:
        ValueError: It is no name of a header.
    """
    return _remembered(name) if len(name) <= _MEMO_MAX else _forwarded_name(name)


def _forwarded_name(name: str) -> str:
    canonical = canonical_name(name)
    lower = canonical.lower()
    dropped = lower in _FRAMING or lower in _OURS or lower.startswith("proxy-")
    return "" if dropped else canonical


_remembered: Final = lru_cache(maxsize=1024)(_forwarded_name)


def forwarded_plain_name(name: str) -> str:
    """Return what ``Upstash-Header-Forward`` makes of a header without prefix; the empty text drops it.

    Configuration (``Upstash-*``, ``Lateron-*``) and ``Content-Type`` are not forwarded by this way, and neither is
    the context of a trace, which every message carries on (``core.trace``).
    """
    lower = name.lower()
    if (
        lower in _CREDENTIALS
        or lower in TRACE_NAMES
        or lower == "content-type"
        or lower.startswith(("upstash-", "lateron-"))
    ):
        return ""
    return forwarded_name(name)


def grouped(headers: Headers) -> dict[str, list[str]]:
    """Return headers as the wire shows them: canonical name to all its values, in order."""
    shown: dict[str, list[str]] = {}
    for name, value in headers:
        shown.setdefault(_titled(name), []).append(shown_text(value))
    return shown


def delivery_headers(message: Message, request: Request, signature: str | None, region: str | None = None) -> Headers:
    """Return what an attempt sends: ``lasting_headers``, then ``attempt_headers``; arguments are theirs."""
    return lasting_headers(request, region) + attempt_headers(message, request, signature)


def lasting_headers(request: Request, region: str | None = None) -> Headers:
    """Return the headers that all attempts of like messages have: those forwarded, then ours, which replace them.

    Args:
        request: As published.
        region: Name of this installation, if it has one.
    """
    options = request.options
    return _lasting(request.headers, options.schedule, options.topic, options.caller_ip, region, options.hops)


@lru_cache(maxsize=256)  # Most messages of a publisher have the same.
def _lasting(
    forwarded: Headers, schedule: str | None, topic: str | None, caller_ip: str | None, region: str | None, hops: int
) -> Headers:
    kept = [pair for pair in forwarded if pair[0].lower() not in _OURS]
    kept.append(("User-Agent", USER_AGENT))
    if schedule is not None:
        kept.append(("Upstash-Schedule-Id", schedule))
    if topic is not None:
        kept.append(("Upstash-Topic-Name", topic))
    if caller_ip is not None:
        kept.append(("Upstash-Caller-Ip", caller_ip))
    if region is not None:
        kept.append(("Upstash-Region", region))
    kept.append((HOPS, str(hops + 1)))
    return tuple(kept)


def attempt_headers(message: Message, request: Request, signature: str | None) -> Headers:
    """Return the headers that one attempt has.

    Args:
        message: In state ACTIVE; its ``retried`` is that of this attempt.
        request: Of the message; the trace in its options is that of this attempt.
        signature: Of this attempt; None where the operator has switched signatures off.
    """
    own: Headers = (("Upstash-Message-Id", message_text(message.id)), ("Upstash-Retried", str(message.retried)))
    if signature is not None:
        own = (("Upstash-Signature", signature), *own)
    return own if request.options.trace is None else own + trace_headers(request)
