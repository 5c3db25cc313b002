"""A broker on a store in memory, and short ways to use it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.broker.views import Accepted, Limits, Result, Turn
from lateron.core.values import Claimed, Millis, Options, Outcome, Publication, Request
from lateron.runtime import id_maker
from lateron.store.sqlite import SqliteStore, open_memory

NOW: Millis = 1_700_000_000_000


class Desk:
    """One broker, its store, and what tests do with them."""

    def __init__(self, store: SqliteStore, limits: Limits | None = None) -> None:
        self.store = store
        self.limits = limits or Limits()
        self.broker = Broker(store, id_maker(), 1, self.limits)
        self.broker.open("desk", NOW)
        for tenant in (1, 2):
            self.broker.add_tenant(tenant, f"tenant {tenant}", NOW)
        self.history = History(store, self.limits)

    def restart(self, node: int, now: Millis = NOW) -> None:
        """Let the process die, and another one begin."""
        self.broker = Broker(self.store, id_maker(), node, self.limits)
        self.broker.open("desk", now)

    def publish(self, *items: Publication, room: int = 0, now: Millis = NOW) -> tuple[Accepted, ...]:
        """Publish in one request."""
        (answers,) = self.broker.turn(Turn(publishes=(items,), room=room), now).accepted
        assert isinstance(answers, tuple)
        return tuple(answer for answer in answers if isinstance(answer, Accepted))

    def claim(self, room: int = 100, now: Millis = NOW) -> tuple[Claimed, ...]:
        """Take what is due."""
        return self.broker.turn(Turn(room=room), now).claimed

    def settle(self, claimed: Sequence[Claimed], outcome: Outcome, now: Millis = NOW) -> None:
        """End attempts alike."""
        self.broker.turn(Turn(results=tuple(Result(c, outcome) for c in claimed)), now)

    def dump(self) -> dict[str, list[object]]:
        """Return every row of the store."""
        rows = self.store._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        names = [str(name) for (name,) in rows]
        return {name: sorted(self.store._connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def item(url: str = "http://one/", tenant: int = 1, **changes: object) -> Publication:
    """A publication; ``options`` and fields of the publication by name."""
    options = Options(**{k: v for k, v in changes.items() if k in Options.__struct_fields__})  # type: ignore[arg-type]
    rest = {k: v for k, v in changes.items() if k in Publication.__struct_fields__}
    return replace(Publication(tenant, Request(url, "POST", (), b"body", options)), **rest)


@pytest.fixture
def desk() -> Desk:
    return Desk(open_memory(NOW))
