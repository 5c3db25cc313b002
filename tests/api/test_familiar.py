"""Heads that came before: what they make is what they made when they were read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.api.raw import parse_answers
from tests.api.test_lane import LINES, LONG_WAY, ON_THE_LANE, TARGETS
from tests.api.ways import AUTH, GOOD, LAST, Way, Ways, on_the_lane, post
from tests.api.world import ADMIN

from lateron.api.sighting import sighting
from lateron.broker.history import History
from lateron.core.familiar import Familiar

# What no head may be remembered for: it says something of its connection, or names what only the store knows.
READ_EACH_TIME = {
    *("no length", "big", "no such group", "told to close", "absolute form", "upper case", "no destination"),
    *("not UTF-8", "private", "bad option", "over a quota", "not built", "in circles"),
}


@pytest.fixture
def both() -> Iterator[Ways]:
    with asyncio.Runner() as runner:
        ways = Ways(runner)
        yield ways
        ways.close()


def familiar(way: Way) -> int:
    """Return how many publishes were served whose heads nobody read: their entries have none."""
    return way.served.count(b"")


@pytest.mark.promise("D-3", "P-3")
@pytest.mark.parametrize("name", [*ON_THE_LANE, *LONG_WAY])
def test_request_that_comes_again_and_again_is_answered_and_stored_as_on_the_long_way(both: Ways, name: str) -> None:
    """The third time a head comes, nobody looks at it: not the parser, nor the rules of heads."""
    status, data = (ON_THE_LANE | LONG_WAY)[name]

    for _ in range(4):
        received = both.tell(data + LAST)
        assert parse_answers(received)[0].status == status, received

    assert (familiar(both.lane) == 2) is (name in ON_THE_LANE.keys() - READ_EACH_TIME), both.lane.served
    both.check_kept()


def test_any_head_makes_the_same_each_time(both: Ways) -> None:
    """Bodies of other lengths come under the same head."""

    @settings(max_examples=100)
    @given(LINES, TARGETS, st.lists(st.binary(max_size=30), min_size=3, max_size=5))
    def check(lines: list[tuple[str, str]], target: str, bodies: list[bytes]) -> None:
        encoded = [f"{name}: {value}".encode("latin-1") for name, value in lines]
        sent = [post(f"/v2/publish/{target}".encode(), *encoded, body=body) for body in bodies]
        both.tell(b"".join(sent) + LAST)

    check()

    assert familiar(both.lane) > 20
    both.check_kept()


@given(st.data())
def test_heads_that_differ_in_anything_but_the_length_are_two(data: st.DataObject) -> None:
    """One byte may be another destination, token or option."""
    head = post(b"/v2/publish/https://h/", b"X-Strength: 5", b"X-Content-Length: 7", body=b"x" * 123)
    head = head[: head.index(b"\r\n\r\n")]
    at = data.draw(st.integers(0, len(head) - 1))
    other = bytes([data.draw(st.integers(0, 255))])
    changed = head[:at] + other + head[at + 1 :]
    whole, piece = b"%b\r\n\r\n", b"%b"

    first = sighting(whole % head, len(head), b"\n::1")
    second = sighting(whole % changed, len(changed), b"\n::1")

    assert first is not None
    assert first.length == 123
    start = head.index(b"Content-Length: 123") + len("Content-Length: ")
    if second is not None and second.key == first.key:
        assert (piece % head)[:start] == changed[:start]
        assert head[start + 3 :] == changed[start + 3 :]
        assert second.length == int(changed[start : start + 3])
    assert sighting(whole % head, len(head), b"\n::2") != first, "another sender may be another caller"


@pytest.mark.parametrize(
    "line",
    ["Content-Length: +5", "Content-Length: 5 ", "Content-Length:5", "Content-Length: ", "Content-Length: 1" * 9],
)
def test_length_that_is_not_just_a_number_is_left_to_the_parser(line: str) -> None:
    """What is read by just looking must be beyond doubt."""
    head = b"POST /v2/publish/https://h/ HTTP/1.1\r\nHost: a\r\n" + line.encode()

    assert sighting(head + b"\r\n\r\n", len(head), b"") is None


def test_memory_of_heads_has_an_end() -> None:
    """Publishers who send a head of their own with each message must not fill the memory."""
    heads: Familiar[int] = Familiar()
    for i in range(5000):
        key = b"%d" % i
        assert not heads.came_before(key)
        assert heads.came_before(key)
        heads.remember(key, i)

    assert len(heads._known) <= 1024
    assert heads.get(b"4999") == 4999


def test_token_is_asked_for_each_time() -> None:
    """A token that is taken back is worth nothing from then on, however often it came before."""

    async def check(opened: Way) -> None:
        for _ in range(3):
            await opened.tell(GOOD + LAST)
        assert familiar(opened) == 1

        resources, hashed = opened.world.resources, sha256(ADMIN.encode()).digest()
        rows = await opened.world.writer.read(History.tokens)
        resources.adopt_tokens([row for row in rows if row.hash != hashed], resources.changes)
        refused = parse_answers(await opened.tell(GOOD + LAST))[0]
        assert refused.status == 401

        moved = [replace(row, tenant=2) if row.hash == hashed else row for row in rows]
        resources.adopt_tokens(moved, resources.changes)
        await opened.tell(GOOD + LAST)
        assert [claimed.message.tenant for claimed in opened.world.begun] == [1] * 3 + [2]

    on_the_lane(check)


def test_room_for_bodies_is_asked_for_each_time() -> None:
    """A publish that finds no room is refused as before, and nothing of it is counted."""

    async def check(opened: Way) -> None:
        for _ in range(3):
            await opened.tell(GOOD + LAST)
        in_flight = opened.world.api._in_flight
        in_flight.limit = 1

        refused = parse_answers(await opened.tell(GOOD + LAST))[0]

        assert (refused.status, in_flight.taken) == (503, 0)

    on_the_lane(check)


def test_head_alone_waits_for_its_body(both: Ways) -> None:
    """A body that comes later than its head is a body all the same."""
    for _ in range(3):
        both.tell(GOOD + LAST)

    async def in_two(opened: Any) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", opened.world.front.port)
        writer.write(GOOD[:-1])
        await writer.drain()
        await opened.tell(LAST)  # By now the first part has been looked at.
        writer.write(GOOD[-1:] + LAST)
        received: bytes = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received

    for way in (both.lane, both.long):
        assert [answer.status for answer in parse_answers(both.runner.run(in_two(way)))] == [201, 200]
    assert AUTH in GOOD
    both.check_kept()
