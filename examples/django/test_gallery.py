"""Uploads in a crowd; the views that are called are behind a signature."""

import httpx
import pytest
from gallery import application, pictures

from lateron.testing import Lateron


@pytest.fixture
def address(lateron: Lateron, monkeypatch: pytest.MonkeyPatch) -> str:
    address = lateron.serve(application)
    monkeypatch.setenv("APP_URL", address)
    pictures.clear()
    return address


def test_every_picture_gets_its_thumbnail(lateron: Lateron, address: str) -> None:
    for number in range(10):
        assert httpx.put(f"{address}/pictures/{number}.png", content=b"pixels").status_code == 201

    lateron.settle()

    assert [picture["thumbnail"] for picture in pictures.values()] == ["100 wide"] * 10


def test_nobody_else_can_order_thumbnails(address: str) -> None:
    assert httpx.post(f"{address}/thumbnail/1.png", json={"width": 9}).status_code == 401
