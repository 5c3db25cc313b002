"""Publishing: the request is read, guarded, stored, and only then answered.

These two routes are the hot ones. They touch no framework: the raw path is the destination, the headers
are the configuration, and one call of the writer makes them durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from lateron.api.call import Answer, Call, at_most, json_answer
from lateron.api.ports import Ports
from lateron.core.batch import ItemError
from lateron.core.destination import Destination, parse_destination
from lateron.core.quota import BATCH_BYTES, Quota
from lateron.core.render import error_answer, publish_answer, publish_answer_json
from lateron.core.values import CallbackOptions, Publication
from lateron.core.wire import PublishContext, incoming_hops, parse_batch, parse_publish
from lateron.errors import LateronError

CREATED: Final = 201
DUPLICATE: Final = 202
_BIG: Final = 1 << 20  # Bytes of a batch from which on it is read beside the event loop.


async def publish(ports: Ports, call: Call) -> Answer:
    """Store one message: ``POST /v2/publish/{destination}``."""
    body = await call.body(body_check(ports.quota))
    return await store(ports, parse_publish(call.rest, call.headers, body, context(ports, call)))


async def store(ports: Ports, publication: Publication) -> Answer:
    """Guard and store one message, and answer with its id."""
    guard(ports.check_destination, publication)
    (accepted,) = await ports.writer.publish((publication,))
    if accepted.duplicate:
        return json_answer(publish_answer(accepted.id, duplicate=True), DUPLICATE)
    return Answer(CREATED, publish_answer_json(accepted.id))


async def batch(ports: Ports, call: Call) -> Answer:
    """Store many messages in one transaction: ``POST /v2/batch``. A bad item is answered in its place."""
    body = await call.body(at_most(BATCH_BYTES))
    reading = context(ports, call, incoming_hops(call.headers))
    items = parse_batch(body, reading) if len(body) < _BIG else await asyncio.to_thread(parse_batch, body, reading)
    items = [_guarded(ports.check_destination, index, item) for index, item in enumerate(items)]
    good = [item for item in items if isinstance(item, Publication)]
    accepted = iter(await ports.writer.publish(good) if good else ())
    answers: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, ItemError):
            answers.append(error_answer(item.status, item.error))
        else:
            stored = next(accepted)
            answers.append(publish_answer(stored.id, duplicate=stored.duplicate))
    return json_answer(answers, CREATED if good else 200)


def context(ports: Ports, call: Call, hops: int = 0) -> PublishContext:
    """Return what a publish of this call is read against."""
    return PublishContext(
        tenant=call.who.tenant,
        now=ports.clock.wall(),
        quota=ports.quota,
        caller_ip=call.caller_ip,
        dedup_window_ms=ports.dedup_window_ms,
        hops=hops,
    )


def guard(check: Callable[[Destination], None], publication: Publication) -> None:
    """Refuse a message that could never be delivered because of an address in its own or a callback's URL.

    Raises:
        InvalidDestination: It has one.
    """
    check(parse_destination(publication.request.url))
    options = publication.request.options
    if options.callback is not None or options.failure_callback is not None:
        guard_callbacks(check, (options.callback, options.failure_callback))


def guard_callbacks(check: Callable[[Destination], None], callbacks: Sequence[CallbackOptions | None]) -> None:
    """Do as ``guard`` for callbacks, and for theirs."""
    for callback in callbacks:
        if callback is not None:
            check(parse_destination(callback.url))
            if callback.failure_callback is not None:
                check(parse_destination(callback.failure_callback.url))


def _guarded(
    check: Callable[[Destination], None], index: int, item: Publication | ItemError
) -> Publication | ItemError:
    if isinstance(item, ItemError):
        return item
    try:
        guard(check, item)
    except LateronError as error:
        return ItemError(error.status, f"message {index}: {error}")
    return item


def body_check(quota: Quota) -> Callable[[int], None]:
    """Return the check of a message's body: above the quota 412, above what we would ever read 413."""
    too_large = at_most(max(BATCH_BYTES, quota.body))

    def check(size: int) -> None:
        too_large(size)
        quota.check("body", size, quota.body)

    return check
