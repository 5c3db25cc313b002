"""Queues: enqueue, configure, list, pause, resume, delete."""

from __future__ import annotations

from functools import partial

import msgspec
from msgspec import Struct

from lateron.api.call import Answer, Call, decoded, json_answer
from lateron.api.ports import Ports
from lateron.api.publish import body_check, store
from lateron.broker.bulk import Broker
from lateron.broker.history import History
from lateron.core.body import read_body
from lateron.core.options import Given
from lateron.core.queue import MOST, check_queue_name
from lateron.core.quota import Quota
from lateron.core.render import queue_object
from lateron.core.values import Millis, Tenant
from lateron.errors import InvalidValue


class _Settings(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    queue_name: str
    parallelism: int | None = None
    paused: bool | None = None


_decode = msgspec.json.Decoder(_Settings).decode


async def enqueue(ports: Ports, call: Call) -> Answer:
    """Store one message at the end of a queue: ``POST /v2/enqueue/{queueName}/{destination}``."""
    body = await call.body(body_check(ports.quota))
    path, mark, query = call.rest.partition(b"?")
    raw, _, destination = path.partition(b"/")
    name = decoded(raw)
    if name is None:
        raise InvalidValue("queue", repr(raw), "percent-encoded UTF-8")
    queue = Given("the path", check_queue_name("queue", name))
    target = destination + mark + query
    return await store(ports, call, target, body, queue)


async def set_queue(ports: Ports, call: Call) -> Answer:
    """Make a queue, or configure one."""
    wanted = _settings(await call.small_body(), ports.quota)
    tenant, name = call.who.tenant, wanted.queue_name
    call.concerns(name)

    def work(broker: Broker, now: Millis) -> None:
        broker.set_queue(tenant, name, now, parallelism=wanted.parallelism, paused=wanted.paused)

    await ports.writer.run(work)
    return json_answer({})


async def list_queues(ports: Ports, call: Call) -> Answer:
    """List all queues, by name."""
    queues = await ports.writer.read(partial(_queues, call.who.tenant))
    return json_answer(queues)


async def get_queue(ports: Ports, call: Call) -> Answer:
    """Show a queue."""
    return json_answer(await ports.writer.read(partial(_queue, call.who.tenant, call.params["queueName"])))


async def delete_queue(ports: Ports, call: Call) -> Answer:
    """Delete a queue with its messages; one that is not there is as good as deleted."""
    await ports.writer.delete_queue(call.who.tenant, call.params["queueName"])
    return json_answer({})


async def pause_queue(ports: Ports, call: Call) -> Answer:
    """Let no message of a queue start any more."""
    return await _pause(ports, call, paused=True)


async def resume_queue(ports: Ports, call: Call) -> Answer:
    """Let a queue go on where it was paused."""
    return await _pause(ports, call, paused=False)


async def _pause(ports: Ports, call: Call, *, paused: bool) -> Answer:
    tenant, name = call.who.tenant, call.params["queueName"]
    await ports.writer.run(lambda broker, now: broker.pause_queue(tenant, name, now, paused=paused))
    return json_answer({})


def _settings(body: bytes, quota: Quota) -> _Settings:
    wanted = read_body(body, _decode, '{"queueName", "parallelism", "paused"}')
    check_queue_name("queueName", wanted.queue_name)
    if wanted.parallelism is not None:
        quota.check("parallelism", wanted.parallelism, quota.parallelism)
        if not 1 <= wanted.parallelism <= MOST:
            raise InvalidValue("parallelism", wanted.parallelism, f"a whole number from 1 to {MOST}")
    return wanted


def _queues(tenant: Tenant, history: History) -> list[dict[str, object]]:
    return [queue_object(queue) for queue in history.queues(tenant)]


def _queue(tenant: Tenant, name: str, history: History) -> dict[str, object]:
    return queue_object(history.queue(tenant, name))
