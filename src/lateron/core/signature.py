"""The signature of a delivery: a JSON web token that only our keys can make.

``Upstash-Signature`` is ``header.claims.mac``, each part in base64url. The claims name the URL that is
requested and the SHA-256 of the body, so a receiver that checks both knows that this very request came
from us and was not changed. It is made at the time of the attempt, with the current key; a receiver
tries the current key, then the next one, which lets keys be rotated without a gap.

Claims, as the official receivers require them (wire contract, section 12)::

    iss   "Upstash"                    exp   iat + 300 seconds
    sub   the URL, byte for byte       nbf   iat - 300 seconds, for receivers whose clock is behind
    jti   a text, unique per attempt   body  base64url of SHA-256 of the body, with its padding

The padding is kept: the official receivers strip it, hand-written ones compare it.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import TYPE_CHECKING, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder, Encoder

from lateron.core.values import SECOND, Millis

if TYPE_CHECKING:
    from hashlib import _Hash

LIFETIME_S: Final = 300  # How long a signature is accepted, and how far back it reaches.
MAX_TOKEN: Final = 32_768  # Characters; a URL of 16 KB makes a token of 22 KB.

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64URL: Final = frozenset(b"+/=")
_encode_json = Encoder().encode


class Claims(Struct, frozen=True, forbid_unknown_fields=False):
    """What a verified token says; times are whole seconds since 1970."""

    iss: str
    sub: str
    exp: int
    nbf: int
    body: str
    iat: int = 0
    jti: str = ""


class Refused(Struct, frozen=True):
    """Why a token is not to be believed."""

    reason: str


class _Head(Struct, frozen=True):
    alg: str
    typ: str = "JWT"


_decode_claims = Decoder(Claims).decode
_decode_head = Decoder(_Head).decode


def _base64url(data: bytes, without: bytes = b"") -> bytes:
    return b2a_base64(data, newline=False).translate(_TO_URL, without)


_PADDING: Final = b"="
_HEAD: Final = _base64url(b'{"alg":"HS256","typ":"JWT"}', _PADDING) + b"."
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def sign(key: str, url: str, body_sha256: bytes, now: Millis, jti: str) -> str:
    """Return the token for a request that is about to be sent.

    Args:
        key: The whole signing key, prefix included; its UTF-8 bytes are the secret.
        url: Exactly what is requested, query included.
        body_sha256: 32 bytes; of the empty text if there is no body.
        now: Time of the attempt.
        jti: Unique for each attempt; printable ASCII without quote and backslash.
    """
    assert len(body_sha256) == 32
    claims = b'%b%b","body":"%b"}' % (_claims(url, now // SECOND), jti.encode("ascii"), _base64url(body_sha256))
    signed = _HEAD + _base64url(claims, _PADDING)
    start, finish = _hmac_states(key)
    inner, outer = start.copy(), finish.copy()
    inner.update(signed)
    outer.update(inner.digest())
    return (b"%b.%b" % (signed, _base64url(outer.digest(), _PADDING))).decode("ascii")


@lru_cache(maxsize=256)  # Most requests of a second go to few URLs.
def _claims(url: str, iat: int) -> bytes:
    """Return the beginning of the claims, up to the text of ``jti``."""
    return b'{"iss":"Upstash","sub":%b,"exp":%d,"nbf":%d,"iat":%d,"jti":"' % (
        _encode_json(url),
        iat + LIFETIME_S,
        iat - LIFETIME_S,
        iat,
    )


@lru_cache(maxsize=64)  # As many keys as a busy server signs with.
def _hmac_states(key: str) -> tuple[_Hash, _Hash]:
    """Return the two hashes of HMAC (RFC 2104) as they stand once they have read the key; half of the work."""
    secret = key.encode()
    if len(secret) > 64:
        secret = sha256(secret).digest()
    padded = secret.ljust(64, b"\0")
    return sha256(padded.translate(_INNER)), sha256(padded.translate(_OUTER))


def verify(
    token: str, keys: Sequence[str], body: bytes, url: str | None, now: Millis, tolerance: Millis = 0
) -> Claims | Refused:
    """Check a token as a receiver does: made with one of ``keys``, for this body and URL, at this time.

    Args:
        token: The value of ``Upstash-Signature``; anything at all.
        keys: Tried in order, current first.
        body: As received.
        url: As requested; None leaves the claim unchecked.
        now: When it was received.
        tolerance: How far the two clocks may differ.
    """
    if len(token) > MAX_TOKEN or not token.isascii():
        return Refused("not a token: too long or not ASCII")
    parts = token.encode("ascii").split(b".")
    if len(parts) != 3:
        return Refused("not a token: expected three parts between dots")
    try:
        head = _decode_head(_unbase64url(parts[0]))
        mac = _unbase64url(parts[2])
    except (Base64Error, MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Refused(f"not a token: {error}")
    if head.alg != "HS256":
        return Refused(f"algorithm {head.alg!r} is not HS256")
    signed = parts[0] + b"." + parts[1]
    # All keys are tried, so that the time taken does not tell which one matched.
    matches = [compare_digest(hmac_digest(key.encode(), signed, "sha256"), mac) for key in keys]
    if not any(matches):
        return Refused("made with none of our keys, or changed on the way")
    try:
        claims = _decode_claims(_unbase64url(parts[1]))
    except (Base64Error, MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Refused(f"not a token: {error}")
    return _check(claims, body, url, now, tolerance)


def _check(claims: Claims, body: bytes, url: str | None, now: Millis, tolerance: Millis) -> Claims | Refused:
    if claims.iss != "Upstash":
        return Refused(f"issuer {claims.iss!r} is not Upstash")
    if url is not None and claims.sub != url:
        return Refused(f"made for {claims.sub!r}, not for {url!r}")
    if now - tolerance >= claims.exp * SECOND:
        return Refused("expired")
    if now + tolerance < claims.nbf * SECOND:
        return Refused("not valid yet")
    if claims.body.rstrip("=") != _base64url(sha256(body).digest(), _PADDING).decode("ascii"):
        return Refused("made for another body")
    return claims


def _unbase64url(text: bytes) -> bytes:
    if not _NOT_BASE64URL.isdisjoint(text):
        raise Base64Error("not base64url")
    return a2b_base64(text.translate(_FROM_URL) + b"=" * (-len(text) % 4), strict_mode=True)
