"""The wall clock of a working server is set back and forth, by hours and by years (F-20).

The run ends with the clock at its furthest, so that whatever was written
down under an earlier time is due.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.crash.checker import check
from tests.crash.clock import SWEEP_OFTEN, needs_libraries, preloaded, set_clock
from tests.crash.history import Verdict
from tests.crash.tracing import Changed
from tests.crash.traffic import Kind, Traffic
from tests.support.poll import until
from tests.support.server import Server

STEPS = ("-1h", "+1h", "-2d", "+0", "+2h", "-2h", "+10y")
# Delays are promised by the wall clock, so a step forward ends them; those have no place here.
KINDS = (Kind(share=8), Kind(share=2, body_bytes=40_000), Kind("/once", share=3), Kind("/slow", share=3))


class Stepped(Changed):
    """A server whose wall clock is set by ``step``."""

    code = SWEEP_OFTEN

    @property
    def offset(self) -> Path:
        return self.data_dir.with_name("offset")

    def step(self, offset: str) -> None:
        """Set the clock this far from the true time."""
        set_clock(self.offset, offset)

    def start(self) -> Server:  # type: ignore[override]  # It is itself.
        self.step("+0")
        return super().start()

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **preloaded(self.offset)}


@pytest.mark.promise("P-1", "P-2", "P-20", "P-21", "P-22", "P-23", "P-50", "P-98", "F-20")
def test_steps_of_the_clock_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """Attempts are open across each step; retention does not believe a clock that has jumped by years."""
    needs_libraries()
    with Stepped(tmp_path / "data") as server, Traffic(server, seed=51, kinds=KINDS) as traffic:
        for offset in STEPS:
            answers = traffic.acknowledged
            traffic.wait(lambda: traffic.acknowledged >= answers + 15, "more answers")  # noqa: B023 # Waits here.
            traffic.wait(lambda: traffic.holding > 0, "an open attempt")
            server.step(offset)
        answers = traffic.acknowledged
        traffic.wait(lambda: traffic.acknowledged >= answers + 15, "more answers")
        until(lambda: "the clock has jumped" in server.log, "retention to doubt the clock")
        history = traffic.finish()

    # Events are shown in the order of their times, which here is not the order in which they happened.
    report = check(replace(history, lives={}))
    wrong = [violation for violation in report.violations if violation.promise != "P-120"]
    assert wrong == [], str(report)
    assert report.repeats == 0
    assert {publish.verdict for publish in history.publishes} == {Verdict.OK}
    assert set(history.lives) == {publish.id for publish in history.publishes}, "retention took what was young"


@pytest.mark.promise("P-83", "F-20")
def test_a_retry_comes_in_its_time_though_the_clock_was_ahead_when_it_was_put_off(tmp_path: Path) -> None:
    """By the date of the clock that was ahead it would come in two hours."""
    needs_libraries()
    with Stepped(tmp_path / "data") as server:
        server.step("+2h")
        headers = [("Upstash-Retries", "1"), ("Upstash-Retry-Delay", "4000")]
        target = f"/v2/publish/{server.url}/_catch/down?status=500"
        made = server.call("POST", target, b"x", headers).json["messageId"]

        def events() -> list[str]:
            found = server.call("GET", f"/v2/events?messageIds={made}").json["events"]
            return [event["state"] for event in found]

        until(lambda: "RETRY" in events(), "the first attempt to fail")
        server.step("+0")
        until(lambda: "FAILED" in events(), "the retry to fail as well")
        until(lambda: "the clock was set back by 7" in server.log, "the step to be noticed")
