"""The shop as its customers meet it, with days that pass in milliseconds."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from shop import app, orders

from lateron.testing import Lateron

Place = Callable[..., dict[str, Any]]


@pytest.fixture
def place(lateron: Lateron, monkeypatch: pytest.MonkeyPatch) -> Place:
    address = lateron.serve(app)
    monkeypatch.setenv("APP_URL", address)
    orders.clear()
    return lambda **order: orders[httpx.post(f"{address}/orders", json=order).json()["number"]]


def test_an_order_is_charged_in_the_background(lateron: Lateron, place: Place) -> None:
    order = place(amount=5)
    lateron.settle()

    assert order["state"] == "paid"


def test_a_busy_provider_is_asked_again(lateron: Lateron, place: Place) -> None:
    order = place(amount=5, card="busy")
    lateron.settle()
    assert order["state"] == "new"

    lateron.clock.advance("12s")

    assert order["state"] == "paid"


def test_who_has_not_paid_is_reminded_every_day(lateron: Lateron, place: Place) -> None:
    order = place(amount=5, card="expired")

    lateron.clock.advance("3d")

    assert order["reminders"] == 3


def test_an_order_of_nothing_is_not_tried_again(lateron: Lateron, place: Place) -> None:
    place(amount=0)

    (letter,) = lateron.dead_letters()
    assert "nothing to charge" in letter["responseBody"]
    assert orders[1]["state"] == "refused"
