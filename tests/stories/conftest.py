"""A running ``lateron dev``, a receiver and a client for the stories; each story has names and endpoints of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qstash import QStash
from tests.support.clients import connect
from tests.support.receiver import Receiver
from tests.support.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("stories") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[QStash]:
    with connect("sync", server.url, server.token) as connected:
        yield connected
