"""One furnished store for the tests of a module; each opens a copy of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.house import House, copied, furnish

from lateron.api import passwords
from lateron.core.password import Cost


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Let hashing a password cost next to nothing: here many are made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "COST", Cost(4, 8, 1))
        yield


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory with something of everything in it; nobody may write to it.

    Of a module: ten minutes after its end a message cannot be read any more, and all modules may take longer.
    """
    directory = tmp_path_factory.mktemp("furnished") / "data"
    furnish(directory)
    return directory


@pytest.fixture
def house(furnished: Path, tmp_path: Path) -> Iterator[House]:
    """Open a copy of the furnished store in a server that delivers nothing."""
    with copied(furnished, tmp_path / "data") as opened:
        yield opened
