"""Redaction: what a publisher wants delivered but never shown.

A redacted value appears as ``REDACTED:<sha256 of the value>`` everywhere but at the destination. The hash
lets its owner, who knows the value, tell which one it was; it tells nobody else.
"""

from __future__ import annotations

from hashlib import sha256

from lateron.core.values import Headers, Redaction


def redacted(value: bytes) -> str:
    """Return what stands in the place of a value."""
    return f"REDACTED:{sha256(value).hexdigest()}"


def redact_headers(headers: Headers, redaction: Redaction | None) -> Headers:
    """Return headers in which the redacted ones have their hash for a value; names and order stay."""
    if redaction is None or not (redaction.all_headers or redaction.headers):
        return headers
    return tuple(
        (name, redacted(value.encode("latin-1")))
        if redaction.all_headers or name.lower() in redaction.headers
        else (name, value)
        for name, value in headers
    )


def hides_body(redaction: Redaction | None) -> bool:
    """Whether the body must not be shown."""
    return redaction is not None and redaction.body


def both(one: Redaction | None, other: Redaction | None) -> Redaction | None:
    """Return the redaction that hides what either hides."""
    if one is None or other is None:
        return one or other
    return Redaction(
        body=one.body or other.body,
        all_headers=one.all_headers or other.all_headers,
        headers=tuple(dict.fromkeys(one.headers + other.headers)),
    )
