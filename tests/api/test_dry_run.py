"""What a bulk call would do, said before it is done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.api.world import ADMIN, OTHER, World, as_json, living

CANCEL = "DELETE", "/v2/messages"
DELETE = "DELETE", "/v2/dlq"
RETRY = "POST", "/v2/dlq/retry"


async def furnished(world: World) -> None:
    """Make 505 messages that wait, 500 of them of label a, and five dead letters, four of label a."""
    for number in range(5):
        await world.fail(Label="b" if number == 0 else "a")
    items = [
        {"destination": "https://example.com", "headers": {"Upstash-Delay": "1h", "Upstash-Label": label}}
        for label in ["b"] * 5 + ["a"] * 500
    ]
    assert (await world.ask("POST", "/v2/batch", body=as_json(items))).status == 201


def done(answer: Any) -> int:
    """Return how many a call really touched."""
    for name in ("cancelled", "deleted"):
        if name in answer:
            return int(answer[name])
    return len(answer["responses"])


@pytest.mark.parametrize(
    ("call", "query", "count"),
    [
        (CANCEL, "", 505),
        (CANCEL, "label=a", 500),
        (CANCEL, "count=501", 501),
        (CANCEL, "label=none", 0),
        (DELETE, "", 5),
        (DELETE, "label=a", 4),
        (DELETE, "count=2", 2),
        (RETRY, "", 5),
        (RETRY, "label=a", 4),
        (RETRY, "responseStatus=200", 0),
    ],
)
def test_dry_run_says_what_the_call_then_does(call: tuple[str, str], query: str, count: int) -> None:
    """Who is about to cancel a night's work wants to know how much that is."""

    async def check() -> None:
        async with living() as world:
            await furnished(world)
            before = await world.state()
            told = await world.ask(call[0], f"{call[1]}?{query}&dryRun=true")
            assert told.status == 200
            assert told.json()["count"] == count
            assert told.json()["dryRun"] is True
            assert len(told.json()["examples"]) == min(count, 3)
            assert all(example["messageId"] for example in told.json()["examples"])
            assert await world.state() == before
            none = (await world.ask(call[0], f"{call[1]}?{query}&dryRun=true", OTHER)).json()
            assert (none["count"], none["examples"]) == (0, [])
            assert done((await world.ask(call[0], f"{call[1]}?{query}&dryRun=false")).json()) == count

    asyncio.run(check())


@pytest.mark.promise("P-3")
@pytest.mark.parametrize("call", [CANCEL, DELETE, RETRY])
@pytest.mark.parametrize("query", ["dryRun=", "dryRun=yes", "dryRun=TRUE", "dryRun=true&dryRun=false"])
def test_dry_run_that_is_not_understood_changes_nothing(call: tuple[str, str], query: str) -> None:
    """Whoever writes it does not want the real thing."""

    async def check() -> None:
        async with living() as world:
            await world.fail()
            await world.publish(Delay="1h")
            before = await world.state()
            answer = await world.ask(call[0], f"{call[1]}?{query}", ADMIN)
            assert answer.status == 400
            assert "dryRun" in answer.json()["error"]
            assert await world.state() == before

    asyncio.run(check())
