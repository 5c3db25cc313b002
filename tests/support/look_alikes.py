"""Local stand-ins for services of the internet, with certificates of a test authority.

A client resolves ``api.openai.com`` to its own idea of the base URL; the server under test is told by
``--resolve`` to connect to a loopback address instead, and to trust the authority that is made here, for
this run only. Since ``--resolve`` maps the address and not the port, a stand-in must listen on port 443 of
an address of the loopback network; where that is not allowed there is nothing to test with.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.support.receiver import Receiver

# macOS has only the first; on Linux the whole 127.0.0.0/8 is there.
LOOPBACKS = ("127.0.0.1", *(f"127.83.0.{last}" for last in range(2, 10)))


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority for one run of the tests."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path  # Its certificate, PEM.

    @classmethod
    def create(cls, folder: Path) -> Authority:
        """Make a key and a certificate that may sign others, and write the certificate to ``folder``."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Test authority of Lateron")
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        path = folder / "authority.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(key, certificate, path)

    def context(self, hosts: Sequence[str], folder: Path) -> ssl.SSLContext:
        """Return the server side of TLS for some names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(hosts[0]), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        path = folder / f"{hosts[0].replace(':', '-')}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def bind_https(context: ssl.SSLContext) -> Receiver | None:
    """Return a receiver on port 443 of some loopback address; ``None`` if this user may not have one."""
    for host in LOOPBACKS:
        try:
            return Receiver(host, 443, context)
        except OSError:
            continue
    return None


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
