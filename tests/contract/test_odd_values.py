"""What is accepted, however odd, comes back as it was given, wherever it is shown.

A label, a key, a header or a body may be in any script and of any bytes that its rules allow. The danger is
a value that can be stored and later breaks a list, for everybody. So each odd value goes the whole way here:
published, delivered to the catcher, failed, dead-lettered, listed, found by a filter, published anew.

Every destination is a catcher of this house: nothing leaves it.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest
from tests.contract.hostile import BOMBS
from tests.contract.house import House, opened
from tests.support.poll import until

DAY_MS: Final = 86_400_000

NAMES: Final = (
    "plain",
    "two words",
    "caf\u00e9",
    "\u65e5\u672c\u8a9e",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\u05e2\u05d1\u05e8\u05d9\u05ea",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\U0001d54f",
    "\ue000",
    "\ufffe",
    "a" * 256,
    "\u00e9" * 128,
    "%00%0d%0a",
    "../../etc/passwd",
    "' OR 1=1 --",
    '"quoted"',
    "<script>alert(1)</script>",
    "{}[]\\",
    "null",
    "a=b&c=d",
    "#?/;:@",
    "*",
    "\u0130\u0131",
)
HEADER_VALUES: Final = (
    b"",
    b"\xff\xfe\xfd",
    b"\xed\xa0\x80",
    "\u202eabc".encode(),
    b"a\tb",
    "\u65e5\u672c".encode(),
    b'"\\',
    b"x" * 8000,
)
BODIES: Final = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b'{"a":1e400,"b":NaN}',
    "\u202e\u2028".encode(),
    b"[" * 10_000,
    b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    bytes(range(256)),
)
TARGETS: Final = (
    "x?a=%00&b=%ff&c=%E2%80%AE",
    "x//y/./z//",
    "x?x=1&x=2&&=&%",
    "x/!$'()*+,;=:@-._~",
    "x?" + "y" * 8000,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Open a house that delivers, to itself."""
    with opened(tmp_path_factory.mktemp("odd") / "data", delivers=True, quota="none") as running:
        yield running


def publish(house: House, target: str = "odd", *headers: tuple[str, bytes | str], body: bytes = b"x") -> str:
    """Publish a message that will be a dead letter; return its id."""
    sep = "&" if "?" in target else "?"
    destination = f"{house.url}/_catch/{target}{sep}status=500"
    answer = house.ask("POST", f"/v2/publish/{destination}", body, [("Upstash-Retries", "0"), *headers])
    assert answer.status == 201, answer
    return str(answer.json["messageId"])


def everywhere(house: House, message: str) -> dict[str, Any]:
    """Return a message as each page and list shows it, once it is a dead letter."""
    letter = until(lambda: dead(house, f"messageId={message}"), "the dead letter")
    listed = house.ask("GET", f"/v2/events?messageId={message}").json["events"]
    story = house.ask("GET", f"/lateron/v1/messages/{message}").json
    pages = {
        "message": house.ask("GET", f"/v2/messages/{message}").json,
        "event": listed[-1],
        "log": house.ask("GET", f"/v2/logs?messageIds={message}").json["logs"][-1],
        "story": story,
        "letter": letter,
        "letter's page": house.ask("GET", f"/v2/dlq/{letter['dlqId']}").json,
    }
    assert {page["messageId"] for page in pages.values()} == {message}
    assert [event["state"] for event in listed] == ["FAILED", "ERROR", "ACTIVE", "CREATED"]
    return pages


def dead(house: House, query: str) -> Any:
    """Return the one dead letter that a filter finds, or None."""
    letters = house.ask("GET", f"/v2/dlq?{query}").json["messages"]
    return letters[0] if len(letters) == 1 else None


def quoted(text: str) -> str:
    """Return a text as a part of a query."""
    return quote(text, safe="")


@pytest.mark.promise("F-44", "D-15", "P-12")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_name_round_trips_through_every_page_and_filter(name: str, house: House) -> None:
    """Stored exactly; a filter with the same text finds it, and it alone."""
    wire = name.encode()
    message = publish(house, "odd", ("Upstash-Label", wire), ("Upstash-Flow-Control-Key", wire))

    pages = everywhere(house, message)

    for where, page in pages.items():
        assert (where, page["label"], page["flowControlKey"]) == (where, name, name)
        assert page["labels"] == [name]
    for query in (f"label={quoted(name)}", f"flowControlKey={quoted(name)}"):
        for path, field in (("/v2/events", "events"), ("/v2/dlq", "messages")):
            found = house.ask("GET", f"{path}?{query}").json[field]
            assert {page["messageId"] for page in found} == {message}, (path, query)


@pytest.mark.promise("F-44", "D-15")
def test_odd_names_are_told_apart(house: House) -> None:
    """Names that look alike, or are equal to a database that folds case, are not one."""
    alike = ("k", "K", "\uff4b", "\u03ba", "k\u200d", "k.")
    messages = {name: publish(house, "alike", ("Upstash-Flow-Control-Key", name.encode())) for name in alike}
    lanes = {row[3] for row in house.dump()["lane"]}
    assert set(alike) <= lanes
    for name, message in messages.items():
        assert listed(house, name) == {message}


def listed(house: House, key: str) -> set[str]:
    """Return the ids of the messages that the log has under a key."""
    events = house.ask("GET", f"/v2/events?flowControlKey={quoted(key)}").json["events"]
    return {event["messageId"] for event in events}


@pytest.mark.promise("F-44", "P-12")
@pytest.mark.parametrize("value", HEADER_VALUES, ids=lambda value: ascii(value[:20]))
def test_odd_header_arrives_and_is_shown(value: bytes, house: House) -> None:
    """Any bytes that a line of a header can hold; those that spell no text are shown one by one."""
    message = publish(house, "headers", ("Upstash-Forward-X-Odd", value), ("Content-Type", value or b"a/b"))

    pages = everywhere(house, message)

    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    assert {page["header"]["X-Odd"][0] for page in pages.values()} == {text}
    caught = house.ask("GET", "/lateron/v1/catcher/headers").json["requests"]
    (request,) = [one for one in caught if one["messageId"] == message]
    assert request["header"]["x-odd"] == [value.decode("latin-1")]


@pytest.mark.promise("F-44", "P-12")
@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body[:20]))
def test_odd_body_arrives_and_is_shown(body: bytes, house: House) -> None:
    """As text where it is text, else in base64; never a list that cannot be read."""
    message = publish(house, "bodies", body=body)

    pages = everywhere(house, message)

    for where, page in pages.items():
        if where in {"event", "log"}:
            assert b64decode(page["body"]) == body
        else:
            assert (page["body"].encode() if "body" in page else b64decode(page["bodyBase64"])) == body


@pytest.mark.promise("F-44")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:20])
def test_odd_destination_is_kept_byte_for_byte(target: str, house: House) -> None:
    """Percent signs, dots and double slashes are the receiver's business."""
    pages = everywhere(house, publish(house, target))

    sep = "&" if "?" in target else "?"
    url = f"{house.url}/_catch/{target}{sep}status=500"
    assert {page["url"] for page in pages.values()} == {url}
    assert dead(house, f"url={quoted(url)}") is not None


@pytest.mark.promise("P-97", "F-44")
def test_odd_dead_letter_can_be_published_anew(house: House) -> None:
    """With everything odd about it."""
    name = "\u65e5\u672c \U0001f3f3\ufe0f\u200d\U0001f308"
    message = publish(
        house,
        "anew",
        ("Upstash-Label", name.encode()),
        ("Upstash-Flow-Control-Key", name.encode()),
        ("Upstash-Forward-X-Odd", b"\xff\xfe"),
        ("Upstash-Deduplication-Id", b"\xff\x80"),
        body=bytes(range(256)),
    )
    letter = everywhere(house, message)["letter"]

    answer = house.ask("POST", f"/v2/dlq/retry/{letter['dlqId']}")

    assert answer.status == 201
    again = everywhere(house, answer.json["messageId"])["message"]
    original = house.ask("GET", f"/v2/messages/{message}").json
    for field in ("label", "flowControlKey", "header", "bodyBase64", "url"):
        assert again[field] == original[field]


@pytest.mark.promise("F-46", "P-25")
@pytest.mark.parametrize("formula", BOMBS, ids=lambda formula: formula[:30])
def test_formula_that_fails_when_computed_never_stops_the_retries(formula: str, house: House) -> None:
    """It was accepted, so it must not cost more than the wait that it asked for."""
    destination = f"{house.url}/_catch/bombs?status=500"
    headers = [("Upstash-Retries", "1"), ("Upstash-Retry-Delay", formula)]
    message = house.ask("POST", f"/v2/publish/{destination}", b"x", headers).json["messageId"]

    event = until(lambda: retried(house, message), "the first attempt to fail")

    assert event["retryDelayExpr"] == formula
    assert 0 <= event["nextDeliveryTime"] - event["time"] <= DAY_MS
    house.ask("DELETE", f"/v2/messages/{message}")  # A short wait may be over already.


def retried(house: House, message: str) -> Any:
    """Return the event that says when the message will be tried again, once there is one."""
    events = house.ask("GET", f"/v2/events?messageId={message}").json["events"]
    return next((event for event in events if event["state"] == "RETRY"), None)


@pytest.mark.promise("F-44")
def test_batch_of_odd_values_is_stored_as_given(house: House) -> None:
    """In JSON any character can be said; those that no header can have are refused elsewhere."""
    items = [
        {
            "destination": f"{house.url}/_catch/batch?status=500",
            "body": name,
            "headers": {"Upstash-Label": name, "Upstash-Forward-X-Odd": name, "Upstash-Retries": "0"},
        }
        for name in NAMES
    ]

    answer = house.ask("POST", "/v2/batch", json.dumps(items).encode())

    assert answer.status == 201
    for name, item in zip(NAMES, answer.json, strict=True):
        page = house.ask("GET", f"/v2/messages/{item['messageId']}").json
        assert (page["label"], page["header"]["X-Odd"], page["body"]) == (name, [name], name)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize("number", [2**64 - 1, 2**63])
@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v2/events", lambda n: (n, b"", 0, 0)), ("/v2/dlq", lambda n: (n, b""))],
    ids=["events", "dlq"],
)
def test_forged_cursor_is_refused(path: str, shape: Any, number: int, house: House) -> None:
    """A cursor is opaque, and its form no secret."""
    cursor = urlsafe_b64encode(msgspec.msgpack.encode(shape(number))).decode().rstrip("=")

    answer = house.ask("GET", f"{path}?cursor={cursor}")

    assert answer.status == 400, answer
    assert "cursor" in answer.error
