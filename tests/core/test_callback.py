"""A callback says what became of the attempt, and nothing that the publisher hid."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.publishing import ID, ID_TEXT, NOW, message, publish

from lateron.core.callback import callback_publication
from lateron.core.render import message_object
from lateron.core.values import (
    SECOND,
    CallbackOptions,
    DeadLetter,
    Kind,
    Outcome,
    Publication,
    Redaction,
    Request,
    RetryPolicy,
)

SOURCE = publish(
    {
        "Upstash-Method": "PUT",
        "Upstash-Retries": "5",
        "Upstash-Retry-Delay": "10",
        "Upstash-Forward-Authorization": "Bearer secret",
        "Content-Type": "text/plain",
        "Lateron-Hops": "2",
    },
    target="https://example.com/a",
    body=b"\xffsource",
).request
ANSWER = Outcome(status=503, headers=(("retry-AFTER", "1"), ("X-A", "1"), ("X-A", "2")), body=b"\x00answer")


def called(
    outcome: Outcome = ANSWER,
    request: Request = SOURCE,
    options: CallbackOptions | None = None,
    dead_letter: DeadLetter | None = None,
) -> Publication:
    return callback_publication(
        message(request, retried=1),
        request,
        outcome,
        options or CallbackOptions("https://cb.example"),
        kind=Kind.CALLBACK if dead_letter is None else Kind.FAILURE_CALLBACK,
        now=NOW + 7 * SECOND,
        dead_letter=dead_letter,
    )


def report(publication: Publication) -> dict[str, Any]:
    assert publication.request.body is not None
    decoded: dict[str, Any] = msgspec.json.decode(publication.request.body)
    return decoded


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.promise("P-42")
def test_report_has_the_documented_fields() -> None:
    """Names and forms are those of the documentation; values are the attempt's."""
    assert report(called()) == {
        "status": 503,
        "header": {"Retry-After": ["1"], "X-A": ["1", "2"]},
        "body": base64_text(b"\x00answer"),
        "retried": 1,
        "maxRetries": 5,
        "sourceMessageId": ID_TEXT,
        "url": "https://example.com/a",
        "method": "PUT",
        "sourceHeader": {"Authorization": ["Bearer secret"], "Content-Type": ["text/plain"]},
        "sourceBody": base64_text(b"\xffsource"),
        "notBefore": NOW,
        "createdAt": NOW,
        "callerIP": "192.0.2.7",
    }


@pytest.mark.promise("P-42")
def test_failure_callback_names_the_dead_letter() -> None:
    """So its receiver can retry or delete it."""
    publication = called(dead_letter=DeadLetter(1, 1725323658779, ID, 2))
    assert report(publication)["dlqId"] == f"1725323658779-{ID.hex()}"
    assert publication.kind is Kind.FAILURE_CALLBACK


@pytest.mark.promise("P-42")
def test_attempt_without_answer_has_status_zero_and_a_reason() -> None:
    """The reason is ours; the rest stays in its documented form."""
    shown = report(called(Outcome(error="connect", detail="connection refused")))
    assert (shown["status"], shown["header"], shown["body"]) == (0, {}, "")
    assert shown["error"] == "connect: connection refused"


@pytest.mark.promise("P-42")
def test_cut_answer_is_marked() -> None:
    """Whoever parses it must know that it is not whole."""
    assert report(called(Outcome(status=200, body=b"x", truncated=True)))["truncated"] is True
    assert "truncated" not in report(called())


def test_callback_is_an_ordinary_message_with_its_own_options() -> None:
    """What it does not set itself is its source's (retries) or the default."""
    publication = called()
    assert (publication.kind, publication.parent, publication.tenant) == (Kind.CALLBACK, ID, 1)
    assert publication.request.method == "POST"
    assert publication.request.headers == (("Content-Type", "application/json"),)
    options = publication.request.options
    assert options.retry == RetryPolicy(5, "10")
    assert (options.callback, options.failure_callback, options.flow, options.labels) == (None, None, None, ())
    assert (options.caller_ip, options.hops) == ("192.0.2.7", 2)


def test_callbacks_options_are_taken() -> None:
    """All of them; its headers beside our content type."""
    nested = CallbackOptions("https://nested.example")
    wanted = CallbackOptions(
        "https://cb.example",
        method="PUT",
        headers=(("X-Mine", "1"), ("Content-Type", "text/other")),
        retry=RetryPolicy(0),
        timeout_ms=5,
        delay_ms=6,
        not_before=NOW + 60 * SECOND,
        labels=("l",),
        failure_callback=nested,
    )
    publication = called(options=wanted)
    request = publication.request
    assert request.method == "PUT"
    assert request.headers == (("X-Mine", "1"), ("Content-Type", "application/json"))
    assert (request.options.retry, request.options.timeout_ms) == (RetryPolicy(0), 5)
    assert (request.options.labels, request.options.failure_callback) == (("l",), nested)
    assert (publication.delay_ms, publication.not_before) == (6, NOW + 60 * SECOND)


@pytest.mark.promise("P-110")
@pytest.mark.parametrize("fields", ["body", "header", "header[Authorization]"])
def test_callback_of_a_redacted_message_is_shown_without_its_body(fields: str) -> None:
    """The receiver gets everything; a list of messages must not give it to anybody else."""
    source = publish(
        {"Upstash-Redact-Fields": fields, "Upstash-Forward-Authorization": "hidden-token"}, body=b"hidden-body"
    ).request
    own = CallbackOptions("https://cb.example", headers=(("X", "hidden-x"),), redact=Redaction(headers=("x",)))
    made = called(request=source, options=own).request
    assert base64_text(b"hidden-body") in str(made.body)
    shown = str(message_object(message(made), made))
    assert "hidden" not in shown
    assert base64_text(b"hidden-body") not in shown
    assert shown.count("REDACTED:") == 2


def test_callback_of_an_open_message_is_shown_as_it_is() -> None:
    """Hiding more than was asked for would hide errors."""
    made = called().request
    assert "sourceMessageId" in message_object(message(made), made)["body"]


headers = st.lists(st.tuples(st.text(max_size=8).filter(str.isascii), st.binary(max_size=8)), max_size=4)


@pytest.mark.promise("P-42", "P-12")
@given(st.binary(max_size=50), headers, st.none() | st.integers(100, 599))
def test_report_carries_any_answer_unchanged(body: bytes, pairs: list[tuple[str, bytes]], status: int | None) -> None:
    """Whatever bytes a receiver answers with."""
    answer = Outcome(status=status, headers=tuple((name, value.decode("latin-1")) for name, value in pairs), body=body)
    shown = report(called(answer))
    assert base64.b64decode(shown["body"]) == body
    assert shown["status"] == (status or 0)
    assert sum(len(values) for values in shown["header"].values()) == len(pairs)
