"""Which URLs a message would reach, judged before it is stored.

The judge is a function: the core does not know addresses. It is a service to the publisher, who learns
early; the same judge decides again at the socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from lateron.core.destination import Destination, parse_destination
from lateron.core.values import CallbackOptions, Request

Check: TypeAlias = Callable[[Destination], None]  # Raises InvalidDestination for what must not be called.


def guard(check: Check, request: Request) -> None:
    """Refuse a message that could never be delivered because of an address in its own or a callback's URL.

    Raises:
        InvalidDestination: It has one.
    """
    check(parse_destination(request.url))
    options = request.options
    if options.callback is not None or options.failure_callback is not None:
        guard_callbacks(check, (options.callback, options.failure_callback))


def guard_callbacks(check: Check, callbacks: Sequence[CallbackOptions | None]) -> None:
    """Do as ``guard`` for callbacks, and for theirs."""
    for callback in callbacks:
        if callback is not None:
            check(parse_destination(callback.url))
            if callback.failure_callback is not None:
                check(parse_destination(callback.failure_callback.url))


def anywhere(_: Destination) -> None:
    """Judge every destination good."""
