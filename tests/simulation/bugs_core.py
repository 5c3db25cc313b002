"""Bugs to plant in the core: each breaks one decision of a real function."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lateron.core import apart, flow, groups, queue, recurring
from lateron.core import message as life
from lateron.core.callback import callback_publication
from lateron.core.flow import Lane
from lateron.core.options import Config
from lateron.core.recurring import Decision, Schedule
from lateron.core.retry import retryable
from lateron.core.values import (
    Flow,
    LaneKind,
    Message,
    Millis,
    Outcome,
    Publication,
    Request,
    State,
    Tenant,
    Transition,
)

Patch = pytest.MonkeyPatch


def drop_the_fence(patch: Patch) -> None:
    """A node that was declared dead may still record its outcome, if the message is open again."""
    patch.setattr(
        life,
        "unmoved",
        lambda claimed, fence: None if fence is None or fence.node is None else replace(claimed.message),
    )


def charge_a_rescue(patch: Patch) -> None:
    """An attempt lost with its node costs the publisher a retry."""
    honest = life.lose

    def lose(message: Message, now: Millis) -> Transition:
        lost = honest(message, now)
        return replace(lost, message=replace(lost.message, retried=message.retried + 1))

    patch.setattr(life, "lose", lose)


def charge_what_was_never_sent(patch: Patch) -> None:
    """A message that is given back unsent has lost a retry."""
    honest = life.give_back

    def give_back(message: Message, now: Millis) -> Transition:
        back = honest(message, now)
        return replace(back, message=replace(back.message, retried=message.retried + 1))

    patch.setattr(life, "give_back", give_back)


def forget_a_lost_attempt(patch: Patch) -> None:
    """The history does not know of an attempt that was lost with its node."""
    honest = life.lose
    patch.setattr(life, "lose", lambda message, now: replace(honest(message, now), attempt=None))


def forget_a_callback(patch: Patch) -> None:
    """A retry commits without the callback of the attempt before it."""
    honest = life._again

    def again(*args: Any, **kwargs: Any) -> Transition:
        return replace(honest(*args, **kwargs), created=())

    patch.setattr(life, "_again", again)


def call_back_twice(patch: Patch) -> None:
    """A failed message has two failure callbacks."""
    honest = life._failure_callback
    patch.setattr(life, "_failure_callback", lambda *args: honest(*args) * 2)


def report_another_attempt(patch: Patch) -> None:
    """A callback tells the number of the next attempt."""
    honest = callback_publication

    def late(message: Message, *args: Any, **kwargs: Any) -> Publication:
        return honest(replace(message, retried=message.retried + 1), *args, **kwargs)

    patch.setattr(life, "callback_publication", late)


def wait_for_no_callback(patch: Patch) -> None:
    """A callback does not belong to the family of its source, so the queue goes on without it."""
    honest = callback_publication
    patch.setattr(life, "callback_publication", lambda *a, **k: replace(honest(*a, **k), root=None))


def take_a_redirect_for_success(patch: Patch) -> None:
    """A redirect counts as delivered."""
    patch.setattr(life, "delivered", lambda outcome: outcome.error is None and (outcome.status or 0) < 400)


def give_up_on_a_redirect(patch: Patch) -> None:
    """A redirect is never tried again."""
    honest = retryable
    patch.setattr(life, "retryable", lambda outcome: honest(outcome) and (outcome.status or 0) // 100 != 3)


def take_half_an_answer_for_success(patch: Patch) -> None:
    """A status of 200 counts, though the answer broke off behind it."""
    patch.setattr(life, "delivered", lambda outcome: (outcome.status or 0) // 100 == 2)


def go_on_after_the_last_word(patch: Patch) -> None:
    """A receiver that says that no retry can help is asked again."""
    patch.setattr(life, "retryable", lambda _: True)


def try_once_too_often(patch: Patch) -> None:
    """Messages have one retry more than was asked for."""
    honest = life.settle

    def settle(message: Message, request: Request, outcome: Outcome, now: Millis) -> Transition:
        return honest(replace(message, retries=message.retries + 1), request, outcome, now)

    patch.setattr(life, "settle", settle)


def send_too_early(patch: Patch) -> None:
    """A date is forgotten, and the message goes out at once."""
    honest = life.create
    patch.setattr(life, "create", lambda wanted, *rest: honest(replace(wanted, not_before=None), *rest))


def forget_a_cancellation(patch: Patch) -> None:
    """Cancelling an open message is forgotten."""
    honest = life.cancel

    def cancel(message: Message, now: Millis) -> Transition | None:
        done = honest(message, now)
        return done and replace(done, message=replace(done.message, cancel=None))

    patch.setattr(life, "cancel", cancel)


def retry_a_cancelled_message(patch: Patch) -> None:
    """The end of an attempt does not ask whether its message was cancelled meanwhile."""
    honest = life.settle
    patch.setattr(life, "settle", lambda message, *rest: honest(replace(message, cancel=None), *rest))


def rescue_a_cancelled_message(patch: Patch) -> None:
    """A rescue does not ask whether the message was cancelled."""
    honest = life.lose
    patch.setattr(life, "lose", lambda message, now: honest(replace(message, cancel=None), now))


def cancel_what_is_under_way(patch: Patch) -> None:
    """An open message rests as soon as it is cancelled, though its receiver is still being called."""
    honest = life.cancel

    def cancel(message: Message, now: Millis) -> Transition | None:
        done = honest(message, now)
        if done is not None and done.message.state is State.ACTIVE:
            return replace(done, message=life._rest(done.message, State.CANCELED, now))
        return done

    patch.setattr(life, "cancel", cancel)


def forget_a_pause(patch: Patch) -> None:
    """What was under way when its queue was paused is tried again all the same."""
    patch.setattr(life, "hold", lambda message: message)


def admit_one_too_many(patch: Patch) -> None:
    """A rate window is off by one start."""
    honest = flow.tokens
    patch.setattr(flow, "tokens", lambda lane, now: honest(lane, now) + (lane.rate is not None))


def drag_the_window(patch: Patch) -> None:
    """A period begins anew with every start."""
    honest = flow.started
    patch.setattr(flow, "started", lambda lane, now, count: replace(honest(lane, now, count), period_start=now))


def burst_in_a_smooth_key(patch: Patch) -> None:
    """A smooth key starts a whole period's worth at once."""
    honest = flow.tokens
    patch.setattr(flow, "tokens", lambda lane, now: honest(replace(lane, earliest=None), now))


def keep_a_period_of_the_future(patch: Patch) -> None:
    """A key whose period a clock ahead has opened starts nothing until that date."""
    patch.setattr(flow, "righted", lambda lane, _: lane)


def sleep_through(patch: Patch) -> None:
    """A lane that was full is never looked at again."""
    patch.setattr(flow, "released", lambda lane, _: replace(lane, active=lane.active - 1))


def share_lanes_between_tenants(patch: Patch) -> None:
    """Two users with the same key share its limits."""
    honest = flow.lane_name

    def lane_name(_: Tenant, kind: LaneKind, name: str) -> flow.LaneName:
        return honest(1, kind, name)

    patch.setattr(flow, "lane_name", lane_name)


def forget_a_pin(patch: Patch) -> None:
    """A message changes limits that are pinned."""
    honest = flow.limited

    def limited(lane: Lane, wanted: Flow, now: Millis) -> Lane:
        changed = honest(replace(lane, pinned_parallelism=False, pinned_rate=False), wanted, now)
        return replace(changed, pinned_parallelism=lane.pinned_parallelism, pinned_rate=lane.pinned_rate)

    patch.setattr(flow, "limited", limited)


def end_a_pause_by_a_message(patch: Patch) -> None:
    """A paused key goes on with the next message that brings limits."""
    honest = flow.limited
    patch.setattr(flow, "limited", lambda lane, *rest: replace(honest(lane, *rest), paused=False))


def release_twice(patch: Patch) -> None:
    """A slot that comes back to its queue is counted twice."""
    patch.setattr(queue, "released", lambda row: replace(row, held=max(0, row.held - 2)))


def open_a_paused_queue(patch: Patch) -> None:
    """A paused queue gives slots to new messages."""
    patch.setattr(queue, "free", lambda row: 0 if row.deleted else max(0, row.parallelism - row.held))


def keep_ticking_in_a_pause(patch: Patch) -> None:
    """A paused schedule still has a next instant."""
    patch.setattr(recurring, "paused", lambda schedule: replace(schedule, paused=True))


def make_up_for_everything(patch: Patch) -> None:
    """After an outage every missed tick fires, whatever the policy."""
    honest = recurring.decide

    def decide(schedule: Schedule, *args: Any) -> Decision:
        made = honest(replace(schedule, rules=replace(schedule.rules, missed="all")), *args)
        return replace(made, schedule=replace(made.schedule, rules=schedule.rules))

    patch.setattr(recurring, "decide", decide)


def overlap_anyway(patch: Patch) -> None:
    """A tick does not wait for the message of the one before."""
    honest = recurring.runs_of
    patch.setattr(recurring, "runs_of", lambda *args, **_: honest(*args, busy=False))


def leave_an_endpoint_out(patch: Patch) -> None:
    """The last endpoint of a group gets nothing."""
    honest = groups.expand
    patch.setattr(groups, "expand", lambda *args: honest(*args)[:1])


def let_defaults_win(patch: Patch) -> None:
    """The defaults of a group win over what the request says."""

    def merged(wanted: Any, headers: Any) -> Config:
        config = Config.of(headers)
        config.under(Config.of(wanted.config))
        return config

    patch.setattr(groups, "merged", merged)


def convict_whoever_is_left(patch: Patch) -> None:
    """A suspect is convicted though it was not alone when the process died."""
    honest = apart.guilty
    patch.setattr(apart, "guilty", lambda message, limit, *, sole: honest(message, limit, sole=sole or True))


def convict_nobody(patch: Patch) -> None:
    """A message that kills the process is tried for ever."""
    patch.setattr(apart, "guilty", lambda *_, **__: False)


def start_beside_a_suspect(patch: Patch) -> None:
    """Nobody waits for those that are to be attempted alone."""
    patch.setattr(apart, "gone_on", lambda *_: None)


def count_a_shutdown_as_a_death(patch: Patch) -> None:
    """What is broken off when the server ends in order counts as if the process had died of it."""
    patch.setattr(life, "break_off", life.lose)


CORE = (
    drop_the_fence, charge_a_rescue, charge_what_was_never_sent, forget_a_lost_attempt, forget_a_callback,
    call_back_twice, report_another_attempt, wait_for_no_callback, take_a_redirect_for_success,
    give_up_on_a_redirect, take_half_an_answer_for_success, go_on_after_the_last_word, try_once_too_often,
    send_too_early, forget_a_cancellation, retry_a_cancelled_message, rescue_a_cancelled_message,
    cancel_what_is_under_way, forget_a_pause, admit_one_too_many, drag_the_window, burst_in_a_smooth_key,
    keep_a_period_of_the_future, sleep_through, share_lanes_between_tenants, forget_a_pin, end_a_pause_by_a_message,
    release_twice, open_a_paused_queue, keep_ticking_in_a_pause, make_up_for_everything, overlap_anyway,
    leave_an_endpoint_out, let_defaults_win, convict_whoever_is_left, convict_nobody, start_beside_a_suspect,
    count_a_shutdown_as_a_death,
)  # fmt: skip
