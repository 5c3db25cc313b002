"""What is done with schedules; each method is one transaction.

``tick`` is where messages come from: for many due schedules at once it stores the ticks, their messages and
the next instants together. A tick is a row of its own, unique per schedule and instant: whoever stores it makes
the message, so no restart, second node or step of the clock makes two of one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.broker.messages import MessageBroker, earlier
from lateron.core import recurring
from lateron.core.quota import Quota
from lateron.core.recurring import PREFIX, Decision, Last, NewSchedule, Schedule
from lateron.core.values import AT_REST, MINUTE, MessageId, Millis, State, Tenant
from lateron.errors import LateronError, NotFound
from lateron.store.sql import Verbs

TICKS: Final = 250  # Schedules of one transaction: other work waits for it.
GUILTY_PAUSE: Final = MINUTE  # How long a schedule rests that could not be decided.

log = logging.getLogger("lateron.broker.schedules")


class ScheduleView(Struct, frozen=True):
    """A schedule as a reader sees it."""

    schedule: Schedule
    states: Mapping[MessageId, State]  # Of the messages of its last tick that are still kept.


class Ticked(Struct, frozen=True):
    """What one piece of ticking did."""

    fired: int
    missed: int
    more: bool  # There may be more that is due.


class Schedules:
    """The schedules of one broker; holds nothing itself, so it may be made for one call."""

    def __init__(self, broker: MessageBroker, catch_up_ms: Millis = MINUTE) -> None:
        self._broker = broker
        self._window = catch_up_ms

    def create(self, new: NewSchedule, quota: Quota, now: Millis) -> str:
        """Store a schedule; one of the same id is replaced, whole, in the same transaction.

        Raises:
            QuotaExceeded: The tenant has as many as it may have.
            RequestError: It would never tick.
        """
        with self._broker.publishing(now) as desk:
            tx = desk.tx
            old = None if new.id is None else tx.schedule(new.tenant, new.id)
            key = self._broker.new_key(now) if old is None else old.key
            if old is None:
                quota.check("schedules", tx.count_schedules(new.tenant) + 1, quota.schedules)
            schedule = recurring.begin(new, new.id or PREFIX + key.hex(), key, now)
            tx.save_schedules([schedule])
            tx.save_schedule_request(schedule)
        self._wake(schedule)
        return schedule.id

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
        self._wake(schedule)

    def run(self, tenant: Tenant, schedule_id: str, now: Millis) -> MessageId:
        """Make a message now, whatever the schedule says; its ticks stay as they are.

        Raises:
            NotFound: No schedule of this tenant has that id.
        """
        with self._broker.publishing(now) as desk:
            schedule = known_schedule(desk.tx, tenant, schedule_id)
            (message,) = desk.create([recurring.publication(schedule, None)])
        return message

    def tick(self, now: Millis, limit: int = TICKS) -> Ticked:
        """Let schedules tick that are due, at most ``limit``.

        Raises:
            StorageFull: Nothing was stored.
            StoreFailed: Unknown whether it is stored; the process must end.
        """
        try:
            return self._tick(now, limit)
        except LateronError:
            raise
        except Exception:
            log.exception("deciding schedules failed; they are decided one by one")
            return self._one_by_one(now, limit)

    def _tick(self, now: Millis, limit: int) -> Ticked:
        with self._broker.publishing(now) as desk:
            tx = desk.tx
            due = tx.due_schedules(now, limit)
            states = _states(tx, [schedule for schedule in due if schedule.rules.overlap == "skip"])
            decisions = [self._decided(schedule, states, now) for schedule in due]
            ours = tx.insert_ticks([(d.schedule.key, tick) for d in decisions for tick in d.fire])
            ticks = [[tick for tick in d.fire if (d.schedule.key, tick) in ours] for d in decisions]
            made = iter(
                desk.create(
                    [
                        recurring.publication(d.schedule, t)
                        for d, mine in zip(decisions, ticks, strict=True)
                        for t in mine
                    ]
                )
            )
            tx.save_schedules(
                [
                    replace(d.schedule, last=Last(mine[-1], tuple(next(made) for _ in mine))) if mine else d.schedule
                    for d, mine in zip(decisions, ticks, strict=True)
                ]
            )
            alarm = tx.next_schedule()
        self._broker.tick_alarm = alarm
        return Ticked(len(ours), sum(d.missed for d in decisions), len(due) >= limit)

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

    def _decided(self, schedule: Schedule, states: Mapping[MessageId, State], now: Millis) -> Decision:
        messages = schedule.last.messages if schedule.last else ()
        busy = any(states.get(message, AT_REST) < AT_REST for message in messages)
        decision = recurring.decide(schedule, now, self._window, busy=busy)
        if decision.missed:
            log.warning(
                "schedule %s of tenant %d missed %d ticks since %d",
                schedule.id, schedule.tenant, decision.missed, schedule.due,
            )  # fmt: skip
        if not schedule.intact:
            log.error("the request of schedule %s is damaged; it makes no message", schedule.id)
        return decision

    def _wake(self, schedule: Schedule) -> None:
        self._broker.tick_alarm = earlier(self._broker.tick_alarm, schedule.due)


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
    """Join schedules with the states of the messages of their last ticks."""
    states = _states(tx, schedules)
    return [
        ScheduleView(schedule, {m: states[m] for m in (schedule.last.messages if schedule.last else ()) if m in states})
        for schedule in schedules
    ]


def _states(tx: Verbs, schedules: Sequence[Schedule]) -> dict[MessageId, State]:
    ids = [message for schedule in schedules if schedule.last for message in schedule.last.messages]
    return {message.id: message.state for message in tx.read_messages(ids).values()}
