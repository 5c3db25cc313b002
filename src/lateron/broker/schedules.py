"""What is done with schedules; each method is one transaction.

``tick`` is where messages come from: for many due schedules at once it stores the ticks, their messages and
the next instants together. A tick is a row of its own, unique per schedule and instant: whoever stores it makes
the run, so no restart, second node or step of the clock makes two of one.

When the clock has been set back, schedules may stand far off, at ticks that were reckoned by the wrong time. All are
then looked at anew. What has fired by then has its row, and does not fire again; what was skipped still can. The same
holds for lanes, and for messages that were put off (``righting``): the timer of schedules is where a clock set back is
noticed while nothing is published or delivered.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.broker.enrol import MARK, SET_BACK
from lateron.broker.messages import MessageBroker
from lateron.broker.righting import right_messages
from lateron.broker.views import Accepted, FannedOut
from lateron.core import flow, recurring
from lateron.core.groups import FAN_OUT_BYTES, MAX_FAN_OUT, Group
from lateron.core.recurring import Decision, Last, NewSchedule, Schedule
from lateron.core.schedule import COUNTED
from lateron.core.tally import Moves
from lateron.core.values import AT_REST, MINUTE, MessageId, Millis, Publication, Redaction, State, Tenant
from lateron.errors import LateronError, NotFound, RequestError
from lateron.store.sql import LARGEST, Verbs

TICKS: Final = 250  # Schedules of one transaction: other work waits for it.
LOOKED_AT: Final = 5_000  # Schedules, and lanes, that are made due in one transaction after the clock was set back.
GUILTY_PAUSE: Final = MINUTE  # How long a schedule rests that could not be decided.

log = logging.getLogger("lateron.broker.schedules")


class ScheduleView(Struct, frozen=True):
    """A schedule as a reader sees it."""

    schedule: Schedule
    states: Mapping[MessageId, State]  # Of the messages of its last run that are still kept.
    redact: Redaction | None = None  # What of it is hidden.


class Plan(Struct, frozen=True):
    """What a schedule that is due wants to do."""

    decision: Decision
    messages: tuple[Publication, ...] = ()  # Of each run.
    error: str | None = None  # Why a run makes none.


class Ticked(Struct, frozen=True):
    """What one piece of ticking did."""

    fired: int  # Runs, those that failed included.
    missed: int
    more: bool  # There may be more that is due.


class Schedules:
    """The schedules of one broker; holds nothing itself, so it may be made for one call."""

    def __init__(self, broker: MessageBroker, catch_up_ms: Millis = MINUTE) -> None:
        self._broker = broker
        self._window = catch_up_ms

    def create(self, new: NewSchedule, now: Millis) -> str:
        """Store a schedule; one of the same id is replaced, whole, in the same transaction.

        Raises:
            QuotaExceeded: The tenant has as many as it may have.
            NotFound: It goes to a URL group that does not exist.
            RequestError: It would never tick, or its run could not be published.
        """
        with self._broker.publishing(now) as desk:
            return self._broker.enrol(desk.tx, now, new).id

    def delete(self, tenant: Tenant, schedule_id: str, now: Millis) -> None:
        """Delete a schedule; messages that it has made stay.

        Raises:
            NotFound: No schedule of this tenant has that id.
        """
        with self._broker.publishing(now) as desk:
            desk.tx.delete_schedule(known_schedule(desk.tx, tenant, schedule_id))

    def pause(self, tenant: Tenant, schedule_id: str, now: Millis) -> None:
        """Let a schedule tick no more until it is resumed.

        Raises:
            NotFound: No schedule of this tenant has that id.
        """
        with self._broker.publishing(now) as desk:
            desk.tx.save_schedules([recurring.paused(known_schedule(desk.tx, tenant, schedule_id))])

    def resume(self, tenant: Tenant, schedule_id: str, now: Millis) -> None:
        """Go on with the next tick from now; those of the pause are not made up for.

        Raises:
            NotFound: No schedule of this tenant has that id.
        """
        with self._broker.publishing(now) as desk:
            schedule = recurring.resumed(known_schedule(desk.tx, tenant, schedule_id), now)
            desk.tx.save_schedules([schedule])
            self._broker.reckoned(desk.tx, schedule.due, now)

    def run(self, tenant: Tenant, schedule_id: str, now: Millis) -> Accepted | FannedOut:
        """Run now, whatever the schedule says; its ticks stay as they are.

        Raises:
            NotFound: No schedule of this tenant has that id, or its URL group is not there.
            RequestError: Its group has defaults with which it cannot be published.
        """
        with self._broker.publishing(now) as desk:
            schedule = known_schedule(desk.tx, tenant, schedule_id)
            messages = recurring.requested(schedule, _group(desk.tx, schedule, {}), now)
            ids = desk.create(messages)
        if schedule.group is None:
            return Accepted(ids[0])
        return FannedOut(tuple((m.request.url, Accepted(i)) for m, i in zip(messages, ids, strict=True)))

    def tick(self, now: Millis, limit: int = TICKS) -> Ticked:
        """Let schedules tick that are due, at most ``limit``.

        Raises:
            StorageFull: Nothing was stored.
            StoreFailed: Unknown whether it is stored; the process must end.
        """
        if set_back(self._broker, now):
            return self._look_again(now)
        try:
            return self._tick(now, limit)
        except LateronError:
            raise
        except Exception:
            log.exception("deciding schedules failed; they are decided one by one")
            return self._one_by_one(now, limit)

    def _look_again(self, now: Millis) -> Ticked:
        """Look at a piece of what a clock reckoned which was set back since: schedules and lanes, then messages."""
        broker, more = self._broker, False
        with broker.publishing(now) as desk:
            righting = broker.righting
            if righting is None:
                more = desk.tx.look_again(now, LOOKED_AT) == LOOKED_AT
                more = broker.wake_lanes(desk.tx, now, LOOKED_AT) or more
            if not more:  # Behind the lanes: what they are told here must stay.
                righting = right_messages(desk.tx, desk.ledger, broker.tick_mark, righting)
                more = righting is not None
            if not more:
                desk.tx.save_setting(MARK, str(now))
        broker.righting = righting
        if not more:
            log.warning("the clock was set back by %d s; all schedules, lanes and retries are decided anew",
                        (broker.tick_mark - now) // 1000)  # fmt: skip
            broker.tick_mark = now
        broker.tick_alarm = flow.earlier(broker.tick_alarm, now)
        return Ticked(0, 0, more=True)

    def _tick(self, now: Millis, limit: int) -> Ticked:
        with self._broker.publishing(now) as desk:
            tx = desk.tx
            due = tx.due_schedules(now, limit)
            plans = self._plans(tx, due, now)
            ours = tx.insert_ticks([(p.decision.schedule.key, tick) for p in plans for tick in p.decision.fire])
            states = _states(tx, [schedule for schedule in due if schedule.rules.overlap == "skip"])
            taken = [[t for t in p.decision.fire if (p.decision.schedule.key, t) in ours] for p in plans]
            runs = [_runs(plan, mine, states) for plan, mine in zip(plans, taken, strict=True)]
            messages = [m for plan, mine in zip(plans, runs, strict=True) for m in _messages(plan, mine)]
            made = iter(desk.create(messages))
            moved = [_moved(tx, plan, mine, len(own), made) for plan, own, mine in zip(plans, taken, runs, strict=True)]
            tx.save_schedules(moved)
            alarm = tx.next_schedule()
            self._broker.reckoned(tx, None, now)
            missed = sum(new.missed - plan.decision.schedule.missed for plan, new in zip(plans, moved, strict=True))
            fired = sum(map(len, runs))
            self._broker.tally.note(Moves(ticks=fired, missed=missed))
        self._broker.tick_alarm = alarm
        return Ticked(fired, missed, more=bool(due) and alarm is not None and alarm <= now)

    def _plans(self, tx: Verbs, due: Sequence[Schedule], now: Millis) -> list[Plan]:
        """Decide about schedules, in order, until their messages are as many as one transaction should make."""
        plans: list[Plan] = []
        known: dict[tuple[Tenant, str], Group | None] = {}
        messages, size = MAX_FAN_OUT, FAN_OUT_BYTES
        for schedule in due:
            plan = _plan(tx, recurring.decide(schedule, now, self._window), known, now)
            each, length = len(plan.messages), len(schedule.request.body or b"")
            runs = min(messages // max(each, 1), size // max(each * length, 1))
            if runs < len(plan.decision.fire):
                if plans:
                    break
                plan = replace(plan, decision=recurring.shortened(plan.decision, max(runs, 1)))
            messages -= each * len(plan.decision.fire)
            size -= each * length * len(plan.decision.fire)
            plans.append(plan)
        return plans

    def _one_by_one(self, now: Millis, limit: int) -> Ticked:
        """Decide schedules alone; one that cannot be decided is put off, so that it holds up no other."""
        fired = missed = 0
        for _ in range(limit):
            try:
                done = self._tick(now, 1)
            except LateronError:
                raise
            except Exception:
                log.exception("a schedule could not be decided; it rests for a minute")
                with self._broker.publishing(now) as desk:
                    desk.tx.save_schedules([replace(s, due=now + GUILTY_PAUSE) for s in desk.tx.due_schedules(now, 1)])
                continue
            fired, missed = fired + done.fired, missed + done.missed
            if not done.more:
                break
        return Ticked(fired, missed, more=True)


def set_back(broker: MessageBroker, now: Millis) -> bool:
    """Whether the clock stands so far before what was reckoned by it that all must be looked at anew."""
    return now < broker.tick_mark - SET_BACK


def next_tick(broker: MessageBroker, now: Millis) -> Millis | None:
    """Return when to tick next, ``now`` being the time; None if there is nothing to wait for."""
    return now if set_back(broker, now) else broker.tick_alarm


def _plan(tx: Verbs, decision: Decision, known: dict[tuple[Tenant, str], Group | None], now: Millis) -> Plan:
    """Make the messages of a run, if there is one."""
    if not decision.fire:
        return Plan(decision)
    try:
        return Plan(decision, recurring.requested(decision.schedule, _group(tx, decision.schedule, known), now))
    except RequestError as error:
        return Plan(decision, error=str(error))


def _runs(plan: Plan, ours: Sequence[Millis], states: Mapping[MessageId, State]) -> Sequence[Millis]:
    """Return which of the ticks that are ours become runs."""
    last = plan.decision.schedule.last
    busy = any(states.get(message, AT_REST) < AT_REST for message in (last.messages if last else ()))
    return recurring.runs_of(plan.decision, ours, busy=busy)


def _messages(plan: Plan, runs: Sequence[Millis]) -> Iterator[Publication]:
    """Return the messages of runs, in order."""
    for tick in runs:
        for message in plan.messages:
            yield recurring.at(message, plan.decision.schedule, tick)


def _moved(tx: Verbs, plan: Plan, runs: Sequence[Millis], ours: int, made: Iterator[MessageId]) -> Schedule:
    """Return a schedule as it must be stored after its runs; ``made`` gives the ids of their messages."""
    decision, schedule = plan.decision, plan.decision.schedule
    last, missed = schedule.last, decision.missed
    for tick in runs:
        failed = (0 if last is None else last.failed) + (plan.error is not None)
        last = Last(tick, tuple(islice(made, len(plan.messages))), plan.error, failed)
    if runs and plan.error is not None:
        log.error("schedule %s of tenant %d made no message: %s", schedule.id, schedule.tenant, plan.error)
    if missed and decision.first is not None:
        # What has fired before the clock was set back, and forth again, is not missed.
        behind = decision.fire[0] if decision.fire else decision.following
        until = LARGEST if behind is None else behind - 1
        missed = max(0, missed - tx.count_ticks(schedule.key, decision.first, until, 2 * COUNTED))
    if missed:
        log.warning(
            "schedule %s of tenant %d missed %d ticks since %s", schedule.id, schedule.tenant, missed, decision.first
        )
    skipped = ours - len(runs) if schedule.rules.overlap == "skip" else 0
    return recurring.ticked(decision, len(runs), missed, skipped, last)


def _group(tx: Verbs, schedule: Schedule, known: dict[tuple[Tenant, str], Group | None]) -> Group | None:
    """Return the group that a schedule publishes to; ``known`` are those that this transaction has read."""
    if schedule.group is None:
        return None
    key = (schedule.tenant, schedule.group)
    if key not in known:
        known[key] = tx.group(*key)
    return known[key]


def known_schedule(tx: Verbs, tenant: Tenant, schedule_id: str) -> Schedule:
    """Return a schedule of a tenant.

    Raises:
        NotFound: It has none of that id.
    """
    schedule = tx.schedule(tenant, schedule_id)
    if schedule is None:
        raise NotFound("schedule", schedule_id[:200])
    return schedule


def schedule_views(tx: Verbs, schedules: Sequence[Schedule]) -> list[ScheduleView]:
    """Join schedules with the states of the messages of their last runs."""
    states = _states(tx, schedules)
    known: dict[tuple[Tenant, str], Group | None] = {}
    return [
        ScheduleView(
            schedule,
            {m: states[m] for m in (schedule.last.messages if schedule.last else ()) if m in states},
            recurring.redaction(schedule, _group(tx, schedule, known)),
        )
        for schedule in schedules
    ]


def _states(tx: Verbs, schedules: Sequence[Schedule]) -> dict[MessageId, State]:
    ids = [message for schedule in schedules if schedule.last for message in schedule.last.messages]
    return {message.id: message.state for message in tx.read_messages(ids).values()}
