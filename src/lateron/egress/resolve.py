"""From a name to the addresses it stands for now.

Names resolve as the system resolves them (its search domains, its hosts file), in threads of our own:
the pool that asyncio shares has six threads on a small machine, and one slow name server would stall
everything else that uses it. Nor does the end of the process wait for them: a thread that asks a silent
name server may be minutes inside the C library, out of everybody's reach. Equal lookups are made once, an
answer is kept for a few seconds, a failure is not kept. At most 16 addresses of an answer are used. An
operator can answer for a name himself, with ``--resolve HOST:PORT:ADDRESS`` as in curl.

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
from typing import Final, TypeAlias

from lateron.core.destination import Destination
from lateron.egress.failure import Failure, name_failure
from lateron.egress.guard import canonical
from lateron.runtime import Clock

Addresses: TypeAlias = tuple[str, ...]  # Canonical, in the order to try them.
Lookup: TypeAlias = Callable[[str], Iterable[str]]  # Blocking; raises OSError.
Overrides: TypeAlias = dict[tuple[str, int], Addresses]

THREADS: Final = 16
ANSWERS_MAX: Final = 16
KEEP_NS: Final = 5_000_000_000  # How long an answer is used.
NAMES_MAX: Final = 4096  # Answers kept.
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


class Resolver:
    """Finds the addresses of destinations."""

    def __init__(self, overrides: Overrides, clock: Clock, lookup: Lookup = system_lookup) -> None:
        self._overrides = overrides
        self._mono = clock.mono
        self._lookup = lookup
        self._kept: dict[str, tuple[int, Addresses]] = {}  # Name -> until when, what; oldest first.
        self._running: dict[str, asyncio.Future[Addresses | Failure]] = {}
        self._waiting: SimpleQueue[tuple[str, asyncio.Future[Addresses | Failure]] | None] = SimpleQueue()
        self._threads = 0
        self._idle = threading.Semaphore(0)  # Threads that wait for a name.
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
        host = destination.host
        running = self._running.get(host)
        if running is None:
            running = self._begin(host)
            self._running[host] = running
            running.add_done_callback(lambda future: self._finished(host, future))
        # Shielded: others may wait for the same lookup when this attempt runs out of time.
        answer = await asyncio.shield(running)
        if isinstance(answer, Failure):
            raise Failure(answer.error, answer.detail)
        return answer

    def close(self) -> None:
        """Start no more lookups; those in a thread end by themselves, unheard."""
        self._closed = True
        for _ in range(self._threads):
            self._waiting.put(None)

    def _begin(self, host: str) -> asyncio.Future[Addresses | Failure]:
        """Let a thread ask; start one if all are busy and there may be more.

        Raises:
            Failure: Closed already, or no thread is to be had; class "local".
        """
        if self._closed:
            raise Failure("local", "this machine could not start a name lookup")
        if not self._idle.acquire(blocking=False) and self._threads < THREADS:
            try:
                # Why a daemon: the interpreter waits for all others before it ends.
                threading.Thread(target=self._work, name="lateron-dns", daemon=True).start()
            except RuntimeError:
                if self._threads == 0:
                    raise Failure("local", "this machine could not start a name lookup") from None
            else:
                self._threads += 1
        future: asyncio.Future[Addresses | Failure] = asyncio.get_running_loop().create_future()
        self._waiting.put((host, future))
        return future

    def _work(self) -> None:
        """Ask for one name after the other, in a thread."""
        while (order := self._waiting.get()) is not None:
            host, future = order
            answer = self._ask(host)
            with suppress(RuntimeError):  # Nobody waits any more: the loop has ended.
                future.get_loop().call_soon_threadsafe(_answer, future, answer)
            self._idle.release()

    def _ask(self, host: str) -> Addresses | Failure:
        try:
            found = dict.fromkeys(canonical(address) for address in self._lookup(host))
        except OSError as problem:
            return name_failure(problem, host)
        except (ValueError, UnicodeError):  # A resolver that answers nonsense, or refuses the name's form.
            return Failure("dns", f"{host} does not resolve")
        return tuple(found)[:ANSWERS_MAX] or Failure("dns", f"{host} has no address")

    def _finished(self, host: str, future: asyncio.Future[Addresses | Failure]) -> None:
        self._running.pop(host, None)
        if future.cancelled() or future.exception() is not None:
            return
        answer = future.result()
        if isinstance(answer, Failure):
            return
        self._kept.pop(host, None)
        self._kept[host] = (self._mono() + KEEP_NS, answer)
        if len(self._kept) > NAMES_MAX:
            del self._kept[next(iter(self._kept))]


def _answer(future: asyncio.Future[Addresses | Failure], answer: Addresses | Failure) -> None:
    if not future.done():
        future.set_result(answer)
