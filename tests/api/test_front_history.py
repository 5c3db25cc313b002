"""Messages, log, dead letters and keys, as clients see them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.test_front_publish import in_a_world
from tests.api.world import ADMIN, OTHER, World, as_json

from lateron.broker import bulk
from lateron.core.values import Outcome, Phases


def test_message_can_be_cancelled_once() -> None:
    """A second cancel must not claim to have done it."""

    async def check(world: World) -> None:
        message = await world.publish(Delay="1h")

        first = await world.ask("DELETE", f"/v2/messages/{message}")
        second = await world.ask("DELETE", f"/v2/messages/{message}")

        assert (first.status, first.json()) == (200, {"cancelled": 1})
        assert second.status == 404
        assert (await world.ask("GET", f"/v2/messages/{message}")).json()["state"] == "CANCELED"

    in_a_world(check)


@pytest.mark.promise("P-96")
@pytest.mark.parametrize(
    ("query", "body", "cancelled"),
    [
        ("", None, 4),
        ("?count=100", None, 4),
        ("?count=1", None, 1),
        ("?label=a", None, 2),
        ("?label=a&label=b", None, 3),
        ("?label=a,b&host=h2", None, 1),
        ("?messageIds={0}&messageIds={1}", None, 2),
        ("", ["{0}", "{3}"], 2),
        ("", ["{0}", "msg_unknown", "{0}"], 1),
        ("", ["msg_unknown"], 0),
        ("", [], 0),
    ],
)
def test_selection_cancels_what_it_names(query: str, body: list[str] | None, cancelled: int) -> None:
    """Everything hangs on a selection that was not understood never meaning all."""

    async def check(world: World) -> None:
        ids = [
            await world.publish("https://h1/", Delay="1h", Label="a"),
            await world.publish("https://h2/", Delay="1h", Label="a"),
            await world.publish("https://h1/", Delay="1h", Label="b"),
            await world.publish("https://h1/", Delay="1h"),
        ]
        content = b"" if body is None else as_json({"messageIds": [text.format(*ids) for text in body]})

        answer = await world.ask("DELETE", "/v2/messages" + query.format(*ids), ADMIN, content)

        assert (answer.status, answer.json()) == (200, {"cancelled": cancelled})
        assert len((await world.ask("GET", "/v2/messages")).json()["messages"]) == 4 - cancelled

    in_a_world(check)


@pytest.mark.promise("P-3", "P-96")
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("DELETE", "/v2/messages?lable=a", b""),
        ("DELETE", "/v2/messages?label=", b""),
        ("DELETE", "/v2/messages?cursor=x", b""),
        ("DELETE", "/v2/messages", b"{}"),
        ("DELETE", "/v2/messages", b'{"dlqIds":["x"]}'),
        ("DELETE", "/v2/messages", b'["x"]'),
        ("DELETE", "/v2/messages?label=a", b'{"messageIds":["x"]}'),
        ("DELETE", "/v2/dlq?nonsense=1", b""),
        ("DELETE", "/v2/dlq?cursor=nonsense", b""),
        ("DELETE", "/v2/dlq", b'{"messageIds":["x"]}'),
        ("POST", "/v2/dlq/retry?count=0", b""),
        ("GET", "/v2/dlq?unknown=x", b""),
        ("GET", "/v2/dlq?cursor=nonsense", b""),
        ("GET", "/v2/events?state=nonsense", b""),
        ("GET", "/v2/events?cursor=nonsense", b""),
        ("GET", "/v2/messages?cursor=nonsense", b""),
        ("GET", "/v2/messages?count=-1", b""),
        ("GET", "/v2/messages?fromDate=now", b""),
        ("GET", "/v2/messages?label=%FF", b""),
    ],
)
def test_selection_that_cannot_be_read_is_refused(method: str, target: str, body: bytes) -> None:
    """A mistyped filter that is ignored would delete everything."""

    async def check(world: World) -> None:
        await world.publish(Delay="1h", Label="a")
        await world.fail()
        before = await world.state()

        answer = await world.ask(method, target, ADMIN, body)

        assert answer.status == 400
        assert isinstance(answer.json()["error"], str)
        assert await world.state() == before

    in_a_world(check)


@pytest.mark.parametrize(("path", "name"), [("/v2/events", "events"), ("/v2/logs", "logs")])
def test_log_has_two_names_for_one_list(path: str, name: str) -> None:
    """SDKs read one, the published description says the other."""

    async def check(world: World) -> None:
        message = await world.publish(Retries="0")
        await world.end(Outcome(status=503, body=b"no"))

        page = (await world.ask("GET", path)).json()
        part = (await world.ask("GET", f"{path}?count=3")).json()
        rest = (await world.ask("GET", f"{path}?count=3&cursor={part['cursor']}")).json()
        oldest = (await world.ask("GET", f"{path}?order=earliestFirst&count=1")).json()[name]

        assert list(page) == [name]
        assert [event["state"] for event in page[name]] == ["FAILED", "ERROR", "ACTIVE", "CREATED"]
        assert {event["messageId"] for event in page[name]} == {message}
        assert part[name] + rest[name] == page[name]
        assert "cursor" not in rest
        assert oldest[0]["state"] == "CREATED"

    in_a_world(check)


def test_story_shows_every_attempt_with_its_phases() -> None:
    """What was sent, what came back, how long each part took: the first thing anybody asks."""

    async def check(world: World) -> None:
        message = await world.publish(Retries="1", Retry_Delay="0")
        phases = Phases(dns=1, connect=2, first_byte=3, total=6)
        await world.end(Outcome(error="timeout", detail="no answer in 1 s", phases=phases))
        world.clock.now += 1000
        world.writer.wake()
        await world.end(Outcome(status=200, headers=(("X-A", "1"),), body=b"fine"))

        story = (await world.ask("GET", f"/lateron/v1/messages/{message}")).json()

        assert story["state"] == "DELIVERED"
        assert [attempt["attempt"] for attempt in story["attempts"]] == [1, 2]
        assert story["attempts"][0]["phases"] == {"dns": 1, "connect": 2, "firstByte": 3, "total": 6}
        assert story["attempts"][0]["errorClass"] == "timeout"
        assert story["attempts"][1]["responseBody"] == "fine"
        assert [event["state"] for event in story["events"]] == [
            "CREATED",
            "ACTIVE",
            "ERROR",
            "RETRY",
            "ACTIVE",
            "DELIVERED",
        ]

    in_a_world(check)


def test_dead_letter_is_shown_deleted_and_gone() -> None:
    """With what was sent and with the answer that made it one."""

    async def check(world: World) -> None:
        letter = await world.fail(404, b"404 Not Found")

        listed = (await world.ask("GET", "/v2/dlq")).json()
        shown = (await world.ask("GET", f"/v2/dlq/{letter}")).json()
        deleted = await world.ask("DELETE", f"/v2/dlq/{letter}")
        again = await world.ask("DELETE", f"/v2/dlq/{letter}")

        assert listed == {"messages": [shown]}
        assert (shown["responseStatus"], shown["responseBody"]) == (404, "404 Not Found")
        assert (deleted.status, again.status) == (200, 404)
        assert (await world.ask("GET", f"/v2/dlq/{letter}")).status == 404
        assert (await world.ask("GET", "/v2/dlq/nonsense")).status == 404

    in_a_world(check)


@pytest.mark.promise("P-96")
@pytest.mark.parametrize(
    ("query", "body", "deleted", "more"),
    [
        ("?count=100", None, 3, False),
        ("?count=2", None, 2, True),
        ("?label=a", None, 1, False),
        ("?responseStatus=503", None, 1, False),
        ("?dlqIds={0}&dlqIds={1}", None, 2, False),
        ("", ["{0}", "{2}", "1-nonsense"], 2, False),
        ("", [], 0, False),
        ("?label=nobody", None, 0, False),
    ],
)
def test_selection_deletes_dead_letters(query: str, body: list[str] | None, deleted: int, *, more: bool) -> None:
    """Ids that a retry has removed meanwhile are no error; a page that ends early has a cursor."""

    async def check(world: World) -> None:
        letters = [await world.fail(500, Label="a"), await world.fail(503), await world.fail(500)]
        content = b"" if body is None else as_json({"dlqIds": [text.format(*letters) for text in body]})

        answer = (await world.ask("DELETE", "/v2/dlq" + query.format(*letters), ADMIN, content)).json()
        if more:
            answer |= (await world.ask("DELETE", f"/v2/dlq?cursor={answer.pop('cursor')}")).json() | {
                "deleted": deleted
            }

        assert answer == {"deleted": deleted}
        left = (await world.ask("GET", "/v2/dlq")).json()["messages"]
        assert len(left) == (0 if more else 3 - deleted)

    in_a_world(check)


@pytest.mark.promise("P-97")
def test_dead_letter_is_published_anew_with_what_the_call_changes() -> None:
    """It leaves the queue in the same moment; what is not overridden stays as it was."""

    async def check(world: World) -> None:
        letter = await world.fail(Label="old", Forward_X="1")
        options = {"Upstash-Label": "new", "Upstash-Retries": "7"}

        answer = await world.ask("POST", f"/v2/dlq/retry/{letter}?upstash-delay=1h", ADMIN, headers=options)
        message = (await world.ask("GET", f"/v2/messages/{answer.json()['messageId']}")).json()

        assert answer.status == 201
        assert (message["label"], message["maxRetries"], message["body"]) == ("new", 7, "hi")
        assert message["header"]["X"] == ["1"]
        assert message["waitingFor"] == "delay"
        assert (await world.ask("POST", f"/v2/dlq/retry/{letter}")).status == 404
        assert (await world.ask("GET", "/v2/dlq")).json() == {"messages": []}

    in_a_world(check)


@pytest.mark.promise("P-96", "P-97")
@pytest.mark.parametrize("dry", [False, True], ids=["done", "dry"])
@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v2/dlq"), ("POST", "/v2/dlq/retry")])
def test_call_that_means_a_single_old_dead_letter_finds_it(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, *, dry: bool
) -> None:
    """It looks in pieces, between which others have their turn, and does not end before it has found one."""
    monkeypatch.setattr(bulk, "PAGE", 1)

    async def check(world: World) -> None:
        old = await world.fail(Label="old")
        for _ in range(2 * bulk.PAGES):
            await world.fail()

        answer = (await world.ask(method, f"{path}?label=old{'&dryRun=true' * dry}", ADMIN)).json()

        if dry:
            assert (answer["count"], answer["examples"][0]["dlqId"]) == (1, old)
        else:
            assert answer["deleted"] == 1 if method == "DELETE" else len(answer["responses"]) == 1
            assert (await world.ask("GET", f"/v2/dlq/{old}")).status == 404
        assert len((await world.ask("GET", "/v2/dlq")).json()["messages"]) == 2 * bulk.PAGES + dry
        told = (await world.ask(method, f"{path}?label=nobody{'&dryRun=true' * dry}", ADMIN)).json()
        assert "cursor" not in told

    in_a_world(check)


@pytest.mark.promise("P-97")
def test_many_dead_letters_are_published_anew_page_by_page() -> None:
    """The list of new messages is a list even when it is empty."""

    async def check(world: World) -> None:
        for _ in range(3):
            await world.fail()

        first = (await world.ask("POST", "/v2/dlq/retry?count=2", headers={"Upstash-Delay": "1h"})).json()
        second = (await world.ask("POST", f"/v2/dlq/retry?cursor={first['cursor']}")).json()
        third = (await world.ask("POST", "/v2/dlq/retry?label=nobody")).json()

        assert (len(first["responses"]), len(second["responses"])) == (2, 1)
        assert "cursor" not in second
        assert third == {"responses": []}

    in_a_world(check)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upstash-Callback": "http://10.6.6.6"}, 400),
        ({"Upstash-Retries": "nonsense"}, 400),
        ({"Upstash-Retries": "2000000"}, 412),
        ({"Upstash-Workflow-RunId": "x"}, 501),
    ],
)
def test_bad_override_leaves_the_dead_letter_where_it_is(headers: dict[str, str], status: int) -> None:
    """A retry that is refused must not have taken anything out of the queue."""

    async def check(world: World) -> None:
        letter = await world.fail()
        for path in (f"/v2/dlq/retry/{letter}", "/v2/dlq/retry"):
            assert (await world.ask("POST", path, headers=headers)).status == status
        assert (await world.ask("GET", f"/v2/dlq/{letter}")).status == 200

    in_a_world(check)


@pytest.mark.parametrize("path", ["/v2/dlq?source=workflow", "/v2/events?source=workflow"])
def test_lists_of_workflows_are_not_built(path: str) -> None:
    """An empty list would say: there are none; the truth is that nobody keeps any."""

    async def check(world: World) -> None:
        answer = await world.ask("GET", path)
        assert answer.status == 501
        assert "workflow" in answer.json()["error"]

    in_a_world(check)


@pytest.mark.promise("P-107")
def test_rotation_moves_the_next_key_up() -> None:
    """Both paths rotate; the keys of other tenants stay."""

    async def check(world: World) -> None:
        before = (await world.ask("GET", "/v2/keys")).json()
        once = (await world.ask("POST", "/v2/keys/rotate")).json()
        twice = (await world.ask("POST", "/v2/Rotate")).json()

        assert once["current"] == before["next"]
        assert twice["current"] == once["next"]
        assert len({before["current"], before["next"], once["next"], twice["next"]}) == 4
        assert (await world.ask("GET", "/v2/keys")).json() == twice
        assert (await world.ask("GET", "/v2/keys", OTHER)).json() == {"current": "sig_current2", "next": "sig_next2"}

    in_a_world(check)


@pytest.mark.promise("D-82")
def test_server_says_who_it_is_and_whether_it_is_ready() -> None:
    """Readiness can be lost without the process being dead."""
    reasons: list[str | None] = [None, "stopping"]

    async def check(world: World) -> None:
        info = (await world.ask("GET", "/lateron/v1/info")).json()
        ready = await world.ask("GET", "/readyz", None)
        stopping = await world.ask("GET", "/readyz", None)

        assert (info["name"], info["user"], info["scope"], info["extra"]) == ("lateron", "user1", "admin", 1)
        assert ready.status == 200
        assert (stopping.status, stopping.json()) == (503, {"error": "not ready: stopping"})
        assert (await world.ask("GET", "/healthz", None)).status == 200

    in_a_world(check, not_ready=lambda: reasons.pop(0), info=lambda: {"extra": 1})


def test_catcher_shows_what_was_delivered_to_it() -> None:
    """Catching needs no token, looking does."""

    async def check(world: World) -> None:
        caught: Any = await world.ask("PUT", "/_catch/shop/x?status=201", None, b"hello")
        names = (await world.ask("GET", "/lateron/v1/catcher")).json()["names"]
        (seen,) = (await world.ask("GET", "/lateron/v1/catcher/shop")).json()["requests"]

        assert caught.status == 201
        assert [name["name"] for name in names] == ["shop"]
        assert (seen["method"], seen["body"]) == ("PUT", "hello")
        assert (await world.ask("DELETE", "/lateron/v1/catcher/shop")).json() == {"deleted": 1}
        assert (await world.ask("GET", "/lateron/v1/catcher")).json() == {"names": []}

    in_a_world(check)


def test_catcher_can_be_switched_off() -> None:
    """In production nobody may leave bytes in our memory without a token."""

    async def check(world: World) -> None:
        assert (await world.ask("POST", "/_catch/x", None)).status == 404
        assert (await world.ask("GET", "/lateron/v1/catcher")).status == 404

    in_a_world(check, catcher=None)
