"""What one user observes is the same with and without the other: the two-tenant differential of P-111.

Carol makes a list of calls, and every answer is kept. Then she makes them again, and before each of them Alice
does the same things with the same names, and whatever else could get in the way: she pauses her queue of that
name, deletes it, pins the key, points the group elsewhere, pauses the host. But for the ids and times that the
server makes up, Carol is answered the same, and her deliveries are the same in the same order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest
from tests.contract.house import ALICE, CAROL, House, copied, opened
from tests.support.poll import until

from lateron.api.app import ROUTES
from lateron.api.routes import Access, Matched, Router
from lateron.config.dev_users import DevUser

JSON: Final = {"Content-Type": "application/json"}
FLOW: Final = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "parallelism=3"}
LATER: Final = {"Upstash-Deduplication-Id": "d", "Upstash-Label": "mine", "Upstash-Delay": "1h", **FLOW}
CRON: Final = {"Upstash-Cron": "0 4 * * *", "Upstash-Schedule-Id": "s"}
MADE_UP: Final = re.compile(
    r'msg_[0-9a-f]{32}|scd_[0-9a-f]+|[0-9]{13}-[0-9a-f]{32}|sig_\w+|\b1[0-9]{12}\b|\b1[0-9]{9}\b|(?<="cursor":")[^"]+'
)


class Step(NamedTuple):
    """One call."""

    method: str
    target: str
    body: str = ""
    headers: Mapping[str, str] = MappingProxyType({})


def put(name: str, *urls: str) -> Step:
    """Add endpoints to a group."""
    return Step("POST", f"/v2/topics/{name}/endpoints", json.dumps({"endpoints": [{"url": url} for url in urls]}), JSON)


BATCH: Final = json.dumps([{"destination": f"https://example.com/{n}", "queue": "q" if n else None} for n in range(3)])
# Each route that Carol may call, at least once, with names that Alice uses too.
CAROLS: Final = (
    Step("POST", "/v2/publish/https://example.com/x", "his", LATER),
    Step("POST", "/v2/publish/https://example.com/x", "his", LATER),
    put("g", "https://one.example/", "https://two.example/"),
    Step("PATCH", "/v2/topics/g", '{"headers": {"Upstash-Retries": "7"}}', JSON),
    Step("POST", "/v2/publish/g", "grouped"),
    Step("GET", "/v2/topics"),
    Step("GET", "/v2/topics/g"),
    Step("POST", "/v2/queues", '{"queueName": "q", "parallelism": 2}', JSON),
    Step("POST", "/v2/enqueue/q/https://example.com/q", "queued", FLOW),
    Step("POST", "/v2/enqueue/q/g", "both"),
    Step("POST", "/v2/batch", BATCH, JSON),
    Step("GET", "/v2/queues"),
    Step("GET", "/v2/queues/q"),
    Step("POST", "/v2/queues/q/pause"),
    Step("GET", "/v2/queues/q"),
    Step("POST", "/v2/queues/q/resume"),
    Step("GET", "/v2/flowControl"),
    Step("GET", "/v2/flowControl/k"),
    Step("POST", "/v2/flowControl/k/pin?parallelism=5&rate=2&period=10"),
    Step("POST", "/v2/flowControl/k/pause"),
    Step("POST", "/v2/flowControl/k/resume"),
    Step("POST", "/v2/flowControl/k/unpin?rate=true"),
    Step("POST", "/v2/flowControl/k/resetRate"),
    Step("POST", "/v2/flowControl/k/reset"),
    Step("GET", "/v2/globalParallelism"),
    Step("POST", "/lateron/v1/destinations/example.com:443/pause"),
    Step("GET", "/lateron/v1/destinations"),
    Step("POST", "/lateron/v1/destinations/example.com:443/resume"),
    Step("POST", "/v2/schedules/https://example.com/s", "ticks", CRON),
    Step("GET", "/v2/schedules"),
    Step("GET", "/v2/schedules/s"),
    Step("PATCH", "/v2/schedules/s/pause"),
    Step("POST", "/v2/schedules/s/pause"),
    Step("POST", "/v2/schedules/s/run"),
    Step("PATCH", "/v2/schedules/s/resume"),
    Step("POST", "/v2/schedules/s/resume"),
    Step("GET", "/lateron/v1/schedules/s/next?count=3"),
    Step("GET", "/lateron/v1/cron?cron=0%204%20*%20*%20*"),
    Step("GET", "/v2/messages"),
    Step("GET", "/v2/messages?flowControlKey=k"),
    Step("GET", "/v2/messages?queueName=q&count=2"),
    Step("DELETE", "/v2/messages?label=mine"),
    Step("GET", "/v2/events"),
    Step("GET", "/v2/logs?count=2"),
    Step("GET", "/v2/dlq"),
    Step("DELETE", "/v2/schedules/s"),
    Step("DELETE", "/v2/queues/q"),
    Step("DELETE", "/v2/topics/g/endpoints", '{"endpoints": [{"url": "https://one.example/"}]}', JSON),
    Step("DELETE", "/v2/topics/g"),
    Step("DELETE", "/v2/messages"),
    Step("DELETE", "/v2/dlq"),
    Step("POST", "/v2/dlq/retry"),
    Step("GET", "/v2/keys"),
    Step("GET", "/lateron/v1/delivery"),
    Step("GET", "/lateron/v1/info"),
    Step("GET", "/v2/messages"),
    Step("GET", "/v2/queues"),
    Step("GET", "/v2/schedules"),
    Step("GET", "/v2/topics"),
    Step("POST", "/v2/keys/rotate"),
)
# What Alice does before each of them, beside the same thing.
ALICES: Final = (
    put("g", "https://hers.example/"),
    Step("PATCH", "/v2/topics/g", '{"headers": {"Upstash-Delay": "7d"}}', JSON),
    Step("POST", "/v2/queues", '{"queueName": "q", "parallelism": 9, "paused": true}', JSON),
    Step("POST", "/v2/enqueue/q/https://other.example/", "hers", {**FLOW, "Upstash-Flow-Control-Value": "rate=1"}),
    Step("POST", "/v2/flowControl/k/pin?parallelism=1&rate=1"),
    Step("POST", "/v2/flowControl/k/pause"),
    Step("POST", "/lateron/v1/destinations/example.com:443/pause"),
    Step("POST", "/v2/schedules/https://hers.example/s", "hers", {**CRON, "Upstash-Cron": "1 1 1 1 1"}),
    Step("PATCH", "/v2/schedules/s/pause"),
    Step("DELETE", "/v2/messages?label=later&count=1"),
    Step("POST", "/v2/dlq/retry?count=1"),
    Step("DELETE", "/v2/queues/q"),
    Step("POST", "/v2/keys/rotate"),
)
# About one message, letter or token of one's own, and what the catcher kept: in the second test, and in test_tenants.
ELSEWHERE: Final = frozenset(
    (
        "GET /v2/messages/{messageId}",
        "DELETE /v2/messages/{messageId}",
        "GET /lateron/v1/messages/{messageId}",
        "GET /lateron/v1/audit",
        "GET /lateron/v1/config",
        "POST /lateron/v1/destinations/{host}/test",
        "GET /lateron/v1/tokens",
        "POST /lateron/v1/tokens",
        "DELETE /lateron/v1/tokens/{tokenName}",
        "POST /lateron/v1/tokens/{tokenName}/reset",
        "GET /lateron/v1/users",  # It is the first user's to say who logs in.
        "POST /lateron/v1/users",
        "PATCH /lateron/v1/users/{userName}",
        "DELETE /lateron/v1/users/{userName}",
        "GET /lateron/v1/sessions",  # Of the console.
        "DELETE /lateron/v1/sessions",
        "DELETE /lateron/v1/sessions/{sessionId}",
        "GET /v2/dlq/{dlqId}",
        "DELETE /v2/dlq/{dlqId}",
        "POST /v2/dlq/retry/{dlqId}",
        "GET /lateron/v1/overview",
        "GET /lateron/v1/stream",
        "GET /lateron/v1/catcher",
        "DELETE /lateron/v1/catcher",
        "GET /lateron/v1/catcher/{name}",
        "DELETE /lateron/v1/catcher/{name}",
        "POST /v2/rotate",
        "POST /lateron/v1/delivery/pause",  # It is the first user's to stop the server for all.
        "POST /lateron/v1/delivery/resume",
        "GET /metrics",  # As above: sums of all users.
        "POST /lateron/v1/messages/{messageId}/retry",
        "GET /lateron/v1/jobs",  # What jobs do happens when the call is over.
        "POST /lateron/v1/jobs",
        "GET /lateron/v1/jobs/{jobId}",
        "POST /lateron/v1/jobs/{jobId}/cancel",
    )
)


@pytest.mark.promise("P-111", "D-5")
def test_each_route_is_among_the_calls_that_are_compared() -> None:
    """A route that nobody thought about must not tell one user what the other does."""
    router, made = Router(ROUTES, ()), set()
    for step in CAROLS:
        path, _, query = step.target.partition("?")
        found = router.match(path.encode(), query.encode())
        assert isinstance(found, Matched), step
        made.add(found.routes[step.method])

    left = [route for route in ROUTES if route not in made and route.access is not Access.PUBLIC]
    assert {f"{route.method} {route.path}" for route in left} == ELSEWHERE


@pytest.mark.promise("P-111")
def test_history_of_one_user_is_the_same_with_and_without_the_other(furnished: Path, tmp_path: Path) -> None:
    """Every answer to the same calls, but for the ids and times that the server makes up."""
    with opened(tmp_path / "alone") as house:
        alone = lived(house, lambda _: None)
    with copied(furnished, tmp_path / "beside") as house:
        beside = lived(house, partial(meddle, house))

    assert len(beside) == len(CAROLS)
    for step, one, other in zip(CAROLS, alone, beside, strict=True):
        assert one == other, step
    assert [status for status, _ in alone if status >= 400] == []


def meddle(house: House, step: Step) -> None:
    """Let Alice do the same thing at the same time, and all that could be in the way."""
    for one in (step, *ALICES):
        assert ask(house, one, ALICE).status < 500


@pytest.mark.promise("P-111", "P-60", "P-75")
def test_deliveries_of_one_user_are_the_same_with_and_without_the_other(tmp_path: Path) -> None:
    """Alice's pauses, full keys and deleted queues of the same names, at the same host, hold up nothing of Carol's."""
    with opened(tmp_path / "alone", delivers=True) as house:
        alone = delivered(house, lambda: None)
    with opened(tmp_path / "beside", delivers=True) as house:
        beside = delivered(house, partial(obstruct, house))

    assert beside == alone
    assert len(alone["caught"]) == 4 + 2 * 4 + 4 + 1
    assert set(alone["states"].values()) == {("CREATED", "ACTIVE", "DELIVERED")}


def obstruct(house: House) -> None:
    """Let Alice use the same names for what goes nowhere, and stop the host for herself."""
    host = house.url.removeprefix("http://")
    for step in (
        Step("POST", "/v2/queues", '{"queueName": "q", "paused": true}', JSON),
        Step("POST", f"/v2/enqueue/q/{house.url}/_catch/hers", "hers"),
        put("g", f"{house.url}/_catch/hers?status=500", "http://127.0.0.1:1/"),
        Step("POST", "/v2/flowControl/k/pin?parallelism=1&rate=1&period=604800"),
        Step("POST", f"/v2/publish/{house.url}/_catch/hers", "hers", FLOW),
        Step("POST", f"/v2/publish/{house.url}/_catch/hers", "hers", FLOW),
        Step("POST", "/v2/publish/g", "hers", {"Upstash-Retries": "0"}),
        Step("POST", f"/v2/schedules/{house.url}/_catch/hers", "hers", {**CRON, "Upstash-Cron": "* * * * * *"}),
        Step("POST", f"/lateron/v1/destinations/{host}/pause"),
        Step("DELETE", "/v2/messages?count=1"),
        Step("DELETE", "/v2/dlq"),
    ):
        assert ask(house, step, ALICE).status < 400, step


def delivered(house: House, between: Callable[[], None]) -> dict[str, Any]:
    """Let Carol send through every part, with ``between`` before each; return what became of it."""
    here, names = f"{house.url}/_catch", list[str]()
    steps = [Step("POST", "/v2/queues", '{"queueName": "q", "parallelism": 1}', JSON)]
    steps += [put("g", f"{here}/one", f"{here}/two")]
    steps += [Step("POST", f"/v2/enqueue/q/{here}/queued", f"queued {n}") for n in range(4)]
    steps += [Step("POST", "/v2/publish/g", f"grouped {n}") for n in range(4)]
    steps += [Step("POST", f"/v2/publish/{here}/keyed", f"keyed {n}", FLOW) for n in range(4)]
    steps += [Step("POST", f"/v2/schedules/{here}/scheduled", "tick", CRON), Step("POST", "/v2/schedules/s/run")]
    for step in steps:
        between()
        answer = ask(house, step, CAROL)
        assert answer.status < 400, answer
        names += dict.fromkeys(re.findall(r"msg_[0-9a-f]{32}", answer.body.decode()))
    until(lambda: not ask(house, Step("GET", "/v2/messages"), CAROL).json["messages"], "all to come to rest")
    catchers = {name: caught(house, name) for name in ("queued", "one", "two", "keyed", "scheduled", "hers")}
    return {
        "queued": catchers["queued"],
        "caught": sorted(body for bodies in catchers.values() for body in bodies),
        "states": {f"message {number}": states(house, name) for number, name in enumerate(names)},
        "figures": [ask(house, Step("GET", f"/v2/{path}"), CAROL).json["parallelism"] for path in ("queues/q",)]
        + [ask(house, Step("GET", "/v2/flowControl/k"), CAROL).json[name] for name in ("rateMax", "isPinnedRate")],
        "letters": ask(house, Step("GET", "/v2/dlq"), CAROL).json["messages"],
        "schedules": [one["cron"] for one in ask(house, Step("GET", "/v2/schedules"), CAROL).json],
    }


def caught(house: House, name: str) -> list[str]:
    """Return the bodies that one of Carol's catchers has, in the order of their arrival."""
    found = ask(house, Step("GET", f"/lateron/v1/catcher/{name}"), CAROL).json["requests"]
    return [request["body"] for request in reversed(found)]


def states(house: House, message: str) -> tuple[str, ...]:
    """Return what the log says of one of Carol's messages, oldest first."""
    events = ask(house, Step("GET", f"/v2/events?messageId={message}"), CAROL).json["events"]
    return tuple(event["state"] for event in reversed(events))


def ask(house: House, step: Step, user: DevUser) -> Any:
    """Make a call."""
    return house.ask(step.method, step.target, step.body.encode(), step.headers, user.token)


def lived(house: House, between: Callable[[Step], None]) -> list[Any]:
    """Let Carol, who has nothing yet, make her calls, with ``between`` before each; return her answers."""
    told = []
    for step in CAROLS:
        between(step)
        answer = ask(house, step, CAROL)
        told.append((answer.status, answer.body.decode()))
    return anonymous(told)


def anonymous(told: Sequence[tuple[int, str]]) -> list[Any]:
    """Put numbers, in the order of their first mention, in place of ids, times and cursors."""
    names: dict[str, str] = {}
    return [
        (status, MADE_UP.sub(lambda found: names.setdefault(found[0], f"<{len(names)}>"), body))
        for status, body in told
    ]
