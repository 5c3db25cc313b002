"""What every test shares: how Hypothesis draws, and the record of promises.

Fixtures of one area live beside its tests; a test gets a world of its own and chooses its time. Here are those of all
areas; an area may have a receiver of its own that lives longer.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from compileall import compile_dir
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.support.receiver import Endpoint, Receiver

import lateron

pytest_plugins = ["tests.promises", "tests.simulation.table", "lateron.pytest_plugin"]

# The same examples in every run: a red build is red for its change, not for its luck. Deadlines are
# off because the machine is shared. A failure prints the blob that replays it.
settings.register_profile(
    "lateron",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lateron")

# A shell starts what runs in its background with this signal ignored, and who is started so hands it on: then the
# programs of the tests could not be interrupted. Handled here, it is as usual for them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart() -> None:
    """Compile the package once: each of its many starts would do it where the environment lets Python keep nothing."""
    compile_dir(Path(lateron.__file__).parent, quiet=2)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def endpoint(receiver: Receiver) -> Endpoint:
    return receiver.endpoint()


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Some tools that tests call silence or redirect all loggers of the process; the next test must not notice."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.name.startswith("lateron"):
            logger.disabled = False
