"""Which of the standard variables ask for what; the SDK itself reads what they say of it.

Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL: Final = "http/protobuf"


class Unsupported(Exception):
    """The variables ask for something that this server does not do. One sentence for people."""


class Choice(Struct, frozen=True):
    """What to tell a collector."""

    traces: bool
    metrics: bool
    asked_by: str  # Name of a variable that asks.


def choice(environ: Mapping[str, str]) -> Choice | None:
    """Return what is asked for; None if nothing is. An empty variable is as if it were not there.

    An endpoint asks, for its signal or for both, and so does an exporter that is named ``otlp``.

    Raises:
        Unsupported: Another exporter or protocol than we have.
    """
    given = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    traces, metrics = _asks(given, "TRACES"), _asks(given, "METRICS")
    if traces is None and metrics is None:
        return None
    return Choice(traces is not None, metrics is not None, traces or metrics or "")


def _asks(given: Mapping[str, str], signal: str) -> str | None:
    """Return the variable that asks for a signal."""
    named = f"OTEL_{signal}_EXPORTER"
    exporter = given.get(named, "").lower()
    if exporter == "none":
        return None
    asking = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", _ENDPOINT)
    found = next((name for name in asking if name in given), named if exporter == "otlp" else None)
    if exporter not in {"", "otlp"}:
        raise Unsupported(f"{named}: expected otlp or none, got {exporter!r}")
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if found is not None and name in given:
            if given[name].lower() != _PROTOCOL:
                raise Unsupported(f"{name}: expected {_PROTOCOL} (port 4318), got {given[name]!r}")
            break
    return found
