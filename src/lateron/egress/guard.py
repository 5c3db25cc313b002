"""Who may be called: one function, asked at publish and again at the socket.

A publisher chooses the destination, so a publisher could make us call what only we can reach: the
metadata service of a cloud, a database on this machine, ourselves. The guard judges *addresses*, never
names: the address it has judged is the address that is connected to (see ``dial``).

Addresses fall into four tiers, by our own table (the one in ``ipaddress`` changes between versions of
Python and calls some of these global):

========  =============================================  ========================================
special   metadata services, link-local, multicast,      only by naming the exact address
          "this network"
private   loopback, private, carrier NAT, ULA            by ``allow_private``, or a network of it
reserved  documentation, benchmarking, unassigned        by a network of ``allow_private``, or exactly
public    the rest                                       always
========  =============================================  ========================================

Many IPv6 addresses carry an IPv4 address that some gateway, or the kernel itself, will unwrap. Both are
judged, and both must pass. Our own listeners are refused at any address, but for the request catcher.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Tier: TypeAlias = Literal["special", "private", "reserved", "public"]

CATCHER: Final = "/_catch/"  # Requests with this path are for the catcher, and may come from us.
WILDCARDS: Final = ("0.0.0.0", "::")


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in text.split())


# The first line that contains the address decides, so exceptions stand above their surroundings.
# Sources: IANA special-purpose registries for IPv4 and IPv6; the clouds' documentation for metadata.
_TABLE: Final[tuple[tuple[Tier, str, tuple[Network, ...]], ...]] = (
    ("special", "a metadata service", _networks("169.254.169.254 100.100.100.200 168.63.129.16 192.0.0.192")),
    ("special", "a metadata service", _networks("fd00:ec2::254 fd00:ec2::23 fd20:ce::254")),
    ("special", "this network", _networks("0.0.0.0/8 ::/128")),
    ("special", "link-local", _networks("169.254.0.0/16 fe80::/10")),
    ("special", "multicast", _networks("224.0.0.0/4 ff00::/8")),
    ("special", "broadcast", _networks("255.255.255.255")),
    ("private", "loopback", _networks("127.0.0.0/8 ::1/128")),
    ("private", "private", _networks("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7")),
    ("private", "shared with the provider (carrier NAT)", _networks("100.64.0.0/10")),
    ("private", "local translation", _networks("64:ff9b:1::/48")),
    ("public", "translation", _networks("64:ff9b::/96")),
    ("reserved", "protocol assignments", _networks("192.0.0.0/24")),
    ("reserved", "documentation", _networks("192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20")),
    ("reserved", "former 6to4 relays", _networks("192.88.99.0/24")),
    ("reserved", "benchmarking", _networks("198.18.0.0/15")),
    ("reserved", "reserved", _networks("240.0.0.0/4")),
    ("reserved", "former site-local", _networks("fec0::/10")),
    ("public", "protocol services", _networks("2001:1::1 2001:1::2 2001:1::3 2001:3::/32 2001:4:112::/48")),
    ("public", "identifiers", _networks("2001:20::/28 2001:30::/28")),
    ("reserved", "protocol assignments", _networks("2001::/23")),
    # What is neither above nor global unicast: discard-only, segment routing, IPv4 wrapped the old ways, unassigned.
    ("public", "global unicast", _networks("0.0.0.0/0 2000::/3")),
    ("reserved", "reserved", _networks("::/0")),
)


class GuardPolicy(Struct, frozen=True):
    """What an operator allows beyond public addresses, and what we listen on ourselves."""

    allow_private: bool | tuple[Network, ...] = False  # Tier "private"; networks open "reserved" ones too.
    addresses: frozenset[str] = frozenset()  # Exact addresses of any tier, in their shortest form.
    listeners: frozenset[tuple[str, int]] = frozenset()  # Our own; a wildcard stands for each local address.
    catcher: bool = False  # Our listeners may be called under ``CATCHER``.


class Face(Struct, frozen=True):
    """One way to read an address: as it stands, or as the address wrapped in it."""

    address: Address
    text: str
    tier: Tier
    name: str  # What the table calls it.


def this_machine(address: str) -> bool:
    """Whether an address belongs to this machine: whether a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def verdict(
    address: str, port: int, path: str, policy: GuardPolicy, *, is_local: Callable[[str], bool] = this_machine
) -> str | None:
    """Judge one address.

    Args:
        address: An IPv4 or IPv6 address as text, without brackets.
        port: Where on it.
        path: The target of the request; matters only for the catcher.
        policy: What is allowed.
        is_local: Whether an address is one of this machine; asked only for ports we listen on everywhere.

    Returns:
        None if it may be called, else the reason: the address, what it is, and which setting would allow it.
    """
    faces = _faces(address)
    for face in faces:
        if face.tier != "public" and not _permitted(face, policy):
            return _refusal(address, face)
    for face in faces:
        if _is_ours(face, port, policy, is_local) and not (policy.catcher and _for_catcher(path)):
            return f"{address} port {port} is this server itself"
    return None


@lru_cache(maxsize=4096)
def canonical(address: str) -> str:
    """Return the one text of an address that is connected to: shortest form, wrapped by the kernel no more.

    Raises:
        ValueError: It is no address.
    """
    read = ip_address(address.partition("%")[0] if ":" in address else address)
    mapped = read.ipv4_mapped if isinstance(read, IPv6Address) else None
    return str(mapped or read)


@lru_cache(maxsize=4096)
def _faces(address: str) -> tuple[Face, ...]:
    read = ip_address(canonical(address))
    wrapped = _wrapped(read) if isinstance(read, IPv6Address) else ()
    return tuple(Face(one, str(one), *_classify(one)) for one in (read, *wrapped))


def _classify(address: Address) -> tuple[Tier, str]:
    for tier, name, networks in _TABLE:
        for network in networks:
            if address.version == network.version and address in network:
                return tier, name
    raise AssertionError(address)  # The last lines of the table take everything.


def _wrapped(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address carries, by every scheme that could unwrap it."""
    bits = int(address)
    last, top = bits & 0xFFFF_FFFF, bits >> 96
    if bits <= 1:  # Unspecified and loopback carry none.
        return ()
    if bits >> 32 == 0 or bits >> 32 == 0xFFFF_0000 or bits >> 32 == 0x64_FF9B << 64:
        # IPv4-compatible (::/96), translated (::ffff:0:0:0/96), NAT64 (64:ff9b::/96). Mapped ones are unwrapped before.
        return (IPv4Address(last),)
    if bits >> 80 == 0x64_FF9B_0001:
        # Local NAT64: RFC 6052 puts the address behind a prefix of 48, 56, 64 or 96 bits, around bits 64..71.
        without = (bits >> 64 << 56) | (bits & 0xFF_FFFF_FFFF_FFFF)  # 120 bits: the reserved octet is skipped.
        behind = (without >> (120 - length - 32) & 0xFFFF_FFFF for length in (48, 56, 64))
        # What begins with a zero octet is padding read with the wrong length; nothing routes it.
        return (*(IPv4Address(value) for value in behind if value >> 24), IPv4Address(last))
    if top >> 16 == 0x2002:  # 6to4.
        return (IPv4Address(bits >> 80 & 0xFFFF_FFFF),)
    if top == 0x2001_0000:  # Teredo: the server in the clear, the client inverted.
        return (IPv4Address(bits >> 64 & 0xFFFF_FFFF), IPv4Address(last ^ 0xFFFF_FFFF))
    return ()


def _permitted(face: Face, policy: GuardPolicy) -> bool:
    if face.text in policy.addresses:
        return True
    if face.tier == "special":
        return False
    if isinstance(policy.allow_private, bool):
        return policy.allow_private and face.tier == "private"
    return any(face.address.version == net.version and face.address in net for net in policy.allow_private)


def _refusal(address: str, face: Face) -> str:
    what = address if address == face.text else f"{address} ({face.text})"
    if face.tier == "special":
        return f"{what} is {face.name}; only --allow-address {face.text} would permit it"
    if face.tier == "private":
        return f"{what} is {face.name}; --allow-private would permit it"
    return f"{what} is {face.name}; --allow-address {face.text} would permit it"


def _is_ours(face: Face, port: int, policy: GuardPolicy, is_local: Callable[[str], bool]) -> bool:
    listeners = policy.listeners
    if (face.text, port) in listeners:
        return True
    if face.text in WILDCARDS:  # The kernel takes it for loopback.
        return any(port == taken for _, taken in listeners)
    if ("0.0.0.0", port) not in listeners and ("::", port) not in listeners:
        return False
    return face.name == "loopback" or is_local(face.text)


def _for_catcher(path: str) -> bool:
    # Why: whoever routes the request might resolve dots, and leave the catcher by them.
    return path.startswith(CATCHER) and ".." not in unquote(path)
