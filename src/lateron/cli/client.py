"""A small HTTP client for the commands, on the standard library.

It sends one request at a time, follows nothing, and turns every failure into one line and an exit code.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import quote, urlsplit

from lateron.cli.exits import REFUSED, UNKNOWN, UNREACHABLE, USAGE, Failed
from lateron.config.dev_users import DEV_USERS
from lateron.core.destination import is_loopback

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_TIMEOUT_S: Final = 30.0
_PROBE_S: Final = 10.0  # For a question that a healthy server answers at once.
_PATIENCE_S: Final = 600.0  # For what may touch a million messages.
_WHETHER: Final = "; whether it was done is not known"
# A destination travels in the path byte for byte; only what cannot stand in a request line is encoded.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # All but the tab, which a header may have.
_PATH_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Client:
    """Where the server is, and as whom we come."""

    url: str  # Without a slash at its end.
    token: str = field(repr=False)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
        """Send a request and return the JSON of a 2xx answer.

        Args:
            method: Of the request; one that is not GET may change something.
            path: With its query.
            body: Of the request.
            headers: Beside the token.
            patient: Wait longer for the answer.

        Raises:
            Failed: No server answered, or it answered anything else, or it broke off a request that may have
                changed something; the line says what, and the exit code which.
        """
        complete = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        answer = self._send(method, path, body, complete, _PATIENCE_S if patient else _TIMEOUT_S)
        if not 200 <= answer.status < 300:
            said = f"the server answered {answer.status}: {reason_of(answer.content)}"
            raise Failed(*((said, REFUSED) if method == "GET" or answer.is_refusal else (said + _WHETHER, UNKNOWN)))
        try:
            return json.loads(answer.content) if answer.content else None
        except ValueError:
            said = f"{self.url} does not answer JSON; is it a QStash API?"
            raise Failed(*((said, UNREACHABLE) if method == "GET" else (said, UNKNOWN))) from None

    def listen(self, path: str) -> Lines | None:
        """Open a stream of events and return its lines as they come; None if the server has no such stream.

        The lines end when the connection does, or when nothing came for a while.
        """
        connection = self._connection()
        try:
            connection.request("GET", urlsplit(self.url).path + path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
        except (OSError, HTTPException):
            connection.close()
            return None
        if answer.status != 200 or not (answer.getheader("Content-Type") or "").startswith("text/event-stream"):
            answer.close()
            connection.close()
            return None
        return Lines(connection, answer)

    def _connection(self) -> HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None, "connect() has looked"
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S, context=context)
        return HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)

    def probe(self, path: str) -> tuple[int, bytes]:
        """Ask without a token; return the status of the answer, and its content.

        Raises:
            Failed: No server answered.
        """
        answer = self._send("GET", path, None, {}, _PROBE_S)
        return answer.status, answer.content

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], patience_s: float
    ) -> _Answer:
        _check_headers(headers)
        parts, connection = urlsplit(self.url), self._connection()
        # As typed, byte for byte: that is UTF-8, which the server reads.
        raw = {name: value.encode("utf-8", "surrogateescape") for name, value in headers.items()}
        try:
            try:
                connection.connect()
                connection.sock.settimeout(patience_s)
            except (OSError, HTTPException) as error:
                raise Failed(f"no answer from {self.url}: {_cause(error)}", UNREACHABLE) from None
            with suppress(BrokenPipeError, ConnectionResetError):  # It may have said no before it read all.
                target = parts.path + quote(path, safe=_PATH_SAFE, errors="surrogateescape")
                connection.request(method, target, body, raw)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.read(), answer.getheader("Retry-After") is not None)
        except ValueError as error:  # A header that cannot be one; nothing was sent.
            raise Failed(f"{error}", USAGE) from None
        except (OSError, HTTPException) as error:
            if method == "GET":
                raise Failed(f"no answer from {self.url}: {_cause(error)}", UNREACHABLE) from None
            raise Failed(f"{self.url} broke off: {_cause(error)}{_WHETHER}", UNKNOWN) from None
        finally:
            connection.close()


class Lines:
    """The lines of an answer as they come; close it."""

    def __init__(self, connection: HTTPConnection, answer: HTTPResponse) -> None:
        self._connection, self._answer = connection, answer

    def __iter__(self) -> Iterator[bytes]:  # noqa: D105
        with suppress(OSError, HTTPException, ValueError):
            while line := self._answer.readline():
                yield line

    def close(self) -> None:
        """Hang up."""
        self._answer.close()
        self._connection.close()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes
    may_repeat: bool  # It says when to try again, so nothing was done.

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was done for certain: a gateway or a store that failed does not know."""
        return self.status not in {500, 502, 503, 504} or (self.status == 503 and self.may_repeat)


def connect(url: str | None, token: str | None) -> Client:
    """Return a client for the server and token given, or those of the environment.

    Without any token a server on this machine is taken for ``lateron dev``, whose first user everybody knows;
    no other server ever gets that token.

    Raises:
        Failed: The URL cannot be used, or there is no token for it.
    """
    chosen = server_url(url)
    known = token or os.environ.get("QSTASH_TOKEN")
    if not known:
        if not is_loopback(urlsplit(chosen).hostname or ""):
            raise Failed("no token: set QSTASH_TOKEN or give --token", USAGE)
        known = DEV_USERS[0].token
    if _CONTROL.search(known) or "\t" in known:  # Never shown, whatever is wrong with it.
        raise Failed(f"{'--token' if token else 'QSTASH_TOKEN'}: holds a line end or control character", USAGE)
    return Client(chosen, known)


def server_url(url: str | None) -> str:
    """Return the URL given, or that of the environment, or that of `lateron dev`; without a slash at its end.

    Raises:
        Failed: It cannot be used.
    """
    chosen = (url or os.environ.get("QSTASH_URL") or DEFAULT_URL).rstrip("/")
    parts = urlsplit(chosen)
    try:
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        usable = False
    if not usable:
        raise Failed(f"the URL of the server: expected http://HOST:PORT, got {chosen!r}", USAGE)
    return chosen


def reason_of(content: bytes) -> str:
    """Return what an error answer says, in one line."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        return str(document["error"])
    return content[:200].decode("utf-8", "replace") or "no reason given"


def speaks_plainly(error: Exception) -> bool:
    """Whether a handshake failed because the other side does not speak TLS at all."""
    return isinstance(error, ssl.SSLError) and error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}


def _check_headers(headers: Mapping[str, str]) -> None:
    """Refuse a value that would end its header, by the name of the header alone: the value may be a secret."""
    for name, value in headers.items():
        if _CONTROL.search(value):
            raise Failed(f"header {name}: holds a line end or control character", USAGE)


def _cause(error: Exception) -> str:
    """Return why there is no answer, in a few words."""
    if speaks_plainly(error):
        return "it speaks plain HTTP there, not TLS; use http://"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
