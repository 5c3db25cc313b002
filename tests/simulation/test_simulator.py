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
from lateron.core import flow, flow_control
from lateron.core import message as life
from lateron.core.flow import Lane
from lateron.core.values import Claimed, Flow, Message, Millis, State, Transition
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


def start_in_a_pause(patch: pytest.MonkeyPatch) -> None:
    """A new message of a paused key starts if nobody waits before it."""
    honest = flow.room
    patch.setattr(flow, "room", lambda lane, now: honest(replace(lane, paused=False), now))


def forget_the_count_in_a_pause(patch: pytest.MonkeyPatch) -> None:
    """Pausing a key ends its period."""
    honest = flow_control.paused
    patch.setattr(flow_control, "paused", lambda lane, now: replace(honest(lane, now), period_start=0, rate_count=0))


def sleep_after_a_pause(patch: pytest.MonkeyPatch) -> None:
    """The resume of a host does not reach the keys that sleep because of it."""
    patch.setattr(Verbs, "wake_lanes", lambda *_: None)


def overwrite_a_pin(patch: pytest.MonkeyPatch) -> None:
    """The limits that a message brings hold although others are pinned."""
    honest = flow.limited

    def limited(lane: Lane, wanted: Flow, now: Millis) -> Lane:
        loose = honest(replace(lane, pinned_parallelism=False, pinned_rate=False), wanted, now)
        return replace(loose, pinned_parallelism=lane.pinned_parallelism, pinned_rate=lane.pinned_rate)

    patch.setattr(flow, "limited", limited)


@pytest.mark.parametrize(
    "plant",
    [drop_the_fence, charge_a_rescue, forget_a_callback, forget_a_dedup_key, leak_a_slot, overtake,
     retry_a_redirect_never, settle_a_cancelled_message, sleep_through, send_damaged, start_in_a_pause,
     forget_the_count_in_a_pause, sleep_after_a_pause, overwrite_a_pin],
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
