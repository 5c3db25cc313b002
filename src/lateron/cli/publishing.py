"""``lateron publish``: flags become the headers that an SDK would send."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from lateron.cli.client import Client
from lateron.cli.exits import USAGE, Failed
from lateron.cli.terminal import echo, echo_json


def headers(
    options: Mapping[str, str | None],
    forward: Iterable[str],
    more: Iterable[str],
    content_type: str | None,
    body: str | None,
) -> dict[str, str]:
    """Return the headers of the publish request.

    Args:
        options: Values by name without ``Upstash-``; None was not given.
        forward: ``Name: value`` lines for the destination.
        more: ``Name: value`` lines of further options, with or without ``Upstash-``.
        content_type: As given; None: JSON if the body begins like it, else text.
        body: As given; None: there is none.
    """
    result = {f"Upstash-{name}": value for name, value in options.items() if value is not None}
    for line in forward:
        name, value = _split(line)
        result[f"Upstash-Forward-{name}"] = value
    for line in more:
        name, value = _split(line)
        result[name if name.lower().startswith(("upstash-", "lateron-")) else f"Upstash-{name}"] = value
    if content_type is not None:
        result["Content-Type"] = content_type
    elif body is not None:
        looks_json = body.lstrip()[:1] in ("{", "[") or body.endswith(".json")
        result["Content-Type"] = "application/json" if looks_json else "text/plain; charset=utf-8"
    return result


def read_body(body: str | None) -> bytes | None:
    """Return the bytes that ``--body`` names: itself, a file, or standard input."""
    if body is None or not body.startswith("@"):
        return None if body is None else body.encode()
    if body == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise Failed(f"cannot read {body[1:]}: {error.strerror}", USAGE) from None


def publish(
    client: Client, destination: str, body: bytes | None, request_headers: Mapping[str, str], *, as_json: bool
) -> None:
    """Publish, and print the id of each message made."""
    answer = client.call("POST", f"/v2/publish/{destination}", body, request_headers)
    if as_json:
        echo_json(answer)
        return
    for one in answer if isinstance(answer, list) else [answer]:
        note = " (a duplicate; nothing new was stored)" if one.get("deduplicated") else ""
        echo(f"{one.get('messageId', '-')}{note}")


def _split(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise Failed(f"expected 'Name: value', got {line!r}", USAGE)
    return name.strip(), value.strip()
