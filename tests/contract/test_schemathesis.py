"""Requests made from our own description, against a whole server, over real HTTP.

The description is the one that the server serves. For each operation Hypothesis draws requests that it
allows and requests that it forbids, and mixes in what no description knows: ids that exist, hostile
parameters and headers, no token or a wrong one. Every answer must be one that the description announces,
and nothing the server accepted may break a list afterwards.

Nothing leaves the machine, whatever URLs are drawn: see ``tests.contract.house``.
"""

from __future__ import annotations

import faulthandler
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

import jsonschema_rs
import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.contract.house import ALICE, BOB, REPEATED, House, copied

from lateron.api.openapi import document

CASES: Final = int(os.environ.get("LATERON_CASES", "240"))  # Of each operation; 200 are promised.
STRANGERS: Final = 15  # Requests with a bad token; many more in a minute would be answered slowly, on purpose.
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LABELS: Final = sorted(
    f"{method.upper()} {path}"
    for path, methods in document()["paths"].items()
    for method in methods
    if path != "/lateron/v1/stream"  # It does not end; see tests/api/test_stream.py.
)
PUBLIC: Final = frozenset(("GET /healthz", "GET /readyz", "GET /openapi.json"))
LISTS: Final = ("/v2/messages", "/v2/events", "/v2/logs", "/v2/dlq")

# Pages of what has a name, and the field that holds it.
NAMED: Final = {
    "/v2/queues/{queueName}": "name",
    "/v2/schedules/{scheduleId}": "scheduleId",
    "/v2/topics/{urlGroupName}": "name",
    "/v2/flowControl/{flowControlKey}": "flowControlKey",
}

# What only a look inside could have told.
INSIDE: Final = re.compile(
    r"Traceback|File \"|\.py\b|(?i:sqlite|apsw)|\bSELECT\b|\bINSERT\b|\bUPDATE\b|site-packages|0x[0-9a-f]{8,}"
    r"|lateron\.db|/(?:tmp|home|root|usr|var)/|<[a-z_]+ object at"
)
HOSTILE: Final = st.sampled_from(
    (
        "",
        " ",
        "\x00",
        "\u202eabc",
        "e\u0301",
        "\U0001f3f3\ufe0f\u200d\U0001f308",
        "null",
        "NaN",
        "1e400",
        "-1",
        "9" * 400,
        "0x10",
        "a,b,,c",
        "pow(9,pow(9,7))",
        "(" * 300,
        "../../etc/passwd",
        "%00%0d%0a",
        "' OR 1=1 --",
        "http://[::1",
        "true",
        "{}",
    )
)
FILTERS: Final = st.sampled_from(
    ("messageIds", "dlqIds", "label", "count", "cursor", "order", "state", "fromDate", "url", "source", "no-such")
)
OPTIONS: Final = st.sampled_from(
    (
        "Upstash-Retries",
        "Upstash-Retry-Delay",
        "Upstash-Delay",
        "Upstash-Label",
        "Upstash-Flow-Control-Key",
        "Upstash-Callback",
        "Upstash-Forward-X",
        "Lateron-Retry-Delays",
        "Upstash-Method",
        "X-Http-Method-Override",
        "Content-Type",
    )
)
TOKENS: Final = {"good": ALICE.token, "other": BOB.token, "bad": "bad", "none": None}


class Twist(NamedTuple):
    """What is done to a drawn request that no description knows of."""

    known: int | None  # Which of the ids that exist is put in place of the drawn ones, if any.
    token: str  # A key of ``TOKENS``.
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]


PLAIN: Final = Twist(None, "good", (), {})
TWISTED: Final = st.builds(
    Twist,
    known=st.none() | st.integers(0, 30),
    token=st.sampled_from(("good", "good", "good", "other", "bad", "none")),
    query=st.lists(st.tuples(FILTERS, HOSTILE | st.text(max_size=8)), max_size=2),
    headers=st.dictionaries(OPTIONS, HOSTILE | st.text(max_size=8), max_size=2),
)
FOUND: Final = st.builds(lambda number: PLAIN._replace(known=number), st.integers(0, 30))
TWISTS: Final = st.one_of(st.just(PLAIN), FOUND, TWISTED)


@pytest.fixture(scope="module")
def schema(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the description as the server serves it."""
    with copied(furnished, tmp_path_factory.mktemp("described") / "data") as house:
        yield schemathesis.openapi.from_url(f"{house.url}/openapi.json")


@pytest.mark.promise("F-44", "D-8", "D-5")
@pytest.mark.parametrize("label", LABELS)
def test_every_answer_is_one_that_the_description_announces(label: str, schema: Any, house: House) -> None:
    """A client made from the description, and one that ignores it, both understand each answer they get."""
    method, _, path = label.partition(" ")
    operation = schema[path][method]
    seen: Counter[int] = Counter()
    ids: set[str] = set()
    known = known_ids(house)
    session = requests.Session()
    session.trust_env = False  # No proxy, no .netrc.

    @settings(max_examples=CASES, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), database=None)
    @given(drawn(operation), TWISTS)
    def check(case: Any, twist: Twist) -> None:
        checks = list(CHECKS)
        if seen[401] >= STRANGERS:
            twist = twist._replace(token="good")
        if twist != PLAIN:
            put_known(case, twist.known, known)
        # Why not these: a bad item of a batch is answered in its place; a list of one number is that number in a query.
        elif label not in {"POST /v2/batch", "POST /v2/flowControl/{flowControlKey}/pin"}:
            checks.append(negative_data_rejection)
        response = send(house, session, case, twist)
        seen[response.status_code] += 1
        ids.add(response.headers["X-Request-Id"])
        case.validate_response(response, checks=checks)
        check_words(response, case)
        expected = label in PUBLIC or twist.token not in {"bad", "none"} or brought_token(twist)
        assert (response.status_code == 401) != expected, response.text

    if CASES > 1000:  # Most of the time is for drawing them; a busy machine meets the bound.
        faulthandler.cancel_dump_traceback_later()
    house.hang_up()  # Nobody uses this connection for a while, and the server would close it.
    with session:
        check()
    assert sum(seen.values()) >= 200, seen
    assert len(ids) == sum(seen.values())
    look_at_everything(house, schema)


def drawn(operation: Any) -> st.SearchStrategy[Any]:
    """Return requests that the description allows, and, where it forbids any, those too."""
    raw = operation.definition.raw
    modes = [schemathesis.GenerationMode.POSITIVE]
    # Any text may be a header, so headers alone forbid nothing.
    if "requestBody" in raw or any(parameter["in"] != "header" for parameter in raw.get("parameters", ())):
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    return st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])


def send(house: House, session: requests.Session, case: Any, twist: Twist) -> requests.Response:
    """Send a drawn request as twisted."""
    headers: dict[str, Any] = {name: on_the_wire(value) for name, value in twist.headers.items()}
    token = TOKENS[twist.token]
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    target = case.as_transport_kwargs(base_url=house.url)
    target["headers"].update(headers)
    if token is None:
        target["headers"].pop("Authorization", None)
    if twist.query:
        target["params"] = [*pairs_of(target.get("params")), *twist.query]
    target.pop("cookies", None)
    return session.request(**target, timeout=30, allow_redirects=False)


def pairs_of(params: Any) -> list[tuple[str, Any]]:
    """Return the parameters of a request as pairs, whatever form they were drawn in."""
    if params is None:
        return []
    return list(params.items()) if isinstance(params, Mapping) else list(params)


def on_the_wire(value: str) -> bytes:
    """Return what of a text a header's line can hold."""
    return bytes(byte for byte in value.encode("utf-8", "replace") if byte >= 0x20 and byte != 0x7F).strip()


def brought_token(twist: Twist) -> bool:
    """Whether a good token came in the query, by chance."""
    return any(name == "qstash_token" for name, _ in twist.query)


def known_ids(house: House) -> Mapping[str, Sequence[str]]:
    """Return what exists, by the name of the parameter that takes it."""
    messages, letters, jobs = list[str](), list[str](), list[str]()
    for user in (ALICE, BOB):
        messages += [
            message["messageId"] for message in house.ask("GET", "/v2/messages", token=user.token).json["messages"]
        ]
    for user in (ALICE, BOB):
        events = house.ask("GET", "/v2/events", token=user.token).json["events"]
        messages += dict.fromkeys(event["messageId"] for event in events)
        jobs += [job["jobId"] for job in house.ask("GET", "/lateron/v1/jobs", token=user.token).json["jobs"]]
        letters += [letter["dlqId"] for letter in house.ask("GET", "/v2/dlq", token=user.token).json["messages"]]
    return {
        "messageId": messages,
        "messageIds": messages,
        "dlqId": letters,
        "dlqIds": letters,
        "jobId": jobs,
        "scheduleId": ["daily", f"scheduled-{ALICE.tenant}", f"scheduled-{BOB.tenant}", "none"],
        "queueName": [f"line-{ALICE.tenant}", f"line-{BOB.tenant}", "none"],
        "urlGroupName": [f"group-{ALICE.tenant}", f"group-{BOB.tenant}", "none"],
        "flowControlKey": ["shared", f"key-{ALICE.tenant}", f"key-{BOB.tenant}", "none"],
        "host": ["127.0.0.1:9", f"host-{ALICE.tenant}.example:443", f"host-{BOB.tenant}.example:443"],
        "tokenName": [f"token-{ALICE.tenant}", f"token-{BOB.tenant}", "none"],
        "sessionId": [*(house.log_in(user) for user in (ALICE, ALICE, BOB)), "none"],
        "userName": [f"user-{ALICE.tenant}", "none"],
        "name": ["ok", "down", "told", "none", *(f"new-{number}" for number in range(8))],
        "expiresIn": ["90d", "1h"],
        "url": ["https://example.com/a?b=c", "http://127.0.0.1:9/b"],
        "label": ["kept", "later", "dead1"],
        "destination": [
            f"{house.url}/_catch/drawn",
            "https://example.com/a?b=c",
            "http://example.com//x",
            f"group-{ALICE.tenant}",
            f"group-{BOB.tenant}",
        ],
    }


def put_known(case: Any, number: int | None, known: Mapping[str, Sequence[str]]) -> None:
    """Put something that exists in place of what was drawn."""
    if number is None:
        return
    for name in case.path_parameters or {}:
        case.path_parameters[name] = quote(known[name][number % len(known[name])], safe="")
    for name in case.query or {}:
        if name in known:
            case.query[name] = [known[name][number % len(known[name])]]
    put_known_inside(case.body, number, known)


def put_known_inside(body: object, number: int, known: Mapping[str, Sequence[str]]) -> None:
    """Put something that exists in place of what was drawn, in a JSON body, at any depth."""
    if isinstance(body, list):
        for item in body:
            put_known_inside(item, number, known)
    if isinstance(body, dict):
        for name, value in body.items():
            if name not in known:
                put_known_inside(value, number, known)
                continue
            one = known[name][number % len(known[name])]
            body[name] = [one] if name.endswith("Ids") else one


def check_words(response: requests.Response, case: Any) -> None:
    """Hold what an answer says to what every answer promises."""
    assert response.status_code < 500 or response.status_code == 501, response.text
    if response.status_code < 400:
        return
    assert not INSIDE.search(without(response.text, sent_texts(response, case))), response.text
    content = response.json()
    assert set(content) <= {"error", "requestId"}, content
    assert content["error"], content
    if response.status_code in {400, 404, 412, 501}:
        said = content["error"].lower()
        names = sent_names(response) | body_names(case.body) | {name.lower() for name in case.path_parameters or {}}
        assert any(name[:REPEATED] in said for name in names), (content, response.request.url)


def body_names(body: object) -> set[str]:
    """Return the names of the fields of a JSON body, in lower case, at any depth."""
    if isinstance(body, dict):
        return {str(name).lower() for name in body}.union(*map(body_names, body.values())) - {""}
    return set[str]().union(*map(body_names, body)) if isinstance(body, list) else set()


def sent_names(response: requests.Response) -> set[str]:
    """Return the names of a request's parts, in lower case, one of which a refusal has to name."""
    request = response.request
    path, _, query = str(request.url).partition("?")
    names = {"body", "query", "destination", "topic", "message", "dead letter", "job", "headers", "http request", "url"}
    names |= {"schedule", "cron", "queue", "flow-control key", "group", "name", "token", "user", "session"} | {
        str(name).lower() for name in request.headers
    }
    names |= {unquote(part.partition("=")[0].replace("+", " ")).lower() for part in query.split("&") if part}
    return (names | {unquote(path).lower()} | set(path.lower().split("/"))) - {""}


def sent_texts(response: requests.Response, case: Any) -> list[str]:
    """Return the texts of a request that an error may repeat."""
    request = response.request
    url = unquote(str(request.url))
    texts = [str(case.path_parameters), url, PARTING.sub(" ", url), str(request.headers)]
    if isinstance(request.body, bytes):
        texts.append(request.body.decode("utf-8", "replace"))
    return texts


PARTING = re.compile(r"[/?&=+]")  # What parts the words of a URL; a plus in its query is a space.
AROUND = "'\"{}:,"  # What may stand around a word in JSON and in the text of a Python value.


def without(text: str, sent: Sequence[str]) -> str:
    """Return an answer without the words that were in the question."""
    asked = {word.strip(AROUND) for word in " ".join(sent).split()}
    return " ".join(word for word in text.split() if word.strip(AROUND) not in asked)


def look_at_everything(house: House, schema: Any) -> None:
    """See that no list and no page broke by what was accepted, and that each is as the description says."""
    for user in (ALICE, BOB):
        house.stop_jobs(user.token)  # One could delete between a list and a page what the list has shown.
    for user in (ALICE, BOB):
        pages = {path: look(house, schema, path, user.token) for path in LISTS}
        for message in pages["/v2/messages"]["messages"][:20]:
            look(house, schema, "/v2/messages/{messageId}", user.token, message["messageId"])
        for event in pages["/v2/events"]["events"][:20]:
            look(house, schema, "/lateron/v1/messages/{messageId}", user.token, event["messageId"])
        for letter in pages["/v2/dlq"]["messages"][:20]:
            look(house, schema, "/v2/dlq/{dlqId}", user.token, letter["dlqId"])
        for path, name in NAMED.items():
            for named in look(house, schema, path.rpartition("/")[0], user.token)[:20]:
                look(house, schema, path, user.token, quote(named[name], safe=""))
        look(house, schema, "/lateron/v1/destinations", user.token)


def look(house: House, schema: Any, path: str, token: str, value: str | None = None) -> Any:
    """Read one page, which must be there and as described."""
    target = path if value is None else f"{path.partition('{')[0]}{value}"
    answer = house.ask("GET", target, token=token)
    assert answer.status == 200, (target, answer)
    complaints = [str(error) for error in strictly(schema.raw_schema, path).iter_errors(answer.json)]
    assert not complaints, (target, complaints)
    return answer.json


def strictly(raw: Mapping[str, Any], path: str) -> jsonschema_rs.Validator:
    """Return a validator of ``GET path`` that refuses what is not described, too."""
    answer = raw["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    return validator(raw, answer["schema"])


def validator(raw: Mapping[str, Any], schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """Return a validator of a schema of the description whose objects have no fields but those described."""
    schemas = {
        name: {**described, "additionalProperties": False} if "properties" in described else described
        for name, described in raw["components"]["schemas"].items()
    }
    return jsonschema_rs.validator_for({**schema, "components": {"schemas": schemas}})


def test_served_description_is_the_one_of_the_source_and_is_openapi(house: House, schema: Any) -> None:
    """Clients are generated from it: it must hold together."""
    served = house.ask("GET", "/openapi.json", token=None)

    assert msgspec.json.decode(served.body) == document()
    schema.validate()


def test_each_example_is_as_described() -> None:
    """They are what people read first."""
    contents = [
        (label, content)
        for label, path, method in ((label, *label.split(" ")[::-1]) for label in LABELS)
        for part in parts_of(document()["paths"][path][method.lower()])
        for content in part.get("content", {}).values()
        if "example" in content
    ]

    assert len(contents) > 30
    for label, content in contents:
        complaints = [str(error) for error in validator(document(), content["schema"]).iter_errors(content["example"])]
        assert not complaints, (label, complaints)


def parts_of(operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the body and the answers of an operation; refusals are the same everywhere."""
    yield operation.get("requestBody", {})
    for answer in operation["responses"].values():
        yield document()["components"]["responses"][answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
