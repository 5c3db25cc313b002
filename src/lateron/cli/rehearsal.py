"""When a schedule would tick, without making it: the request is read here by the code that the server has.

What depends on a server is not judged: its quota, the addresses it may call, whether a URL group exists.
"""

from __future__ import annotations

from collections.abc import Mapping

from lateron.cli.exits import USAGE, Failed
from lateron.core import recurring
from lateron.core.publish import PublishContext
from lateron.core.quota import QUOTAS
from lateron.core.values import Millis
from lateron.errors import LateronError
from lateron.runtime import SystemClock


def ticks(destination: str, headers: Mapping[str, str], body: bytes, count: int) -> list[Millis]:
    """Return the first instants at which such a schedule would tick if it were made now, at most ``count``.

    Raises:
        Failed: A server would refuse it.
    """
    now = SystemClock().wall()
    context = PublishContext(tenant=1, now=now, quota=QUOTAS["none"])
    try:
        raw = [(name.lower().encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()]
        new = recurring.parse_schedule(destination.encode("utf-8", "surrogateescape"), raw, body, context)
        begun = recurring.begin(new, new.id or f"{recurring.PREFIX}rehearsal", b"", now)
    except LateronError as error:
        raise Failed(f"{error}", USAGE) from None
    return recurring.preview(begun, now, count)
