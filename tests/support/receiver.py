"""A real HTTP receiver for tests: it records every request as it came and answers as it was told.

The head of a request is kept as the bytes of the wire (in latin-1), names in their spelling, duplicates in
their order, the target as on the request line: library servers tidy all of these, and a test of what we
send must see what we send. The body is read by ``Content-Length`` or in chunks.

One receiver serves many tests at once. A test asks for an ``Endpoint``: a path nobody else has, with its own
record and its own program of answers::

    with Receiver() as receiver:
        endpoint = receiver.endpoint()
        endpoint.answers(Answer(500), Answer(200))   # in turn; the last one repeats
        publish(endpoint.url)
        first, second = endpoint.wait_for(2)
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import IO, Any, Self

from tests.support.poll import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came."""

    number: int  # Order of arrival over the whole receiver, from 1.
    time: float  # Unix seconds when its head was complete.
    method: str
    target: str  # As on the request line.
    headers: tuple[tuple[str, str], ...]  # As sent: spelling, order and duplicates kept; latin-1.
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of every header of that name, compared without case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        """Return the value of the one header of that name."""
        (value,) = self.all(name)
        return value

    def has(self, name: str) -> bool:
        """Say whether there is a header of that name."""
        return bool(self.all(name))

    @property
    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer to a request."""

    status: int = 200
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()
    hold: threading.Event | None = None  # Answer only once it is set.
    cut: bool = False  # Announce the whole body, send half of it, close.


Program = Callable[[Received], Answer]


def echo(request: Received) -> Answer:
    """Answer with what arrived, so that a callback can show it to a test in another process."""
    seen = {
        "method": request.method,
        "target": request.target,
        "headers": {name.lower(): value for name, value in request.headers},
        "body": b64encode(request.body).decode(),
    }
    return Answer(body=json.dumps(seen).encode(), headers=(("Content-Type", "application/json"),))


@dataclass(slots=True)
class Endpoint:
    """A path of a receiver, with a record and a program of its own."""

    url: str
    path: str
    _changed: threading.Condition
    _record: list[Received] = field(default_factory=list)
    _program: Program = lambda _: Answer()

    def answers(self, *answers: Answer) -> None:
        """Answer the following requests with these in turn, and with the last one from then on."""
        left = list(answers)

        def play(_: Received) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self._program = play

    def answer_by(self, program: Program) -> None:
        """Answer each request with what ``program`` makes of it."""
        self._program = program

    @property
    def requests(self) -> list[Received]:
        """Return what arrived so far."""
        with self._changed:
            return list(self._record)

    def wait_for(self, number: int, patience_s: float = PATIENCE_S) -> list[Received]:
        """Return the requests once there are at least ``number``; their answers may still be under way."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._record) >= number, patience_s)
            assert enough, f"{self.url}: {len(self._record)} of {number} requests came"
            return list(self._record)

    def wait_for_one(self) -> Received:
        """Return the first request once it is there, and insist that it is the only one so far."""
        (request,) = self.wait_for(1)
        return request

    def _take(self, request: Received) -> Answer:
        with self._changed:
            self._record.append(request)
            answer = self._program(request)
            self._changed.notify_all()
        return answer


class Receiver:
    """Listens on a loopback address, one thread per connection, until it is closed."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Bind at once, so that the address is known; ``port`` 0 lets the system choose."""
        self._listener = socket.create_server((host, port), backlog=128)
        self.host, self.port = host, self._listener.getsockname()[1]
        self._tls = tls
        self._changed = threading.Condition()
        self._numbers = count(1)
        self._paths = count(1)
        self._endpoints: dict[str, Endpoint] = {}
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False

    @property
    def origin(self) -> str:
        """Return its address as the beginning of a URL, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def endpoint(self, path: str | None = None, origin: str | None = None) -> Endpoint:
        """Open a path; without a name one that nobody had before.

        ``origin`` is how the URL names this receiver, if not by its address.
        """
        path = f"/endpoint-{next(self._paths)}" if path is None else path
        url = (origin or self.origin) + path
        self._endpoints[path] = Endpoint(url, path, self._changed)
        return self._endpoints[path]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):  # The peer may leave whenever it likes; so may a failed handshake.
                if self._tls is not None:
                    with self._tls.wrap_socket(connection, server_side=True) as secured:
                        self._converse(secured)
                else:
                    self._converse(connection)
        finally:
            with self._changed:
                self._connections.discard(connection)
            connection.close()

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while (request := self._read(stream)) is not None:
                answer = self._endpoint_of(request)._take(request)
                if not self._write(connection, request, answer) or "close" in request.all("Connection"):
                    return

    def _read(self, stream: IO[bytes]) -> Received | None:
        line = stream.readline()
        if not line.endswith(b"\r\n"):
            return None
        method, target, _ = line.decode("latin-1").rstrip("\r\n").split(" ")
        headers = []
        while (line := stream.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").removesuffix("\r\n").partition(":")
            headers.append((name, value.strip(" \t")))
        arrived = time.time()
        named = {name.lower(): value for name, value in headers}
        if named.get("transfer-encoding", "").lower() == "chunked":
            body = _read_chunks(stream)
        else:
            body = stream.read(int(named.get("content-length", "0")))
        return Received(next(self._numbers), arrived, method, target, tuple(headers), body)

    def _endpoint_of(self, request: Received) -> Endpoint:
        """Return the endpoint of the request's path or of the longest beginning of it that has one."""
        path = request.target.partition("?")[0]
        candidates: Sequence[str] = [
            known for known in self._endpoints if path == known or path.startswith(known.rstrip("/") + "/")
        ]
        return self._endpoints[max(candidates, key=len)] if candidates else self.endpoint(path)

    def _write(self, connection: socket.socket, request: Received, answer: Answer) -> bool:
        """Send the answer; return whether the connection can serve another request."""
        if answer.hold is not None:
            answer.hold.wait(PATIENCE_S)
        body = b"" if request.method == "HEAD" else answer.body
        head = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}", f"Content-Length: {len(answer.body)}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        sent = body[: len(body) // 2] if answer.cut else body
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + sent)
        return not answer.cut


def _reason(status: int) -> str:
    return "OK" if status < 300 else "Not OK"


def _read_chunks(stream: IO[bytes]) -> bytes:
    body = b""
    while size := int(stream.readline().partition(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    while stream.readline() not in {b"\r\n", b""}:
        pass
    return body
