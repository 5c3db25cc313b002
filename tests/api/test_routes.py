"""Who may do what, at every route there is."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from tests.api.raw import Answer
from tests.api.world import ADMIN, MANAGER, OTHER, PUBLISHER, READER, World, as_json, living

from lateron.api.app import FAMILIES, ROUTES
from lateron.api.openapi import document
from lateron.api.routes import Access, Route
from lateron.api.sessions import Entry
from lateron.broker.resources import Identity

A_BATCH = as_json([{"destination": "https://example.com"}])
A_JOB = as_json({"kind": "cancel", "filter": {"label": "nobody"}})

A_USER = as_json({"name": "berta", "scope": "read", "password": "as long as need be"})
ENDPOINTS = as_json({"endpoints": [{"url": "https://example.com/x", "name": "x"}]})


class Row(NamedTuple):
    """What a route answers to whom; what stands in braces is the first tenant's."""

    access: Access
    target: str
    admin: int
    other: int  # The admin of another tenant.
    body: bytes = b""


PUBLIC, PUBLISH, READ, CHANGE = Access.PUBLIC, Access.PUBLISH, Access.READ, Access.CHANGE
ADMINS = Access.ADMIN
TABLE = {
    "POST /v2/publish/{destination}": Row(PUBLISH, "/v2/publish/https://example.com/x", 201, 201),
    "POST /v2/batch": Row(PUBLISH, "/v2/batch", 201, 201, A_BATCH),
    "POST /v2/enqueue/{queueName}/{destination}": Row(PUBLISH, "/v2/enqueue/q/https://example.com/x", 201, 201),
    "GET /v2/queues": Row(READ, "/v2/queues", 200, 200),
    "POST /v2/queues": Row(CHANGE, "/v2/queues", 200, 200, b'{"queueName":"other","parallelism":2}'),
    "GET /v2/queues/{queueName}": Row(READ, "/v2/queues/line", 200, 404),
    "DELETE /v2/queues/{queueName}": Row(CHANGE, "/v2/queues/line", 200, 200),
    "POST /v2/queues/{queueName}/pause": Row(CHANGE, "/v2/queues/line/pause", 200, 404),
    "POST /v2/queues/{queueName}/resume": Row(CHANGE, "/v2/queues/line/resume", 200, 404),
    "GET /v2/messages": Row(READ, "/v2/messages", 200, 200),
    "DELETE /v2/messages": Row(CHANGE, "/v2/messages", 200, 200),
    "GET /v2/messages/{messageId}": Row(READ, "/v2/messages/{message}", 200, 404),
    "DELETE /v2/messages/{messageId}": Row(CHANGE, "/v2/messages/{message}", 200, 404),
    "GET /v2/events": Row(READ, "/v2/events", 200, 200),
    "GET /v2/logs": Row(READ, "/v2/logs", 200, 200),
    "GET /v2/dlq": Row(READ, "/v2/dlq", 200, 200),
    "DELETE /v2/dlq": Row(CHANGE, "/v2/dlq", 200, 200),
    "POST /v2/dlq/retry": Row(CHANGE, "/v2/dlq/retry", 200, 200),
    "POST /v2/dlq/retry/{dlqId}": Row(CHANGE, "/v2/dlq/retry/{letter}", 201, 404),
    "GET /v2/dlq/{dlqId}": Row(READ, "/v2/dlq/{letter}", 200, 404),
    "DELETE /v2/dlq/{dlqId}": Row(CHANGE, "/v2/dlq/{letter}", 200, 404),
    "POST /v2/schedules/{destination}": Row(CHANGE, "/v2/schedules/https://example.com/x", 400, 400),
    "GET /v2/schedules": Row(READ, "/v2/schedules", 200, 200),
    "GET /v2/schedules/{scheduleId}": Row(READ, "/v2/schedules/daily", 200, 404),
    "DELETE /v2/schedules/{scheduleId}": Row(CHANGE, "/v2/schedules/daily", 200, 404),
    "PATCH /v2/schedules/{scheduleId}/pause": Row(CHANGE, "/v2/schedules/daily/pause", 200, 404),
    "POST /v2/schedules/{scheduleId}/pause": Row(CHANGE, "/v2/schedules/daily/pause", 200, 404),
    "PATCH /v2/schedules/{scheduleId}/resume": Row(CHANGE, "/v2/schedules/daily/resume", 200, 404),
    "POST /v2/schedules/{scheduleId}/resume": Row(CHANGE, "/v2/schedules/daily/resume", 200, 404),
    "POST /v2/schedules/{scheduleId}/run": Row(CHANGE, "/v2/schedules/daily/run", 201, 404),
    "GET /lateron/v1/schedules/{scheduleId}/next": Row(READ, "/lateron/v1/schedules/daily/next", 200, 404),
    "GET /lateron/v1/cron": Row(READ, "/lateron/v1/cron", 400, 400),
    "GET /v2/topics": Row(READ, "/v2/topics", 200, 200),
    "GET /v2/topics/{urlGroupName}": Row(READ, "/v2/topics/orders", 200, 404),
    "PATCH /v2/topics/{urlGroupName}": Row(
        CHANGE, "/v2/topics/orders", 200, 404, b'{"headers":{"Upstash-Retries":"1"}}'
    ),
    "DELETE /v2/topics/{urlGroupName}": Row(CHANGE, "/v2/topics/orders", 200, 200),
    "POST /v2/topics/{urlGroupName}/endpoints": Row(CHANGE, "/v2/topics/orders/endpoints", 200, 200, ENDPOINTS),
    "DELETE /v2/topics/{urlGroupName}/endpoints": Row(CHANGE, "/v2/topics/orders/endpoints", 200, 404, ENDPOINTS),
    "GET /v2/flowControl": Row(READ, "/v2/flowControl", 200, 200),
    "GET /v2/flowControl/{flowControlKey}": Row(READ, "/v2/flowControl/k", 200, 404),
    "POST /v2/flowControl/{flowControlKey}/pause": Row(CHANGE, "/v2/flowControl/k/pause", 200, 200),
    "POST /v2/flowControl/{flowControlKey}/resume": Row(CHANGE, "/v2/flowControl/k/resume", 200, 200),
    "POST /v2/flowControl/{flowControlKey}/pin": Row(CHANGE, "/v2/flowControl/k/pin?rate=1", 200, 200),
    "POST /v2/flowControl/{flowControlKey}/unpin": Row(CHANGE, "/v2/flowControl/k/unpin?rate=true", 200, 200),
    "POST /v2/flowControl/{flowControlKey}/resetRate": Row(CHANGE, "/v2/flowControl/k/resetRate", 200, 200),
    "POST /v2/flowControl/{flowControlKey}/reset": Row(CHANGE, "/v2/flowControl/k/reset", 200, 200),
    "GET /v2/globalParallelism": Row(READ, "/v2/globalParallelism", 200, 200),
    "GET /lateron/v1/overview": Row(READ, "/lateron/v1/overview", 200, 200),
    "GET /lateron/v1/stream": Row(READ, "/lateron/v1/stream?topics=none", 400, 400),
    "GET /lateron/v1/destinations": Row(READ, "/lateron/v1/destinations", 200, 200),
    "POST /lateron/v1/destinations/{host}/pause": Row(CHANGE, "/lateron/v1/destinations/a:80/pause", 200, 200),
    "POST /lateron/v1/destinations/{host}/resume": Row(CHANGE, "/lateron/v1/destinations/a:80/resume", 200, 200),
    "POST /lateron/v1/destinations/{host}/test": Row(CHANGE, "/lateron/v1/destinations/a:80/test", 404, 404),
    "GET /lateron/v1/delivery": Row(READ, "/lateron/v1/delivery", 200, 200),
    "POST /lateron/v1/delivery/pause": Row(ADMINS, "/lateron/v1/delivery/pause", 200, 403),
    "POST /lateron/v1/delivery/resume": Row(ADMINS, "/lateron/v1/delivery/resume", 200, 403),
    "GET /v2/keys": Row(READ, "/v2/keys", 200, 200),
    "POST /v2/keys/rotate": Row(ADMINS, "/v2/keys/rotate", 200, 200),
    "POST /v2/rotate": Row(ADMINS, "/v2/rotate", 200, 200),
    "GET /lateron/v1/tokens": Row(ADMINS, "/lateron/v1/tokens", 200, 200),
    "POST /lateron/v1/tokens": Row(ADMINS, "/lateron/v1/tokens", 201, 201, b'{"name":"ci","scope":"read"}'),
    "DELETE /lateron/v1/tokens/{tokenName}": Row(ADMINS, "/lateron/v1/tokens/spare", 200, 404),
    "POST /lateron/v1/tokens/{tokenName}/reset": Row(ADMINS, "/lateron/v1/tokens/spare/reset", 200, 404),
    "GET /lateron/v1/users": Row(ADMINS, "/lateron/v1/users", 200, 403),
    "POST /lateron/v1/users": Row(ADMINS, "/lateron/v1/users", 201, 403, A_USER),
    "PATCH /lateron/v1/users/{userName}": Row(ADMINS, "/lateron/v1/users/anna", 200, 403, b'{"scope":"read"}'),
    "DELETE /lateron/v1/users/{userName}": Row(ADMINS, "/lateron/v1/users/anna", 200, 403),
    "GET /lateron/v1/sessions": Row(ADMINS, "/lateron/v1/sessions", 200, 200),
    "DELETE /lateron/v1/sessions": Row(ADMINS, "/lateron/v1/sessions?name=admin", 200, 200),
    "DELETE /lateron/v1/sessions/{sessionId}": Row(ADMINS, "/lateron/v1/sessions/{session}", 200, 404),
    "GET /lateron/v1/config": Row(ADMINS, "/lateron/v1/config", 200, 200),
    "GET /lateron/v1/audit": Row(ADMINS, "/lateron/v1/audit", 200, 200),
    "GET /lateron/v1/messages/{messageId}": Row(READ, "/lateron/v1/messages/{message}", 200, 404),
    "POST /lateron/v1/messages/{messageId}/retry": Row(CHANGE, "/lateron/v1/messages/{message}/retry", 200, 404),
    "GET /lateron/v1/jobs": Row(READ, "/lateron/v1/jobs", 200, 200),
    "POST /lateron/v1/jobs": Row(CHANGE, "/lateron/v1/jobs", 201, 201, A_JOB),
    "GET /lateron/v1/jobs/{jobId}": Row(READ, "/lateron/v1/jobs/{job}", 200, 404),
    "POST /lateron/v1/jobs/{jobId}/cancel": Row(CHANGE, "/lateron/v1/jobs/{job}/cancel", 200, 404),
    "GET /lateron/v1/info": Row(READ, "/lateron/v1/info", 200, 200),
    "GET /lateron/v1/catcher": Row(READ, "/lateron/v1/catcher", 200, 200),
    "DELETE /lateron/v1/catcher": Row(CHANGE, "/lateron/v1/catcher", 200, 200),
    "GET /lateron/v1/catcher/{name}": Row(READ, "/lateron/v1/catcher/x", 200, 200),
    "DELETE /lateron/v1/catcher/{name}": Row(CHANGE, "/lateron/v1/catcher/x", 200, 200),
    "GET /metrics": Row(READ, "/metrics", 200, 403),
    "GET /healthz": Row(PUBLIC, "/healthz", 200, 200),
    "GET /readyz": Row(PUBLIC, "/readyz", 200, 200),
    "GET /openapi.json": Row(PUBLIC, "/openapi.json", 200, 200),
}


# What the tokens of the first tenant may do, as docs/serve.md says.
GRANTED = {
    PUBLISHER: {PUBLIC, PUBLISH},
    READER: {PUBLIC, READ},
    MANAGER: {PUBLIC, PUBLISH, READ, CHANGE},
}


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


async def furnished(world: World) -> dict[str, str]:
    """Return a message, a dead letter and a job of the first tenant; something is caught, too."""
    letter = await world.fail()
    message = await world.publish(Delay="1h", Flow_Control_Key="k")
    await world.ask("POST", "/_catch/x", None)
    cron = {"Upstash-Cron": "0 4 * * *", "Upstash-Schedule-Id": "daily"}
    await world.ask("POST", "/v2/schedules/https://example.com", ADMIN, b"", cron)
    await world.ask("POST", "/v2/topics/orders/endpoints", body=ENDPOINTS)
    await world.ask("POST", "/v2/queues", ADMIN, b'{"queueName":"line"}')
    await world.ask("POST", "/lateron/v1/tokens", ADMIN, b'{"name":"spare","scope":"admin"}')
    await world.ask("POST", "/lateron/v1/users", ADMIN, A_USER.replace(b"berta", b"anna"))
    job = await world.ask("POST", "/lateron/v1/jobs", ADMIN, A_JOB)
    begun = world.sessions.begin(Entry("token", lambda: Identity(1, "user1", name="admin")))
    assert begun is not None
    return {"message": message, "letter": letter, "job": str(job.json()["jobId"]), "session": begun[1].id}


@pytest.mark.promise("D-4")
def test_every_route_is_classified() -> None:
    """A route that nobody thought about must not be open to anybody."""
    assert {name_of(route): route.access for route in ROUTES} == {name: row.access for name, row in TABLE.items()}


@pytest.mark.promise("D-1", "D-4", "D-5", "P-109")
@pytest.mark.parametrize("name", TABLE)
def test_route_answers_each_caller_as_the_table_says(name: str) -> None:
    """No token, a bad one, two, one of a scope that does not do, another tenant's, and the right one."""
    row, method = TABLE[name], name.partition(" ")[0]

    async def check() -> None:
        async with living() as world:
            target = row.target.format(**await furnished(world))
            before = await world.state()
            by_query = target + ("&" if "?" in target else "?") + "qstash_token="

            async def ask(token: str | None, *headers: tuple[str, str], at: str = target) -> Answer:
                return await world.ask(method, at, token, row.body, headers)

            strangers = [
                await ask(None),
                await ask("wrong"),
                await ask(None, ("Authorization", f"Basic {ADMIN}")),
                await ask(None, ("Authorization", "Bearer")),
                await ask(ADMIN, ("Authorization", f"Bearer {ADMIN}")),
                await ask(None, at=by_query + "wrong"),
                await ask(None, at=f"{by_query}{ADMIN}&qstash_token={ADMIN}"),
            ]
            refused = {}
            for token, granted in GRANTED.items():
                if row.access not in granted:
                    refused[token] = ((await ask(token)).status, (await ask(None, at=by_query + token)).status)
            reader = await ask(READER) if row.access in {PUBLIC, READ} else None
            assert row.access is PUBLIC or await world.state() == before
            other = await ask(OTHER)
            admin = await ask(ADMIN)
            if row.access is PUBLIC:
                assert {answer.status for answer in strangers} == {row.admin}
            else:
                assert {(answer.status, answer.body) for answer in strangers} == {
                    (401, b'{"error":"unauthorized: send a valid token as Authorization: Bearer <token>"}')
                }
            assert set(refused.values()) <= {(403, 403)}
            assert reader is None or reader.status == row.admin
            assert (other.status, admin.status) == (row.other, row.admin)

    asyncio.run(check())


@pytest.mark.promise("P-109")
def test_read_only_token_changes_nothing_by_any_spelling() -> None:
    """Other methods, other cases, overriding headers: whatever is tried with it, all stays as it was."""

    async def check() -> None:
        async with living() as world:
            things = await furnished(world)
            message = things["message"]
            before = await world.state()
            overrides = [(name, "DELETE") for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")]
            targets = {row.target.format(**things) for row in TABLE.values()}
            for target in sorted(targets | {family.prefix for family in FAMILIES}):
                for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                    for at in (target, target.upper().replace(message.upper(), message), target + "?_method=DELETE"):
                        answer = await world.ask(method, at, READER, A_BATCH, overrides)
                        assert answer.status < 500 or answer.status == 501, (method, at, answer)
            assert await world.state() == before

    asyncio.run(check())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.prefix)
def test_what_is_not_built_is_refused_and_says_so(family: Any) -> None:
    """Accepted and then useless would be worse than refused."""

    async def check() -> None:
        async with living() as world:
            for method in ("GET", "POST", "DELETE", "PATCH"):
                for path in (family.prefix, f"{family.prefix}/x", f"{family.prefix.upper()}/https://a//b?c"):
                    answer = await world.ask(method, path)
                    assert answer.status == 501
                    assert "not supported yet" in answer.json()["error"]
                    assert (await world.ask(method, path, None)).status == (501 if family.public else 401)
            assert (await world.ask("GET", "/v2/messages")).json() == {"messages": []}

    asyncio.run(check())


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/messages/", 404),
        ("DELETE", "/v2/messages/", 404),
        ("DELETE", "/v2/messages/a/b", 404),
        ("DELETE", "/v2/messages/a%2Fb", 404),
        ("GET", "/v2/messages/%FF", 404),
        ("GET", "//v2/messages", 404),
        ("GET", "/v2//messages", 404),
        ("GET", "/v2/%6Dessages", 404),
        ("GET", "/x/../v2/messages", 404),
        ("GET", "/v2/publishx/https://a", 404),
        ("GET", "/v2/publish/https://example.com", 405),
        ("PUT", "/v2/messages", 405),
        ("POST", "/healthz", 405),
        ("OPTIONS", "/v2/batch", 405),
        ("GET", "/V2/Messages", 200),
        ("HEAD", "/healthz", 200),
    ],
)
@pytest.mark.promise("D-11")
def test_path_is_matched_as_it_came(method: str, target: str, status: int) -> None:
    """What a proxy before us let through must not become another path here."""

    async def check() -> None:
        async with living() as world:
            answer = await world.ask(method, target)
            assert answer.status == status
            if status >= 400:
                assert isinstance(answer.json()["error"], str)
            if status == 405:
                assert answer.headers["allow"]

    asyncio.run(check())


@pytest.mark.promise("D-3", "D-8", "D-9")
def test_every_answer_has_an_id_and_nothing_for_strangers() -> None:
    """The id finds the log's line; no cache, no sniffing, no other origin."""

    async def check() -> None:
        async with living() as world:
            ids = set()
            for target in ("/healthz", "/v2/messages", "/v2/nothing", "/v2/queues", "/v2/messages/x"):
                answer = await world.ask("GET", target, headers={"Origin": "https://evil.example"})
                ids.add(answer.headers["x-request-id"])
                assert answer.headers["content-type"] == "application/json"
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert not [name for name in answer.headers if name.startswith("access-control")]
            assert len(ids) == 5

    asyncio.run(check())


def test_description_and_routes_agree_in_both_directions() -> None:
    """A client made from the description must find what it says, and all there is."""
    described = {
        f"{method.upper()} {path}": operation
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
    }

    assert set(described) == {name_of(route) for route in ROUTES}
    assert len({operation["operationId"] for operation in described.values()}) == len(described)
    for route in ROUTES:
        operation = described[name_of(route)]
        statuses = {int(status) for status in operation["responses"]}
        assert operation["summary"]
        assert (operation.get("security") == []) == (route.access is PUBLIC)
        assert (401 in statuses) == (route.access is not PUBLIC)
        assert (403 in statuses) == (route.access is not PUBLIC)
        assert (429 in statuses) == (route.limited and route.access is not PUBLIC)
        assert TABLE[name_of(route)].admin in statuses
        assert {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"} == {
            word[1:-1] for word in route.path.split("/") if word.startswith("{")
        }
