"""A small world around the real broker on the real store: one seed, one history.

Everything outside the broker is chance: what clients wish, when time passes, how receivers answer, when the
disk fails, the clock steps or the node dies, and which of its answers come too late. The witnesses stand
outside the system under test: what clients wished and were told, what receivers saw and answered, and
the rows of the store. The broker's own log is one more thing under test, not the evidence.

A run has two phases: anything goes for a number of steps, with a check of every row after each; then the
world heals (no faults, the right time, receivers answer 200) and everything must come to rest, woken by
nothing but the alarms that the broker itself sets. ``Violation`` names the promise that was broken.

The parts of a world, each in its module::

    wishes    what clients ask for, and how they write it
    models    what the witnesses remember and predict
    disk      the store that fails on demand
    node      the process: turns, restarts, ticks, retention
    ticks     schedules, and what they must make
    users     who publishes, cancels and retries
    managers  who changes queues, keys, hosts, groups and schedules
    faults    time, clocks, deaths, late answers
    starts    what must hold when a message starts
    poison    who is suspected when the process dies
    audit     what must hold of the rows, always
    reasons   what is told of who waits for what
    rest      what must hold at the end
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from random import Random
from typing import Final, TypeVar

from tests.simulation.audit import Audit
from tests.simulation.disk import Death, Disk
from tests.simulation.faults import Faults
from tests.simulation.managers import Managers
from tests.simulation.models import Birth, Crowd, Key, Known, Line, Plan, Violation
from tests.simulation.node import Node
from tests.simulation.orders import Holder
from tests.simulation.poison import Poison
from tests.simulation.reasons import Reasons
from tests.simulation.rest import Rest
from tests.simulation.starts import Starts
from tests.simulation.users import Users
from tests.simulation.wishes import ITEM, Swarm, Tastes, draw_swarm

from lateron.broker import bulk, messages, queues
from lateron.broker.views import Limits
from lateron.core.values import HOUR, Kind, MessageId, Millis, QueueKind, State
from lateron.errors import StorageFull, StoreFailed
from lateron.store.sql import Verbs
from lateron.store.sqlite import open_memory

T = TypeVar("T")

BEGIN: Final = 1_700_000_000_000
STEPS: Final = 120
TENANTS: Final = (1, 2)


class World:
    """One history; see the module."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = self.stream("steps")
        self.swarm: Swarm = draw_swarm(self.stream("swarm"))
        self.tastes = Tastes(self.stream("wishes"), self.swarm)
        self.mono: Millis = 0  # Time that has really passed.
        self.offset: Millis = 0  # By how much the clock on the wall is wrong.
        self.latest: Millis = BEGIN  # The latest time that it has ever shown.
        self.disk = Disk(open_memory(BEGIN))
        self.limits = Limits(
            host_parallelism=self.swarm.host_cap,
            global_parallelism=self.swarm.most,
            history_retention_ms=2 * HOUR,
            dead_letter_retention_ms=6 * HOUR,
            crash_limit=self.stream("poison").choice([None, None, 1, 2]),
        )
        self.known: dict[MessageId, Known] = {}
        self.open: dict[MessageId, Known] = {}
        self.family: Counter[MessageId] = Counter()  # Open messages of each family of a queue.
        self.holders: dict[tuple[str, ...], Holder] = {}
        self.lines: dict[tuple[int, QueueKind, str], Line] = {}
        self.keys: dict[tuple[int, str], Key] = {}
        self.crowds: dict[tuple[int, str], Crowd] = {}
        self.plans: dict[tuple[int, str], Plan] = {}
        self.paused_hosts: set[tuple[int, str]] = set()
        self.swept: Millis = 0  # The log before may be gone.
        self.halted = False
        self.healing = False
        self.marks: Counter[str] = Counter()
        self.trace = blake2b(digest_size=16)
        self.doing = "begin"
        self.node = Node(self)
        self.starts, self.poison = Starts(self), Poison(self)
        self.users, self.managers, self.faults = Users(self), Managers(self), Faults(self)
        self.audit, self.reasons, self.rest = Audit(self), Reasons(self), Rest(self)
        self.node.start()

    def stream(self, name: str) -> Random:
        """Return a source of chance of its own: what one part draws shifts no other."""
        return Random(f"{self.seed} {name}")

    @property
    def now(self) -> Millis:
        """Return what the clock on the node's wall shows."""
        return BEGIN + self.mono + self.offset

    def run(self, steps: int = STEPS) -> None:
        """Break everything, heal, and let all come to rest."""
        with tiny_pages(self.swarm.page):
            actions = [*self.users.actions(), *self.node.actions(), *self.managers.actions(), *self.faults.actions()]
            for _ in range(steps):
                self.step(self.chance.choice(actions))
            self.doing = "heal"
            self.rest.heal()

    def step(self, action: Callable[[], None]) -> None:
        """Let one thing happen, and look at everything."""
        self.doing = action.__name__
        self.latest = max(self.latest, self.now)
        self.note(self.doing, self.now)
        try:
            action()
        except (AssertionError, Death):
            raise
        except Exception as error:
            raise Violation("no error of its own", f"{type(error).__name__}: {error}") from error
        self.audit.look()
        self.reasons.ask()

    def note(self, *facts: object) -> None:
        """Add to the trace, by which two runs of a seed are compared."""
        self.trace.update(repr(facts).encode())

    @contextmanager
    def look(self) -> Iterator[Verbs]:
        """Read the store as a witness; never inside an operation."""
        with self.disk.real.transaction() as tx:
            yield tx

    def perform(
        self,
        work: Callable[[], T],
        then: Callable[[list[MessageId], T | None], None] | None = None,
        births: Sequence[Birth] | Callable[[], Sequence[Birth]] = (),
        *,
        cold: bool = True,
    ) -> tuple[bool, T | None]:
        """Let the node do something that is one transaction, and what it makes; it may fail or die of it.

        Args:
            work: What is done.
            then: How the models follow if it holds; given the ids of the births, and what ``work`` returned, None
                if that was never seen.
            births: The messages that it must make; if a function, asked once it holds.
            cold: The node looks for due messages afterwards.

        Returns:
            Whether it holds, and what it returned.
        """
        try:
            result = work()
        except StorageFull:
            self.marks["disk full"] += 1
            self.discover([])
            return False, None
        except (StoreFailed, Death):
            took = self.disk.committed
            self.marks["died, committed" if took else "died, not committed"] += 1
            made = self.discover(_asked(births) if took else [])
            if took and then is not None:
                then(made, None)
            self.node.die()
            return took, None
        made = self.discover(_asked(births))
        if then is not None:
            then(made, result)
        if cold:
            self.node.alarm = 0
        return True, result

    # What comes into being, and what ends.

    def discover(self, births: Sequence[Birth]) -> list[MessageId]:
        """Find what an operation made; it must be what was expected, all of it or, if that is empty, nothing.

        Returns:
            The id of each birth, in order.
        """
        ids = [MessageId(row[0]) for row in self.disk.rows("SELECT id FROM message ORDER BY id")]
        fresh = [message_id for message_id in ids if message_id not in self.known]
        if not fresh and not births:
            return []
        found: dict[object, list[MessageId]] = {}
        with self.look() as tx:
            stored, requests = tx.read_messages(fresh), tx.load_requests(fresh)
        for message_id in fresh:
            message, request = stored[message_id], requests[message_id].request
            item = int(dict(request.headers).get(ITEM, 0))
            parent = message.parent
            found.setdefault((message.kind, item, request.url, parent), []).append(message_id)
        made = []
        for birth in births:
            left = found.get(birth.sign)
            if not left:
                raise Violation(_promise_of(birth), f"{birth.kind.name} to {birth.url} is missing after {self.doing}")
            message_id = left.pop(0)
            if stored[message_id].tenant != birth.tenant:
                raise Violation("P-111", f"{message_id.hex()} belongs to {stored[message_id].tenant}")
            self.bear(message_id, birth)
            made.append(message_id)
        extra = [message_id for left in found.values() for message_id in left]
        if extra:
            wrong = stored[extra[0]]
            promise = "P-2" if wrong.kind in {Kind.PUBLISH, Kind.REDRIVE} else "P-41"
            raise Violation(promise, f"nobody asked for {wrong.kind.name} {extra[0].hex()} in {self.doing}")
        return made

    def bear(self, message_id: MessageId, birth: Birth) -> None:
        """Note a new message: its place in line, and the limits that it brings."""
        parent = self.known.get(birth.parent) if birth.parent is not None else None
        known = Known(message_id, birth, self.now)
        if birth.queue is not None:
            known.family = message_id
            self.line(birth.tenant, *birth.queue).order.append(message_id)
        elif parent is not None and not birth.loose:
            known.family = parent.family
        if birth.limit is not None:
            self.key(birth.tenant, birth.limit.key).configure(birth.limit)
        self.known[message_id] = self.open[message_id] = known
        if known.family is not None:
            self.family[known.family] += 1

    def end(self, known: Known, state: State) -> None:
        """Note that a message has come to rest."""
        assert known.end is None, f"{known.id.hex()} ends twice"
        known.end, known.ended = state, self.now
        known.letter = state is State.FAILED
        del self.open[known.id]
        if known.family is not None:
            self.family[known.family] -= 1

    def line(self, tenant: int, kind: QueueKind, name: str) -> Line:
        """Return a queue; it is made by whoever names it."""
        return self.lines.setdefault((tenant, kind, name), Line(kind))

    def key(self, tenant: int, name: str) -> Key:
        """Return a flow-control key."""
        return self.keys.setdefault((tenant, name), Key())


def _asked(births: Sequence[Birth] | Callable[[], Sequence[Birth]]) -> Sequence[Birth]:
    return births() if callable(births) else births


def _promise_of(birth: Birth) -> str:
    if birth.kind is Kind.CALLBACK:
        return "P-40"
    if birth.kind is Kind.FAILURE_CALLBACK:
        return "P-41"
    if birth.parent is not None:
        return "P-97"
    if birth.schedule is not None:
        return "P-81"
    return "P-90" if birth.group is not None else "P-4"


@contextmanager
def tiny_pages(page: int) -> Iterator[None]:
    """Let bulk work go on in small pieces, so that small worlds have many of them; a call looks at as much as usual."""
    usual, pages = messages.PAGE, bulk.PAGES
    setattr(bulk, "PAGES", usual * pages // page)  # noqa: B010 # As below.
    for module in (messages, bulk, queues):
        setattr(module, "PAGE", page)  # noqa: B010 # Each of them imports the name.
    try:
        yield
    finally:
        setattr(bulk, "PAGES", pages)  # noqa: B010 # As below.
        for module in (messages, bulk, queues):
            setattr(module, "PAGE", usual)  # noqa: B010 # Each of them imports the name.
