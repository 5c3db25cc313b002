"""A receiver for Django, as a decorator of a view, blocking or asynchronous.

::

    receiver = Receiver()

    @receiver
    def hook(request: HttpRequest, delivery: Delivery) -> HttpResponse: ...

Keys that are not given come from the settings of the same names, and then from the environment. The view is exempt
from the protection against forged forms: its signature is a better one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from lateron.integrations.receiving import (
    CURRENT,
    NEXT,
    Delivery,
    DoNotRetry,
    Unverified,
    Verifier,
    asked_of_asgi,
    asked_of_wsgi,
    refusal,
)


class Receiver(Verifier[HttpRequest]):
    """Verifies requests; its arguments are those of ``Verifier``: keys, URL, tolerance."""

    def keys(self) -> Sequence[str]:
        """Return the keys of the arguments, else of the settings, else of the environment."""
        configured = [key for key in (getattr(settings, CURRENT, ""), getattr(settings, NEXT, "")) if key]
        return configured if configured and not self._current else super().keys()

    def __call__(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Make a view of a function that takes the request, what was delivered, and then what the URL captures."""

        @wraps(view)
        def blocking(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 # As the view it wraps.
            try:
                return view(request, self.delivery(request), *args, **kwargs)
            except (Unverified, DoNotRetry) as error:
                return _answer(error)

        @wraps(view)
        async def asynchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 # Likewise.
            try:
                return await view(request, self.delivery(request), *args, **kwargs)
            except (Unverified, DoNotRetry) as error:
                return _answer(error)

        verified: Callable[..., Any] = csrf_exempt(asynchronous if iscoroutinefunction(view) else blocking)
        return verified

    def delivery(self, request: HttpRequest) -> Delivery:
        """Return what was delivered.

        Raises:
            Unverified: The request is not to be believed; to be answered 401.
            NoKeys: No signing key is configured.
        """
        scheme, host = request.scheme or "http", request.get_host()
        scope = getattr(request, "scope", None)
        if scope is None:
            asked = asked_of_wsgi(request.META, scheme, host, request.path.encode())
        else:
            asked = asked_of_asgi(scope, scheme, host)
        return self.verify(request, list(request.headers.items()), request.body, asked)


def _answer(error: Unverified | DoNotRetry) -> HttpResponse:
    status, headers, body = refusal(error)
    return JsonResponse(body, status=status, headers=headers)
