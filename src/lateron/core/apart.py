"""Poison: messages whose attempts may be what the process died of.

Whoever was in flight when the process died is suspected a little; after ``limit`` such deaths a message is a
*suspect*. A start sets its suspects apart: before anything else goes out they are attempted one by one, each with no
other attempt open beside it. An attempt that ends, however it ends, clears its message. If the process dies once
more, and a suspect was all that it had open, then that message is guilty and becomes a dead letter (``crash-loop``);
so one message cannot keep a server from ever running, and those that happened to fly with it are not harmed.

A suspect may be innocent, and its receiver slow. So the others are kept waiting for at most ``ALONE_MS``; suspects
that had no turn by then wait in their lanes like everybody, and are set apart again if the process dies again. Each
start clears or convicts at least one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.values import MINUTE, Message, MessageId, Millis, State

ALONE_MS: Final = MINUTE  # How long after a start everybody else may be kept waiting.
MOST: Final = 1000  # Suspects that one start sets apart.


class Apart(Struct, frozen=True):
    """The suspects of this start."""

    suspects: tuple[MessageId, ...]  # Who have had no attempt yet, in their order.
    since: Millis | None = None  # When the first of them was attempted.


def suspected(message: Message, limit: int | None) -> bool:
    """Whether a message has seen so many deaths that it is attempted alone; a limit of None suspects nobody."""
    return limit is not None and message.rescues >= limit


def guilty(message: Message, limit: int | None, *, sole: bool) -> bool:
    """Whether the process died of a message.

    Args:
        message: ACTIVE when the process died; counts the deaths before this one.
        limit: See ``suspected``.
        sole: Whether no other attempt was open.
    """
    return sole and message.cancel is None and suspected(message, limit)


def set_apart(messages: Iterable[Message], limit: int | None) -> Apart | None:
    """Return the suspects among messages that wait, those due first foremost; None if there are none."""
    found = [message for message in messages if message.state is State.WAITING and suspected(message, limit)]
    found.sort(key=lambda message: (message.due, message.id))
    return Apart(tuple(message.id for message in found[:MOST])) if found else None


def gone_on(apart: Apart, still_open: int, now: Millis) -> Apart | None:
    """Return who is still set apart; None from when on everybody may start.

    Args:
        apart: As it was.
        still_open: How many attempts are open.
        now: The time; a clock that was set back ends it too.
    """
    if apart.since is not None and not 0 <= now - apart.since < ALONE_MS:
        return None
    return apart if apart.suspects or still_open else None


def shares(apart: Apart | None, room: int, still_open: int) -> tuple[int, bool]:
    """Return how many attempts anybody may open, and whether a suspect may start, given how many are open."""
    return (room, False) if apart is None else (0, room > 0 and still_open == 0)


def begun(apart: Apart, passed: int, now: Millis) -> Apart:
    """Note that an attempt has begun: that of the last of the first ``passed`` suspects; the others could not start."""
    return replace(apart, suspects=apart.suspects[passed:], since=now if apart.since is None else apart.since)


def until(apart: Apart) -> Millis | None:
    """Return when everybody may start at the latest; None while no suspect was attempted."""
    return None if apart.since is None else apart.since + ALONE_MS
