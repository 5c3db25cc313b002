"""Callbacks: how a message reports, in a message of its own, what became of an attempt.

The report is composed here, in the transaction that stores the attempt, from the attempt's own outcome; so
it says what happened, whatever happens next. It is then an ordinary message with its own retries.

It carries the source's body and headers unchanged, because its receiver is the publisher's. In lists it
would show them to anybody who may read lists; therefore, if the publisher redacted anything of the source,
the whole body of the report is redacted too.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.json import Encoder

from lateron.core.headers import grouped
from lateron.core.ids import dlq_text, message_text
from lateron.core.redact import both
from lateron.core.values import (
    CallbackOptions,
    DeadLetter,
    Headers,
    Kind,
    Message,
    Millis,
    Options,
    Outcome,
    Publication,
    Redaction,
    Request,
)

_encode = Encoder().encode
_JSON: Final = ("Content-Type", "application/json")
_WHOLE_BODY: Final = Redaction(body=True)


class _Report(Struct, frozen=True, rename="camel"):
    """The JSON of a callback's body, in the order of the documentation; the last three are ours."""

    status: int  # 0 where there was no answer.
    header: dict[str, list[str]]
    body: str  # Base64.
    retried: int
    max_retries: int
    source_message_id: str
    url: str
    method: str
    source_header: dict[str, list[str]]
    source_body: str  # Base64.
    not_before: Millis
    created_at: Millis
    topic_name: str | UnsetType = UNSET
    endpoint_name: str | UnsetType = UNSET
    caller_ip: str | UnsetType = field(default=UNSET, name="callerIP")  # As in every object of the wire.
    schedule_id: str | UnsetType = UNSET
    queue_name: str | UnsetType = UNSET
    dlq_id: str | UnsetType = UNSET
    error: str | UnsetType = UNSET  # Why there was no complete answer.
    truncated: bool | UnsetType = UNSET  # The answer's body was longer than what is kept of it.


def callback_publication(
    message: Message,
    request: Request,
    outcome: Outcome,
    options: CallbackOptions,
    *,
    kind: Kind,
    now: Millis,
    dead_letter: DeadLetter | None = None,
) -> Publication:
    """Return the message that reports on an attempt of another one.

    Args:
        message: The source; its ``retried`` is that of the attempt.
        request: Of the source.
        outcome: How the attempt ended.
        options: What the publisher wants of this callback.
        kind: CALLBACK or FAILURE_CALLBACK.
        now: When the attempt ended.
        dead_letter: The one that the failure left, for a failure callback.
    """
    assert kind in {Kind.CALLBACK, Kind.FAILURE_CALLBACK}
    source = request.options
    headers = (*_without_type(options.headers), _JSON)
    report = Request(
        url=options.url,
        method=options.method,
        headers=headers,
        body=_encode(_report(message, request, outcome, dead_letter)),
        options=Options(
            retry=source.retry if options.retry is None else options.retry,
            timeout_ms=options.timeout_ms,
            failure_callback=options.failure_callback,
            flow=options.flow,
            labels=options.labels,
            redact=options.redact if source.redact is None else both(options.redact, _WHOLE_BODY),
            caller_ip=source.caller_ip,
            hops=source.hops,
            trace=source.trace,
        ),
    )
    not_before = options.not_before
    return Publication(
        tenant=message.tenant,
        request=report,
        delay_ms=options.delay_ms,
        not_before=None if not_before is None else max(not_before, now),
        kind=kind,
        parent=message.id,
        queue=message.queue,
        root=None if message.queue is None else message.root or message.id,
    )


def _without_type(headers: Headers) -> Headers:
    return tuple(pair for pair in headers if pair[0].lower() != "content-type")


def _report(message: Message, request: Request, outcome: Outcome, dead_letter: DeadLetter | None) -> _Report:
    due = request.options.not_before
    return _Report(
        status=outcome.status or 0,
        header=grouped(outcome.headers),
        body=_base64(outcome.body),
        retried=message.retried,
        max_retries=message.retries,
        source_message_id=message_text(message.id),
        url=request.url,
        method=request.method,
        source_header=grouped(request.headers),
        source_body=_base64(request.body or b""),
        not_before=message.created if due is None else due,
        created_at=message.created,
        topic_name=request.options.topic or UNSET,
        endpoint_name=request.options.endpoint or UNSET,
        caller_ip=UNSET if request.options.caller_ip is None else request.options.caller_ip,
        schedule_id=UNSET if request.options.schedule is None else request.options.schedule,
        queue_name=UNSET if request.options.queue_name is None else request.options.queue_name,
        dlq_id=UNSET if dead_letter is None else dlq_text(dead_letter.time, dead_letter.message),
        error=UNSET if outcome.error is None else f"{outcome.error}: {outcome.detail}",
        truncated=True if outcome.truncated else UNSET,
    )


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")
