"""Ids have exactly one spelling outside, and come back as they went."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.ids import dlq_text, message_text, parse_dlq_id, parse_message_id
from lateron.core.values import MessageId

message_ids = st.binary(min_size=16, max_size=16).map(MessageId)


@given(message_ids)
def test_message_id_comes_back(message_id: MessageId) -> None:
    """The text is what a client keeps; it must find the message again."""
    text = message_text(message_id)
    assert text.startswith("msg_")
    assert parse_message_id(text) == message_id


@given(st.integers(0, 10**15 - 1), message_ids)
def test_dead_letter_id_comes_back(time: int, message_id: MessageId) -> None:
    """It names the time too, so that its row is found by key."""
    assert parse_dlq_id(dlq_text(time, message_id)) == (time, message_id)


@given(message_ids, message_ids)
def test_texts_are_ordered_as_ids(one: MessageId, other: MessageId) -> None:
    """Whoever sorts ids as text gets them in the order of time, as documented."""
    assert (message_text(one) < message_text(other)) is (one < other)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg_",
        "msg_" + "0" * 31,
        "msg_" + "0" * 33,
        "msg_" + "A" * 32,
        "MSG_" + "0" * 32,
        "0" * 32,
        "msg_" + "0 " * 16,
        "msg_" + "g" * 32,
        "msg_" + "٣" * 32,
        "msg_26hZCxZCuWyyTWPmSVBrNB1882AMBF",
    ],
)
def test_other_spellings_name_no_message(text: str) -> None:
    """If one message had two names, a list of ids could name it twice."""
    with pytest.raises(ValueError, match="not a message id"):
        parse_message_id(text)


@pytest.mark.promise("F-44")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1725323658779-0",
        "1725323658779",
        "-" + "0" * 32,
        "01-" + "0" * 32,
        "1" * 16 + "-" + "0" * 32,
        "+1-" + "0" * 32,
        "1_0-" + "0" * 32,
        "٣-" + "0" * 32,
        "1-" + "0" * 32 + "-",
        " 1-" + "0" * 32,
    ],
)
def test_other_spellings_name_no_dead_letter(text: str) -> None:
    """Foreign ids must be recognised as foreign, not read as something else."""
    with pytest.raises(ValueError, match=r"not .+"):
        parse_dlq_id(text)


@given(st.text(max_size=60))
def test_any_text_names_something_or_nothing(text: str) -> None:
    """Paths and bodies bring ids from anywhere; what is taken is written back as it was."""
    with suppress(ValueError):
        assert message_text(parse_message_id(text)) == text
    with suppress(ValueError):
        assert dlq_text(*parse_dlq_id(text)) == text
