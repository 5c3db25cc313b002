"""Bulk jobs over HTTP: asked for, shown, stopped; and the one message that goes at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.api.test_dry_run import furnished
from tests.api.test_stream import listening
from tests.api.world import ADMIN, MANAGER, OTHER, World, as_json, living

JOBS = "/lateron/v1/jobs"
JOBS_ONLY = "?topics=jobs"


async def job(world: World, token: str = ADMIN, **asked: Any) -> dict[str, Any]:
    """Ask for a job."""
    answer = await world.ask("POST", JOBS, token, as_json({"filter": {}, **asked}))
    assert answer.status in {200, 201}, answer
    return dict(answer.json())


async def run(world: World, pieces: int = 20) -> None:
    """Do what the server's loop does."""
    for _ in range(pieces):
        erased = await world.writer.run(lambda broker, now: broker.advance_job(now))
        if erased is not None:
            end = erased.tenant, erased.id
            await world.writer.run(lambda broker, now: broker.end_erase(*end, now, emptied=True))  # noqa: B023 # Waits here.


@pytest.mark.parametrize(
    ("kind", "where", "count"),
    [
        ("cancel", {}, 505),
        ("cancel", {"label": "a"}, 500),
        ("retryNow", {"label": ["a", "b"]}, 505),
        ("deleteDeadLetters", {"label": "a"}, 4),
        ("replayDeadLetters", {"responseStatus": 500}, 5),
        ("erase", {"label": "b"}, 6),
    ],
)
def test_a_job_does_what_its_dry_run_said(kind: str, where: dict[str, Any], count: int) -> None:
    """The count is exact over all pages, and nothing is changed by asking."""

    async def check() -> None:
        async with living() as world:
            await furnished(world)
            world.room = 0
            before = await world.state()
            told = await job(world, kind=kind, filter=where, dryRun=True)
            assert (told["count"], told["dryRun"], len(told["examples"])) == (count, True, min(count, 3))
            assert await world.state() == before

            made = await job(world, MANAGER, kind=kind, filter=where)
            assert (made["state"], made["total"], made["by"]) == ("running", count, "manage")
            await run(world)

            ended = (await world.ask("GET", f"{JOBS}/{made['jobId']}")).json()
            assert (ended["state"], ended["done"], ended["failed"]) == ("done", count, 0)
            assert ended["endedAt"] >= ended["createdAt"]
            assert (await job(world, kind=kind, filter=where, dryRun=True))["count"] == 0

    asyncio.run(check())


def test_jobs_are_listed_newest_first_page_by_page_and_each_user_has_his_own() -> None:
    """Of options the names only are shown: their values may be secrets."""

    async def check() -> None:
        async with living() as world:
            made = [(await job(world, kind="cancel"))["jobId"] for _ in range(3)]
            options = {"Upstash-Forward-Authorization": "Bearer secret", "Upstash-Retries": "1"}
            made.append((await job(world, kind="replayDeadLetters", options=options, body="secret", rate=0.5))["jobId"])
            await job(world, OTHER, kind="cancel")

            seen, cursor = list[str](), ""
            while True:
                page = (await world.ask("GET", f"{JOBS}?count=3{cursor}")).json()
                seen += [one["jobId"] for one in page["jobs"]]
                if "cursor" not in page:
                    break
                cursor = f"&cursor={page['cursor']}"
            assert seen == made[::-1]
            answer = await world.ask("GET", f"{JOBS}/{made[-1]}")
            assert answer.json()["options"] == list(options)
            assert answer.json()["rate"] == 0.5
            assert b"secret" not in answer.body
            assert len((await world.ask("GET", JOBS, OTHER)).json()["jobs"]) == 1

    asyncio.run(check())


def test_a_job_is_stopped_and_stays_so() -> None:
    """Asking again is answered as the first time."""

    async def check() -> None:
        async with living() as world:
            await furnished(world)
            made = await job(world, kind="cancel", spread="1h")
            assert made["endsAt"] > world.clock.now
            await run(world, 1)
            stopped = (await world.ask("POST", f"{JOBS}/{made['jobId']}/cancel")).json()
            assert (stopped["state"], stopped["done"]) == ("cancelled", 1)
            await run(world)
            assert (await world.ask("POST", f"{JOBS}/{made['jobId']}/cancel")).json() == stopped

    asyncio.run(check())


def test_who_watches_hears_of_jobs() -> None:
    """When one is made, when it goes on, and nothing of another user's."""

    async def check() -> None:
        async with living() as world:
            await furnished(world)
            async with (
                listening(world, "?topics=jobs") as his,
                listening(world, "?topics=jobs&seconds=3", OTHER) as other,
            ):
                await job(world, kind="cancel")
                world.clock.now += 1000
                assert (await his.next("changed")).data == {"topic": "jobs"}
                await run(world, 1)
                world.clock.now += 1000
                assert (await his.next("changed")).data == {"topic": "jobs"}
                world.clock.now += 4000
                assert [told for told in await other.rest() if told.name == "changed"] == []

    asyncio.run(check())


def test_what_a_replay_has_made_is_found_by_its_job() -> None:
    """So it can be looked at, and taken back."""

    async def check() -> None:
        async with living() as world:
            await world.fail()
            await world.publish(Delay="1h")
            made = await job(world, kind="replayDeadLetters", options={"Upstash-Delay": "1h"})
            await run(world)
            (found,) = (await world.ask("GET", f"/v2/messages?jobId={made['jobId']}")).json()["messages"]
            assert found["jobId"] == made["jobId"]
            await job(world, kind="cancel", filter={"jobId": made["jobId"]})
            await run(world)
            (left,) = (await world.ask("GET", "/v2/messages")).json()["messages"]
            assert "jobId" not in left

    asyncio.run(check())


def test_a_message_goes_now_or_is_refused_with_the_reason() -> None:
    """Twice is once; who waits for something else than time cannot be hurried."""

    async def check() -> None:
        async with living() as world:
            world.room = 0
            message = await world.publish(Delay="1h")
            now = f"/lateron/v1/messages/{message}/retry"
            for _ in range(2):
                answer = await world.ask("POST", now)
                assert (answer.status, answer.json()) == (200, {"messageId": message})
            await world.ask("DELETE", f"/v2/messages/{message}")
            refused = await world.ask("POST", now)
            assert refused.status == 409
            assert "CANCELED for good" in refused.json()["error"]

    asyncio.run(check())
