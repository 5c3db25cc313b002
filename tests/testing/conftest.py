"""The clients of these tests; the server comes from the fixture under test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qstash import QStash
from tests.support.clients import connect

from lateron.testing import Lateron


@pytest.fixture
def client(lateron: Lateron) -> Iterator[QStash]:
    with connect("sync", lateron.url, lateron.token) as connected:
        yield connected
