"""Signatures of ID tokens, by the library of the extra ``oidc``; nothing else imports it.

The algorithm is chosen by what the provider announced and what we take, never by the token alone; the key by its name
and by what it is made for. So a token cannot have a public key taken for a secret, or be taken without a signature.
"""

from __future__ import annotations

import binascii
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec import Struct

from lateron.api.issuer import UnknownKey
from lateron.core.oidc import UNREADABLE
from lateron.errors import LoginRefused

_MOST: Final = 100  # Keys of one provider.
_RSA_LEAST: Final = 2048  # Bits; shorter ones can be broken.
_KEYS: Final[Mapping[str, tuple[type[RSAKey | ECKey | OKPKey], str, tuple[str, ...]]]] = {
    "RS256": (RSAKey, "RSA", ()),
    "PS256": (RSAKey, "RSA", ()),
    "ES256": (ECKey, "EC", ("P-256",)),
    "EdDSA": (OKPKey, "OKP", ("Ed25519", "Ed448")),
    "Ed25519": (OKPKey, "OKP", ("Ed25519",)),
}
_PUBLIC: Final = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}


class _Set(Struct):
    keys: list[dict[str, Any]]


class _Header(Struct):
    alg: str
    kid: str | None = None


class Keys:
    """The public keys of a provider."""

    def __init__(self, document: bytes) -> None:
        """Read them.

        Raises:
            LoginRefused: They cannot be read.
        """
        try:
            self._keys = msgspec.json.decode(document, type=_Set).keys[:_MOST]
        except UNREADABLE:
            raise LoginRefused("issuer", "its keys cannot be read") from None

    def payload(self, token: str, algorithms: Sequence[str]) -> bytes:
        """Return what a token says, if it is signed by one of these keys in one of these ways.

        Raises:
            UnknownKey: It names a key that is not here.
            LoginRefused: It is not signed so.
        """
        header = _header(token)
        if header.alg not in algorithms or header.alg not in _KEYS:
            raise LoginRefused("token", "it is not signed in a way that the provider announces and we take")
        kind = _KEYS[header.alg][0]
        fitting = [key for key in self._keys if _fits(key, header)]
        if not fitting:
            raise UnknownKey("token", "it names a key that the provider does not have")
        if len(fitting) > 1:
            raise LoginRefused("token", "it does not say which of several keys it is signed with")
        public = {name: value for name, value in fitting[0].items() if name in _PUBLIC[fitting[0]["kty"]]}
        registry = jws.JWSRegistry(algorithms=[header.alg], strict_check_header=False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # The name EdDSA says less than Ed25519.
                key = kind.import_key(public)
                found = jws.deserialize_compact(token.encode(), key, registry=registry)
        except Exception as error:  # noqa: BLE001 - Whatever the library makes of a key or a token, it is no good one.
            raise LoginRefused("token", f"its signature is not good ({type(error).__name__})") from None
        if isinstance(key, RSAKey) and key.raw_value.key_size < _RSA_LEAST:
            raise LoginRefused("token", f"its RSA key is shorter than {_RSA_LEAST} bits")
        if found.payload is None:
            raise LoginRefused("token", "it holds nothing")
        return found.payload


def _header(token: str) -> _Header:
    """Return which key a token is signed with, and how; nothing of it is believed yet."""
    word, _, _ = token.partition(".")
    try:
        return msgspec.json.decode(urlsafe_b64decode(word + "=" * (-len(word) % 4)), type=_Header)
    except (binascii.Error, ValueError, *UNREADABLE):
        raise LoginRefused("token", "it is no token") from None


def _fits(key: Mapping[str, Any], header: _Header) -> bool:
    """Whether a key is the one a header names, and made for signatures of that kind."""
    _, kty, curves = _KEYS[header.alg]
    if key.get("kty") != kty or (curves and key.get("crv") not in curves):
        return False
    if key.get("use", "sig") != "sig" or key.get("alg", header.alg) != header.alg:
        return False
    return header.kid is None or key.get("kid") == header.kid
