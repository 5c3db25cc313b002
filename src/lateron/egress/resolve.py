"""From a name to the addresses it stands for now.

Names resolve as the system resolves them (its search domains, its hosts file), in threads of our own:
the pool that asyncio shares has six threads on a small machine, and one slow name server would stall
everything else that uses it. Nor does the end of the process wait for them: a thread that asks a silent
name server may be minutes inside the C library, out of everybody's reach. Equal lookups are made once, an
answer is kept for a few seconds. At most 16 addresses of an answer are used. An operator can answer for a
name himself, with ``--resolve HOST:PORT:ADDRESS`` as in curl.

A name that nobody waits for any more is not asked for. One whose last lookup took long waits in a line of
its own, which has only half of the threads, so that silent name servers leave the other half to all other
names. A lookup of another name that is under way for as long is late: it keeps its thread, and the next name has
another one, so that names never asked for before do not hold up all others either. A failure is not kept, for the
next attempt may find the name there, but for one that took long: that is kept for as long as an answer.

Nothing here judges an address; the guard does, on every use, also on those an operator gave.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from lateron.core.destination import Destination
from lateron.egress.failure import Failure, name_failure
from lateron.egress.guard import canonical
from lateron.runtime import Alarm, Clock, Nanos

Addresses: TypeAlias = tuple[str, ...]  # Canonical, in the order to try them.
Lookup: TypeAlias = Callable[[str], Iterable[str]]  # Blocking; raises OSError.
Overrides: TypeAlias = dict[tuple[str, int], Addresses]
T = TypeVar("T")

THREADS: Final = 16
SLOW_THREADS: Final = 8  # Of them, for names that were slow.
LATE_MAX: Final = 112  # Lookups that are late at a time, each with one thread more.
ANSWERS_MAX: Final = 16
KEEP_NS: Final = 5_000_000_000  # How long an answer is used.
SLOW_NS: Final = 1_000_000_000  # A lookup that takes so long is slow; that has taken so long already, late.
NAMES_MAX: Final = 4096  # Answers kept, and names known as slow.
ANY_HOST: Final = "*"
_OVERRIDE: Final = re.compile(r"(\*|[a-z0-9._-]+):[0-9]{1,5}:[0-9a-f.:,\[\] ]+", re.ASCII | re.IGNORECASE)


def parse_overrides(entries: Iterable[str]) -> Overrides:
    """Read ``HOST:PORT:ADDRESS[,ADDRESS]...`` entries; ``*`` is every host, an IPv6 address may have brackets.

    Raises:
        ValueError: An entry has another form; the message names it.
    """
    overrides: Overrides = {}
    for entry in entries:
        if _OVERRIDE.fullmatch(entry) is None:
            raise ValueError(f"expected HOST:PORT:ADDRESS, got {entry!r}")
        host, _, rest = entry.partition(":")
        port, _, addresses = rest.partition(":")
        try:
            overrides[host.lower(), int(port)] = tuple(
                canonical(word.strip().removeprefix("[").removesuffix("]")) for word in addresses.split(",")
            )
        except ValueError:
            raise ValueError(f"expected HOST:PORT:ADDRESS, got {entry!r}") from None
    return overrides


def system_lookup(host: str) -> list[str]:
    """Ask the system; blocks for as long as its resolver does."""
    # Why bytes: given text, Python would rewrite it by its own edition of IDNA first.
    answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in answers]


class _Line(Struct, eq=False):
    """Names of one kind that are to be asked for."""

    most: int  # Threads that may ask for them at a time.
    asking: int = 0  # Threads that do.
    waiting: dict[str, _Order] = {}  # The others, by name, in their order.


class _Order(Struct, eq=False):
    """A name to ask for once, for all who want it."""

    host: str
    line: _Line
    answer: asyncio.Future[Addresses | Failure]
    waiters: int = 0
    began: Nanos = Nanos(0)  # When a thread was given it.
    late: bool = False


class Resolver:
    """Finds the addresses of destinations; belongs to one event loop."""

    def __init__(self, overrides: Overrides, clock: Clock, lookup: Lookup = system_lookup) -> None:
        self._overrides = overrides
        self._clock = clock
        self._mono = clock.mono
        self._lookup = lookup
        self._kept: dict[str, tuple[Nanos, Addresses]] = {}  # Name -> until when, what; oldest first.
        # Names that took long last time -> until when their failure is believed, and which; oldest first.
        self._slow: dict[str, tuple[Nanos, Failure | None]] = {}
        self._orders: dict[str, _Order] = {}  # All that have no answer yet.
        self._slow_line = _Line(SLOW_THREADS)
        self._line = _Line(THREADS)
        self._handed: SimpleQueue[_Order | None] = SimpleQueue()  # To the threads; never more than there are of them.
        self._threads = 0
        self._asked: dict[str, _Order] = {}  # Of the common line, not late; oldest first.
        self._late = 0
        self._alarm: Alarm | None = None  # For when the next is late, while others wait.
        self._closed = False

    def known(self, destination: Destination) -> Addresses | None:
        """Return the addresses if nobody needs to be asked, else None."""
        host = destination.host
        if self._overrides:
            given = self._overrides.get((host, destination.port)) or self._overrides.get((ANY_HOST, destination.port))
            if given is not None:
                return given
        if destination.literal:
            return (canonical(host),)
        kept = self._kept.get(host)
        if kept is None or kept[0] < self._mono():
            return None
        return kept[1]

    async def resolve(self, destination: Destination) -> Addresses:
        """Return the addresses, asking the system if need be.

        Raises:
            Failure: The name does not resolve; class "dns", or "local".
        """
        known = self.known(destination)
        if known is not None:
            return known
        order = self._order(destination.host)
        order.waiters += 1
        try:
            # Shielded: others may wait for the same lookup when this attempt runs out of time.
            answer = await asyncio.shield(order.answer)
        finally:
            order.waiters -= 1
            if not order.waiters:
                self._drop(order)
        if isinstance(answer, Failure):
            raise Failure(answer.error, answer.detail)
        return answer

    def close(self) -> None:
        """Start no more lookups: names that wait for a thread fail, those in one end by themselves, unheard."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for order in list(self._orders.values()):
            if self._drop(order):
                order.answer.set_result(Failure("local", "this server is stopping"))
        for _ in range(self._threads):
            self._handed.put(None)

    def _order(self, host: str) -> _Order:
        """Return the order for a name: the one there is, or a new one.

        Raises:
            Failure: The name failed a moment ago, after a long time; or closed already, or no thread is to be had.
        """
        order = self._orders.get(host)
        if order is not None:
            return order
        until, failure = self._slow.get(host, (0, None))
        if failure is not None and self._mono() <= until:
            raise Failure(failure.error, failure.detail)
        if self._closed:
            raise Failure("local", "this machine could not start a name lookup")
        line = self._slow_line if host in self._slow else self._line
        order = _Order(host, line, asyncio.get_running_loop().create_future())
        self._orders[host] = line.waiting[host] = order
        self._hand_out()
        if not self._threads:
            self._drop(order)
            raise Failure("local", "this machine could not start a name lookup")
        return order

    def _drop(self, order: _Order) -> bool:
        """Take back an order; False if a thread has it already."""
        if order.line.waiting.get(order.host) is not order:
            return False
        del order.line.waiting[order.host], self._orders[order.host]
        return True

    def _hand_out(self) -> None:
        """Give to threads what waits, as far as there are threads."""
        now = self._mono()
        if self._short_of_threads():
            self._let_go(now)
        # Slow names come first: they never have more than their share, and would otherwise wait for all others.
        for line in (self._slow_line, self._line):
            while line.waiting and line.asking < line.most and self._thread_is_free():
                line.asking += 1
                order = line.waiting.pop(next(iter(line.waiting)))
                order.began = now
                if line is self._line:
                    self._asked[order.host] = order
                self._handed.put(order)
        if self._short_of_threads() and self._alarm is None and self._asked and self._late < LATE_MAX:
            oldest = next(iter(self._asked.values()))
            self._alarm = self._clock.wake(self._look_again, after=(oldest.began + SLOW_NS - now) / 1e9)

    def _short_of_threads(self) -> bool:
        """Whether a name waits that would not if a late lookup gave its place up."""
        slow = self._slow_line
        return bool(self._line.waiting or (slow.waiting and slow.asking < slow.most))

    def _look_again(self) -> None:
        self._alarm = None
        if not self._closed:
            self._hand_out()

    def _let_go(self, now: Nanos) -> None:
        """Let the next names have the places of lookups that are late."""
        for order in list(self._asked.values()):
            if now - order.began < SLOW_NS or self._late >= LATE_MAX:
                return
            del self._asked[order.host]
            order.late = True
            order.line.asking -= 1
            self._late += 1

    def _thread_is_free(self) -> bool:
        """Whether a thread waits for a name; one is started if all are busy and there may be more."""
        busy = self._slow_line.asking + self._line.asking + self._late
        if busy == self._threads < THREADS + self._late:
            with suppress(RuntimeError):  # There is none to be had.
                # Why a daemon: the interpreter waits for all others before it ends.
                threading.Thread(target=self._work, name="lateron-dns", daemon=True).start()
                self._threads += 1
        return busy < self._threads

    def _work(self) -> None:
        """Ask for one name after the other, in a thread."""
        while (order := self._handed.get()) is not None:
            began = self._mono()
            answer = self._ask(order.host)
            slow = self._mono() - began >= SLOW_NS
            with suppress(RuntimeError):  # Nobody waits any more: the loop has ended.
                order.answer.get_loop().call_soon_threadsafe(self._answered, order, answer, slow)

    def _ask(self, host: str) -> Addresses | Failure:
        try:
            found = dict.fromkeys(canonical(address) for address in self._lookup(host))
        except OSError as problem:
            return name_failure(problem, host)
        except (ValueError, UnicodeError):  # A resolver that answers nonsense, or refuses the name's form.
            return Failure("dns", f"{host} does not resolve")
        return tuple(found)[:ANSWERS_MAX] or Failure("dns", f"{host} has no address")

    def _answered(self, order: _Order, answer: Addresses | Failure, slow: bool) -> None:
        """Tell those who wait for a name, note what is to be remembered, and give its thread the next one."""
        host = order.host
        self._take_back(order)
        del self._orders[host]
        failure = answer if isinstance(answer, Failure) else None
        until = Nanos(self._mono() + KEEP_NS)
        self._slow.pop(host, None)
        if slow:
            _remember(self._slow, host, (until, failure))
        if not isinstance(answer, Failure):
            _remember(self._kept, host, (until, answer))
        order.answer.set_result(answer)
        if not self._closed:
            self._hand_out()

    def _take_back(self, order: _Order) -> None:
        """Take note that the thread of an order is free; it ends if it is one too many."""
        if not order.late:
            order.line.asking -= 1
            self._asked.pop(order.host, None)
            return
        self._late -= 1
        if self._threads > THREADS + self._late:
            self._threads -= 1
            self._handed.put(None)


def _remember(names: dict[str, T], host: str, what: T) -> None:
    """Note what is known of a name, and forget the oldest if that is too much."""
    names.pop(host, None)
    names[host] = what
    if len(names) > NAMES_MAX:
        del names[next(iter(names))]
