"""A relay between a command and the real server that loses answers, as networks and gateways do."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.support.poll import PATIENCE_S

Fault = Literal["cut", "half", "502", "503", "busy", "early", "text"]


class Relay:
    """Passes requests on to a server, and answers with a fault; a context manager.

    * ``cut``: the answer is lost, and the connection with it; ``half`` of the answer comes.
    * ``502``, ``503``: a gateway, or a store that failed, does not know.
    * ``busy``: 503 with ``Retry-After``; nothing is passed on.
    * ``early``: 413 before the body was read; nothing is passed on.
    * ``text``: what answers is no API.
    """

    def __init__(self, server_url: str, fault: Fault) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65_537)
                if self.raw_requestline and self.parse_request():
                    self._fail()
                self.close_connection = True

            def _fail(self) -> None:
                if fault == "busy":
                    return self._answer(b"503 Busy\r\nRetry-After: 1", b'{"error":"too much is under way"}')
                if fault == "early":
                    return self._answer(b"413 Too Large", b'{"error":"body: at most 1 bytes"}')
                self._pass_on()
                if fault == "half":
                    return self._answer(b"200 OK", b'{"messageId":', missing=10)
                if fault == "text":
                    return self._answer(b"200 OK", b"<html>welcome</html>")
                if fault != "cut":
                    self._answer(fault.encode() + b" Bad", b"bad gateway")
                return None

            def _answer(self, status: bytes, body: bytes, missing: int = 0) -> None:
                length = str(len(body) + missing).encode()
                self.wfile.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body)

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = HTTPConnection(urlsplit(server_url).netloc, timeout=PATIENCE_S)
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                connection.getresponse().read()
                connection.close()

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
