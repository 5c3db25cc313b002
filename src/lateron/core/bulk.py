"""Bulk jobs: the same change to many messages or dead letters, piece by piece, as fast as was asked for.

A job is a row. It walks from the newest candidate to the oldest, and its place is stored in the transaction of each
piece, together with what that piece changed. So whatever ends the process, the next start goes on behind the last
piece: nothing is left out, nothing done twice. What is published after the job was made is newer than its ``bound``
and is not touched, a message that the job itself has made included.

Rules for this file:

* It decides and never acts. Time comes in as ``now``.
* A pace counts what is changed, not what is looked at. A job that comes late makes up for a second of it, not more.
* A job at rest has no overrides any more: an edited body is somebody's data, and nobody needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lateron.core.ids import ID_BYTES
from lateron.core.values import SECOND, Filter, Millis, Overrides, Tenant

PAGE: Final = 500  # Candidates of one piece.
OPEN_MOST: Final = 100  # Jobs of one user that are under way.
BURST_US: Final = 100_000  # A paced job does the work of so much time at once.
LAST_TIME: Final[Millis] = 1 << 62
AGAIN: Millis = SECOND  # How long an erase waits for attempts that are open.

_PREFIX: Final = "job_"
_HEX: Final = frozenset("0123456789abcdef")


class JobKind(IntEnum):
    """What is done to each."""

    CANCEL = 0
    RETRY_NOW = 1  # A message that waits for its time is due at once.
    RESCHEDULE = 2  # It waits until another time.
    DELETE = 3  # A dead letter is deleted.
    REPLAY = 4  # A dead letter is published anew.
    ERASE = 5  # All that is kept of a message, and of what was made from it, is deleted.


class JobState(IntEnum):
    """Where a job is in its life; from DONE on it rests."""

    RUNNING = 0
    DONE = 1
    CANCELED = 2
    FAILED = 3  # A quota or a fault of ours kept it from going on, see the log; what was done stays done.


WORDS: Final[Mapping[str, JobKind]] = {
    "cancel": JobKind.CANCEL,
    "retryNow": JobKind.RETRY_NOW,
    "reschedule": JobKind.RESCHEDULE,
    "deleteDeadLetters": JobKind.DELETE,
    "replayDeadLetters": JobKind.REPLAY,
    "erase": JobKind.ERASE,
}
OF_LETTERS: Final = frozenset((JobKind.DELETE, JobKind.REPLAY))


class Order(Struct, frozen=True):
    """What is asked for."""

    kind: JobKind
    filter: Filter = Filter()
    shown: dict[str, list[str]] = {}  # The filter as it was given.
    limit: int | None = None  # So many are changed at most.
    pace_us: int = 0  # Microseconds from one to the next; 0: as fast as it goes.
    overrides: Overrides = Overrides()  # REPLAY only.
    options: tuple[str, ...] = ()  # Names of those that were given.
    due: Millis | None = None  # RESCHEDULE only: when they are due.


class Place(Struct, frozen=True):
    """How far a job has come: what is older is still to do. ``time`` is that of a dead letter."""

    id: bytes
    time: Millis = 0


class Job(Struct, frozen=True):
    """A job as it is stored."""

    id: bytes
    tenant: Tenant
    order: Order
    by: str  # Name of the token, or of the user, who asked for it.
    created: Millis
    bound: bytes  # Of what is not older than this id, nothing is meant.
    place: Place | None  # None: it has looked at everything.
    due: Millis  # When its next piece may begin.
    total: int | None = None  # How many were meant when it was made; None: not counted.
    state: JobState = JobState.RUNNING
    done: int = 0
    failed: int = 0  # They could not be changed, and stay as they are.
    left: int = 0  # ERASE: put off in this pass, because an attempt was open.
    ended: Millis | None = None


class Piece(Struct, frozen=True):
    """What one piece did."""

    done: int
    place: Place | None  # Where to go on; None: it has looked at everything.
    failed: int = 0
    left: int = 0


def made(
    job_id: bytes, tenant: Tenant, order: Order, by: str, total: int | None, now: Millis, newest: bytes | None
) -> Job:
    """Return a new job, which means what is there now.

    Args:
        job_id: Newer than every message, unless a clock was set back before the last start.
        tenant: Whose.
        order: What to do.
        by: Who asks.
        total: How many that are, if they were counted.
        now: The time; dead letters may be of a later one, as above.
        newest: Id of the newest message.
    """
    bound = job_id if newest is None else max(job_id, newest + b"\0")
    return Job(job_id, tenant, order, by, now, bound, beginning(bound), due=now, total=total)


def beginning(bound: bytes) -> Place:
    """Return where a walk over all that is older than an id begins."""
    return Place(bound, LAST_TIME)


def spread(order: Order, span: Millis, total: int) -> Order:
    """Return an order whose changes are spread evenly over a span."""
    return replace(order, pace_us=span * 1000 // max(1, total))


def most(job: Job) -> int:
    """Return how many the next piece may change."""
    pace = job.order.pace_us
    size = PAGE if pace == 0 else min(PAGE, max(1, BURST_US // pace))
    return size if job.order.limit is None else min(size, job.order.limit - job.done)


def is_due(job: Job, now: Millis) -> bool:
    """Whether the next piece may begin; also if its time was reckoned by a clock that has been set back since."""
    longest = max(AGAIN, most(job) * job.order.pace_us // 1000)
    return not now < job.due <= now + longest


def advanced(job: Job, piece: Piece, now: Millis) -> Job:
    """Return a job that has done a piece."""
    assert job.state is JobState.RUNNING, f"{job_text(job.id)}: at rest"
    done, left = job.done + piece.done, job.left + piece.left
    # A clock that was set back gives no rush.
    began = min(now, max(job.due, now - SECOND))
    due = max(now, began + piece.done * job.order.pace_us // 1000)
    gone_on = replace(job, done=done, failed=job.failed + piece.failed, place=piece.place, left=left, due=due)
    if job.order.limit is not None and done >= job.order.limit:
        gone_on = replace(gone_on, place=None, left=0)
    if gone_on.place is not None:
        return gone_on
    if gone_on.left:
        return replace(gone_on, place=beginning(job.bound), left=0, due=now + AGAIN)
    # What was erased must leave the log of the store too before that may be said.
    return gone_on if job.order.kind is JobKind.ERASE else rested(gone_on, JobState.DONE, now)


def rested(job: Job, state: JobState, now: Millis) -> Job:
    """Return a job that has ended; one that rests already stays as it is."""
    if job.state is not JobState.RUNNING:
        return job
    return replace(job, state=state, ended=now, order=replace(job.order, overrides=Overrides()))


def ends(job: Job) -> Millis | None:
    """Return when a paced job will have ended; None if that is not known."""
    if job.state is not JobState.RUNNING:
        return job.ended
    if job.total is None or not job.order.pace_us:
        return None
    return job.due + max(0, job.total - job.done) * job.order.pace_us // 1000


def job_text(job_id: bytes) -> str:
    """Return the id as clients see it."""
    return _PREFIX + job_id.hex()


def parse_job_id(text: str) -> bytes:
    """Return the id that ``job_text`` wrote.

    Raises:
        ValueError: No job has that name.
    """
    name = text.removeprefix(_PREFIX)
    if name == text or len(name) != 2 * ID_BYTES or not _HEX.issuperset(name):
        raise ValueError("not a job id")
    return bytes.fromhex(name)
