"""Names: looked up off the loop, once, with a deadline; and the address that was judged is the one called."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Iterable
from ipaddress import ip_network

import pytest
from tests.egress.conftest import Run
from tests.egress.receiver import ANYWHERE, always, delivery, receiving, sending, until

from lateron.core.destination import parse_destination
from lateron.core.values import Millis, Outcome
from lateron.egress import EgressSettings, GuardPolicy, Resolver, dial, parse_overrides
from lateron.egress.failure import Failure, connect_failure
from lateron.egress.resolve import LATE_MAX, THREADS
from lateron.runtime import Nanos, SystemClock


class Names:
    """A resolver whose answers a test writes; each call takes the next one, the last repeats."""

    def __init__(self, *answers: Iterable[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, host: str) -> Iterable[str]:
        self.asked.append(host)
        assert self.may_answer.wait(30)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def resolver(self, clock: MovableClock | None = None) -> Resolver:
        return Resolver({}, clock or StillClock(), self)


class MovableClock(SystemClock):
    def __init__(self) -> None:
        self.passed_ms: Millis = 0

    def mono(self) -> Nanos:
        return Nanos(super().mono() + self.passed_ms * 1_000_000)


class StillClock(MovableClock):
    """Passes only when it is told to, so that no lookup is slow because the machine is."""

    def mono(self) -> Nanos:
        return Nanos(self.passed_ms * 1_000_000)


class NameServers:
    """Name servers that answer when a test lets them; until then each name holds a thread."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.clock = StillClock()
        self.resolver = Resolver({}, self.clock, self)
        self._answering = threading.Event()

    def __call__(self, host: str) -> Iterable[str]:
        self.asked.append(host)
        if not host.startswith("quick") and not self._answering.wait(30):
            raise TimeoutError
        return ["127.0.0.1"]

    def want(self, *hosts: str) -> list[asyncio.Task[tuple[str, ...]]]:
        """Begin to resolve names."""
        return [asyncio.create_task(self.resolver.resolve(parse_destination(f"http://{host}/"))) for host in hosts]

    def want_soon(self) -> None:
        """Do now what the resolver would do in a second, when it looks whether a lookup is late."""
        self.resolver._look_again()

    def fall_silent(self, seconds: int) -> None:
        """Answer no more; what was answered so long ago is forgotten."""
        self.asked.clear()
        self._answering.clear()
        self.clock.passed_ms += seconds * 1000

    def answer(self, *, after: int = 0) -> None:
        """Answer all that was asked, after so many seconds."""
        self.clock.passed_ms += after * 1000
        self._answering.set()

    def close(self) -> None:
        self.answer()
        self.resolver.close()


def send(run: Run, names: Names, *, policy: GuardPolicy = ANYWHERE, timeout_ms: int = 10_000) -> tuple[Outcome, int]:
    async def main() -> tuple[Outcome, int]:
        settings = EgressSettings(guard=policy)
        async with receiving(always()) as receiver, sending(settings, names.resolver()) as egress:
            outcome = await egress.send(delivery(receiver.url(host="some.example"), timeout_ms=timeout_ms))
            names.may_answer.set()
            return outcome, receiver.connections

    return run(main())


def test_name_is_resolved_and_named_in_the_host_header(run: Run) -> None:
    """Virtual hosts see the name; the connection goes to its address."""

    async def main() -> tuple[Outcome, list[str], int]:
        async with receiving(always()) as receiver, sending(None, Names(["127.0.0.1"]).resolver()) as egress:
            outcome = await egress.send(delivery(receiver.url(host="Some.Example")))
            return outcome, receiver.heard[0].values("host"), receiver.port

    outcome, host, port = run(main())

    assert outcome.status == 200
    assert host == [f"some.example:{port}"]
    assert outcome.peer == f"127.0.0.1:{port}"
    assert outcome.phases.dns is not None


@pytest.mark.promise("F-37", "P-20")
@pytest.mark.parametrize(
    ("answer", "error", "detail"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), "dns", "some.example does not resolve"),
        (socket.gaierror(socket.EAI_AGAIN, "later"), "dns", "the name server did not answer for some.example"),
        (socket.gaierror(socket.EAI_FAIL, "fail"), "dns", "some.example does not resolve"),
        (socket.gaierror(socket.EAI_MEMORY, "memory"), "local", "out of memory"),
        (OSError(24, "Too many open files"), "local", "this machine could not open a connection"),
        ([], "dns", "some.example has no address"),
        (["nonsense"], "dns", "some.example does not resolve"),
    ],
)
def test_name_without_address_is_a_dns_failure(run: Run, answer: list[str] | OSError, error: str, detail: str) -> None:
    """The class tells a typing error from a dead receiver."""
    outcome, connections = send(run, Names(answer))

    assert outcome.error == error
    assert detail in outcome.detail
    assert connections == 0


@pytest.mark.promise("F-37", "P-29")
def test_slow_name_server_meets_the_deadline(run: Run) -> None:
    """The timeout covers the lookup too, and the loop turns meanwhile."""
    names = Names(["127.0.0.1"])
    names.may_answer.clear()

    outcome, connections = send(run, names, timeout_ms=100)

    assert (outcome.error, outcome.detail) == ("timeout", "no end within 100 ms: looking up the name")
    assert connections == 0


@pytest.mark.promise("F-37", "D-21", "D-24")
def test_address_that_changes_between_check_and_use_is_never_called(run: Run) -> None:
    """DNS rebinding: a name that is public when judged and private when used. There is no second lookup."""
    # 127.0.0.2, where nobody listens, plays the public address; 127.0.0.1 the one that must stay unreached.
    settings = EgressSettings(guard=GuardPolicy(allow_private=(ip_network("127.0.0.2/32"),)))
    flips = 500

    async def main() -> tuple[list[str | None], int, list[str]]:
        names = Names(*([["127.0.0.2"], ["127.0.0.1"]] * flips))
        clock = MovableClock()
        async with receiving(always()) as receiver, sending(settings, names.resolver(clock)) as egress:
            attempt = delivery(receiver.url(host="rebinding.example"))
            errors = []
            for _ in range(2 * flips):
                clock.passed_ms += 10_000  # Nothing is remembered.
                errors.append((await egress.send(attempt)).error)
            return errors, receiver.connections, names.asked

    errors, connections, asked = run(main())

    assert connections == 0
    assert len(asked) == 2 * flips
    assert errors == ["connect", "blocked"] * flips


@pytest.mark.promise("D-24", "F-37")
def test_all_answers_are_judged(run: Run) -> None:
    """A private address among public ones is not called; none left is a failed attempt."""
    blocked, connections = send(run, Names(["127.0.0.1", "10.0.0.1", "169.254.169.254"]), policy=GuardPolicy())

    assert (blocked.error, connections) == ("blocked", 0)
    assert blocked.detail == "some.example: 127.0.0.1 is loopback; --allow-private would permit it"

    mixed, connections = send(run, Names(["169.254.169.254", "127.0.0.1"]))

    assert (mixed.status, connections) == (200, 1)


@pytest.mark.promise("F-37", "D-24")
def test_thousand_addresses_are_cut(run: Run) -> None:
    """A name with a thousand addresses is no reason for a thousand connections."""

    async def main() -> int:
        resolver = Names([f"127.0.{i // 250}.{i % 250}" for i in range(1000)]).resolver()
        try:
            return len(await resolver.resolve(parse_destination("http://many.example/")))
        finally:
            resolver.close()

    assert run(main()) == 16


@pytest.mark.promise("F-37")
def test_equal_lookups_are_made_once_and_remembered_for_seconds(run: Run) -> None:
    """A burst to one host asks once; a changed address is seen within seconds."""

    async def main() -> list[int]:
        clock = MovableClock()
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        resolver = names.resolver(clock)
        destination = parse_destination("http://some.example/")
        counts = []
        names.may_answer.clear()
        waiting = [asyncio.create_task(resolver.resolve(destination)) for _ in range(10)]
        await until(lambda: bool(names.asked))
        waiting[0].cancel()  # One that gives up takes nothing from the others.
        names.may_answer.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert answers[1:] == [("127.0.0.1",)] * 9
        counts.append(len(names.asked))
        assert await resolver.resolve(destination) == ("127.0.0.1",)
        counts.append(len(names.asked))
        clock.passed_ms = 6_000
        assert await resolver.resolve(destination) == ("127.0.0.2",)
        counts.append(len(names.asked))
        resolver.close()
        return counts

    assert run(main()) == [1, 1, 2]


def test_failed_lookup_is_not_remembered(run: Run) -> None:
    """A name that was just created works at the next attempt."""

    async def main() -> tuple[str, ...]:
        resolver = Names(socket.gaierror(socket.EAI_NONAME, "no"), ["127.0.0.1"]).resolver()
        destination = parse_destination("http://new.example/")
        with pytest.raises(Failure):
            await resolver.resolve(destination)
        try:
            return await resolver.resolve(destination)
        finally:
            resolver.close()

    assert run(main()) == ("127.0.0.1",)


@pytest.mark.promise("F-37")
def test_failure_that_took_long_is_remembered_for_seconds(run: Run) -> None:
    """Else each message to a name whose server is silent would hold a thread for as long as the system is patient."""

    async def main() -> tuple[str, int, tuple[str, ...]]:
        clock = StillClock()
        names = Names(socket.gaierror(socket.EAI_AGAIN, "later"), ["127.0.0.1"])
        resolver = names.resolver(clock)
        destination = parse_destination("http://silent.example/")
        names.may_answer.clear()
        first = asyncio.create_task(resolver.resolve(destination))
        await until(lambda: bool(names.asked))
        clock.passed_ms += 20_000
        names.may_answer.set()
        with pytest.raises(Failure):
            await first
        clock.passed_ms += 4_000
        with pytest.raises(Failure) as remembered:
            await resolver.resolve(destination)
        asked = len(names.asked)
        clock.passed_ms += 2_000
        try:
            return remembered.value.detail, asked, await resolver.resolve(destination)
        finally:
            resolver.close()

    assert run(main()) == ("the name server did not answer for silent.example", 1, ("127.0.0.1",))


@pytest.mark.promise("F-37")
def test_name_that_nobody_waits_for_is_not_asked_for(run: Run) -> None:
    """A hundred attempts that ran out of time while all threads were busy must not keep the next one waiting."""

    async def main() -> list[str]:
        servers = NameServers()
        busy = servers.want(*(f"silent-{n}.example" for n in range(16)))
        await until(lambda: len(servers.asked) == 16)
        given_up = servers.want(*(f"given-up-{n}.example" for n in range(100)))
        wanted_twice = servers.want("wanted.example", "wanted.example")
        (last,) = servers.want("last.example")
        await asyncio.sleep(0)
        for task in (*given_up, wanted_twice[0]):
            task.cancel()
        await asyncio.wait(given_up)
        servers.answer()
        await asyncio.gather(*busy, wanted_twice[1], last)
        servers.close()
        return servers.asked[16:]

    assert sorted(run(main())) == ["last.example", "wanted.example"]


@pytest.mark.promise("F-37")
def test_names_that_were_slow_leave_threads_to_the_others(run: Run) -> None:
    """Names whose servers are silent must not keep all others from being resolved."""

    async def main() -> tuple[int, int]:
        servers = NameServers()
        slow = [f"slow-{n}.example" for n in range(16)]
        first = servers.want(*slow)
        await until(lambda: len(servers.asked) == 16)
        servers.answer(after=20)
        await asyncio.gather(*first)
        servers.fall_silent(6)

        second = servers.want(*slow)
        await asyncio.gather(*servers.want(*(f"quick-{n}.example" for n in range(100))))
        await until(lambda: len(servers.asked) >= 108)
        at_once = len(servers.asked) - 100
        servers.answer()
        await asyncio.gather(*second)
        servers.fall_silent(6)

        third = servers.want(*slow)  # They were quick this time.
        await until(lambda: len(servers.asked) == 16)
        at_once_again = len(servers.asked)
        servers.answer()
        await asyncio.gather(*third)
        servers.close()
        return at_once, at_once_again

    assert run(main()) == (8, 16)


@pytest.mark.promise("F-37")
def test_names_never_asked_for_before_are_not_held_up_by_silent_ones(run: Run) -> None:
    """New names with silent servers, one for each thread, keep the others waiting for a second, not for minutes."""

    async def main() -> tuple[int, int, int, int]:
        servers = NameServers()
        resolver = servers.resolver
        silent = servers.want(*(f"silent-{n}.example" for n in range(THREADS)))
        await until(lambda: len(servers.asked) == THREADS)
        (next_one,) = servers.want("quick.example")
        await asyncio.sleep(0)
        waited = len(servers.asked)
        servers.clock.passed_ms += 1000
        servers.want_soon()
        assert await next_one == ("127.0.0.1",)
        more = servers.want(*(f"silent-{n}.example" for n in range(THREADS, 200)))
        for _ in range(20):
            await until(lambda: len(resolver._asked) == THREADS or resolver._late == LATE_MAX)
            servers.clock.passed_ms += 1000
            servers.want_soon()
            await asyncio.sleep(0)
        most = resolver._threads
        servers.answer()
        await asyncio.gather(*silent, *more)
        await until(lambda: resolver._threads <= THREADS)
        servers.close()
        return waited, most, resolver._late, len(resolver._asked)

    assert run(main()) == (THREADS, THREADS + LATE_MAX, 0, 0)


@pytest.mark.promise("F-37")
def test_a_name_known_as_slow_is_not_held_up_by_silent_ones_either(run: Run) -> None:
    """It has places of its own, and those who hold all threads make room for it."""

    async def main() -> list[str]:
        servers = NameServers()
        known = servers.want("slow.example")
        await until(lambda: len(servers.asked) == 1)
        servers.answer(after=20)
        await asyncio.gather(*known)
        servers.fall_silent(6)
        silent = servers.want(*(f"silent-{n}.example" for n in range(THREADS)))
        await until(lambda: len(servers.asked) == THREADS)
        again = servers.want("slow.example")
        await asyncio.sleep(0)
        assert servers.resolver._alarm is not None, "it looks again by itself"
        servers.clock.passed_ms += 1000
        servers.want_soon()
        await until(lambda: len(servers.asked) > THREADS)
        servers.answer()
        await asyncio.gather(*silent, *again)
        servers.close()
        return servers.asked[THREADS:]

    assert run(main()) == ["slow.example"]


def test_closing_fails_names_that_wait_for_a_thread(run: Run) -> None:
    """Nobody will ask for them any more, and it is not the receiver that failed."""

    async def main() -> tuple[str, int]:
        servers = NameServers()
        busy = servers.want(*(f"silent-{n}.example" for n in range(16)))
        await until(lambda: len(servers.asked) == 16)
        (waiting,) = servers.want("waiting.example")
        await asyncio.sleep(0)
        servers.close()
        with pytest.raises(Failure) as refused:
            await waiting
        await asyncio.gather(*busy)
        return refused.value.error, len(servers.asked)

    assert run(main()) == ("local", 16)


@pytest.mark.promise("F-37")
def test_first_address_that_is_dead_costs_a_head_start_only(run: Run) -> None:
    """RFC 8305: the next address is tried while the first one is silent, or at once if it refuses."""

    async def main() -> tuple[Outcome, Outcome]:
        async with receiving(always()) as receiver:
            settings = EgressSettings(guard=ANYWHERE, race_delay_ms=10)
            with socket.socket() as full:
                full.bind(("127.0.0.2", receiver.port))
                full.listen(0)
                fillers = [socket.socket() for _ in range(4)]
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(("127.0.0.2", receiver.port))
                async with sending(settings, Names(["127.0.0.2", "127.0.0.1"]).resolver()) as egress:
                    silent = await egress.send(delivery(receiver.url(host="some.example")))
                for filler in fillers:
                    filler.close()
            async with sending(None, Names(["::1", "127.0.0.3", "127.0.0.1"]).resolver()) as egress:
                refusing = await egress.send(delivery(receiver.url(host="some.example")))
            return silent, refusing

    silent, refusing = run(main())

    assert silent.status == refusing.status == 200
    assert silent.peer is not None
    assert silent.peer.startswith("127.0.0.1:")


def test_name_whose_addresses_all_refuse_is_a_connect_failure(run: Run) -> None:
    """The detail tells of the first one, and how many there were."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

        async def main() -> Outcome:
            async with sending(None, Names(["127.0.0.1", "127.0.0.2", "127.0.0.3"]).resolver()) as egress:
                return await egress.send(delivery(f"http://some.example:{port}/"))

        outcome = run(main())

    assert outcome.error == "connect"
    assert outcome.detail == f"connection refused (127.0.0.1:{port}), and 2 more addresses failed"


@pytest.mark.parametrize("order", [["10.0.0.1", "10.0.0.2"], ["10.0.0.2", "10.0.0.1"]])
def test_address_that_is_down_counts_before_one_this_machine_had_nothing_for(
    run: Run, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is quickly told of one address would else hide for ever that all others are down."""

    async def open_socket(address: str, port: int) -> socket.socket:
        number = errno.EMFILE if address == "10.0.0.1" else errno.ETIMEDOUT
        raise connect_failure(OSError(number, ""), address, f"{address}:{port}")

    monkeypatch.setattr(dial, "_open_socket", open_socket)

    async def main() -> Outcome:
        async with sending(None, Names(order).resolver()) as egress:
            return await egress.send(delivery("http://some.example:81/"))

    outcome = run(main())

    assert outcome.error == "connect"
    assert outcome.detail == "no reaction from the other side (10.0.0.2:81), and 1 more addresses failed"


@pytest.mark.parametrize(
    ("address", "number", "error", "detail"),
    [
        ("2001:db8::1", errno.EADDRNOTAVAIL, "connect", "this machine has no IPv6 to reach it by"),
        ("2001:db8::1", errno.EAFNOSUPPORT, "connect", "this machine has no IPv6 to reach it by"),
        ("2001:db8::1", errno.ENETUNREACH, "connect", "network unreachable"),
        ("2001:db8::1", errno.EMFILE, "local", "this machine could not open a connection"),
        ("192.0.2.1", errno.ENETUNREACH, "connect", "network unreachable"),
        ("192.0.2.1", errno.EADDRNOTAVAIL, "local", "this machine could not open a connection"),
    ],
)
def test_machine_without_ipv6_is_no_passing_shortage(address: str, number: int, error: str, detail: str) -> None:
    """A class of its own costs no retry; ports that are all taken come free, an address never given does not come."""
    failure = connect_failure(OSError(number, ""), address, "there")

    assert failure.error == error
    assert failure.detail.startswith(detail)


def test_system_resolves_localhost(run: Run) -> None:
    """Without an injected resolver the system is asked, in a thread."""

    async def main() -> Outcome:
        async with receiving(always()) as receiver, sending() as egress:
            return await egress.send(delivery(receiver.url(host="localhost")))

    assert run(main()).status == 200


# --resolve


def test_override_is_read_as_in_curl() -> None:
    """HOST:PORT:ADDRESS, several addresses, brackets or none, * for every host."""
    read = parse_overrides(["Some.Example:80:127.0.0.1", "b:443:[::1],10.0.0.1", "*:81:::1"])

    assert read == {("some.example", 80): ("127.0.0.1",), ("b", 443): ("::1", "10.0.0.1"), ("*", 81): ("::1",)}


@pytest.mark.parametrize("entry", ["", "a", "a:80", "a:80:", "a:x:127.0.0.1", ":80:127.0.0.1", "a:80:b", "a:80:1.2.3"])
def test_override_of_another_form_is_named(entry: str) -> None:
    """A typing error at start is told at start."""
    with pytest.raises(ValueError, match="expected HOST:PORT:ADDRESS"):
        parse_overrides([entry])


@pytest.mark.promise("D-21", "D-23")
def test_override_decides_the_address_and_not_whether_it_is_allowed(run: Run) -> None:
    """--resolve is for tests and split DNS; the guard judges its addresses like all others."""

    async def main() -> tuple[Outcome, Outcome, Outcome]:
        async with receiving(always()) as receiver:
            entry = f"api.example:{receiver.port}:127.0.0.1"
            attempt = delivery(receiver.url(host="api.example"))
            async with sending(EgressSettings(guard=ANYWHERE, resolve=(entry,))) as egress:
                allowed = await egress.send(attempt)
            async with sending(EgressSettings(resolve=(entry,))) as egress:
                refused = await egress.send(attempt)
            any_host = EgressSettings(guard=ANYWHERE, resolve=(f"*:{receiver.port}:127.0.0.1",))
            async with sending(any_host) as egress:
                wild = await egress.send(attempt)
            return allowed, refused, wild

    allowed, refused, wild = run(main())

    assert allowed.status == wild.status == 200
    assert refused.error == "blocked"
