"""What clients read: names, types and omissions are those their code relies on."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qstash.dlq import parse_dlq_message_response
from qstash.log import LogState, parse_logs_response
from qstash.message import parse_batch_response, parse_message_response, parse_publish_response
from tests.core.publishing import ID, ID_TEXT, NOW, message, publish

from lateron.core.redact import redacted
from lateron.core.render import (
    LIST_BODY,
    attempt_object,
    dead_letter_object,
    error_answer,
    event_object,
    message_object,
    publish_answer,
    publish_answer_json,
    story_object,
)
from lateron.core.values import (
    SECOND,
    Attempt,
    DeadLetter,
    Event,
    EventKind,
    Kind,
    MessageId,
    Outcome,
    Phases,
    Request,
    State,
)

OPTIONS = {
    "Upstash-Method": "PUT",
    "Upstash-Retries": "5",
    "Upstash-Retry-Delay": "1000",
    "Upstash-Timeout": "30s",
    "Upstash-Label": "a,b",
    "Upstash-Flow-Control-Key": "k",
    "Upstash-Flow-Control-Value": "parallelism=3,period=1h30m3s",
    "Upstash-Callback": "https://cb.example",
    "Upstash-Callback-Forward-X": "c",
    "Upstash-Failure-Callback": "https://f.example",
    "Upstash-Failure-Callback-Forward-Authorization": "f",
    "Upstash-Forward-test-header": "v",
    "Content-Type": "text/plain",
}
REQUEST = publish(OPTIONS, body=b"hello").request
OTHER = MessageId(bytes(16))
ANSWER = Outcome(status=404, headers=(("content-type", "text/plain"),), body=b"404 Not Found")


def attempt(outcome: Outcome = ANSWER, **changes: Any) -> Attempt:
    made = Attempt(ID, 1, 3, NOW, NOW + 25, outcome, 0)
    return msgspec.structs.replace(made, **changes)


def event(kind: EventKind, **changes: Any) -> Event:
    return msgspec.structs.replace(Event(1, NOW, ID, 1, kind), **changes)


# Answers to a publish


def test_publish_answers_are_those_the_clients_parse() -> None:
    """The flag is left out where it is false; a group's element names its URL."""
    assert publish_answer(ID) == {"messageId": ID_TEXT}
    assert publish_answer(ID, duplicate=True, url="u") == {"messageId": ID_TEXT, "url": "u", "deduplicated": True}
    assert msgspec.json.decode(publish_answer_json(ID)) == publish_answer(ID)
    single = parse_publish_response(publish_answer(ID, duplicate=True))
    assert not isinstance(single, list)
    assert (single.message_id, single.deduplicated) == (ID_TEXT, True)
    assert len(parse_batch_response([publish_answer(ID), [publish_answer(ID, url="u")]])) == 2


def test_refused_item_of_a_batch_says_what_it_would_have_got() -> None:
    """The text stands under the name every error has."""
    assert error_answer(404, "topic x not found") == {"error": "topic x not found", "status": 404}


# Messages


def test_message_has_every_documented_field() -> None:
    """Names as the SDKs index them; the period is in seconds, header values are arrays."""
    assert message_object(message(REQUEST), REQUEST) == {
        "messageId": ID_TEXT,
        "url": "https://example.com",
        "method": "PUT",
        "maxRetries": 5,
        "notBefore": NOW,
        "createdAt": NOW,
        "header": {"Test-Header": ["v"], "Content-Type": ["text/plain"]},
        "body": "hello",
        "callback": "https://cb.example",
        "callbackHeader": {"X": ["c"]},
        "failureCallback": "https://f.example",
        "failureCallbackHeader": {"Authorization": ["f"]},
        "callerIP": "192.0.2.7",
        "retryDelayExpression": "1000",
        "timeout": 30 * SECOND,
        "label": "a",
        "labels": ["a", "b"],
        "flowControlKey": "k",
        "parallelism": 3,
        "period": 5403,
        "state": "CREATED",
        "nextDeliveryTime": NOW,
    }


def test_plain_message_has_only_what_is_set() -> None:
    """Suites compare what is absent too: no empty body, no empty header."""
    request = publish().request
    assert message_object(message(request), request) == {
        "messageId": ID_TEXT,
        "url": "https://example.com",
        "method": "POST",
        "maxRetries": 3,
        "notBefore": NOW,
        "createdAt": NOW,
        "callerIP": "192.0.2.7",
        "state": "CREATED",
        "nextDeliveryTime": NOW,
    }


def test_official_client_reads_a_message() -> None:
    """Its own parser; it indexes what must always be there."""
    read = parse_message_response(message_object(message(REQUEST), REQUEST))
    assert (read.message_id, read.body, read.max_retries, read.label) == (ID_TEXT, "hello", 5, "a")
    assert read.flow_control is not None
    assert (read.flow_control.parallelism, read.flow_control.rate, read.flow_control.period) == (3, None, 5403)
    assert read.callback_headers == {"X": ["c"]}


def test_period_is_shown_with_any_key() -> None:
    """Its default is a second."""
    request = publish({"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "parallelism=5"}).request
    shown = message_object(message(request), request)
    assert (shown["parallelism"], shown["period"]) == (5, 1)
    assert "rate" not in shown


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "CREATED"),
        ({"attempt": 1}, "RETRY"),
        ({"state": State.ACTIVE}, "ACTIVE"),
        ({"state": State.ACTIVE, "cancel": NOW}, "CANCEL_REQUESTED"),
        ({"state": State.DELIVERED}, "DELIVERED"),
        ({"state": State.FAILED}, "FAILED"),
        ({"state": State.CANCELED}, "CANCELED"),
    ],
)
def test_state_of_a_message_is_a_word_of_the_log(changes: dict[str, Any], state: str) -> None:
    """One vocabulary, which the official client knows."""
    shown = message_object(message(REQUEST, **changes), REQUEST)
    assert shown["state"] == state
    assert LogState(state)
    assert ("nextDeliveryTime" in shown) is (state in {"CREATED", "RETRY"})


def test_waiting_message_says_why_and_until_when() -> None:
    """The question that no other queue answers."""
    shown = message_object(
        message(REQUEST, retried=2), REQUEST, waiting_for="flow_rate", waiting_until=NOW + 5, held_by="k"
    )
    assert (shown["waitingFor"], shown["waitingUntil"], shown["heldBy"]) == ("flow_rate", NOW + 5, "k")
    assert shown["retried"] == 2


@pytest.mark.parametrize(
    ("kind", "word"),
    [(Kind.CALLBACK, "callback"), (Kind.FAILURE_CALLBACK, "failureCallback"), (Kind.REDRIVE, "redrive")],
)
def test_message_made_by_another_names_it(kind: Kind, word: str) -> None:
    """A reader goes from a callback to its source."""
    shown = message_object(message(REQUEST, kind=kind, parent=OTHER), REQUEST)
    assert (shown["kind"], shown["parentMessageId"]) == (word, "msg_" + "0" * 32)


@pytest.mark.promise("P-12")
@given(st.binary(min_size=1, max_size=60))
def test_any_body_can_be_read_back(body: bytes) -> None:
    """As text where it is UTF-8, else in base64; through JSON and back."""
    request = publish(body=body).request
    shown = json.loads(msgspec.json.encode(message_object(message(request), request)))
    assert ("body" in shown) is not ("bodyBase64" in shown)
    assert (shown["body"].encode() if "body" in shown else base64.b64decode(shown["bodyBase64"])) == body


# Events


def test_event_has_what_the_clients_read() -> None:
    """Both spellings where documentation and SDKs differ; the body in base64."""
    shown = event_object(event(EventKind.ERROR), message(REQUEST), REQUEST, attempt())
    assert shown["time"] == NOW
    assert shown["state"] == "ERROR"
    assert shown["body"] == base64.b64encode(b"hello").decode()
    assert shown["responseStatus"] == 404
    assert shown["responseHeader"] == shown["responseHeaders"] == {"Content-Type": ["text/plain"]}
    assert shown["responseBody"] == "404 Not Found"
    assert shown["retryDelayExpr"] == shown["retryDelayExpression"] == "1000"
    assert shown["callbackHeaders"] == {"X": ["c"]}
    assert shown["failureCallbackHeaders"] == {"Authorization": ["f"]}
    assert not {"callbackHeader", "failureCallbackHeader", "createdAt"} & shown.keys()
    assert shown["error"] == "status 404"
    assert shown["timeout"] == 30_000


@pytest.mark.parametrize("kind", list(EventKind))
def test_official_client_reads_every_kind_of_event(kind: EventKind) -> None:
    """A word it does not know makes it throw."""
    shown = event_object(event(kind, next_due=NOW + 5), message(REQUEST), REQUEST, attempt())
    (read,) = parse_logs_response([shown])
    assert (read.message_id, read.state.value, read.next_delivery_time) == (ID_TEXT, kind.name, NOW + 5)
    assert (read.response_status is not None) is (kind.name in {"DELIVERED", "ERROR", "FAILED"})


def test_event_says_what_the_outcome_does_not() -> None:
    """For instance why a wished delay was not used."""
    shown = event_object(event(EventKind.RETRY, note="Retry-After ignored"), message(REQUEST), REQUEST)
    assert shown["note"] == "Retry-After ignored"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome(status=500), "status 500"),
        (Outcome(status=302, detail="redirect to /x not followed"), "redirect to /x not followed"),
        (Outcome(error="timeout", detail="no answer in 5s"), "no answer in 5s"),
        (Outcome(error="closed", status=200), "closed"),
        (Outcome(status=204), None),
    ],
)
def test_error_is_a_sentence(outcome: Outcome, error: str | None) -> None:
    """And is absent where there was none."""
    shown = event_object(event(EventKind.ERROR), message(REQUEST), REQUEST, attempt(outcome))
    assert shown.get("error") == error


def test_long_bodies_are_left_out_of_lists() -> None:
    """A thousand of them would be a page of gigabytes; the message's own page has them."""
    request = publish(body=b"x" * (LIST_BODY + 1)).request
    long = attempt(Outcome(status=500, body=b"y" * (LIST_BODY + 1)))
    in_list = event_object(event(EventKind.ERROR), message(request), request, long)
    alone = event_object(event(EventKind.ERROR), message(request), request, long, whole=True)
    assert not {"body", "responseBody"} & in_list.keys()
    assert {"body", "responseBody"} <= alone.keys()


# Dead letters


def test_dead_letter_is_the_message_and_its_last_answer() -> None:
    """The text of the body is what a suite of the clients compares."""
    shown = dead_letter_object(DeadLetter(1, 1725323658779, ID, 1), message(REQUEST), REQUEST, attempt())
    read = parse_dlq_message_response(shown)
    assert read.dlq_id == f"1725323658779-{ID.hex()}"
    assert (read.response_status, read.response_body) == (404, "404 Not Found")
    assert read.response_headers == {"Content-Type": ["text/plain"]}
    assert (read.message_id, read.body, read.created_at) == (ID_TEXT, "hello", NOW)


def test_dead_letter_without_answer_has_status_zero() -> None:
    """The official client indexes it."""
    outcome = Outcome(error="dns", detail="name not found")
    shown = dead_letter_object(DeadLetter(1, 5, ID, 1), message(REQUEST), REQUEST, attempt(outcome))
    assert shown["responseStatus"] == 0
    assert shown["error"] == "name not found"


@pytest.mark.promise("P-12")
def test_answer_that_is_no_text_is_in_base64() -> None:
    """Its bytes are kept."""
    outcome = Outcome(status=500, body=b"\xff", truncated=True)
    shown = dead_letter_object(DeadLetter(1, 5, ID, 1), message(REQUEST), REQUEST, attempt(outcome))
    assert shown["responseBodyBase64"] == "/w=="
    assert shown["responseTruncated"] is True
    assert "responseBody" not in shown


# The story


def test_attempt_shows_its_phases() -> None:
    """In microseconds; what a reused connection did not do is left out."""
    outcome = Outcome(status=200, phases=Phases(first_byte=480, body=3, total=500), peer="192.0.2.1:443", reused=True)
    assert attempt_object(attempt(outcome, number=2, retried=1)) == {
        "attempt": 2,
        "retried": 1,
        "startedAt": NOW,
        "endedAt": NOW + 25,
        "phases": {"firstByte": 480, "body": 3, "total": 500},
        "reusedConnection": True,
        "peer": "192.0.2.1:443",
        "responseStatus": 200,
    }


def test_story_has_every_attempt_and_every_line() -> None:
    """Nothing that is kept is left out of the one page about a message."""
    request = publish({"Lateron-Retry-Delays": "1s,2s"}).request
    events = [event(EventKind.CREATED, attempt=0), event(EventKind.RETRY, next_due=NOW + 5, note="n")]
    told = story_object(message_object(message(request), request), request, [attempt()], events)
    assert told["messageId"] == ID_TEXT
    assert told["attempts"] == [attempt_object(attempt())]
    assert told["events"] == [
        {"time": NOW, "state": "CREATED"},
        {"time": NOW, "state": "RETRY", "attempt": 1, "nextDeliveryTime": NOW + 5, "note": "n"},
    ]
    assert told["retryDelays"] == [1000, 2000]


# Redaction


def everything(request: Request) -> str:
    """Return all that is ever shown of a message, as one text."""
    made = message(request)
    shown = message_object(made, request)
    objects = [
        shown,
        event_object(event(EventKind.FAILED), made, request, attempt(), whole=True),
        dead_letter_object(DeadLetter(1, 5, ID, 1), made, request, attempt()),
        story_object(shown, request, [attempt()], [event(EventKind.CREATED)]),
    ]
    return msgspec.json.encode(objects).decode()


@pytest.mark.promise("P-110")
@pytest.mark.parametrize("redaction", ["body,header", "body, headers", "body,header[X-Secret],headers[authorization]"])
def test_redacted_fields_are_shown_nowhere(redaction: str) -> None:
    """In no object, in no form, not in callbacks' headers either; their hashes are."""
    request = publish(
        {
            "Upstash-Redact-Fields": redaction,
            "Upstash-Forward-X-Secret": "canary-header",
            "Upstash-Callback": "https://cb.example",
            "Upstash-Callback-Forward-Authorization": "canary-callback",
            "Upstash-Failure-Callback": "https://cb.example",
            "Upstash-Failure-Callback-Forward-X-Secret": "canary-failure",
            "Upstash-Label": "kept",
        },
        body=b"canary-body",
    ).request
    text = everything(request)
    assert "canary" not in text
    assert base64.b64encode(b"canary-body").decode() not in text
    for value in (b"canary-body", b"canary-header", b"canary-callback", b"canary-failure"):
        assert redacted(value) in text
    assert "kept" in text


@pytest.mark.promise("P-110")
@given(st.binary(min_size=8, max_size=40), st.text("abcdefgh", min_size=12, max_size=20))
def test_no_redacted_value_is_ever_shown(body: bytes, header: str) -> None:
    """For any body and any header."""
    request = publish({"Upstash-Redact-Fields": "body,header", "Upstash-Forward-X": header}, body=body).request
    text = everything(request)
    assert header not in text
    assert base64.b64encode(body).decode() not in text
    assert redacted(body) in text
    assert redacted(header.encode()) in text
