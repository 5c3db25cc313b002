"""Spans of time as clients write them: ``10s``, ``1h30m``, ``10d``, ``500ms``, ``1.5h``, or a bare ``30``.

The grammar is Go's (``time.ParseDuration``), which the QStash documentation uses, plus ``d`` and ``w``,
and a bare number, which means seconds. Arithmetic is in whole numbers, so ``0.1s`` is exactly 100 ms.
What is finer than a millisecond is rounded up: a wait may end late, never early.
"""

from __future__ import annotations

from typing import Final

from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Millis

MAX_TEXT: Final = 64  # Characters; far above any sensible span, far below any work worth an attack.
MAX_DURATION: Millis = 36_525 * DAY  # A hundred years: still an instant that every database can store.

_NANOS_PER_MS: Final = 1_000_000
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # The micro sign.
    "μs": 1_000,  # The Greek letter, which Go takes too.
    "ms": _NANOS_PER_MS,
    "s": SECOND * _NANOS_PER_MS,
    "m": MINUTE * _NANOS_PER_MS,
    "h": HOUR * _NANOS_PER_MS,
    "d": DAY * _NANOS_PER_MS,
    "w": 7 * DAY * _NANOS_PER_MS,
}
_DIGITS: Final = frozenset("0123456789")
_SHOWN: Final = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1))


def parse_duration(text: str) -> Millis:
    """Return a span in milliseconds, 0 to ``MAX_DURATION``.

    Args:
        text: One or more numbers with units (``1h30m``), or one number without a unit: seconds.

    Raises:
        ValueError: It is none of that, is negative, or is longer than a hundred years.
    """
    text = text.strip(" \t")
    if not text or len(text) > MAX_TEXT:
        raise ValueError("not a duration")
    nanos, at = 0, 0
    while at < len(text):
        number_end = _skip(text, at, number=True)
        unit_end = _skip(text, number_end, number=False)
        unit = text[number_end:unit_end]
        if not unit and (at > 0 or unit_end < len(text)):
            raise ValueError("a number lacks its unit")
        factor = _UNITS.get(unit or "s")
        if factor is None:
            raise ValueError(f"unknown unit {unit!r}")
        nanos += _scaled(text[at:number_end], factor)
        at = unit_end
    milliseconds = -(-nanos // _NANOS_PER_MS)
    if milliseconds > MAX_DURATION:
        raise ValueError("longer than a hundred years")
    return milliseconds


def duration_text(span: Millis) -> str:
    """Return the shortest text in whole units that ``parse_duration`` reads as ``span``; ``0s`` for nothing."""
    assert span >= 0
    parts = []
    for unit, size in _SHOWN:
        count, span = divmod(span, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _skip(text: str, at: int, *, number: bool) -> int:
    """Return where the run of number characters (or of unit characters) that begins at ``at`` ends."""
    while at < len(text) and (text[at] in _DIGITS or text[at] == ".") is number:
        at += 1
    return at


def _scaled(number: str, factor: int) -> int:
    """Return a decimal number times ``factor``, rounded up, without ever using a float."""
    whole, _, fraction = number.partition(".")
    if "." in fraction or not (whole or fraction):
        raise ValueError("not a number")
    scale: int = 10 ** len(fraction)
    return -(-int((whole + fraction) or "0") * factor // scale)
