"""``lateron config show`` and ``lateron why``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lateron.cli.remote import Remote, path
from lateron.cli.terminal import echo, echo_json, echo_table, instant
from lateron.config import Settings
from lateron.telemetry import plain

_REASONS: Final = {
    "delay": "it was published with a delay",
    "retry": "its last attempt failed and the next one has its time",
    "flow_parallelism": "as many of its flow-control key are being delivered as its parallelism allows",
    "flow_rate": "its flow-control key has used up its rate for this period",
    "flow_paused": "its flow-control key is paused",
    "host_cap": "as many deliveries to its host are open as the server allows",
    "host_paused": "deliveries to its host are paused",
    "queue_head": "messages of its queue before it are not through yet",
    "callback_of": "callbacks of the message before it in its queue are not through yet",
    "queue_paused": "its queue is paused",
    "server_paused": "the whole server is paused",
    "global_parallelism": "as many deliveries are open as the server allows in all",
    "user_parallelism": "as many deliveries are open as the server allows one user",
    "set_apart": "the server has died several times while it was being delivered; it is attempted alone",
    "node": "nothing else holds it; the server has no room for more open deliveries or is about to take it",
}

_PHASES: Final = ("dns", "connect", "tls", "firstByte", "body")


def show_settings(settings: Settings, *, as_json: bool) -> None:
    """Print every setting, its value, and where it came from."""
    rows = list(settings.shown())
    if as_json:
        echo_json({name: {"value": value, "source": source} for name, value, source in rows})
    else:
        echo_table(("setting", "value", "source"), rows)
    for warning in settings.warnings:
        warn(warning)


def warn(line: str) -> None:
    """Print a warning on standard error."""
    import sys

    print(f"lateron: warning: {line}", file=sys.stderr)  # noqa: T201 - Warnings go there.


def show_message(remote: Remote, message_id: str) -> None:
    """Print where a message stands, why, and each of its attempts."""
    story = remote.call("GET", path("lateron", "v1", "messages", message_id))
    if remote.as_json:
        echo_json(story)
        return
    for line in told(story, utc=remote.utc):
        echo(line)
    attempts = story.get("attempts", [])
    if attempts:
        echo()
        echo_table(
            ("attempt", "started", "took", "result", "phases"),
            [_attempt_row(attempt, utc=remote.utc) for attempt in attempts],
        )


def told(story: Mapping[str, Any], *, utc: bool = False) -> list[str]:
    """Return what is known of a message as sentences."""
    lines = [f"{story['messageId']}  {story.get('state', '-')}  {plain(str(story.get('url', '-')))}"]
    lines.append(f"created {instant(story['createdAt'], utc=utc)}")
    reason = story.get("waitingFor")
    if reason:
        until = f" until {instant(story['waitingUntil'], utc=utc)}" if story.get("waitingUntil") else ""
        holder = f" ({plain(str(story['heldBy']))})" if story.get("heldBy") else ""
        lines.append(f"waits{until}: {_REASONS.get(reason, plain(str(reason)))}{holder}")
    if story.get("placeInLine"):
        beyond = "beyond " if story.get("placeInLineIsAtLeast") else ""
        lines.append(f"place in line: {beyond}{story['placeInLine']}")
    return lines


def _attempt_row(attempt: Mapping[str, Any], *, utc: bool) -> tuple[str, ...]:
    phases = attempt.get("phases", {})
    parts = " ".join(f"{name} {_span(phases[name])}" for name in _PHASES if name in phases)
    status, error = attempt.get("responseStatus"), attempt.get("error")
    if error == f"status {status}":
        error = None
    result = " ".join(str(part) for part in (status, error) if part is not None)
    return str(attempt["attempt"]), instant(attempt["startedAt"], utc=utc), _span(phases.get("total", 0)), result, parts


def _span(microseconds: int) -> str:
    """Return a time for people."""
    return f"{microseconds / 1000:.1f} ms" if microseconds < 10_000_000 else f"{microseconds / 1_000_000:.1f} s"
