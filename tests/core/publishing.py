"""Short ways to publish in tests of the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import pytest

from lateron.core.quota import QUOTAS, Quota
from lateron.core.recurring import NewSchedule
from lateron.core.values import Message, MessageId, Publication, Request, State
from lateron.core.wire import GroupPublication, ItemError, PublishContext, parse_batch, parse_publish
from lateron.errors import RequestError

NOW = 1_700_000_000_000
URL = "https://example.com"
ID = MessageId(bytes(range(16)))
Item: TypeAlias = Publication | GroupPublication | NewSchedule | ItemError
ID_TEXT = "msg_000102030405060708090a0b0c0d0e0f"


def context(quota: Quota | str = "none", hops: int = 0) -> PublishContext:
    plan = QUOTAS[quota] if isinstance(quota, str) else quota
    return PublishContext(tenant=1, now=NOW, quota=plan, caller_ip="192.0.2.7", hops=hops)


def publish(
    headers: Mapping[str, str] | None = None,
    target: str = URL,
    body: bytes = b"",
    quota: Quota | str = "none",
) -> Publication:
    """Publish as a client does: the SDK's headers, the destination behind the prefix."""
    pairs = [(name.lower().encode("latin-1"), value.encode()) for name, value in (headers or {}).items()]
    made = parse_publish(target.encode(), pairs, body, context(quota))
    assert isinstance(made, Publication)
    return made


def refused(headers: Mapping[str, str], quota: str = "none") -> str:
    """Return the text of the refusal that these headers get."""
    with pytest.raises(RequestError) as caught:
        publish(headers, quota=quota)
    return str(caught.value)


def batch(*items: object, quota: str = "none") -> list[Item]:
    return parse_batch(msgspec.json.encode(items), context(quota))


def good(item: Item) -> Publication:
    assert isinstance(item, Publication), item
    return item


def bad(item: Item) -> ItemError:
    assert isinstance(item, ItemError), item
    return item


def message(request: Request, **changes: Any) -> Message:
    made = Message(ID, 1, 7, State.WAITING, NOW, NOW, request.options.retry.retries)
    return msgspec.structs.replace(made, **changes)
