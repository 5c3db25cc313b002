"""From the requests of clients to the values of the core.

What a client sends is read here once, completely, before anything is decided or stored: after this room
there are only values. Each part has its own module:

* ``publish``   one message: destination, headers, query, body; the overrides of a retry of dead letters
* ``batch``     many messages in one JSON body
* ``options``   the configuration itself: every ``Upstash-...`` and ``Lateron-...`` option
* ``recurring`` a schedule: a publish with ``Upstash-Cron``
* ``filters``   which messages, events or dead letters a list or a bulk change means
* ``headers``   names and values of headers, what is forwarded, and what a delivery adds

The way back, from values to the objects that clients read, is ``core.render``.
"""

from __future__ import annotations

from lateron.core.batch import ItemError, parse_batch
from lateron.core.filters import Selection, matches, parse_filter, parse_query, parse_selection
from lateron.core.headers import HOPS, delivery_headers
from lateron.core.options import WorkflowNotSupported
from lateron.core.publish import (
    CronGiven,
    GroupPublication,
    PublishContext,
    check_destination,
    incoming_hops,
    parse_overrides,
    parse_publish,
    split_target,
)
from lateron.core.recurring import parse_schedule

__all__ = [
    "HOPS",
    "CronGiven",
    "GroupPublication",
    "ItemError",
    "PublishContext",
    "Selection",
    "WorkflowNotSupported",
    "check_destination",
    "delivery_headers",
    "incoming_hops",
    "matches",
    "parse_batch",
    "parse_filter",
    "parse_overrides",
    "parse_publish",
    "parse_query",
    "parse_schedule",
    "parse_selection",
    "split_target",
]
