"""Questions to a slow model: the queue waits for the answer, and brings it as a callback."""

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from qstash import AsyncQStash
from qstash.message import FlowControl

from lateron.integrations import Delivery
from lateron.integrations.fastapi import Receiver

app = FastAPI()
verified = Receiver()
questions: dict[str, dict[str, Any]] = {}  # By the message that asks; a real application has a database.


@app.post("/questions", status_code=202)
async def ask(wish: dict[str, str]) -> dict[str, str]:
    client = AsyncQStash(os.environ["QSTASH_TOKEN"], base_url=os.environ["QSTASH_URL"])
    sent = await client.message.publish_json(
        url=os.environ["MODEL_URL"],  # Anything that speaks the API of OpenAI.
        body={"model": "small", "messages": [{"role": "user", "content": wish["question"]}]},
        headers={"Authorization": f"Bearer {os.environ['MODEL_KEY']}"},
        callback=os.environ["APP_URL"] + "/answers",
        failure_callback=os.environ["APP_URL"] + "/failures",
        flow_control=FlowControl(key="model", parallelism=2, rate=10, period="1m"),  # What the provider allows us.
        timeout="10m",
        retries=3,
        redact={"header": ["Authorization"]},
    )
    await client.http._client.aclose()
    assert not isinstance(sent, list)
    questions.setdefault(sent.message_id, {}).update(question=wish["question"])
    return {"id": sent.message_id}


@app.post("/answers")
async def answer(delivery: Annotated[Delivery, Depends(verified)]) -> None:
    report = delivery.report()
    if report.ok:  # A callback comes for each attempt.
        told = report.json()["choices"][0]["message"]["content"]
        questions.setdefault(report.message_id, {}).update(answer=told)


@app.post("/failures")
async def fail(delivery: Annotated[Delivery, Depends(verified)]) -> None:
    report = delivery.report()
    questions.setdefault(report.message_id, {}).update(failed=report.status, dead_letter=report.dead_letter_id)


@app.get("/questions")
async def show() -> dict[str, dict[str, Any]]:
    return questions
