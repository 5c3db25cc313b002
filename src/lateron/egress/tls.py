"""How we prove whom we talk to.

TLS 1.2 or newer, the certificate verified against the system's authorities, the name in it compared with
the name in the URL. Revocation lists are not fetched. There is no switch to verify less; a private
authority is added with a file.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return the settings for all connections to ``https`` destinations.

    The authorities are those of the system; the environment variables ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``
    put others in their place, as with every program that uses OpenSSL.

    Args:
        ca_file: More authorities (PEM), trusted beside those.

    Raises:
        OSError: The file cannot be read, or holds no certificates (``ssl.SSLError``).
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
