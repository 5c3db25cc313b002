"""From the values of the core to the objects that clients read.

Every function returns the ``dict`` of a JSON object; the caller encodes it. What is not set is left out,
because clients compare, and redaction is applied in here, so that no list, page or export can forget it.
Attempts' answers are shown as they came: what a publisher redacts is the request.

Where the documentation and the SDKs differ in a name, both are sent (wire contract, section 19). Fields
that QStash does not have are ours and are named in ``docs/differences.md``.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from lateron.core.headers import grouped, shown_text
from lateron.core.ids import dlq_text, message_text
from lateron.core.message import PARKED
from lateron.core.queue import PLACES, Queue, is_line
from lateron.core.recurring import Schedule, forwarded
from lateron.core.redact import both, hides_body, redact_headers, redacted
from lateron.core.values import (
    SECOND,
    Attempt,
    CallbackOptions,
    DeadLetter,
    Event,
    EventKind,
    Flow,
    Headers,
    Kind,
    Message,
    MessageId,
    Millis,
    Outcome,
    Redaction,
    Request,
    State,
)

Json: TypeAlias = dict[str, Any]

LIST_BODY: Final = 64 * 1024  # Bytes; longer bodies are left out of lists of events.

_KINDS: Final = {
    Kind.CALLBACK: "callback",
    Kind.FAILURE_CALLBACK: "failureCallback",
    Kind.REDRIVE: "redrive",
}
_TICKED: Final = {State.DELIVERED: "SUCCESS", State.FAILED: "FAIL", State.CANCELED: "FAIL"}
_WITH_ANSWER: Final = frozenset((EventKind.DELIVERED, EventKind.ERROR, EventKind.FAILED))


def publish_answer(message_id: MessageId, *, duplicate: bool = False, url: str | None = None) -> Json:
    """Return the answer to one accepted message; ``url`` for one of a URL group."""
    answer: Json = {"messageId": message_text(message_id)}
    if url is not None:
        answer["url"] = url
    if duplicate:
        answer["deduplicated"] = True
    return answer


def publish_answer_json(message_id: MessageId) -> bytes:
    """Return the answer to one new message as JSON: what nearly every publish is answered with."""
    return b'{"messageId":"msg_%b"}' % message_id.hex().encode("ascii")


def queue_object(queue: Queue) -> Json:
    """Return a queue as ``GET /v2/queues/{name}`` shows it."""
    return {
        "name": queue.name,
        "parallelism": queue.parallelism,
        "createdAt": queue.created,
        "updatedAt": queue.updated,
        "lag": queue.lag,
        "paused": queue.paused,
    }


def error_answer(status: int, error: str) -> Json:
    """Return what stands for an item of a batch that was refused; ``status`` is what it alone would have got."""
    return {"error": error, "status": status}


def message_object(
    message: Message,
    request: Request,
    *,
    waiting_for: str | None = None,
    waiting_until: Millis | None = None,
    held_by: str | None = None,
    place: int | None = None,
) -> Json:
    """Return a message as ``GET /v2/messages/{id}`` shows it.

    Args:
        message: As stored.
        request: As published.
        waiting_for: Why it has not gone out yet, if it waits.
        waiting_until: Until when it waits, if that is known.
        held_by: The flow key, host, queue or message that holds it.
        place: In line in its queue, key or host, from 1; above ``PLACES`` it says no more than that.
    """
    shown = _common(message, request)
    shown["createdAt"] = message.created
    _put_body(shown, "body", request.body, request.options.redact)
    shown["state"] = _state(message)
    if message.state in {State.WAITING, State.HELD}:
        shown["nextDeliveryTime"] = message.due
    _put(shown, "retried", message.retried or None)
    _put(shown, "waitingFor", waiting_for)
    _put(shown, "waitingUntil", waiting_until)
    _put(shown, "heldBy", held_by)
    if place is not None:
        shown["placeInLine"] = min(place, PLACES)
        if place > PLACES:
            shown["placeInLineIsAtLeast"] = True
    return shown


def event_object(
    event: Event, message: Message, request: Request, attempt: Attempt | None = None, *, whole: bool = False
) -> Json:
    """Return a line of the log as ``GET /v2/events`` shows it.

    Args:
        event: The line.
        message: The message it is about.
        request: Of that message.
        attempt: The one that the line ends, if it ends one.
        whole: Show bodies of any length: for the page of one message, not for a list.
    """
    limit = None if whole else LIST_BODY
    shown: Json = {"time": event.time, "state": event.kind.name}
    shown.update(_common(message, request))
    shown.pop("callbackHeader", None)
    shown.pop("failureCallbackHeader", None)
    options = request.options
    for name, callback in (("callback", options.callback), ("failureCallback", options.failure_callback)):
        if callback is not None and callback.headers:
            shown[f"{name}Headers"] = _callback_headers(callback, options.redact)
    _put(shown, "retryDelayExpr", options.retry.expression)
    body = request.body
    if body and (limit is None or len(body) <= limit):
        shown["body"] = redacted(body) if hides_body(options.redact) else _base64(body)
    _put(shown, "nextDeliveryTime", event.next_due)
    _put(shown, "note", event.note)
    _put(shown, "attempt", event.attempt or None)
    if attempt is not None and event.kind in _WITH_ANSWER:
        _put_answer(shown, attempt.outcome, limit)
        shown["attemptMs"] = round(attempt.outcome.phases.total / 1000, 1)
        if "responseHeader" in shown:
            shown["responseHeaders"] = shown["responseHeader"]
    return shown


def dead_letter_object(dead: DeadLetter, message: Message, request: Request, attempt: Attempt) -> Json:
    """Return a dead letter as ``GET /v2/dlq`` shows it; ``attempt`` is the one that made it fail."""
    shown = _common(message, request)
    shown["createdAt"] = message.created
    _put_body(shown, "body", request.body, request.options.redact)
    shown["dlqId"] = dlq_text(dead.time, dead.message)
    shown["responseStatus"] = 0
    _put_answer(shown, attempt.outcome, None)
    return shown


def attempt_object(attempt: Attempt) -> Json:
    """Return an attempt with its answer and how long each part of it took, in microseconds."""
    outcome, phases = attempt.outcome, attempt.outcome.phases
    shown: Json = {
        "attempt": attempt.number,
        "retried": attempt.retried,
        "startedAt": attempt.started,
        "endedAt": attempt.ended,
        "phases": {
            name: value
            for name, value in (
                ("dns", phases.dns),
                ("connect", phases.connect),
                ("tls", phases.tls),
                ("firstByte", phases.first_byte),
                ("body", phases.body),
                ("total", phases.total),
            )
            if value is not None
        },
        "reusedConnection": outcome.reused,
    }
    _put(shown, "errorClass", outcome.error)
    _put(shown, "peer", outcome.peer)
    _put_answer(shown, outcome, None)
    return shown


def story_object(shown: Json, request: Request, attempts: Sequence[Attempt], events: Sequence[Event]) -> Json:
    """Return everything that is kept of one message: its object, every attempt, and its log.

    Args:
        shown: What ``message_object`` returned for it.
        request: Of the message.
        attempts: In order.
        events: In order.
    """
    lines = []
    for event in events:
        line: Json = {"time": event.time, "state": event.kind.name}
        _put(line, "attempt", event.attempt or None)
        _put(line, "nextDeliveryTime", event.next_due)
        _put(line, "note", event.note)
        lines.append(line)
    story = {**shown, "attempts": [attempt_object(attempt) for attempt in attempts], "events": lines}
    _put(story, "retryDelays", list(request.options.retry.delays_ms) or None)
    return story


def schedule_object(schedule: Schedule, states: Mapping[MessageId, State], redact: Redaction | None) -> Json:
    """Return a schedule as ``GET /v2/schedules/{id}`` shows it.

    Args:
        schedule: As stored, with its request.
        states: Of the messages of its last run, as far as they are still kept.
        redact: What of it is hidden; the defaults of its group may hide more than it does itself.
    """
    request, rules, options = schedule.request, schedule.rules, schedule.request.options
    shown: Json = {
        "scheduleId": schedule.id,
        "cron": schedule.cron,
        "createdAt": schedule.created,
        "destination": request.url,
        "method": request.method,
        "retries": options.retry.retries,
        "isPaused": schedule.paused,
    }
    if headers := forwarded(schedule):
        shown["header"] = grouped(redact_headers(headers, redact))
    _put_body(shown, "body", request.body, redact)
    for name, callback in (("callback", options.callback), ("failureCallback", options.failure_callback)):
        if callback is not None:
            shown[name] = callback.url
            if callback.headers:
                shown[f"{name}Header"] = _callback_headers(callback, redact)
    _put(shown, "delay", _seconds(rules.delay_ms) if rules.delay_ms else None)
    _put(shown, "timeout", None if options.timeout_ms is None else _seconds(options.timeout_ms))
    for name in ("callerIP", "callerIp"):  # The SDKs' name, and the documentation's.
        _put(shown, name, options.caller_ip)
    _put(shown, "queueName", options.queue_name)
    _put(shown, "retryDelayExpression", options.retry.expression)
    if options.labels:
        shown["label"] = options.labels[0]
        shown["labels"] = list(options.labels)
    if options.flow is not None:
        _put_flow(shown, options.flow)
    _put(shown, "nextScheduleTime", schedule.due)
    if schedule.last is not None:
        shown["lastScheduleTime"] = schedule.last.time
        shown["lastScheduleStates"] = {message_text(i): _TICKED.get(s, "IN_PROGRESS") for i, s in states.items()}
        _put(shown, "error", schedule.last.error)
        _put(shown, "failedRuns", schedule.last.failed or None)
    _put(shown, "missed", rules.missed if rules.missed != "latest" else None)
    _put(shown, "overlap", rules.overlap if rules.overlap != "allow" else None)
    _put(shown, "start", rules.start)
    _put(shown, "end", rules.end)
    _put(shown, "mostRuns", rules.most_runs)
    _put(shown, "jitter", _seconds(rules.jitter_ms) if rules.jitter_ms else None)
    _put(shown, "runs", schedule.runs or None)
    _put(shown, "missedRuns", schedule.missed or None)
    _put(shown, "skippedRuns", schedule.skipped or None)
    return shown


def _seconds(span: Millis) -> int | float:
    return span // SECOND if span % SECOND == 0 else span / SECOND


def _common(message: Message, request: Request) -> Json:
    """Return what messages, events and dead letters share."""
    options = request.options
    shown: Json = {
        "messageId": message_text(message.id),
        "url": request.url,
        "method": request.method,
        "maxRetries": message.retries,
        "notBefore": message.created if options.not_before is None else options.not_before,
    }
    if request.headers:
        shown["header"] = grouped(redact_headers(request.headers, options.redact))
    for name, callback in (("callback", options.callback), ("failureCallback", options.failure_callback)):
        if callback is not None:
            shown[name] = callback.url
            if callback.headers:
                shown[f"{name}Header"] = _callback_headers(callback, options.redact)
    _put(shown, "scheduleId", options.schedule)
    _put(shown, "jobId", options.job)
    _put(shown, "topicName", options.topic)
    _put(shown, "endpointName", options.endpoint)
    _put(shown, "queueName", options.queue_name)
    _put(shown, "orderKey", None if is_line(options.order_key) else options.order_key)
    _put(shown, "callerIP", options.caller_ip)
    _put(shown, "retryDelayExpression", options.retry.expression)
    _put(shown, "timeout", options.timeout_ms)
    if options.labels:
        shown["label"] = options.labels[0]
        shown["labels"] = list(options.labels)
    if options.flow is not None:
        _put_flow(shown, options.flow)
    _put(shown, "kind", _KINDS.get(message.kind))
    if message.parent is not None:
        shown["parentMessageId"] = message_text(message.parent)
    return shown


def _state(message: Message) -> str:
    """Return the word of the log that describes where a message is now."""
    if message.state is State.ACTIVE and message.cancel is not None:
        return EventKind.CANCEL_REQUESTED.name
    if message.state in PARKED:
        return EventKind.RETRY.name if message.attempt else EventKind.CREATED.name
    return message.state.name


def _callback_headers(callback: CallbackOptions, redaction: Redaction | None) -> dict[str, list[str]]:
    headers: Headers = redact_headers(callback.headers, both(redaction, callback.redact))
    return grouped(headers)


def _put(shown: Json, name: str, value: object) -> None:
    if value is not None:
        shown[name] = value


def _put_flow(shown: Json, flow: Flow) -> None:
    shown["flowControlKey"] = flow.key
    _put(shown, "parallelism", flow.parallelism)
    _put(shown, "rate", flow.rate)
    shown["period"] = flow.period_ms // SECOND


def _put_body(shown: Json, name: str, body: bytes | None, redaction: Redaction | None = None) -> None:
    """Show a body as text, or under ``<name>Base64`` where it is none; nothing if there is none."""
    if not body:
        return
    if hides_body(redaction):
        shown[name] = redacted(body)
        return
    try:
        shown[name] = body.decode("utf-8")
    except UnicodeDecodeError:
        shown[f"{name}Base64"] = _base64(body)


def _put_answer(shown: Json, outcome: Outcome, limit: int | None) -> None:
    """Show what an attempt got: status, headers, body, and why it failed if it did."""
    _put(shown, "responseStatus", outcome.status)
    if outcome.headers:
        shown["responseHeader"] = grouped(outcome.headers)
    if limit is None or len(outcome.body) <= limit:
        _put_body(shown, "responseBody", outcome.body)
    if outcome.truncated:
        shown["responseTruncated"] = True
    error = _error(outcome)
    _put(shown, "error", error)


def _error(outcome: Outcome) -> str | None:
    """Return why an attempt failed, in words; None if it did not."""
    if outcome.error is not None:
        return shown_text(outcome.detail) or outcome.error
    if outcome.status is not None and 200 <= outcome.status <= 299:
        return None
    return outcome.detail or f"status {outcome.status}"


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")
