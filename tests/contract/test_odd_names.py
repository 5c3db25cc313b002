"""Names that people and programs make up go through every endpoint that takes them, and thousands of them too.

Keys and names of endpoints may be nearly any text; queues, groups and schedules have few characters, but words
that stand in paths themselves (``pause``, ``endpoints``, ``v2``) are among what these can spell. Each name is used
in each place: made, shown, listed, changed, filtered by, taken away. No name may break a list for the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.contract.hostile import INVISIBLE
from tests.contract.house import Answer, House, opened
from tests.contract.test_odd_values import NAMES

# All that a queue, a group or a schedule can be called, and that looks like something else.
WORDS: Final = (
    "a",
    "A",
    "-",
    "_",
    "...",
    "0",
    "-1",
    "1e9",
    "null",
    "true",
    "NaN",
    "pause",
    "resume",
    "run",
    "endpoints",
    "queues",
    "v2",
    "http",
    "https",
    "api.llm",
    "scd_",
    "scd_0000",
    "msg_" + "0" * 32,
    "x" * 128,
    "a.b-c_d.9",
)
NOT_WORDS: Final = (
    ".",
    "..",
    "a b",
    "a%2Fb",
    "%C3%A4",
    "a%00",
    "a%0a",
    "a%E2%80%AEb",
    "x" * 257,
    "a*",
    "a'--",
    "%F0%9F%8F%B3",
)
MANY: Final = 4_000
KEYS_OF_A_PAGE: Final = 1_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Open a house in which nothing starts, so that all that is made stays."""
    with opened(tmp_path_factory.mktemp("named") / "data", quota="none") as running:
        yield running


def done(house: House, method: str, target: str, body: object = None, **headers: bytes | str) -> Any:
    """Make a call that has to succeed, and return what it answers."""
    content = b"" if body is None else json.dumps(body).encode()
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    answer = house.ask(method, target, content, pairs)
    assert answer.status in {200, 201}, (method, target, answer)
    return answer.json if answer.body else None


def absent(house: House, method: str, target: str) -> Answer:
    """Make a call that has to find nothing."""
    answer = house.ask(method, target)
    assert answer.status == 404, (method, target, answer)
    return answer


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_key_goes_through_every_call_of_flow_control(name: str, house: House) -> None:
    """In a header as it is, in a path percent-encoded; a name of its own under each."""
    path = f"/v2/flowControl/{quote(name, safe='')}"
    made = done(
        house, "POST", "/v2/publish/https://example.com", "x",
        Upstash_Flow_Control_Key=name.encode(), Upstash_Flow_Control_Value="parallelism=7, rate=3",
    )  # fmt: skip

    assert (done(house, "GET", path)["flowControlKey"], done(house, "GET", path)["parallelismMax"]) == (name, 7)
    for verb in ("pause", "resume", "pin?rate=9", "unpin?rate=true", "resetRate", "reset"):
        assert done(house, "POST", f"{path.partition('?')[0]}/{verb}")["flowControlKey"] == name
    assert name in [key["flowControlKey"] for key in done(house, "GET", f"/v2/flowControl?search={path[16:]}")]
    for listed, field in (("/v2/messages", "messages"), ("/v2/events", "events")):
        found = done(house, "GET", f"{listed}?flowControlKey={path[16:]}")[field]
        assert [(one["messageId"], one["flowControlKey"]) for one in found] == [(made["messageId"], name)]
    assert done(house, "DELETE", f"/v2/messages?flowControlKey={path[16:]}") == {"cancelled": 1}


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names_of_endpoints_and_ordering_keys_are_kept(name: str, house: House) -> None:
    """They are shown where the messages are, and an endpoint is found by its name again."""
    done(house, "POST", "/v2/topics/odd/endpoints", {"endpoints": [{"url": "https://one.example", "name": name}]})
    assert done(house, "GET", "/v2/topics/odd")["endpoints"] == [{"url": "https://one.example", "name": name}]

    (made,) = done(house, "POST", "/v2/publish/odd", "x", Lateron_Order_Key=name.encode())

    shown = done(house, "GET", f"/v2/messages/{made['messageId']}")
    assert (shown["topicName"], shown["endpointName"], shown["orderKey"]) == ("odd", name, name)
    (event,) = done(house, "GET", f"/v2/events?messageId={made['messageId']}")["events"]
    assert (event["endpointName"], event["orderKey"]) == (name, name)
    done(house, "DELETE", "/v2/topics/odd/endpoints", {"endpoints": [{"name": name}]})
    absent(house, "GET", "/v2/topics/odd")


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", WORDS)
def test_a_queue_can_be_called_what_stands_in_paths(name: str, house: House) -> None:
    """Every call finds the queue, and none mistakes its name for a verb."""
    done(house, "POST", "/v2/queues", {"queueName": name, "parallelism": 2})
    made = done(house, "POST", f"/v2/enqueue/{name}/https://example.com/x", "x")

    shown = done(house, "GET", f"/v2/queues/{name}")
    assert (shown["name"], shown["parallelism"], shown["lag"]) == (name, 2, 1)
    done(house, "POST", f"/v2/queues/{name}/pause")
    assert [one["paused"] for one in done(house, "GET", "/v2/queues") if one["name"] == name] == [True]
    done(house, "POST", f"/v2/queues/{name}/resume")
    assert done(house, "GET", f"/v2/messages/{made['messageId']}")["queueName"] == name
    for listed, field in (("/v2/messages", "messages"), ("/v2/events", "events")):
        found = done(house, "GET", f"{listed}?queueName={name}")[field]
        assert {one["messageId"] for one in found} == {made["messageId"]}
    done(house, "DELETE", f"/v2/queues/{name}")
    absent(house, "GET", f"/v2/queues/{name}")
    assert done(house, "GET", f"/v2/messages?queueName={name}")["messages"] == []


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", WORDS)
def test_a_group_can_be_called_what_stands_in_paths(name: str, house: House) -> None:
    """Its publishes, defaults and endpoints too."""
    done(house, "POST", f"/v2/topics/{name}/endpoints", {"endpoints": [{"url": "https://one.example"}]})
    done(house, "PATCH", f"/v2/topics/{name}", {"headers": {"Upstash-Retries": "1"}})

    (made,) = done(house, "POST", f"/v2/publish/{name}?from=here", "x")
    ((queued,),) = done(house, "POST", "/v2/batch", [{"destination": name, "queue": name, "body": "x"}])

    assert name in [one["name"] for one in done(house, "GET", "/v2/topics")]
    for message in (made, queued):
        shown = done(house, "GET", f"/v2/messages/{message['messageId']}")
        assert (shown["topicName"], shown["maxRetries"]) == (name, 1)
    found = done(house, "GET", f"/v2/events?topicName={name}")["events"]
    assert {one["messageId"] for one in found} == {made["messageId"], queued["messageId"]}
    done(house, "DELETE", f"/v2/queues/{name}")
    done(house, "DELETE", f"/v2/topics/{name}")
    absent(house, "GET", f"/v2/topics/{name}")
    assert name in absent(house, "POST", f"/v2/publish/{name}").error


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", WORDS)
def test_a_schedule_can_be_called_what_stands_in_paths(name: str, house: House) -> None:
    """Also one whose id looks like one that the server makes up."""
    created = done(
        house, "POST", "/v2/schedules/https://example.com/s", "x",
        Upstash_Cron="0 4 * * *", Upstash_Schedule_Id=name, Upstash_Queue_Name=name,
    )  # fmt: skip

    assert created == {"scheduleId": name}
    for method in ("PATCH", "POST"):
        done(house, method, f"/v2/schedules/{name}/pause")
        assert done(house, "GET", f"/v2/schedules/{name}")["isPaused"] is True
        done(house, method, f"/v2/schedules/{name}/resume")
    assert name in [one["scheduleId"] for one in done(house, "GET", "/v2/schedules")]
    assert done(house, "GET", f"/lateron/v1/schedules/{name}/next")
    made = done(house, "POST", f"/v2/schedules/{name}/run")
    (event,) = done(house, "GET", f"/v2/events?scheduleId={name}")["events"]
    assert (event["messageId"], event["scheduleId"], event["queueName"]) == (made["messageId"], name, name)
    done(house, "DELETE", f"/v2/schedules/{name}")
    done(house, "DELETE", f"/v2/queues/{name}")
    absent(house, "GET", f"/v2/schedules/{name}")


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", NOT_WORDS)
def test_what_cannot_be_a_name_makes_nothing(name: str, house: House) -> None:
    """Not by path, not by header, not by body; the refusal says of which field."""
    before, text = house.dump(), quote(name) if "%" not in name else name
    raw = name.encode() if "%" not in name else b"a b"
    for method, target, body, headers in (
        ("POST", f"/v2/enqueue/{text}/https://example.com", b"x", []),
        ("POST", "/v2/queues", json.dumps({"queueName": name}).encode(), []),
        ("POST", f"/v2/topics/{text}/endpoints", b'{"endpoints":[{"url":"https://a.example"}]}', []),
        ("POST", "/v2/publish/https://example.com", b"x", [("Upstash-Queue-Name", raw)]),
        (
            "POST",
            "/v2/schedules/https://example.com",
            b"x",
            [("Upstash-Cron", b"0 4 * * *"), ("Upstash-Schedule-Id", raw)],
        ),
    ):
        answer = house.ask(method, target, body, headers)
        assert answer.status in {400, 404}, (target, answer)
        assert answer.error
    for path in ("/v2/queues", "/v2/topics", "/v2/schedules"):
        assert house.ask("GET", f"{path}/{text}").status in {404, 405}
    assert house.dump() == before


@pytest.mark.promise("F-44", "D-15")
@pytest.mark.parametrize("name", INVISIBLE, ids=ascii)
def test_an_invisible_key_is_made_by_no_call(name: str, house: House) -> None:
    """Pause and pin make a key before its first message; they take only what a message could bring."""
    before = house.dump()
    for verb in ("pause", "pin?rate=1", "resume", "resetRate"):
        answer = house.ask("POST", f"/v2/flowControl/{quote(name, safe='')}/{verb}")
        assert answer.status in {400, 404}, answer
    for header in ("Upstash-Flow-Control-Key", "Lateron-Order-Key", "Upstash-Label"):
        answer = house.ask("POST", "/v2/publish/https://example.com", b"x", [(header, name.encode())])
        assert answer.status == 400, answer
    assert house.dump() == before


@pytest.mark.promise("F-47")
def test_thousands_of_names_break_no_list_and_each_is_found(house: House) -> None:
    """A bug of somebody's, such as a key with a time in it; every name has one message, and all is taken away again."""
    items = [
        {
            "destination": f"https://example.com/{number}",
            "body": str(number),
            "headers": {
                "Upstash-Flow-Control-Key": f"many/{number:04}",
                "Upstash-Flow-Control-Value": f"parallelism={number % 9 + 1}",
                "Upstash-Label": f"label {number}",
                "Upstash-Deduplication-Id": f"id {number}",
                **({} if number % 2 else {"Lateron-Order-Key": f"order {number}"}),
            },
            **({"queue": f"queue-{number:04}"} if number % 2 else {}),
        }
        for number in range(MANY)
    ]
    answers = done(house, "POST", "/v2/batch", items)
    assert len({answer["messageId"] for answer in answers}) == MANY

    queues = [one["name"] for one in done(house, "GET", "/v2/queues")]
    assert [name for name in queues if name.startswith("queue-")] == [f"queue-{n:04}" for n in range(1, MANY, 2)]
    keys, after = list[str](), ""
    while page := done(house, "GET", f"/v2/flowControl?search=many{quote('/', safe='')}{after}"):
        assert len(page) <= KEYS_OF_A_PAGE
        keys += [one["flowControlKey"] for one in page]
        after = f"&after={quote(keys[-1], safe='')}"
    assert keys == [f"many/{number:04}" for number in range(MANY)]
    assert walked(house, "/v2/messages", "messages") >= {answer["messageId"] for answer in answers}
    for number in (0, 1, MANY // 2, MANY - 1):
        shown = done(house, "GET", f"/v2/flowControl/many%2F{number:04}")
        assert shown["parallelismMax"] == number % 9 + 1
        for query in (f"flowControlKey=many/{number:04}", f"label=label%20{number}"):
            (found,) = done(house, "GET", f"/v2/messages?{query}")["messages"]
            assert found["messageId"] == answers[number]["messageId"]
        again = house.ask("POST", "/v2/publish/https://example.com", b"", {"Upstash-Deduplication-Id": f"id {number}"})
        assert (again.status, again.json["messageId"]) == (202, answers[number]["messageId"])
    assert done(house, "DELETE", "/v2/messages")["cancelled"] >= MANY
    assert done(house, "GET", "/v2/messages")["messages"] == []
    assert {one["lag"] for one in done(house, "GET", "/v2/queues")} == {0}
    assert [row for row in house.dump()["queue"] if "order" in str(row[3])] == []


def walked(house: House, path: str, field: str) -> set[str]:
    """Return the ids of all pages of a list."""
    found, cursor = set[str](), ""
    while True:
        page = done(house, "GET", f"{path}?count=1000{cursor}")
        found |= {one["messageId"] for one in page[field]}
        if "cursor" not in page:
            return found
        cursor = f"&cursor={quote(page['cursor'], safe='')}"
