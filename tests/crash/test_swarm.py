"""Several faults strike together (F-64): a few seeds here, any number by ``python -m tests.crash.swarm``."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.crash.disk import require_gcc
from tests.crash.swarm import run


@pytest.mark.promise("P-1", "P-2", "P-4", "P-20", "P-21", "P-22", "F-64")
@pytest.mark.parametrize("seed", [8, 10, 21])
def test_faults_that_strike_together_lose_nothing(seed: int, tmp_path: Path) -> None:
    """A server is killed while its disk is slow, while it recovers, while it migrates: each fault alone is no proof."""
    require_gcc()
    result = run(seed, tmp_path, rounds=2)

    assert result.report.violations == (), f"{result.injected}\n{result.report}"
    assert result.injected.total() >= 2
