"""The table of addresses, and who is let through."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.egress.conftest import Run
from tests.egress.receiver import always, delivery, receiving, sending

from lateron.core.values import Outcome
from lateron.egress import EgressSettings, GuardPolicy, verdict
from lateron.egress.guard import canonical, this_machine

NOTHING = GuardPolicy()
PRIVATE = GuardPolicy(allow_private=True)


def refused(address: str, policy: GuardPolicy = NOTHING) -> bool:
    return verdict(address, 80, "/", policy) is not None


SPECIAL = [
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "fe80::1", "febf::1", "ff02::1", "fd00:ec2::254",
    "fd00:ec2::23", "fd20:ce::254",
    # The same, wrapped.
    "::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254", "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:ab:fe:a9fe::", "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1", "2001:0:808:808:0:0:5601:5601",
]  # fmt: skip
PRIVATES = [
    "127.0.0.1", "127.255.255.255", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "100.127.255.255", "fc00::1", "fdff::1", "::ffff:127.0.0.1", "::ffff:a00:1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:c0a8:101::1",
]  # fmt: skip
RESERVED = [
    "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "240.0.0.1", "255.255.255.254", "::8.8.8.8", "::ffff:0:8.8.8.8", "2001:db8::1", "3fff::1", "100::1", "5f00::1",
    "fec0::1", "2001::1", "2001:2::1", "2001:10::1", "2001:1ff::1", "4000::1", "200::1", "100:0:0:1::1", "f000::1",
    "2001:0:808:808::f7f7:f7f7",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "93.184.216.34", "126.255.255.255", "128.0.0.1", "100.63.255.255", "100.128.0.0",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15",
    "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:200::1",
    "2001:4860:4860::8888", "2001:3::1", "2001:4:112::1", "2001:20::1", "2001:1::1", "3ffe::1",
]  # fmt: skip


@pytest.mark.promise("D-22", "D-23")
@pytest.mark.parametrize("address", SPECIAL)
def test_special_address_is_allowed_only_by_its_name(address: str) -> None:
    """Metadata services hand out keys; no switch that is meant for private hosts may open them."""
    everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))

    assert refused(address)
    assert refused(address, PRIVATE)
    assert refused(address, GuardPolicy(allow_private=everywhere))


@pytest.mark.promise("D-23")
@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "192.0.2.1", "10.0.0.1"])
def test_named_address_is_allowed(address: str) -> None:
    """An operator who writes the very address means it."""
    policy = GuardPolicy(addresses=frozenset({address}))

    assert not refused(address, policy)
    assert refused("169.254.169.253", policy)
    assert refused("fe80::2", policy)


@pytest.mark.promise("D-22", "D-23")
@pytest.mark.parametrize("address", PRIVATES)
def test_private_address_is_allowed_by_the_switch(address: str) -> None:
    """Self-hosters want these; nobody else does."""
    assert refused(address)
    assert not refused(address, PRIVATE)


@pytest.mark.promise("D-22")
@pytest.mark.parametrize("address", RESERVED)
def test_reserved_address_is_not_private(address: str) -> None:
    """Nothing that should be reachable lives there; the switch for private hosts does not open it."""
    assert refused(address)
    assert refused(address, PRIVATE)


@pytest.mark.promise("D-22")
@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    """The neighbours of each special network are ordinary addresses."""
    assert not refused(address)


@pytest.mark.promise("D-23")
def test_networks_open_just_themselves() -> None:
    """A list of networks is for those who want one subnet and not all."""
    policy = GuardPolicy(
        allow_private=(ip_network("10.1.0.0/16"), ip_network("fd00::/64"), ip_network("198.18.0.0/15"))
    )

    assert not refused("10.1.2.3", policy)
    assert not refused("::ffff:10.1.2.3", policy)
    assert not refused("fd00::1", policy)
    assert not refused("198.18.0.1", policy)
    assert refused("10.2.0.1", policy)
    assert refused("127.0.0.1", policy)
    assert refused("fd00:0:0:1::1", policy)
    assert refused("fd00:ec2::254", GuardPolicy(allow_private=(ip_network("fd00::/8"),)))


@pytest.mark.promise("D-22")
@given(st.ip_addresses(v=4))
def test_wrapped_address_is_never_freer_than_itself(address: IPv4Address) -> None:
    """Whatever the guard thinks of an IPv4 address, no IPv6 clothing improves it."""
    bits = int(address)
    high, low = bits >> 16, bits & 0xFFFF
    inverted = bits ^ 0xFFFF_FFFF
    teredo = f"2001:0:808:808::{inverted >> 16:x}:{inverted & 0xFFFF:x}"
    prefixes = ["::ffff:", "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"]
    clothes = [f"2002:{high:x}:{low:x}::1", f"2001:0:{high:x}:{low:x}::", teredo, *(f"{p}{address}" for p in prefixes)]
    for policy in (NOTHING, PRIVATE):
        if refused(str(address), policy):
            assert all(refused(wrapped, policy) for wrapped in clothes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("::FFFF:1.2.3.4", "1.2.3.4"), ("0:0::1", "::1"), ("fe80::1%eth0", "fe80::1"), ("1.2.3.4", "1.2.3.4")],
)
def test_canonical_address_is_the_one_connected_to(text: str, expected: str) -> None:
    """The kernel unwraps mapped addresses, so the guard and the pool must see what it will call."""
    assert canonical(text) == expected


@pytest.mark.promise("D-23")
@pytest.mark.parametrize(
    ("address", "port", "path", "catcher", "ours"),
    [
        ("127.0.0.1", 8080, "/v2/publish/x", False, True),
        ("127.0.0.1", 8080, "/v2/publish/x", True, True),
        ("127.0.0.1", 8080, "/_catch/a", True, False),
        ("127.0.0.1", 8080, "/_catch/a", False, True),
        ("127.0.0.1", 8080, "/_catch", True, True),
        ("127.0.0.1", 8080, "/_catch/../v2/publish/x", True, True),
        ("127.0.0.1", 8080, "/_catch/%2e%2E/v2/publish/x", True, True),
        ("127.0.0.1", 8080, "/_catch/%2e%2e%2fv2", True, True),
        ("127.0.0.1", 8080, "//_catch/", True, True),
        ("127.0.0.1", 8081, "/", False, False),
        ("127.0.0.2", 8080, "/", False, False),
        ("::ffff:127.0.0.1", 8080, "/", False, True),
        ("0.0.0.0", 8080, "/", False, True),
        ("::", 9090, "/", False, True),
        ("127.0.0.1", 9090, "/", False, True),
        ("127.9.9.9", 9090, "/", False, True),
        ("::1", 9090, "/", False, True),
        ("10.9.9.9", 9090, "/", False, True),
        ("10.9.9.8", 9090, "/", False, False),
        ("10.9.9.9", 8080, "/", False, False),
    ],
)
def test_own_listener_is_refused(address: str, port: int, path: str, *, catcher: bool, ours: bool) -> None:
    """A server that can be told to publish to itself multiplies; only the catcher is there to be called."""
    policy = GuardPolicy(
        allow_private=True,
        addresses=frozenset({"0.0.0.0", "::"}),
        listeners=frozenset({("127.0.0.1", 8080), ("::", 9090)}),
        catcher=catcher,
    )

    reason = verdict(address, port, path, policy, is_local=lambda address: address == "10.9.9.9")

    assert (reason is not None) is ours
    assert reason is None or "this server itself" in reason


def test_this_machine_knows_its_addresses() -> None:
    """A socket can be bound to an address of this machine and to no other."""
    assert this_machine("127.0.0.1")
    assert not this_machine("8.8.8.8")
    assert not this_machine("2001:db8::1")


def test_refusal_names_address_rule_and_setting() -> None:
    """Whoever reads it must know what to change, or that nothing can be."""
    assert verdict("10.0.0.1", 80, "/", NOTHING) == "10.0.0.1 is private; --allow-private would permit it"
    assert verdict("64:ff9b::10.0.0.1", 80, "/", NOTHING) == (
        "64:ff9b::10.0.0.1 (10.0.0.1) is private; --allow-private would permit it"
    )
    assert verdict("169.254.169.254", 80, "/", PRIVATE) == (
        "169.254.169.254 is a metadata service; only --allow-address 169.254.169.254 would permit it"
    )


# At the socket


@pytest.mark.promise("D-21", "D-23")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
def test_guard_stands_at_the_socket(run: Run, host: str) -> None:
    """Whatever was accepted at publish: without permission nobody on this machine is called."""

    async def main() -> tuple[Outcome, int]:
        async with receiving(always()) as receiver, sending(EgressSettings()) as egress:
            return await egress.send(delivery(receiver.url(host=host))), receiver.connections

    outcome, connections = run(main())

    assert outcome.error == "blocked"
    assert "--allow-private" in outcome.detail
    assert connections == 0


@pytest.mark.promise("D-23")
def test_kept_connection_to_the_catcher_reaches_nothing_else(run: Run) -> None:
    """The path decides about our own listeners, so it is judged on every delivery, not on every connection."""

    async def main() -> tuple[list[Outcome], list[str]]:
        async with receiving(always()) as receiver:
            policy = GuardPolicy(allow_private=True, listeners=frozenset({("127.0.0.1", receiver.port)}), catcher=True)
            async with sending(EgressSettings(guard=policy)) as egress:
                paths = ["/_catch/a", "/v2/publish/x", "/_catch/b"]
                outcomes = [await egress.send(delivery(receiver.url(path))) for path in paths]
                return outcomes, [heard.target for heard in receiver.heard]

    outcomes, targets = run(main())

    assert [outcome.error for outcome in outcomes] == [None, "blocked", None]
    assert outcomes[2].reused
    assert targets == ["/_catch/a", "/_catch/b"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_address_in_brackets_is_connected_to(run: Run) -> None:
    """IPv6 destinations work, and their Host header has the brackets."""

    async def main() -> tuple[Outcome, list[str]]:
        async with receiving(always(), host="::1") as receiver, sending() as egress:
            outcome = await egress.send(delivery(receiver.url(host="[::1]")))
            return outcome, receiver.heard[0].values("Host")

    try:
        outcome, host = run(main())
    except OSError:
        pytest.skip("no IPv6 loopback here")

    assert outcome.status == 200
    assert outcome.peer == host[0]
