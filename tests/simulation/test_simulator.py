"""The simulation is trusted because it finds bugs: each of these is planted in a real function.

A bug that is not found within a few seeds means that the world, not the bug, must change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.simulation.world import Violation, World

from lateron.broker.ledger import Ledger
from lateron.core import flow, queue
from lateron.core import message as life
from lateron.core.callback import callback_publication
from lateron.core.values import Claimed, Message, Millis, State, Transition
from lateron.store.sql import Verbs
from lateron.store.sqlite import open_memory

SEEDS = 40

Plant = Callable[[pytest.MonkeyPatch], None]


def drop_the_fence(patch: pytest.MonkeyPatch) -> None:
    """A node that was declared dead may still record its outcome, if the message is open again."""
    patch.setattr(life, "stale", lambda _, stored: stored is None or stored.node is None)


def charge_a_rescue(patch: pytest.MonkeyPatch) -> None:
    """An attempt lost with its node costs the publisher a retry."""
    honest = life.lose

    def lose(message: Message, now: Millis) -> Transition:
        lost = honest(message, now)
        return replace(lost, message=replace(lost.message, retried=message.retried + 1))

    patch.setattr(life, "lose", lose)


def forget_a_callback(patch: pytest.MonkeyPatch) -> None:
    """A retry commits without the callback of the attempt before it."""
    honest = life._again

    def again(*args: Any, **kwargs: Any) -> Transition:
        return replace(honest(*args, **kwargs), created=())

    patch.setattr(life, "_again", again)


def forget_a_dedup_key(patch: pytest.MonkeyPatch) -> None:
    """The dedup record is not part of the transaction: every key is taken for new."""
    patch.setattr(Verbs, "insert_dedup", lambda _, rows: {(row[0], row[1]) for row in rows})


def leak_a_slot(patch: pytest.MonkeyPatch) -> None:
    """The slot of a flow key is not given back when an attempt ends in a retry."""

    def end(self: Ledger, transition: Transition) -> None:
        self.record(transition)
        message = transition.message
        lane = self._lanes[message.lane]
        if transition.message.state is State.WAITING:
            self._lanes[lane.id] = flow.joined(lane, message.due)
        else:
            self._lanes[lane.id] = flow.released(lane, self.now)

    patch.setattr(Ledger, "end", end)


def overtake(patch: pytest.MonkeyPatch) -> None:
    """A rate window admits one start too many."""
    honest = flow.tokens
    patch.setattr(flow, "tokens", lambda lane, now: honest(lane, now) + (lane.rate is not None))


def retry_a_redirect_never(patch: pytest.MonkeyPatch) -> None:
    """A redirect counts as delivered."""
    patch.setattr(life, "delivered", lambda outcome: outcome.error is None and (outcome.status or 0) < 400)


def settle_a_cancelled_message(patch: pytest.MonkeyPatch) -> None:
    """Cancelling an open message is forgotten."""
    honest = life.cancel

    def cancel(message: Message, now: Millis) -> Transition | None:
        done = honest(message, now)
        return done and replace(done, message=replace(done.message, cancel=None))

    patch.setattr(life, "cancel", cancel)


def sleep_through(patch: pytest.MonkeyPatch) -> None:
    """A lane that fills up is never looked at again."""
    patch.setattr(flow, "released", lambda lane, _: replace(lane, active=lane.active - 1))


def send_damaged(patch: pytest.MonkeyPatch) -> None:
    """A stored request is mixed up with another of the same claim."""
    honest = Verbs.claimed

    def claimed(self: Verbs, messages: list[Message]) -> list[Claimed]:
        found = honest(self, messages)
        return [replace(a, request=b.request) for a, b in zip(found, reversed(found), strict=True)]

    patch.setattr(Verbs, "claimed", claimed)


def wait_for_no_callback(patch: pytest.MonkeyPatch) -> None:
    """A slot is given back before the callbacks of its message rest."""
    honest = callback_publication
    patch.setattr(life, "callback_publication", lambda *a, **k: replace(honest(*a, **k), root=None))


def release_twice(patch: pytest.MonkeyPatch) -> None:
    """A slot that comes back is counted twice."""
    patch.setattr(queue, "released", lambda row: replace(row, held=max(0, row.held - 2)))


def arm_by_id(patch: pytest.MonkeyPatch) -> None:
    """The next message of a queue is the one with the smallest id, not the first in line."""
    honest = Verbs.queue_heads
    patch.setattr(Verbs, "queue_heads", lambda self, row, limit: sorted(honest(self, row, 1000))[:limit])


def forget_a_pause(patch: pytest.MonkeyPatch) -> None:
    """What was under way when its queue was paused is tried again all the same."""
    patch.setattr(life, "hold", lambda message: message)


def forget_a_place(patch: pytest.MonkeyPatch) -> None:
    """A head that is cancelled while it holds a slot keeps it for ever."""
    honest = Ledger.leave

    def leave(self: Ledger, before: Message, transition: Transition) -> None:
        roots = set(self._roots)
        honest(self, before, transition)
        self._roots = roots

    patch.setattr(Ledger, "leave", leave)


@pytest.mark.parametrize(
    "plant",
    [drop_the_fence, charge_a_rescue, forget_a_callback, forget_a_dedup_key, leak_a_slot, overtake,
     retry_a_redirect_never, settle_a_cancelled_message, sleep_through, send_damaged,
     wait_for_no_callback, release_twice, arm_by_id, forget_a_pause, forget_a_place],
)  # fmt: skip
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bug breaks a promise or an assertion of the program within a few seeds."""
    plant(monkeypatch)

    found = 0
    for seed in range(SEEDS):
        try:
            World(seed, open_memory(0)).run(120)
        except (Violation, AssertionError):
            found += 1
            break

    assert found, f"{plant.__name__} lived through {SEEDS} seeds"
