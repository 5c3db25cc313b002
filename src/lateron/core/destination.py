"""Where a message goes: one URL, read once, strictly, and never rewritten.

The publisher's text is what is stored, shown, signed and requested, byte for byte. The parsed form beside
it serves only to connect and to guard. Two readers that disagree about one text are how requests are
smuggled past a guard, so the grammar here is small and whatever another parser could read differently is
refused with a reason: what is accepted survives parse -> print -> parse.

What the grammar takes::

    http[s]://host[:port][/path][?query]

* Only visible ASCII. A character beyond it must come percent-encoded in path and query, and as ``xn--`` in
  the host: we do not choose between the two editions of IDNA for the publisher, whose signature covers the
  text. No backslash (browsers read it as a slash), no user and password, no fragment (never sent).
* A host that ends in a number is an IPv4 address, and then only as four plain decimal numbers: resolvers
  also take ``0177.1``, ``0x7f.1`` and ``2130706433`` for loopback. An IPv6 address stands in brackets and
  has no zone.
* Dots and double slashes in the path are the receiver's business and stay.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

from msgspec import Struct

from lateron.errors import InvalidDestination

URL_MAX: Final = 16 * 1024  # Characters of a URL.
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Scheme, host, port, target. Neither "#" nor "\" is in the last class.
_URL: Final = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?([/?][!-\"$-\[\]-~]*)?",
    re.ASCII | re.IGNORECASE,
)
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)  # A last label that makes resolvers think of IPv4.
_AUTHORITY: Final = re.compile(r"https?://([^/?]*)", re.ASCII | re.IGNORECASE)
_MEMO_MAX: Final = 1024  # Longer URLs are not remembered, so that the memory stays at a few megabytes.


class Destination(Struct, frozen=True):
    """A URL that may be requested, and what it says."""

    url: str  # As given.
    scheme: str  # "http" or "https".
    host: str  # Lower-case, as to resolve; an IPv6 address without brackets, in its shortest form.
    port: int
    target: str  # Path and query as given, "/" for none: what stands in the request line.
    authority: str  # Value of the Host header: lower-case, without a default port.
    literal: bool = False  # The host is an IP address: nothing to resolve.


def parse_destination(url: str) -> Destination:
    """Read a destination.

    Args:
        url: The text the publisher gave.

    Raises:
        InvalidDestination: It is no URL that we would request; the message says why.
    """
    return _remembered(url) if len(url) <= _MEMO_MAX else _parse(url)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a host; a name other than localhost is not trusted to be so."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _parse(url: str) -> Destination:
    found = _URL.fullmatch(url)
    if found is None or len(url) > URL_MAX:
        raise InvalidDestination(url, _why_not(url))
    scheme, host, port_text, target = found.groups()
    scheme = scheme.lower()
    host, literal = _read_host(url, host.lower())
    port = int(port_text) if port_text else DEFAULT_PORTS[scheme]
    if port > 65535:
        raise InvalidDestination(url, "the port must be in 1..65535")
    authority = f"[{host}]" if literal and ":" in host else host
    if port != DEFAULT_PORTS[scheme]:
        authority = f"{authority}:{port}"
    target = target or "/"
    if target[0] == "?":
        target = f"/{target}"
    return Destination(url, scheme, host, port, target, authority, literal)


# Messages to one receiver name the same URL again and again.
_remembered: Final = lru_cache(maxsize=1024)(_parse)


def _read_host(url: str, host: str) -> tuple[str, bool]:
    """Return the host in the form to connect to, and whether it is an address."""
    if host[0] == "[":
        try:
            return _shortest(IPv6Address(host[1:-1])), True
        except AddressValueError:
            raise InvalidDestination(url, "what stands in brackets is not an IPv6 address") from None
    name = host.removesuffix(".")
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            if str(IPv4Address(host)) == host:
                return host, True
        except AddressValueError:
            pass
        raise InvalidDestination(url, "an IPv4 address must be written as four decimal numbers, like 192.0.2.1")
    if len(name) > 253 or not all(1 <= len(label) <= 63 for label in labels):
        raise InvalidDestination(url, "the labels of a host have 1 to 63 characters, the whole at most 253")
    return host, False


def _shortest(address: IPv6Address) -> str:
    mapped = address.ipv4_mapped
    if mapped is not None:  # Why: Python 3.13 began to print these with dots; a host must not change with it.
        return f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"
    return str(address)


def _why_not(url: str) -> str:
    """Say in words why ``_URL`` does not match; only ever called when it does not."""
    if len(url) > URL_MAX:
        return f"a URL has at most {URL_MAX} characters, this one {len(url)}"
    if not url.lower().startswith(("http://", "https://")):
        return "it must begin with http:// or https://"
    if "\\" in url:
        return "a backslash must be percent-encoded"
    found = _AUTHORITY.match(url)
    authority = found[1] if found else ""
    if not authority.isascii():
        return "a host beyond ASCII must be written in its ASCII form (xn--...)"
    for position, character in enumerate(url):
        if not "!" <= character <= "~":
            return f"character U+{ord(character):04X} at position {position} must be percent-encoded"
    if "#" in url:
        return "a fragment (#...) is never sent; leave it out"
    if "@" in authority:
        return "user and password in the URL are not supported; forward an Authorization header"
    host, colon, port = authority.rpartition(":")
    if "]" in port:  # That colon stood inside an IPv6 address.
        host, colon, port = authority, "", ""
    if colon and not re.fullmatch(r"[1-9][0-9]{0,4}", port, re.ASCII):
        return f"the port must be a plain number in 1..65535, got {port[:20]!r}"
    if not (host if colon else authority):
        return "the host is empty"
    return "the host must be a name of letters, digits, '-', '_' and '.', or an address (IPv6 in brackets)"
