"""The life of a message, as a pure state machine.

A message is created once, attempted until it is delivered or its retries are spent, and then rests
for ever in one of three final states::

    QUEUED <--> WAITING <--> ACTIVE --> DELIVERED
                   |           |------> FAILED   (a dead letter exists)
                   '-----------'------> CANCELED

A message of a queue is QUEUED until it gets a slot; while its queue is paused, one that has a slot is HELD
instead of WAITING. Both can be cancelled as well.

Each function below takes a message, what happened to it, and the time, and returns a
``Transition``: the message as it must now be stored, the lines of its log, the record of the attempt,
and the messages to create. The caller stores all of it in one transaction or none. So the log can
never disagree with the state, and every attempt has its callback exactly once.

Rules for this file:

* It decides and never acts: no I/O, no clock, no randomness. Time comes in as ``now``.
* Every change of ``state`` in the whole program is made here, and obeys ``MOVES``.
* A failed delivery is a value (``Outcome``), not an exception.
* ``version`` rises with every start and every end of an attempt. It is the fence: a result decided on
  an older version is stale.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from lateron.core.callback import callback_publication
from lateron.core.flow import lane_of
from lateron.core.retry import next_delay, retryable
from lateron.core.values import (
    SECOND,
    Attempt,
    Claimed,
    DeadLetter,
    Event,
    EventKind,
    Fence,
    Headers,
    Kind,
    Message,
    MessageId,
    Millis,
    Options,
    Outcome,
    Overrides,
    Publication,
    Request,
    State,
    Transition,
)

MOVES: Final = {
    State.QUEUED: {State.WAITING, State.CANCELED},
    State.WAITING: {State.ACTIVE, State.CANCELED, State.HELD, State.QUEUED},
    State.HELD: {State.WAITING, State.CANCELED, State.QUEUED},
    State.ACTIVE: {State.WAITING, State.DELIVERED, State.FAILED, State.CANCELED},
    State.DELIVERED: set[State](),
    State.FAILED: set[State](),
    State.CANCELED: set[State](),
}

DATED: Final = frozenset({EventKind.CREATED, EventKind.RETRY})  # Lines that say from when a message waits.
PARKED: Final = frozenset({State.WAITING, State.QUEUED, State.HELD})  # Open, and no attempt is.
LOST: Final = Outcome(error="node-lost", detail="node lost before an answer")
BROKEN_OFF: Final = Outcome(error="node-lost", detail="broken off, because the server was shut down")
UNSENT: Final = Outcome(error="node-lost", detail="given back before it was sent")
LOCAL_PAUSE: Final = SECOND  # How long a message waits when this machine had no descriptor for it.
FREE_MOST: Final = 3600  # Attempts not charged, whatever ended them, after which a shortage of this machine is charged.


def create(publication: Publication, message_id: MessageId, now: Millis) -> tuple[Message, Request, Event]:
    """Make the message that a publication asks for, waiting for its time.

    Returns:
        The message, the request to store with it (it now names its due time), and its CREATED line.
    """
    due = publication.not_before if publication.not_before is not None else now + publication.delay_ms
    due = max(due, now)
    options = _dated(publication.request.options, due)
    message = Message(
        id=message_id,
        tenant=publication.tenant,
        lane=lane_of(publication.tenant, publication.request).id,
        state=State.WAITING,
        due=due,
        created=now,
        retries=options.retry.retries,
        kind=publication.kind,
        parent=publication.parent,
        queue=publication.queue,
        root=publication.root,
    )
    event = Event(publication.tenant, now, message_id, 0, EventKind.CREATED)
    return message, replace(publication.request, options=options), event


_last: tuple[Options, Millis, Options] = (Options(), 0, Options(not_before=0))


def _dated(options: Options, due: Millis) -> Options:
    """Return options that name their due time: the same object for messages of one head and one moment."""
    global _last  # noqa: PLW0603 # What it holds decides nothing; making it anew costs a message a microsecond.
    before, time, dated = _last
    if before is not options or time != due:
        dated = replace(options, not_before=due)
        _last = (options, due, dated)
    return dated


def place(message: Message, queue: int, seq: int) -> Message:
    """Give a new message its place in a queue, for good."""
    assert message.seq is None, f"{message.id.hex()}: placed twice"
    return _move(message, State.QUEUED, queue=queue, seq=seq)


def arm(message: Message, now: Millis) -> Message:
    """Give the head of a queue a slot: from here on it waits for its time and its lane.

    It comes to its lane now, behind those that have been waiting there.
    """
    return _move(message, State.WAITING, slot=True, due=max(message.due, now))


def unarm(message: Message) -> Message:
    """Take the slot of a message that has not started: its queue has fewer of them now."""
    assert message.attempt == 0, f"{message.id.hex()}: has started"
    return _move(message, State.QUEUED, slot=False)


def hold(message: Message) -> Message:
    """Keep a message that has a slot from starting: its queue is paused."""
    assert message.slot, f"{message.id.hex()}: holds no slot"
    return _move(message, State.HELD)


def let_go(message: Message, now: Millis) -> Message:
    """Let a held message go on: its queue is no longer paused."""
    return _move(message, State.WAITING, due=max(message.due, now))


def start(message: Message, node: int, now: Millis) -> Transition:
    """Open an attempt: from here on the node may call the destination, once."""
    assert message.cancel is None, f"{message.id.hex()}: start after cancel"
    moved = _move(
        message, State.ACTIVE, node=node, started=now, attempt=message.attempt + 1, version=message.version + 1
    )
    return Transition(moved, events=(_event(moved, EventKind.ACTIVE, now),))


def settle(message: Message, request: Request, outcome: Outcome, now: Millis) -> Transition:
    """End an attempt: delivered, tried again later, given up, or cancelled.

    Args:
        message: As it is stored now, ACTIVE; the caller has compared the fence.
        request: What was sent.
        outcome: How the attempt ended.
        now: When it ended, not before ``message.started`` unless the clock was stepped.
    """
    if message.rescues:
        message = replace(message, rescues=0)  # Whatever the process died of, it was not this message.
    if delivered(outcome):
        moved = _rest(message, State.DELIVERED, now)
        return _ended(message, moved, outcome, now, (EventKind.DELIVERED,), _callback(message, request, outcome, now))
    if message.cancel is not None:
        moved = _rest(message, State.CANCELED, now)
        return _ended(message, moved, outcome, now, (EventKind.ERROR, EventKind.CANCELED))
    if outcome.error == "local" and message.attempt - 1 - message.retried < FREE_MOST:
        return _again(message, outcome, now + LOCAL_PAUSE, now)
    if message.retried < message.retries and retryable(outcome):
        delay = next_delay(request.options.retry, message.retried, outcome, now)
        charged = replace(message, retried=message.retried + 1)
        created = _callback(message, request, outcome, now)
        return _again(charged, outcome, now + delay.ms, now, delay.note, created, message.retried)
    return _give_up(message, request, outcome, now)


def lose(message: Message, now: Millis) -> Transition:
    """End an attempt whose node died before an answer was known: again at once, no retry charged."""
    if message.cancel is not None:
        moved = _rest(message, State.CANCELED, now)
        return _ended(message, moved, LOST, now, (EventKind.ERROR, EventKind.CANCELED))
    return _again(replace(message, rescues=message.rescues + 1), LOST, now, now)


def convict(message: Message, request: Request, now: Millis) -> Transition:
    """End the attempt of which its node has died, as ``core.apart`` judges; no retry could end better."""
    deaths = message.rescues + 1
    detail = f"the process died {deaths} times while it was being delivered, the last time with nothing else open"
    guilty = replace(message, rescues=deaths)
    return _give_up(guilty, request, Outcome(error="crash-loop", detail=detail), now)


def break_off(message: Message, now: Millis) -> Transition:
    """End an attempt whose node ends in order and waits no longer: again at once, no retry and no death charged."""
    if message.cancel is not None:
        moved = _rest(message, State.CANCELED, now)
        return _ended(message, moved, BROKEN_OFF, now, (EventKind.ERROR, EventKind.CANCELED))
    return _again(message, BROKEN_OFF, now, now)


def give_back(message: Message, now: Millis) -> Transition:
    """Return a claimed message whose attempt never began to send: again at once, no retry charged.

    The attempt stays on record, so that the log of a message can be read from its attempts.
    """
    if message.cancel is not None:
        moved = _rest(message, State.CANCELED, now)
        return _ended(message, moved, UNSENT, now, (EventKind.ERROR, EventKind.CANCELED))
    return _again(message, UNSENT, now, now)


def cancel(message: Message, now: Millis) -> Transition | None:
    """Cancel: at once while it waits, as soon as the open attempt has ended otherwise.

    Returns:
        None if there is nothing to change: it rests, or cancellation was asked for before.
    """
    if message.state is State.ACTIVE and message.cancel is None:
        asked = replace(message, cancel=now)
        return Transition(asked, events=(_event(asked, EventKind.CANCEL_REQUESTED, now),))
    if message.state not in PARKED:
        return None
    moved = _rest(message, State.CANCELED, now)
    # These lines belong to the attempt that will not be made, and so stand behind those of the last one.
    unmade = replace(moved, attempt=moved.attempt + 1)
    requested = _event(unmade, EventKind.CANCEL_REQUESTED, now)
    return Transition(moved, events=(requested, _event(unmade, EventKind.CANCELED, now)))


def redate(message: Message, due: Millis) -> Message | None:
    """Let a message that waits for its time wait until another one.

    Returns:
        None if there is nothing to change: it waits for something else, or until just then.
    """
    if message.state is not State.WAITING or message.due == due:
        return None
    return replace(message, due=due)


def hurry(message: Message, now: Millis) -> Message | None:
    """Let a message that waits for its time be due now; its lane, its queue and every pause hold as before.

    Returns:
        None if there is nothing to change.
    """
    return redate(message, now) if message.due > now else None


def righted(message: Message, line: Event, now: Millis) -> Message | None:
    """Let a message whose time a clock that was ahead has reckoned wait from now, as long as it was to wait then.

    Args:
        message: As it is stored.
        line: Of its log, by that clock.
        now: By the clock that is right.

    Returns:
        None if it does not wait for the time of this line. So it is of what was given another time since, and of a
        message that was to come later than at once: its publisher may have named that very time.
    """
    if message.state not in PARKED or message.attempt != line.attempt or line.kind not in DATED:
        return None
    if message.due != (line.next_due if line.kind is EventKind.RETRY else line.time):
        return None
    return replace(message, due=_anew(line, now))


def rearmed(message: Message, line: Event, now: Millis) -> Message | None:
    """Let a message be due as if it were given its slot, or let go with it, now and not by a clock that was ahead.

    Args:
        message: As it is stored; it is due at a time that this clock has shown.
        line: That says from when it was to wait; that of its creation says as ``next_due`` when it was due then.
        now: By the clock that is right.

    Returns:
        None if there is nothing to change.
    """
    if message.state not in PARKED or not message.slot:
        return None
    due = _anew(line, now)
    return replace(message, due=due) if due < message.due else None


def _anew(line: Event, now: Millis) -> Millis:
    """Return when a message is due that waits by a line of its log; by one of a time to come, from now."""
    due = line.time if line.next_due is None else line.next_due
    if line.time > now and (line.kind is EventKind.RETRY or due == line.time):
        return now + due - line.time
    return max(due, now)


def redrive(message: Message, request: Request, overrides: Overrides) -> Publication:
    """Return the publication that tries a dead letter again: the original request, with overrides."""
    old = request.options
    retry = old.retry if overrides.retry is None else overrides.retry
    options = replace(
        old,
        not_before=None,
        retry=replace(retry, retries=old.retry.retries if overrides.retries is None else overrides.retries),
        timeout_ms=old.timeout_ms if overrides.timeout_ms is None else overrides.timeout_ms,
        flow=old.flow if overrides.flow is None else overrides.flow,
        labels=old.labels if overrides.labels is None else overrides.labels,
        callback=old.callback if overrides.callback is None else overrides.callback,
        failure_callback=old.failure_callback if overrides.failure_callback is None else overrides.failure_callback,
        job=overrides.job,
    )
    changed = replace(
        request,
        options=options,
        method=request.method if overrides.method is None else overrides.method,
        headers=_merged(request.headers, overrides.headers or ()),
        body=request.body if overrides.body is None else overrides.body,
    )
    return Publication(
        tenant=message.tenant,
        request=changed,
        delay_ms=overrides.delay_ms or 0,
        not_before=overrides.not_before,
        kind=Kind.REDRIVE if message.kind is Kind.PUBLISH else message.kind,
        parent=message.id,
    )


def _merged(old: Headers, new: Headers) -> Headers:
    """Return headers of which the new ones replace those of their names."""
    names = {name.lower() for name, _ in new}
    return (*(header for header in old if header[0].lower() not in names), *new)


def delivered(outcome: Outcome) -> bool:
    """Whether the destination took the message: a complete answer with a status of 200 to 299."""
    return outcome.error is None and outcome.status is not None and 200 <= outcome.status <= 299


def unmoved(claimed: Claimed, fence: Fence | None) -> Message | None:
    """Return a message whose attempt has ended as it is stored now.

    Of an ACTIVE message nothing changes but the wish to cancel it, so it need not be read again.

    Args:
        claimed: As the attempt was begun.
        fence: What is stored; None if the message is gone.

    Returns:
        None if the result came too late: the message is gone, or has moved since it was claimed.
    """
    message = claimed.message
    if fence is None or fence.state is not State.ACTIVE:
        return None
    if fence.version != message.version or fence.node != message.node:
        return None
    return message if fence.cancel is None else replace(message, cancel=fence.cancel)


def _move(message: Message, state: State, **changes: object) -> Message:
    assert state in MOVES[message.state], f"{message.id.hex()}: {message.state.name} -> {state.name}"
    return replace(message, state=state, **changes)


def _rest(message: Message, state: State, now: Millis) -> Message:
    return _move(message, state, node=None, started=None, ended=now, version=message.version + 1)


def _give_up(message: Message, request: Request, outcome: Outcome, now: Millis) -> Transition:
    """End the last attempt: the message is in the user's hands."""
    moved = _rest(message, State.FAILED, now)
    letter = DeadLetter(message.tenant, now, message.id, message.attempt)
    created = _callback(message, request, outcome, now) + _failure_callback(message, request, outcome, letter, now)
    transition = _ended(message, moved, outcome, now, (EventKind.ERROR, EventKind.FAILED), created)
    return replace(transition, dead_letter=letter)


def _again(
    message: Message,
    outcome: Outcome,
    due: Millis,
    now: Millis,
    note: str | None = None,
    created: tuple[Publication, ...] = (),
    retried: int | None = None,
) -> Transition:
    moved = _move(message, State.WAITING, node=None, started=None, due=due, version=message.version + 1)
    attempt = _attempt(message, outcome, now, message.retried if retried is None else retried)
    events = (_event(moved, EventKind.ERROR, now), _event(moved, EventKind.RETRY, now, due, note))
    return Transition(moved, events, attempt, created=created)


def _ended(
    message: Message,
    moved: Message,
    outcome: Outcome,
    now: Millis,
    kinds: tuple[EventKind, ...],
    created: tuple[Publication, ...] = (),
) -> Transition:
    events = tuple([_event(moved, kind, now) for kind in kinds])
    return Transition(moved, events, _attempt(message, outcome, now, message.retried), created=created)


def _attempt(message: Message, outcome: Outcome, now: Millis, retried: int) -> Attempt:
    assert message.node is not None
    assert message.started is not None
    return Attempt(message.id, message.attempt, message.node, message.started, now, outcome, retried)


def _event(
    message: Message, kind: EventKind, now: Millis, next_due: Millis | None = None, note: str | None = None
) -> Event:
    return Event(message.tenant, now, message.id, message.attempt, kind, next_due, note)


def _callback(message: Message, request: Request, outcome: Outcome, now: Millis) -> tuple[Publication, ...]:
    options = request.options.callback
    if options is None:
        return ()
    return (callback_publication(message, request, outcome, options, kind=Kind.CALLBACK, now=now),)


def _failure_callback(
    message: Message, request: Request, outcome: Outcome, letter: DeadLetter, now: Millis
) -> tuple[Publication, ...]:
    options = request.options.failure_callback
    if options is None:
        return ()
    kind = Kind.FAILURE_CALLBACK
    return (callback_publication(message, request, outcome, options, kind=kind, now=now, dead_letter=letter),)
