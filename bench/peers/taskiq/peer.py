"""A message queue as one builds it from parts: FastAPI takes messages, taskiq keeps them in Redis and delivers them.

In a stream, not in a list: a list gives a job away before it is done, and loses it with its worker. A publish is
answered once Redis has the job on disk; a job is acknowledged after its delivery.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI, Request
from redis.asyncio import Redis
from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

REDIS = f"redis://127.0.0.1:{os.environ['PEER_REDIS_PORT']}"
CONCURRENCY = int(os.environ["PEER_CONCURRENCY"])
broker = RedisStreamBroker(REDIS, queue_name="deliveries", xread_count=CONCURRENCY)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    """Open the connections on which deliveries go out."""
    state.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def disconnect(state: TaskiqState) -> None:
    """Close them."""
    await state.client.close()


@broker.task(retry_on_error=True, max_retries=3)
async def deliver(url: str, content_type: str, body: str) -> None:
    """POST one message to its destination."""
    async with broker.state.client.post(url, data=body.encode(), headers={"Content-Type": content_type}) as answer:
        await answer.read()
        answer.raise_for_status()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Be connected while requests are answered."""
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/publish/{destination:path}", status_code=201)
async def publish(destination: str, request: Request) -> dict[str, str]:
    """Take a message."""
    body = await request.body()
    task = await deliver.kiq(destination, request.headers["content-type"], body.decode())
    return {"messageId": task.task_id}


@app.get("/pending")
async def pending() -> dict[str, int]:
    """Say how many jobs are not acknowledged: handed out, or not yet read."""
    async with Redis.from_url(REDIS) as redis:
        groups = await redis.xinfo_groups("deliveries")
    return {"pending": sum(group["pending"] + (group["lag"] or 0) for group in groups)}
