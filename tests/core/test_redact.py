"""A redacted value is shown as its hash; what is not redacted stays."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.redact import both, hides_body, redact_headers, redacted
from lateron.core.values import Headers, Redaction

HEADERS: Headers = (("Authorization", "Bearer a"), ("X-A", "1"), ("X-A", "2"))


@pytest.mark.promise("P-110")
def test_hash_is_that_of_the_value() -> None:
    """Its owner can compute it too, and recognise the value."""
    assert redacted(b"secret") == "REDACTED:" + sha256(b"secret").hexdigest()


@pytest.mark.promise("P-110")
def test_named_headers_are_hidden_in_any_case() -> None:
    """All values of the name; the others stay, and so does the order."""
    shown = redact_headers(HEADERS, Redaction(headers=("x-a",)))
    assert shown == (("Authorization", "Bearer a"), ("X-A", redacted(b"1")), ("X-A", redacted(b"2")))


@pytest.mark.promise("P-110")
def test_all_headers_are_hidden_where_asked() -> None:
    """Their names stay, so that a reader sees what was sent."""
    shown = redact_headers(HEADERS, Redaction(all_headers=True))
    assert [name for name, _ in shown] == [name for name, _ in HEADERS]
    assert all(value.startswith("REDACTED:") for _, value in shown)


def test_nothing_is_hidden_unasked() -> None:
    """No redaction, or one of the body only, leaves headers alone."""
    for redaction in (None, Redaction(), Redaction(body=True)):
        assert redact_headers(HEADERS, redaction) == HEADERS
    assert not hides_body(None)
    assert not hides_body(Redaction(all_headers=True))


redactions = st.none() | st.builds(
    Redaction, st.booleans(), st.booleans(), st.lists(st.sampled_from(["authorization", "x-a"]), unique=True).map(tuple)
)


@pytest.mark.promise("P-110")
@given(redactions, redactions)
def test_two_redactions_hide_what_either_hides(one: Redaction | None, other: Redaction | None) -> None:
    """A callback is under its source's and its own."""
    merged = both(one, other)
    assert hides_body(merged) is (hides_body(one) or hides_body(other))
    hidden = [value.startswith("REDACTED") for _, value in redact_headers(HEADERS, merged)]
    singly = [[value.startswith("REDACTED") for _, value in redact_headers(HEADERS, each)] for each in (one, other)]
    assert hidden == [first or second for first, second in zip(*singly, strict=True)]
