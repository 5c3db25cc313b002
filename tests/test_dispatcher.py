"""The delivery loop: each attempt is signed for itself, sent once, and handed back."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256

import jwt
import pytest
from msgspec.structs import replace
from tests.support.receiver import Answer, Endpoint, Receiver

from lateron.broker.views import KeyPair, Result
from lateron.core.values import Claimed, Message, MessageId, Options, Outcome, Request, State
from lateron.dispatcher import CORRUPT, INTERNAL, Dispatcher
from lateron.egress import Delivery, Egress, EgressSettings, GuardPolicy
from lateron.runtime import SystemClock

KEYS = KeyPair("sig_current_for_this_test_only_000", "sig_next_for_this_test_only_0000000")


class Loop:
    """A dispatcher that calls a real receiver and keeps what it would settle."""

    def __init__(self, capacity: int = 10, keys: KeyPair | None = KEYS) -> None:
        self.egress = Egress(EgressSettings(guard=GuardPolicy(allow_private=True)), SystemClock())
        self.results: list[Result] = []
        self.settled = asyncio.Event()
        self.clock = SystemClock()
        self.dispatcher = Dispatcher(
            self.egress, self.clock, lambda _: keys, self.settle, capacity=capacity, timeout_ms=20_000
        )

    def settle(self, result: Result) -> None:
        self.results.append(result)
        self.settled.set()

    async def ended(self, count: int) -> list[Outcome | None]:
        """Wait until so many attempts have ended."""
        while len(self.results) < count:
            self.settled.clear()
            await self.settled.wait()
        return [result.outcome for result in self.results]


def claimed(url: str, number: int = 1, attempt: int = 1, body: bytes | None = b"hello") -> Claimed:
    """Return a message as the broker hands it over."""
    message_id = MessageId(number.to_bytes(16))
    message = Message(message_id, 1, 5, State.ACTIVE, 0, 0, 3, attempt=attempt, version=1, node=1, started=0)
    return Claimed(message, Request(url, "POST", (), body, Options()))


def on_a_loop(work: Callable[[Loop, Endpoint], Awaitable[None]], **options: object) -> None:
    """Run work beside a dispatcher and a receiver."""

    async def run(endpoint: Endpoint) -> None:
        loop = Loop(**options)  # type: ignore[arg-type]
        await asyncio.wait_for(work(loop, endpoint), 30)
        await loop.egress.close()

    with Receiver() as receiver:
        asyncio.run(run(receiver.endpoint("/here")))


@pytest.mark.promise("P-106", "D-35")
def test_each_attempt_is_signed_for_itself() -> None:
    """Same message, two attempts: another token id, the same message id, an expiry of five minutes."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        loop.dispatcher.begin([claimed(endpoint.url)])
        await loop.ended(1)
        loop.dispatcher.begin([claimed(endpoint.url, attempt=2)])
        await loop.ended(2)
        tokens = [request.header("Upstash-Signature") for request in endpoint.requests]
        first, second = (
            jwt.decode(str(token), KEYS.current, algorithms=["HS256"], issuer="Upstash", options={"verify_aud": False})
            for token in tokens
        )
        assert first["jti"] != second["jti"]
        assert first["exp"] - first["iat"] == 300
        assert first["sub"] == endpoint.url
        ids = {request.header("Upstash-Message-Id") for request in endpoint.requests}
        assert len(ids) == 1

    on_a_loop(work)


def test_connections_are_used_again_and_outcomes_are_the_same() -> None:
    """The short way over a kept connection reports what the long way reports."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        endpoint.answers(Answer(200, b"one"), Answer(200, b"one"), Answer(503, b"busy"))
        for n in range(3):
            loop.dispatcher.begin([claimed(endpoint.url, n)])
            await loop.ended(n + 1)
        first, second, third = (o for o in await loop.ended(3) if o is not None)
        assert (first.reused, second.reused, third.reused) == (False, True, True)
        assert replace(first, reused=True, phases=second.phases) == replace(second, headers=first.headers)
        assert (third.status, third.body) == (503, b"busy")
        assert first.phases.connect is not None
        assert second.phases.connect is None

    on_a_loop(work)


def test_a_connection_that_was_closed_meanwhile_costs_no_attempt() -> None:
    """Nobody has seen the request, so it is sent again on a new connection."""
    served: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(0)
        mine = len(served) - 1
        while True:
            await reader.readuntil(b"\r\n\r\nhello")
            if mine == 0 and served[0]:
                break  # The second request on the first connection is not answered.
            served[mine] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async def work(loop: Loop, _: Endpoint) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for n in range(2):
            loop.dispatcher.begin([claimed(url, n)])
            await loop.ended(n + 1)
        outcomes = await loop.ended(2)
        assert [o and (o.status, o.reused) for o in outcomes] == [(200, False), (200, False)]
        assert served == [1, 1]
        await loop.egress.close()
        server.close()
        await server.wait_closed()

    on_a_loop(work)


def test_room_is_what_is_not_in_use() -> None:
    """Places are taken when an attempt opens and free when it ends."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        assert loop.dispatcher.room() == 3
        loop.dispatcher.begin([claimed(endpoint.url, n) for n in range(2)])
        assert (loop.dispatcher.room(), loop.dispatcher.open_attempts) == (1, 2)
        await loop.ended(2)
        assert loop.dispatcher.room() == 3

    on_a_loop(work, capacity=3)


@pytest.mark.promise("P-7")
def test_a_damaged_request_is_never_sent() -> None:
    """Its outcome says so."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        loop.dispatcher.begin([replace(claimed(endpoint.url), intact=False)])
        assert await loop.ended(1) == [CORRUPT]
        assert endpoint.requests == []

    on_a_loop(work)


def test_whoever_looks_on_and_meets_a_bug_costs_no_outcome() -> None:
    """The attempt is made and recorded though its log or its span fails, and so are those beside it."""

    def broken(*_: object) -> Claimed:
        raise RuntimeError

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        dispatcher = Dispatcher(
            loop.egress,
            SystemClock(),
            lambda _: KEYS,
            loop.settle,
            capacity=2,
            timeout_ms=20_000,
            told=broken,  # type: ignore[arg-type] # It never returns.
            traced=broken,
        )
        dispatcher.begin([claimed(endpoint.url, n) for n in range(2)])
        assert [outcome and outcome.status for outcome in await loop.ended(2)] == [200, 200]
        assert dispatcher.room() == 2

    on_a_loop(work)


@pytest.mark.promise("P-32", "P-130")
def test_what_is_claimed_after_a_drain_began_goes_back_unsent() -> None:
    """No attempt, no outcome."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        assert await loop.dispatcher.drain(5) == 0
        assert loop.dispatcher.room() == 0
        loop.dispatcher.begin([claimed(endpoint.url)])
        assert await loop.ended(1) == [None]
        assert endpoint.requests == []

    on_a_loop(work)


@pytest.mark.promise("P-106")
def test_the_body_hash_of_the_signature_is_that_of_the_bytes_sent() -> None:
    """An absent body hashes as the empty one; without keys nothing is signed."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        loop.dispatcher.begin([claimed(endpoint.url, body=None)])
        await loop.ended(1)
        (request,) = endpoint.requests
        claims = jwt.decode(
            str(request.header("Upstash-Signature")), KEYS.current, algorithms=["HS256"], options={"verify_aud": False}
        )
        assert claims["body"] == urlsafe_b64encode(sha256(b"").digest()).decode()

    on_a_loop(work)


@pytest.mark.promise("P-64")
def test_nothing_is_sent_without_the_lease() -> None:
    """Asked right before each attempt: what was claimed before it was lost goes back unsent."""
    held, lost = [True], list[bool]()

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        loop.dispatcher._lease = lambda: held[0]
        loop.dispatcher._lost = lambda: lost.append(True)
        loop.dispatcher.begin([claimed(endpoint.url, 1)])
        await loop.ended(1)
        held[0] = False
        loop.dispatcher.begin([claimed(endpoint.url, 2), claimed(endpoint.url, 3)])
        assert (await loop.ended(3))[1:] == [None, None]
        assert lost == [True]
        assert len(endpoint.requests) == 1

    on_a_loop(work)


@pytest.mark.promise("P-106")
def test_what_was_made_ready_is_sent_only_once_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves before; then the request is the one that would have been made without that, and made once."""
    made: list[int] = []
    delivery = Dispatcher._delivery

    def counted(self: Dispatcher, item: Claimed) -> Delivery:
        made.append(item.message.attempt)
        return delivery(self, item)

    monkeypatch.setattr(Dispatcher, "_delivery", counted)

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        loop.dispatcher.begin([claimed(endpoint.url)])
        await loop.ended(1)  # There is a connection from here on.
        second, third = claimed(endpoint.url, attempt=2), claimed(endpoint.url, number=2, attempt=3)
        loop.dispatcher.make_ready([second, third])
        await asyncio.sleep(0)
        assert len(endpoint.requests) == 1, "nothing is durable yet"
        assert loop.dispatcher.open_attempts == 0
        loop.dispatcher.begin([second])
        await loop.ended(2)
        assert made == [1, 2, 3]
        first, again = endpoint.requests
        own = ("Upstash-Signature", "Upstash-Retried")
        assert [h for h in first.headers if h[0] not in own] == [h for h in again.headers if h[0] not in own]
        token = jwt.decode(
            str(again.header("Upstash-Signature")), KEYS.current, algorithms=["HS256"], options={"verify_aud": False}
        )
        assert token["jti"].endswith("2")

    on_a_loop(work)


@pytest.mark.promise("P-106", "D-35")
def test_what_was_made_ready_for_another_turn_or_long_ago_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that came to nothing leaves nothing to send, and a commit that took long no old signature."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        failed = claimed(endpoint.url, attempt=7)
        loop.dispatcher.make_ready([failed])  # Its commit fails; then the message is claimed again.
        loop.dispatcher.begin([claimed(endpoint.url, attempt=8)])
        await loop.ended(1)
        slow = claimed(endpoint.url, attempt=9)
        loop.dispatcher.make_ready([slow])
        later = SystemClock.wall(loop.clock) + 10 * 60_000
        monkeypatch.setattr(loop.clock, "wall", lambda: later)
        loop.dispatcher.begin([slow])
        await loop.ended(2)
        tokens = [
            jwt.decode(
                str(request.header("Upstash-Signature")),
                KEYS.current,
                algorithms=["HS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            for request in endpoint.requests
        ]
        assert tokens[0]["jti"].endswith("8")
        assert tokens[1]["iat"] == later // 1000

    on_a_loop(work)


def test_what_cannot_be_made_ready_is_told_where_it_begins() -> None:
    """A URL that cannot be read fails its own attempt, and no other."""

    async def work(loop: Loop, endpoint: Endpoint) -> None:
        good, bad = claimed(endpoint.url), claimed("no url", number=2)
        loop.dispatcher.make_ready([bad, good])
        loop.dispatcher.begin([bad, good])
        await loop.ended(2)
        outcomes = {result.claimed.message.id: result.outcome for result in loop.results}
        assert outcomes[bad.message.id] == INTERNAL
        assert (outcomes[good.message.id] or INTERNAL).status == 200

    on_a_loop(work)
