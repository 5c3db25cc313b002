"""A job of many steps, none of which may take long: each step is one message, which publishes the next one.

* A workflow with a date gets a schedule; each tick starts a run.
* A step's message has the deduplication id ``wf-<workflow>-run-<run>-step-<step>``: a consumer that published the next
  step and then died publishes it again when it is tried again, and that is the same message.
* A step that needs a person sends nothing: the run waits, and the person's answer publishes the rest.
"""

import os
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from qstash import AsyncQStash

from lateron.integrations import Delivery
from lateron.integrations.fastapi import Receiver

STEPS = ("research", "outline", "approve", "draft", "publish")

app = FastAPI()
verified = Receiver()


@dataclass
class Run:
    """What is kept of a run; a real application has a database."""

    workflow: str
    state: str = "running"
    log: list[str] = field(default_factory=list)


runs: list[Run] = []  # A run's number is its place, from 1.
started: dict[str, int] = {}  # The message that started a run -> the run.
die_once: set[str] = set()  # For the tests: steps after which the consumer dies, the next one being published.


def client() -> AsyncQStash:
    return AsyncQStash(os.environ["QSTASH_TOKEN"], base_url=os.environ["QSTASH_URL"])


async def enqueue(workflow: str, run: int, step: int, **more: str) -> None:
    """Publish a step of a run."""
    name = f"wf-{workflow}-run-{run}-step-{step}" + ("-approved" if more else "")
    queue = client()
    await queue.message.publish_json(
        url=os.environ["APP_URL"] + "/api/workflows/step",
        body={"workflowId": workflow, "runId": run, "stepIndex": step, **more},
        deduplication_id=name,
        retries=3,
        label=workflow,
    )
    await queue.http._client.aclose()


@app.post("/api/workflows")
async def create(wish: dict[str, Any]) -> dict[str, Any]:
    name = wish["name"]
    queue = client()
    schedule = await queue.schedule.create_json(
        destination=os.environ["APP_URL"] + "/api/workflows/step",
        cron=wish["schedule"],
        schedule_id=name,
        body={"workflowId": name, "stepIndex": 0},
        retries=3,
    )
    await queue.http._client.aclose()
    return {"workflow": name, "qstashScheduleId": schedule}


@app.post("/api/workflows/step")
async def step(delivery: Annotated[Delivery, Depends(verified)]) -> dict[str, str]:
    told = delivery.json()
    number = told.get("runId") or begin(told["workflowId"], delivery.message_id)
    run, index = runs[number - 1], told["stepIndex"]
    doing = STEPS[index]
    again = doing in run.log and "userResponse" not in told
    if not again:
        run.state = "running"
    if doing not in run.log:
        run.log.append(doing)  # Here the work is done; a step that comes twice does it once.
    if doing == "approve" and "userResponse" not in told:
        run.state = "awaiting_approval"
        return {"state": run.state}
    if index + 1 == len(STEPS):
        run.state = "completed"
        return {"state": run.state}
    await enqueue(run.workflow, number, index + 1)
    if doing in die_once:
        die_once.discard(doing)
        raise RuntimeError("died after the next step was published")
    return {"state": run.state}


def begin(workflow: str, message: str) -> int:
    """Return the run that a tick starts: the same one when the tick is tried again."""
    if message not in started:
        runs.append(Run(workflow))
        started[message] = len(runs)
    return started[message]


@app.post("/api/runs/{number}/approve")
async def approve(number: int) -> dict[str, str]:
    run = runs[number - 1]
    if run.state != "awaiting_approval":
        raise HTTPException(409, f"run {number} is {run.state}")
    await enqueue(run.workflow, number, STEPS.index("approve"), userResponse="yes")
    return {"approved": "yes"}


@app.get("/api/runs")
async def show() -> list[dict[str, Any]]:
    return [asdict(run) for run in runs]
