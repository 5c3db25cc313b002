"""A digest of the news: readers subscribe for an hour of their morning, in their own time zone."""

import os
from typing import Any

from flask import Flask, request
from qstash import QStash

from lateron.integrations import Delivery
from lateron.integrations.flask import Receiver

app = Flask(__name__)
verified = Receiver()
sent: list[dict[str, Any]] = []  # A real one sends mail.


@app.put("/readers/<name>")
def subscribe(name: str) -> dict[str, Any]:
    wish = request.get_json()
    client = QStash(os.environ["QSTASH_TOKEN"], base_url=os.environ["QSTASH_URL"])
    # A reader has one schedule: its id makes a second wish replace the first.
    schedule = client.schedule.create_json(
        destination=os.environ["APP_URL"] + "/digest",
        cron=f"CRON_TZ={wish['zone']} 0 {wish['hour']} * * MON-FRI",
        schedule_id=f"digest-{name}",
        body={"reader": name},
    )
    client.http._client.close()
    return {"schedule": schedule}


@app.post("/digest")
@verified
def digest(delivery: Delivery) -> str:
    sent.append({"reader": delivery.json()["reader"], "message": delivery.message_id})
    return "sent"


@app.get("/sent")
def show() -> list[dict[str, Any]]:
    return sent
