"""Each test of this directory that asks for ``run`` runs on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")


class Run(Protocol):
    def __call__(self, main: Coroutine[Any, Any, T], /) -> T: ...


def _loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    import uvloop

    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=_loops()[request.param]) as runner:
        yield runner.run
