"""A receiver for Starlette, as a decorator of an endpoint.

::

receiver = Receiver()

@receiver.endpoint
async def hook(request: Request, delivery: Delivery) -> Response: ...

app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lateron.integrations.receiving import (
    Delivery,
    DoNotRetry,
    Unverified,
    Verifier,
    asked_of_asgi,
    refusal,
)

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Receiver(Verifier[Request]):
    """Verifies requests; its arguments are those of ``Verifier``: keys, URL, tolerance."""

    async def delivery(self, request: Request) -> Delivery:
        """Return what was delivered.

        Raises:
            Unverified: The request is not to be believed; to be answered 401.
            NoKeys: No signing key is configured.
        """
        body = await request.body()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
        host = request.headers.get("host", "")
        return self.verify(request, headers, body, asked_of_asgi(request.scope, request.url.scheme, host))

    def endpoint(self, function: Callable[[Request, Delivery], Any]) -> Endpoint:
        """Make an endpoint of a function, asynchronous or blocking, that takes the request and what was delivered."""

        @wraps(function)
        async def verified(request: Request) -> Response:
            try:
                delivery = await self.delivery(request)
                if inspect.iscoroutinefunction(function):
                    response = await function(request, delivery)
                else:
                    response = await run_in_threadpool(function, request, delivery)
            except (Unverified, DoNotRetry) as error:
                status, headers, body = refusal(error)
                return JSONResponse(body, status, headers)
            assert isinstance(response, Response)
            return response

        return verified
