"""A real name server, and a Lateron whose system asks it.

The server speaks DNS over UDP and TCP at port 53 of a loopback address of its own. The process under test is given a
mount namespace in which ``/etc/resolv.conf`` names that address and ``/etc/nsswitch.conf`` asks nothing but DNS, so
that everything in between is what it is in production: ``getaddrinfo`` of the C library, its packets, its patience.

It needs root, Linux and a machine that lets its root make namespaces; elsewhere the test is skipped and says so.
"""

from __future__ import annotations

import os
import socketserver
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import TypeAlias

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from tests.serving import OWN
from tests.support.server import Server

UDP_BYTES = 512  # Longer answers are cut, and asked for again over TCP.
LONGEST_CHAIN = 9  # Aliases that are followed.
GIVES_IN = "options timeout:1 attempts:1"  # Of resolv.conf: after a second.
PATIENT = "options timeout:30 attempts:5"  # After minutes: longer than any test.

ASKED_FOR = count()  # Name servers in this process.

# In the process's own namespace: what it reads of the system's names, then the process itself.
IN_ITS_WORLD = """
set -e
mount --bind "$1" /etc/resolv.conf
[ ! -e /etc/nsswitch.conf ] || mount --bind "$2" /etc/nsswitch.conf
shift 2
exec "$@"
"""
ALONE = ("unshare", "--mount", "--propagation", "private", "sh", "-c", IN_ITS_WORLD, "sh")


@dataclass(frozen=True, slots=True)
class Alias:
    """A CNAME."""

    name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without records."""

    code: dns.rcode.Rcode


NXDOMAIN, SERVFAIL, REFUSED = map(Refusal, (dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED))
SILENCE = None
GARBAGE = b"\xff"  # Not even a message.

Said: TypeAlias = Sequence[str] | Alias | Refusal | bytes | None


class NameServer:
    """Answers what a test says; each lookup of a name takes the next answer, the last one repeats."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.zone: dict[str, Sequence[Said]] = {}
        self.asked: Counter[str] = Counter()  # How often for the IPv4 addresses of a name.
        self.over_tcp: Counter[str] = Counter()
        self._lock = threading.Lock()

    def says(self, name: str, *answers: Said) -> str:
        """Take these answers for a name, one lookup after the other; return the name."""
        self.zone[name] = answers
        return name

    def reply(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """Return what to answer to a question; None: nothing, ever."""
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype
        with self._lock:
            said = self._said(name, kind, tcp=tcp)
        if said is None or isinstance(said, bytes):
            return said
        response = dns.message.make_response(query, recursion_available=True)
        self._fill(response, name, kind, said)
        whole = response.to_wire(max_size=65535)
        if tcp or len(whole) <= UDP_BYTES:
            return whole
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()

    def _said(self, name: str, kind: dns.rdatatype.RdataType, *, tcp: bool) -> Said:
        """Return the answer of this lookup; that over TCP belongs to the one over UDP before it."""
        answers = self.zone.get(name, (NXDOMAIN,))
        counted = self.asked if kind == dns.rdatatype.A else Counter({name: self.asked[name] - 1})
        if tcp:
            self.over_tcp[name] += 1
        else:
            counted[name] += 1
        return answers[min(max(counted[name], 1), len(answers)) - 1]

    def _fill(self, response: dns.message.Message, name: str, kind: dns.rdatatype.RdataType, said: Said) -> None:
        """Write records into an answer, with the aliases on the way to them."""
        for _ in range(LONGEST_CHAIN):
            if not isinstance(said, Alias):
                break
            response.answer.append(dns.rrset.from_text(f"{name}.", 0, "IN", "CNAME", f"{said.name}."))
            name = said.name
            said = self.zone.get(name, (NXDOMAIN,))[-1]
        if isinstance(said, Refusal):
            response.set_rcode(said.code)
        elif isinstance(said, Sequence):
            version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(kind)
            addresses = [str(address) for address in said if ip_address(address).version == version]
            if addresses:
                response.answer.append(dns.rrset.from_text_list(f"{name}.", 0, "IN", kind, addresses))


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Serve names at a loopback address that no other test process has."""
    high, low = divmod(os.getpid() % 65_000 + 1, 256)
    names = NameServer(f"127.{53 + next(ASKED_FOR)}.{high}.{low}")

    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, channel = self.request
            if (answer := names.reply(data, tcp=False)) is not None:
                channel.sendto(answer, self.client_address)

    class OverTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while len(length := self.rfile.read(2)) == 2:
                answer = names.reply(self.rfile.read(int.from_bytes(length)), tcp=True)
                if answer is None:
                    return
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

    try:
        udp = socketserver.ThreadingUDPServer((names.address, 53), OverUdp)
        tcp = socketserver.ThreadingTCPServer((names.address, 53), OverTcp)
    except OSError as error:
        pytest.skip(f"no name server can listen here: {error}")
    with udp, tcp:
        udp.daemon_threads = tcp.daemon_threads = True
        serving = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in (udp, tcp)]
        for thread in serving:
            thread.start()
        try:
            yield names
        finally:
            for each in (udp, tcp):
                each.shutdown()
            for thread in serving:
                thread.join()


class Asking(Server):
    """A server whose system asks a name server of the test."""

    def __init__(self, data_dir: Path, names: NameServer, options: str, *flags: str) -> None:
        super().__init__(data_dir, *flags, mode="serve", user=OWN)
        self._files = [data_dir.with_name(name) for name in ("resolv.conf", "nsswitch.conf")]
        # Why a search list of nothing: the name of the machine would give one.
        self._files[0].write_text(f"nameserver {names.address}\nsearch .\n{options}\n")
        self._files[1].write_text("hosts: dns\n")
        alone = subprocess.run([*self._alone, "true"], capture_output=True, text=True, check=False)
        if alone.returncode:
            pytest.skip(f"no process may have names of its own here: {alone.stderr.strip()}")

    @property
    def _alone(self) -> Sequence[str]:
        return [*ALONE, *map(str, self._files)]

    @property
    def command(self) -> Sequence[str]:
        """Return the command line up to the flags."""
        return [*self._alone, *super().command]
