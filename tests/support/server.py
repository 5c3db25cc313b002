"""A running Lateron for tests: the real command in a process of its own, over real HTTP.

It listens on a port that the system chose, keeps its data in a directory of the test, sees none of the
environment's ``QSTASH_*`` and ``LATERON_*`` variables, and is ready when ``/readyz`` says so. It ends with
SIGTERM; ``kill`` and ``restart`` are for tests of what survives.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tests.support.poll import PATIENCE_S, until


@dataclass(frozen=True, slots=True)
class User:
    """Who publishes, and the keys that its deliveries are signed with at first."""

    token: str
    current: str
    next: str


# The four users that QStash's documentation fixes for local development.
DEV_USERS = (
    User(
        "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
        "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
        "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    ),
    User(
        "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
        "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
    ),
    User(
        "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
        "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
    ),
    User(
        "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
        "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
    ),
)

READY = re.compile(r"https?://(?:127\.0\.0\.1|localhost|\[::1\]):(?P<port>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API, for tests that must see it without a client in between."""

    status: int
    headers: Mapping[str, str]  # Names in lower case.
    text: str

    @property
    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.text)


class Server:
    """One ``lateron dev`` or ``lateron serve``; a context manager."""

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        mode: Literal["dev", "serve"] = "dev",
        environ: Mapping[str, str] | None = None,
        user: User = DEV_USERS[0],
        port: int = 0,
    ) -> None:
        """Prepare a server; nothing runs before ``start``.

        Args:
            data_dir: Where its store lies; kept when it ends.
            flags: Further flags of the command.
            mode: Which command.
            environ: Variables to add to its environment.
            user: Who ``call`` is, and for ``serve`` the token and keys that seed its store.
            port: 0 lets the system choose; a restart keeps what was chosen.
        """
        self.data_dir, self.mode, self.flags, self.user, self.port = data_dir, mode, flags, user, port
        self._environ = dict(environ or {})
        self._log_path = data_dir.with_name(f"{data_dir.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._logged = 0  # Where the log of the present process begins.

    @property
    def url(self) -> str:
        """Return the address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """Return the token of the server's user."""
        return self.user.token

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Return everything the present process printed."""
        return self._log_path.read_bytes()[self._logged :].decode("utf-8", "replace")

    def start(self) -> Self:
        """Start the command and return when it is ready.

        Raises:
            AssertionError: It ended or did not become ready; the message holds what it printed.
        """
        self.launch()
        return self.await_ready()

    def await_ready(self) -> Self:
        """Return when a server that was launched is ready.

        Raises:
            AssertionError: As of ``start``.
        """
        try:
            self.port = until(self._printed_port, "the server to print its address")
            until(self._is_ready, "the server to become ready")
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start the command and wait for nothing."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._logged = self._log_path.stat().st_size if self._log_path.exists() else 0
        where = () if "--ephemeral" in self.flags else ("--data-dir", str(self.data_dir))
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, "--port", str(self.port), *where, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd=self.data_dir,
            )

    @property
    def command(self) -> Sequence[str]:
        """Return the command line up to the flags."""
        return [sys.executable, "-m", "lateron", self.mode]

    def stop(self) -> int:
        """End it with SIGTERM and return its exit status; a server that does not end is killed."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self, *, crash: bool = True) -> Self:
        """Kill it (or end it in order) and start it again on the same port and data."""
        if crash:
            self.kill()
        else:
            self.stop()
        return self.start()

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        token: str | None = None,
    ) -> Reply:
        """Call the API without a client library: target and headers (latin-1) go out as given.

        ``token`` is that of the server's user unless given; an empty one sends none.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            if token != "":
                connection.putheader("Authorization", f"Bearer {token or self.token}")
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in headers:
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def _environment(self) -> dict[str, str]:
        theirs = ("LATERON_", "QSTASH_", "SSL_CERT_", "OTEL_")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        if self.mode == "serve":
            environ["LATERON_TOKEN"] = self.user.token
            environ["LATERON_CURRENT_SIGNING_KEY"] = self.user.current
            environ["LATERON_NEXT_SIGNING_KEY"] = self.user.next
        return {**environ, "PYTHONUNBUFFERED": "1", **self._environ}

    def _alive(self) -> None:
        assert self._process is not None
        status = self._process.poll()
        assert status is None, f"the server ended with {status}:\n{self.log}"

    def _printed_port(self) -> int | None:
        self._alive()
        printed = READY.search(self.log)
        return int(printed["port"]) if printed else None

    def _is_ready(self) -> bool:
        self._alive()
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
        except OSError:
            return False
        else:
            return answer.status == 200
        finally:
            connection.close()
