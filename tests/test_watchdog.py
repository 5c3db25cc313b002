"""When patience with a loop ends: after silence in time that this machine has really had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.server.watchdog import Patience

STEP = 10


@pytest.mark.promise("P-112")
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10 * STEP)), max_size=60))
def test_patience_ends_after_so_much_silence_that_was_seen(looks: list[tuple[bool, int]]) -> None:
    """A beat begins anew; so does a look that came far too late, for then nobody ran: a stopped process, a laptop."""
    patience = Patience(10 * STEP, STEP)
    patience.over(0, STEP)
    beats, silent = 0, 0
    for beat, passed in looks:
        beats += beat
        silent = 0 if beat or passed > 3 * STEP else silent + passed

        assert patience.over(beats, passed) == (silent >= 10 * STEP)
