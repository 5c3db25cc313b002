"""A whole server inside the test, that keeps everything and calls nobody.

The tests of the contract send whatever a stranger may send, and much of that names hosts all over the
world. So the house has two lives on one data directory:

* ``furnish`` delivers for a moment, and only to its own catcher: it leaves messages of every kind, one
  in each list, for two users.
* ``opened`` is the real server on a copy of that directory with **no place for a delivery**
  (``concurrency`` 0, which no flag can say): a message is claimed only into a free place, and only a
  claimed one is resolved and connected to. ``House.close`` proves it: nothing may have become ACTIVE.

Its clock stands still, so that nothing in the store changes by itself, and what a request changed can be
told by comparing two dumps.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import apsw
from tests.support.poll import PATIENCE_S, until

from lateron.broker.enrol import MARK
from lateron.config import load
from lateron.config.dev_users import DEV_USERS, DevUser
from lateron.core.values import EventKind, Millis
from lateron.runtime import Clock, Nanos, SystemClock
from lateron.server import Server

ALICE, BOB, CAROL = DEV_USERS[:3]
FILE = "lateron.db"
REPEATED = 100  # Letters of a long name that a refusal repeats at least.

Bytes: TypeAlias = bytes | str
HeaderPairs: TypeAlias = Sequence[tuple[Bytes, Bytes]]
Dump: TypeAlias = dict[str, list[tuple[Any, ...]]]


class Answer(NamedTuple):
    """One answer of the API."""

    status: int
    headers: Mapping[str, str]  # Names in lower case.
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Return what a refusal says."""
        content = self.json
        assert isinstance(content, dict), content
        text = content["error"]
        assert isinstance(text, str), content
        assert text
        return text


class Still(SystemClock):
    """A clock that shows the moment it was made."""

    def __init__(self) -> None:
        now = SystemClock()
        self._wall, self._mono = now.wall(), now.mono()

    def wall(self) -> Millis:
        return self._wall

    def mono(self) -> Nanos:
        return self._mono

    def show(self, wall: Millis) -> None:
        """Stand at a later moment."""
        self._mono = Nanos(self._mono + (wall - self._wall) * 1_000_000)
        self._wall = wall


class House:
    """A running server, a connection to it that writes bytes as they stand, and an eye on its store."""

    def __init__(self, server: Server, directory: Path, clock: Clock, *, delivers: bool) -> None:
        self.server, self.clock, self._delivers = server, clock, delivers
        self._socket: socket.socket | None = None
        # The server's own library: two copies of SQLite in one process would undo each other's locks.
        self._eye = apsw.Connection(str(directory / FILE), flags=apsw.SQLITE_OPEN_READONLY)
        self._eye.set_busy_timeout(30_000)
        self._attempted = self._attempts()

    @property
    def url(self) -> str:
        """Return the address, without a slash at the end."""
        return f"http://127.0.0.1:{self.server.port}"

    def ask(
        self,
        method: str,
        target: Bytes,
        body: bytes = b"",
        headers: HeaderPairs | Mapping[str, str] = (),
        token: str | None = ALICE.token,
        *,
        announced: bool = True,
    ) -> Answer:
        """Send one request, whose parts may be any bytes, on a connection that is kept.

        ``announced`` False leaves the length of the body to ``headers``.
        """
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        lines = [b"%s %s HTTP/1.1" % (method.encode(), _bytes(target)), b"Host: 127.0.0.1"]
        if token is not None:
            lines.append(b"Authorization: Bearer " + token.encode())
        if announced:
            lines.append(b"Content-Length: %d" % len(body))
        lines += [_bytes(name) + b": " + _bytes(value) for name, value in pairs]
        data = b"\r\n".join([*lines, b"", body])
        try:
            return self._exchange(method, data)
        except OSError:
            self.hang_up()
            raise

    def log_in(self, user: DevUser) -> str:
        """Log in to the console with the token of a user; return the id of the session."""
        body = json.dumps({"token": user.token}).encode()
        answer = self.ask("POST", "/console/api/session", body, {"Content-Type": "application/json"}, None)
        assert answer.status == 200, answer
        return str(self.ask("GET", "/lateron/v1/sessions", token=user.token).json[0]["sessionId"])

    def dump(self) -> Dump:
        """Return every row of every table, read through a connection that cannot write.

        But for how far schedules have been reckoned and when a token was used: the server notes these by itself.
        """
        run = self._eye.execute
        run("BEGIN")
        try:
            tables = [str(name) for (name,) in run("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
            rows = {name: sorted(run('SELECT * FROM "' + name + '"'), key=repr) for name in tables}
        finally:
            run("COMMIT")
        tokens = [row[:-1] for row in rows["token"]]
        return {**rows, "setting": [row for row in rows["setting"] if row[0] != MARK], "token": tokens}

    def columns(self) -> dict[str, list[str]]:
        """Return the names of the columns of every table."""
        listed = "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table'"
        found: dict[str, list[str]] = {}
        for table, column in self._eye.execute(listed):
            found.setdefault(str(table), []).append(str(column))
        return found

    def job_rests(self, job: str, token: str) -> bool:
        """Whether a bulk job has ended; for one that was put off, because somebody read the store, it is time now."""
        if self.ask("GET", f"/lateron/v1/jobs/{job}", token=token).json["state"] != "running":
            return True
        ((due,),) = self._eye.execute("SELECT due FROM bulk_job WHERE id = ?", (bytes.fromhex(job.partition("_")[2]),))
        if isinstance(self.clock, Still) and due > self.clock.wall():
            self.clock.show(due)
        return False

    def stop_jobs(self, token: str) -> None:
        """Let the bulk jobs of a user go no further, so that nothing changes by itself any more."""
        cursor = ""
        while True:
            page = self.ask("GET", f"/lateron/v1/jobs{cursor}", token=token).json
            for job in page["jobs"]:
                if job["state"] == "running":
                    stopped = self.ask("POST", f"/lateron/v1/jobs/{job['jobId']}/cancel", token=token)
                    assert stopped.status == 200, stopped
            if not page.get("cursor"):
                return
            cursor = f"?cursor={page['cursor']}"

    def close(self) -> None:
        """Hang up, and see that nothing has been sent."""
        self.hang_up()
        attempted = self._attempts()
        self._eye.close()
        fewer = all(now <= then for now, then in zip(attempted[0], self._attempted[0], strict=True))  # If erased.
        assert self._delivers or fewer, "a message was claimed: somebody may have been called"

    def _attempts(self) -> list[Any]:
        """Count the attempts that the log and the messages know."""
        count = "SELECT (SELECT count(*) FROM event WHERE kind = ?), (SELECT total(attempt) FROM message)"
        return list(self._eye.execute(count, (EventKind.ACTIVE.value,)))

    def _exchange(self, method: str, data: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE_S)
        with suppress(ConnectionError):  # Refused while we wrote; the answer may be there all the same.
            self._socket.sendall(data)
        answer = HTTPResponse(self._socket, method=method)
        answer.begin()
        content = answer.read()
        if answer.will_close:
            self.hang_up()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def furnish(directory: Path) -> None:
    """Fill a new data directory with something of everything; it delivers to its own catcher only."""
    with opened(directory, delivers=True) as house:
        for user in (ALICE, BOB):
            _arrange(house, user)
            for number in range(3):
                _publish(house, user.token, f"ok?n={number}", ("Upstash-Label", "kept"))
            for number in range(4):
                _publish(
                    house,
                    user.token,
                    f"down?status=500&n={number}",
                    ("Upstash-Retries", "0"),
                    ("Upstash-Label", f"dead{number}"),
                    ("Upstash-Failure-Callback", f"{house.url}/_catch/told"),
                )
            for number in range(4):
                _publish(
                    house,
                    user.token,
                    f"later?n={number}",
                    ("Upstash-Delay", "7d"),
                    ("Upstash-Deduplication-Id", f"later-{number}"),
                    ("Upstash-Flow-Control-Key", "shared"),
                    ("Upstash-Flow-Control-Value", "parallelism=2"),
                    ("Upstash-Redact-Fields", "body"),
                    ("Upstash-Label", "later, waiting"),
                )
            cron = {"Upstash-Cron": "0 4 * * *", "Upstash-Schedule-Id": "daily", "Upstash-Redact-Fields": "body"}
            made = house.ask("POST", f"/v2/schedules/{house.url}/_catch/daily", b"x", cron, user.token)
            assert made.status == 201, made
            cancelled = _publish(house, user.token, "never", ("Upstash-Delay", "1d"))
            assert house.ask("DELETE", f"/v2/messages/{cancelled}", token=user.token).status == 200
        for user in (ALICE, BOB):
            until(partial(_at_rest, house, user.token), "all attempts to end")


def _arrange(house: House, user: DevUser) -> None:
    """Make a group, a queue, a key, a schedule and a paused host with names that no other user has.

    In the queue, which is paused, waits a message of the key.
    """
    mine = user.tenant
    endpoint = json.dumps({"endpoints": [{"url": f"{house.url}/_catch/{mine}", "name": "one"}]})
    line = {"Upstash-Flow-Control-Key": f"key-{mine}", "Upstash-Flow-Control-Value": "parallelism=2"}
    cron = {"Upstash-Cron": "0 4 * * *", "Upstash-Schedule-Id": f"scheduled-{mine}", "Upstash-Label": "report"}
    for method, target, body, headers in (
        ("POST", f"/v2/topics/group-{mine}/endpoints", endpoint, {}),
        ("PATCH", f"/v2/topics/group-{mine}", '{"headers": {"Upstash-Label": "grouped"}}', {}),
        ("POST", "/v2/queues", f'{{"queueName": "line-{mine}", "parallelism": 3, "paused": true}}', {}),
        ("POST", f"/v2/enqueue/line-{mine}/{house.url}/_catch/queued", "queued", line),
        ("POST", f"/v2/flowControl/key-{mine}/pin?rate=7&period=90", "", {}),
        ("POST", f"/v2/schedules/{house.url}/_catch/scheduled", "report", cron),
        ("POST", f"/lateron/v1/destinations/host-{mine}.example:443/pause", "", {}),
        ("POST", "/lateron/v1/tokens", f'{{"name": "token-{mine}", "scope": "read"}}', {}),
        ("POST", "/lateron/v1/jobs", '{"kind": "cancel", "filter": {"label": "nobody"}}', {}),
    ):
        answer = house.ask(method, target, body.encode(), headers, user.token)
        assert answer.status in {200, 201}, answer
    if user is ALICE:
        one = f'{{"name": "user-{mine}", "scope": "read", "password": "known to nobody"}}'
        assert house.ask("POST", "/lateron/v1/users", one.encode(), {}, user.token).status == 201


def _publish(house: House, token: str, target: str, *headers: tuple[str, str]) -> str:
    answer = house.ask("POST", f"/v2/publish/{house.url}/_catch/{target}", b'{"a": 1}', headers, token)
    assert answer.status == 201, answer
    return str(answer.json["messageId"])


def _at_rest(house: House, token: str) -> bool:
    """Whether what was to be delivered has been, failure callbacks included, and only what waits is left."""
    caught = house.ask("GET", "/lateron/v1/catcher/told", token=token).json["requests"]
    pending = house.ask("GET", "/v2/messages", token=token).json["messages"]
    jobs = house.ask("GET", "/lateron/v1/jobs", token=token).json["jobs"]
    return len(caught) == 4 and len(pending) == 5 and {job["state"] for job in jobs} == {"done"}


@contextmanager
def opened(directory: Path, *, delivers: bool = False, **flags: str) -> Iterator[House]:
    """Run ``lateron dev`` on a directory, on a thread of this process.

    Args:
        directory: Made if need be.
        delivers: Let it deliver, by a clock that goes; only for destinations of this house.
        flags: Settings by name, with underscores for dashes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    chosen = {"port": "0", "host": "127.0.0.1", "drain": "1s"} | {
        name.replace("_", "-"): value for name, value in flags.items()
    }
    settings = load("dev", chosen, {})
    clock: Clock = SystemClock()
    if not delivers:
        settings, clock = replace(settings, concurrency=0), Still()
    started: Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_live(Server(settings, directory, clock), started)))
    thread.start()
    try:
        server, loop, end = started.result(PATIENCE_S)
        try:
            house = House(server, directory, clock, delivers=delivers)
            try:
                yield house
            finally:
                house.close()
        finally:
            loop.call_soon_threadsafe(end.set)
    finally:
        thread.join(PATIENCE_S)


@contextmanager
def copied(furnished: Path, directory: Path) -> Iterator[House]:
    """Open a copy of a furnished directory, which stays as it is."""
    directory.mkdir(parents=True)
    shutil.copy2(furnished / FILE, directory / FILE)
    with opened(directory) as house:
        yield house


async def _live(server: Server, started: Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    end = asyncio.Event()
    try:
        await server.start()
    except BaseException as error:
        started.set_exception(error)
        raise
    started.set_result((server, asyncio.get_running_loop(), end))
    await end.wait()
    await server.stop()
    assert server.failure is None, server.failure


def _bytes(text: Bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
