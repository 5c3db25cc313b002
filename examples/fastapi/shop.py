"""A shop that charges its customers in the background, and reminds those who have not paid after a day."""

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from qstash import AsyncQStash

from lateron.integrations import Delivery, DoNotRetry
from lateron.integrations.fastapi import Receiver

app = FastAPI()
verified = Receiver()
orders: dict[int, dict[str, Any]] = {}  # A real shop has a database.


async def publish(path: str, body: dict[str, Any], **options: Any) -> None:
    """Have one of our own routes called, now or later."""
    client = AsyncQStash(os.environ["QSTASH_TOKEN"], base_url=os.environ["QSTASH_URL"])
    try:
        await client.message.publish_json(url=os.environ["APP_URL"] + path, body=body, **options)
    finally:
        await client.http._client.aclose()


@app.post("/orders")
async def place(order: dict[str, Any]) -> dict[str, Any]:
    number = len(orders) + 1
    orders[number] = {"number": number, "state": "new", "reminders": 0, **order}
    # The id makes it one charge, however often this is sent.
    await publish("/tasks/charge", {"number": number}, deduplication_id=f"charge-{number}", retries=3)
    await publish("/tasks/remind", {"number": number}, delay="1d")
    return orders[number]


@app.get("/orders/{number}")
async def show(number: int) -> dict[str, Any]:
    return orders[number]


@app.post("/tasks/charge")
async def charge(delivery: Annotated[Delivery, Depends(verified)]) -> None:
    order = orders[delivery.json()["number"]]
    if order.get("amount", 0) <= 0:
        order["state"] = "refused"
        raise DoNotRetry("nothing to charge")
    if order.get("card") == "busy" and delivery.retried == 0:
        raise RuntimeError("the provider is busy")  # Answered 500, so it is tried again.
    if order.get("card") != "expired":
        order["state"] = "paid"


@app.post("/tasks/remind")
async def remind(delivery: Annotated[Delivery, Depends(verified)]) -> None:
    order = orders[delivery.json()["number"]]
    if order["state"] == "new":
        order["reminders"] += 1
        await publish("/tasks/remind", {"number": order["number"]}, delay="1d")
