"""``lateron doctor``: can a delivery to a URL arrive, step by step as a delivery goes, from this machine.

Nothing is sent but a HEAD request, unless ``--send`` asks for the round trip: a signed POST that the receiver should
take, and a forged one that it should refuse.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lateron.cli.client import speaks_plainly
from lateron.cli.commands import command
from lateron.cli.exits import DONE, REFUSED, Failed
from lateron.cli.remote import Remote, path

if TYPE_CHECKING:
    from lateron.core.destination import Destination
    from lateron.egress import GuardPolicy

doctor_app = typer.Typer()

_TIMEOUT_S: Final = 10.0
_SKEW_MS: Final = 30_000  # Signatures are taken five minutes to either side; this much is worth a word.
_MARKS: Final = {True: "ok", False: "WRONG", None: "not known"}
_BODY: Final = b'{"lateron":"doctor"}'


@dataclass(frozen=True, slots=True)
class Finding:
    """How a step went."""

    step: str
    ok: bool | None  # None is not known, and keeps nothing from being tried.
    said: str


@command(doctor_app, "lateron doctor $catcher", "lateron doctor $catcher --json")
def doctor(
    remote: Remote,
    destination: Annotated[str, typer.Argument(metavar="URL", help="Where a delivery should go.")],
    send: Annotated[
        bool, typer.Option("--send", help="POST to it twice: signed by the server's key, and forged.")
    ] = False,
) -> int:
    """Find out whether deliveries to a URL can arrive: name, guard, connection, TLS, clock, and with --send signature.

    Names and connections are those of this machine: run it where the server runs. The exit code is 1 if a step fails.
    """
    from lateron.cli.terminal import echo_json, echo_table

    found = list(_examined(remote, destination, send=send))
    right = all(one.ok is not False for one in found)
    if remote.as_json:
        echo_json({"ok": right,
                   "steps": [{"step": one.step, "ok": one.ok, "said": one.said} for one in found]})  # fmt: skip
    else:
        echo_table(("step", "", "what"), [(one.step, _MARKS[one.ok], one.said) for one in found])
    return DONE if right else REFUSED


def _examined(remote: Remote, url: str, *, send: bool) -> Iterator[Finding]:
    """Yield the steps up to the first that keeps the others from being tried."""
    from lateron.core.destination import parse_destination
    from lateron.errors import LateronError

    try:
        destination = parse_destination(url)
    except LateronError as error:
        yield Finding("url", False, str(error))
        return
    yield _server(remote)
    addresses, named = _resolved(destination)
    yield named
    if not addresses:
        return
    guarded = _guarded(destination, addresses, _policy(remote))
    yield guarded
    if guarded.ok is not False:  # What a server would not call, we do not call for it.
        yield from _called(remote, destination, addresses, send=send)


def _server(remote: Remote) -> Finding:
    try:
        info = remote.call("GET", path("lateron", "v1", "info"))
    except Failed as error:
        return Finding("server", False, str(error))
    sealed = info.get("encryption", {})
    stored = f"; its store is encrypted, key {sealed.get('key')}" if sealed.get("on") else ""
    return Finding("server", True, f"Lateron {info['version']}, {info.get('mode')}, as {info['user']}{stored}")


def _resolved(destination: Destination) -> tuple[list[str], Finding]:
    from lateron.egress.resolve import system_lookup

    if destination.literal:
        return [destination.host], Finding("name", True, f"{destination.host} is an address")
    try:
        addresses = list(dict.fromkeys(system_lookup(destination.host)))
    except OSError as error:
        return [], Finding("name", False, f"{destination.host} does not resolve here: {error.strerror or error}")
    return addresses, Finding("name", True, f"{destination.host} is {', '.join(addresses)}")


def _policy(remote: Remote) -> GuardPolicy | None:
    """Return what the guard of the server goes by; None: it does not tell us, or there is none."""
    from lateron.config.kinds import Addresses, Private
    from lateron.egress import GuardPolicy

    try:
        answer = remote.call("GET", path("lateron", "v1", "config"))
        given = {one["name"]: one["value"].removeprefix("-") for one in answer["settings"]}
        private, exact = Private().read(given["allow-private"]), Addresses().read(given["allow-address"])
    except (Failed, KeyError, TypeError, ValueError):
        return None
    return GuardPolicy(allow_private=private, addresses=frozenset(exact))


def _guarded(destination: Destination, addresses: list[str], policy: GuardPolicy | None) -> Finding:
    from lateron.egress import GuardPolicy
    from lateron.egress.probe import judged

    def refusals(guard: GuardPolicy) -> list[str]:
        return [one.refused for one in judged(addresses, destination, guard) if one.refused is not None]

    refused = refusals(policy or GuardPolicy())
    if len(refused) < len(addresses):
        return Finding("guard", True, "an address that may be called" + (f"; not all: {refused[0]}" if refused else ""))
    if policy is None and len(refusals(GuardPolicy(allow_private=True))) < len(addresses):
        said = f"{refused[0]}; whether the server allows it, only a token with scope admin is told"
        return Finding("guard", None, said)
    return Finding("guard", False, f"{refused[0]}; a server whose settings do not allow it refuses")


def _called(remote: Remote, destination: Destination, addresses: list[str], *, send: bool) -> Iterator[Finding]:
    try:
        raw, said = _connected(destination, addresses)
    except OSError as error:
        yield Finding("connect", False, f"no connection to port {destination.port}: {error.strerror or error}")
        return
    yield Finding("connect", True, said)
    raw.close()
    try:
        answer, tls = _exchange(destination, addresses, "HEAD", {}, b"")
    except ssl.SSLError as error:
        if speaks_plainly(error):
            yield Finding("tls", False, f"port {destination.port} speaks plain HTTP, not TLS; use http://")
            return
        if isinstance(error, ssl.SSLEOFError):
            yield Finding("tls", False, "the receiver hung up in the middle of it; does it speak plain HTTP?")
            return
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        yield Finding("tls", False, f"{reason}; name, chain and dates of the certificate must be right")
        return
    except (OSError, HTTPException) as error:
        yield Finding("answer", False, f"no answer to HEAD: {error}")
        return
    if tls is not None:
        yield Finding("tls", True, tls)
    yield Finding("answer", True, f"{answer.status} to HEAD")
    yield _clock(answer.getheader("Date"))
    if send:
        yield from _round_trip(remote, destination, addresses)


def _connected(destination: Destination, addresses: list[str]) -> tuple[socket.socket, str]:
    trouble: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection(
                (address, destination.port), _TIMEOUT_S
            ), f"{address}, port {destination.port}"
        except OSError as error:
            trouble = error
    assert trouble is not None
    raise trouble


def _exchange(
    destination: Destination, addresses: list[str], method: str, headers: Mapping[str, str], body: bytes
) -> tuple[HTTPResponse, str | None]:
    """Send a request to one of the addresses; return the answer, and what TLS was agreed."""
    from lateron.egress import tls_context
    from lateron.egress.probe import tls_facts

    connected, _ = _connected(destination, addresses)
    tls: str | None = None
    try:
        if destination.scheme == "https":
            connected = secured = tls_context().wrap_socket(connected, server_hostname=destination.host)
            facts = tls_facts(secured)
            until = datetime.fromtimestamp(facts.expires / 1000, UTC).date()
            tls = f"{facts.protocol}, certificate valid for {destination.host} until {until}, by {facts.issuer}"
        connection = HTTPConnection(destination.host, destination.port, timeout=_TIMEOUT_S)
        connection.sock = connected
        complete = {"Host": destination.authority, "Connection": "close", **headers}
        connection.request(method, destination.target, body or None, complete)
        answer = connection.getresponse()
        answer.read()
        return answer, tls
    finally:
        connected.close()


def _clock(date: str | None) -> Finding:
    from lateron.runtime import SystemClock

    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", True, "the receiver does not tell its time")
    apart = round(theirs - SystemClock().wall() / 1000)
    said = f"the receiver's clock is {abs(apart)} s {'ahead' if apart > 0 else 'behind'}"
    return Finding("clock", abs(apart) * 1000 <= _SKEW_MS, said if apart else "the receiver's clock agrees")


def _round_trip(remote: Remote, destination: Destination, addresses: list[str]) -> Iterator[Finding]:
    try:
        keys = remote.call("GET", path("v2", "keys"))
    except Failed as error:
        yield Finding("signature", False, f"no keys to sign with: {error}")
        return
    for name, key, wanted in (("signature", keys["current"], True), ("forgery", "sig_forged", False)):
        try:
            answer, _ = _exchange(destination, addresses, "POST", _headers(destination, key), _BODY)
        except (OSError, HTTPException) as error:
            yield Finding(name, False, f"no answer: {error}")
            return
        taken = 200 <= answer.status < 300
        if wanted:
            said = f"{answer.status} to a request signed with the current key"
        else:
            said = f"{answer.status} to a forged one" + ("; the receiver checks no signature" if taken else "")
        yield Finding(name, taken is wanted, said)


def _headers(destination: Destination, key: str) -> dict[str, Any]:
    from lateron.core.signature import sign
    from lateron.runtime import SystemClock

    signature = sign(key, destination.url, sha256(_BODY).digest(), SystemClock().wall(), "jwt_doctor")
    return {"Content-Type": "application/json", "Upstash-Signature": signature, "Upstash-Message-Id": "msg_doctor"}
