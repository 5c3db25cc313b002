"""A batch is many publishes: each as if alone, one bad one harming no other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qstash.message import BatchRequest, prepare_batch_message_body
from tests.core.publishing import URL, bad, batch, context, good, publish

from lateron.core.batch import MAX_ITEMS, parse_batch
from lateron.core.options import WorkflowNotSupported
from lateron.core.values import Publication, RetryPolicy
from lateron.errors import NotSupported, RequestError


def item(**fields: object) -> dict[str, object]:
    return {"destination": URL, **fields}


def test_item_is_read_as_the_same_publish() -> None:
    """Whoever moves from one to the other sees no difference."""
    headers = {
        "Content-Type": "text/plain",
        "Upstash-Method": "PUT",
        "Upstash-Retries": "1",
        "Upstash-Delay": "5s",
        "Upstash-Forward-X-A": "v",
        "Upstash-Callback": "https://cb.example",
        "Upstash-Callback-Retries": "0",
        "Upstash-Deduplication-Id": "d",
        "Lateron-Retry-Delays": "1s",
    }
    (made,) = batch(item(headers=headers, body="text"))
    assert good(made) == publish(headers, body=b"text")


def test_every_clients_form_of_headers_is_read() -> None:
    """Strings, arrays of strings (Go), lower-case names (JavaScript), no headers at all."""
    made = batch(
        item(headers={"Upstash-Retries": ["2"], "Upstash-Forward-X": ["a", "b"]}),
        item(headers={"upstash-retries": "2"}),
        item(headers=None),
        item(),
    )
    assert [good(one).request.options.retry.retries for one in made] == [2, 2, 3, 3]
    assert good(made[0]).request.headers == (("X", "a"), ("X", "b"))


def test_what_the_official_client_sends_is_read() -> None:
    """Its own function makes the body; nulls and Python's spelling of true are in it."""
    body = prepare_batch_message_body(
        [
            BatchRequest(
                url=URL,
                body="hi",
                retries=0,
                headers={"test-header": "1", "content-type": "text/plain"},
                content_based_deduplication=True,
                flow_control={"key": "k", "rate": 23, "period": "1h30m3s"},
                redact={"body": True, "header": ["Authorization"]},
            ),
            BatchRequest(url=URL),
        ]
    )
    first, second = (good(made) for made in parse_batch(body.encode(), context()))
    assert dict(first.request.headers) == {"Test-Header": "1", "Content-Type": "text/plain"}
    assert first.request.options.retry == RetryPolicy(0)
    assert first.dedup is not None
    flow = first.request.options.flow
    assert flow is not None
    assert (flow.rate, flow.period_ms) == (23, 5_403_000)
    assert second.request.body is None


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        (b'"text"', b"text", None),
        (b'"\\u00e9\\n\\u0000"', "é\n\x00".encode(), None),
        (b'""', None, None),
        (b"null", None, None),
        (b'{ "a" : [1, 2.50, 1e400], "b": "x  y" }', b'{"a":[1,2.50,1e400],"b":"x  y"}', "application/json"),
        (b"[ 1 , 2 ]", b"[1,2]", "application/json"),
        (b"{}", b"{}", "application/json"),
    ],
)
def test_body_is_text_or_compact_json(body: bytes, sent: bytes | None, content_type: str | None) -> None:
    """An object as body stands in the documentation; numbers are kept as they are written."""
    (made,) = parse_batch(b'[{"destination":"https://example.com","body": ' + body + b"}]", context())
    assert good(made).request.body == sent
    assert dict(good(made).request.headers).get("Content-Type") == content_type


def test_type_of_a_json_body_may_be_given() -> None:
    """Then it is not invented."""
    (made,) = batch(item(body={"a": 1}, headers={"Content-Type": "application/cloudevents+json"}))
    assert good(made).request.headers == (("Content-Type", "application/cloudevents+json"),)


def test_callbacks_may_stand_on_the_item() -> None:
    """As the documentation's example has it; a header of the item goes before."""
    made = batch(
        item(callback="https://cb.example", failureCallback="https://f.example"),
        item(callback="https://cb.example", headers={"Upstash-Callback": "https://other.example"}),
    )
    options = good(made[0]).request.options
    assert options.callback is not None
    assert options.failure_callback is not None
    assert (options.callback.url, options.failure_callback.url) == ("https://cb.example", "https://f.example")
    other = good(made[1]).request.options.callback
    assert other is not None
    assert other.url == "https://other.example"


@pytest.mark.parametrize("queue", [None, ""])
def test_empty_queue_is_none(queue: str | None) -> None:
    """Python sends null, Go an empty text."""
    (made,) = batch(item(queue=queue))
    assert isinstance(made, Publication)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    ("wrong", "status", "text"),
    [
        ({}, 400, "destination"),
        ({"destination": 1}, 400, "destination"),
        ({"destination": None}, 400, "destination"),
        ({"destination": ""}, 400, "a non-empty destination must be provided"),
        ({"destination": "a group"}, 404, "topic a group not found"),
        ({"destination": "https://exämple.com"}, 400, "ASCII"),
        (item(unknown=1), 400, "unknown"),
        (item(url="x"), 400, "url"),
        (item(headers=[]), 400, "headers"),
        (item(headers={"Upstash-Retries": 3}), 400, "headers"),
        (item(headers={"Upstash-Retries": None}), 400, "headers"),
        (item(headers={"Upstash-Retries": "x"}), 400, "Upstash-Retries"),
        (item(headers={"Upstash-Forward-X": "a\r\nb"}), 400, "Upstash-Forward-X"),
        (item(headers={"Upstash-Forward-\u0000": "a"}), 400, "header name"),
        (item(headers={f"X{number}": "" for number in range(201)}), 400, "at most 200"),
        (item(headers={"x": "y" * 32_768}), 400, "32768"),
        (item(headers={"Upstash-Retries": "1000000"}), 412, "Upstash-Retries"),
        (item(body=1), 400, "body"),
        (item(body=True), 400, "body"),
        (item(body="x" * (1 << 20) + "x"), 412, "body"),
        (item(headers={"Upstash-Callback": URL, "Upstash-Callback-\u00c0": ""}), 400, "not an option of a callback"),
        (item(queue="q/q"), 400, "queue"),
        (item(queue=1), 400, "queue"),
        (item(callback="x"), 400, "callback"),
        ("text", 400, "object"),
        (None, 400, "object"),
        ([], 400, "object"),
    ],
)
def test_bad_item_carries_its_error_and_harms_no_other(wrong: object, status: int, text: str) -> None:
    """Its neighbours are published; its own place in the answer says what is wrong."""
    before, error, after = batch(item(), wrong, item(), quota="free")
    assert (good(before), good(after)) == (publish(quota="free"), publish(quota="free"))
    assert bad(error).status == status
    assert text in bad(error).error
    assert bad(error).error.startswith("message 1: ")
    assert len(bad(error).error) < 600


@pytest.mark.promise("D-7", "F-44")
def test_deep_json_is_refused() -> None:
    """A receiver's parser would fall over it; so would a recursive one of ours."""
    deep = b'[{"destination":"https://example.com","body":' + b"[" * 65 + b"]" * 65 + b"}]"
    fine = b'[{"destination":"https://example.com","body":' + b"[" * 64 + b"]" * 64 + b"}]"
    in_text = b'[{"destination":"https://example.com","body":["' + b"[" * 99 + b'\\"[[","]"]}]'
    assert "deeper" in bad(parse_batch(deep, context())[0]).error
    assert isinstance(parse_batch(fine, context())[0], Publication)
    assert isinstance(parse_batch(in_text, context())[0], Publication)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def nested(value: object, levels: int) -> object:
    for level in range(levels):
        value = {'"': value} if level % 3 else [value, "\\"]
    return value


hostile_text = st.text('[]{}\\"x', max_size=4)
nests = st.builds(
    nested,
    st.lists(hostile_text | st.dictionaries(hostile_text, hostile_text, max_size=2), max_size=4),
    st.integers(58, 68),
)


@pytest.mark.promise("D-7")
@given(nests)
def test_depth_is_counted_outside_texts(body: object) -> None:
    """Quotes, backslashes and brackets inside a text are none."""
    (made,) = batch(item(body=body))
    assert isinstance(made, Publication) is (depth_of(body) <= 64)


@pytest.mark.promise("D-7", "F-44")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'"x"',
        b"1",
        b"[",
        b"[1,]",
        b"\xff",
        b"[" * 100000,
        b'[{"a":' * 100000,
        b"[NaN]",
        b'[{"destination":"\\ud800"}]',
        b'[{"destination":"https://example.com"}] x',
    ],
)
def test_body_that_is_no_array_fails_as_a_whole(body: bytes) -> None:
    """There is no place in an answer to put the error."""
    with pytest.raises(RequestError, match="JSON array"):
        parse_batch(body, context())


@pytest.mark.promise("D-7")
def test_batch_has_a_largest_number_of_items() -> None:
    """One transaction takes them all."""
    with pytest.raises(RequestError, match=str(MAX_ITEMS)):
        parse_batch(b"[" + b"1," * MAX_ITEMS + b"1]", context())


def test_empty_batch_is_an_empty_answer() -> None:
    """A client that had nothing to send did nothing wrong."""
    assert batch() == []


def test_workflow_step_fails_the_whole_batch() -> None:
    """Its sender reads no errors inside the array and would take the step as stored."""
    with pytest.raises(WorkflowNotSupported):
        batch(item(), item(headers={"upstash-workflow-runid": "wfr_1", "upstash-workflow-init": "true"}))


@pytest.mark.promise("D-29")
def test_all_headers_of_an_item_can_be_forwarded() -> None:
    """By the same rule as for a publish."""
    headers = {"Upstash-Header-Forward": "true", "X-A": "1", "Authorization": "a", "Host": "h", "Content-Type": "a/b"}
    (made,) = batch(item(headers=headers))
    assert dict(good(made).request.headers) == {"X-A": "1", "Content-Type": "a/b"}


@pytest.mark.promise("P-12")
def test_header_text_goes_out_as_utf_8() -> None:
    """JSON has characters, a header has bytes."""
    (made,) = batch(item(headers={"Upstash-Forward-X": "größe"}))
    assert good(made).request.headers == (("X", "größe".encode().decode("latin-1")),)


@pytest.mark.promise("F-40")
def test_items_inherit_the_hops_of_the_request() -> None:
    """A delivery may go to a batch, whose items name none."""
    (made,) = parse_batch(msgspec.json.encode([item()]), context(hops=5))
    assert good(made).request.options.hops == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["destination", "headers", "body", "queue", "callback", "failureCallback", "x"])
hostile_items = st.dictionaries(fields, json_values | st.just(URL), max_size=5)


@pytest.mark.promise("F-44")
@given(st.lists(hostile_items | json_values, max_size=4))
def test_any_json_is_one_result_per_item(items: list[object]) -> None:
    """And each result is a message or says what is wrong."""
    try:
        results = batch(*items)
    except NotSupported:
        return
    assert len(results) == len(items)


@pytest.mark.promise("F-44")
@given(st.binary(max_size=60) | st.text('[]{},:"\\ud800nulltrue0e', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """The body is a stranger's."""
    try:
        results = parse_batch(body, context())
    except RequestError:
        return
    assert isinstance(results, list)


@pytest.mark.promise("P-12")
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_text_bodies_are_kept(body: str) -> None:
    """Every character of a JSON text, as UTF-8."""
    (made,) = batch(item(body=body))
    assert good(made).request.body == body.encode()
