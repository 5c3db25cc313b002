"""A week of mornings, the clocks being changed in the middle."""

from urllib.parse import urlsplit

import httpx
import pytest
from digest import app, sent

from lateron.testing import Lateron

pytestmark = pytest.mark.lateron(start="2030-03-29T00:00")  # Friday; Europe changes its clocks on Sunday.


@pytest.fixture
def address(lateron: Lateron, monkeypatch: pytest.MonkeyPatch) -> str:
    address = lateron.serve(app)
    monkeypatch.setenv("APP_URL", address)
    sent.clear()
    return address


def test_readers_get_it_at_their_seven_o_clock(lateron: Lateron, address: str) -> None:
    httpx.put(f"{address}/readers/ann", json={"zone": "Europe/Paris", "hour": 7}).raise_for_status()
    httpx.put(f"{address}/readers/bob", json={"zone": "Asia/Tokyo", "hour": 7}).raise_for_status()

    lateron.clock.advance("6h")
    assert [one["reader"] for one in sent] == ["ann"], "in Tokyo it is afternoon"
    lateron.clock.advance_to("2030-04-01T05:00")

    assert [one["reader"] for one in sent] == ["ann", "bob", "ann"], (
        "Mondays begin in Tokyo; in Paris it is summer time"
    )


def test_a_second_wish_replaces_the_first(lateron: Lateron, address: str) -> None:
    for hour in (7, 8):
        httpx.put(f"{address}/readers/ann", json={"zone": "UTC", "hour": hour}).raise_for_status()

    lateron.clock.advance("12h")

    assert len(sent) == 1


def test_nobody_else_can_send_digests(address: str) -> None:
    assert urlsplit(address).hostname == "127.0.0.1"
    assert httpx.post(f"{address}/digest", json={"reader": "eve"}).status_code == 401
