"""A running ``lateron dev``, a receiver, and the official Python SDK in both styles.

Server and receiver are shared by the tests of this folder, because starting a process for each would take
longer than the tests. What keeps them apart: each test publishes to an endpoint of its own, and a test that
counts or cancels *everything* is ``alone``, as a user that no other test is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest
from qstash import QStash
from tests.support.clients import STYLES, Style, connect
from tests.support.receiver import Receiver
from tests.support.server import DEV_USERS, Server, User


@dataclass(frozen=True, slots=True)
class Alone:
    """A user nobody else is, with nothing pending and no dead letters, and its client."""

    user: User
    client: QStash


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("sdk") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="session", params=STYLES)
def style(request: pytest.FixtureRequest) -> Style:
    return cast("Style", request.param)


@pytest.fixture(scope="session")
def client(style: Style, server: Server) -> Iterator[QStash]:
    with connect(style, server.url, server.token) as connected:
        yield connected


@pytest.fixture
def alone(style: Style, server: Server) -> Iterator[Alone]:
    user = DEV_USERS[1]
    with connect(style, server.url, user.token) as connected:
        connected.message.cancel_all()
        while dead := connected.dlq.list().messages:
            connected.dlq.delete_many([message.dlq_id for message in dead])
        yield Alone(user, connected)
