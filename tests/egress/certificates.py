"""Certificates made when a test needs them: a good one, and one for each way to be bad."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID


@dataclass(frozen=True)
class Authority:
    """A certificate authority with its files in a directory."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        return self.directory / "authority.pem"

    def server(
        self,
        name: str,
        *,
        days: int = 30,
        own: bool = False,
        more: int = 0,
        revoked_at: str | None = None,
    ) -> ssl.SSLContext:
        """Return the settings of a server.

        Args:
            name: What the certificate is for: a host name or an address.
            days: How long it is still valid; negative: since when not any more.
            own: Signed by itself instead of by the authority.
            more: Further certificates that it sends along, of no use.
            revoked_at: Revoked, and at this address the certificate says where to ask: for a list, and by OCSP.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(name, key, self.certificate.subject, days)
        if own:
            built = _builder(name, key, _named(name), days)
        try:
            shown: x509.GeneralName = x509.IPAddress(ip_address(name))
        except ValueError:
            shown = x509.DNSName(name)
        built = built.add_extension(x509.SubjectAlternativeName([shown]), critical=False)
        if revoked_at is not None:
            built = _asking(built, revoked_at)
        certificate = built.sign(key if own else self.key, hashes.SHA256())
        if revoked_at is not None:
            self._revoke(certificate)
        file = self.directory / f"{name.replace(':', '_')}-{days}-{own}-{more}.pem"
        file.write_bytes(_pem(certificate) + _key_pem(key) + _pem(self.certificate) * more)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    @property
    def revocations(self) -> Path:
        """Return where the list of what it has revoked is, if it has revoked anything."""
        return self.directory / "revoked.pem"

    def _revoke(self, certificate: x509.Certificate) -> None:
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
        built = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject).last_update(now)
        built = built.next_update(now + timedelta(days=7)).add_revoked_certificate(entry.build())
        listed = built.sign(self.key, hashes.SHA256())
        self.revocations.write_bytes(listed.public_bytes(serialization.Encoding.PEM))


def make_authority(directory: Path) -> Authority:
    """Make an authority in an empty directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("Lateron test authority")
    certificate = (
        _builder("Lateron test authority", key, name, 30)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(directory, key, certificate)
    authority.file.write_bytes(_pem(certificate))
    return authority


def weakly_signed(directory: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return an authority's file, and the settings of a server whose certificate it has signed over SHA-1.

    By the program of OpenSSL: libraries do not make such a thing any more.
    """
    extensions = directory / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{name}\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=weak -days 30 -sha256",
        f"req -newkey rsa:2048 -nodes -keyout weak.key -out weak.csr -subj /CN={name}",
        (
            "x509 -req -in weak.csr -CA ca.pem -CAkey ca.key -CAcreateserial -sha1 -days 30 -extfile extensions"
            " -out weak.pem"
        ),
    ):
        subprocess.run(["openssl", *command.split()], cwd=directory, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # It would refuse to show it.
    context.load_cert_chain(directory / "weak.pem", directory / "weak.key")
    return directory / "ca.pem", context


def _builder(subject: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
    )


def _asking(built: x509.CertificateBuilder, address: str) -> x509.CertificateBuilder:
    """Let a certificate say where its authority tells of what it has revoked."""
    at = x509.UniformResourceIdentifier(address)
    point = x509.DistributionPoint(full_name=[at], relative_name=None, reasons=None, crl_issuer=None)
    ocsp = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, at)
    built = built.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return built.add_extension(x509.AuthorityInformationAccess([ocsp]), critical=False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
