"""A message queue as one builds it from parts: FastAPI takes messages, taskiq keeps them in Redis and delivers them.

In a stream, not in a list: a list gives a job away before it is done, and loses it with its worker. A publish is
answered once Redis has the job on disk; a job is acknowledged after its delivery.

``PEER_JOB=whole`` signs each delivery and keeps its outcome; ``less`` does neither.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI, Request
from redis.asyncio import Redis
from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

REDIS = f"redis://127.0.0.1:{os.environ['PEER_REDIS_PORT']}"
CONCURRENCY = int(os.environ["PEER_CONCURRENCY"])
WHOLE = os.environ["PEER_JOB"] == "whole"
KEY = b"sig_4Hn0tqbS7x1yJd8wKcV2mZpRfL6u"
broker = RedisStreamBroker(REDIS, queue_name="deliveries", xread_count=CONCURRENCY)
if WHOLE:
    broker = broker.with_result_backend(RedisAsyncResultBackend(REDIS))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    """Open the connections on which deliveries go out."""
    state.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def disconnect(state: TaskiqState) -> None:
    """Close them."""
    await state.client.close()


def base64url(data: bytes) -> str:
    """Encode without padding, as JWTs do."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


HEAD = base64url(b'{"alg":"HS256","typ":"JWT"}')


def sign(url: str, body: bytes) -> str:
    """Make a JWT by hand, with the claims of Lateron's: cheaper than any library."""
    now = int(time.time())
    claims = {"iss": "peer", "sub": url, "exp": now + 300, "nbf": now, "iat": now, "jti": str(uuid.uuid4())}
    claims["body"] = base64url(hashlib.sha256(body).digest())
    text = f"{HEAD}.{base64url(json.dumps(claims).encode())}"
    return f"{text}.{base64url(hmac.digest(KEY, text.encode(), 'sha256'))}"


@broker.task(retry_on_error=True, max_retries=3)
async def deliver(url: str, content_type: str, body: str) -> int:
    """POST one message to its destination."""
    headers = {"Content-Type": content_type}
    if WHOLE:
        headers["Upstash-Signature"] = sign(url, body.encode())
    async with broker.state.client.post(url, data=body.encode(), headers=headers) as answer:
        await answer.read()
        answer.raise_for_status()
        return answer.status


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
