"""The application under test as a destination: real HTTP on a free port, on a thread of its own."""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from socketserver import ThreadingMixIn
from typing import Any, Final, Protocol, Self, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn

Application: TypeAlias = Callable[..., Any]  # ASGI or WSGI.
_POLL: Final = 0.02  # Seconds after which a blocking server notices that it is to end.


class _Front(Protocol):
    """What serves an application."""

    def serve(self, ready: Callable[[], None]) -> None:
        """Serve until ``end``; say when requests are accepted."""

    def end(self) -> None:
        """Stop serving; from another thread."""


class App:
    """A running application.

    Args:
        make: Returns it, given its address.
    """

    def __init__(self, make: Callable[[str], Application]) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            application = make(self.url)
        except BaseException:
            listening.close()
            raise
        call = application if inspect.isroutine(application) else type(application).__call__
        front = _Asgi if inspect.iscoroutinefunction(call) else _Wsgi
        self._front: _Front = front(application, listening)
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="lateron-app", daemon=True)

    def start(self, patience: float) -> Self:
        """Start it, and return when it accepts requests."""
        self._thread.start()
        self._ready.result(patience)
        return self

    def stop(self) -> None:
        """End it."""
        self._front.end()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._front.serve(lambda: self._ready.set_result(None))
        finally:
            if not self._ready.done():
                self._ready.set_exception(RuntimeError("the application did not start; its log says why"))


class _Asgi(uvicorn.Server):
    """For an application whose call is a coroutine."""

    def __init__(self, application: Application, listening: socket.socket) -> None:
        super().__init__(uvicorn.Config(application, ws="none", log_config=None, access_log=False))
        self._socket = listening
        self._ready: Callable[[], None]

    def serve(self, ready: Callable[[], None]) -> None:  # type: ignore[override] # Blocking, as its twin.
        import asyncio

        self._ready = ready
        with self._socket:
            asyncio.run(super().serve([self._socket]))

    def end(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override] # They belong to the test.
        return nullcontext()


class _Wsgi(ThreadingMixIn, WSGIServer):
    """For an application whose call blocks; a thread for each request."""

    daemon_threads = True

    def __init__(self, application: Application, listening: socket.socket) -> None:
        super().__init__(listening.getsockname(), _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        # What binding would set, but for asking a name server who we are.
        self.server_name, self.server_port = listening.getsockname()
        self.setup_environ()
        self.set_app(application)

    def serve(self, ready: Callable[[], None]) -> None:
        ready()
        with self:
            self.serve_forever(_POLL)

    def end(self) -> None:
        self.shutdown()


class _Quiet(WSGIRequestHandler):
    """A test has its own eyes."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing; errors are still told."""
