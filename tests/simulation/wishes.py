"""What the clients of a simulated world ask for, in their own words, and how they write it.

A wish is the publisher's log: the checks compare what became of a message with the wish, never with what
the system under test has made of it. ``target`` and ``headers`` write it as HTTP does, so the real parser
reads every one.
"""

from __future__ import annotations

from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.values import MINUTE, SECOND, Millis

ITEM: Final = "X-Item"  # The header by which a receiver recognises what was published.
CALLED_BACK: Final = "http://callback/"
RETRY_AFTER: Final = 2 * SECOND  # What a receiver asks for that answers 503.
BACKOFF: Final = (12 * SECOND, 148 * SECOND, 1808 * SECOND)  # Of the documentation, before retry 1, 2, 3.
EXPRESSIONS: Final = {None: None, "0": 0, "1000 * (1 + retried)": SECOND}

Pairs = list[tuple[bytes, bytes]]


class Limit(Struct, frozen=True):
    """A flow-control key with its limits."""

    key: str
    parallelism: int | None = None
    rate: int | None = None
    period: Millis = SECOND
    smooth: bool = False

    def headers(self, prefix: str = "Upstash-") -> Pairs:
        """Write it."""
        parts = []
        if self.parallelism is not None:
            parts.append(f"parallelism={self.parallelism}")
        if self.rate is not None:
            parts.append(f"rate={self.rate}, period={self.period // SECOND}s")
        pairs = [(f"{prefix}Flow-Control-Key", self.key)]
        if parts:
            pairs.append((f"{prefix}Flow-Control-Value", ", ".join(parts)))
        if self.smooth:
            pairs.append((f"{prefix}Lateron-Flow-Smooth" if prefix != "Upstash-" else "Lateron-Flow-Smooth", "true"))
        return encoded(pairs)


class Report(Struct, frozen=True):
    """A callback that a client wants."""

    retries: int = 0
    limit: Limit | None = None
    failure: bool = False  # It has a failure callback of its own.

    def headers(self, name: str) -> Pairs:
        """Write it; ``name`` is Callback or Failure-Callback."""
        prefix = f"Upstash-{name}-"
        pairs = [(f"Upstash-{name}", CALLED_BACK), (f"{prefix}Retries", str(self.retries))]
        if self.failure:
            pairs += [(f"{prefix}Failure-Callback", CALLED_BACK), (f"{prefix}Failure-Callback-Retries", "0")]
        return encoded(pairs) + (self.limit.headers(prefix) if self.limit else [])


class Wish(Struct, frozen=True):
    """A publish: to a URL or to a group, with all its options."""

    item: int
    tenant: int
    target: str
    body: bytes
    retries: int | None = None  # None: not said.
    expression: str | None = None
    delay: Millis = 0
    not_before: Millis | None = None
    limit: Limit | None = None
    callback: Report | None = None
    failure: Report | None = None
    queue: str | None = None
    order: str | None = None
    label: str | None = None
    dedup: str | None = None

    def headers(self) -> Pairs:
        """Write it, but for the target and the body."""
        said = {
            f"Upstash-Forward-{ITEM}": str(self.item),
            "Upstash-Retries": self.retries,
            "Upstash-Retry-Delay": self.expression,
            "Upstash-Delay": f"{self.delay}ms" if self.delay else None,
            "Upstash-Not-Before": None if self.not_before is None else f"{self.not_before / 1000:.3f}",
            "Upstash-Queue-Name": self.queue,
            "Lateron-Order-Key": self.order,
            "Upstash-Label": self.label,
            "Upstash-Deduplication-Id": self.dedup,
        }
        pairs = encoded([(name, str(value)) for name, value in said.items() if value is not None])
        for more in (
            self.limit.headers() if self.limit else [],
            self.callback.headers("Callback") if self.callback else [],
            self.failure.headers("Failure-Callback") if self.failure else [],
        ):
            pairs += more
        return pairs


class Calendar(Struct, frozen=True):
    """A schedule: what to publish, and when."""

    wish: Wish
    cron: str
    missed: str = "latest"
    overlap: str = "allow"
    most_runs: int | None = None
    jitter: bool = False

    def headers(self) -> Pairs:
        """Write it."""
        said = {
            "Upstash-Cron": self.cron,
            "Lateron-Missed": self.missed,
            "Lateron-Overlap": self.overlap,
            "Lateron-Most-Runs": self.most_runs,
            "Lateron-Jitter": "30s" if self.jitter else None,
        }
        return self.wish.headers() + encoded([(name, str(value)) for name, value in said.items() if value is not None])


def encoded(pairs: list[tuple[str, str]]) -> Pairs:
    """Return headers as they are on the wire."""
    return [(name.encode(), value.encode()) for name, value in pairs]


class Swarm(Struct, frozen=True):
    """Which features and faults one world has; leaving some out finds more than having all at once."""

    features: frozenset[str]
    faults: frozenset[str]
    host_cap: int | None
    most: int | None  # Open attempts of the whole server.
    page: int  # Rows of one piece of bulk work.
    ticks: int  # Schedules of one transaction.


FEATURES: Final = (
    "queues", "orders", "keys", "smooth", "groups", "schedules", "callbacks", "dedup", "cancel", "redrive",
    "bulk", "pauses", "deletes", "switches", "tenants",
)  # fmt: skip
FAULTS: Final = ("crash", "full", "broken", "zombies", "give_back", "receivers", "clock")


def draw_swarm(chance: Random) -> Swarm:
    """Draw what a world is made of; one in ten has no fault at all."""
    features = frozenset(name for name in FEATURES if chance.random() < 0.65)
    healthy = chance.random() < 0.1
    faults = frozenset(name for name in FAULTS if chance.random() < (0.4 if name == "clock" else 0.7))
    return Swarm(
        features,
        frozenset() if healthy else faults,
        host_cap=chance.choice([None, 2, 6]),
        most=chance.choice([None, None, 3]),
        page=chance.choice([500, 500, 3]),
        ticks=chance.choice([250, 250, 1]),
    )


class Tastes:
    """Draws the wishes of one world."""

    def __init__(self, chance: Random, swarm: Swarm) -> None:
        self._chance = chance
        self._has = swarm.features
        self._items = 0

    def tenant(self) -> int:
        """Draw who asks."""
        return 2 if "tenants" in self._has and self._chance.random() < 0.25 else 1

    def wish(self, tenant: int, now: Millis, group: str | None = None) -> Wish:
        """Draw a publish of a tenant, to a URL or to the group named."""
        chance, has = self._chance, self._has
        self._items += 1
        keyed = "keys" in has and chance.random() < 0.45
        queued = "queues" in has and chance.random() < 0.5
        ordered = "orders" in has and not queued and chance.random() < 0.3
        return Wish(
            item=self._items,
            tenant=tenant,
            target=group or f"http://{chance.choice(['one', 'two', 'three'])}/{chance.randrange(5)}",
            body=chance.randbytes(chance.choice([0, 3, 20])),
            retries=chance.choice([0, 0, 1, 3, None]),
            expression=chance.choice([None, None, "1000 * (1 + retried)", "0"]),
            delay=chance.choice([0, 0, 0, 1, 5 * SECOND]),
            not_before=chance.choice([None, None, None, now + MINUTE, now - MINUTE]),
            limit=self.limit(chance.choice(["a", "b"])) if keyed else None,
            callback=self.report(),
            failure=self.report(nests=False),
            queue=chance.choice(["q", "r", "r"]) if queued else None,
            order=chance.choice(["x", "y"]) if ordered else None,
            label=chance.choice([None, "red", "blue"]),
            dedup=chance.choice("klmn") if "dedup" in has and chance.random() < 0.3 else None,
        )

    def limit(self, key: str) -> Limit:
        """Draw what a client says of a key: for one key it is mostly the same."""
        first = self._chance.random() < 0.8
        if key == "a":
            return Limit(key, parallelism=2) if first else Limit(key, parallelism=1, rate=5, period=10 * SECOND)
        smooth = "smooth" in self._has
        return Limit(key, rate=3, period=10 * SECOND, smooth=smooth) if first else Limit(key, rate=2, period=MINUTE)

    def report(self, *, nests: bool = True) -> Report | None:
        """Draw whether a callback is wanted, and which. Those of a key all say the same of it."""
        chance = self._chance
        if "callbacks" not in self._has or chance.random() > 0.25:
            return None
        keyed = "keys" in self._has and chance.random() < 0.3
        return Report(
            chance.choice([0, 1]), Limit("c", parallelism=1) if keyed else None, failure=nests and chance.random() < 0.3
        )

    def calendar(self, tenant: int, group: str | None = None) -> Calendar:
        """Draw a schedule."""
        chance = self._chance
        wish = self.wish(tenant, 0, group)
        limit = Limit("c", parallelism=1) if wish.limit else None
        overlap = chance.choice(["allow", "allow", "skip", "queue"])
        if overlap == "queue":
            wish = replace(wish, queue=None, order=None)
        return Calendar(
            replace(wish, limit=limit, not_before=None, dedup=None),
            cron=chance.choice(["* * * * *", "* * * * *", "*/5 * * * *", "0 * * * *", "@every 90s"]),
            missed=chance.choice(["latest", "latest", "skip", "all"]),
            overlap=overlap,
            most_runs=chance.choice([None, None, None, 5]),
            jitter=chance.random() < 0.2,
        )
