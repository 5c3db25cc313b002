"""A filter selects what it says, never more; above all never everything by mistake."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from qstash.dlq import DlqFilter, prepare_list_dlq_messages_params
from qstash.log import LogFilter, LogState, prepare_list_logs_request_params
from tests.core.publishing import ID, ID_TEXT, NOW, message, publish

from lateron.core.filters import (
    DEAD_LETTER_FILTERS,
    EVENT_FILTERS,
    MESSAGE_FILTERS,
    Selection,
    matches,
    parse_filter,
    parse_query,
    parse_selection,
)
from lateron.core.ids import NO_MESSAGE, dlq_text
from lateron.core.options import WorkflowNotSupported
from lateron.core.values import EventKind, Filter
from lateron.errors import InvalidValue, RequestError

EVERY = MESSAGE_FILTERS | EVENT_FILTERS | DEAD_LETTER_FILTERS


def parsed(query: str, allowed: frozenset[str] = EVERY) -> Selection:
    return parse_filter(parse_query(query.encode()), allowed)


@pytest.mark.parametrize(
    ("query", "filter_"),
    [
        ("", Filter()),
        ("label=a&label=b", Filter(labels=("a", "b"))),
        ("label=a,b&label=a", Filter(labels=("a", "b"))),
        ("label=a+b%2Cc", Filter(labels=("a b", "c"))),
        ("callerIp=1.2.3.4&callerIP=::1", Filter(caller_ips=("1.2.3.4", "::1"))),
        (f"messageId={ID_TEXT}", Filter(message_ids=(ID,))),
        (f"messageIds={ID_TEXT}&messageIds={ID_TEXT}", Filter(message_ids=(ID,))),
        (f"dlqIds={dlq_text(5, ID)},{dlq_text(6, ID)}", Filter(dlq_ids=((5, ID), (6, ID)))),
        ("host=Example.com&host=[::1]", Filter(hosts=("example.com", "::1"))),
        ("path=/a,b,/c", Filter(paths=("/a,b", "/c"))),
        ("url=https://a.example/x,y,https://b.example", Filter(urls=("https://a.example/x,y", "https://b.example"))),
        ("flowControlKey=a,b", Filter(flow_keys=("a,b", "a", "b"))),
        ("topicName=t&queueName=q&scheduleId=s", Filter(topics=("t",), queues=("q",), schedules=("s",))),
        ("responseStatus=404,500&responseStatus=0", Filter(statuses=(404, 500, 0))),
        ("fromDate=1&toDate=2", Filter(from_time=1, to_time=2)),
        ("state=DELIVERED,failed", Filter(kinds=(EventKind.DELIVERED, EventKind.FAILED))),
        ("state=IN_PROGRESS", Filter(kinds=(EventKind.ACTIVE, EventKind.RETRY, EventKind.ERROR))),
        ("state=CANCELLED&state=CANCELED", Filter(kinds=(EventKind.CANCELED,))),
        ("groupBy=x&trimBody=1&source=queue&api=llm&qstash_token=t&&=", Filter()),
    ],
)
def test_filter_is_read_in_every_spelling(query: str, filter_: Filter) -> None:
    """Repeated or joined by commas means or; the names are those of the documentation and of the SDKs."""
    assert parsed(query).filter == filter_


def test_page_is_asked_for_beside_the_filter() -> None:
    """Cursor, count and order say which part of a list, not which objects."""
    assert parsed("cursor=abc&count=5&order=earliestFirst") == Selection(Filter(), "abc", 5, newest_first=False)
    assert parsed("order=latestFirst") == Selection()


def test_filters_of_the_official_client_are_read() -> None:
    """Its own functions make the parameters."""
    log_filter = LogFilter(message_id=ID_TEXT, state=LogState.IN_PROGRESS, url="https://a.example", label="l")
    events = prepare_list_logs_request_params(cursor="c", count=10, filter=log_filter)
    assert parsed(urlencode(events, doseq=True), EVENT_FILTERS).filter.labels == ("l",)
    dlq_filter = DlqFilter(message_id=ID_TEXT, response_status=500, from_time=1, to_time=2, caller_ip="::1", queue="q")
    dead = prepare_list_dlq_messages_params(cursor=None, count=None, filter=dlq_filter)
    assert parsed(urlencode(dead), DEAD_LETTER_FILTERS).filter == Filter(
        message_ids=(ID,), statuses=(500,), from_time=1, to_time=2, caller_ips=("::1",), queues=("q",)
    )


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("colour=red", EVERY),
        ("Label=a", EVERY),
        ("state=FAILED", MESSAGE_FILTERS),
        ("dlqIds=1", MESSAGE_FILTERS),
        ("host=a", DEAD_LETTER_FILTERS),
        ("responseStatus=1", EVENT_FILTERS),
        ("workflowUrl=x", DEAD_LETTER_FILTERS),
    ],
)
def test_unknown_filter_is_refused(query: str, allowed: frozenset[str]) -> None:
    """A suite of the clients asserts it; ignored, it would select everything."""
    with pytest.raises(RequestError, match="unknown filter; known are"):
        parsed(query, allowed)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "query",
    [
        "label=",
        "label=,",
        "label=%20",
        "messageIds=",
        "dlqIds=,",
        "url=",
        "fromDate=",
        "fromDate=x",
        "toDate=-1",
        "fromDate=1&fromDate=2",
        "count=0",
        "count=x",
        "count=1&count=2",
        "count=" + "9" * 16,
        "state=SLEEPING",
        "responseStatus=4xx",
        "order=random",
        "cursor=",
        "label=%ff",
        "fromDate=1.5",
        "toDate=٣",
    ],
)
def test_filter_without_meaning_is_refused(query: str) -> None:
    """An empty one would be no restriction, and a bulk cancel would take it for all."""
    with pytest.raises(RequestError):
        parsed(query)


def test_entries_of_workflows_are_not_built_yet() -> None:
    """Their list would look empty, and be a lie."""
    with pytest.raises(WorkflowNotSupported):
        parsed("source=workflow&workflowUrl=x", DEAD_LETTER_FILTERS)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize("name", ["messageIds", "messageId", "dlqIds"])
def test_foreign_id_selects_nothing(name: str) -> None:
    """It is skipped, as documented; but a filter of foreign ids alone must not become no filter."""
    chosen = parsed(f"{name}=msg_26hZCxZCuWyyTWPmSVBrNB1882AMBF").filter
    assert chosen in (Filter(message_ids=(NO_MESSAGE,)), Filter(dlq_ids=((0, NO_MESSAGE),)))


@pytest.mark.parametrize(
    ("body", "field", "filter_"),
    [
        (b"", "messageIds", None),
        (b" \n", "dlqIds", None),
        (f'{{"messageIds": ["{ID_TEXT}", "x"]}}'.encode(), "messageIds", Filter(message_ids=(ID, NO_MESSAGE))),
        (f'{{"dlqIds": ["{dlq_text(7, ID)}"]}}'.encode(), "dlqIds", Filter(dlq_ids=((7, ID),))),
        (b'{"messageIds": []}', "messageIds", Filter(message_ids=(NO_MESSAGE,))),
        (b'{"dlqIds": []}', "dlqIds", Filter(dlq_ids=((0, NO_MESSAGE),))),
    ],
)
def test_body_selects_by_id(body: bytes, field: str, filter_: Filter | None) -> None:
    """An empty list selects nothing; a missing body leaves the choice to the query."""
    assert parse_selection(body, field) == filter_


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        b'{"messageIds": null}',
        b'{"messageIds": "x"}',
        b'{"messageIds": [1]}',
        b"\xff",
        b'{"dlqIds": ["x"]}',
        b'{"messageIds": [], "dlqIds": []}',
        b'{"messageIds": [], "all": true}',
        b"[" * 100000,
    ],
)
def test_body_that_selects_by_nothing_known_is_refused(body: bytes) -> None:
    """A misspelt field must not mean all."""
    with pytest.raises(RequestError, match="messageIds"):
        parse_selection(body, "messageIds")


REQUEST = publish(
    {
        "Upstash-Label": "a,b",
        "Upstash-Flow-Control-Key": "k",
        "Upstash-Flow-Control-Value": "rate=1",
    },
    target="https://Example.com:8443/a/b?c=1",
).request


@pytest.mark.parametrize(
    ("query", "selected"),
    [
        ("", True),
        ("label=b", True),
        ("label=c,a", True),
        ("label=c", False),
        ("label=a&flowControlKey=x", False),
        ("label=a&flowControlKey=x,k", True),
        ("host=example.com", True),
        ("host=EXAMPLE.com", True),
        ("host=example.com:8443", False),
        ("path=/a/b", True),
        ("path=/a", False),
        ("path=/a/b/", False),
        ("url=https://Example.com:8443/a/b?c=1", True),
        ("url=https://example.com:8443/a/b?c=1", False),
        ("callerIp=192.0.2.7", True),
        ("callerIp=192.0.2.8", False),
        (f"messageIds={ID_TEXT}", True),
        ("messageIds=msg_other", False),
        (f"fromDate={NOW}&toDate={NOW}", True),
        (f"fromDate={NOW + 1}", False),
        (f"toDate={NOW - 1}", False),
        ("topicName=t", False),
        ("queueName=q", False),
        ("scheduleId=s", False),
    ],
)
def test_filter_selects_what_it_says(query: str, selected: bool) -> None:
    """Or inside a name, and between names; host and path are those of the destination."""
    assert matches(parsed(query).filter, message(REQUEST), REQUEST) is selected


def test_events_and_dead_letters_bring_what_messages_lack() -> None:
    """Their time, kind, status and id are not the message's."""
    of_event = Filter(kinds=(EventKind.ERROR,), from_time=NOW + 5)
    assert matches(of_event, message(REQUEST), REQUEST, time=NOW + 5, kind=EventKind.ERROR)
    assert not matches(of_event, message(REQUEST), REQUEST, time=NOW + 5, kind=EventKind.RETRY)
    of_letter = Filter(statuses=(0,), dlq_ids=((9, ID),))
    assert matches(of_letter, message(REQUEST), REQUEST, status=0, dlq_id=(9, ID))
    assert not matches(of_letter, message(REQUEST), REQUEST, status=500, dlq_id=(9, ID))
    assert not matches(of_letter, message(REQUEST), REQUEST, status=0, dlq_id=(8, ID))


def test_message_without_key_or_caller_matches_no_filter_for_them() -> None:
    """Absent is not any."""
    plain = replace(publish().request, options=replace(publish().request.options, caller_ip=None))
    for query in ("flowControlKey=k", "callerIp=1.1.1.1", "label=a"):
        assert not matches(parsed(query).filter, message(plain), plain)


names = st.sampled_from(sorted(EVERY)) | st.text(max_size=8)


@pytest.mark.promise("F-44")
@given(st.lists(st.tuples(names, st.text(max_size=12)), max_size=4))
def test_any_parameters_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    """What is read restricts by every name that was given and means a restriction."""
    try:
        chosen = parsed(urlencode(pairs, errors="replace"))
    except (RequestError, WorkflowNotSupported):
        return
    free = {"cursor", "count", "order", "groupBy", "trimBody", "source", "api", "", "qstash_token"}
    restricting = [name for name, _ in pairs if name not in free]
    assert (chosen.filter != Filter()) is bool(restricting)


@pytest.mark.promise("F-44")
@given(st.binary(max_size=60))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    """The bytes behind the question mark are a stranger's."""
    with suppress(RequestError, WorkflowNotSupported):
        parse_filter(parse_query(query), EVERY)


def test_query_has_a_largest_number_of_parameters() -> None:
    """A megabyte of ampersands is no filter."""
    with pytest.raises(RequestError, match="at most"):
        parse_query(b"&" * 20_000)
    with pytest.raises(InvalidValue):
        parsed("count=" + "1" * 5000)
