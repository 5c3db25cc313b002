"""Publishing: the request is read, guarded, stored, and only then answered.

These two routes are the hot ones. They touch no framework: the raw path is the destination, the headers
are the configuration, and one call of the writer makes them durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from lateron.api.call import Answer, Call, at_most, json_answer
from lateron.api.ports import Ports
from lateron.broker.views import Accepted, Answered, FannedOut
from lateron.core.batch import ItemError
from lateron.core.publish import GroupPublication
from lateron.core.quota import BATCH_BYTES, Quota
from lateron.core.reach import Check, guard
from lateron.core.render import error_answer, publish_answer, publish_answer_json
from lateron.core.values import Publication
from lateron.core.wire import PublishContext, incoming_hops, parse_batch, parse_publish
from lateron.errors import LateronError

CREATED: Final = 201
DUPLICATE: Final = 202
_BIG: Final = 1 << 20  # Bytes of a batch from which on it is read beside the event loop.


async def publish(ports: Ports, call: Call) -> Answer:
    """Store one message: ``POST /v2/publish/{destination}``."""
    body = await call.body(_body_check(ports.quota))
    publication = parse_publish(call.rest, call.headers, body, context(ports, call))
    if isinstance(publication, Publication):
        guard(ports.check_destination, publication)
    (accepted,) = await ports.writer.publish_any((publication,))
    return _answer(accepted)


def _answer(accepted: Answered) -> Answer:
    """Return the answer to a publish: an object, or for a URL group an array of them.

    Raises:
        LateronError: The transaction found that the publish cannot be: there is no such group, for example.
    """
    if isinstance(accepted, LateronError):
        raise accepted
    if isinstance(accepted, FannedOut):
        new = not all(one.duplicate for _, one in accepted.endpoints)
        return json_answer(_item_answer(accepted), CREATED if new else DUPLICATE)
    if accepted.duplicate:
        return json_answer(publish_answer(accepted.id, duplicate=True), DUPLICATE)
    return Answer(CREATED, publish_answer_json(accepted.id))


async def batch(ports: Ports, call: Call) -> Answer:
    """Store many messages in one transaction: ``POST /v2/batch``. A bad item is answered in its place."""
    body = await call.body(at_most(BATCH_BYTES))
    reading = context(ports, call, incoming_hops(call.headers))
    items = parse_batch(body, reading) if len(body) < _BIG else await asyncio.to_thread(parse_batch, body, reading)
    items = [_guarded(ports.check_destination, index, item) for index, item in enumerate(items)]
    good = [item for item in items if not isinstance(item, ItemError)]
    accepted = iter(await ports.writer.publish_any(good) if good else ())
    answers: list[Any] = []
    stored = 0
    for index, item in enumerate(items):
        answer = item if isinstance(item, ItemError) else next(accepted)
        if isinstance(answer, LateronError):
            answer = ItemError(answer.status, f"message {index}: {answer}")
        stored += not isinstance(answer, ItemError)
        answers.append(_item_answer(answer))
    return json_answer(answers, CREATED if stored else 200)


def _item_answer(answer: Accepted | FannedOut | ItemError) -> object:
    """Return what one item of a batch is answered; for a URL group, an array."""
    if isinstance(answer, ItemError):
        return error_answer(answer.status, answer.error)
    if isinstance(answer, FannedOut):
        return [publish_answer(one.id, duplicate=one.duplicate, url=url) for url, one in answer.endpoints]
    return publish_answer(answer.id, duplicate=answer.duplicate)


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


def _guarded(
    check: Check, index: int, item: Publication | GroupPublication | ItemError
) -> Publication | GroupPublication | ItemError:
    if not isinstance(item, Publication):  # The endpoints of a group are judged when they are known.
        return item
    try:
        guard(check, item)
    except LateronError as error:
        return ItemError(error.status, f"message {index}: {error}")
    return item


def _body_check(quota: Quota) -> Callable[[int], None]:
    """Return the check of a message's body: above the quota 412, above what we would ever read 413."""
    too_large = at_most(max(BATCH_BYTES, quota.body))

    def check(size: int) -> None:
        too_large(size)
        quota.check("body", size, quota.body)

    return check
