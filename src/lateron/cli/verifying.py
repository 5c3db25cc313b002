"""``lateron verify``: why a receiver refuses a signature, claim by claim; no server is needed."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Annotated, Any, Final

import typer

from lateron.cli.commands import command, whole
from lateron.cli.exits import DONE, REFUSED, USAGE, Failed
from lateron.cli.outgoing import read_input

verify_app = typer.Typer()

_KEYS: Final = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")
_SKEW_S: Final = 5  # As much may two clocks differ without a word.


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so."""

    name: str
    ok: bool
    said: str


@command(
    verify_app,
    "lateron verify $signature --destination https://example.com/hook -d hello",
    "lateron verify $signature --key $key --json",
)
def verify(
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE", help="Value of the Upstash-Signature header.")],
    destination: Annotated[
        str | None, typer.Option("--destination", help="The URL that the receiver compares; else unchecked.")
    ] = None,
    body: Annotated[
        str | None, typer.Option("--body", "-d", help="The raw body; @FILE reads a file, @- standard input.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="Signing key; repeat for more.", show_default=" and ".join(_KEYS))
    ] = None,
    at: Annotated[int | None, whole("--at", said="When it was received, in unix seconds; else now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check a signature as a receiver does, and say of each part whether it is right and why not.

    The exit code is 1 if a receiver would refuse it. What is not given is not checked.
    """
    from lateron.cli.terminal import echo_json, echo_table
    from lateron.runtime import SystemClock

    keys = [word for word in (key or [os.environ.get(name, "") for name in _KEYS]) if word]
    if not keys:
        raise Failed(f"expected --key, or {' and '.join(_KEYS)}", USAGE)
    raw = None if body is None else body.encode("utf-8", "surrogateescape")
    if raw is not None and raw.startswith(b"@"):
        raw = read_input("--body", "-" if body == "@-" else str(body)[1:])
    checks = checked(signature.strip(), keys, destination, raw, at if at is not None else SystemClock().wall() // 1000)
    valid = all(check.ok for check in checks)
    if as_json:
        shown = [{"check": check.name, "ok": check.ok, "said": check.said} for check in checks]
        echo_json({"valid": valid, "checks": shown})
    else:
        echo_table(("check", "", "what"), [(check.name, "ok" if check.ok else "WRONG", check.said) for check in checks])
    return DONE if valid else REFUSED


def checked(token: str, keys: Sequence[str], destination: str | None, body: bytes | None, now: int) -> list[Check]:
    """Return what is right and wrong about a signature.

    Args:
        token: As it was received.
        keys: Of the receiver.
        destination: What the receiver takes for its own URL; None is not checked.
        body: As received; None is not checked.
        now: When it was received, in seconds.
    """
    parts = token.split(".")
    try:
        head, claims = (json.loads(_decoded(part)) for part in parts[:2])
        mac = _decoded(parts[2]) if len(parts) == 3 else None
    except (ValueError, IndexError):
        head = claims = mac = None
    if mac is None or not isinstance(head, dict) or not isinstance(claims, dict):
        said = f"expected three parts of base64url between dots, the first two JSON; got {len(parts)}"
        return [Check("form", False, f"{said}. Is it the whole value of Upstash-Signature, not cut by a log or proxy?")]
    checks = [
        Check("form", True, "a JSON web token"),
        Check("algorithm", head.get("alg") == "HS256", f"{head.get('alg')!r}, expected 'HS256'"),
        _key(parts, mac, keys),
        Check("iss", claims.get("iss") == "Upstash", f"{claims.get('iss')!r}, expected 'Upstash'"),
        *_times(claims, now),
    ]
    if destination is not None:
        checks.append(_sub(str(claims.get("sub")), destination))
    if body is not None:
        checks.append(_body(str(claims.get("body")), body))
    return checks


def _key(parts: Sequence[str], mac: bytes, keys: Sequence[str]) -> Check:
    signed = f"{parts[0]}.{parts[1]}".encode()
    for number, key in enumerate(keys):
        if compare_digest(hmac_digest(key.encode(), signed, "sha256"), mac):
            return Check("key", True, f"made with key {number + 1} of {len(keys)}, {_masked(key)}")
        if compare_digest(hmac_digest(key.strip().strip("\"'").encode(), signed, "sha256"), mac):
            return Check("key", False, f"made with key {number + 1}, but yours has blanks or quotes around it")
    shown = ", ".join(map(_masked, keys))
    said = f"made with none of {shown}; were the keys rotated twice? `lateron keys show` prints those of the server"
    return Check("key", False, said)


def _times(claims: Mapping[str, Any], now: int) -> list[Check]:
    checks = []
    for name, late in (("nbf", False), ("exp", True)):
        value = claims.get(name)
        if not isinstance(value, int):
            checks.append(Check(name, False, f"{value!r}, expected unix seconds"))
            continue
        ok = now < value + _SKEW_S if late else now >= value - _SKEW_S
        reason = "it was received too late, or the receiver's clock is fast" if late else "the receiver's clock is slow"
        checks.append(Check(name, ok, f"{abs(value - now)} s {'after' if value > now else 'before'} the time of receipt"
                            + ("" if ok else f": {reason}")))  # fmt: skip
    return checks


def _sub(claimed: str, destination: str) -> Check:
    if claimed == destination:
        return Check("sub", True, claimed)
    for name, change in (
        ("the scheme is another; is there a proxy that ends TLS?", lambda url: url.partition("://")[2]),
        ("only a slash at the end differs", lambda url: url.rstrip("/")),
        ("the query is another", lambda url: url.partition("?")[0]),
        ("only capital letters differ", str.lower),
    ):
        if change(claimed) == change(destination):
            return Check("sub", False, f"made for {claimed!r}, not {destination!r}: {name}")
    return Check("sub", False, f"made for {claimed!r}, not {destination!r}")


def _body(claimed: str, body: bytes) -> Check:
    wanted = claimed.rstrip("=")
    if _digest(body) == wanted:
        return Check("body", True, f"{len(body)} bytes with this hash")
    if any(_digest(other) == wanted for other in (body.rstrip(b"\r\n"), body + b"\n")):
        return Check("body", False, "only a line end at its end differs")
    try:
        compact = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
        again = {compact, json.dumps(json.loads(body)).encode()}
    except ValueError:
        again = set()
    if any(_digest(other) == wanted for other in again):
        return Check("body", False, "the same JSON in other bytes: it was parsed and written anew before the check")
    return Check("body", False, f"the hash of these {len(body)} bytes is another; check the raw body")


def _digest(body: bytes) -> str:
    return urlsafe_b64encode(sha256(body).digest()).decode().rstrip("=")


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part.encode("ascii") + b"=" * (-len(part) % 4))


def _masked(key: str) -> str:
    return f"{key[:8]}..." if len(key) > 12 else "a short key"
