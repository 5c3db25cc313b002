"""The plugin of pytest: the fixture ``lateron``, a running server whose clock the test moves.

It is loaded in every run of pytest where the package is installed, so it imports the server only when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lateron.testing import Lateron

_MARKER = "lateron(start=None, settings=None, data_dir=None, patience=30.0): how the server of the fixture is started."


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def lateron(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lateron]:
    """A running server of this test's own; ``QSTASH_URL``, ``QSTASH_TOKEN`` and the keys lead to it meanwhile."""
    from lateron.testing import Lateron

    marker = request.node.get_closest_marker("lateron")
    with Lateron(**(marker.kwargs if marker else {})) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server
