"""A refusal changes nothing and says what was wrong.

Each bad request of ``hostile`` is sent to one and the same house. Before and after it every row of every
table is read, with the signing keys and the catcher's memory, which are in no table: they must be equal
(P-3). The text of the refusal names the field, the value and what was expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract import hostile
from tests.contract.hostile import Bad
from tests.contract.house import ALICE, BOB, REPEATED, Answer, House, copied

DESTINATION = "https://example.com/a?b=c"
PUBLISH = f"/v2/publish/{DESTINATION}"
LISTS = ("/v2/messages", "/v2/events", "/v2/logs", "/v2/dlq", "/lateron/v1/catcher")


@pytest.fixture(scope="module")
def house(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Open one house for all refusals: none of them may change it."""
    with copied(furnished, tmp_path_factory.mktemp("refusals") / "data") as opened:
        yield opened


def state(house: House) -> dict[str, Any]:
    """Return all that a request could have changed."""
    memory = {
        f"{path} {user.name}": house.ask("GET", path, token=user.token).body
        for path in ("/v2/keys", "/lateron/v1/catcher")
        for user in (ALICE, BOB)
    }
    return {**house.dump(), **memory}


def refused(house: House, bad: Bad, token: str | None = ALICE.token) -> str:
    """Send a bad request, see that it changed nothing, and return what the refusal says."""
    before = state(house)
    answer = house.ask(bad.method, bad.target, bad.body, bad.headers_on_the_wire(), token)
    assert state(house) == before, f"{answer} changed something"
    assert answer.status == bad.status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert set(answer.json) == {"error"}
    return answer.error


def shown(value: str) -> str:
    """Return how an error repeats a value: as a literal of Python, so that nothing hides in it, and cut."""
    return repr(value.strip(" \t"))[:200]


def name(bad: Bad) -> str:
    """Return what a row of a table is called in a report."""
    return f"{bad.method} {bad.target[:60]} {bad.body[:30].decode('latin-1')}".strip()


# Options, in each way to say them.

ALL = [(option, value) for option, values in hostile.OPTIONS.items() for value in values]
BOUND = [*((option, value, 400) for option, value in ALL), *((*pair, 412) for pair in hostile.TOO_MUCH)]
NOT_IN_RETRIES = {  # What a retry of dead letters does not take: it keeps the original's.
    "Upstash-Deduplication-Id",
    "Upstash-Content-Based-Deduplication",
    "Upstash-Header-Forward",
    "Upstash-Redact-Fields",
    "Lateron-Hops",
}
IN_CALLBACKS = (
    "Upstash-Retries",
    "Upstash-Delay",
    "Upstash-Not-Before",
    "Upstash-Timeout",
    "Upstash-Retry-Delay",
    "Upstash-Method",
    "Upstash-Label",
    "Upstash-Flow-Control-Key",
    "Upstash-Redact-Fields",
)


def check_words(error: str, option: str, value: str, status: int) -> None:
    """See that a refusal names the option, and the value and what was expected, or the limit."""
    assert option.lower() in error.lower(), error
    if status == 412:
        assert "the quota allows at most" in error
    elif option != "Lateron-Hops":
        assert "expected" in error
        assert shown(value) in error, (error, shown(value))


@pytest.mark.promise("P-3", "F-44", "F-46", "D-15")
@pytest.mark.parametrize(
    ("option", "value", "status"), BOUND, ids=lambda value: str(value)[:40].encode("unicode_escape").decode()
)
def test_bad_option_is_refused_however_it_is_said(option: str, value: str, status: int, house: House) -> None:
    """A header, a query parameter, a header of a batch item: one meaning, one refusal."""
    header = Bad("POST", PUBLISH, "", status, b"x", ((option, value),))
    parameter = Bad("POST", f"{PUBLISH}&{option.lower()}={quote(value, safe='')}", "", status, b"x")
    item = json.dumps([{"destination": DESTINATION, "headers": {option: value}}]).encode()

    if len(value) < 4000:
        check_words(refused(house, parameter), option, value, status)
    check_words(refused(house, header), option, value, status)
    check_words(refused_item(house, item, status), option, value, status)


@pytest.mark.promise("P-3", "P-44")
@pytest.mark.parametrize("option", IN_CALLBACKS)
@pytest.mark.parametrize(
    "prefix", ["Upstash-Callback", "Upstash-Failure-Callback", "Upstash-Callback-Failure-Callback"]
)
def test_bad_option_of_a_callback_is_refused_at_publish(prefix: str, option: str, house: House) -> None:
    """After the delivery nobody is there any more to be told."""
    named = option.replace("Upstash", prefix)
    urls = [(prefix, DESTINATION)]
    if prefix == "Upstash-Callback-Failure-Callback":
        urls.append(("Upstash-Callback", DESTINATION))
    for value in hostile.OPTIONS[option]:
        error = refused(house, Bad("POST", PUBLISH, "", 400, b"x", (*urls, (named, value))))
        check_words(error, named, value, 400)


@pytest.mark.promise("P-3", "P-97")
@pytest.mark.parametrize("option", [option for option in hostile.OPTIONS if option not in NOT_IN_RETRIES])
def test_bad_option_leaves_dead_letters_where_they_are(option: str, house: House) -> None:
    """A retry with an override that cannot be read must not lose the letter."""
    letter = house.ask("GET", "/v2/dlq").json["messages"][0]["dlqId"]
    for value in hostile.OPTIONS[option]:
        for target in (f"/v2/dlq/retry/{letter}", "/v2/dlq/retry"):
            check_words(refused(house, Bad("POST", target, "", 400, b"", ((option, value),))), option, value, 400)
    if option == "Upstash-Retries":
        error = refused(house, Bad("POST", f"/v2/dlq/retry/{letter}", "", 412, b"", ((option, "101"),)))
        check_words(error, option, "101", 412)


@pytest.mark.promise("P-3")
@pytest.mark.parametrize("value", hostile.FLOWS)
def test_bad_flow_control_is_refused(value: str, house: House) -> None:
    """Zero at once, or no unit: a lane that never opens would hold its messages for ever."""
    key, option = ("Upstash-Flow-Control-Key", "k"), "Upstash-Flow-Control-Value"

    check_words(refused(house, Bad("POST", PUBLISH, "", 400, b"x", (key, (option, value)))), option, value, 400)


@pytest.mark.promise("P-3")
def test_options_that_contradict_each_other_are_refused(house: House) -> None:
    """Which one is meant cannot be guessed."""
    for headers, says in (
        ((("Upstash-Flow-Control-Value", "rate=1"),), "needs an Upstash-Flow-Control-Key"),
        ((("Lateron-Retry-Delays", "1s"), ("Upstash-Retry-Delay", "1000")), "cannot be combined"),
        ((("Upstash-Retries", "1"), ("Upstash-Retries", "2")), "'1, 2'"),
        ((("Upstash-Callback", "https://a"), ("Upstash-Callback-Cron", "* * * * *")), "upstash-callback-cron"),
        ((("Upstash-Callback", "https://a"), ("Upstash-Callback-Callback", "https://b")), "upstash-callback-callback"),
        ((("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "parallelism=101")), "quota allows"),
    ):
        status = 412 if "quota" in says else 400
        assert says in refused(house, Bad("POST", PUBLISH, "", status, b"x", headers))


@pytest.mark.promise("P-3")
@pytest.mark.parametrize(("option", "value"), hostile.UNBUILT)
def test_option_of_a_part_that_is_not_built_is_refused(option: str, value: str, house: House) -> None:
    """Never accepted and then useless."""
    error = refused(house, Bad("POST", PUBLISH, "", 501, b"x", ((option, value),)))
    assert option.lower() in error
    assert "not supported yet" in error
    item = json.dumps([{"destination": DESTINATION}, {"destination": DESTINATION, "headers": {option: value}}]).encode()
    if "Workflow" in option:  # Its sender would take an error inside the array for success.
        assert option in refused(house, Bad("POST", "/v2/batch", "", 501, item))


@pytest.mark.promise("P-3")
@pytest.mark.parametrize("option", hostile.UNKNOWN)
def test_option_that_does_not_exist_is_refused(option: str, house: House) -> None:
    """A typing mistake must not be silent."""
    assert option.lower() in refused(house, Bad("POST", PUBLISH, "", 400, b"x", ((option, "1"),)))


# Everything else of a request.


@pytest.mark.promise("P-3", "F-44", "D-7")
@pytest.mark.parametrize(
    "bad", [*hostile.DESTINATIONS, *hostile.QUERIES, *hostile.SELECTIONS, *hostile.JOBS, *hostile.NOBODY], ids=name
)
def test_bad_request_is_refused_and_changes_nothing(bad: Bad, house: House) -> None:
    """Whatever part of it is bad."""
    assert bad.says.lower() in refused(house, bad).lower()


@pytest.mark.promise("P-3", "F-44", "D-7")
@pytest.mark.parametrize("body", hostile.BATCHES, ids=lambda body: body[:40].decode("latin-1"))
def test_bad_batch_is_refused_as_a_whole(body: bytes, house: House) -> None:
    """What is no list of messages has no good items."""
    assert refused(house, Bad("POST", "/v2/batch", "", 400, body)).startswith("body: ")


@pytest.mark.promise("P-3", "P-91", "F-44")
@pytest.mark.parametrize(
    ("item", "says"), hostile.ITEMS, ids=lambda value: value[:60].decode("latin-1") if isinstance(value, bytes) else ""
)
def test_bad_item_of_a_batch_is_refused_in_its_place(item: bytes, says: str, house: House) -> None:
    """Alone it changes nothing; its answer says which item it was."""
    error = refused_item(house, b"[" + item + b"]", None)
    assert error.startswith("message 0: ")
    assert says.lower() in error.lower()


def refused_item(house: House, batch: bytes, status: int | None) -> str:
    """Send a batch of one bad item, see that it changed nothing, and return what is said of it."""
    before = state(house)
    answer = house.ask("POST", "/v2/batch", batch)
    assert state(house) == before, f"{answer} changed something"
    assert answer.status == 200, answer
    (item,) = answer.json
    assert set(item) == {"error", "status"}
    assert item["status"] == status or (status is None and 400 <= item["status"] <= 501)
    return str(item["error"])


@pytest.mark.promise("P-3", "D-7")
def test_body_over_a_limit_is_refused(house: House) -> None:
    """Over the quota it is 412; over what would ever be read it is 413, by its announced length alone."""
    big = b"x" * (10 * hostile.MEGABYTE + 1)
    assert "the quota allows at most 10485760" in refused(house, Bad("POST", PUBLISH, "", 412, big))
    for path in ("/v2/batch", PUBLISH):
        before = state(house)
        answer = house.ask("POST", path, b"", [("Content-Length", str(101 * hostile.MEGABYTE))], announced=False)
        assert (answer.status, "at most 104857600 bytes" in answer.error) == (413, True)
        assert state(house) == before


@pytest.mark.parametrize("target", ["GET /v2/events", "GET /lateron/v1/audit", "POST /v2/flowControl/shared/unpin"])
def test_refusal_repeats_the_beginning_of_a_long_name(target: str, house: House) -> None:
    """It says which parameter it means, and stays short."""
    method, path = target.split()
    long = "n\u0303\u0324" * 1000
    text = refused(house, Bad(method, f"{path}?{quote(long)}=1", ""))

    assert long[:REPEATED] in text
    assert len(text) < 1000


@pytest.mark.promise("P-3", "D-7", "F-44")
def test_bytes_that_no_header_may_have_are_refused(house: House) -> None:
    """They would end a line early, here or at the destination."""
    for value in (b"a\x00b", b"a\x0bb", b"\x7f", b"a\rb", b"a\nb"):
        for option in ("Upstash-Forward-X", "Upstash-Label", "Content-Type", "X"):
            before = state(house)
            answer = house.ask("POST", PUBLISH, b"x", [(option, value)])
            assert (answer.status, "invalid HTTP request" in answer.error) == (400, True)
            assert state(house) == before
    for headers, says in (
        ([("X", "y" * 40_000)], "32768 bytes"),
        ([(f"X{number}", "y") for number in range(201)], "200 header lines"),
    ):
        before = state(house)
        answer = house.ask("POST", PUBLISH, b"x", headers)
        assert (answer.status, says in answer.error) == (431, True)
        assert state(house) == before


@pytest.mark.promise("P-3", "D-4")
def test_nobody_changes_anything_without_a_token(house: House) -> None:
    """Also where the rest of the request is good."""
    good = (
        Bad("POST", PUBLISH, "", 401, b"x"),
        Bad("POST", "/v2/batch", "", 401, json.dumps([{"destination": DESTINATION}]).encode()),
        Bad("DELETE", "/v2/messages", "", 401),
        Bad("DELETE", "/v2/dlq", "", 401),
        Bad("POST", "/v2/dlq/retry", "", 401),
        Bad("POST", "/lateron/v1/jobs", "", 401, b'{"kind":"erase","filter":{"label":"kept"}}'),
        Bad("POST", "/v2/keys/rotate", "", 401),
        Bad("DELETE", "/lateron/v1/catcher", "", 401),
    )
    for bad in good:
        for token in (None, "bad"):
            assert refused(house, bad, token).startswith("unauthorized")


# What Hypothesis thinks of.

TEXT = st.text(max_size=30)
NEARLY = st.sampled_from([value for values in hostile.OPTIONS.values() for value in values] + list(hostile.BOMBS))
GOOD = st.sampled_from(("3", "10s", "1h30m", "1000 * retried", "GET", "https://a/", "kept", "true", "body", "10s, 1m"))
VALUES = TEXT | NEARLY | GOOD | st.tuples(GOOD, TEXT).map("".join)
HEADERS = st.lists(
    st.tuples(st.sampled_from([*hostile.OPTIONS, "Upstash-Forward-X", "Upstash-Callback-Retries"]), VALUES), max_size=3
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "destination": JSON | st.just("https://example.com"),
        "headers": JSON | st.dictionaries(st.sampled_from([*hostile.OPTIONS]), VALUES | JSON, max_size=2),
        "body": JSON,
        "queue": JSON,
        "callback": JSON | st.just("https://a"),
        "failureCallback": JSON,
    },
)
FILTER = st.tuples(
    st.sampled_from(("messageIds", "dlqIds", "label", "count", "cursor", "order", "state", "url", "host", "path", "x")),
    TEXT
    | st.sampled_from(("1", "kept", "DELIVERED", "latestFirst", "https://a", hostile.NO_MESSAGE, "1,2", "http://[")),
)


def held_to_its_word(house: House, before: dict[str, Any], answer: Answer) -> None:
    """See that a refusal changed nothing, and that no list broke by what was accepted."""
    assert answer.status < 500 or answer.status == 501, answer
    if answer.status >= 400:
        assert answer.error
        assert state(house) == before
        return
    for user in (ALICE, BOB):
        for path in LISTS:
            assert house.ask("GET", f"{path}?count=3" if "v2" in path else path, token=user.token).status == 200


@pytest.mark.promise("P-3", "F-44", "F-46")
def test_drawn_publish_is_stored_whole_or_not_at_all(furnished: Path, tmp_path: Path) -> None:
    """Options near and far from good ones."""
    with copied(furnished, tmp_path / "data") as house:

        @settings(max_examples=250, suppress_health_check=list(HealthCheck))
        @given(HEADERS)
        def check(headers: list[tuple[str, str]]) -> None:
            before = state(house)
            bad = Bad("POST", PUBLISH, "", 400, b"x", tuple(headers))
            answer = house.ask(bad.method, bad.target, bad.body, bad.headers_on_the_wire())
            held_to_its_word(house, before, answer)

        check()


@pytest.mark.promise("P-3", "P-91", "F-44")
def test_drawn_batch_is_stored_as_its_answer_says(furnished: Path, tmp_path: Path) -> None:
    """One answer for each item, and as many new messages as answers with an id."""
    with copied(furnished, tmp_path / "data") as house:

        @settings(max_examples=250, suppress_health_check=list(HealthCheck))
        @given(st.lists(ITEM | ITEM | JSON, max_size=4), st.just(b"") | st.just(b" ") | st.binary(max_size=2))
        def check(items: list[Any], noise: bytes) -> None:
            before = state(house)
            answer = house.ask("POST", "/v2/batch", json.dumps(items).encode() + noise)
            held_to_its_word(house, before, answer)
            if answer.status < 400:
                assert len(answer.json) == len(items)
                ids = {item["messageId"] for item in answer.json if "messageId" in item}
                new = [row for row in house.dump()["message"] if row not in before["message"]]
                assert {f"msg_{row[0].hex()}" for row in new} <= ids
                assert answer.status == (201 if ids else 200)

        check()


@pytest.mark.promise("P-3", "F-44")
def test_drawn_selection_touches_only_what_it_names(furnished: Path, tmp_path: Path) -> None:
    """A filter that was not understood must not select everything."""
    with copied(furnished, tmp_path / "data") as house:

        @settings(max_examples=250, suppress_health_check=list(HealthCheck))
        @given(
            st.sampled_from((("DELETE", "/v2/messages"), ("DELETE", "/v2/dlq"), ("POST", "/v2/dlq/retry"))),
            st.lists(FILTER, min_size=1, max_size=3),
            st.none() | JSON.map(json.dumps) | st.just('{"messageIds":[]}') | st.just('{"dlqIds":[]}'),
        )
        def check(call: tuple[str, str], filters: list[tuple[str, str]], body: str | None) -> None:
            query = "&".join(f"{name}={quote(value, safe='')}" for name, value in filters)
            before = state(house)
            answer = house.ask(call[0], f"{call[1]}?{query}", b"" if body is None else body.encode())
            held_to_its_word(house, before, answer)
            if answer.status == 200 and not any(value.strip() in {"1", "kept", "1,2"} for _, value in filters):
                restricting = {name for name, _ in filters} - {"count", "cursor", "order"}
                after = {**state(house), "audit": before["audit"]}  # That somebody asked is on record.
                assert not restricting or after == before, (call, filters, answer)

        check()
