"""A port that serves ``/metrics`` and nothing else, for a Prometheus that has no token.

It listens on loopback unless told otherwise. Whoever reaches it sees how much is delivered, and of nobody what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lateron.api.call import ALWAYS, Receive, Scope, Send, target_of
from lateron.api.figures import MEDIA_TYPE

_PLAIN: Final = tuple((name, value) for name, value in dict(ALWAYS).items() if name != b"content-type")


class Scrape:
    """The application of that port; hand it to an ASGI server."""

    def __init__(self, figures: Callable[[], bytes]) -> None:
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive  # A body is of no use here.
        path, _ = target_of(scope)
        good = path == b"/metrics" and scope["method"] in {"GET", "HEAD"}
        body = self._figures() if good else b"only GET /metrics is here\n"
        headers = (
            *_PLAIN,
            (b"content-type", MEDIA_TYPE),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        )
        await send({"type": "http.response.start", "status": 200 if good else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
