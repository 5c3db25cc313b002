"""Two users of one server: neither can see, change, count or name-collide with what is the other's.

``TABLE`` says, for every route, what Bob gets when he asks with his own token for what is Alice's. It is
compared with the routes there are, so a new one fails here until somebody has thought about it. What he asks
for is there: wherever he is told 404, she is not. Around each call every row that is not Bob's, and all that
Alice can read, must stay the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest
from tests.contract.house import ALICE, BOB, Answer, House, opened
from tests.support.poll import until

from lateron.api.app import ROUTES
from lateron.api.routes import Access
from lateron.config.dev_users import DevUser
from lateron.core.bulk import WORDS

LISTS: Final = ("/v2/messages", "/v2/events", "/v2/logs", "/v2/dlq", "/lateron/v1/jobs", "/lateron/v1/catcher")
ID: Final = re.compile(r"(?:msg|job)_[0-9a-f]{32}|[0-9]{13}-[0-9a-f]{32}")


class Hers(NamedTuple):
    """Names of what is Alice's."""

    message: str  # Waits.
    delivered: str
    letter: str
    dead: str  # The message of the letter.
    name: str  # Of a catcher.
    group: str
    queue: str  # Paused; one message waits in it.
    key: str  # Pinned; of the same message.
    schedule: str
    host: str  # Paused.
    token: str  # Name of one that may read.
    user: str  # Of the console.
    session: str  # Of the console, opened with the token she calls with.
    job: str  # A bulk job, at rest.
    ids: frozenset[str]  # Every id that she can see.


def would(kind: str, name: str, value: str) -> str:
    """Return the body that asks what a bulk job would change."""
    return json.dumps({"kind": kind, "filter": {name: value}, "dryRun": True})


class Row(NamedTuple):
    """What Bob is answered. In ``target`` and ``body`` stand the names of ``Hers``, in braces."""

    target: str
    status: int
    body: str = ""
    answer: Any = None  # The whole answer, where it is known.
    own: bool = False  # The call changes what is Bob's own.
    headers: Mapping[str, str] = MappingProxyType({})


NOTHING_DELETED: Final = {"deleted": 0}
NOTHING_MEANT: Final = {"count": 0, "examples": [], "dryRun": True}
OVERWRITE: Final = {"Upstash-Cron": "1 1 1 1 1", "Upstash-Schedule-Id": "<schedule>"}
TABLE: Final[dict[str, list[Row]]] = {
    "POST /v2/publish/{destination}": [
        Row("/v2/publish/https://example.com/hers", 201, "x", own=True),
        Row("/v2/publish/<group>", 404, "x"),
        Row("/v2/publish/https://example.com/x", 201, "x", own=True, headers={"Upstash-Queue-Name": "<queue>"}),
    ],
    "POST /v2/batch": [
        Row("/v2/batch", 201, '[{"destination":"https://example.com/hers","queue":"<queue>"}]', own=True),
        Row("/v2/batch", 200, '[{"destination":"<group>"}]'),
    ],
    "GET /v2/messages": [
        Row("/v2/messages?messageIds=<message>", 200, answer={"messages": []}),
        Row("/v2/messages?messageIds=<message>,<delivered>&count=5", 200, answer={"messages": []}),
        Row("/v2/messages?queueName=<queue>", 200, answer={"messages": []}),
        Row("/v2/messages?flowControlKey=<key>", 200, answer={"messages": []}),
    ],
    "DELETE /v2/messages": [
        Row("/v2/messages?messageIds=<message>", 200, answer={"cancelled": 0}),
        Row("/v2/messages", 200, '{"messageIds":["<message>"]}', {"cancelled": 0}),
        Row("/v2/messages?queueName=<queue>", 200, answer={"cancelled": 0}),
        Row("/v2/messages", 200, answer={"cancelled": 5}, own=True),
    ],
    "GET /v2/messages/{messageId}": [Row("/v2/messages/<message>", 404), Row("/v2/messages/<delivered>", 404)],
    "DELETE /v2/messages/{messageId}": [Row("/v2/messages/<message>", 404), Row("/v2/messages/<delivered>", 404)],
    "GET /v2/events": [
        Row("/v2/events?messageIds=<message>,<delivered>", 200, answer={"events": []}),
        Row("/v2/events?queueName=<queue>", 200, answer={"events": []}),
        Row("/v2/events?flowControlKey=<key>", 200, answer={"events": []}),
    ],
    "GET /v2/logs": [Row("/v2/logs?messageId=<delivered>", 200, answer={"logs": []})],
    "GET /v2/dlq": [
        Row("/v2/dlq?dlqIds=<letter>", 200, answer={"messages": []}),
        Row("/v2/dlq?messageIds=<dead>", 200, answer={"messages": []}),
    ],
    "DELETE /v2/dlq": [
        Row("/v2/dlq?dlqIds=<letter>", 200, answer=NOTHING_DELETED),
        Row("/v2/dlq", 200, '{"dlqIds":["<letter>"]}', NOTHING_DELETED),
        Row("/v2/dlq", 200, answer={"deleted": 4}, own=True),
    ],
    "POST /v2/dlq/retry": [
        Row("/v2/dlq/retry?dlqIds=<letter>", 200, answer={"responses": []}),
        Row("/v2/dlq/retry", 200, '{"dlqIds":["<letter>"]}', {"responses": []}),
        Row("/v2/dlq/retry", 200, own=True),
    ],
    "POST /v2/dlq/retry/{dlqId}": [Row("/v2/dlq/retry/<letter>", 404)],
    "GET /v2/dlq/{dlqId}": [Row("/v2/dlq/<letter>", 404)],
    "DELETE /v2/dlq/{dlqId}": [Row("/v2/dlq/<letter>", 404)],
    "GET /v2/topics": [Row("/v2/topics", 200)],
    "GET /v2/topics/{urlGroupName}": [Row("/v2/topics/<group>", 404)],
    "PATCH /v2/topics/{urlGroupName}": [Row("/v2/topics/<group>", 404, '{"headers":{}}')],
    "DELETE /v2/topics/{urlGroupName}": [Row("/v2/topics/<group>", 200, answer=NOTHING_DELETED)],
    "POST /v2/topics/{urlGroupName}/endpoints": [
        Row("/v2/topics/<group>/endpoints", 200, '{"endpoints":[{"url":"https://example.com/his"}]}', own=True)
    ],
    "DELETE /v2/topics/{urlGroupName}/endpoints": [
        Row("/v2/topics/<group>/endpoints", 404, '{"endpoints":[{"url":"https://example.com/his"}]}')
    ],
    "POST /v2/enqueue/{queueName}/{destination}": [
        Row("/v2/enqueue/<queue>/https://example.com/x", 201, "x", own=True),
        Row("/v2/enqueue/<queue>/<group>", 404, "x"),
    ],
    "GET /v2/queues": [Row("/v2/queues", 200)],
    "POST /v2/queues": [Row("/v2/queues", 200, '{"queueName":"<queue>","parallelism":2,"paused":false}', own=True)],
    "GET /v2/queues/{queueName}": [Row("/v2/queues/<queue>", 404)],
    "DELETE /v2/queues/{queueName}": [Row("/v2/queues/<queue>", 200)],
    "POST /v2/queues/{queueName}/pause": [Row("/v2/queues/<queue>/pause", 404)],
    "POST /v2/queues/{queueName}/resume": [Row("/v2/queues/<queue>/resume", 404)],
    "POST /v2/schedules/{destination}": [
        Row("/v2/schedules/https://example.com/x", 201, "x", own=True, headers=OVERWRITE),
        Row("/v2/schedules/<group>", 404, "x", headers=OVERWRITE),
    ],
    "GET /v2/schedules": [Row("/v2/schedules", 200)],
    "GET /v2/schedules/{scheduleId}": [Row("/v2/schedules/<schedule>", 404)],
    "DELETE /v2/schedules/{scheduleId}": [Row("/v2/schedules/<schedule>", 404)],
    "PATCH /v2/schedules/{scheduleId}/pause": [Row("/v2/schedules/<schedule>/pause", 404)],
    "POST /v2/schedules/{scheduleId}/pause": [Row("/v2/schedules/<schedule>/pause", 404)],
    "PATCH /v2/schedules/{scheduleId}/resume": [Row("/v2/schedules/<schedule>/resume", 404)],
    "POST /v2/schedules/{scheduleId}/resume": [Row("/v2/schedules/<schedule>/resume", 404)],
    "POST /v2/schedules/{scheduleId}/run": [Row("/v2/schedules/<schedule>/run", 404)],
    "GET /lateron/v1/schedules/{scheduleId}/next": [Row("/lateron/v1/schedules/<schedule>/next", 404)],
    "GET /lateron/v1/cron": [Row("/lateron/v1/cron?cron=0%204%20*%20*%20*", 200)],
    "GET /v2/flowControl": [
        Row("/v2/flowControl", 200),
        Row("/v2/flowControl?search=<key>", 200, answer=[]),
    ],
    "GET /v2/flowControl/{flowControlKey}": [Row("/v2/flowControl/<key>", 404)],
    "POST /v2/flowControl/{flowControlKey}/pause": [Row("/v2/flowControl/<key>/pause", 200, own=True)],
    "POST /v2/flowControl/{flowControlKey}/resume": [Row("/v2/flowControl/<key>/resume", 200, own=True)],
    "POST /v2/flowControl/{flowControlKey}/pin": [Row("/v2/flowControl/<key>/pin?rate=1", 200, own=True)],
    "POST /v2/flowControl/{flowControlKey}/unpin": [Row("/v2/flowControl/<key>/unpin?rate=true", 200, own=True)],
    "POST /v2/flowControl/{flowControlKey}/resetRate": [Row("/v2/flowControl/<key>/resetRate", 200, own=True)],
    "POST /v2/flowControl/{flowControlKey}/reset": [Row("/v2/flowControl/<key>/reset", 200, own=True)],
    "GET /v2/globalParallelism": [Row("/v2/globalParallelism", 200)],
    "GET /lateron/v1/overview": [Row("/lateron/v1/overview", 200)],
    "GET /lateron/v1/stream": [Row("/lateron/v1/stream?topics=none", 400)],  # What it tells: tests/api/test_stream.py.
    "GET /lateron/v1/destinations": [
        Row("/lateron/v1/destinations", 200),
        Row("/lateron/v1/destinations?search=<host>", 200, answer={"destinations": []}),
    ],
    "POST /lateron/v1/destinations/{host}/pause": [Row("/lateron/v1/destinations/<host>/pause", 200, own=True)],
    "POST /lateron/v1/destinations/{host}/resume": [Row("/lateron/v1/destinations/<host>/resume", 200, own=True)],
    "POST /lateron/v1/destinations/{host}/test": [Row("/lateron/v1/destinations/<host>/test", 404)],
    "GET /lateron/v1/delivery": [Row("/lateron/v1/delivery", 200)],
    "POST /lateron/v1/delivery/pause": [Row("/lateron/v1/delivery/pause", 403)],
    "POST /lateron/v1/delivery/resume": [Row("/lateron/v1/delivery/resume", 403)],
    "GET /v2/keys": [Row("/v2/keys", 200, answer={"current": BOB.current, "next": BOB.next})],
    "POST /v2/keys/rotate": [Row("/v2/keys/rotate", 200, own=True)],
    "POST /v2/rotate": [Row("/v2/rotate", 200, own=True)],
    "GET /lateron/v1/config": [Row("/lateron/v1/config", 200)],
    "GET /lateron/v1/audit": [Row("/lateron/v1/audit", 200)],
    "GET /lateron/v1/tokens": [Row("/lateron/v1/tokens", 200)],
    "POST /lateron/v1/tokens": [Row("/lateron/v1/tokens", 201, '{"name":"<token>","scope":"read"}', own=True)],
    "DELETE /lateron/v1/tokens/{tokenName}": [Row("/lateron/v1/tokens/<token>", 404)],
    "POST /lateron/v1/tokens/{tokenName}/reset": [Row("/lateron/v1/tokens/<token>/reset", 404)],
    "GET /lateron/v1/users": [Row("/lateron/v1/users", 403)],
    "POST /lateron/v1/users": [
        Row("/lateron/v1/users", 403, '{"name":"bob","scope":"read","password":"long as need be"}')
    ],
    "PATCH /lateron/v1/users/{userName}": [Row("/lateron/v1/users/<user>", 403, '{"scope":"read"}')],
    "DELETE /lateron/v1/users/{userName}": [Row("/lateron/v1/users/<user>", 403)],
    "GET /lateron/v1/messages/{messageId}": [
        Row("/lateron/v1/messages/<message>", 404),
        Row("/lateron/v1/messages/<delivered>", 404),
    ],
    "POST /lateron/v1/messages/{messageId}/retry": [Row("/lateron/v1/messages/<message>/retry", 404)],
    "GET /lateron/v1/jobs": [Row("/lateron/v1/jobs", 200)],
    "POST /lateron/v1/jobs": [
        Row("/lateron/v1/jobs", 200, would("cancel", "messageIds", "<message>"), NOTHING_MEANT),
        Row("/lateron/v1/jobs", 200, would("retryNow", "messageIds", "<message>"), NOTHING_MEANT),
        Row("/lateron/v1/jobs", 200, would("deleteDeadLetters", "dlqIds", "<letter>"), NOTHING_MEANT),
        Row("/lateron/v1/jobs", 200, would("replayDeadLetters", "messageIds", "<dead>"), NOTHING_MEANT),
        Row("/lateron/v1/jobs", 200, would("cancel", "queueName", "<queue>"), NOTHING_MEANT),
        Row("/lateron/v1/jobs", 201, '{"kind":"deleteDeadLetters","filter":{"dlqIds":"<letter>"}}', own=True),
    ],
    "GET /lateron/v1/jobs/{jobId}": [Row("/lateron/v1/jobs/<job>", 404)],
    "POST /lateron/v1/jobs/{jobId}/cancel": [Row("/lateron/v1/jobs/<job>/cancel", 404)],
    "GET /lateron/v1/sessions": [Row("/lateron/v1/sessions", 200, answer=[])],
    "DELETE /lateron/v1/sessions": [Row("/lateron/v1/sessions?name=development", 200, answer={"ended": 0})],
    "DELETE /lateron/v1/sessions/{sessionId}": [Row("/lateron/v1/sessions/<session>", 404)],
    "GET /lateron/v1/info": [Row("/lateron/v1/info", 200)],
    "GET /metrics": [Row("/metrics", 403)],
    "GET /lateron/v1/catcher": [Row("/lateron/v1/catcher", 200, answer={"names": []})],
    "DELETE /lateron/v1/catcher": [Row("/lateron/v1/catcher", 200, answer=NOTHING_DELETED)],
    "GET /lateron/v1/catcher/{name}": [Row("/lateron/v1/catcher/<name>", 200, answer={"requests": []})],
    "DELETE /lateron/v1/catcher/{name}": [Row("/lateron/v1/catcher/<name>", 200, answer=NOTHING_DELETED)],
}
OF_A_PARENT: Final = frozenset(("attempt", "schedule_request", "tick"))
OF_ALL: Final = frozenset(("GET /metrics", "GET /lateron/v1/config"))  # Of the whole server; a call changes them.
OF_NOBODY: Final = frozenset(("store", "tenant", "node", "setting", "data_key"))
ROWS: Final = [(route, row) for route, rows in TABLE.items() for row in rows]
IDS: Final = [f"{route} {row.target}" for route, row in ROWS]


@pytest.fixture
def hers(house: House) -> Hers:
    """Return what Alice has."""
    events = house.ask("GET", "/v2/events").json["events"]
    letter = house.ask("GET", "/v2/dlq").json["messages"][0]
    seen = frozenset(found for path in LISTS for found in ID.findall(house.ask("GET", path).body.decode()))
    return Hers(
        message=house.ask("GET", "/v2/messages").json["messages"][0]["messageId"],
        delivered=next(event["messageId"] for event in events if event["state"] == "DELIVERED"),
        letter=letter["dlqId"],
        dead=letter["messageId"],
        name="ok",
        group=f"group-{ALICE.tenant}",
        queue=f"line-{ALICE.tenant}",
        key=f"key-{ALICE.tenant}",
        schedule=f"scheduled-{ALICE.tenant}",
        host=f"host-{ALICE.tenant}.example:443",
        token=f"token-{ALICE.tenant}",
        user=f"user-{ALICE.tenant}",
        session=house.log_in(ALICE),
        job=house.ask("GET", "/lateron/v1/jobs").json["jobs"][0]["jobId"],
        ids=seen,
    )


def filled(text: str, hers: Hers) -> str:
    """Put the names of what is Alice's in their places."""
    for field, value in hers._asdict().items():
        text = text.replace(f"<{field}>", str(value))
    return text


def view(house: House, hers: Hers) -> dict[str, Any]:
    """Return all that Alice can read: every list, and what is behind every path of the table."""
    targets = {filled(row.target, hers) for route, row in ROWS if route.startswith("GET ") and route not in OF_ALL}
    return {path: house.ask("GET", path).json for path in sorted(targets.union(LISTS))}


def rows_of(house: House, tenant: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a tenant; an attempt is its message's, a tick its schedule's."""
    dump, columns = house.dump(), house.columns()
    mine = {row[0] for table in ("message", "schedule") for row in dump[table] if row[1] == tenant}
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table, rows in dump.items():
        if "tenant" in columns[table]:
            place = columns[table].index("tenant")
            found[table] = [row for row in rows if row[place] == tenant]
        else:
            assert table in OF_NOBODY | OF_A_PARENT, f"whose are the rows of {table}?"
            found[table] = [row for row in rows if table in OF_A_PARENT and row[0] in mine]
    return found


def rows_of_others(house: House) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that are not Bob's, with those that are nobody's, such as settings."""
    his = rows_of(house, BOB.tenant)
    return {table: [row for row in rows if row not in his[table]] for table, rows in house.dump().items()}


@pytest.mark.promise("D-5")
def test_each_route_that_needs_a_token_is_in_the_table() -> None:
    """A route that nobody thought about must not show one user's things to another."""
    assert set(TABLE) == {f"{route.method} {route.path}" for route in ROUTES if route.access is not Access.PUBLIC}


def ask(house: House, route: str, row: Row, hers: Hers, user: DevUser) -> Answer:
    """Make the call of a row."""
    headers = {name: filled(value, hers) for name, value in row.headers.items()}
    method = route.partition(" ")[0]
    return house.ask(method, filled(row.target, hers), filled(row.body, hers).encode(), headers, user.token)


@pytest.mark.promise("P-111", "D-5")
@pytest.mark.parametrize(("route", "row"), ROWS, ids=IDS)
def test_other_user_gets_nothing_of_hers_and_changes_nothing(route: str, row: Row, house: House, hers: Hers) -> None:
    """Not by a path, not by a filter, not by a body, and not by asking for everything."""
    before, his = (rows_of_others(house), view(house, hers)), rows_of(house, BOB.tenant)

    answer = ask(house, route, row, hers, BOB)

    assert answer.status == row.status, answer
    assert row.answer is None or answer.json == row.answer, answer
    assert (rows_of_others(house), view(house, hers)) == before
    # That he called may stand in his audit log, whatever came of it.
    assert row.own or {**rows_of(house, BOB.tenant), "audit": his["audit"]} == his
    named = filled(f"{row.target} {row.body} {row.headers}", hers)
    told = answer.body.decode()
    assert not set(ID.findall(told)) & (hers.ids - set(ID.findall(named)))
    hidden = (hers.group, hers.queue, hers.key, hers.schedule, hers.host, hers.token, hers.user, hers.session)
    assert [text for text in hidden if text in told] == [text for text in hidden if text in told and text in named]


# Without those that nobody has any more: who was delivered cannot be cancelled, and the catcher forgets.
MISSED: Final = [
    (route, row)
    for route, row in ROWS
    if (row.status in {403, 404} and (route, "<delivered>" in row.target) != ("DELETE /v2/messages/{messageId}", True))
    or (row.answer and not row.own and "catcher" not in row.target)
]


@pytest.mark.promise("P-111")
@pytest.mark.parametrize(("route", "row"), MISSED, ids=[f"{route} {row.target}" for route, row in MISSED])
def test_what_the_other_user_misses_is_there_for_her(route: str, row: Row, house: House, hers: Hers) -> None:
    """A name that nobody has would be refused by a server that keeps no users apart, too."""
    answer = ask(house, route, row, hers, ALICE)

    assert answer.status in {200, 201}, answer
    assert row.answer is None or answer.json != row.answer, answer


@pytest.mark.promise("P-111", "D-5", "P-96")
@pytest.mark.parametrize("kind", [kind for kind in WORDS if kind != "reschedule"])
def test_a_job_for_everything_means_everything_of_his_own(kind: str, house: House, hers: Hers) -> None:
    """It runs when the call is over, so whose it is must be remembered."""
    before = rows_of_others(house), view(house, hers)
    wanted = {"kind": kind, "filter": {"label": ["later", "kept"]} if kind == "erase" else {}}

    made = house.ask("POST", "/lateron/v1/jobs", json.dumps(wanted).encode(), token=BOB.token)
    until(lambda: house.job_rests(made.json["jobId"], BOB.token), "the job to end")

    ended = house.ask("GET", f"/lateron/v1/jobs/{made.json['jobId']}", token=BOB.token).json
    assert (ended["state"], ended["done"]) == ("done", ended["total"])
    assert ended["done"] >= 4
    assert (rows_of_others(house), view(house, hers)) == before


@pytest.mark.promise("P-111", "D-5")
@pytest.mark.parametrize("path", LISTS)
def test_lists_of_two_users_have_nothing_in_common(path: str, house: House) -> None:
    """Also by a cursor that was made for the other, which is a place and no permission."""
    pages = [set(ID.findall(house.ask("GET", path, token=user.token).body.decode())) for user in (ALICE, BOB)]
    assert not pages[0] & pages[1]
    assert path == "/lateron/v1/catcher" or all(pages)
    if "catcher" not in path:
        cursor = house.ask("GET", f"{path}?count=1").json["cursor"]
        answer = house.ask("GET", f"{path}?cursor={cursor}", token=BOB.token)
        assert answer.status == 200
        assert not set(ID.findall(answer.body.decode())) & pages[0]


@pytest.mark.promise("P-111", "D-5")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("Upstash-Deduplication-Id", "later-1")], b'{"a": 1}'),
        ([("Upstash-Deduplication-Id", "new")], b"x"),
        ([("Upstash-Content-Based-Deduplication", "true")], b"x"),
    ],
    ids=["an id of hers", "a new id", "equal content"],
)
def test_deduplication_is_each_users_own(headers: list[tuple[str, str]], body: bytes, house: House) -> None:
    """Otherwise one could find out what the other sends, and swallow it."""

    def publish(user: DevUser) -> Answer:
        return house.ask("POST", "/v2/publish/https://example.com/d", body, headers, user.token)

    hers = [publish(ALICE), publish(ALICE)]
    his = [publish(BOB), publish(BOB)]

    assert [answer.status for answer in hers] == [answer.status for answer in his]
    assert hers[1].status == his[1].status == 202
    assert not {answer.json["messageId"] for answer in hers} & {answer.json["messageId"] for answer in his}


@pytest.mark.promise("P-111")
def test_flow_control_key_of_the_same_name_is_another_lane(house: House) -> None:
    """One's limit must not hold up the other, nor be changed by him."""
    before = [row for row in rows_of(house, ALICE.tenant)["lane"] if row[3] == "shared"]
    headers = {"Upstash-Flow-Control-Key": "shared", "Upstash-Flow-Control-Value": "parallelism=1, rate=1"}

    assert house.ask("POST", "/v2/publish/https://example.com", b"x", headers, BOB.token).status == 201

    after = [row for row in rows_of(house, ALICE.tenant)["lane"] if row[3] == "shared"]
    his = [row for row in rows_of(house, BOB.tenant)["lane"] if row[3] == "shared"]
    assert before == after
    assert {row[4] for row in his} == {1}
    assert {row[4] for row in after} == {2}
    assert not {row[0] for row in his} & {row[0] for row in after}


@pytest.mark.promise("P-111", "P-107")
def test_rotation_of_one_users_keys_leaves_the_others(house: House) -> None:
    """Receivers of the other would refuse every delivery."""
    for path in ("/v2/keys/rotate", "/v2/rotate"):
        assert house.ask("POST", path, token=BOB.token).status == 200
        assert house.ask("GET", "/v2/keys").json == {"current": ALICE.current, "next": ALICE.next}


@pytest.mark.promise("P-111")
def test_what_was_caught_for_one_user_is_not_shown_to_the_other(tmp_path: Path) -> None:
    """What is signed with her key is hers; the catcher knows it by that."""
    with opened(tmp_path / "data", delivers=True) as house:
        for user in (ALICE, BOB):
            house.ask("POST", f"/v2/publish/{house.url}/_catch/n", user.name.encode(), token=user.token)
        for user in (ALICE, BOB):
            assert until(partial(bodies_caught, house, user), "the delivery") == [user.name]
            (name,) = house.ask("GET", "/lateron/v1/catcher", token=user.token).json["names"]
            assert name["requests"] == 1

        for path in ("/lateron/v1/catcher/n", "/lateron/v1/catcher"):
            house.ask("POST", f"/v2/publish/{house.url}/_catch/n", b"again", token=BOB.token)
            until(lambda: "again" in bodies_caught(house, BOB), "the delivery")
            assert house.ask("DELETE", path, token=BOB.token).json["deleted"] >= 1
            assert bodies_caught(house, BOB) == []
            assert bodies_caught(house, ALICE) == [ALICE.name]


def bodies_caught(house: House, user: DevUser) -> list[str]:
    """Return what a user sees of the catcher ``n``."""
    caught = house.ask("GET", "/lateron/v1/catcher/n", token=user.token).json["requests"]
    return [request["body"] for request in caught]
