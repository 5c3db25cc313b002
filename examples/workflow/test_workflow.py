"""Mondays, people who take their time, and a consumer that dies."""

from collections.abc import Callable

import httpx
import pytest
import workflow
from workflow import STEPS, app, die_once, runs, started

from lateron.testing import Lateron

pytestmark = pytest.mark.lateron(start="2030-01-01T12:00")  # A Tuesday.
Approve = Callable[[int], int]


@pytest.fixture
def approve(lateron: Lateron, monkeypatch: pytest.MonkeyPatch) -> Approve:
    """Make the workflow of the weekly post, and return how a person approves a run of it."""
    address = lateron.serve(app)
    monkeypatch.setenv("APP_URL", address)
    for memory in (runs, started, die_once):
        memory.clear()
    wish = {"name": "weekly-post", "schedule": "0 9 * * 1"}
    assert httpx.post(f"{address}/api/workflows", json=wish).json()["qstashScheduleId"] == "weekly-post"
    return lambda number: httpx.post(f"{address}/api/runs/{number}/approve").status_code


def test_a_run_starts_on_monday_and_waits_for_a_person(lateron: Lateron, approve: Approve) -> None:
    lateron.clock.advance_to("2030-01-07T08:59:59")
    assert runs == []

    lateron.clock.advance("1s")
    assert [(run.state, run.log) for run in runs] == [("awaiting_approval", ["research", "outline", "approve"])]
    assert lateron.pending() == [], "a person who takes his time costs nothing"

    lateron.clock.advance("3d")
    assert approve(1) == 200
    lateron.settle()
    assert (runs[0].state, runs[0].log) == ("completed", list(STEPS))


def test_every_monday_has_a_run_of_its_own(lateron: Lateron, approve: Approve) -> None:
    lateron.clock.advance("14d")
    assert [run.state for run in runs] == ["awaiting_approval"] * 2

    assert approve(2) == 200
    lateron.settle()

    assert [run.state for run in runs] == ["awaiting_approval", "completed"]


def test_a_consumer_that_dies_repeats_no_step(lateron: Lateron, approve: Approve) -> None:
    die_once.update({"research", "draft"})
    lateron.clock.advance("7d")
    approve(1)
    lateron.clock.advance("1m")

    assert (runs[0].state, runs[0].log) == ("completed", list(STEPS))
    events = lateron.call("GET", "/v2/events?label=weekly-post&state=CREATED").json()["events"]
    assert len(events) == 5, "each further step is one message, and so is the approval"


def test_an_approval_counts_once(lateron: Lateron, approve: Approve) -> None:
    lateron.clock.advance("7d")
    assert approve(1) == 200
    lateron.settle()

    assert approve(1) == 409
    assert workflow.runs[0].log == list(STEPS)
