"""A workflow of plain messages: a schedule starts a run, and each step publishes the next.

The story of an app that runs long jobs step by step, since none of its functions may take longer than a minute:

* a date in a schedule starts a run, or a person does, at once;
* each step is one message, and its consumer verifies the signature before it does anything;
* each has the deduplication id ``wf-<workflow>-run-<run>-step-<step>``, so that a consumer that published the
  next step and then died publishes it again in vain when it is tried again;
* a step that needs a person waits without any message, until the person's answer publishes the rest.

The app is this test: its only store is what a real one would keep, the runs and what they have done.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter

import pytest
from qstash import QStash
from qstash import Receiver as OfficialReceiver
from qstash.errors import SignatureError
from tests.support.clients import connect, story
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint, Received, Receiver
from tests.support.server import DEV_USERS, Server

TOOLS = ("research", "outline", "approve", "draft", "publish")


class App:
    """The consumer of steps: verifies, does one step, publishes the next."""

    def __init__(self, client: QStash, server: Server, endpoint: Endpoint) -> None:
        self._client, self.endpoint = client, endpoint
        self.workflow = f"weekly-post{endpoint.path.replace('/', '-')}"
        self._verifier = OfficialReceiver(server.user.current, server.user.next)
        self.done: list[tuple[int, int]] = []  # Run and step, as they were carried out.
        self.waiting: list[int] = []  # Runs that wait for a person.
        self.completed: list[int] = []
        self.folded: list[str] = []  # Steps that were published again, and are one message.
        self.refused = 0
        self._runs = 0
        self.started: dict[str, int] = {}  # The message that started a run -> the run.
        self.dies_after: set[tuple[int, int]] = set()  # Steps after which it dies once, the next being published.

    def __call__(self, request: Received) -> Answer:
        """Take one request, as the route of the consumer does."""
        try:
            self._verifier.verify(
                signature=request.header("Upstash-Signature"), body=request.text, url=self.endpoint.url
            )
        except (SignatureError, ValueError):
            self.refused += 1
            return Answer(401)
        return self._step(request)

    def _step(self, request: Received) -> Answer:
        payload = request.json
        run = payload.get("runId") or self._run_of(request.header("Upstash-Message-Id"))
        step = payload["stepIndex"]
        if (run, step) not in self.done:
            self.done.append((run, step))
        if TOOLS[step] == "approve" and "userResponse" not in payload:
            self.waiting.append(run)
            return Answer(200, b"awaiting_approval")
        if step + 1 == len(TOOLS):
            self.completed.append(run)
            return Answer(200, b"completed")
        self.enqueue(run, step + 1)
        if (run, step) in self.dies_after:
            self.dies_after.discard((run, step))
            return Answer(500, b"died after publishing")
        return Answer(200, b"next step enqueued")

    def _run_of(self, message: str) -> int:
        """Return the run that a tick starts, the same one when the tick is tried again."""
        if message not in self.started:
            self._runs += 1
            self.started[message] = self._runs
        return self.started[message]

    def enqueue(self, run: int, step: int, **more: str) -> None:
        """Publish a step of a run."""
        name = f"wf-{self.workflow}-run-{run}-step-{step}" + ("-approved" if more else "")
        sent = self._client.message.publish_json(
            url=self.endpoint.url,
            body={"workflowId": self.workflow, "runId": run, "stepIndex": step, **more},
            deduplication_id=name,
            retries=3,
            retry_delay="10",
            label=self.workflow,
        )
        assert not isinstance(sent, list)
        if sent.deduplicated:
            self.folded.append(name)

    def approve(self, run: int, times: int = 1) -> None:
        """Go on with a run that waits for a person, who may press the button more than once."""
        for _ in range(times):
            self.enqueue(run, TOOLS.index("approve"), userResponse="yes")


@pytest.fixture
def app(client: QStash, server: Server, receiver: Receiver) -> App:
    endpoint = receiver.endpoint()
    made = App(client, server, endpoint)
    endpoint.answer_by(made)
    return made


def start(client: QStash, server: Server, app: App) -> str:
    """Make the schedule of the workflow, and start its first run at once; return the schedule's id."""
    name = client.schedule.create_json(
        destination=app.endpoint.url,
        cron="0 9 * * 1",
        body={"workflowId": app.workflow, "stepIndex": 0},
        schedule_id=app.workflow,
        retry_delay="10",
    )
    assert server.call("POST", f"/v2/schedules/{name}/run").status == 201
    return name


@pytest.mark.promise("P-50", "P-51", "P-106")
def test_each_step_is_done_once_though_the_consumer_dies_and_people_are_impatient(
    client: QStash, server: Server, app: App
) -> None:
    """Two steps are published twice, the approval three times; the log has one message for each."""
    app.dies_after = {(1, 0), (1, 3)}
    schedule = start(client, server, app)
    until(lambda: app.waiting, "the run to wait for approval")
    assert app.done == [(1, 0), (1, 1), (1, 2)]
    assert app.completed == []

    app.approve(1, times=3)
    until(lambda: app.completed, "the run to end")

    created = server.call("GET", f"/v2/events?label={app.workflow}&state=CREATED&order=earliestFirst").json["events"]
    assert [json.loads(b64decode(event["body"]))["stepIndex"] for event in created] == [1, 2, 2, 3, 4]
    for event in created:
        assert story(client, event["messageId"])[-1] == "DELIVERED"
    assert app.completed == [1]
    assert app.done == [(1, step) for step in range(len(TOOLS))]
    run = f"wf-{app.workflow}-run-1"
    assert Counter(app.folded) == {f"{run}-step-1": 1, f"{run}-step-2-approved": 2, f"{run}-step-4": 1}
    (first,) = app.started
    assert story(client, first) == ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"]
    assert client.message.get(first).schedule_id == schedule
    assert app.refused == 0
    client.schedule.delete(schedule)


def test_a_step_of_another_user_is_refused_and_starts_nothing(app: App, server: Server) -> None:
    """The consumer is a public address; what is signed with another's key does not get in."""
    with connect("sync", server.url, DEV_USERS[1].token) as stranger:
        sent = stranger.message.publish_json(url=app.endpoint.url, body={"stepIndex": 0, "runId": 7}, retries=0)

        assert not isinstance(sent, list)
        assert story(stranger, sent.message_id)[-1] == "FAILED"
        assert (app.refused, app.done) == (1, [])
        assert [letter.response_status for letter in stranger.dlq.list().messages] == [401]


@pytest.mark.promise("P-80", "P-81")
def test_each_tick_starts_a_run_of_its_own(client: QStash, app: App) -> None:
    """Runs go side by side and do not swallow each other's steps: the run is part of the deduplication id."""
    name = client.schedule.create_json(
        destination=app.endpoint.url,
        cron="@every 1s",
        body={"workflowId": app.workflow, "stepIndex": 0},
        schedule_id=f"{app.workflow}-often",
    )
    until(lambda: {1, 2} <= set(app.waiting), "two runs to wait for approval")
    client.schedule.delete(name)
    for run in (2, 1):
        app.approve(run)

    until(lambda: len(app.completed) == 2, "both runs to end")
    assert sorted(app.completed) == [1, 2]
    for run in (1, 2):
        assert [step for of, step in app.done if of == run] == [0, 1, 2, 3, 4]
