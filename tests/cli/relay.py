"""A relay between a command and the real server that loses answers, as networks and gateways do."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from tests.support.poll import PATIENCE_S

Fault = Literal["cut", "half", "502", "503", "busy", "early", "text"]

# Status, body, and how many bytes of it are missing: what comes in place of the server's answer.
_BEFORE: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "busy": (b"503 Busy\r\nRetry-After: 1", b'{"error":"too much is under way"}'),
    "early": (b"413 Too Large", b'{"error":"body: at most 1 bytes"}'),
}
_BEHIND: Final[Mapping[str, tuple[bytes, bytes, int]]] = {
    "half": (b"200 OK", b'{"messageId":', 10),
    "text": (b"200 OK", b"<html>welcome</html>", 0),
    "502": (b"502 Bad", b"bad gateway", 0),
    "503": (b"503 Bad", b"bad gateway", 0),
}


class Relay:
    """Passes requests on to a server, and answers with a fault; a context manager.

    * ``cut``: the answer is lost, and the connection with it; ``half`` of the answer comes.
    * ``502``, ``503``: a gateway, or a store that failed, does not know.
    * ``busy``: 503 with ``Retry-After``; nothing is passed on.
    * ``early``: 413 before the body was read; nothing is passed on.
    * ``text``: what answers is no API.

    Args:
        server_url: Of the server.
        fault: What goes wrong.
        changes: So many go well before; then questions do, too.
    """

    def __init__(self, server_url: str, fault: Fault, changes: int = 0) -> None:
        left = [changes]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65_537)
                if self.raw_requestline and self.parse_request():
                    self._fail()
                self.close_connection = True

            def _fail(self) -> None:
                if changes and (self.command == "GET" or left[0]):
                    left[0] -= self.command != "GET"
                    return self._answer(*self._pass_on())
                if fault in _BEFORE:
                    return self._answer(*_BEFORE[fault])
                self._pass_on()
                if fault in _BEHIND:
                    self._answer(*_BEHIND[fault])
                return None

            def _answer(self, status: bytes, body: bytes, missing: int = 0) -> None:
                length = str(len(body) + missing).encode()
                self.wfile.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body)

            def _pass_on(self) -> tuple[bytes, bytes]:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = HTTPConnection(urlsplit(server_url).netloc, timeout=PATIENCE_S)
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                return f"{answer.status} {answer.reason}".encode(), content

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
