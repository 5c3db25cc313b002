"""Connections are used again only when nothing can go wrong by it."""

from __future__ import annotations

import asyncio

import pytest
from tests.egress.conftest import Run
from tests.egress.receiver import ANYWHERE, OK, Talk, always, answering, delivery, receiving, sending, until

from lateron.core.values import Millis, Outcome
from lateron.egress import EgressSettings
from lateron.runtime import Nanos, SystemClock


class MovableClock(SystemClock):
    def __init__(self) -> None:
        self.passed_ms: Millis = 0

    def mono(self) -> Nanos:
        return Nanos(super().mono() + self.passed_ms * 1_000_000)


def test_connection_is_used_again(run: Run) -> None:
    """One after another on one connection; together on as many as there are attempts, all kept."""

    async def main() -> tuple[int, int, list[bool]]:
        async with receiving(always()) as receiver, sending() as egress:
            one = [await egress.send(delivery(receiver.url(f"/{i}"))) for i in range(5)]
            after_one = receiver.connections
            await asyncio.gather(*(egress.send(delivery(receiver.url())) for _ in range(8)))
            await asyncio.gather(*(egress.send(delivery(receiver.url())) for _ in range(8)))
            return after_one, receiver.connections, [outcome.reused for outcome in one]

    after_one, after_all, reused = run(main())

    assert (after_one, after_all) == (1, 8)
    assert reused == [False, True, True, True, True]


@pytest.mark.promise("D-32")
def test_tenants_share_no_connection(run: Run) -> None:
    """What one tenant did to a connection must not reach another."""

    async def main() -> list[int]:
        async with receiving(always()) as receiver, sending() as egress:
            for tenant in (1, 2, 1, 2, 3):
                assert (await egress.send(delivery(receiver.url(), tenant=tenant))).status == 200
            return [heard.connection for heard in receiver.heard]

    assert run(main()) == [1, 2, 1, 2, 3]


@pytest.mark.promise("D-32")
def test_names_share_no_connection(run: Run) -> None:
    """Two names on one address may be two sites of two owners behind one proxy."""

    async def main() -> list[int]:
        async with receiving(always()) as receiver:
            settings = EgressSettings(guard=ANYWHERE, resolve=(f"*:{receiver.port}:127.0.0.1",))
            async with sending(settings) as egress:
                for host in ("a.example", "b.example", "a.example"):
                    await egress.send(delivery(receiver.url(host=host)))
                return [heard.connection for heard in receiver.heard]

    assert run(main()) == [1, 2, 1]


@pytest.mark.promise("D-32", "F-32")
@pytest.mark.parametrize(
    "first",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokH",
        b"HTTP/1.1 204 No Content\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok and more",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
    ],
)
def test_connection_is_not_used_after_anything_odd(run: Run, first: bytes) -> None:
    """Bytes that were not asked for would be taken for the answer to the next request."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(first if talk.number == 1 else OK)
        await talk.end()

    async def main() -> tuple[Outcome, int]:
        async with receiving(behave) as receiver, sending() as egress:
            await egress.send(delivery(receiver.url()))
            return await egress.send(delivery(receiver.url())), receiver.connections

    second, connections = run(main())

    assert (second.status, second.body, second.reused) == (200, b"ok", False)
    assert connections == 2


def test_bytes_on_an_idle_connection_end_it(run: Run) -> None:
    """A receiver that speaks unasked is not listened to."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(OK)
        if talk.number == 1:
            await asyncio.sleep(0)
            await talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await talk.end()

    async def main() -> tuple[Outcome, int]:
        async with receiving(behave) as receiver, sending() as egress:
            await egress.send(delivery(receiver.url()))
            await until(lambda: not egress._pool.open)
            return await egress.send(delivery(receiver.url())), receiver.connections

    second, connections = run(main())

    assert (second.body, connections) == (b"ok", 2)


def test_head_request_ends_its_connection(run: Run) -> None:
    """The parser cannot be told that no body follows, so nothing else may follow."""

    async def main() -> int:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        async with receiving(always(answer)) as receiver, sending() as egress:
            for _ in range(2):
                outcome = await egress.send(delivery(receiver.url(), b"", method="HEAD"))
                assert (outcome.status, outcome.body, outcome.error) == (200, b"", None)
            return receiver.connections

    assert run(main()) == 2


# A kept connection that the other side has closed


def test_request_on_a_connection_closed_meanwhile_is_sent_on_a_fresh_one(run: Run) -> None:
    """Servers close idle connections; that is no failure of the receiver and costs no retry."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(OK)
        if talk.number == 1:
            await talk.reader.read(1)  # It takes the next request, and dies on it.
            talk.reset()
            return
        await talk.end()

    async def main() -> tuple[Outcome, int]:
        async with receiving(behave) as receiver, sending() as egress:
            await egress.send(delivery(receiver.url()))
            return await egress.send(delivery(receiver.url())), receiver.connections

    second, connections = run(main())

    assert (second.status, second.error, second.reused, connections) == (200, None, False, 2)


def test_fresh_connection_is_tried_once_only(run: Run) -> None:
    """One repetition, and only for a kept connection: a receiver that always closes has failed."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        if talk.number == 1:
            await talk.say(OK)
            await talk.hear()

    async def main() -> tuple[Outcome, Outcome, int]:
        async with receiving(behave) as receiver, sending() as egress:
            await egress.send(delivery(receiver.url()))
            second = await egress.send(delivery(receiver.url()))
            after_second = receiver.connections
            third = await egress.send(delivery(receiver.url()))
            assert receiver.connections == after_second + 1
            return second, third, after_second

    second, third, connections = run(main())

    assert second.error == third.error == "closed"
    assert connections == 2


def test_request_is_not_repeated_once_a_byte_came_back(run: Run) -> None:
    """From the first byte on the receiver has the message; whether to call again is the retry policy's choice."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.say(OK)
        await talk.hear()
        await talk.say(b"H")

    async def main() -> tuple[Outcome, int]:
        async with receiving(behave) as receiver, sending() as egress:
            await egress.send(delivery(receiver.url()))
            return await egress.send(delivery(receiver.url())), receiver.connections

    second, connections = run(main())

    assert (second.error, second.reused, connections) == ("closed", True, 1)


class Dying:
    """A receiver that answers the requests to one path, on several connections, and dies on those to another."""

    def __init__(self, kept: int) -> None:
        self.kept = kept  # Requests that must be there before the first is answered.
        self.copies: list[int] = []  # Of the connections that requests died on.
        self.may_die = asyncio.Event()
        self.may_die.set()
        self._here = asyncio.Event()

    async def __call__(self, talk: Talk) -> None:
        while (await talk.hear()).target == "/kept":
            if len(talk.receiver.heard) == self.kept:
                self._here.set()
            await self._here.wait()
            await talk.say(OK)
        self.copies.append(talk.number)
        await self.may_die.wait()
        talk.reset()


@pytest.mark.promise("F-30")
def test_attempt_is_sent_at_most_twice(run: Run) -> None:
    """Of many connections that all die, one kept and one fresh carry the message: at most one copy too many."""

    async def main() -> tuple[Outcome, Outcome, list[int]]:
        dying = Dying(kept=6)
        async with receiving(dying) as receiver, sending() as egress:
            await asyncio.gather(*(egress.send(delivery(receiver.url("/kept"))) for _ in range(6)))
            long_way = await egress.send(delivery(receiver.url("/dies")))
            ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            assert egress.send_kept(delivery(receiver.url("/dies")), ended.set_result)
            return long_way, await ended, dying.copies

    long_way, short_way, copies = run(main())

    assert (long_way.error, short_way.error) == ("closed", "closed")
    assert len(copies) == 4
    assert [number > 6 for number in copies] == [False, True, False, True]


@pytest.mark.promise("P-29")
@pytest.mark.parametrize("short_way", [True, False])
def test_second_copy_has_only_the_time_that_is_left(run: Run, short_way: bool) -> None:
    """A kept connection that closes late must not double the timeout, nor shorten the time that is told."""

    async def main() -> Outcome:
        clock = MovableClock()
        dying = Dying(kept=1)
        async with receiving(dying) as receiver, sending(clock=clock) as egress:
            await egress.send(delivery(receiver.url("/kept")))
            attempt = delivery(receiver.url("/dies"), timeout_ms=7_200_000)
            ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            dying.may_die.clear()
            if short_way:
                assert egress.send_kept(attempt, ended.set_result)
            else:
                sent = asyncio.create_task(egress.send(attempt))
                sent.add_done_callback(lambda task: ended.set_result(task.result()))
            await until(lambda: len(dying.copies) == 1)
            clock.passed_ms += 7_000_000
            dying.may_die.set()
            dying.may_die = asyncio.Event()  # The fresh connection stays.
            await until(lambda: len(dying.copies) == 2)
            clock.passed_ms += 200_000
            await until(ended.done)
            return ended.result()

    outcome = run(main())

    assert (outcome.error, outcome.reused) == ("timeout", False)
    assert outcome.phases.total >= 7_200_000_000


# Time


def test_connection_idle_for_long_is_closed(run: Run) -> None:
    """Closing first avoids most of the races with servers that close after five seconds."""

    async def main() -> tuple[bool, int]:
        clock = MovableClock()
        async with receiving(always()) as receiver, sending(clock=clock) as egress:
            await egress.send(delivery(receiver.url()))
            clock.passed_ms += 5_000
            second = await egress.send(delivery(receiver.url()))
            return second.reused, receiver.connections

    assert run(main()) == (False, 2)


def test_idle_connections_are_closed_without_another_delivery(run: Run) -> None:
    """A server with nothing to do holds no descriptors."""

    async def main() -> int:
        clock = MovableClock()
        async with receiving(always()) as receiver, sending(clock=clock) as egress:
            await egress.send(delivery(receiver.url()))
            assert len(egress._pool.open) == 1
            clock.passed_ms += 5_000
            await until(lambda: not egress._pool.open)
            assert not egress._pool._idle
            return len(egress._pool.open)

    assert run(main()) == 0


@pytest.mark.promise("P-29")
def test_timeout_is_on_the_monotonic_clock(run: Run) -> None:
    """Two hours pass at once when the clock says so, whatever the wall clock does."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.end()

    async def main() -> Outcome:
        clock = MovableClock()
        async with receiving(behave) as receiver, sending(clock=clock) as egress:
            attempt = asyncio.create_task(egress.send(delivery(receiver.url(), timeout_ms=7_200_000)))
            await until(lambda: bool(receiver.heard))
            clock.passed_ms += 7_200_000
            return await attempt

    outcome = run(main())

    assert (outcome.error, outcome.detail) == ("timeout", "no end within 7200000 ms: waiting for an answer")
    assert outcome.phases.total >= 7_200_000_000


# Limits of the pool


def test_pool_keeps_only_so_many_of_a_kind(run: Run) -> None:
    """A burst to one host must not leave its connections lying about."""

    async def main() -> tuple[int, int]:
        settings = EgressSettings(guard=ANYWHERE, idle_per_key=2)
        async with receiving(always()) as receiver, sending(settings) as egress:
            await asyncio.gather(*(egress.send(delivery(receiver.url())) for _ in range(6)))
            await until(lambda: len(egress._pool.open) <= 2)
            return receiver.connections, len(egress._pool.open)

    assert run(main()) == (6, 2)


def test_idle_connection_makes_room_for_a_new_one(run: Run) -> None:
    """The cap counts idle connections, so an idle one gives way before an attempt is refused."""

    async def main() -> list[int | None]:
        settings = EgressSettings(guard=ANYWHERE, max_connections=1)
        async with receiving(always()) as receiver, sending(settings) as egress:
            statuses = []
            for tenant in (1, 2, 3):
                statuses.append((await egress.send(delivery(receiver.url(), tenant=tenant))).status)
                await until(lambda: len(egress._pool.open) <= 1)
            return statuses

    assert run(main()) == [200, 200, 200]


def test_closing_ends_open_attempts_and_refuses_new_ones(run: Run) -> None:
    """A server that stops gets an outcome for everything it has begun."""

    async def behave(talk: Talk) -> None:
        await talk.hear()
        await talk.end()

    async def main() -> tuple[Outcome, Outcome]:
        async with receiving(behave) as receiver, sending() as egress:
            attempt = asyncio.create_task(egress.send(delivery(receiver.url())))
            await until(lambda: bool(receiver.heard))
            await egress.close()
            return await attempt, await egress.send(delivery(receiver.url()))

    open_one, late_one = run(main())

    assert (open_one.error, open_one.detail) == ("local", "this server stopped before the answer was complete")
    assert late_one.error == "local"


def test_connection_that_ends_in_order_after_a_full_answer_is_forgotten(run: Run) -> None:
    """The usual end of a keep-alive connection leaves nothing behind."""

    async def main() -> int:
        async with receiving(answering(OK)) as receiver, sending() as egress:
            await egress.send(delivery(receiver.url()))
            await until(lambda: not egress._pool.open)
            return len(egress._pool._idle)

    assert run(main()) == 0
