"""Publishers and a receiver that keep honest logs, for runs in which the server dies.

``Traffic`` publishes from a few threads, each over one connection that it keeps open, and notes every call as
its client saw it. Its receiver answers as the path of a message says, and notes every request. What each
thread publishes follows from a seed; when the server dies is told in events (so many answers, so many
requests since it came back), never in time.

    /ok      200
    /once    500 to the first attempt, then 200
    /dead    500, until it is a dead letter
    /slow    silence, until the receiver is told to let go; 200 if it is attempted again
    /cut     half an answer to the first attempt, then 200
    /tick    200; of the schedules, which tick every second

A message to ``/slow`` stands for an attempt that is open whenever the server dies. Some messages stand in a queue or
behind an ordering key, some share a flow-control key, and some go to a group of ``/ok`` and ``/once``. While
``refusing`` is set, the receiver answers 503 instead.
"""

from __future__ import annotations

import json
import random
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from itertools import count
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.crash.history import LOST, Arrival, Callback, Cancel, History, Life, Publish, Ticking, Verdict
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Answer, Endpoint, Received, Receiver
from tests.support.server import Server

# How the engine begins to say that an attempt has no answer, or was none.
GONE = ("node lost", "given back", "this machine could not open a connection")
TIMES_SENT = 30  # A call is repeated so often at most; a green run needs two or three.
AWAY_S = 10 * PATIENCE_S  # How long publishers wait for a server that starts again and again.
BACK_OFF_S = 0.02  # Of a publisher that was answered 5xx: the server is in trouble, and says so quickly.


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of publication."""

    path: str = "/ok"  # Or the name of the group.
    retries: int = 3
    share: float = 1  # How often it is drawn, beside the others.
    delay: float = 0.0
    dedup: bool = True
    valid: bool = True
    callback: bool = False
    failure_callback: bool = False
    cancelled: bool = False  # By the publisher, at once.
    body_bytes: int = 64
    queue: str | None = None
    order: str | None = None  # An ordering key.
    key: str | None = None  # A flow-control key.


GROUP = "both"
MEMBERS = ("/ok", "/once")
LINES = {"single": 1, "wide": 3, "order": 1}  # Two queues and an ordering key: how many messages may hold each.
KEYS = {"scarce": 2}  # How many attempts of each may be open.
KINDS = (
    Kind(share=8),
    Kind(share=2, body_bytes=40_000),  # Larger than a page of the store.
    Kind(share=3, dedup=False),  # Never repeated: what was unknown stays unknown.
    Kind("/once", share=4),
    Kind("/once", share=2, callback=True),
    Kind("/dead", share=2, retries=2, failure_callback=True),
    Kind("/dead", share=1, retries=0),
    Kind("/slow", share=3),
    Kind(share=2, delay=1.0),
    Kind(share=2, delay=3600.0, cancelled=True),
    Kind(share=2, valid=False),
    Kind(share=0.4, queue="single"),
    Kind("/once", share=0.2, queue="single", callback=True),
    Kind("/dead", share=0.1, retries=1, queue="single", failure_callback=True),
    Kind("/slow", share=0.1, queue="single"),
    Kind(share=0.4, queue="wide", dedup=False),
    Kind("/once", share=0.4, queue="wide", callback=True, key="scarce"),
    Kind("/slow", share=0.2, queue="wide"),
    Kind(share=0.4, order="order"),
    Kind("/once", share=0.2, order="order"),
    Kind(share=1, key="scarce"),
    Kind("/slow", share=0.2, key="scarce"),
    Kind(GROUP, share=1),
    Kind(GROUP, share=0.4, dedup=False, queue="wide"),
)
# Schedules by their id: cron, queue. Each tick is a message of its own, however late.
SCHEDULES = {"often": ("@every 1s", ""), "queued": ("* * * * * *", "wide")}
TICK = b"tick"
SECOND_MS = 1000


class Traffic:
    """A receiver and some publishers; a context manager. The server is handed in and may die at will."""

    def __init__(
        self,
        server: Server,
        seed: int,
        publishers: int = 4,
        kinds: Sequence[Kind] = KINDS,
        schedules: Sequence[str] = tuple(SCHEDULES),
    ) -> None:
        self._server = server
        self._kinds = kinds
        self._schedules = schedules
        self._receiver = Receiver()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._up = threading.Event()
        self._over = threading.Event()
        self._names = count(1)
        self._publishes: list[Publish] = []
        self._cancels: list[Cancel] = []
        self._arrivals: list[Arrival] = []
        self._callbacks: list[Callback] = []
        self._crashes: list[float] = []
        self._let_go = threading.Event()
        self._holding = 0
        self.torn: list[str] = []  # Answers of which some, but not all, was read.
        self.endings: Counter[str] = Counter()  # How calls ended whose verdict is unknown.
        self.refusals: Counter[int] = Counter()  # Answers 5xx, by status.
        self._threads = [
            threading.Thread(target=self._publish_all, args=(random.Random(seed * 100 + i),), daemon=True)
            for i in range(publishers)
        ]
        self._failed: list[BaseException] = []
        self.refusing = False
        self._answered: dict[int, float] = {}  # By the place among the arrivals: when one that was held was let go.
        self._endpoints = {path: self._endpoint(path) for path in ("/ok", "/once", "/dead", "/slow", "/cut", "/tick")}
        for path in ("/callback", "/failure"):
            self._endpoint(path).answer_by(self._called_back)

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        self._arrange()
        self._up.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for event in (self._stop, self._over, self._up):
            event.set()
        self.let_go()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._receiver.__exit__(kind, error, tb)
        if error is None and self._failed:
            raise self._failed[0]

    # What a test does.

    @property
    def acknowledged(self) -> int:
        """How many publishes were answered 2xx so far."""
        return sum(publish.verdict is Verdict.OK for publish in self._publishes)

    @property
    def arrived(self) -> int:
        """How many requests the receiver has seen so far."""
        return len(self._arrivals)

    @property
    def holding(self) -> int:
        """How many requests the receiver holds unanswered now."""
        return self._holding

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so; conditions are asked at every entry of a log."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), f"waited in vain for {what}"

    def let_go(self) -> int:
        """Answer the requests that are held now, and return how many; others may be read in the next moment."""
        with self._changed:
            held, self._let_go = self._let_go, threading.Event()
            held.set()
            return self._holding

    def answer_all(self) -> None:
        """Answer requests until none is held."""
        until(lambda: self.let_go() == 0, "all requests to be answered")

    def going_down(self) -> None:
        """Let publishers whose connection fails wait for ``back``."""
        self._up.clear()

    def crashed(self) -> None:
        """Note that the server is dead, once the receiver has seen all that the dead process sent."""
        self._drain_receiver()
        self._crashes.append(time.monotonic())

    def back(self) -> None:
        """Let publishers go on."""
        self._up.set()

    def crash(self) -> None:
        """Kill the server and start it again."""
        self.going_down()
        self._server.kill()
        self.crashed()
        self._server.start()
        self.back()

    def finish(self) -> History:
        """Publish no more, wait until all messages have come to rest, and return the logs."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a publisher hangs"
        if self._failed:
            raise self._failed[0]

        schedules = tuple(self._end_schedule(name) for name in self._schedules)

        def at_rest() -> bool:
            self.let_go()
            return not self._server.call("GET", "/v2/messages?count=1").json["messages"]

        until(at_rest, "all messages to come to rest")
        told = lives(self._server)
        return History(
            publishes=(*self._publishes, *ticks(told)),
            cancels=tuple(self._cancels),
            arrivals=tuple(replace(one, until=self._answered.get(n)) for n, one in enumerate(self._arrivals)),
            callbacks=tuple(self._callbacks),
            lives=told,
            crashes=tuple(self._crashes),
            lines=LINES,
            keys=KEYS,
            schedules=schedules,
        )

    def _arrange(self) -> None:
        """Make the queues, the group and the schedules, as far as they are used."""
        endpoints = [{"url": self._endpoints[path].url} for path in MEMBERS]
        if any(kind.path == GROUP for kind in self._kinds):
            self._must("POST", f"/v2/topics/{GROUP}/endpoints", json.dumps({"endpoints": endpoints}))
        queues = {kind.queue for kind in self._kinds} | {SCHEDULES[name][1] for name in self._schedules}
        for name in sorted({"single", "wide"} & queues):
            self._must("POST", "/v2/queues", json.dumps({"queueName": name, "parallelism": LINES[name]}))
        for name in self._schedules:
            cron, queue = SCHEDULES[name]
            headers = {"Upstash-Cron": cron, "Upstash-Schedule-Id": name, "Lateron-Missed": "all"}
            headers |= {"Upstash-Queue-Name": queue} if queue else {}
            self._must("POST", f"/v2/schedules/{self._endpoints['/tick'].url}", TICK.decode(), headers)

    def _end_schedule(self, name: str) -> Ticking:
        """Let a schedule tick no more, and return what it owes."""
        self._must("POST", f"/v2/schedules/{name}/pause")
        shown = self._server.call("GET", f"/v2/schedules/{name}").json
        begin = shown["createdAt"] if name == "often" else shown["createdAt"] // SECOND_MS * SECOND_MS
        return Ticking(name, begin, SECOND_MS, shown.get("lastScheduleTime", begin))

    def _must(self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None) -> None:
        reply = self._server.call(method, path, body.encode(), tuple((headers or {}).items()))
        assert reply.status < 300, reply.text

    # The receiver.

    def _endpoint(self, path: str) -> Endpoint:
        endpoint = self._receiver.endpoint(path)
        endpoint.answer_by(self._received)
        return endpoint

    def _received(self, request: Received) -> Answer:
        """Choose an answer and note it, in the order in which requests are taken."""
        name, retried = request.header("Upstash-Message-Id"), int(request.header("Upstash-Retried"))
        status, hold = 200, None
        if request.target == "/dead" or (request.target == "/once" and retried == 0):
            status = 500
        if self.refusing:
            status = 503
        body = digest(request.body) + (request.target if request.has("Upstash-Topic-Name") else "")
        with self._changed:
            torn = request.target == "/cut" and status == 200 and all(arrival.id != name for arrival in self._arrivals)
            if request.target == "/slow" and status == 200 and all(arrival.id != name for arrival in self._arrivals):
                hold = _Held(self, self._let_go, len(self._arrivals))
            self._arrivals.append(Arrival(name, retried, body, time.monotonic(), 0 if torn else status))
            self._changed.notify_all()
        return Answer(status, hold=hold, cut=torn)

    def _called_back(self, request: Received) -> Answer:
        report = request.json
        letter = report["dlqId"] if request.target == "/failure" else None
        with self._changed:
            name = request.header("Upstash-Message-Id")
            self._callbacks.append(Callback(name, report["sourceMessageId"], letter, time.monotonic()))
        return Answer()

    def _drain_receiver(self) -> None:
        """Return once all is read that a dead process had sent.

        A connection of ours queues behind its last one; when ours is served, its threads have been started,
        and each of them ends when it has read what there is.
        """
        barrier = HTTPConnection(self._receiver.host, self._receiver.port, timeout=PATIENCE_S)
        self._receiver.endpoint("/barrier")
        barrier.request("GET", "/barrier")
        barrier.getresponse().read()
        barrier.close()
        connections = self._receiver._threads[1:]
        until(lambda: self.let_go() == 0 and not any(t.is_alive() for t in connections), "connections to end")
        del self._receiver._threads[1:]

    # The publishers.

    def _publish_all(self, chance: random.Random) -> None:
        client = _Client(self)
        try:
            while not self._stop.is_set():
                (kind,) = chance.choices(self._kinds, [kind.share for kind in self._kinds])
                self._publish_one(client, kind)
        except _OverError:
            pass
        except BaseException as error:  # noqa: BLE001 # Raised again by ``finish``.
            self._failed.append(error)
        finally:
            client.close()

    def _publish_one(self, client: _Client, kind: Kind) -> None:
        with self._changed:
            name = f"message {next(self._names)}"
        body = name.encode() + b"." * kind.body_bytes
        headers = self._headers(kind, name)
        destination = kind.path if kind.path == GROUP else self._endpoints[kind.path].url
        target = f"/v2/enqueue/{kind.queue}/{destination}" if kind.queue else f"/v2/publish/{destination}"
        for start, status, answer in client.calls("POST", target, headers, body):
            verdict = judge(status)
            made = seen(kind, name, digest(body), answer if verdict is Verdict.OK else None)
            for one in made:
                self._note(self._publishes, replace(one, start=start, end=time.monotonic(), verdict=verdict))
            assert (verdict is Verdict.FAIL) <= (not kind.valid), f"refused: {status} {answer}"
            if verdict is not Verdict.UNKNOWN or not kind.dedup:
                break
        if made[0].id is not None and kind.cancelled:
            self._cancel(client, made[0].id)

    def _cancel(self, client: _Client, message: str) -> None:
        for start, status, _ in client.calls("DELETE", f"/v2/messages/{message}", {}, None):
            self._note(self._cancels, Cancel(message, start, time.monotonic(), judge(status)))
            if judge(status) is not Verdict.UNKNOWN:
                break

    def _headers(self, kind: Kind, name: str) -> dict[str, str]:
        headers = {
            "Upstash-Retries": str(kind.retries) if kind.valid else "several",
            "Upstash-Retry-Delay": "20 * (retried + 1)",
        }
        if kind.dedup:
            headers["Upstash-Deduplication-Id"] = name
        if kind.order:
            headers["Lateron-Order-Key"] = kind.order
        if kind.key:
            headers["Upstash-Flow-Control-Key"] = kind.key
            headers["Upstash-Flow-Control-Value"] = f"parallelism={KEYS[kind.key]}"
        if kind.delay:
            headers["Upstash-Delay"] = f"{kind.delay:g}s"
        if kind.callback:
            headers["Upstash-Callback"] = f"{self._receiver.origin}/callback"
        if kind.failure_callback:
            headers["Upstash-Failure-Callback"] = f"{self._receiver.origin}/failure"
        return headers

    def _note(self, log: list[Any], entry: object) -> None:
        with self._changed:
            log.append(entry)
            self._changed.notify_all()


class _Held(threading.Event):
    """Waits for the receiver to let go, counts meanwhile, and notes when that was."""

    def __init__(self, traffic: Traffic, let_go: threading.Event, place: int) -> None:
        super().__init__()
        self._traffic, self._gone, self._place = traffic, let_go, place
        traffic._holding += 1

    def wait(self, timeout: float | None = None) -> bool:
        try:
            return self._gone.wait(timeout)
        finally:
            with self._traffic._changed:
                self._traffic._answered[self._place] = time.monotonic()
                self._traffic._holding -= 1
                self._traffic._changed.notify_all()


class _Client:
    """A publisher's connection, which is opened again whenever it fails."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._server = traffic._server
        self._connection: HTTPConnection | None = None

    def calls(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None
    ) -> Iterator[tuple[float, int, Any]]:
        """Make a call again and again; those that are answered 5xx do not count, and are waited after."""
        left = TIMES_SENT
        while left:
            made = self.call(method, target, headers, body)
            if made[1] >= 500:
                self._traffic.refusals[made[1]] += 1
            yield made
            if made[1] >= 500:
                if self._traffic._over.wait(BACK_OFF_S):
                    raise _OverError
            else:
                left -= 1

    def call(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> tuple[float, int, Any]:
        """Return when the call began, its status (0: no complete answer), and the answer's JSON."""
        connection = self._connected()
        start, answer = time.monotonic(), None
        try:
            connection.request(method, target, body, {"Authorization": f"Bearer {self._server.token}", **headers})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            self._traffic.endings[type(error).__name__] += 1
            if answer is not None:
                self._traffic.torn.append(f"{answer.status}: {error!r}")
            self.close()
            return start, 0, None
        if answer.will_close:
            self.close()
        return start, answer.status, json.loads(text)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> HTTPConnection:
        """Return the open connection, or wait for the server and open one."""
        if self._connection is None:
            assert self._traffic._up.wait(AWAY_S), "the server did not come back"
            self._connection = until(self._try_to_connect, "the server to accept a connection")
        return self._connection

    def _try_to_connect(self) -> HTTPConnection | None:
        """Return a new connection; None while nobody listens, in which case nothing was sent."""
        if self._traffic._over.is_set():
            raise _OverError
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)
        try:
            connection.connect()
        except OSError:
            return None
        return connection


class _OverError(Exception):
    """The test has ended while a publisher waited for the server."""


def seen(kind: Kind, name: str, body: str, answer: Any) -> list[Publish]:
    """Return what a publisher notes of a call: one entry, or for a group one for each endpoint.

    Args:
        kind: What is published.
        name: Of the publication; its calls share it.
        body: Digest.
        answer: As read; None if it is unknown or a refusal.
    """
    paths = MEMBERS if kind.path == GROUP else ("",)
    answers = [None] * len(paths) if answer is None else answer if kind.path == GROUP else [answer]
    return [
        Publish(
            body=body + path,
            start=0,
            end=0,
            verdict=Verdict.UNKNOWN,
            id=None if one is None else one["messageId"],
            duplicate=one is not None and bool(one.get("deduplicated")),
            dedup=name + path if kind.dedup else None,
            retries=kind.retries,
            delay=kind.delay,
            callback=kind.callback,
            failure_callback=kind.failure_callback,
            line=kind.queue or kind.order,
            key=kind.key,
            fan=name if kind.path == GROUP else None,
        )
        for path, one in zip(paths, answers, strict=True)
    ]


def ticks(told: Mapping[str, Life]) -> Iterator[Publish]:
    """Yield the calls that nobody made: for each message of a schedule the one that it stands for."""
    for name, life in told.items():
        if life.schedule is not None:
            line = SCHEDULES[life.schedule][1] or None
            yield Publish(digest(TICK), 0, 0, Verdict.OK, name, retries=3, line=line)


def digest(body: bytes) -> str:
    """Return what a log keeps of a body."""
    return sha256(body).hexdigest()[:16]


def judge(status: int) -> Verdict:
    """Return what a client knows after an answer with this status; 0 is none."""
    if 200 <= status <= 299:
        return Verdict.OK
    return Verdict.FAIL if 400 <= status <= 499 else Verdict.UNKNOWN


def lives(server: Server) -> dict[str, Life]:
    """Ask the engine what it says of every message."""
    states: dict[str, list[tuple[str, int]]] = {}
    about: dict[str, dict[str, Any]] = {}
    for event in pages(server, "/v2/events", "events", 1000):
        gone = event["state"] == "ERROR" and event.get("error", "").startswith(GONE)
        states.setdefault(event["messageId"], []).append((LOST if gone else event["state"], event["time"]))
        about[event["messageId"]] = event
    letters: dict[str, list[str]] = {}
    for letter in pages(server, "/v2/dlq", "messages", 100):
        letters.setdefault(letter["messageId"], []).append(letter["dlqId"])
    return {
        name: Life(
            states=tuple(state for state, _ in reversed(told)),
            times=tuple(at for _, at in reversed(told)),
            body=digest(b64decode(about[name].get("body", ""))) + path_in_group(about[name]),
            schedule=about[name].get("scheduleId") if "parentMessageId" not in about[name] else None,
            source=about[name].get("parentMessageId"),
            dead_letters=tuple(letters.get(name, ())),
        )
        for name, told in states.items()
    }


def path_in_group(event: dict[str, Any]) -> str:
    """Return what tells the messages of one publish to a group apart; callbacks of theirs are no such messages."""
    if "topicName" not in event or "parentMessageId" in event:
        return ""
    return str(urlsplit(event["url"]).path)


def pages(server: Server, path: str, name: str, size: int) -> list[dict[str, Any]]:
    """Return a whole list, newest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = server.call("GET", f"{path}?count={size}{cursor}").json
        found += answer[name]
        if "cursor" not in answer:
            return found
        cursor = f"&cursor={answer['cursor']}"
