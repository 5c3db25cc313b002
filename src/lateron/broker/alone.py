"""What becomes of a turn that cannot be decided: it is taken apart, and whoever is guilty of that harms nobody else.

Results and publications run alone, and nothing starts meanwhile. Then comes the claim; if that fails too, lanes are
claimed from one after the other, and the guilty one rests, so that it holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from lateron.broker.crowds import FROM_START
from lateron.broker.views import Answered, Result, Turn, Turned
from lateron.core.values import MINUTE, Claimed, Millis, Tenant
from lateron.errors import LateronError, RequestError, ServiceError, StorageFull, StoreBusy
from lateron.store.sql import Verbs

GUILTY_PAUSE: Final = MINUTE  # How long a lane rests that could not be claimed from.
LANES: Final = 100  # Claimed from one by one at once: each is a transaction of its own.

log = logging.getLogger("lateron.broker")


class Undecided(ServiceError):
    """Deciding this one item failed: a bug of ours. Nothing of it was stored, and nobody else is harmed."""

    status = 500


def one_by_one(turn: Turn, decide: Callable[[Turn], Turned]) -> tuple[Turned, ServiceError | None]:
    """Run the results and publications of a turn alone; answer the guilty one with an error.

    Returns:
        What was done, and what kept the store from going on in the midst of it, if anything did: that is the answer
        to the rest of the publications, and the rest of the results is ``left``.

    Raises:
        StorageFull: Nothing was stored.
        StoreBusy: Nothing was stored.
        StoreFailed: Unknown what is stored.
    """
    done, stopped = _settled(turn.results, decide)
    accepted: list[tuple[Answered, ...] | LateronError] = []
    stored = done.settled + done.stale > 0
    for items in turn.publishes:
        if stopped is not None:
            accepted.append(stopped)
            continue
        try:
            accepted += decide(Turn(publishes=(items,))).accepted
            stored = True
        except (StorageFull, StoreBusy) as error:
            if not stored:
                raise
            stopped = error
            accepted.append(error)
        except RequestError as error:
            accepted.append(error)
        except LateronError:
            raise
        except Exception:
            log.exception("a publication could not be decided")
            accepted.append(Undecided("the publication could not be decided"))
    return replace(done, accepted=tuple(accepted)), stopped


def _settled(results: Sequence[Result], decide: Callable[[Turn], Turned]) -> tuple[Turned, ServiceError | None]:
    settled = stale = 0
    for place, result in enumerate(results):
        try:
            done = decide(Turn(results=(result,)))
            settled, stale = settled + done.settled, stale + done.stale
        except (StorageFull, StoreBusy) as error:
            if not settled + stale:
                raise
            return Turned(settled=settled, stale=stale, left=tuple(results[place:])), error
        except LateronError:
            raise
        except Exception:
            # The attempt's end is not recorded; the message is rescued at the next start.
            log.exception("a result could not be settled: message %s", result.claimed.message.id.hex())
    return Turned(settled=settled, stale=stale), None


def could_start(tx: Verbs, tenants: Iterable[Tenant], behind: int, now: Millis) -> tuple[list[int], int]:
    """Return lanes that could start something, due or asleep (behind a number), and behind which to go on there."""
    due = [lane.id for tenant in tenants for lane in tx.due_lanes(tenant, now, LANES)]
    asleep = [lane.id for lane in tx.sleeping_lanes(behind, LANES)]
    return [*due, *asleep], asleep[-1] if len(asleep) == LANES else FROM_START


def lane_by_lane(
    lanes: Iterable[int], room: int, claim: Callable[[int, int], Turned]
) -> tuple[list[Claimed], list[int]]:
    """Claim from one lane after the other.

    Args:
        lanes: Those that could start something.
        room: How many attempts may begin.
        claim: Claims from one lane what there is room for.

    Returns:
        What has started, and the guilty lanes. Nothing more starts once the store is full or held.
    """
    claimed, guilty = list[Claimed](), list[int]()
    for lane in lanes:
        if len(claimed) >= room:
            break
        try:
            claimed += claim(lane, room - len(claimed)).claimed
        except (StorageFull, StoreBusy):
            break
        except LateronError:
            raise
        except Exception:
            log.exception("lane %d could not be claimed from; it rests for a minute", lane)
            guilty.append(lane)
    return claimed, guilty
