"""Messages that a clock ahead has put off, once it is right again.

A retry is due so long after the attempt before it, and a message without a delay at once. Where a clock was ahead, both
stand at its date, and would wait for that. The log tells them: its lines of a time that has not come yet were written
by such a clock, and a message that waits for the time of its line has been given no other since.

Of a queue, who was given a slot by that clock, or let go with one, has been due since then, and holds up the others. No
line tells of it; so all that hold a slot are looked at, which are few.

A clock that falls behind for a moment looks the same. Then a retry may come too early, by its delay at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.broker.enrol import MARK_EVERY, SET_BACK
from lateron.broker.ledger import Ledger
from lateron.core import message as life
from lateron.core.values import Event, EventKind, Message, MessageId, Millis, Tenant
from lateron.store.sql import LARGEST, LAST, EventKey, Verbs

LINES: Final = 500  # Of the log that are read in one transaction; other work waits for it.


class Righting(Struct, frozen=True):
    """How far was looked since the clock was set back: through the log of one tenant after another, then the slots."""

    since: Millis  # What is of a later time is of the clock that was ahead.
    now: Millis  # Of the last piece.
    tenant: Tenant = 0
    after: EventKey | None = None  # The last line that was read of this tenant.
    slot: tuple[int, int] | None = None  # The last one: queue and place. None: the log is not read to its end.


def interrupted(begun: Righting, now: Millis) -> Righting | None:
    """Return how far was looked; None if that is not all, for the clock is ahead again, or set back once more."""
    return begun if begun.since - SET_BACK <= now <= begun.now + SET_BACK else None


def right_messages(tx: Verbs, ledger: Ledger, mark: Millis, begun: Righting | None) -> Righting | None:
    """Right the messages of a piece: at most ``LINES`` lines of the log, or as many slots.

    A crash between two pieces is no matter: the next start begins anew, and finds nothing to right in what was.

    Args:
        tx: The transaction that ``ledger`` is of.
        ledger: Takes what changes; lanes that were to be woken must be so before. It says what time it is.
        mark: The latest time by which anything was reckoned, as ``enrol`` keeps it.
        begun: What the last piece returned, once its transaction holds; None: begin.

    Returns:
        How far that is; None: all is looked at.
    """
    place = replace(begun or Righting(ledger.now + SET_BACK, ledger.now), now=ledger.now)
    if place.slot is None:
        start: EventKey = (place.since, LAST, LARGEST, LARGEST)
        for tenant in sorted(tenant for tenant in tx.tenants() if tenant >= place.tenant):
            after = place.after if tenant == place.tenant else None
            lines = tx.events_after(tenant, after or start, LARGEST, LINES)
            if lines:
                _right(tx, ledger, lines)
                last = lines[-1]
                return replace(place, tenant=tenant, after=(last.time, last.message, last.attempt, last.kind))
    holders = tx.slots_after(*(place.slot or (0, -1)), LINES)
    if not holders:
        return None
    _rearm(tx, ledger, [m for m in holders if place.since < m.due <= mark + MARK_EVERY])
    return replace(place, slot=(holders[-1].queue or 0, holders[-1].seq or 0))


def _right(tx: Verbs, ledger: Ledger, lines: Sequence[Event]) -> None:
    """Right those that wait for the time of their line."""
    dated = [line for line in lines if line.kind in life.DATED]
    seen = tx.read_messages(sorted({line.message for line in dated}))
    stored = _hold(tx, ledger, list(seen.values()))
    for line in dated:
        message = stored.get(line.message)
        righted = None if message is None else life.righted(message, line, ledger.now)
        if message is not None and righted is not None:
            ledger.move(message, righted)
            stored[message.id] = righted


def _rearm(tx: Verbs, ledger: Ledger, holders: Sequence[Message]) -> None:
    """Let those be due now that are due since they were given a slot, or let go."""
    lines = {message.id: _line(tx, message) for message in holders}
    for message in _hold(tx, ledger, holders).values():
        rearmed = life.rearmed(message, lines[message.id], ledger.now)
        if rearmed is not None:
            ledger.move(message, rearmed)


def _line(tx: Verbs, message: Message) -> Event:
    """Return the line that says from when a message waits; what is not kept any more says that it does not."""
    if not message.attempt:
        outline = tx.outlines([message.id])[message.id]
        first = None if outline is None else outline.request.options.not_before
        return Event(message.tenant, message.created, message.id, 0, EventKind.CREATED, first)
    attempt = tx.attempt_of(message.id, message.attempt)
    ended = message.created if attempt is None else attempt.ended
    lines = tx.events_of(message.tenant, ended, message.id)
    none = Event(message.tenant, ended, message.id, message.attempt, EventKind.RETRY)
    return next((line for line in lines if line.kind is EventKind.RETRY and line.attempt == message.attempt), none)


def _hold(tx: Verbs, ledger: Ledger, seen: Sequence[Message]) -> dict[MessageId, Message]:
    """Take messages that are open and not under way in hand, and their lanes before."""
    meant = [message for message in seen if message.state in life.PARKED]
    ledger.hold_known(message.lane for message in meant)
    return tx.load_messages([message.id for message in meant])
