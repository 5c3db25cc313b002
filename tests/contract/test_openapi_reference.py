"""Our description beside the published one, and beside docs/compatibility.md.

Each operation that QStash publishes is served here or refused as not built, and what the page says of the
state of an endpoint is what the router does. So the page cannot promise what is not there, nor hide what is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.contract.house import House, copied
from tests.contract.reference import BUILT, OTHER_STATUS, UNBUILT, UNBUILT_FIELDS

from lateron.api.app import FAMILIES, ROUTES
from lateron.api.openapi import document

COMPATIBILITY: Final = Path(__file__).parents[2] / "docs" / "compatibility.md"
OURS: Final = {f"{route.method} {route.path}": route for route in ROUTES}
ENDPOINT: Final = re.compile(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`")
PREFIX: Final = re.compile(r"`(/v2/[^`]*)`")

# A value that each filter of theirs takes.
VALUES: Final = {
    "fromDate": "1",
    "toDate": "9999999999999",
    "count": "1",
    "responseStatus": "500",
    "state": "DELIVERED",
    "url": "https://example.com/",
    "host": "example.com",
    "path": "/a",
    "callerIp": "192.0.2.1",
    "callerIP": "192.0.2.1",
    "messageId": "msg_" + "0" * 32,
    "messageIds": "msg_" + "0" * 32,
    "dlqIds": "1-" + "0" * 32,
}
# Header options of theirs that stand for many.
STARS: Final = {
    "Upstash-Forward-*": "Upstash-Forward-X",
    "Upstash-Callback-*": "Upstash-Callback-Retries",
    "Upstash-Callback-Forward-*": "Upstash-Callback-Forward-X",
    "Upstash-Failure-Callback-*": "Upstash-Failure-Callback-Retries",
    "Upstash-Failure-Callback-Forward-*": "Upstash-Failure-Callback-Forward-X",
}


@pytest.fixture(scope="module")
def house(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Open one house for all rows of a table."""
    with copied(furnished, tmp_path_factory.mktemp("reference") / "data") as opened:
        yield opened


# Ours against theirs.


@pytest.mark.parametrize("name", [*BUILT, *UNBUILT])
def test_each_published_operation_is_ours_or_refused_as_not_built(name: str, house: House) -> None:
    """A client of theirs must get what it knows, or be told."""
    method, _, path = name.partition(" ")
    target = re.sub(r"\{[^}]*\}", "x", path)

    answer = house.ask(method, target)

    if name in BUILT:
        assert name in OURS
        assert answer.status not in {405, 501}, answer
    else:
        assert name not in OURS
        assert answer.status == 501
        assert "not supported yet" in answer.error


@pytest.mark.parametrize("name", [name for name, theirs in BUILT.items() if theirs.query and "{" not in name])
def test_each_published_filter_is_understood(name: str, house: House) -> None:
    """An unknown filter is refused here, so none of theirs may be unknown."""
    method, _, path = name.partition(" ")
    for parameter in sorted(BUILT[name].query - {"cursor"}):
        answer = house.ask(method, f"{path}?{parameter}={VALUES.get(parameter, 'none-such')}")
        assert answer.status == 200, (parameter, answer)
    assert house.ask(method, f"{path}?no-such-filter=1").status == 400


@pytest.mark.parametrize("name", BUILT)
def test_each_published_field_is_described_here_too(name: str) -> None:
    """Clients read fields by their names; those of what is not built are in no answer."""
    method, _, path = name.partition(" ")
    theirs = BUILT[name]
    operation = document()["paths"][path][method.lower()]
    successes = [status for status in operation["responses"] if status.startswith("2")]

    described = {field for status in successes for field in fields_of(operation["responses"][status])}

    assert theirs.fields - described <= UNBUILT_FIELDS
    assert (str(theirs.success) in successes) == (name not in OTHER_STATUS) or name == "POST /v2/batch"


def test_each_published_option_is_described_here_too() -> None:
    """By the header's name, or in the text where the name has a star."""
    name = "POST /v2/publish/{destination}"
    operation = document()["paths"]["/v2/publish/{destination}"]["post"]
    named = {parameter["name"] for parameter in operation["parameters"]}

    for option in BUILT[name].headers - named:
        assert f"`{option.replace('-Forward-*', '-*') if 'Callback' in option else option}`" in operation["description"]


@pytest.mark.parametrize("option", sorted(BUILT["POST /v2/publish/{destination}"].headers))
def test_each_published_option_works_with_the_example_of_the_description(option: str, house: House) -> None:
    """An example that is refused would be the first thing a reader tries."""
    operation = document()["paths"]["/v2/publish/{destination}"]["post"]
    examples = {parameter["name"]: parameter.get("example") for parameter in operation["parameters"]}
    headers = {STARS.get(option, option): str(examples.get(option) or 1), "Upstash-Flow-Control-Key": "k"}

    answer = house.ask("POST", "/v2/publish/https://example.com", b"x", headers)

    assert answer.status == 201, answer


# The page against the router.


def test_page_lists_each_route_and_nothing_else() -> None:
    """Built means built."""
    assert {endpoint for endpoint, _ in listed()} == set(OURS)
    assert {endpoint for endpoint, state in listed() if state == "501"} == set()


def test_page_lists_each_part_that_is_refused() -> None:
    """501 means 501."""
    refused = {prefix for row in rows() for prefix in PREFIX.findall(row[0]) if row[1] == "501"}

    assert refused == {family.prefix for family in FAMILIES}
    for name in UNBUILT:
        path = name.partition(" ")[2]
        assert any(path == prefix or path.startswith(f"{prefix}/") for prefix in refused), name


def rows() -> Iterator[list[str]]:
    """Yield the cells of the tables of the page, as far as they are about endpoints."""
    for line in COMPATIBILITY.read_text("utf-8").splitlines():
        if line.startswith("|") and "/" in line.split("|")[1]:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def listed() -> Iterator[tuple[str, str]]:
    """Yield the endpoints that the page names with their method, and what it says of them."""
    for row in rows():
        for endpoint in ENDPOINT.findall(row[0]):
            yield endpoint, row[1]


def fields_of(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of an answer's fields as our description has them; of a list, its items' too."""
    waiting = [answer.get("content", {}).get("application/json", {}).get("schema", {})]
    while waiting:
        schema = waiting.pop()
        if "$ref" in schema:
            waiting.append(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        waiting += schema.get("anyOf", ())
        waiting += [schema["items"]] if "items" in schema else []
        for name, content in schema.get("properties", {}).items():
            yield name
            waiting += [content["items"]] if "items" in content else []
