"""A publish is read as the client meant it, or refused with the name of what is wrong."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core.publishing import URL, context, publish, refused

from lateron.core.publish import GroupPublication, content_key, is_group_name, split_target
from lateron.core.values import SECOND, Headers, Publication, RetryPolicy
from lateron.core.wire import incoming_hops, parse_overrides, parse_publish
from lateron.errors import (
    InvalidDestination,
    InvalidValue,
    NotFound,
    NotSupported,
    RequestError,
)

# The destination


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("https://example.com", "https://example.com"),
        ("http://example.com/a//b/?x=1&y=%20#part", "http://example.com/a//b/?x=1&y=%20"),
        ("https://example.com//first", "https://example.com//first"),
        ("https://example.com/p?", "https://example.com/p"),
        ("https%3A%2F%2Fexample.com%2Fp%3Fx%3D%2520", "https://example.com/p?x=%20"),
        ("https:%2F%2Fexample.com%2Fp", "https://example.com/p"),
        ("https%3A%2F%2Fexample.com%2Fp%3Fx%3D1?y=2", "https://example.com/p?x=1&y=2"),
        ("https:/example.com/p", "https://example.com/p"),
        ("HTTPS:/Example.com/p", "HTTPS://Example.com/p"),
        ("https://example.com/p?upstash-retries=1", "https://example.com/p"),
        ("https://example.com/p?a=1&upstash-retries=1&b=%32&qstash_token=t&c", "https://example.com/p?a=1&b=%32&c"),
        ("https://example.com/p?upstash%2Dretries=1&x", "https://example.com/p?x"),
        ("https://example.com/p?my-upstash-retries=1", "https://example.com/p?my-upstash-retries=1"),
        ("https://example.com/p?Upstash-Retries=x", "https://example.com/p?Upstash-Retries=x"),
        ("http://127.0.0.1:3000/api", "http://127.0.0.1:3000/api"),
    ],
)
def test_destination_is_kept_byte_for_byte(target: str, url: str) -> None:
    """It is signed and requested as given; only our own parameters are taken out."""
    assert publish(target=target).request.url == url


visible = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#\\?")
targets = st.text(visible, max_size=40).map("https://example.com/{}".format)
parts = st.text(visible.replace("&", ""), min_size=1, max_size=12).filter(
    lambda part: not unquote(part).startswith(("upstash-", "lateron-", "qstash_token"))
)
queries = st.lists(parts, max_size=4).map("&".join)


@pytest.mark.promise("P-12")
@given(targets, queries)
def test_any_destination_survives(path: str, query: str) -> None:
    """Whatever a receiver's path and query look like, they are its own."""
    url = f"{path}?{query}" if query else path
    assert publish(target=url).request.url == url


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("", "a non-empty destination must be provided"),
        ("?upstash-retries=3", "a non-empty destination must be provided"),
        ("my%20group", "topic my group not found"),
        ("example.com/x", "topic example.com/x not found"),
        ("api/llm", "publish to the URL of the provider"),
        ("api/email", "publish to the URL of the provider"),
        ("https://", "the host is empty"),
        ("http:example.com", "must begin with http://"),
        ("https://user:secret@example.com", "not supported"),
        ("https://example.com/\\", "backslash"),
        ("ftp%3A%2F%2Fexample.com", "topic ftp://example.com not found"),
        ("%ff", "not UTF-8"),
    ],
)
def test_what_is_no_destination_is_refused_in_words(target: str, text: str) -> None:
    """Two of the texts are compared by tests of the official clients."""
    with pytest.raises((InvalidDestination, NotFound), match=re.escape(text)):
        publish(target=target)


def test_unknown_group_is_404_and_shown_short() -> None:
    """The status tells a missing group from a bad request; a name of megabytes is not echoed."""
    with pytest.raises(NotFound) as caught:
        publish(target="g" * 5000)
    assert caught.value.status == 404
    assert len(str(caught.value)) < 300


@pytest.mark.promise("D-7")
def test_url_has_a_limit() -> None:
    """It is part of every list and every signature."""
    publish(target="https://example.com/" + "x" * (16_384 - 20))
    with pytest.raises(InvalidDestination, match="16384"):
        publish(target="https://example.com/" + "x" * (16_384 - 19))


# Plain publishes, method, headers


def test_plain_publish_has_the_documented_defaults() -> None:
    """POST, three retries, now, nothing else."""
    made = publish(body=b"hi")
    assert (made.request.method, made.request.body, made.request.headers) == ("POST", b"hi", ())
    assert made.request.options.retry == RetryPolicy(3)
    assert made.request.options.caller_ip == "192.0.2.7"
    assert (made.tenant, made.delay_ms, made.not_before, made.dedup) == (1, 0, None, None)


def test_absent_body_stays_absent() -> None:
    """Lists leave it out; it is sent as an empty one."""
    assert publish().request.body is None


@pytest.mark.promise("P-12")
@given(st.binary(min_size=1, max_size=100))
def test_body_bytes_are_opaque(body: bytes) -> None:
    """No byte of a body means anything to us."""
    assert publish(body=body).request.body == body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "put", " Patch "])
def test_method_is_one_of_five(method: str) -> None:
    """In any case; it is sent in capitals."""
    assert publish({"Upstash-Method": method}).request.method == method.strip().upper()


@pytest.mark.parametrize("method", ["", "HEAD", "CONNECT", "TRACE", "OPTIONS", "GET POST", "\uff27\uff25\uff34"])
def test_other_methods_are_refused(method: str) -> None:
    """They would do other things at the receiver than a message does."""
    assert "GET, POST, PUT, PATCH, DELETE" in refused({"Upstash-Method": method})


def test_only_prefixed_headers_are_forwarded() -> None:
    """An exact comparison in a suite of the clients allows no other header."""
    made = publish(
        {
            "Host": "localhost",
            "User-Agent": "x",
            "Accept-Encoding": "gzip",
            "Authorization": "Bearer t",
            "Content-Length": "2",
            "Content-Type": "application/json",
            "Upstash-Forward-test-header": "test-value",
            "Upstash-Forward-Authorization": "Bearer theirs",
            "Upstash-Forward-Upstash-Label": "kept",
            "Upstash-Telemetry-Sdk": "a, b",
            "Upstash-Feature-Set": "LazyFetch",
        }
    )
    assert dict(made.request.headers) == {
        "Test-Header": "test-value",
        "Authorization": "Bearer theirs",
        "Upstash-Label": "kept",
        "Content-Type": "application/json",
    }


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({"Content-Type": "a/b"}, "a/b"),
        ({"Upstash-Forward-Content-Type": "c/d"}, "c/d"),
        ({"Content-Type": "a/b", "Upstash-Forward-Content-Type": "c/d"}, "a/b"),
        ({"Content-Type": ""}, None),
        ({}, None),
    ],
)
def test_plain_content_type_wins_over_the_forwarded_one(headers: dict[str, str], content_type: str | None) -> None:
    """Clients send either, or both; none is invented."""
    forwarded = dict(publish(headers).request.headers)
    assert forwarded.get("Content-Type") == content_type


@pytest.mark.promise("D-28")
def test_forbidden_headers_are_dropped_even_behind_the_prefix() -> None:
    """The workflow SDKs forward all headers of a delivery; with these in it, the next request would be broken."""
    names = ["Host", "Content-Length", "Connection", "TE", "Proxy-X", "Upstash-Signature", "User-Agent", "Expect"]
    headers = {f"Upstash-Forward-{name}": "1" for name in names}
    assert publish({**headers, "Upstash-Forward-X": "2"}).request.headers == (("X", "2"),)


def test_repeated_headers_are_kept_in_order() -> None:
    """Two lines are two values; a value that a client joined stays joined."""
    pairs = [(b"upstash-forward-x", b"a, b"), (b"upstash-forward-x", b"c")]
    made = parse_publish(URL.encode(), pairs, b"", context())
    assert isinstance(made, Publication)
    assert made.request.headers == (("X", "a, b"), ("X", "c"))


@pytest.mark.promise("D-27", "F-44")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"upstash-forward-x", b"a\r\nb"),
        (b"upstash-forward-x", b"\x00"),
        (b"upstash-forward-", b"v"),
        (b"upstash-forward-a b", b"v"),
        (b"upstash-forward-\xe9", b"v"),
        (b"content-type", b"a\nb"),
    ],
)
def test_header_that_could_not_be_sent_is_refused(name: bytes, value: bytes) -> None:
    """At publishing; and its value, which may be a secret, is not repeated."""
    with pytest.raises(RequestError) as caught:
        parse_publish(URL.encode(), [(name, value)], b"", context())
    assert "b" not in value.decode("latin-1") or "\n" not in str(caught.value)


@pytest.mark.promise("D-7")
def test_forwarded_headers_have_limits() -> None:
    """What a receiver's server would refuse is refused here."""
    many = {f"Upstash-Forward-X{number}": "1" for number in range(201)}
    assert "at most 200" in refused(many)
    assert "at most 32768 bytes" in refused({"Upstash-Forward-X": "x" * 32_768})


@pytest.mark.promise("D-29")
@pytest.mark.parametrize("how", ["header", "query"])
def test_all_headers_are_forwarded_on_request_except_ours(how: str) -> None:
    """A webhook's sender cannot prefix its headers; our token must not reach the destination."""
    headers = {
        "Authorization": "Bearer ours",
        "Cookie": "c",
        "Host": "h",
        "Content-Type": "a/b",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "X-Event": "push",
        "X-Both": "plain",
        "Upstash-Forward-X-Both": "prefixed",
        "Upstash-Retries": "1",
        "Lateron-Hops": "1",
    }
    if how == "header":
        made = publish({**headers, "Upstash-Header-Forward": "true"})
    else:
        made = publish(headers, target=f"{URL}?upstash-header-forward=true")
    assert dict(made.request.headers) == {"Content-Type": "a/b", "X-Event": "push", "X-Both": "prefixed"}
    assert made.request.options.retry.retries == 1


# Deduplication


def test_equal_ids_are_one_key_and_tenants_have_their_own() -> None:
    """The id is the publisher's; what it is published with does not matter."""
    one = publish({"Upstash-Deduplication-Id": "a"}, body=b"1").dedup
    assert one == publish({"Upstash-Deduplication-Id": "a"}, target="https://b.example", body=b"2").dedup
    assert one != publish({"Upstash-Deduplication-Id": "b"}, body=b"1").dedup
    pairs = [(b"upstash-deduplication-id", b"a")]
    other = parse_publish(URL.encode(), pairs, b"1", replace(context(), tenant=2))
    assert isinstance(other, Publication)
    assert one != other.dedup
    assert one is not None
    assert len(one) == 32


@pytest.mark.promise("P-54")
@pytest.mark.parametrize("flag", ["true", "True", "TRUE"])
def test_content_decides_where_asked(flag: str) -> None:
    """Python sends its own spelling of true."""
    same = {"Upstash-Content-Based-Deduplication": flag, "Upstash-Forward-A": "1", "Upstash-Forward-B": "2"}
    other_order = {"upstash-forward-b": "2", "upstash-forward-a": "1", "upstash-content-based-deduplication": "true"}
    base = publish(same, body=b"x").dedup
    assert base is not None
    assert base == publish({**other_order, "Upstash-Retries": "1", "Upstash-Method": "PUT"}, body=b"x").dedup
    different = [
        publish(same, body=b"y").dedup,
        publish(same, target=f"{URL}/", body=b"x").dedup,
        publish({**same, "Upstash-Forward-A": "3"}, body=b"x").dedup,
        publish({**same, "Content-Type": "a/b"}, body=b"x").dedup,
    ]
    assert base not in different
    assert len(set(different)) == 4


def test_false_asks_for_no_deduplication() -> None:
    """Python sends it also where nobody asked."""
    assert publish({"Upstash-Content-Based-Deduplication": "False"}).dedup is None


pairs_of_headers = st.lists(st.tuples(st.sampled_from(["A", "B", "Ab"]), st.text("ab", max_size=3)), max_size=4)


@pytest.mark.promise("P-54")
@given(pairs_of_headers, pairs_of_headers, st.binary(max_size=3), st.binary(max_size=3))
@example([("A", "b")], [("Ab", "")], b"", b"")
def test_different_content_never_runs_together(
    one: list[tuple[str, str]], other: list[tuple[str, str]], body: bytes, other_body: bytes
) -> None:
    """Keys are equal exactly if body and headers, apart from order and case, are equal."""
    same = body == other_body and sorted(one) == sorted(other)
    keys: list[Headers] = [tuple(one), tuple((name.lower(), value) for name, value in other)]
    assert (content_key(1, URL, keys[0], body) == content_key(1, URL, keys[1], other_body)) is same


# What is not built yet, and loops


@pytest.mark.parametrize(
    "name",
    [
        "Upstash-Workflow-RunId",
        "upstash-workflow-init",
        "Upstash-Callback-Workflow-RunId",
        "Upstash-Workflow-Url",
        "Upstash-Failure-Callback-Workflow-CallType",
    ],
)
def test_what_is_not_built_is_501(name: str) -> None:
    """Never accepted and then useless."""
    with pytest.raises(NotSupported, match="not supported yet") as caught:
        publish({name: "x"})
    assert caught.value.status == 501


def test_forwarded_workflow_headers_are_ordinary_ones() -> None:
    """They configure nothing; they are for the destination."""
    headers = publish({"Upstash-Forward-Upstash-Workflow-Is-Failure": "true"}).request.headers
    assert headers == (("Upstash-Workflow-Is-Failure", "true"),)


@pytest.mark.promise("F-40")
@pytest.mark.promise("D-33")
@pytest.mark.parametrize("name", ["Lateron-Hops", "Upstash-Forward-Lateron-Hops"])
def test_chain_of_more_than_sixteen_deliveries_is_refused(name: str) -> None:
    """A receiver that publishes to itself would never end; it may pass the header on in either form."""
    assert publish({name: "16"}).request.options.hops == 16
    assert "circles" in refused({name: "17"})


@pytest.mark.promise("F-40")
def test_hops_of_the_request_around_a_batch_count() -> None:
    """A delivery may go to a batch."""
    assert incoming_hops([(b"Lateron-Hops", b"4")]) == 4
    assert incoming_hops([]) == 0
    with pytest.raises(RequestError, match="circles"):
        incoming_hops([(b"lateron-hops", b"17")])


# Overrides of a retry of dead letters


def overrides(headers: dict[str, str]) -> object:
    return parse_overrides([(name.encode(), value.encode()) for name, value in headers.items()], context())


def test_retry_changes_only_what_is_named() -> None:
    """The Content-Type of the call itself is not the message's."""
    kept = parse_overrides([(b"content-type", b"application/json"), (b"authorization", b"x")], context())
    assert all(getattr(kept, field) is None for field in kept.__struct_fields__)


def test_retry_takes_configuration_from_headers_and_query() -> None:
    """All of a publish that makes sense for one that exists."""
    headers = [(b"Upstash-Retry-Delay", b"5"), (b"Upstash-Label", b"again"), (b"upstash-forward-x", b"1")]
    changed = parse_overrides(headers, context(), [("upstash-delay", "5s"), ("upstash-method", "PUT")])
    assert changed.retry == RetryPolicy(3, "5")
    assert (changed.labels, changed.delay_ms, changed.method) == (("again",), 5 * SECOND, "PUT")
    assert changed.headers == (("X", "1"),)


def test_bad_override_is_refused() -> None:
    """As at publishing."""
    with pytest.raises(InvalidValue, match="Upstash-Retries"):
        parse_overrides([(b"Upstash-Retries", b"x")], context())


# Everything


OPTIONS = """
    upstash-retries upstash-delay upstash-not-before upstash-timeout upstash-label upstash-callback upstash-method
    upstash-failure-callback upstash-callback-retries upstash-callback-forward-x upstash-retry-delay upstash-cron
    upstash-flow-control-key upstash-flow-control-value upstash-redact-fields upstash-deduplication-id
    upstash-content-based-deduplication upstash-header-forward lateron-retry-delays lateron-hops content-type
    upstash-callback-failure-callback upstash-failure-callback-label upstash-forward-x upstash- lateron-
    upstash-forward-lateron- upstash-callback- upstash-failure-callback-forward- x-other
"""
option_names = st.sampled_from(OPTIONS.encode().split())
values = st.sampled_from([b"", b"1", b"true", b"https://example.com", b"a,b", b"rate=1", b"5s", b"body"]) | st.binary(
    max_size=30
)


@pytest.mark.promise("F-44")
@given(
    st.binary(max_size=40) | st.binary(max_size=40).map(b"https://example.com/".__add__),
    st.lists(st.tuples(option_names | st.binary(max_size=20), values), max_size=6),
    st.binary(max_size=10),
)
def test_any_request_is_read_or_refused(target: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """No bytes of a client make anything but a message or a clear answer, and what is read can be stored."""
    try:
        made = parse_publish(target, headers, body, context())
    except (RequestError, NotSupported):
        return
    if isinstance(made, GroupPublication):
        assert is_group_name(made.group)
        assert base64.b64encode(made.body or b"") == base64.b64encode(body)
        return
    assert made.request.url.startswith(("http", "HTTP"))
    assert all("\n" not in value and "\r" not in value for _, value in made.request.headers)
    assert base64.b64encode(made.request.body or b"") == base64.b64encode(body)


@pytest.mark.promise("F-44")
@given(st.lists(st.tuples(option_names | st.binary(max_size=20), values), max_size=6))
def test_any_overrides_are_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """A retry is configured by strangers too."""
    with suppress(RequestError, NotSupported):
        parse_overrides(headers, context())


@given(st.binary(max_size=60))
def test_any_target_is_parted_or_refused(target: bytes) -> None:
    """The token never stays in what becomes the destination."""
    try:
        destination, ours = split_target(target + b"?qstash_token=secret&upstash-x=1")
    except InvalidDestination:
        return
    assert "secret" not in destination or b"#" in target or b"?" in target
    assert all(name.startswith(("upstash-", "lateron-")) for name, _ in ours)
