"""Lanes: who may start, and when to look again.

Every message stands in exactly one lane: that of its flow-control key, else that of its destination's
host. A lane knows its limits and what they have been used for. The lane is due, not its messages:
``next_due`` is the earliest instant at which its head might start, or None while only another event
(an end, a resume) can open it. It may be early, never late::

    tokens(now)  = unbounded without rate | rate once the period is over | rate - starts in this period
    room(now)    = 0 if paused | min(tokens, parallelism - active)

A period opens with the first start after the last one ended, so an idle key saves up no burst, and no
timer is needed at its end: ``next_due`` is the end of the period.

Two periods that meet may hold twice ``rate`` starts around their border. A *smooth* lane allows no such
thing: it gives each start an instant in microseconds, inside the millisecond in which it happens, and
keeps these instants a share of ``period / rate`` apart. A window of one period cannot hold more than
``rate`` points that far apart, wherever it begins; and since only the instant from which the next share may
be taken is kept, this costs one number in the row::

    step      = period / rate, in whole microseconds, rounded up
    starts    at max(earliest, now), then earliest = that + step; only while it lies inside this millisecond

A clock that is ahead for a moment opens periods that lie in the future once it is right again. Such a period is brought
back to the present (``righted``), so that it is over a period from then, and not at that date.

All functions return a new ``Lane``. The caller holds the row, applies all changes of a transaction in
memory, and writes it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.destination import parse_destination
from lateron.core.values import SECOND, Flow, LaneKind, Millis, Request, Tenant

UNBOUNDED: Final = 1 << 30
_MICROS: Final = 1000  # In a millisecond.
AHEAD: Final[Millis] = 15 * SECOND  # A period that begins later than so much from now was opened by a wrong clock.


class LaneName(Struct, frozen=True, gc=False):
    """What names a lane inside a tenant, and the number that all nodes derive from it."""

    id: int
    kind: LaneKind
    name: str


class Lane(Struct, frozen=True, gc=False):
    """The limits of a lane, what is used of them, and when to look at it again."""

    id: int
    tenant: Tenant
    kind: LaneKind
    name: str
    parallelism: int | None = None
    rate: int | None = None
    period_ms: Millis = SECOND
    pinned_parallelism: bool = False
    pinned_rate: bool = False
    paused: bool = False
    active: int = 0  # Open attempts.
    waiting: int = 0  # Messages in state WAITING, due or not.
    period_start: Millis = 0
    rate_count: int = 0  # Starts in the period, counted without a rate too.
    next_due: Millis | None = None
    earliest: int | None = None  # Smooth: the microsecond from which the next start may be; None: not smooth.


class Closed(Struct, frozen=True):
    """Why the head of a lane may not start, and until when if that is known."""

    reason: str  # "flow_paused", "flow_parallelism", "flow_rate", "host_cap", "host_paused"
    until: Millis | None = None


@lru_cache(maxsize=4096)
def lane_name(tenant: Tenant, kind: LaneKind, name: str) -> LaneName:
    """Name a lane. The id is 63 bits of a hash; ``broker.ledger`` sees to two that share one."""
    text = f"{tenant}\0{kind.value}\0{name}".encode()
    return LaneName(int.from_bytes(blake2b(text, digest_size=8).digest()) >> 1, kind, name)


@lru_cache(maxsize=4096)
def host_of(url: str) -> str:
    """Return ``host:port`` of a destination that was accepted before."""
    destination = parse_destination(url)
    return f"{destination.host}:{destination.port}"


def lane_of(tenant: Tenant, request: Request) -> LaneName:
    """Return the lane of a message: its flow-control key if it has one, else its destination's host."""
    return lane_to(tenant, request.url, request.options.flow)


def lane_to(tenant: Tenant, url: str, flow: Flow | None) -> LaneName:
    """Return the lane of a message to a URL, with a flow-control key or without."""
    if flow is not None:
        return lane_name(tenant, LaneKind.FLOW, flow.key)
    return lane_name(tenant, LaneKind.HOST, host_of(url))


def limited(lane: Lane, flow: Flow, now: Millis) -> Lane:
    """Apply the limits a message brings: the last configuration wins, except for what is pinned."""
    parallelism = lane.parallelism if lane.pinned_parallelism else flow.parallelism
    rate, period = (lane.rate, lane.period_ms) if lane.pinned_rate else (flow.rate, flow.period_ms)
    smooth = lane.earliest is not None if lane.pinned_rate else flow.smooth
    if (parallelism, rate, period, smooth) == (lane.parallelism, lane.rate, lane.period_ms, lane.earliest is not None):
        return lane
    changed = smoothed(replace(lane, parallelism=parallelism, rate=rate, period_ms=period), now, smooth=smooth)
    return poke(replace(changed, next_due=None), now)


def righted(lane: Lane, now: Millis) -> Lane:
    """Let a period that a clock ahead has opened begin now, with all that started in it; it is looked at again.

    When it really began is not known. No limit is passed by this, for that was not later than now. A smooth lane has a
    second such time: it may have become smooth by that clock without a start.
    """
    ahead, earliest = lane.period_start - now, lane.earliest
    # Why not 0: transactions that wait for each other may bring their times in another order.
    if ahead > AHEAD:
        lane = replace(lane, period_start=now, next_due=None)
        earliest = None if earliest is None else earliest - ahead * _MICROS
    elif earliest is None or earliest <= (now + lane.period_ms + AHEAD) * _MICROS:
        return lane
    if earliest is not None and earliest > (now + lane.period_ms + AHEAD) * _MICROS:
        earliest = now * _MICROS + _step(lane)
    return poke(replace(lane, earliest=earliest, next_due=None), now)


def smoothed(lane: Lane, now: Millis, *, smooth: bool) -> Lane:
    """Make a lane smooth or not; the starts of a period that is running have taken their shares."""
    if not smooth or lane.rate is None:
        return lane if lane.earliest is None else replace(lane, earliest=None)
    if lane.earliest is not None:
        return lane
    taken = min(lane.rate_count, lane.rate) if now < lane.period_start + lane.period_ms else 0
    return replace(lane, earliest=now * _MICROS + taken * _step(lane))


def tokens(lane: Lane, now: Millis) -> int:
    """Return how many starts the rate leaves at ``now``."""
    if lane.rate is None:
        return UNBOUNDED
    over = now >= lane.period_start + lane.period_ms
    left_over = lane.rate if over else max(0, lane.rate - lane.rate_count)
    if lane.earliest is None:
        return left_over
    inside = (now + 1) * _MICROS - max(lane.earliest, now * _MICROS)  # Microseconds left of this millisecond.
    return min(left_over, max(0, -(-inside // _step(lane))))


def room(lane: Lane, now: Millis) -> int:
    """Return how many attempts of this lane may start at ``now``."""
    if lane.paused:
        return 0
    free = UNBOUNDED if lane.parallelism is None else max(0, lane.parallelism - lane.active)
    return min(tokens(lane, now), free)


def started(lane: Lane, now: Millis, count: int) -> Lane:
    """Count ``count`` attempts that start now; the caller has asked ``room``."""
    earliest = lane.earliest
    if earliest is not None:
        earliest = max(earliest, now * _MICROS) + count * _step(lane)
    if now >= lane.period_start + lane.period_ms:
        return replace(lane, active=lane.active + count, period_start=now, rate_count=count, earliest=earliest)
    return replace(lane, active=lane.active + count, rate_count=lane.rate_count + count, earliest=earliest)


def released(lane: Lane, now: Millis) -> Lane:
    """Count an attempt that has ended; whoever waits may look again."""
    assert lane.active > 0, f"lane {lane.name}: released more than started"
    return poke(replace(lane, active=lane.active - 1), now)


def joined(lane: Lane, due: Millis) -> Lane:
    """Count a message that now waits in the lane, due at ``due``."""
    return poke(replace(lane, waiting=lane.waiting + 1), due)


def left(lane: Lane, count: int) -> Lane:
    """Count messages that no longer wait, because they started or were cancelled."""
    assert lane.waiting >= count, f"lane {lane.name}: more left than waited"
    waiting = lane.waiting - count
    return replace(lane, waiting=waiting, next_due=None if waiting == 0 else lane.next_due)


def poke(lane: Lane, at: Millis) -> Lane:
    """Look at the lane no later than ``at``, or than the end of its period if no token is left."""
    if _blocked(lane):
        return lane if lane.next_due is None else replace(lane, next_due=None)
    due = _not_before_token(lane, at)
    if lane.next_due is not None and lane.next_due <= due:
        return lane
    return replace(lane, next_due=due)


def earlier(a: Millis | None, b: Millis | None) -> Millis | None:
    """Return the earlier of two instants, either of which may be never."""
    return b if a is None else a if b is None else min(a, b)


def woken(lane: Lane, head_due: Millis | None, now: Millis) -> Lane:
    """Set the next look exactly, the head having been read: None says that nobody waits.

    A lane that has had its share of this claim stands behind those that are due longer.
    """
    if head_due is None or _blocked(lane):
        return lane if lane.next_due is None else replace(lane, next_due=None)
    due = _not_before_token(lane, max(head_due, now))
    return lane if lane.next_due == due else replace(lane, next_due=due)


def turn_at(lane: Lane, now: Millis, place: int) -> Millis:
    """Return when the rate lets a message start at the earliest, ``place - 1`` others having started before it."""
    if lane.rate is None:
        return now
    if lane.earliest is not None:
        first = max(lane.earliest, _not_before_token(lane, now) * _MICROS)
        return (first + (place - 1) * _step(lane)) // _MICROS
    later = place - tokens(lane, now)
    if later <= 0:
        return now
    over = now >= lane.period_start + lane.period_ms
    return (now if over else lane.period_start) + (1 + (later - 1) // lane.rate) * lane.period_ms


def closed(lane: Lane, now: Millis, place: int = 1) -> Closed | None:
    """Say why no attempt of this lane may start at ``now``; None if one may.

    Args:
        lane: As it stands.
        now: When it is looked at.
        place: In line, of the message that asks; where time opens the lane, it says for how long it waits.
    """
    flow = lane.kind is LaneKind.FLOW
    if lane.paused:
        return Closed("flow_paused" if flow else "host_paused")
    if lane.parallelism is not None and lane.active >= lane.parallelism:
        return Closed("flow_parallelism" if flow else "host_cap")
    if tokens(lane, now) == 0:
        return Closed("flow_rate", turn_at(lane, now, place))
    return None


def shares(rooms: list[int], capacity: int) -> list[int]:
    """Split ``capacity`` over lanes by turns: one each, then another, never more than a lane has room for.

    Args:
        rooms: What each lane could start, those due longest first.
        capacity: What this node can start in all.

    Returns:
        How many each may start; the sum is at most ``capacity``.
    """
    granted = [0] * len(rooms)
    open_lanes = [i for i, most in enumerate(rooms) if most > 0]
    while capacity > 0 and open_lanes:
        turn = max(1, capacity // len(open_lanes))
        for i in open_lanes:
            more = min(turn, rooms[i] - granted[i], capacity)
            granted[i] += more
            capacity -= more
        open_lanes = [i for i in open_lanes if granted[i] < rooms[i]]
    return granted


def by_turns(due: Iterable[Lane], tenants: Sequence[Tenant], limit: int) -> list[Lane]:
    """Return the first ``limit`` of these lanes, tenants in turn, each tenant's longest due first."""
    ordered = sorted(due, key=lambda lane: (lane.next_due or 0, lane.id))
    queues = [[lane for lane in ordered if lane.tenant == tenant] for tenant in tenants]
    turns = max((len(queue) for queue in queues), default=0)
    return [queue[i] for i in range(turns) for queue in queues if i < len(queue)][:limit]


def fair_shares(rooms: list[tuple[Tenant, int]], capacity: int, free: Mapping[Tenant, int]) -> list[int]:
    """Split ``capacity`` over tenants by turns, and what each gets over its lanes by turns.

    Args:
        rooms: Of each lane its tenant and what it could start; those to be served first stand first.
        capacity: What this node can start in all.
        free: What a tenant may start at most; one that is not named has no bound of its own.

    Returns:
        How many each lane may start.
    """
    lanes: dict[Tenant, list[int]] = {}
    for tenant, room in rooms:
        lanes.setdefault(tenant, []).append(room)
    wanted = [min(sum(mine), free.get(tenant, UNBOUNDED)) for tenant, mine in lanes.items()]
    granted = dict(zip(lanes, shares(wanted, capacity), strict=True))
    split = {tenant: iter(shares(mine, granted[tenant])) for tenant, mine in lanes.items()}  # Each is used up once.
    return [next(split[tenant]) for tenant, _ in rooms]


def _blocked(lane: Lane) -> bool:
    """Whether only another event than the passing of time can let the head start."""
    full = lane.parallelism is not None and lane.active >= lane.parallelism
    return lane.paused or lane.waiting == 0 or full


def _not_before_token(lane: Lane, at: Millis) -> Millis:
    """Return ``at``, or the first instant with a token if that is later."""
    if lane.rate is None:
        return at
    if lane.rate_count >= lane.rate:
        at = max(at, lane.period_start + lane.period_ms)
    return at if lane.earliest is None else max(at, lane.earliest // _MICROS)


def _step(lane: Lane) -> int:
    """Return the share of a start in a smooth lane's period, in microseconds."""
    assert lane.rate is not None, f"lane {lane.name}: smooth without a rate"
    return -(-lane.period_ms * _MICROS // lane.rate)
