"""Data that is fetched every five minutes: the schedule lives in the queue, the fetching in a verified route."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from qstash import AsyncQStash

from lateron.integrations import Delivery
from lateron.integrations.fastapi import Receiver


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """See to the schedule at each start; its id makes it one, however often that is."""
    client = AsyncQStash(os.environ["QSTASH_TOKEN"], base_url=os.environ["QSTASH_URL"])
    await client.schedule.create(
        destination=os.environ["APP_URL"] + "/update", cron="*/5 * * * *", schedule_id="rates", retries=2
    )
    await client.http._client.aclose()
    yield


app = FastAPI(lifespan=lifespan)
verified = Receiver()
rates: dict[str, Any] = {"updates": 0}  # A real application has a database.


@app.post("/update")
async def update(delivery: Annotated[Delivery, Depends(verified)]) -> None:
    async with httpx.AsyncClient(timeout=20) as source:
        answer = await source.get(os.environ["SOURCE_URL"])
    answer.raise_for_status()  # A failure is answered 500, and tried again.
    rates.update(latest=answer.json(), updates=rates["updates"] + 1, by=delivery.schedule_id)


@app.get("/rates")
async def show() -> dict[str, Any]:
    return rates
