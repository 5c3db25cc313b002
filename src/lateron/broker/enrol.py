"""How a schedule enters the store: alone, or as an item of a batch, in the transaction that stores the rest of it.

Here is also the mark: the latest instant at which anybody reckoned when a schedule or a lane is due next. A clock that
stands before it has been set back, and what was reckoned may lie far off; ``schedules`` then looks at all of them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lateron.core import recurring
from lateron.core.groups import expand
from lateron.core.reach import Check
from lateron.core.recurring import PREFIX, NewSchedule, Schedule
from lateron.core.values import SECOND, Millis
from lateron.errors import QuotaExceeded
from lateron.store.sql import Verbs

MARK: Final = "schedules-reckoned"  # The name of the setting.
MARK_EVERY: Millis = 5 * SECOND  # It lags behind by at most so much, and is not written at each tick.
SET_BACK: Millis = 3 * MARK_EVERY  # A clock that stands so much before the mark has been set back.


def enrol(tx: Verbs, new: NewSchedule, new_key: Callable[[], bytes], check: Check, now: Millis) -> Schedule:
    """Store a schedule; one of the same id is replaced, whole.

    What it asks of a URL group is tried on the group as it is now.

    Raises:
        QuotaExceeded: The tenant has as many as it may have; nothing was stored, as in the other cases.
        NotFound: It goes to a URL group that does not exist.
        RequestError: It would never tick, or its run could not be published.
    """
    old = None if new.id is None else tx.schedule(new.tenant, new.id)
    if old is None and new.most is not None:
        count = tx.count_schedules(new.tenant) + 1
        if count > new.most:
            raise QuotaExceeded("schedules", count, new.most)
    key = new_key() if old is None else old.key
    schedule = recurring.begin(new, new.id or PREFIX + key.hex(), key, now)
    if schedule.group is not None:
        expand(recurring.wanted(schedule, now), tx.group(schedule.tenant, schedule.group), check)
    tx.save_schedules([schedule])
    tx.save_schedule_request(schedule)
    if new.note is not None:
        new.note.object = new.note.object or schedule.id
        tx.sign(new.note)
    return schedule


def advance(tx: Verbs, mark: Millis, now: Millis) -> Millis:
    """Return the mark after something was reckoned at ``now``, and store it if it has moved enough."""
    if now < mark + MARK_EVERY:
        return mark
    tx.save_setting(MARK, str(now))
    return now
