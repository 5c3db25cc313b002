"""A small HTTP client for the commands, on the standard library.

It sends one request at a time, follows nothing, and turns every failure into one line and an exit code.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from lateron.cli.exits import REFUSED, UNREACHABLE, USAGE, Failed
from lateron.config.dev_users import DEV_USERS

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_TIMEOUT_S: Final = 30.0
# A destination travels in the path byte for byte; only what cannot stand in a request line is encoded.
_PATH_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Client:
    """Where the server is, and as whom we come."""

    url: str  # Without a slash at its end.
    token: str = field(repr=False)

    def call(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
        """Send a request and return the JSON of a 2xx answer.

        Raises:
            Failed: No server answered, or it answered anything else; the line says what.
        """
        status, content = self._send(method, path, body, {"Authorization": f"Bearer {self.token}", **(headers or {})})
        if not 200 <= status < 300:
            raise Failed(f"the server answered {status}: {reason_of(content)}", REFUSED)
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise Failed(f"{self.url} does not answer JSON; is it a QStash API?", UNREACHABLE) from None

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - As ``call``.
        """Send a GET request."""
        return self.call("GET", f"{path}?{urlencode(query)}" if query else path)

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None, "connect() has looked"
        connection = (
            HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context())
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
        )
        try:
            connection.request(method, parts.path + quote(path, safe=_PATH_SAFE), body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except UnicodeEncodeError:
            raise Failed("a header has a character outside latin-1", USAGE) from None
        except ValueError as error:
            raise Failed(f"{error}", USAGE) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failed(f"no answer from {self.url}: {reason}", UNREACHABLE) from None
        finally:
            connection.close()


def connect(url: str | None, token: str | None) -> Client:
    """Return a client for the server and token given, or those of the environment.

    Without any token a server on this machine is taken for ``lateron dev``, whose first user everybody knows;
    no other server ever gets that token.

    Raises:
        Failed: The URL cannot be used, or there is no token for it.
    """
    chosen = (url or os.environ.get("QSTASH_URL") or DEFAULT_URL).rstrip("/")
    parts = urlsplit(chosen)
    try:
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        usable = False
    if not usable:
        raise Failed(f"the URL of the server: expected http://HOST:PORT, got {chosen!r}", USAGE)
    known = token or os.environ.get("QSTASH_TOKEN")
    if not known:
        if not _is_local(parts.hostname or ""):
            raise Failed("no token: set QSTASH_TOKEN or give --token", USAGE)
        known = DEV_USERS[0].token
    return Client(chosen, known)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def reason_of(content: bytes) -> str:
    """Return what an error answer says, in one line."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        return str(document["error"])
    return content[:200].decode("utf-8", "replace") or "no reason given"
