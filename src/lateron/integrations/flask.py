"""A receiver for Flask, as a decorator below the route.

::

receiver = Receiver()

@app.post("/hook")
@receiver
def hook(delivery: Delivery) -> str: ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Request, Response, current_app, jsonify, request

from lateron.integrations.receiving import DoNotRetry, Unverified, Verifier, asked_of_wsgi, refusal


class Receiver(Verifier[Request]):
    """Verifies requests; its arguments are those of ``Verifier``: keys, URL, tolerance."""

    def __call__(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Make a view of a function, blocking or asynchronous, whose first argument is what was delivered."""

        @wraps(view)
        def verified(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 # As the view it wraps.
            environ = request.environ
            path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
            asked = asked_of_wsgi(environ, request.scheme, request.host, path)
            try:
                delivery = self.verify(request, list(request.headers.items()), request.get_data(), asked)
                return current_app.ensure_sync(view)(delivery, *args, **kwargs)
            except (Unverified, DoNotRetry) as error:
                return _answer(error)

        return verified


def _answer(error: Unverified | DoNotRetry) -> Response:
    status, headers, body = refusal(error)
    response = jsonify(body)
    response.status_code = status
    response.headers.update(headers)
    return response
