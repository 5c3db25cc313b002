"""How a server would show an object once it is made, or why it would refuse it: read by the code that the server has.

What only the server knows is not judged; ``NOT_JUDGED`` says what that is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from lateron.cli.estate import Post, Thing, message_post, pin_query, schedule_post
from lateron.core import flow_control, recurring
from lateron.core.group_wire import check_group_name, group_object, parse_defaults, parse_endpoints
from lateron.core.groups import with_endpoints, with_headers
from lateron.core.headers import has_control
from lateron.core.options import Given
from lateron.core.publish import PublishContext, parse_publish
from lateron.core.queue import MOST, check_queue_name
from lateron.core.quota import ANYTHING
from lateron.core.reach import anywhere
from lateron.core.render import schedule_object
from lateron.core.values import Millis
from lateron.errors import InvalidValue, RequestError

NOT_JUDGED: Final = "not checked: the quota of the server, where it may deliver to, and whether URL groups are there"
_TENANT: Final = 1  # Anybody; nothing is stored.


def shown(thing: Thing, now: Millis) -> Thing:
    """Return an object as a server would show it if it were made now.

    Args:
        thing: Of the types that the API shows; see ``Thing.check``.
        now: What may not have passed is judged by it; 0 judges nothing by the time.

    Raises:
        LateronError: A server would refuse it.
    """
    judge: Mapping[str, Callable[[Mapping[str, Any], Millis], Mapping[str, Any]]] = {
        "group": _group,
        "queue": _queue,
        "pin": _pin,
        "schedule": _schedule,
        "message": _message,
    }
    return Thing(thing.kind, judge[thing.kind](thing.content, now))


def _group(group: Mapping[str, Any], now: Millis) -> Mapping[str, Any]:
    endpoints = parse_endpoints(json.dumps({"endpoints": group["endpoints"]}).encode(), anywhere)
    made = with_endpoints(None, _TENANT, check_group_name(group["name"]), endpoints, ANYTHING, now)
    if group.get("headers"):
        body = json.dumps({"headers": group["headers"]}).encode()
        made = with_headers(made, parse_defaults(body, _context(now), anywhere), now)
    return group_object(made)


def _queue(queue: Mapping[str, Any], _now: Millis) -> Mapping[str, Any]:
    check_queue_name("name", queue["name"])
    if not 1 <= queue.get("parallelism", 1) <= MOST:
        raise InvalidValue("parallelism", queue["parallelism"], f"a whole number from 1 to {MOST}")
    return queue


def _pin(pin: Mapping[str, Any], _now: Millis) -> Mapping[str, Any]:
    flow_control.flow_lane(_TENANT, pin["flowControlKey"])
    query = pin_query(pin)
    if query:
        flow_control.parse_pin(parse_qsl(query), ANYTHING)
    return pin


def _schedule(schedule: Mapping[str, Any], now: Millis) -> Mapping[str, Any]:
    named = schedule["scheduleId"]
    if named != named.strip(" \t"):
        raise InvalidValue("Upstash-Schedule-Id", named, "a name without blanks around it")  # HTTP loses them.
    post = schedule_post(schedule)
    new = recurring.parse_schedule(post.destination.encode(), _raw(post), post.body, _context(now))
    assert new.id is not None, "its request names it"
    return schedule_object(recurring.begin(new, new.id, b"", now, paused=schedule.get("isPaused", False)), {}, None)


def _message(message: Mapping[str, Any], now: Millis) -> Mapping[str, Any]:
    post = message_post(message)
    queue = message.get("queueName")
    named = Given("queueName", check_queue_name("queueName", queue)) if queue else None
    parse_publish(post.destination.encode(), _raw(post), post.body, _context(now), named)
    return message


def _context(now: Millis) -> PublishContext:
    return PublishContext(tenant=_TENANT, now=now, quota=ANYTHING)


def _raw(post: Post) -> list[tuple[bytes, bytes]]:
    """Return headers as they arrive.

    Raises:
        RequestError: One of them cannot be sent.
    """
    for name, value in post.headers.items():
        if has_control(value):
            raise RequestError(f"{name}: expected no control characters")
    return [(name.encode(), value.strip(" \t").encode()) for name, value in post.headers.items()]
