"""An hour of updates, a source that is down, and a restart."""

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from rates import app, rates

from lateron.testing import Answer, Lateron

pytestmark = pytest.mark.lateron(start="2030-01-01T00:01")


@pytest.fixture
def start(lateron: Lateron, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    monkeypatch.setenv("SOURCE_URL", lateron.catcher.url("source"))
    lateron.catcher.answer("source", Answer(200, {"eur": 1.1}))
    rates.clear()
    rates["updates"] = 0

    def make(address: str) -> FastAPI:
        monkeypatch.setenv("APP_URL", address)  # It tells the schedule where to call, when it starts.
        return app

    return lambda: lateron.serve_made(make)


def test_the_data_is_fetched_every_five_minutes(lateron: Lateron, start: Callable[[], str]) -> None:
    start()

    lateron.clock.advance("1h")

    assert (rates["updates"], rates["latest"], rates["by"]) == (12, {"eur": 1.1}, "rates")


def test_a_source_that_is_down_is_asked_again_soon(lateron: Lateron, start: Callable[[], str]) -> None:
    start()
    lateron.catcher.answer("source", 503, Answer(200, {"eur": 1.2}))

    lateron.clock.advance_to("2030-01-01T00:05")
    assert rates["updates"] == 0
    lateron.clock.advance("12s")

    assert rates["latest"] == {"eur": 1.2}


def test_a_restart_makes_no_second_schedule(lateron: Lateron, start: Callable[[], str]) -> None:
    for _ in range(3):
        start()

    lateron.clock.advance("5m")

    assert rates["updates"] == 1
