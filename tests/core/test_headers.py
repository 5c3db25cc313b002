"""What is forwarded arrives byte for byte; what must not be, never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core.publishing import ID_TEXT, message, publish

from lateron.core.headers import (
    canonical_name,
    delivery_headers,
    forwarded_name,
    forwarded_plain_name,
    grouped,
    has_control,
    shown_text,
    wire_text,
)
from lateron.core.values import Headers

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def names(headers: Headers) -> list[str]:
    return [name for name, _ in headers]


@pytest.mark.promise("P-12")
@given(text)
def test_text_comes_back_from_the_wire(value: str) -> None:
    """Batch items bring text of any script; lists show it again."""
    assert shown_text(wire_text(value)) == value


@pytest.mark.promise("P-12")
@given(st.binary(max_size=40))
def test_bytes_can_always_be_shown(value: bytes) -> None:
    """A header that is not UTF-8 is shown, its bytes as Latin-1 characters."""
    shown = shown_text(value.decode("latin-1"))
    assert shown.encode("utf-8") == value or shown.encode("latin-1") == value


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("test-header", "Test-Header"),
        ("TEST-HEADER", "Test-Header"),
        ("x-api-key", "X-Api-Key"),
        ("etag", "Etag"),
        ("x_under_score", "X_under_score"),
        ("--a", "--A"),
        ("content-type", "Content-Type"),
    ],
)
def test_names_are_shown_as_go_writes_them(name: str, canonical: str) -> None:
    """An SDK's test compares them exactly."""
    assert canonical_name(name) == canonical


@given(st.text(TOKEN, min_size=1, max_size=30))
def test_canonical_name_is_the_same_name(name: str) -> None:
    """Only the case may change."""
    assert canonical_name(name).lower() == name.lower()
    assert canonical_name(canonical_name(name)) == canonical_name(name)


@pytest.mark.promise("D-27")
@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\n", "a\x00", "ä", "(a)", "a\t", '"a"', "a/b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """Such a line would be read differently by different servers."""
    with pytest.raises(ValueError, match="header name"):
        canonical_name(name)


FRAMING = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Upgrade",
    "Expect",
    "HTTP2-Settings",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Proxy-Anything",
]
SYSTEM = [
    "User-Agent",
    "Upstash-Signature",
    "Upstash-Message-Id",
    "Upstash-Retried",
    "Upstash-Caller-Ip",
    "Upstash-Topic-Name",
    "Upstash-Schedule-Id",
    "upstash-region",
    "Lateron-Hops",
]


@pytest.mark.promise("D-28")
@pytest.mark.parametrize("name", FRAMING + SYSTEM)
def test_framing_and_system_headers_are_never_forwarded(name: str) -> None:
    """A forwarded length is a second request smuggled behind ours; a forwarded signature is a lie."""
    for spelled in (name, name.lower(), name.upper()):
        assert forwarded_name(spelled) == ""
        assert forwarded_plain_name(spelled) == ""


@pytest.mark.promise("D-29")
@pytest.mark.parametrize("name", ["Authorization", "COOKIE"])
def test_credentials_are_forwarded_only_when_named(name: str) -> None:
    """With all headers they would be ours; behind the prefix they are the destination's."""
    assert forwarded_name(name) == canonical_name(name)
    assert forwarded_plain_name(name) == ""


@pytest.mark.promise("D-27")
@given(st.binary(max_size=20))
def test_no_value_with_a_control_character_passes(value: bytes) -> None:
    """Line ends above all; a tab is allowed inside a value."""
    guilty = any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value)
    assert has_control(value.decode("latin-1")) is guilty


def test_duplicates_are_shown_in_order_under_one_name() -> None:
    """Values are arrays on the wire for that reason."""
    assert grouped((("X-A", "1"), ("X-B", "2"), ("X-A", "3"))) == {"X-A": ["1", "3"], "X-B": ["2"]}


@pytest.mark.promise("P-23")
def test_delivery_carries_what_receivers_read() -> None:
    """Names and values are those of the wire contract, 3.1."""
    request = publish({"Upstash-Forward-Test-Header": "v", "Content-Type": "text/plain"}).request

    headers = dict(delivery_headers(message(request, retried=2), request, "a.b.c", "EU-CENTRAL-1"))

    assert headers == {
        "Test-Header": "v",
        "Content-Type": "text/plain",
        "User-Agent": "Upstash-QStash",
        "Upstash-Signature": "a.b.c",
        "Upstash-Message-Id": ID_TEXT,
        "Upstash-Retried": "2",
        "Upstash-Caller-Ip": "192.0.2.7",
        "Upstash-Region": "EU-CENTRAL-1",
        "Lateron-Hops": "1",
    }


def test_signature_and_region_may_be_left_out() -> None:
    """Signatures can be switched off, and one installation has no region."""
    request = publish().request
    assert not {"Upstash-Signature", "Upstash-Region"} & set(names(delivery_headers(message(request), request, None)))


@pytest.mark.promise("D-28")
def test_our_headers_replace_forwarded_ones_of_the_same_name() -> None:
    """Also those of a request stored by another version; a receiver must never see two."""
    request = replace(publish().request, headers=(("UPSTASH-RETRIED", "9"), ("User-agent", "x"), ("X", "1")))
    headers = delivery_headers(message(request), request, "s")
    lower = [name.lower() for name in names(headers)]
    assert len(lower) == len(set(lower))
    assert dict(headers)["Upstash-Retried"] == "0"
    assert dict(headers)["X"] == "1"


@pytest.mark.promise("F-40")
def test_each_delivery_counts_one_hop_more() -> None:
    """So a chain that leads back here ends."""
    request = publish({"Lateron-Hops": "3"}).request
    assert dict(delivery_headers(message(request), request, "s"))["Lateron-Hops"] == "4"
