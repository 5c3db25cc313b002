"""What becomes of a turn that cannot be decided: it is taken apart, and whoever is guilty of that harms nobody else.

Results and publications run alone, and nothing starts meanwhile. Then comes the claim; if that fails too, lanes are
claimed from one after the other, and the guilty one rests, so that it holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from lateron.broker.views import Answered, Turn, Turned
from lateron.core.values import MINUTE, Claimed
from lateron.errors import LateronError, RequestError, ServiceError

GUILTY_PAUSE: Final = MINUTE  # How long a lane rests that could not be claimed from.
LANES: Final = 100  # Claimed from one by one at once: each is a transaction of its own.

log = logging.getLogger("lateron.broker")


class Undecided(ServiceError):
    """Deciding this one item failed: a bug of ours. Nothing of it was stored, and nobody else is harmed."""

    status = 500


def one_by_one(turn: Turn, decide: Callable[[Turn], Turned]) -> Turned:
    """Run the results and publications of a turn alone; answer the guilty one with an error."""
    accepted: list[tuple[Answered, ...] | LateronError] = []
    settled = stale = 0
    for result in turn.results:
        try:
            done = decide(Turn(results=(result,)))
            settled, stale = settled + done.settled, stale + done.stale
        except LateronError:
            raise
        except Exception:
            # The attempt's end is not recorded; the message is rescued at the next start.
            log.exception("a result could not be settled: message %s", result.claimed.message.id.hex())
    for items in turn.publishes:
        try:
            accepted += decide(Turn(publishes=(items,))).accepted
        except RequestError as error:
            accepted.append(error)
        except LateronError:
            raise
        except Exception:
            log.exception("a publication could not be decided")
            accepted.append(Undecided("the publication could not be decided"))
    return Turned(tuple(accepted), settled=settled, stale=stale)


def lane_by_lane(
    lanes: Iterable[int], room: int, claim: Callable[[int, int], Turned]
) -> tuple[list[Claimed], list[int]]:
    """Claim from one lane after the other.

    Args:
        lanes: Those that could start something.
        room: How many attempts may begin.
        claim: Claims from one lane what there is room for.

    Returns:
        What has started, and the guilty lanes.
    """
    claimed, guilty = list[Claimed](), list[int]()
    for lane in lanes:
        if len(claimed) >= room:
            break
        try:
            claimed += claim(lane, room - len(claimed)).claimed
        except LateronError:
            raise
        except Exception:
            log.exception("lane %d could not be claimed from; it rests for a minute", lane)
            guilty.append(lane)
    return claimed, guilty
