"""A receiver for FastAPI, as a dependency.

::

    receiver = Receiver()

    @app.post("/hook")
    async def hook(delivery: Annotated[Delivery, Depends(receiver)]) -> None: ...

The body is read by the receiver, byte for byte; the route takes it from the delivery.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import HTTPException, Request

from lateron.integrations.receiving import Delivery, DoNotRetry, Unverified, refusal
from lateron.integrations.starlette import Receiver as StarletteReceiver


class Receiver(StarletteReceiver):
    """Verifies requests; its arguments are those of ``Verifier``: keys, URL, tolerance."""

    async def __call__(self, request: Request) -> AsyncIterator[Delivery]:
        """Give the route what was delivered, and answer for it if it is not to be tried again."""
        try:
            yield await self.delivery(request)
        except (Unverified, DoNotRetry) as error:
            status, headers, body = refusal(error)
            raise HTTPException(status, body["error"], headers) from None
