"""URL groups behind the door to the store: changes and publishes that arrive at once, in any order."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_writer import ITEM, Node, on_a_node

from lateron.broker.bulk import Broker
from lateron.broker.views import Accepted, Answered, FannedOut, Prepared, Turn
from lateron.core.groups import Endpoint, Group, Target
from lateron.core.publish import GroupPublication, PublishContext
from lateron.core.quota import QUOTAS
from lateron.core.values import Filter, Millis, Publication
from lateron.errors import NotFound
from lateron.writer import TURN_FAN_OUTS

NONE = QUOTAS["none"]
TO_ALL = GroupPublication("all", (), b"body", PublishContext(1, 0, NONE))
URLS = tuple(f"https://host{n}.example/" for n in range(4))


def add(urls: tuple[str, ...], broker: Broker, now: Millis) -> Group:
    return broker.save_endpoints(1, "all", [Endpoint(url) for url in urls], NONE, now)


def remove(url: str, broker: Broker, now: Millis) -> Group | None:
    try:
        return broker.remove_endpoints(1, "all", [Target(url=url)], now)
    except NotFound:
        return None


def urls_of(answer: Answered) -> tuple[str, ...]:
    if isinstance(answer, NotFound):
        return ()
    assert isinstance(answer, FannedOut)
    return tuple(url for url, _ in answer.endpoints)


async def reached(node: Node) -> Counter[str]:
    """Count the messages that wait, by their URL."""
    views = await node.writer.read(lambda history: history.pending(1, Filter(), None, 1000, 0).items)
    return Counter(view.request.url for view in views)


steps = st.lists(
    st.tuples(st.sampled_from(["publish", "batch", "add", "remove"]), st.integers(0, 3), st.integers(0, 3)),
    min_size=2,
    max_size=20,
)


@pytest.mark.promise("P-90", "P-4")
@given(steps)
def test_concurrent_publishes_see_whole_changes(plan: list[tuple[str, int, int]]) -> None:
    """All arrive at once. Each publish reaches the endpoints of some moment, all of them and nobody else."""

    async def work(node: Node) -> None:
        calls: list[asyncio.Task[tuple[tuple[str, ...], ...]]] = []
        moments: set[tuple[str, ...]] = {()}

        async def change(step: str, a: int, b: int) -> tuple[tuple[str, ...], ...]:
            made = partial(add, (URLS[a], URLS[b])) if step == "add" else partial(remove, URLS[a])
            group = await node.writer.run(made)
            moments.add(() if group is None else tuple(e.url for e in group.endpoints))
            return ()

        async def publish(step: str) -> tuple[tuple[str, ...], ...]:
            items = (TO_ALL,) if step == "publish" else (TO_ALL, ITEM, TO_ALL)
            answers = await node.writer.publish_any(items)
            assert [isinstance(answer, Accepted) for answer in answers] == [item is ITEM for item in items]
            seen = tuple(urls_of(answer) for answer in answers if not isinstance(answer, Accepted))
            assert len(set(seen)) == 1  # One request is one transaction.
            return seen

        for step, a, b in plan:
            calls.append(asyncio.create_task(publish(step) if step in {"publish", "batch"} else change(step, a, b)))
        seen = [urls for urls_of_one in await asyncio.gather(*calls) for urls in urls_of_one]

        assert set(seen) <= moments
        expected = Counter(url for urls in seen for url in urls)
        expected[ITEM.request.url] += sum(step == "batch" for step, _, _ in plan)
        assert await reached(node) == +expected

    on_a_node(work)


@pytest.mark.promise("P-119")
def test_transaction_takes_few_publishes_to_groups() -> None:
    """Each may be thousands of messages, and the loop stands still while they are stored."""

    async def work(node: Node) -> None:
        turns: list[int] = []
        honest = node.broker.prepare

        def prepare(turn: Turn, now: Millis) -> Prepared:
            turns.append(sum(TO_ALL in items for items in turn.publishes))
            return honest(turn, now)

        node.broker.prepare = prepare  # type: ignore[method-assign]
        await node.writer.run(partial(add, URLS))
        requests: list[tuple[Publication | GroupPublication, ...]] = [(ITEM,), (TO_ALL,), (TO_ALL, ITEM)] * 5
        answers = await asyncio.gather(*(node.writer.publish_any(items) for items in requests))

        assert [len(answer) for answer in answers] == [len(items) for items in requests]
        assert (max(turns), sum(turns)) == (TURN_FAN_OUTS, 10)
        assert (await reached(node))[URLS[0]] == 10

    on_a_node(work)
