"""URL groups: endpoints by URL and name, defaults under a request, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.publishing import NOW, context

from lateron.core.destination import Destination
from lateron.core.group_wire import check_group_name, group_object, parse_defaults, parse_endpoints, parse_targets
from lateron.core.groups import (
    Endpoint,
    Group,
    Target,
    expand,
    with_endpoints,
    with_headers,
    without_endpoints,
)
from lateron.core.options import Config
from lateron.core.publish import GroupPublication, parse_publish
from lateron.core.quota import QUOTAS
from lateron.core.reach import anywhere
from lateron.core.values import SECOND, Headers, Publication
from lateron.core.wire import parse_batch
from lateron.errors import InvalidDestination, InvalidValue, LateronError, NotSupported, QuotaExceeded, RequestError

NONE = QUOTAS["none"]
FIRST = "https://one.example/"


def group(*endpoints: Endpoint, headers: Headers = ()) -> Group:
    made = with_endpoints(None, 1, "orders", endpoints or (Endpoint(FIRST),), NONE, NOW)
    return with_headers(made, headers, NOW)


def defaults(headers: dict[str, str | list[str]], quota: str = "none") -> Headers:
    return parse_defaults(json.dumps({"headers": headers}).encode(), context(quota), anywhere)


def request(headers: dict[str, str], target: str = "orders", body: bytes = b"hi") -> GroupPublication:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    wanted = parse_publish(target.encode(), pairs, body, context())
    assert isinstance(wanted, GroupPublication)
    return wanted


def published(headers: dict[str, str], under: dict[str, str | list[str]]) -> Publication:
    """Return what a publish becomes at the only endpoint of a group with these defaults."""
    (made,) = expand(request(headers), group(headers=defaults(under)), anywhere)
    return made


def refuse(destination: Destination) -> None:
    raise InvalidDestination(destination.url, "a private address")


endpoints = st.builds(
    Endpoint, st.sampled_from([f"https://h/{n}" for n in range(4)]), st.none() | st.sampled_from(["a", "b", "c d"])
)


@given(st.lists(st.one_of(st.lists(endpoints, min_size=1, max_size=4), endpoints), max_size=8))
def test_url_and_name_are_unique_whatever_is_added_and_removed(plan: list[list[Endpoint] | Endpoint]) -> None:
    """A list adds, a single one is removed: no URL stands twice, no name does, and what was asked for is there."""
    made: Group | None = None
    for step in plan:
        if isinstance(step, list):
            made = with_endpoints(made, 1, "orders", step, NONE, NOW)
            assert step[-1].url in [e.url for e in made.endpoints]
            assert step[-1].name is None or step[-1] in made.endpoints
        elif made is not None:
            made = without_endpoints(made, [Target(step.url, step.name)], NOW)
        if made is not None:
            urls, names = [e.url for e in made.endpoints], [e.name for e in made.endpoints if e.name is not None]
            assert urls
            assert (len(set(urls)), len(set(names))) == (len(urls), len(names))


@pytest.mark.parametrize(
    ("new", "after"),
    [
        (Endpoint("https://h/3"), ["https://h/1 a", "https://h/2 b", "https://h/3"]),
        (Endpoint("https://h/1"), ["https://h/1 a", "https://h/2 b"]),
        (Endpoint("https://h/1", "z"), ["https://h/1 z", "https://h/2 b"]),
        (Endpoint("https://h/9", "a"), ["https://h/9 a", "https://h/2 b"]),
        (Endpoint("https://h/1", "b"), ["https://h/1 b"]),
        (Endpoint("https://h/2", "a"), ["https://h/2 a"]),
    ],
)
def test_known_url_or_name_is_changed_in_its_place(new: Endpoint, after: list[str]) -> None:
    """The order is that in which they came; two that are meant at once become one."""
    before = group(Endpoint("https://h/1", "a"), Endpoint("https://h/2", "b"))
    changed = with_endpoints(before, 1, "orders", [new], NONE, NOW + 5)
    assert [f"{e.url} {e.name or ''}".strip() for e in changed.endpoints] == after
    assert (changed.created, changed.updated) == (NOW + 1, NOW + 6)


def test_times_are_later_than_the_clock_of_a_client_before_the_call() -> None:
    """A test of the Go client compares strictly; and a clock that was set back does not turn time back."""
    made = group()
    assert made.created > NOW
    assert with_endpoints(made, 1, "orders", [Endpoint(FIRST)], NONE, NOW - 99).updated == made.updated


names = st.sampled_from(
    ["Upstash-Retries", "Upstash-Label", "Upstash-Forward-X-Y", "Upstash-Forward-Lateron-Retry-Delays",
     "Lateron-Retry-Delays", "Upstash-Callback", "Upstash-Callback-Retries", "Upstash-Callback-Forward-A",
     "Upstash-Callback-Failure-Callback", "Upstash-Failure-Callback-Forward-Lateron-Retry-Delays",
     "Upstash-Callback-Failure-Callback-Forward-B", "Content-Type", "Upstash-Telemetry-Sdk"]
)  # fmt: skip


@given(st.lists(st.tuples(names, st.text("ab1, ", max_size=5)), max_size=12))
def test_configuration_survives_being_kept_as_headers(pairs: list[tuple[str, str]]) -> None:
    """Defaults are stored so, and a publish to a group waits so for its transaction."""
    kept = Config.of(tuple(pairs)).pairs()
    assert Config.of(kept).pairs() == kept
    said, again = Config.of(tuple(pairs)), Config.of(kept)
    assert {name: given.value for name, given in said.given.items()} == {n: g.value for n, g in again.given.items()}
    assert (said.forwarded, said.content_type or None) == (again.forwarded, again.content_type)


def test_publish_to_a_group_is_the_publish_to_each_url() -> None:
    """Header by header and option by option, but for the names."""
    headers = {
        "Content-Type": "text/plain",
        "Upstash-Forward-X": "v",
        "Upstash-Delay": "10s",
        "Upstash-Retries": "2",
        "Lateron-Retry-Delays": "1s, 2s",
        "Upstash-Callback": "https://back.example/",
        "Upstash-Callback-Forward-Y": "w",
        "Upstash-Label": "a,b",
    }
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    alone = parse_publish(b"https://one.example/", pairs, b"hi", context())
    assert isinstance(alone, Publication)

    (made,) = expand(request(headers), group(Endpoint(FIRST, "shop")), anywhere)

    assert (made.request.options.topic, made.request.options.endpoint) == ("orders", "shop")
    assert (made.request.headers, made.request.body) == (alone.request.headers, alone.request.body)
    assert made.request.options.retry == alone.request.options.retry
    assert made.request.options.callback == alone.request.options.callback
    assert (made.delay_ms, made.request.options.labels) == (alone.delay_ms, alone.request.options.labels)


def test_batch_item_may_name_a_group() -> None:
    """With its own headers, a body that is an object, and callbacks as fields."""
    item: dict[str, Any] = {"destination": "orders", "body": {"a": 1}, "callback": "https://back.example/"}
    (wanted,) = parse_batch(json.dumps([item]).encode(), context())
    assert isinstance(wanted, GroupPublication)

    (made,) = expand(wanted, group(), anywhere)

    assert made.request.body == b'{"a":1}'
    assert made.request.headers == (("Content-Type", "application/json"),)
    assert made.request.options.callback is not None
    assert made.request.options.callback.url == "https://back.example/"


def test_request_displaces_what_belongs_together() -> None:
    """A default must not win over the request because it stands under another name."""
    assert published({"Upstash-Delay": "5s"}, {"Upstash-Not-Before": "1800000000"}).not_before is None
    assert published({"Upstash-Delay": "5s"}, {"Upstash-Delay": "9s"}).delay_ms == 5 * SECOND
    listed = published({"Lateron-Retry-Delays": "1s"}, {"Upstash-Retry-Delay": "1", "Upstash-Retries": "9"})
    assert (listed.request.options.retry.retries, listed.request.options.retry.expression) == (1, None)
    formula = published({"Upstash-Retry-Delay": "1"}, {"Upstash-Forward-Lateron-Retry-Delays": "1s"})
    assert (formula.request.options.retry.expression, formula.request.options.retry.delays_ms) == ("1", ())
    limits = {"Upstash-Flow-Control-Key": "theirs", "Upstash-Flow-Control-Value": "parallelism=1"}
    flow = published({"Upstash-Flow-Control-Key": "mine"}, {**limits}).request.options.flow
    assert flow is not None
    assert (flow.key, flow.parallelism) == ("mine", None)
    back = {"Upstash-Callback": "https://a/", "Upstash-Callback-Forward-Authorization": "secret"}
    callback = published({"Upstash-Callback": "https://b/"}, {**back}).request.options.callback
    assert callback is not None
    assert (callback.url, callback.headers) == ("https://b/", ())
    only = published({"Upstash-Callback": "https://b/"}, {"Upstash-Callback-Retries": "7"}).request.options.callback
    assert only is not None
    assert only.retry is not None
    assert only.retry.retries == 7


def test_forwarding_of_all_headers_can_be_a_default() -> None:
    """The request's own headers still win over those that the defaults forward, and it may say no."""
    under: dict[str, str | list[str]] = {"Upstash-Header-Forward": "true", "Upstash-Forward-X-A": "default"}
    asked = {"X-A": "mine", "X-B": "b", "Authorization": "Bearer secret"}
    assert dict(published(asked, under).request.headers) == {"X-A": "mine", "X-B": "b"}
    refused = published({**asked, "Upstash-Header-Forward": "false"}, under)
    assert dict(refused.request.headers) == {"X-A": "default"}


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"Upstash-Retries": "x"}, 400, "Upstash-Retries: expected a whole number"),
        ({"Upstash-Retrys": "3"}, 400, "Upstash-Retrys: cannot be a default"),
        ({"Lateron-Nothing": "3"}, 400, "unknown option"),
        ({"X-Own": "3"}, 400, "name it Upstash-Forward-X-Own"),
        ({"Upstash-Cron": "* * * * *"}, 400, "cannot be a default"),
        ({"Upstash-Schedule-Id": "s"}, 400, "cannot be a default"),
        ({"Lateron-Hops": "1"}, 400, "cannot be a default"),
        ({"Upstash-Callback": "nowhere"}, 400, "a URL to call"),
        ({"Upstash-Callback-Retries": "x"}, 400, "Upstash-Callback-Retries"),
        ({"Upstash-Callback-Failure-Callback-Delay": "x"}, 400, "Upstash-Callback-Failure-Callback-Delay"),
        ({"Upstash-Failure-Callback-Callback": "https://a/"}, 400, "nothing nests deeper"),
        ({"Upstash-Flow-Control-Value": "parallelism=1"}, 400, "needs an Upstash-Flow-Control-Key"),
        ({"Upstash-Header-Forward": "perhaps"}, 400, "true or false"),
        ({"Upstash-Forward-X": "a\nb"}, 400, "control characters"),
        ({"Content-Type": "a\nb"}, 400, "control characters"),
        ({"Upstash-Retries": "6"}, 412, "Upstash-Retries: the quota allows at most 5"),
        ({"Upstash-Workflow-RunId": "x"}, 501, "workflow"),
    ],
)
def test_bad_default_is_refused_when_it_is_set(headers: dict[str, str | list[str]], status: int, text: str) -> None:
    """Else every publisher would be told, and not the one who can change it."""
    with pytest.raises(LateronError) as caught:
        defaults(headers, "free")
    assert caught.value.status == status
    assert text in str(caught.value)


def test_urls_of_defaults_and_endpoints_are_judged() -> None:
    """An address that must not be called is refused where it is given."""
    with pytest.raises(InvalidDestination, match="private"):
        parse_endpoints(b'{"endpoints":[{"url":"https://inside"}]}', refuse)
    with pytest.raises(InvalidDestination, match="private"):
        parse_defaults(b'{"headers":{"Upstash-Callback":"https://inside"}}', context(), refuse)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"endpoints":null}',
        b'{"endpoints":[]}',
        b'{"endpoints":[{}]}',
        b'{"endpoints":[{"url":""}]}',
        b'{"endpoints":[{"url":"example.com"}]}',
        b'{"endpoints":[{"url":"ftp://example.com"}]}',
        b'{"endpoints":[{"url":"https://\\ud800/"}]}',
        b'{"endpoints":[{"url":"https://h","name":"\\ud800"}]}',
        b'{"endpoints":[{"url":"https://h","name":"a\\nb"}]}',
        b'{"endpoints":[{"url":"https://h","more":1}]}',
        b'{"endpoints":[{"url":7}]}',
        b'{"endpoints":' + b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_list_of_endpoints_is_refused(body: bytes) -> None:
    """Nothing is added by a body that was not understood."""
    with pytest.raises(RequestError):
        parse_endpoints(body, anywhere)


@pytest.mark.promise("F-44")
@given(st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_any_body_is_read_or_refused(body: bytes | str) -> None:
    """Nothing that a client sends is an error of ours."""
    sent = body if isinstance(body, bytes) else f'{{"endpoints":{body},"headers":{body}}}'.encode()
    for read in (
        lambda: parse_endpoints(sent, anywhere),
        lambda: parse_targets(sent),
        lambda: parse_defaults(sent, context(), anywhere),
    ):
        with suppress(RequestError, NotSupported):
            assert not read(), "nothing that is drawn here says anything"


@pytest.mark.promise("F-44")
@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a\0", "x" * 257, "api", "a:b", "a\u202eb", "*"])
def test_name_of_a_group_has_few_characters(name: str) -> None:
    """It stands in paths, in headers and in the place of a destination."""
    with pytest.raises(InvalidValue, match="name"):
        check_group_name(name)
    assert check_group_name("V1StGXR8_Z5j-Hi.B") == "V1StGXR8_Z5j-Hi.B"


def test_group_is_shown_with_exactly_what_it_has() -> None:
    """Clients compare endpoints deeply; a default that is redacted in messages is redacted here."""
    shown = group_object(group(Endpoint(FIRST), Endpoint("https://h/2", "a b")))
    assert shown == {
        "name": "orders",
        "createdAt": NOW + 1,
        "updatedAt": NOW + 1,
        "endpoints": [{"url": FIRST}, {"url": "https://h/2", "name": "a b"}],
    }
    headers = defaults(
        {
            "Upstash-Forward-Authorization": "Bearer secret",
            "Upstash-Callback-Forward-Authorization": "Bearer secret",
            "Upstash-Redact-Fields": "header[Authorization]",
            "Upstash-Retries": "2",
            "Upstash-Forward-X": "shown",
        }
    )
    shown = group_object(group(headers=headers))["headers"]
    assert "secret" not in json.dumps(shown)
    assert shown["Upstash-Forward-X"] == ["shown"]
    assert shown["Upstash-Retries"] == ["2"]


def test_limit_of_a_plan_counts_what_the_group_would_have() -> None:
    """An update of a full group is no new endpoint."""
    full = with_endpoints(None, 1, "g", [Endpoint(f"https://h/{n}") for n in range(100)], QUOTAS["free"], NOW)
    with_endpoints(full, 1, "g", [Endpoint("https://h/1", "named")], QUOTAS["free"], NOW)
    with pytest.raises(QuotaExceeded):
        with_endpoints(full, 1, "g", [Endpoint("https://h/new")], QUOTAS["free"], NOW)


@pytest.mark.parametrize(
    ("target", "urls"),
    [
        ("orders?page=1", ["https://one.example?page=1", "https://two.example/x?a=1&page=1"]),
        ("orders?", ["https://one.example", "https://two.example/x?a=1"]),
        (
            "orders?upstash-retries=2&b=%2F%20&qstash_token=t&b",
            ["https://one.example?b=%2F%20&b", "https://two.example/x?a=1&b=%2F%20&b"],
        ),
        ("orders%3Fpage=1", ["https://one.example?page=1", "https://two.example/x?a=1&page=1"]),
    ],
)
def test_parameters_that_are_not_ours_go_to_every_endpoint(target: str, urls: list[str]) -> None:
    """A sender of webhooks adds what it likes to its address; a publish to a URL passes that on, byte for byte."""
    two = group(Endpoint("https://one.example"), Endpoint("https://two.example/x?a=1"))

    made = expand(request({}, target), two, anywhere)

    assert [publication.request.url for publication in made] == urls


def test_a_query_behind_a_group_is_judged_with_the_url_of_the_endpoint() -> None:
    """What no request line can hold is refused, as it is in a publish to a URL."""
    (item,) = parse_batch(b'[{"destination": "orders?a b"}]', context())
    assert isinstance(item, GroupPublication)

    with pytest.raises(InvalidDestination, match="a b"):
        expand(item, group(), anywhere)
