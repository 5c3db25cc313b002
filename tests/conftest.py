"""What every test shares: how Hypothesis draws, and the record of promises.

Fixtures of one area live beside its tests; a test gets a world of its own and chooses its time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.promises", "tests.simulation.table"]

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
