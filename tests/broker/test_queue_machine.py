"""Queues against a model that fits on a page: a list of families, and who of them may be under way.

The model knows no lanes, states or indexes. It says which messages must be open after each step when the
node takes all it can get; broker and model agree, or a shortened history of steps is printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import Broker
from lateron.broker.views import Limits, Result, Turn
from lateron.core.values import CallbackOptions, Claimed, Filter, Kind, MessageId, Outcome, RetryPolicy
from lateron.errors import NotFound
from lateron.runtime import id_maker
from lateron.store.sqlite import open_memory

OK, DOWN = Outcome(status=200), Outcome(status=500)
NAMES = st.sampled_from(["a", "b"])
ROOM = 1000


@dataclass
class Family:
    """A message and what it still has to do."""

    retries: int  # Left.
    due: int
    reports: bool  # It has a callback for each attempt.
    begun: bool = False
    rests: bool = False
    cancelled: bool = False
    callbacks: int = 0  # Open ones.


@dataclass
class Line:
    """A queue: families in their order."""

    parallelism: int = 1
    paused: bool = False
    families: dict[MessageId, Family] = field(default_factory=dict)

    def holders(self) -> list[MessageId]:
        """Return who has a slot: whoever has begun and is not over, then the first in line."""
        alive = {m: f for m, f in self.families.items() if not f.rests or f.callbacks}
        begun = [m for m, f in alive.items() if f.begun]
        waiting = [m for m, f in alive.items() if not f.begun]
        return begun + waiting[: max(0, self.parallelism - len(begun))]

    def lag(self) -> int:
        return sum(not f.rests for f in self.families.values())


class Queues(RuleBasedStateMachine):
    """Steps of users, receivers and time, in any order."""

    @initialize()
    def begin(self) -> None:
        self.desk = Desk(open_memory(NOW), Limits())
        self.now, self.node = NOW, 1
        self.lines: dict[str, Line] = {}
        self.open: dict[MessageId, Claimed] = {}
        self.gone: dict[MessageId, Family] = {}  # Of deleted queues, still under way.

    @rule(name=NAMES, count=st.integers(1, 3), delay=st.sampled_from([0, 0, 5]), retries=st.integers(0, 2),
          reports=st.booleans())  # fmt: skip
    def enqueue(self, name: str, count: int, delay: int, retries: int, *, reports: bool) -> None:
        callback = CallbackOptions("http://callback/", retry=RetryPolicy(retries=0)) if reports else None
        policy = RetryPolicy(retries=retries, expression="3")
        one = item(queue_name=name, delay_ms=delay, retry=policy, callback=callback)
        accepted = self.desk.publish(*[one] * count, now=self.now)
        line = self.lines.setdefault(name, Line())
        for answer in accepted:
            line.families[answer.id] = Family(retries, self.now + delay, reports)

    @rule(name=NAMES, parallelism=st.sampled_from([None, 1, 2, 2, 4]), paused=st.none() | st.booleans())
    def configure(self, name: str, parallelism: int | None, paused: bool | None) -> None:  # Drawn.
        line = self.lines.setdefault(name, Line())
        line.parallelism = parallelism or line.parallelism
        line.paused = line.paused if paused is None else paused
        self.desk.broker.set_queue(1, name, self.now, parallelism=parallelism, paused=paused)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        number = self.desk.broker.delete_queue(1, name, self.now)
        line = self.lines.pop(name, None)
        assert (number is None) == (line is None)
        if line is not None and number is not None:
            assert not self.desk.broker.empty_queue(number, self.now)
            for message, family in line.families.items():
                family.cancelled = True
                if message in self.open or family.callbacks:
                    self.gone[message] = family

    @rule(ms=st.sampled_from([1, 3, 10]))
    def pass_time(self, ms: int) -> None:
        self.now += ms

    @rule()
    def claim(self) -> None:
        """The node has room for all: what starts is what the model says, no more and no less."""
        expected = {
            message
            for line in self.lines.values()
            for message in line.holders()
            if not line.paused and self.ready(message, line.families[message])
        }
        claimed = self.desk.claim(ROOM, self.now)
        started = {c.message.id for c in claimed if c.message.kind is Kind.PUBLISH}
        assert started == expected
        for one in claimed:
            self.open[one.message.id] = one
            if one.message.kind is Kind.PUBLISH:
                self.family(one.message.id).begun = True

    def ready(self, message: MessageId, family: Family) -> bool:
        return not family.rests and message not in self.open and family.due <= self.now

    def family(self, message: MessageId) -> Family:
        (found,) = [line.families[message] for line in self.lines.values() if message in line.families] or [
            self.gone[message]
        ]
        return found

    @rule(data=st.data(), ok=st.booleans())
    def answer(self, data: st.DataObject, *, ok: bool) -> None:
        if not self.open:
            return
        one = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        self.desk.broker.turn(Turn(results=(Result(one, OK if ok else DOWN),)), self.now)
        message = one.message
        if message.kind is not Kind.PUBLISH:
            assert message.root is not None
            self.family(message.root).callbacks -= 1
            return
        family = self.family(message.id)
        dropped = family.cancelled and not ok
        family.callbacks += family.reports and not dropped
        if ok or dropped or family.retries == 0:
            family.rests = True
        else:
            family.retries -= 1
            family.due = self.now + 3

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        mine = sorted(m for m, c in self.open.items() if c.message.kind is Kind.PUBLISH)
        if not mine:
            return
        message = data.draw(st.sampled_from(mine))
        self.desk.broker.turn(Turn(results=(Result(self.open.pop(message), None),)), self.now)
        family = self.family(message)
        family.rests, family.due = family.cancelled, self.now

    @rule(data=st.data(), name=NAMES)
    def cancel(self, data: st.DataObject, name: str) -> None:
        alive = [m for m, f in self.lines.get(name, Line()).families.items() if not f.rests]
        if not alive:
            return
        chosen = data.draw(st.sets(st.sampled_from(alive), min_size=1))
        self.desk.broker.cancel(1, Filter(message_ids=tuple(chosen)), self.now)
        for message in chosen:
            family = self.family(message)
            family.cancelled = True
            family.rests = message not in self.open

    @rule()
    def crash(self) -> None:
        """The node dies; what it had in hand goes back."""
        self.node += 1
        self.desk.broker = Broker(self.desk.store, id_maker(), self.node, Limits())
        self.desk.broker.open("again", self.now)
        for message, one in self.open.items():
            if one.message.kind is Kind.PUBLISH:
                family = self.family(message)
                family.rests, family.due = family.cancelled, self.now
        self.open.clear()

    @invariant()
    def agrees(self) -> None:
        """Settings, length and slots, as every reader sees them."""
        for name in ("a", "b"):
            line = self.lines.get(name)
            try:
                row = self.desk.history.queue(1, name)
            except NotFound:
                assert line is None
                continue
            assert line is not None
            assert (row.parallelism, row.paused, row.lag) == (line.parallelism, line.paused, line.lag())
            if not line.paused:
                assert row.held == len(line.holders())


PROMISES = ("P-60", "P-61", "P-62", "P-63", "P-65", "P-66", "P-68", "P-95")
TestQueues = pytest.mark.promise(*PROMISES)(Queues.TestCase)
TestQueues.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
