"""A destination is read once, strictly; what two parsers could read differently is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.destination import URL_MAX, Destination, parse_destination
from lateron.errors import InvalidDestination

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
TARGET = VISIBLE.replace("#", "").replace("\\", "")

labels = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=20)
# A last label that begins with a letter never looks like a number.
names = st.builds(lambda before, last: ".".join([*before, f"x{last}"]), st.lists(labels, max_size=3), labels)
hosts = st.one_of(
    names,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
urls = st.builds(
    lambda scheme, host, port, target: f"{scheme}://{host}{port}{target}",
    st.sampled_from(["http", "https", "HTTP", "Https"]),
    hosts,
    st.just("") | st.integers(1, 65535).map(lambda port: f":{port}"),
    st.just("") | st.builds(str.__add__, st.sampled_from("/?"), st.text(TARGET, max_size=30)),
)


def printed(destination: Destination) -> str:
    return f"{destination.scheme}://{destination.authority}{destination.target}"


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target", "authority"),
    [
        ("http://example.com", "http", "example.com", 80, "/", "example.com"),
        ("https://example.com", "https", "example.com", 443, "/", "example.com"),
        ("http://example.com/", "http", "example.com", 80, "/", "example.com"),
        ("HTTPS://Example.COM:443/A?b=C", "https", "example.com", 443, "/A?b=C", "example.com"),
        ("https://example.com:80", "https", "example.com", 80, "/", "example.com:80"),
        ("http://example.com?x=1", "http", "example.com", 80, "/?x=1", "example.com"),
        ("http://h/a//b/./../c;d?e=/?", "http", "h", 80, "/a//b/./../c;d?e=/?", "h"),
        ("http://h/%zz%2e%2E%00", "http", "h", 80, "/%zz%2e%2E%00", "h"),
        ("http://h/https://other/@x:1", "http", "h", 80, "/https://other/@x:1", "h"),
        ("http://my_service-1:8080/x", "http", "my_service-1", 8080, "/x", "my_service-1:8080"),
        ("http://example.com./", "http", "example.com.", 80, "/", "example.com."),
        ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
        ("http://127.0.0.1:1/", "http", "127.0.0.1", 1, "/", "127.0.0.1:1"),
        ("http://[::1]/", "http", "::1", 80, "/", "[::1]"),
        ("http://[0:0:0:0:0:0:0:1]:65535/", "http", "::1", 65535, "/", "[::1]:65535"),
        ("http://[::FFFF:1.2.3.4]/", "http", "::ffff:102:304", 80, "/", "[::ffff:102:304]"),
    ],
)
def test_destination_is_read_as(url: str, scheme: str, host: str, port: int, target: str, authority: str) -> None:
    """The parts serve to connect and to ask; the text itself stays as it was given."""
    destination = parse_destination(url)

    assert destination.url == url
    assert (destination.scheme, destination.host, destination.port) == (scheme, host, port)
    assert (destination.target, destination.authority) == (target, authority)


@pytest.mark.promise("D-20")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begin with http"),
        ("example.com", "begin with http"),
        ("ftp://example.com", "begin with http"),
        ("file:///etc/passwd", "begin with http"),
        ("gopher://h:70/_x", "begin with http"),
        (" http://h/", "begin with http"),
        ("http:/h/", "begin with http"),
        ("http://", "host is empty"),
        ("http:///path", "host is empty"),
        ("http://?x", "host is empty"),
        ("http://:80/", "host is empty"),
        ("http://user@h/", "user and password"),
        ("http://user:pass@h/", "user and password"),
        ("http://good.example@evil.example/", "user and password"),
        ("http://@h/", "user and password"),
        ("http://h/#", "fragment"),
        ("http://h#@other/", "fragment"),
        ("http://good.example\\@evil.example/", "backslash"),
        ("http://h/a\\b", "backslash"),
        ("http:\\\\h/", "begin with http"),
        ("http://h/a b", "U+0020"),
        ("http://h/a\tb", "U+0009"),
        ("http://h/\r\nX: y", "U+000D"),
        ("http://h/\n", "U+000A"),
        ("http://h\n", "U+000A"),
        ("http://h/\x00", "U+0000"),
        ("http://h/\x7f", "U+007F"),
        ("http://h/\u00e9", "U+00E9"),
        ("http://h/\ud800", "U+D800"),
        ("http://b\u00fccher.example/", "ASCII form"),
        ("http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "ASCII form"),  # Circled digits: loopback to getaddrinfo.
        ("http://\uff11\uff12\uff17.0.0.1/", "ASCII form"),
        ("http://127\u30020.0.1/", "ASCII form"),
        ("http://\u017f.example/", "ASCII form"),  # Becomes "s" when upper-cased.
        ("http://h%2eexample/", "the host must be"),
        ("http://h,other/", "the host must be"),
        ("http://[fe80::1%25eth0]/", "the host must be"),
        ("http://[::1/", "the host must be"),
        ("http://::1/", "the host must be"),
        ("http://[v1.x]/", "the host must be"),
        ("http://[::1]x/", "the host must be"),
        ("http://[::1]:/", "the port must be"),
        ("http://[1.2.3.4]/", "not an IPv6"),
        ("http://[:::]/", "not an IPv6"),
        ("http://2130706433/", "IPv4"),
        ("http://0177.0.0.1/", "IPv4"),
        ("http://0177.1/", "IPv4"),
        ("http://127.1/", "IPv4"),
        ("http://0x7f.0.0.1/", "IPv4"),
        ("http://0x7f000001/", "IPv4"),
        ("http://1.2.3.4./", "IPv4"),
        ("http://1.2.3.256/", "IPv4"),
        ("http://1.2.3.4.5/", "IPv4"),
        ("http://a.b.08/", "IPv4"),
        ("http://h:/", "the port must be"),
        ("http://h:0/", "the port must be"),
        ("http://h:080/", "the port must be"),
        ("http://h:65536/", "the port must be"),
        ("http://h:99999/", "the port must be"),
        ("http://h:-1/", "the port must be"),
        ("http://h:\u0661/", "ASCII form"),
        ("http://a..b/", "labels"),
        ("http://./", "labels"),
        ("http://../", "labels"),
        (f"http://{'a' * 64}/", "labels"),
        (f"http://{'a.' * 127}aa/", "labels"),
        (f"http://h/{'a' * URL_MAX}", "at most 16384 characters"),
    ],
)
def test_destination_is_refused_with_the_reason(url: str, reason: str) -> None:
    """What another parser could take for another target must never be stored; the publisher learns why."""
    with pytest.raises(InvalidDestination) as caught:
        parse_destination(url)

    assert reason in str(caught.value).rpartition("': ")[2]


@pytest.mark.promise("D-20")
@given(urls)
def test_accepted_destination_survives_printing(url: str) -> None:
    """Parse, print, parse gives the same parts: there is one reading of what we accept."""
    first = parse_destination(url)
    again = parse_destination(printed(first))

    assert parse_destination(again.url) == again
    assert (again.scheme, again.host, again.port) == (first.scheme, first.host, first.port)
    assert (again.target, again.authority, again.literal) == (first.target, first.authority, first.literal)
    assert first.url == url


@pytest.mark.promise("D-20")
@given(st.text(max_size=60) | st.text("htps:/@#?[]%\\.:0x17fe80 \n\u00e9", max_size=40).map("http://".__add__))
def test_any_text_is_read_in_full_or_refused(text: str) -> None:
    """No text crashes the parser, and what it accepts is the whole text, without a byte that breaks a request."""
    try:
        destination = parse_destination(text)
    except InvalidDestination:
        return

    assert text.isascii()
    assert text.endswith(destination.target) or destination.target in ("/", f"/{text[text.find('?') :]}")
    assert not set(destination.target + destination.authority) & set(" \r\n\t\x00#\\")
    assert 1 <= destination.port <= 65535


def test_longest_destination_is_accepted() -> None:
    """The cap is on the whole URL, inclusive."""
    url = "http://h/" + "a" * (URL_MAX - len("http://h/"))

    assert parse_destination(url).url == url
